//! A profile of an engine's own operations, timed one by one, and of its host.
//!
//! Operations give everything that hangs on the batch. Steps of models without work for the device, and requests that
//! came one at a time, give the time of the host, which is the same for every model; what single requests took beyond
//! both is the gap between steps. Nothing is taken from the runs that are predicted.
//!
//! The engine runs query, key and value projections and the two of the feed-forward part one by one, where a step
//! function counts them as merged: the table of matrix products has the sums at the merged shapes. An engine with
//! graphs pads its batches, so that times go up in stairs.

use sim_models::hardware::catalogue::{self, Gpu, Model};
use sim_models::hardware::fitted::Fitted;
use sim_models::hardware::microbench::{Line, Raw};
use sim_models::hardware::precision::Precision;
use sim_models::hardware::profile::{
    ElementwiseKernel, ElementwiseTable, FORMAT, GemmTable, Overheads, Profile, SamplingTable,
};
use sim_models::hardware::timing::{Pass, StepFunction, TICKS_PER_NANO};
use sim_models::llm::FrontEnd;
use sim_models::llm::engine::EngineConfig;
use sim_models::llm::replay::Replica;

use super::attention::Attention;
use super::least_squares::not_negative;
use super::records::{EngineFacts, Purpose, Records, Run, Step};
use super::{EngineCheckError, Pair, mean};

/// The least that a profile may say of a time, in microseconds.
pub(super) const LEAST_US: f64 = 1e-3;

/// An engine as it is predicted under one mix of requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibrated {
    /// What the records say of it.
    pub facts: EngineFacts,
    /// The mix: how sequences differ in length tells in the time of attention.
    pub mix: String,
    /// Its model.
    pub model: Model,
    /// Its operations and its host.
    pub profile: Profile,
    /// How long an idle engine takes to begin.
    pub fitted: Fitted,
    /// How well the parts agree with the steps of single requests.
    pub parts: Parts,
    /// What the host takes of a step.
    host: Host,
}

/// Steps of single requests, in microseconds: means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parts {
    /// What the operations take together.
    pub operations_us: f64,
    /// What the host takes before and behind the forward pass.
    pub host_us: f64,
    /// What the whole step took.
    pub step_us: f64,
}

