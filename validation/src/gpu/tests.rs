//! There is no GPU here: measurements are made up from a known profile, with scatter.

use sim_models::hardware::microbench::{Device, RAW_FORMAT, Timing, Use};
use sim_models::hardware::profile::FitOptions;

use super::*;

/// Made-up measurements of a device whose kernels take what the built-in profile says, each off by up to `scatter`.
struct MadeUp {
    truth: &'static Profile,
    lines: Vec<Line>,
    scatter: f64,
}

impl MadeUp {
    fn timing(&self, us: f64) -> Timing {
        let bits = (self.lines.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let us = us * (1.0 + self.scatter * (bits as f64 / (1 << 23) as f64 - 1.0));
        Timing { us, least: us, most: us, repeats: 1 }
    }

    fn kernel(&mut self, line: Line) {
        let (kernel, _) = Kernel::of(&line).unwrap();
        let timing = self.timing(self.truth.kernel_us(&kernel).unwrap());
        self.lines.push(match line {
            Line::Gemm { format, m, n, k, purpose, .. } => {
                Line::Gemm { format, m, n, k, purpose, time: timing }
            }
            Line::DecodeAttention { paged, kv, batch, context, heads, kv_heads, head_dim, .. } => {
                Line::DecodeAttention { paged, kv, batch, context, heads, kv_heads, head_dim, time: timing }
            }
            Line::PrefillAttention { kv, batch, tokens, before, heads, kv_heads, head_dim, .. } => {
                Line::PrefillAttention { kv, batch, tokens, before, heads, kv_heads, head_dim, time: timing }
            }
            other => other,
        });
    }

    fn new(scatter: f64) -> Self {
        let mut all = Self { truth: Profile::of_gpu("h100-sxm").unwrap(), lines: vec![], scatter };
        let (format, time) = (Format::Bf16, Timing { us: 1.0, least: 1.0, most: 1.0, repeats: 1 });
        for n in [1024, 3072, 7168, 12_288, 36_864, 131_072] {
            for k in [1024, 3072, 6144, 12_288, 18_432] {
                for m in [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192] {
                    all.kernel(Line::Gemm { format, m, n, k, purpose: Use::Grid, time });
                }
            }
        }
        for (n, k) in [(6144, 4096), (4096, 4096), (28_672, 4096), (4096, 14_336), (128_256, 4096)] {
            for m in [1, 48, 300, 4096] {
                all.kernel(Line::Gemm { format, m, n, k, purpose: Use::Check, time });
            }
        }
        let (kv, heads, kv_heads, head_dim) = (Format::Bf16, 32, 8, 128);
        for batch in [1, 4, 16, 64, 128, 256] {
            for context in [32, 512, 2048, 8192, 32_768] {
                let paged = true;
                all.kernel(Line::DecodeAttention {
                    paged,
                    kv,
                    batch,
                    context,
                    heads,
                    kv_heads,
                    head_dim,
                    time,
                });
            }
        }
        for (tokens, before) in [
            (16, 0),
            (64, 0),
            (512, 0),
            (1024, 0),
            (2048, 0),
            (4096, 0),
            (8192, 0),
            (16_384, 0),
            (2048, 8192),
        ] {
            all.kernel(Line::PrefillAttention {
                kv,
                batch: 1,
                tokens,
                before,
                heads,
                kv_heads,
                head_dim,
                time,
            });
        }
        for (what, width, by) in
            [("add_rms_norm", 4096_u64, 8), ("rope_cache", 6144, 4), ("silu_mul", 14_336, 6)]
        {
            for tokens in [1, 1024, 8192] {
                let bytes = tokens * width * by;
                let time = all.timing(1.5 + bytes as f64 / 2780e3);
                all.lines.push(Line::Elementwise { what: what.into(), tokens, width, bytes, time });
            }
        }
        // The fitted table's own rate of the product, which is between grid points, less the power limit.
        let large = Kernel::Gemm { precision: Precision::Bf16, m: 8192, n: 8192, k: 8192 };
        let (fitted, _) = Profile::fit(&all.raw(), &options("h100-sxm")).unwrap();
        let timed = 2.0 * 8192.0 * 8192.0 * 8192.0 / fitted.kernel_us(&large).unwrap() * 1e-6;
        let last_tflops = timed / all.truth.overheads.sustained_slowdown;
        all.lines.push(Line::Sustained { seconds: 4.0, first_tflops: timed, last_tflops });
        let gpu = catalogue::gpu("h100-sxm").unwrap();
        let model = "llama-3.1-8b";
        let (_, [step, _]) = steps(all.truth, gpu, model, format, kv).unwrap();
        let mut shapes = vec![];
        for batch in [1, 16, 64, 256] {
            shapes.extend(
                [512, 2048].map(|context| PassShape { decode: vec![context; batch], prefill: vec![] }),
            );
        }
        shapes.extend([512, 2048, 8192].map(|chunk| PassShape { decode: vec![], prefill: vec![(0, chunk)] }));
        shapes.push(PassShape { decode: vec![1024; 32], prefill: vec![(0, 480)] });
        let us: Vec<f64> = shapes.iter().map(|shape| all.timing(pass_us(&step, shape)).us).collect();
        for shape in &shapes {
            let time = all.timing(pass_us(&step, shape));
            let (model, shape) = (model.to_owned(), shape.clone());
            all.lines.push(Line::Pass { model, layers: 32, format, kv, shape, time });
        }
        let (scenario, component, model) = ("a scenario".to_owned(), "large".to_owned(), model.to_owned());
        all.lines.push(Line::Stream { scenario, component, model, format, kv, first: 0, us, shapes });
        all
    }

    fn raw(&self) -> Raw {
        let device = Device {
            format: RAW_FORMAT,
            program: "0.1.0".into(),
            suite: "full".into(),
            started: 0,
            name: "made up".into(),
            compute_capability: "9.0".into(),
            multiprocessors: 132,
            l2_bytes: 50 << 20,
            memory_bytes: 85_520_809_984,
            sm_clock_mhz: 1980.0,
            memory_clock_mhz: 2619.0,
            power_limit_watts: None,
            driver: None,
            cuda: "13.0".into(),
            nvrtc: "13.0".into(),
            cublaslt: "13.1.0".into(),
            host_cpus: 16,
        };
        Raw { device, lines: self.lines.clone(), complete: true }
    }
}

fn options(gpu: &str) -> FitOptions {
    let text = || "made up".to_owned();
    FitOptions { id: "made-up".into(), gpu: gpu.into(), licence: text(), measured: text(), fitted: text() }
}

#[test]
fn a_fit_finds_the_profile_that_measurements_were_made_from() {
    let raw = MadeUp::new(0.03).raw();
    let (profile, _) = Profile::fit(&raw, &options("h100-sxm")).unwrap();
    assert_eq!(Profile::parse(&profile.to_toml(), "written").unwrap(), profile);
    let overheads = &profile.overheads;
    assert!((overheads.elementwise_floor_us - 6.0).abs() < 0.3, "{overheads:?}");
    assert!((overheads.sustained_slowdown - 1.11).abs() < 0.001, "{overheads:?}");
    assert!((profile.decode_attention[0].gb_s / 3100.0 - 1.0).abs() < 0.1, "{:?}", profile.decode_attention);
    let report = check_gpu(&raw, &profile, "raw").unwrap();
    assert!(report.passed(), "{}", report.markdown());
    assert_eq!(report.verdicts().len(), Operation::ALL.len(), "{}", report.markdown());
    assert!(report.left_out.is_empty(), "{:?}", report.left_out);
    assert!(report.markdown().contains("| matrix products | bf16 | 20 |"), "{}", report.markdown());
    assert_eq!(report.report().pictures().count(), 4);
}

#[test]
fn what_was_held_back_is_not_fitted_to_and_is_noticed_when_it_differs() {
    let made_up = MadeUp::new(0.0);
    let (before, _) = Profile::fit(&made_up.raw(), &options("h100-sxm")).unwrap();
    let mut raw = made_up.raw();
    for line in raw.lines.iter_mut().filter(|line| is_held_back(line)) {
        match line {
            Line::Gemm { time, .. } | Line::Pass { time, .. } => time.us *= 1.3,
            Line::DecodeAttention { time, .. } | Line::PrefillAttention { time, .. } => time.us *= 0.7,
            Line::Stream { us, .. } => us.iter_mut().for_each(|us| *us *= 1.3),
            _ => {}
        }
    }
    let (after, _) = Profile::fit(&raw, &options("h100-sxm")).unwrap();
    assert_eq!(before, after);
    let report = check_gpu(&raw, &after, "raw").unwrap();
    assert!(report.verdicts().iter().all(|(.., passed)| *passed != Some(true)), "{}", report.markdown());
}

#[test]
fn measurements_that_make_no_profile_are_refused_with_the_reason() {
    let raw = MadeUp::new(0.0).raw();
    let refused = |raw: &Raw, gpu: &str, word: &str| {
        let error = Profile::fit(raw, &options(gpu)).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    refused(&raw, "h200-sxm", "made up");
    refused(&raw, "h900", "h900");
    let keep = |kept: fn(&Line) -> bool| Raw {
        lines: raw.lines.iter().filter(|line| kept(line)).cloned().collect(),
        complete: false,
        ..raw.clone()
    };
    refused(&keep(|line| !matches!(line, Line::Gemm { .. })), "h100-sxm", "the run was cut off");
    refused(&keep(|line| matches!(line, Line::Gemm { .. })), "h100-sxm", "decode attention");
    let mut wrong = raw.clone();
    wrong.lines.push(Line::Check { what: "gemm Fp8".into(), worst: 0.5, tolerance: 0.02 });
    refused(&wrong, "h100-sxm", "gemm Fp8 was off");
    // A grid that was cut off in the middle of a column goes without it.
    let whole = Profile::fit(&raw, &options("h100-sxm")).unwrap().0;
    let cut = keep(|line| !matches!(line, Line::Gemm { n: 36_864, k: 12_288, m: 256.., .. }));
    let cut = Profile::fit(&cut, &options("h100-sxm")).unwrap().0;
    assert_eq!((whole.gemm[0].n.len(), cut.gemm[0].n.len()), (6, 5));
    let kernels_alone = keep(|line| !is_held_back(line));
    let nothing = check_gpu(&kernels_alone, &whole, "raw.jsonl").unwrap_err().to_string();
    assert!(nothing.contains("raw.jsonl"), "{nothing}");
}

#[test]
fn an_estimate_is_as_far_off_as_it_says_where_others_measured() {
    // The shares of its datasheet that the H100 reaches, on the other GPUs that have figures.
    let from = catalogue::gpu("h100-sxm").unwrap();
    let reached = from.measured.as_ref().unwrap();
    let mut worst = 0.0_f64;
    for gpu in catalogue::gpus().iter().filter(|gpu| gpu.id != from.id) {
        let Some(measured) = &gpu.measured else { continue };
        let (read, compute) = (gpu.memory_bandwidth / from.memory_bandwidth, gpu.fp16 / from.fp16);
        for (there, here, ratio) in [
            (reached.gemm, measured.gemm, compute),
            (reached.weight_bandwidth, measured.weight_bandwidth, read),
            (reached.decode_attention_bandwidth, measured.decode_attention_bandwidth, read),
            (reached.prefill_attention, measured.prefill_attention, compute),
        ] {
            worst = worst.max((there * ratio / here - 1.0).abs());
        }
    }
    let stated = sim_models::hardware::profile::ESTIMATE_ERROR;
    assert!(worst <= stated && worst > stated - 0.1, "{worst}");
    let profile = Profile::of_gpu("h100-sxm").unwrap();
    let gpu = catalogue::gpu("h200-sxm").unwrap();
    let derived = profile.derived(gpu, "h200-estimate", "today").unwrap();
    assert_eq!(Profile::parse(&derived.to_toml(), "written").unwrap(), derived);
    assert!(derived.derived(from, "again", "today").unwrap_err().to_string().contains("derived from"));
    let model = catalogue::model("llama-3.1-8b").unwrap();
    let step =
        StepFunction::from_profile(&derived, gpu, model, Precision::Bf16, Precision::Bf16, 1, true, None)
            .unwrap();
    assert!(
        step.badge().starts_with("estimate (from other kernels): h200-estimate, derived from"),
        "{}",
        step.badge()
    );
}
