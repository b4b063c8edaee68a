use super::super::catalogue::{Model, ModelKind, gpu, gpus, model, models};
use super::super::datasheet::Efficiency;
use super::super::precision::Precision::{Bf16, Fp8, Int4};
use super::super::timing::{Calibration, Pass, StepFunction, TICKS_PER_NANO};
use super::super::{HardwareError, TENSOR_PARALLEL};
use super::compile::{chosen_uniformly, worked_out_experts};
use super::*;
use crate::hardware::fitted::Fitted;
use crate::hardware::precision::Precision;
use proptest::prelude::*;

fn h100() -> &'static Profile {
    Profile::of_gpu("h100-sxm").unwrap()
}

fn step(model_id: &str, precision: Precision, tensor_parallel: u64) -> Result<StepFunction, HardwareError> {
    let (gpu, model) = (gpu("h100-sxm").unwrap(), model(model_id).unwrap());
    StepFunction::from_profile(h100(), gpu, model, precision, Bf16, tensor_parallel, true, None)
}

fn ms(step: &StepFunction, pass: &Pass) -> f64 {
    step.ticks(pass) as f64 / TICKS_PER_NANO as f64 / 1e6
}

fn decode(sequences: u64, context: u64) -> Pass {
    Pass { sequences, new_tokens: sequences, decode_context: sequences * context, ..Pass::default() }
}

fn prefill(tokens: u64) -> Pass {
    Pass {
        sequences: 1,
        new_tokens: tokens,
        decode_context: 0,
        prefill_work: Pass::chunk_work(0, tokens),
        ..Pass::default()
    }
}

fn header() -> ProfileHeader {
    ProfileHeader {
        id: "test".into(),
        gpu: "h100-sxm".into(),
        device: "a GPU".into(),
        kernel_set: "an engine".into(),
        source: "this \"test\" \\ ü".into(),
        licence: "none".into(),
        measured: "today".into(),
        fitted: "today".into(),
        overheads: Overheads::default(),
    }
}

/// Timings of an ideal GPU: 1 us a product, 2 TB/s, 500 TFLOP/s.
fn ideal() -> Measurements {
    let mut all = Measurements::default();
    for m in [1, 64, 256, 1024, 8192] {
        for (n, k) in [(1024, 1024), (1024, 8192), (8192, 1024), (8192, 8192)] {
            let us = 1.0 + ((n * k * 2) as f64 / 2e6).max((2 * m * n * k) as f64 / 500e6);
            all.gemm.push(GemmRecord { precision: Bf16, m, n, k, us });
        }
    }
    for batch in [1, 2, 8, 64, 256] {
        for tokens in [16, 256, 4096, 32_768] {
            let record =
                AttentionRecord { kv: Bf16, batch, tokens, heads: 32, kv_heads: 8, head_dim: 128, us: 0.0 };
            let bytes = (batch * tokens * 4096) as f64;
            all.decode.push(AttentionRecord { us: 10.0 + 0.1 * batch as f64 + bytes / 2e6, ..record });
            let work = (batch * tokens * tokens) as f64;
            let us = 10.0 + 0.005 * (batch * tokens) as f64 + work * 8192.0 / 400e6;
            all.prefill.push(AttentionRecord { us, ..record });
        }
    }
    all.all_reduce = (8..24)
        .map(|power| AllReduceRecord { gpus: 2, bytes: 1 << power, us: 5.0 + (1 << power) as f64 / 2e5 })
        .collect();
    all
}

#[test]
fn the_built_in_profiles_are_their_files() {
    let files = [
        include_str!("../../../data/profiles/h100-sxm-vllm-0.24.toml"),
        include_str!("../../../data/profiles/h200-sxm-tenfold.toml"),
    ];
    assert_eq!(files.len(), Profile::builtin().len());
    for text in files {
        let profile = Profile::parse(text, "the file").unwrap();
        assert_eq!(&profile, Profile::named(&profile.id).unwrap());
        assert_eq!(&profile, Profile::of_gpu(&profile.gpu).unwrap());
    }
}