impl Calibrated {
    /// Finds the parameters of the engine `name` under `mix`; `operations` and `attention` are those of it.
    ///
    /// # Errors
    /// Operations or runs that are not there, and a GPU that the catalogue lacks.
    pub fn new(
        records: &Records,
        name: &str,
        mix: &str,
        operations: &Raw,
        attention: &Attention,
    ) -> Result<Self, EngineCheckError> {
        let lacks = |what: &str| EngineCheckError::Lacks { engine: name.to_owned(), what: what.to_owned() };
        let facts = records.engines.get(name).ok_or_else(|| lacks("a line of its facts"))?;
        let gpu = gpu_of(&records.machine.device)?;
        let model = model_of(facts)?;
        let precision = if facts.dtype == "float32" { Precision::Fp32 } else { Precision::Bf16 };
        let times = Operations { raw: operations, stairs: stairs(facts), precision };

        let single: Vec<&Run> = runs(records, name, Purpose::Single).collect();
        let steps: Vec<&Step> = single.iter().flat_map(|run| decodes(run)).collect();
        if steps.is_empty() {
            return Err(lacks("a run of single requests"));
        }
        let host = Host::of(records, facts);
        let layers = model.layers as f64;
        let (mut decode, mut prefill) = attention
            .tables(mix, &model, precision)
            .ok_or_else(|| lacks(&format!("timings of attention in batches of {mix}")))?;
        // A sequence alone is not hidden behind others: the line through all batches is too low for it.
        let alone = attention.alone().ok_or_else(|| lacks("timings of attention of one sequence"))?;
        let kv_bytes = model.kv_bytes_per_token(precision, 1).unwrap_or(1) as f64;
        let among = (decode.floor_us + decode.sequence_us, 1e-3 * kv_bytes / layers / decode.gb_s);
        // The host writes down a place in the cache for each token that is read, and for each new one.
        decode.gb_s = 1e-3 / (1e-3 / decode.gb_s + host.context_us / kv_bytes);
        prefill.token_ns += host.query_us * 1e3 / layers;

        let source =
            format!("torch {}, transformers {}", records.machine.torch, records.machine.transformers);
        let profile = Profile {
            format: FORMAT,
            id: profile_id(&format!("{name}-{mix}")),
            gpu: gpu.id.clone(),
            device: records.machine.device.clone(),
            kernel_set: format!("operations of {name} ({source})"),
            source: "validation/engine/operations.py".into(),
            licence: "as of the records".into(),
            measured: format!("{} seconds after 1970-01-01", records.machine.unix_seconds),
            fitted: "when read".into(),
            estimate: None,
            overheads: Overheads {
                step_gap_us: LEAST_US,
                host_step_us: host.step_us.max(LEAST_US),
                host_sequence_us: host.sequence_us.max(LEAST_US),
                sustained_slowdown: 1.0,
                source: "steps of models without work for the device, and of single requests".into(),
                ..Overheads::default()
            },
            gemm: vec![times.gemm(&model).ok_or_else(|| lacks("timings of all linear layers"))?],
            decode_attention: vec![decode],
            prefill_attention: vec![prefill],
            elementwise: times.elementwise().ok_or_else(|| lacks("timings of element-wise kernels"))?,
            sampling: vec![times.sampling().ok_or_else(|| lacks("timings of choosing tokens"))?],
            experts: vec![],
            all_reduce: vec![],
        };
        let wake = single
            .iter()
            .flat_map(|run| &run.requests)
            .filter_map(|seen| Some(seen.admitted? - seen.arrival));
        let fitted = Fitted {
            wake_us: Some((1e6 * mean(wake).unwrap_or(0.0)).clamp(0.0, 1e6)),
            ..Fitted::neutral(1.0, format!("single requests of {name}"))
        };
        let mut own = Self {
            facts: facts.clone(),
            mix: mix.to_owned(),
            model,
            profile,
            fitted,
            parts: Parts { operations_us: 0.0, host_us: 0.0, step_us: 0.0 },
            host,
        };
        let step = own.step()?;
        let less = |s: &Step| layers * (among.0 - alone.0 + (among.1 - alone.1) * s.context as f64);
        let predicted = mean(steps.iter().map(|s| pass_us(&step, s) - less(s))).unwrap_or(0.0);
        let step_us = mean(steps.iter().map(|s| s.us())).unwrap_or(0.0);
        let host_us = mean(steps.iter().map(|s| own.host.us(s))).unwrap_or(0.0);
        own.parts = Parts { operations_us: predicted - own.host.shown(host_us), host_us, step_us };
        own.profile.overheads.step_gap_us = (step_us - predicted).max(LEAST_US);
        own.profile.check().map_err(|error| EngineCheckError::Hardware(error.into()))?;
        Ok(own)
    }

    /// The time of its steps.
    ///
    /// # Errors
    /// What the profile lacks.
    pub fn step(&self) -> Result<StepFunction, EngineCheckError> {
        let gpu = catalogue::gpu(&self.profile.gpu).map_err(sim_models::hardware::HardwareError::from)?;
        let precision = self.precision();
        Ok(StepFunction::from_profile(
            &self.profile,
            gpu,
            &self.model,
            precision,
            precision,
            1,
            self.facts.asynchronous,
            Some(&self.fitted),
        )?)
    }

    /// The device's and the host's time of the steps of `run`, in microseconds, on average: of the batches that it had,
    /// prompts taken as begun in their step. `step` is [`Calibrated::step`].
    pub(super) fn steps_of(&self, run: &Run, step: &StepFunction) -> Option<[Pair<f64>; 2]> {
        let steps = || run.steps.iter().filter(|step| !step.captured);
        let of = |value: &dyn Fn(&Step) -> f64| mean(steps().map(value));
        let pair = |predicted, measured| Some(Pair { predicted: predicted?, measured: measured? });
        let host = &self.host;
        let device = pair(
            of(&|s| pass_us(step, s) - host.shown(host.us(s))),
            of(&|s| s.us() - host.shown(host.part(s))),
        );
        Some([device?, pair(of(&|s| host.us(s)), of(&|s| host.part(s)))?])
    }

