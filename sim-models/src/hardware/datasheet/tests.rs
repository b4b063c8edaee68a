use super::super::catalogue::{gpu, gpus, model, models};
use super::super::timing::Pass;
use super::*;
use crate::hardware::TENSOR_PARALLEL;
use proptest::prelude::*;

fn step(
    gpu_id: &str,
    model_id: &str,
    precision: Precision,
    gpus: u64,
    efficiency: &Efficiency,
) -> StepFunction {
    let (gpu, model) = (gpu(gpu_id).unwrap(), model(model_id).unwrap());
    StepFunction::from_datasheet(gpu, model, precision, Precision::Bf16, gpus, efficiency).unwrap()
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

fn millis(step: &StepFunction, pass: &Pass) -> f64 {
    step.ticks(pass) as f64 / TICKS_PER_NANO as f64 / 1e6
}

/// Nothing slows the server down that a user can switch off.
fn perfect() -> Efficiency {
    Efficiency {
        gemm_compute: Some(1.0),
        gemm_compute_8bit: Some(1.0),
        expert_compute: 1.0,
        weight_bandwidth: Some(1.0),
        weight_bandwidth_quantized: Some(1.0),
        decode_attention_bandwidth: Some(1.0),
        prefill_attention_compute: Some(1.0),
        elementwise_bandwidth: Some(1.0),
        attention_floor_us: Some(0.0),
        elementwise_floor_us: 0.0,
        all_reduce_base_us: Some(0.0),
        all_reduce_bandwidth: 1.0,
        sustained_slowdown: 1.0,
        step_gap_us: 0.0,
        host_step_us: 0.0,
        host_sequence_us: 0.0,
        async_scheduling: true,
    }
}

#[test]
fn no_decode_step_is_faster_than_reading_the_weights() {
    for efficiency in [perfect(), Efficiency::default()] {
        let step = step("h100-sxm", "llama-3.1-8b", Precision::Bf16, 1, &efficiency);
        for sequences in [1, 2, 8, 64, 256, 1024] {
            assert!(millis(&step, &decode(sequences, 1)) >= 4.48, "{sequences} sequences");
        }
    }
    // At the measured 2.78 TB/s: 5.40 ms, and at most a millisecond of latencies.
    let step = step("h100-sxm", "llama-3.1-8b", Precision::Bf16, 1, &Efficiency::default());
    let single = millis(&step, &decode(1, 1));
    assert!((5.40..6.40).contains(&single), "{single} ms");
}

#[test]
fn a_lone_sequence_decodes_at_the_pace_of_a_real_server() {
    // The fastest of 1,212 requests at 2 requests/s had 11.08 ms between tokens (Qwen3-14B, bf16, one
    // H100, vLLM 0.23); it was not always alone.
    let step = step("h100-sxm", "qwen3-14b", Precision::Bf16, 1, &Efficiency::default());
    let single = millis(&step, &decode(1, 1_050));
    assert!((single / 11.08 - 1.0).abs() < 0.05, "{single} ms");
}

/// Requests per second of a server with `sequences` always running: each is replaced once in `output` steps,
/// its prompt computed in one of them.
fn saturated_requests_per_s(step: &StepFunction, sequences: u64, input: u64, output: u64) -> f64 {
    let mut ticks = 0;
    let mut admitted = 0;
    for elapsed in 1..=output {
        let due = sequences * elapsed / output - admitted;
        admitted += due;
        let pass = Pass {
            sequences,
            new_tokens: sequences - due + due * input,
            decode_context: (sequences - due) * (input + output / 2),
            prefill_work: due * Pass::chunk_work(0, input),
            ..Pass::default()
        };
        ticks += step.ticks(&pass);
    }
    assert_eq!(admitted, sequences);
    sequences as f64 / (ticks as f64 / TICKS_PER_NANO as f64 / 1e9)
}

#[test]
fn a_saturated_server_keeps_the_pace_of_the_known_one() {
    // One H100 with Qwen3-14B in bf16: 17.2 to 17.5 requests/s of about 986 input and 128 output tokens,
    // 17,200 input tokens/s. The 18,038 blocks hold about 250 of them.
    let step = step("h100-sxm", "qwen3-14b", Precision::Bf16, 1, &Efficiency::default());
    let rate = saturated_requests_per_s(&step, 250, 986, 128);
    assert!((rate / 17.35 - 1.0).abs() < 0.15, "{rate} requests/s");
    assert!((rate * 986.0 / 17_200.0 - 1.0).abs() < 0.15, "{} input tokens/s", rate * 986.0);
}

#[test]
fn prefill_reaches_the_share_of_the_peak_it_should() {
    let step = step("h100-sxm", "llama-3.1-8b", Precision::Bf16, 1, &Efficiency::default());
    let flops = 2.0 * model("llama-3.1-8b").unwrap().active_layer_parameters() as f64 * 8192.0;
    let share = flops / (millis(&step, &prefill(8192)) * 1e-3) / 989.4e12;
    // Sustained matrix multiplications reach 0.70; attention and element-wise kernels come on top.
    assert!((0.52..0.70).contains(&share), "{share}");
}

#[test]
fn tokens_hide_behind_the_weights_until_the_ridge() {
    let step = step("h100-sxm", "llama-3.1-8b", Precision::Bf16, 1, &perfect());
    // Peak over bandwidth: 989.4e12 / 3.35e12 = 295 FLOP/byte = tokens, at 2 FLOP and 2 bytes a weight.
    assert_eq!(step.coefficients().gemm.free, 295);
    assert_eq!(step.coefficients().head.free, 295);
    // 2 * 32 heads * 128 * 32 layers FLOP a unit of prefill work at 989.4 TFLOP/s: 265 ps.
    assert_eq!(step.coefficients().per_prefill_work, 271);
    // 131,072 bytes at 3.35 TB/s: 39.1 ns.
    assert_eq!(step.coefficients().per_context, 40_065);
}

#[test]
fn more_gpus_are_faster_but_less_than_in_proportion() {
    for (gpu_id, precision) in [("h100-sxm", Precision::Bf16), ("l40s", Precision::Fp8)] {
        let of = |gpus| step(gpu_id, "llama-3.1-70b", precision, gpus, &Efficiency::default());
        for pass in [decode(16, 1_000), prefill(4_096)] {
            let times = TENSOR_PARALLEL.map(|gpus| millis(&of(gpus), &pass));
            for pair in times.windows(2) {
                assert!(pair[1] > pair[0] / 2.0, "{gpu_id} {pass:?}: {times:?}");
            }
            if gpu_id == "h100-sxm" {
                assert!(times.windows(2).all(|pair| pair[1] < pair[0]), "{gpu_id} {pass:?}: {times:?}");
            }
        }
    }
}

#[test]
fn narrow_weights_speed_decoding_up() {
    let time = |gpu_id, precision| {
        millis(&step(gpu_id, "llama-3.1-8b", precision, 1, &Efficiency::default()), &decode(1, 500))
    };
    let (wide, fp8, int4) = (
        time("h100-sxm", Precision::Bf16),
        time("h100-sxm", Precision::Fp8),
        time("h100-sxm", Precision::Int4),
    );
    assert!(int4 < fp8 && fp8 < wide);
    // vLLM's documentation: up to 1.6 times the throughput with fp8.
    assert!((1.2..1.6).contains(&(wide / fp8)), "{}", wide / fp8);
    // Without fp8 units only the reading gets faster, not the computing.
    let a100 = |precision| {
        let step = step("a100-sxm-80gb", "llama-3.1-8b", precision, 1, &Efficiency::default());
        step.coefficients().gemm.slope
    };
    assert_eq!(a100(Precision::Fp8), a100(Precision::Bf16));
}

#[test]
fn experts_are_read_as_tokens_need_them() {
    let step = step("h100-sxm", "mixtral-8x7b", Precision::Bf16, 2, &perfect());
    let mixtral = model("mixtral-8x7b").unwrap();
    let ms = |parameters: u64| parameters as f64 * 2.0 / 2.0 / 3.35e12 * 1e3;
    let active = mixtral.active_layer_parameters() + mixtral.embedding_parameters();
    let all = mixtral.layer_parameters() + mixtral.embedding_parameters();
    let after = |tokens| millis(&step, &decode(tokens, 1));
    let (one, many) = (after(1), after(24));
    assert!((one / ms(active) - 1.0).abs() < 0.01, "{one} ms against {}", ms(active));
    assert!((many / ms(all) - 1.0).abs() < 0.01, "{many} ms against {}", ms(all));
    // Four tokens read 1 - (3/4)^4 of the experts: 68%.
    let (four, all) = (experts_seconds(&step, 4) * 1e3, ms(mixtral.expert_parameters()));
    assert!((four / all - 175.0 / 256.0).abs() < 1e-6, "{four} ms of {all}");
    // Two of eight experts compute, so far more tokens hide behind the weights than in a dense model.
    assert!(step.coefficients().gemm.free > 295 * 3);
}

#[test]
fn latent_attention_reads_compressed_vectors() {
    let deepseek = model("deepseek-v3").unwrap();
    let on =
        |gpus| step("h200-sxm", "deepseek-v3", Precision::Fp8, gpus, &perfect()).coefficients().per_context;
    // On eight GPUs each reads 70,272 bytes a token at 4.8 TB/s: 14.6 ns.
    assert_eq!(on(8), nearest(70_272.0 / 4.8e12));
    // On one, 128 heads x (2 x 512 + 64) x 2 FLOP in 61 layers at 989.4 TFLOP/s take longer: 17.2 ns.
    assert_eq!(deepseek.decode_pair_flops(), 128 * (2 * 512 + 64) * 2);
    assert_eq!(on(1), nearest(61.0 * 278_528.0 / 989.4e12));
    // Prefill expands: queries and keys of 192, values of 128.
    let coefficients = *step("h200-sxm", "deepseek-v3", Precision::Fp8, 8, &perfect()).coefficients();
    let flops = 61.0 * 128.0 * (192.0 + 128.0) / 8.0;
    assert_eq!(coefficients.per_prefill_work, nearest(flops / 989.4e12));
}

#[test]
fn layers_with_more_kernels_have_more_latency() {
    let base = |model_id, elementwise_floor_us| {
        let efficiency = Efficiency { elementwise_floor_us, ..perfect() };
        step("h200-sxm", model_id, Precision::Fp8, 8, &efficiency).coefficients().base
    };
    // DeepSeek-V3: 61 layers, all with latent attention, 58 with experts. Mixtral: 32 layers with experts.
    for (model_id, floors) in [("llama-3.1-8b", 32.0), ("mixtral-8x7b", 64.0), ("deepseek-v3", 180.0)] {
        let added = base(model_id, 8.0) - base(model_id, 0.0);
        assert!(added.abs_diff(nearest(floors * 8e-6)) <= 1, "{model_id}: {added}");
    }
}

#[test]
fn a_window_ends_what_decoding_reads() {
    // 46 layers of 16 key-value heads of 128 in 16 bits: 8,192 bytes a token and layer.
    let step = step("h100-sxm", "gemma-2-27b", Precision::Bf16, 1, &perfect());
    let window = step.window().unwrap();
    assert_eq!(window, 4096);
    let attention = |contexts: &[u64]| {
        let mut pass = Pass::default();
        contexts.iter().for_each(|context| pass.decode(context - 1, 0, Some(window)));
        let without = Pass { decode_context: 0, windowed_context: 0, ..pass };
        (step.ticks(&pass) - step.ticks(&without)) as f64 / TICKS_PER_NANO as f64 * 1e-9
    };
    // 23 layers see everything, 23 the last 4,096 tokens.
    let expected = |contexts: &[u64]| {
        let tokens: u64 = contexts.iter().map(|context| 23 * context + 23 * context.min(&4096)).sum();
        tokens as f64 * 2.0 * 16.0 * 128.0 * 2.0 / 3.35e12
    };
    for contexts in [&[1000][..], &[4096], &[4097], &[8000, 100, 5000]] {
        let (found, expected) = (attention(contexts), expected(contexts));
        assert!((found / expected - 1.0).abs() < 1e-4, "{contexts:?}: {found} s against {expected} s");
    }
    // Beyond the window a token costs what the global layers read, and what the others read is constant.
    let beyond = (attention(&[8000]) - attention(&[6000])) / (attention(&[3000]) - attention(&[1000]));
    assert!((beyond - 0.5).abs() < 1e-4, "{beyond}");
}

#[test]
fn a_window_ends_what_a_prompt_computes() {
    let step = step("h100-sxm", "gemma-2-27b", Precision::Bf16, 1, &perfect());
    // The pairs of queries and keys one by one, as whole and windowed layers have them.
    let pairs = |from: u64, to: u64, window: u64| (from..to).map(|at| (at + 1).min(window)).sum::<u64>();
    for (before, chunk) in [(0u64, 8192u64), (0, 4096), (3000, 2000), (5000, 512)] {
        let mut pass = Pass::default();
        pass.prefill(before, chunk, step.window());
        let (all, seen) = (pairs(before, before + chunk, u64::MAX), pairs(before, before + chunk, 4096));
        // A unit of work is half a pair, but for the diagonal: each token's own key counts half.
        assert_eq!(pass.prefill_work, 2 * all - chunk);
        let inside = (before + chunk).min(4096).saturating_sub(before);
        assert_eq!(pass.windowed_work, 2 * seen - inside, "{before} + {chunk}");
        let without = Pass { prefill_work: 0, windowed_work: 0, ..pass };
        let found = (step.ticks(&pass) - step.ticks(&without)) as f64 / TICKS_PER_NANO as f64 * 1e-9;
        // 32 heads of 128, two products of two operations.
        let expected = 23.0 * (all + seen) as f64 * 4.0 * 32.0 * 128.0 / 989.4e12;
        assert!((found / expected - 1.0).abs() < 1e-3, "{before} + {chunk}: {found} s against {expected} s");
    }
}

/// Seconds in which a step reads experts.
fn experts_seconds(step: &StepFunction, tokens: u64) -> f64 {
    step.by_tokens().at(tokens) as f64 / TICKS_PER_NANO as f64 * 1e-9
}

#[test]
fn shared_experts_and_dense_layers_are_always_read() {
    let step = step("h200-sxm", "deepseek-v3", Precision::Fp8, 8, &perfect());
    let deepseek = model("deepseek-v3").unwrap();
    let one = millis(&step, &decode(1, 1));
    let bytes = deepseek.active_layer_parameters()
        + 2 * (deepseek.embedding_parameters() + deepseek.other_parameters);
    let expected = bytes as f64 / 8.0 / 4.8e12 * 1e3;
    assert!((one / expected - 1.0).abs() < 0.01, "{one} ms against {expected} ms");
    // 256 experts, eight a token: 32 tokens read 163.3 of them, not all.
    let read = |tokens| experts_seconds(&step, tokens);
    let all = deepseek.expert_parameters() as f64 / 8.0 / 4.8e12;
    assert!((read(32) / all - (1.0 - libm::pow(31.0 / 32.0, 32.0))).abs() < 1e-6, "{}", read(32));
    assert!((read(4096) / all - 1.0).abs() < 1e-6);
}

#[test]
fn engines_that_share_out_experts_read_fewer_and_exchange_tokens() {
    let (gpu, deepseek) = (gpu("h200-sxm").unwrap(), model("deepseek-v3").unwrap());
    let on = |tensor_parallel, data_parallel| {
        let placement = Placement { tensor_parallel, data_parallel };
        let built = StepFunction::from_datasheet(
            gpu,
            deepseek,
            Precision::Fp8,
            Precision::Bf16,
            placement,
            &perfect(),
        );
        built.unwrap()
    };
    let (split, shared) = (on(8, 1), on(1, 8));
    // Each of eight engines holds an eighth of the experts and reads those that the tokens of all eight need: as many
    // as one engine with eight times the tokens that is split over eight GPUs.
    let experts = deepseek.expert_parameters() as f64 / 8.0 / 4.8e12;
    for tokens in [1, 4, 20] {
        let (read, of_one) = (experts_seconds(&shared, tokens), experts_seconds(&split, 8 * tokens));
        assert!((read / of_one - 1.0).abs() < 1e-6, "{tokens}: {read} s against {of_one} s");
    }
    let read = experts_seconds(&shared, 1000);
    assert!((read / experts - 1.0).abs() < 1e-6, "{read} s against {experts} s");
    let alone = *on(1, 1).coefficients();
    let (split, shared) = (*split.coefficients(), *shared.coefficients());
    // Each sends 7/8 of its eight copies of 7,168 values there and back over 450 GB/s in 58 layers.
    let exchanged = 58.0 * 2.0 * 7.0 * 7168.0 * 2.0 / 450e9;
    assert!((shared.per_token - alone.per_token).abs_diff(nearest(exchanged)) <= 1);
    // A token is computed by one GPU, not by all together.
    assert!(shared.gemm.slope > 7 * split.gemm.slope);
    for (model_id, tensor_parallel, data_parallel) in
        [("llama-3.1-8b", 1, 2), ("deepseek-v3", 4, 4), ("deepseek-v3", 1, 3), ("deepseek-v3", 1, 0)]
    {
        let placement = Placement { tensor_parallel, data_parallel };
        let error = check_placement(gpu, model(model_id).unwrap(), Precision::Bf16, placement).unwrap_err();
        assert!(error.to_string().starts_with(&format!("data_parallel_size = {data_parallel}")), "{error}");
    }
}

#[test]
fn precision_speeds_up_what_bandwidth_or_compute_bound_it() {
    let of = |gpu, precision| step(gpu, "llama-3.1-70b", precision, 8, &perfect());
    let streamed = |precision| model("llama-3.1-70b").unwrap().streamed_weight_bytes(precision) as f64;
    // Decoding one sequence is reading: the ratio of bytes, whatever the units compute.
    for gpu in ["h100-sxm", "a100-sxm-80gb"] {
        let wide = millis(&of(gpu, Precision::Bf16), &decode(1, 1));
        for precision in [Precision::Fp8, Precision::Int8, Precision::Int4] {
            let gain = wide / millis(&of(gpu, precision), &decode(1, 1));
            let bytes = streamed(Precision::Bf16) / streamed(precision);
            assert!((gain / bytes - 1.0).abs() < 0.01, "{gpu} {precision}: {gain} against {bytes}");
        }
    }
    // A long prompt is computing: 8-bit units double it where there are any, 4-bit weights never help.
    let slope = |gpu, precision| of(gpu, precision).coefficients().gemm.slope as f64;
    let gain = |gpu, precision| slope(gpu, Precision::Bf16) / slope(gpu, precision);
    for (gpu, precision, expected) in [
        ("h100-sxm", Precision::Fp8, 2.0),
        ("h100-sxm", Precision::Int8, 2.0),
        ("h100-sxm", Precision::Int4, 1.0),
        ("h100-sxm", Precision::Fp16, 1.0),
        ("a100-sxm-80gb", Precision::Fp8, 1.0),
        ("a100-sxm-80gb", Precision::Int8, 2.0),
    ] {
        let found = gain(gpu, precision);
        assert!((found / expected - 1.0).abs() < 0.001, "{gpu} {precision}: {found}");
    }
    // fp32 is computed outside the tensor cores.
    assert!(gain("h100-sxm", Precision::Fp32) < 0.1);
}

#[test]
fn a_host_decodes_at_the_pace_of_its_memory() {
    // 15.01 GB at 0.65 of 614 GB/s: 37.6 ms; an H100 is about seven times as fast.
    let host = step("cpu-m7i-metal-48xl", "llama-3.1-8b", Precision::Bf16, 1, &Efficiency::default());
    let single = millis(&host, &decode(1, 1));
    assert!((37.6..40.0).contains(&single), "{single} ms");
    let int8 = step("cpu-m7i-metal-48xl", "llama-3.1-8b", Precision::Int8, 1, &Efficiency::default());
    assert!(millis(&int8, &decode(1, 1)) < 0.6 * single);
}

#[test]
fn an_encoder_has_no_output_layer_and_sees_both_ways() {
    let step = step("l4", "bge-large-en-v1.5", Precision::Fp16, 1, &perfect());
    let coefficients = step.coefficients();
    assert_eq!((coefficients.head.slope, coefficients.per_sequence), (0, 0));
    // 2 FLOP x 16 heads x (64 + 64) for each of 512 x 512 pairs and 24 layers.
    let flops = 24.0 * 2.0 * 16.0 * 128.0;
    assert_eq!(coefficients.per_prefill_work, nearest(flops / 121e12));
}

#[test]
fn the_host_overlaps_or_adds() {
    let slow_host = Efficiency { host_step_us: 20_000.0, ..Efficiency::default() };
    let overlapped = step("h100-sxm", "llama-3.1-8b", Precision::Bf16, 1, &slow_host);
    assert_eq!(millis(&overlapped, &decode(1, 1)), 20.008);
    let inline = Efficiency { async_scheduling: false, ..slow_host };
    let added = millis(&step("h100-sxm", "llama-3.1-8b", Precision::Bf16, 1, &inline), &decode(1, 1));
    assert!(added > 25.0 && added < 27.0, "{added} ms");
}

#[test]
fn bad_efficiencies_name_the_parameter() {
    let (gpu, model, bf16) = (gpu("h100-sxm").unwrap(), model("llama-3.1-8b").unwrap(), Precision::Bf16);
    let bad = [
        (Efficiency { gemm_compute: Some(1.1), ..Efficiency::default() }, "gemm_compute = 1.1"),
        (Efficiency { weight_bandwidth: Some(0.0), ..Efficiency::default() }, "weight_bandwidth = 0"),
        (Efficiency { sustained_slowdown: 0.5, ..Efficiency::default() }, "sustained_slowdown = 0.5"),
        (Efficiency { step_gap_us: -1.0, ..Efficiency::default() }, "step_gap_us = -1"),
        (Efficiency { host_step_us: -0.5, ..Efficiency::default() }, "host_step_us = -0.5"),
        (Efficiency { host_step_us: f64::NAN, ..Efficiency::default() }, "host_step_us = NaN"),
        (Efficiency { all_reduce_bandwidth: f64::INFINITY, ..Efficiency::default() }, "all_reduce_bandwidth"),
    ];
    for (efficiency, expected) in bad {
        let error = StepFunction::from_datasheet(gpu, model, bf16, bf16, 1, &efficiency).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let error = StepFunction::from_datasheet(gpu, model, bf16, Precision::Int4, 1, &Efficiency::default());
    assert_eq!(error, Err(HardwareError::KvPrecision(Precision::Int4)));
    let error = StepFunction::from_datasheet(gpu, model, bf16, bf16, 0, &Efficiency::default());
    assert_eq!(error, Err(HardwareError::TensorParallel(0)));
}

#[test]
fn a_scenario_overrides_single_fields() {
    let parsed: Efficiency = toml::from_str("gemm_compute = 0.5\nstep_gap_us = 50").unwrap();
    let expected = Efficiency { gemm_compute: Some(0.5), step_gap_us: 50.0, ..Efficiency::default() };
    assert_eq!(parsed, expected);
    let message = toml::from_str::<Efficiency>("gemm_computation = 0.5").unwrap_err().to_string();
    assert!(message.contains("gemm_computation") && message.contains("gemm_compute"), "{message}");
    let schema = schemars::schema_for!(Efficiency);
    assert!(schema.to_value()["properties"]["host_step_us"]["description"].is_string());
}

proptest! {
    #[test]
    fn the_whole_catalogue_is_slower_than_its_memory(
        gpu_index in 0..gpus().len(),
        model_index in 0..models().len(),
        precision in proptest::sample::select(Precision::ALL.to_vec()),
        tensor_parallel in proptest::sample::select(TENSOR_PARALLEL.to_vec()),
        sequences in 8_u64..2_000,
        context in 1_u64..10_000,
    ) {
        let (gpu, model) = (&gpus()[gpu_index], models().nth(model_index).unwrap());
        for efficiency in [Efficiency::default(), perfect()] {
            let built =
                StepFunction::from_datasheet(gpu, model, precision, Precision::Fp8, tensor_parallel, &efficiency);
            if check_placement(gpu, model, precision, tensor_parallel.into()).is_err() {
                prop_assert!(built.is_err());
                continue;
            }
            let bytes = model.streamed_weight_bytes(precision) as f64 / tensor_parallel as f64;
            let floor = bytes / (gpu.memory_bandwidth * 1e9) * 1e3;
            // As many as it takes to need all experts but for e^-20 of them.
            let sequences = sequences.max(20 * model.experts.div_ceil(model.active_experts));
            let time = millis(&built.unwrap(), &decode(sequences, context));
            prop_assert!(time >= floor * (1.0 - 1e-6), "{} ms, floor {} ms", time, floor);
        }
    }
}