#[test]
fn between_measured_points_times_are_linear_and_at_them_equal() {
    let measured = ideal();
    let (profile, fits) = measured.profile(header(), &[]).unwrap();
    let table = &profile.gemm[0];
    for record in &measured.gemm {
        let at = table.m.iter().position(|m| *m == record.m).unwrap();
        let time = table.by_tokens(record.n as f64, record.k as f64)[at];
        assert!((time / record.us - 1.0).abs() < 1e-3, "{record:?}: {time}");
    }
    // Halfway in n, or in k: half the sum, as a straight line has it; behind the grid in proportion.
    let [low, high, middle, beyond] =
        [1024.0, 8192.0, 4608.0, 16_384.0].map(|n| table.by_tokens(n, 1024.0)[0]);
    assert!((middle - (low + high) / 2.0).abs() < 1e-9 && (beyond - 2.0 * high).abs() < 1e-9);
    let halfway = series::interpolate(&[1.0, 3.0], &[10.0, 20.0], 2.0);
    assert_eq!(halfway, 15.0);
    for fit in fits {
        assert!(fit.r2 > 0.9999, "{fit:?}");
    }
    let row = &profile.decode_attention[0];
    assert!((row.gb_s / 2000.0 - 1.0).abs() < 0.01 && (row.sequence_us - 0.1).abs() < 0.01, "{row:?}");
    let row = &profile.prefill_attention[0];
    assert!((row.tflops / 400.0 - 1.0).abs() < 0.01 && (row.token_ns - 5.0).abs() < 0.5, "{row:?}");
}

#[test]
fn scatter_is_smoothed_so_that_more_work_takes_no_less_time() {
    let mut values = [1.0, 3.0, 2.0, 2.0, 5.0, 4.0];
    series::make_monotone(&mut values);
    let third = 7.0 / 3.0;
    assert_eq!(values, [1.0, third, third, third, 4.5, 4.5]);
}

#[test]
fn a_profile_survives_being_written_and_read() {
    let (mut profile, _) = ideal().profile(header(), &[]).unwrap();
    assert_eq!(Profile::parse(&profile.to_toml(), "written").unwrap(), profile);
    profile.experts.push(ExpertTable {
        precision: Fp8,
        hidden: 4096,
        inner: 512,
        active: 2,
        experts: 8,
        tokens: vec![1, 100],
        us: vec![0.1 + 0.2, 1e3],
    });
    assert_eq!(Profile::parse(&profile.to_toml(), "written").unwrap(), profile);
    let shipped = h100();
    assert_eq!(Profile::parse(&shipped.to_toml(), "shipped").unwrap(), *shipped);
    assert!(shipped.source.contains("aiconfigurator @ 095f58a") && shipped.licence == "Apache-2.0");
}

/// The same kernels, over fewer tokens: in a Gemma 3 with 10 of 62 layers without a window a token beyond it costs
/// 10/62 of one within, whatever the times come from.
#[test]
fn beyond_the_window_only_global_layers_read_more() {
    let (gpu, gemma) = (gpu("h100-sxm").unwrap(), model("gemma-3-27b").unwrap());
    let all = Model { sliding: None, ..gemma.clone() };
    let fitted = Fitted { memory: 1.3, ..Fitted::neutral(1.2, "a server") };
    let efficiency = Efficiency::default();
    let by_profile = |model: &Model, fitted: Option<&Fitted>| {
        StepFunction::from_profile(h100(), gpu, model, Bf16, Bf16, 2, true, fitted).unwrap()
    };
    let sources: [&dyn Fn(&Model) -> StepFunction; 4] = [
        &|model| StepFunction::from_datasheet(gpu, model, Bf16, Bf16, 2, &efficiency).unwrap(),
        &|model| by_profile(model, None),
        &|model| by_profile(model, Some(&fitted)),
        &|model| fitted.on_datasheet(gpu, model, Bf16, Bf16, 2, &efficiency).unwrap(),
    ];
    for source in sources {
        let (step, full) = (source(gemma), source(&all));
        assert_eq!((step.window(), full.window()), (Some(1024), None));
        let time = |step: &StepFunction, contexts: [u64; 2], chunk: u64| {
            let ticks = contexts.map(|context| {
                let mut pass = Pass::default();
                match chunk {
                    0 => pass.decode(context - 1, 0, step.window()),
                    chunk => pass.prefill(context, chunk, step.window()),
                }
                step.ticks(&pass) as f64
            });
            ticks[1] - ticks[0]
        };
        for (chunk, tolerance) in [(0, 1e-3), (512, 1e-3)] {
            let within = time(&step, [100, 500], chunk) / time(&full, [100, 500], chunk);
            let beyond = time(&step, [2000, 90_000], chunk) / time(&full, [2000, 90_000], chunk);
            assert!((within - 1.0).abs() < tolerance, "{}: {within}", step.badge());
            assert!((beyond - 10.0 / 62.0).abs() < tolerance, "{}: {beyond}", step.badge());
        }
    }
}