    /// The number format of its weights and its KV cache.
    pub fn precision(&self) -> Precision {
        self.profile.gemm[0].precision
    }

    /// Settings of the `llm` component that schedule as this engine does: `FIFOScheduler` of transformers'
    /// `generation/continuous_batching/scheduler.py` lets all that decode have their token, then a prompt that was begun
    /// its rest, then those that wait in the order of their arrival, within the budget of tokens and of places, as
    /// vLLM's does. Unlike vLLM's it keeps `safety_margin` of the blocks free of new prompts, and takes up to a block
    /// more than a sequence needs: both show only when the cache is nearly full.
    pub fn config(&self) -> EngineConfig {
        EngineConfig {
            max_num_batched_tokens: self.facts.batch_tokens,
            max_num_seqs: self.facts.batch_requests,
            block_size: self.facts.cache_block_size,
            enable_prefix_caching: false,
            async_scheduling: self.facts.asynchronous,
            // With vLLM's null block.
            ..EngineConfig::new(self.facts.cache_blocks + 1)
        }
    }

    /// One engine, ready to be asked.
    ///
    /// # Errors
    /// As [`Calibrated::step`].
    pub fn replica(&self) -> Result<Replica, EngineCheckError> {
        Ok(Replica { engine: self.config(), step: self.step()?, frontend: FrontEnd::default() })
    }
}

/// The GPU of the catalogue that a device is; a CPU stands in its place for a host of the catalogue, of which nothing is
/// taken but the memory's bandwidth, below which no step is.
fn gpu_of(device: &str) -> Result<&'static Gpu, EngineCheckError> {
    let own = |gpu: &&Gpu| {
        let family = gpu.id.split('-').next().unwrap_or_default();
        let named = device.to_lowercase().split_whitespace().any(|word| word == family);
        named && (gpu.id.ends_with("-pcie") == device.to_lowercase().contains("pcie"))
    };
    let found = match device {
        "cpu" => catalogue::gpus().iter().find(|gpu| gpu.is_host()),
        _ => catalogue::gpus().iter().find(own),
    };
    found.ok_or_else(|| EngineCheckError::Device(device.to_owned()))
}

fn model_of(facts: &EngineFacts) -> Result<Model, EngineCheckError> {
    let text = config_json(facts);
    Model::from_json(&text, &facts.model).map_err(|error| EngineCheckError::Model(error.to_string()))
}

/// The model's settings as a `config.json`.
pub fn config_json(facts: &EngineFacts) -> String {
    let mut shape = facts.shape.clone();
    for (key, value) in [
        ("model_type", "llama".into()),
        ("max_position_embeddings", 131_072.into()),
        ("torch_dtype", facts.dtype.clone().into()),
    ] {
        let _ = shape.entry(key).or_insert(value);
    }
    serde_json::Value::Object(shape).to_string()
}

fn profile_id(name: &str) -> String {
    let own: String =
        name.to_lowercase().chars().filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c)).collect();
    own.chars().take(64).collect()
}

/// Tokens up to which a batch is padded.
fn stairs(facts: &EngineFacts) -> Option<u64> {
    facts.cuda_graph.then_some(u64::from(facts.q_padding_interval_size))
}

fn runs<'a>(records: &'a Records, engine: &'a str, purpose: Purpose) -> impl Iterator<Item = &'a Run> {
    records.runs.iter().filter(move |run| run.facts.engine == engine && run.facts.purpose == purpose)
}

/// Steps in which one sequence decodes.
fn decodes(run: &Run) -> impl Iterator<Item = &Step> {
    run.steps.iter().filter(|step| step.sequences == 1 && step.queries == 1 && !step.captured)
}

/// The pass of a step, whose tokens beyond one for each sequence are those of one prompt.
fn pass_us(step: &StepFunction, seen: &Step) -> f64 {
    let mut pass = Pass::default();
    let chunk = if seen.queries > seen.sequences { seen.queries + 1 - seen.sequences } else { 0 };
    let decoding = seen.sequences - u64::from(chunk > 0);
    let context = seen.context.saturating_sub(chunk + decoding);
    for number in 0..decoding {
        pass.decode(context * (number + 1) / decoding - context * number / decoding, 0, None);
    }
    if chunk > 0 {
        pass.prefill(0, chunk, None);
    }
    step.ticks(&pass) as f64 / TICKS_PER_NANO as f64 / 1e3
}

/// The host's time in a step, in microseconds: of asynchronous engines with starting the forward pass, and by sequences
/// alone, as a step function has it.
#[derive(Debug, Clone, PartialEq)]
struct Host {
    asynchronous: bool,
    step_us: f64,
    sequence_us: f64,
    context_us: f64,
    query_us: f64,
}

impl Host {
    /// Of a step.
    fn us(&self, seen: &Step) -> f64 {
        let Self { step_us, sequence_us, context_us, query_us, .. } = self;
        let (sequences, context, queries) = (seen.sequences as f64, seen.context as f64, seen.queries as f64);
        step_us + sequence_us * sequences + context_us * context + query_us * queries
    }

    /// From the steps of models without work that stand for others, and of single requests: what the host does for a
    /// batch is the same for every model, and more runs level out how fast its processors were in each.
    fn of(records: &Records, facts: &EngineFacts) -> Self {
        let alike =
            |own: &EngineFacts| (own.cuda_graph, own.asynchronous) == (facts.cuda_graph, facts.asynchronous);
        let own = |run: &&Run| {
            let known = matches!(run.facts.purpose, Purpose::Host | Purpose::Single);
            known && records.engines.get(&run.facts.engine).is_some_and(alike)
        };
        let asynchronous = facts.asynchronous;
        let mut host = Self { asynchronous, step_us: 0.0, sequence_us: 0.0, context_us: 0.0, query_us: 0.0 };
        let steps = records.runs.iter().filter(own).flat_map(|run| &run.steps);
        let points: Vec<([f64; 4], f64)> = steps
            .filter(|step| !step.captured)
            .map(|s| {
                let more = if asynchronous { [0.0; 2] } else { [s.context as f64, s.queries as f64] };
                ([1.0, s.sequences as f64, more[0], more[1]], host.part(s))
            })
            .collect();
        [host.step_us, host.sequence_us, host.context_us, host.query_us] = not_negative(&points);
        host
    }

    /// Of its time `us`, what shows in a step: nothing that is hidden behind the device.
    fn shown(&self, us: f64) -> f64 {
        if self.asynchronous { 0.0 } else { us }
    }

    /// What was measured of it in a step.
    fn part(&self, seen: &Step) -> f64 {
        seen.prepare + seen.update + if self.asynchronous { seen.launch } else { 0.0 }
    }
}

/// What was timed, by what a step function asks for.
struct Operations<'a> {
    raw: &'a Raw,
    stairs: Option<u64>,
    precision: Precision,
}