/// Without a table of its own a model reads as many experts as its tokens need, from the profile as by the datasheet.
#[test]
fn experts_without_a_table_are_read_as_tokens_need_them() {
    let mixtral = model("mixtral-8x7b").unwrap();
    let profile = Profile { experts: Vec::new(), ..h100().clone() };
    let gpu = gpu("h100-sxm").unwrap();
    let step = StepFunction::from_profile(&profile, gpu, mixtral, Bf16, Bf16, 4, true, None).unwrap();
    let [one, four, eight] = [1, 4, 8].map(|tokens| ms(&step, &decode(tokens, 1)));
    // 1 - (3/4)^n of the experts, so that with eight tokens 1.50 times as many are added to those of one as with four.
    let share = |tokens| 1.0 - libm::pow(0.75, tokens);
    let (found, expected) =
        ((eight - one) / (four - one), (share(8.0) - share(1.0)) / (share(4.0) - share(1.0)));
    assert!((found / expected - 1.0).abs() < 0.05, "{found}, not {expected}");
    assert_eq!(step.calibration(), Calibration::Estimate);
    let timed = StepFunction::from_profile(h100(), gpu, mixtral, Bf16, Bf16, 4, true, None).unwrap();
    assert_eq!(timed.calibration(), Calibration::Imported);
}

/// Experts were timed with tokens spread evenly: sixteen that go through 8 of 128 read all. By chance they read 64%.
#[test]
fn tokens_that_choose_by_chance_read_fewer_experts() {
    let table = ExpertTable {
        precision: Bf16,
        hidden: 2048,
        inner: 768,
        active: 8,
        experts: 128,
        tokens: vec![1, 16, 1_000, 2_000],
        us: vec![10.0, 160.0, 160.0, 260.0],
    };
    let by_chance = chosen_uniformly(&table);
    let share = |tokens: i32| 1.0 - libm::pow(15.0 / 16.0, f64::from(tokens));
    for tokens in [1, 4, 16, 64] {
        let found = by_chance.at(f64::from(tokens));
        assert!((found - 160.0 * share(tokens)).abs() < 0.1, "{tokens}: {found}");
    }
    // All are read, and twice the tokens add what they add.
    assert!((by_chance.at(1_000.0) - 160.0).abs() < 1e-3 && (by_chance.at(2_000.0) - 260.0).abs() < 1e-3);
}

/// Of those in bf16 that were timed: by tokens for each expert the median error, and that of its size.
#[test]
fn experts_are_worked_out_as_they_were_timed() {
    let gemm = h100().gemm_in(Bf16).unwrap();
    let mut errors: [Vec<f64>; 3] = Default::default();
    for table in h100().experts.iter().filter(|table| table.precision == Bf16 && table.inner >= 512) {
        let parameters = 3.0 * (table.hidden * table.inner) as f64;
        let worked_out = worked_out_experts(gemm, (table.active, table.experts), parameters);
        let timed = chosen_uniformly(table);
        for tokens in &table.tokens {
            let read = super::super::experts::read(table.experts, table.active, *tokens);
            let share = (tokens * table.active) as f64 / read;
            let regime = [128.0, 256.0].iter().filter(|bound| share > **bound).count();
            errors[regime].push(worked_out.at(*tokens as f64) / timed.at(*tokens as f64) - 1.0);
        }
    }
    for (errors, most) in errors.into_iter().zip([0.1, 0.15, 0.15]) {
        let size = super::series::median(errors.iter().copied().map(f64::abs).collect()).unwrap();
        let bias = super::series::median(errors).unwrap();
        assert!(size < most && bias.abs() < 0.1, "{bias}, {size}");
    }
}

#[test]
fn no_decode_step_is_faster_than_its_weights_can_be_read() {
    // 15.01 GB at the datasheet's 3.35 TB/s.
    let (gpu, llama) = (gpu("h100-sxm").unwrap(), model("llama-3.1-8b").unwrap());
    let fast = Fitted { memory: 0.1, step_gap_us: Some(0.0), ..Fitted::neutral(0.1, "a wish") };
    let efficiency = Efficiency {
        weight_bandwidth: Some(1.0),
        attention_floor_us: Some(0.0),
        elementwise_floor_us: 0.0,
        step_gap_us: 0.0,
        ..Efficiency::default()
    };
    let steps = [
        StepFunction::from_datasheet(gpu, llama, Bf16, Bf16, 1, &efficiency).unwrap(),
        step("llama-3.1-8b", Bf16, 1).unwrap(),
        StepFunction::from_profile(h100(), gpu, llama, Bf16, Bf16, 1, true, Some(&fast)).unwrap(),
        fast.on_datasheet(gpu, llama, Bf16, Bf16, 1, &efficiency).unwrap(),
    ];
    for step in steps {
        for sequences in [1, 2, 3, 8, 64, 256] {
            let time = ms(&step, &decode(sequences, 1));
            assert!(time >= 4.48, "{sequences} sequences in {time} ms: {}", step.badge());
        }
    }
    // At the measured 2.78 TB/s reading takes 5.4 ms; a server adds attention, element-wise kernels, gaps.
    let time = ms(&step("llama-3.1-8b", Bf16, 1).unwrap(), &decode(1, 500));
    assert!((5.4..7.0).contains(&time), "{time} ms");
}

#[test]
fn a_mixed_pass_is_one_pass() {
    let step = step("qwen3-14b", Bf16, 1).unwrap();
    let (chunk, batch) = (prefill(986), decode(18, 1050));
    let mixed = Pass {
        sequences: chunk.sequences + batch.sequences,
        new_tokens: chunk.new_tokens + batch.new_tokens,
        decode_context: batch.decode_context,
        prefill_work: chunk.prefill_work,
        ..Pass::default()
    };
    let (chunk, batch, mixed) = (ms(&step, &chunk), ms(&step, &batch), ms(&step, &mixed));
    assert!(mixed > chunk.max(batch) && mixed < chunk + batch - 8.0, "{mixed} of {chunk} and {batch} ms");
}

/// The tables say what a kernel takes, so a model's step can be worked out by hand.
#[test]
fn a_step_of_qwen3_14b_is_the_sum_of_its_kernels() {
    let step = step("qwen3-14b", Bf16, 1).unwrap();
    // 40 layers of 233 us at one token, head 0.45-0.55 ms, attention and element-wise floors 0.73 ms.
    let one = ms(&step, &decode(1, 1000));
    assert!((10.4..11.6).contains(&one), "{one} ms");
    // 26.4 GFLOP a token at 0.70 of the peak, and attention and element-wise kernels.
    let prompt = ms(&step, &prefill(986));
    assert!((39.0..44.0).contains(&prompt), "{prompt} ms");
    assert_eq!(step.calibration(), Calibration::Imported);
    assert!(step.badge().contains("vLLM 0.24.0"), "{}", step.badge());
    let per_token = step.coefficients().per_context as f64 / TICKS_PER_NANO as f64;
    let gb_s = 163_840.0 / per_token;
    assert!((2_600.0..3_350.0).contains(&gb_s), "the KV cache is read at {gb_s} GB/s");
}

#[test]
fn profile_and_datasheet_agree_roughly() {
    for id in ["llama-3.1-8b", "llama-3.1-70b", "qwen3-14b"] {
        for tensor_parallel in TENSOR_PARALLEL {
            let (gpu, model) = (gpu("h100-sxm").unwrap(), model(id).unwrap());
            let measured = step(id, Bf16, tensor_parallel).unwrap();
            let sheet =
                StepFunction::from_datasheet(gpu, model, Bf16, Bf16, tensor_parallel, &Efficiency::default())
                    .unwrap();
            for pass in [decode(1, 500), decode(32, 1000), prefill(512), prefill(4096)] {
                let ratio = ms(&measured, &pass) / ms(&sheet, &pass);
                assert!((0.6..1.5).contains(&ratio), "{id} on {tensor_parallel}: {ratio} at {pass:?}");
            }
        }
    }
}