impl Operations<'_> {
    /// Counts and their times: with padding each time is that of all counts up to it.
    fn spread(&self, points: Vec<(u64, f64)>) -> (Vec<u64>, Vec<f64>) {
        let mut points = points;
        points.sort_by_key(|point| point.0);
        points.dedup_by_key(|point| point.0);
        let mut most = 0.0_f64;
        let mut spread: Vec<(u64, f64)> = Vec::new();
        let mut from = 1;
        for (count, us) in points {
            most = most.max(us);
            if self.stairs.is_some() && from < count {
                spread.push((from, most));
            }
            spread.push((count, most));
            from = count + 1;
        }
        spread.into_iter().unzip()
    }

    /// The times of a linear layer by tokens.
    fn linear(&self, n: u64, k: u64) -> Vec<(u64, f64)> {
        let own = |line: &Line| match line {
            Line::Gemm { m, n: columns, k: rows, time, .. } if (*columns, *rows) == (n, k) => {
                Some((*m, time.us))
            }
            _ => None,
        };
        self.raw.lines.iter().filter_map(own).collect()
    }

    /// Linear layers, those that a step function takes as merged one after the other.
    fn gemm(&self, model: &Model) -> Option<GemmTable> {
        let (hidden, ffn) = (model.hidden, model.ffn);
        let (query, key) = (model.heads * model.head_dim, model.kv_heads * model.head_dim);
        let merged = [
            (query + 2 * key, hidden, vec![(query, hidden), (key, hidden), (key, hidden)]),
            (hidden, query, vec![(hidden, query)]),
            (2 * ffn, hidden, vec![(ffn, hidden), (ffn, hidden)]),
            (hidden, ffn, vec![(hidden, ffn)]),
            (model.vocab, hidden, vec![(model.vocab, hidden)]),
        ];
        let mut shapes: Vec<((u64, u64), Vec<f64>)> = Vec::new();
        let mut counts: Option<Vec<u64>> = None;
        for (n, k, parts) in merged {
            let mut sum: Vec<f64> = Vec::new();
            for (columns, rows) in parts {
                let (m, us) = self.spread(self.linear(columns, rows));
                if m.is_empty() || counts.get_or_insert_with(|| m.clone()) != &m {
                    return None;
                }
                sum.resize(us.len(), 0.0);
                sum.iter_mut().zip(us).for_each(|(sum, us)| *sum += us);
            }
            if shapes.iter().any(|(shape, _)| *shape == (n, k)) {
                return None;
            }
            shapes.push(((n, k), sum));
        }
        let axis = |pick: fn(&(u64, u64)) -> u64| {
            let mut values: Vec<u64> = shapes.iter().map(|(shape, _)| pick(shape)).collect();
            values.sort_unstable();
            values.dedup();
            values
        };
        let (n, k) = (axis(|shape| shape.0), axis(|shape| shape.1));
        let mut us = Vec::new();
        for columns in &n {
            for rows in &k {
                // Shapes that the model does not have are never asked for: in proportion to one that it has.
                let own = shapes.iter().find(|(shape, _)| *shape == (*columns, *rows));
                let near = || shapes.iter().find(|((n, _), _)| n == columns);
                let ((_, found), times) = own.or_else(near)?;
                let share = *rows as f64 / *found as f64;
                us.push(times.iter().map(|us| us * share).collect());
            }
        }
        Some(GemmTable { precision: self.precision, m: counts?, n, k, us, gap_us: 0.0 })
    }

    fn elementwise(&self) -> Option<Vec<ElementwiseTable>> {
        use ElementwiseKernel::{AddRmsNorm, RopeCache, SiluMul};
        [AddRmsNorm, RopeCache, SiluMul]
            .into_iter()
            .map(|kernel| {
                let own = self.raw.lines.iter().filter_map(|line| match line {
                    Line::Elementwise { what, tokens, width, time, .. } if what == kernel.name() => {
                        Some((*width, (*tokens, time.us)))
                    }
                    _ => None,
                });
                let (widths, points): (Vec<u64>, Vec<(u64, f64)>) = own.unzip();
                let (tokens, us) = self.spread(points);
                Some(ElementwiseTable { kernel, width: *widths.first()?, tokens, us })
            })
            .collect()
    }

    fn sampling(&self) -> Option<SamplingTable> {
        let own = self.raw.lines.iter().filter_map(|line| match line {
            Line::Sampling { sequences, vocabulary, time } => Some((*vocabulary, (*sequences, time.us))),
            _ => None,
        });
        let (vocabularies, points): (Vec<u64>, Vec<(u64, f64)>) = own.unzip();
        let (sequences, us) = self.spread(points);
        Some(SamplingTable { vocabulary: *vocabularies.first()?, sequences, us })
    }
}