#[test]
fn every_model_that_can_be_split_has_a_step_or_a_reason() {
    let gpu = gpu("h100-sxm").unwrap();
    for model in models() {
        for tensor_parallel in TENSOR_PARALLEL {
            for precision in Precision::ALL {
                let made = StepFunction::from_profile(
                    h100(),
                    gpu,
                    model,
                    precision,
                    Bf16,
                    tensor_parallel,
                    true,
                    None,
                );
                match made {
                    Ok(step) => {
                        let mut before = 0;
                        for tokens in (1..600).chain((600..20_000).step_by(97)) {
                            let ticks =
                                step.ticks(&Pass { sequences: 1, new_tokens: tokens, ..Pass::default() });
                            assert!(ticks >= before, "{} falls at {tokens}", model.id);
                            before = ticks;
                        }
                    }
                    Err(HardwareError::Profile(ProfileError::Lacks { .. })) => {
                        let timed = matches!(precision, Bf16 | Precision::Fp16 | Fp8)
                            || (precision == Precision::Mxfp4 && model.id.starts_with("gpt-oss"));
                        let usual = model.latent.is_none() && model.kind == ModelKind::Decoder;
                        assert!(!(timed && usual), "{} in {precision}", model.id);
                    }
                    Err(error) => assert!(
                        matches!(
                            error,
                            HardwareError::Indivisible { .. }
                                | HardwareError::NoKernels { .. }
                                | HardwareError::NoExperts { .. }
                        ),
                        "{error}"
                    ),
                }
            }
        }
    }
}

#[test]
fn what_a_profile_cannot_answer_is_said() {
    let message = step("llama-3.1-8b", Int4, 1).unwrap_err().to_string();
    assert!(message.contains("int4") && message.contains("bf16, fp8"), "{message}");
    let other = gpus().iter().find(|gpu| gpu.id != "h100-sxm").unwrap();
    let llama = model("llama-3.1-8b").unwrap();
    let refused = StepFunction::from_profile(h100(), other, llama, Bf16, Bf16, 1, true, None);
    assert!(refused.unwrap_err().to_string().contains("not on"), "another GPU's kernels are no guess");
    assert!(Profile::named("a100").unwrap_err().to_string().contains(&h100().id));
    assert!(Profile::open("/no/such/profile.toml".as_ref()).is_err());
}

#[test]
fn mistakes_are_named_with_their_place() {
    let good = ideal().profile(header(), &[]).unwrap().0.to_toml();
    for (from, to, part) in [
        ("format = 1", "format = 2", "format is 2: expected 1"),
        ("id = \"test\"", "id = \"Te st\"", "id is not of"),
        ("gpu = \"h100-sxm\"", "gpu = \"h1000\"", "gpu is unknown"),
        ("licence = \"none\"", "licence = \" \"", "licence is empty"),
        ("step_gap_us = 100.0", "step_gap_us = 0.0", "overheads.step_gap_us is 0"),
        ("host_step_us = 1500.0", "host_step_us = nan", "overheads.host_step_us is NaN"),
        ("sustained_slowdown = 1.11", "sustained_slowdown = 0.5", "a factor from 1 to 10"),
        ("m = [1,64,", "m = [1,1,", "gemm[0].m goes from 1 to 1"),
        ("n = [1024,8192]", "n = [1024]", "gemm[0].us has 4 rows: expected 2"),
        ("precision = \"bf16\"", "precision = \"bf17\"", "bf17"),
        ("heads = 32", "heads = 33", "decode_attention[0].heads"),
        ("step_gap_us", "gap_us", "gap_us"),
        ("format = 1", "format = ", "line 1"),
    ] {
        assert!(good.contains(from), "{from}");
        let message = Profile::parse(&good.replacen(from, to, 1), "mine.toml").unwrap_err().to_string();
        assert!(message.contains(part), "{to}: {message}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever a file says: an error or a profile that compiles for a model, or says why not.
    #[test]
    fn damaged_profiles_never_panic(
        at in 0.0_f64..1.0, cut in 0_usize..40, insert in "[-0-9a-z.,=\"\\[\\]{}\n]{0,12}",
    ) {
        let text = small();
        let start = (at * text.len() as f64) as usize;
        let end = (start + cut).min(text.len());
        let damaged = format!("{}{insert}{}", &text[..start], &text[end..]);
        if let Ok(profile) = Profile::parse(&damaged, "damaged") {
            let (gpu, model) = (gpu("h100-sxm").unwrap(), model("llama-3.1-8b").unwrap());
            for tensor_parallel in [1, 2] {
                let made =
                    StepFunction::from_profile(&profile, gpu, model, Bf16, Bf16, tensor_parallel, true, None);
                if let Ok(step) = made {
                    let _ = step.checked_ticks(&decode(256, 100_000));
                    let _ = step.checked_ticks(&prefill(1 << 24));
                }
            }
        }
    }
}

/// A small profile in ASCII.
fn small() -> String {
    let mut header = header();
    header.source = "a test".into();
    ideal().profile(header, &[]).unwrap().0.to_toml()
}
