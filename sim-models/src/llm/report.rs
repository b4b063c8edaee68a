//! What an LLM pool measures.

use sim_core::stats::Histogram;
use sim_core::time::SimTime;

use super::engine::{AdapterCounts, EngineConfig, Tally, Underway};
use crate::hardware::timing::{Pass, StepFunction, TICKS_PER_NANO};
use crate::measure::Measure;
use crate::pool::{EngineFigures, KvFigures};
use crate::turn::Prompt;

/// Calls that a pool refused, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rejected {
    /// As many calls as `queue_cap` allows waited already.
    pub queue_full: u64,
    /// No replica was up.
    pub no_replica: u64,
    /// Prompt and answer together are longer than `max_model_len`.
    pub exceeds_model: u64,
    /// Even alone it, or what is reserved for it, would not fit into the KV cache.
    pub exceeds_cache: u64,
}

impl Rejected {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.queue_full + self.no_replica + self.too_long()
    }

    /// Those that no load, and no number of replicas, would have let in.
    pub fn too_long(&self) -> u64 {
        self.exceeds_model + self.exceeds_cache
    }
}

/// Calls that a pool answered, and what they asked for: once, however often it was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answered {
    /// How many.
    pub calls: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Tokens of their answers.
    pub output_tokens: u64,
}

impl Answered {
    pub(super) fn count(&mut self, prompt: &Prompt) {
        self.calls += 1;
        self.prompt_tokens += u64::from(prompt.tokens());
        self.output_tokens += u64::from(prompt.output_tokens());
    }
}

/// What an LLM pool measured in the measured part of the run. Work is counted when its step ends.
#[derive(Debug, Clone, PartialEq)]
pub struct LlmReport {
    /// GPUs held, on average: those of replicas that start or leave are among them.
    pub gpus: f64,
    /// Share of the time that the GPUs held were in a step.
    pub gpu_busy: f64,
    /// KV blocks of a replica, the null block among them.
    pub kv_blocks: u32,
    /// Tokens that the KV cache of a replica holds; where layers have a window, of sequences within it.
    pub kv_tokens: u64,
    /// Tokens of the longest request that it holds alone.
    pub kv_longest: u64,
    /// Share of the KV blocks of the replicas held that were in use, averaged over time: in a step those that it was scheduled
    /// with, its own tokens' among them, and none between steps.
    pub kv_use_mean: f64,
    /// The largest share of one replica's KV blocks that was ever in use.
    pub kv_use_max: f64,
    /// Tokens that the sequences of a step have in the KV cache over the token slots of the blocks in use, both
    /// averaged over the time in steps: the rest is reserved for nothing yet, or for nothing ever. Above 1 where
    /// sequences share blocks. None without steps, and where blocks slide out of windows.
    pub kv_utilization: Option<f64>,
    /// Steps.
    pub steps: u64,
    /// Mean length of a step, in nanoseconds; none without steps.
    pub step_time_mean: Option<f64>,
    /// Sequences in a step, averaged over the time in steps; none without steps.
    pub batch_mean: Option<f64>,
    /// The most sequences in a step, `max_num_seqs`.
    pub max_num_seqs: u32,
    /// Tokens computed in a step, on average; none without steps.
    pub step_tokens_mean: Option<f64>,
    /// The most tokens in a step, `max_num_batched_tokens`.
    pub max_num_batched_tokens: u32,
    /// How many times as long an average step would take with twice as many sequences, tokens and context: near
    /// 1 where it is bound by reading the weights and by what every step costs, so that larger batches pay; near
    /// 2 where it is bound by computing and by reading contexts. None without steps.
    pub doubling: Option<f64>,
    /// Preemptions: sequences whose KV blocks were taken away.
    pub preemptions: u64,
    /// Tokens that admitted sequences found in the prefix cache.
    pub prefix_hit_tokens: u64,
    /// Tokens that they looked for: their prompts, and what they had generated before a preemption.
    pub prefix_query_tokens: u64,
    /// Prompt tokens computed, and tokens computed again after a preemption.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
    /// Time between two tokens of a sequence, in ticks of 1/1024 ns.
    pub itl: Histogram,
    /// Calls refused.
    pub rejected: Rejected,
    /// Calls answered.
    pub answered: Answered,
    /// How far the step times can be trusted, in words.
    pub calibration: String,
}

/// What an engine with drafts or adapters measured beside the report.
pub(super) fn of_features(config: &EngineConfig, tally: &Tally) -> Vec<Measure> {
    let mut all = Vec::new();
    if config.speculative.is_some() {
        let Tally { draft_tokens, accepted_tokens, .. } = *tally;
        all.push(Measure::share(
            "draft_acceptance_ratio",
            accepted_tokens,
            draft_tokens,
            "accepted drafts by drafts",
        ));
        all.push(Measure::count("draft_tokens", draft_tokens, "drafted tokens that were verified"));
    }
    if let Some(lora) = &config.lora {
        let AdapterCounts { hits, copies, reads } = tally.adapters;
        let ticks = copies as f64 * lora.copy_ticks as f64 + reads as f64 * lora.read_ticks as f64;
        let seconds = ticks / (TICKS_PER_NANO as f64 * 1e9);
        all.extend([
            Measure::share(
                "adapter_hit_ratio",
                hits,
                hits + copies,
                "admissions that found their adapter on the GPU",
            ),
            Measure::count("adapter_loads", copies, "adapters copied to the GPU"),
            Measure::count("adapter_reads", reads, "adapters read from disk"),
            Measure::new("adapter_wait_s", seconds, "time that steps waited for adapters, at full pace"),
        ]);
    }
    all
}

/// Collects the report.
#[derive(Debug)]
pub(super) struct Measures {
    /// What the engine of each replica counts.
    pub(super) tallies: Vec<Tally>,
    /// For each replica the time in the step underway when the measured part began, and the same times its
    /// KV blocks and times its tokens.
    before: Vec<[u128; 3]>,
    /// When the measured part began.
    since: SimTime,
    pub(super) rejected: Rejected,
    pub(super) answered: Answered,
}

/// Replicas that are alike.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) replicas: u32,
    /// KV blocks of each, without the null block.
    pub(super) usable_blocks: u32,
    /// What each counts among all GPUs.
    pub(super) weight: u64,
}

/// What does not change during a run.
#[derive(Debug)]
pub(super) struct Facts {
    /// In order; decode workers before prefill workers.
    pub(super) groups: Vec<Group>,
    /// Of each replica but prefill workers; none where all share one.
    pub(super) gpus_of_replica: Option<u64>,
    pub(super) kv_blocks: u32,
    pub(super) block_size: u32,
    pub(super) kv_tokens: u64,
    pub(super) kv_longest: u64,
    /// Whether blocks slide out of windows.
    pub(super) slides: bool,
    pub(super) calibration: String,
    pub(super) max_num_seqs: u32,
    pub(super) max_num_batched_tokens: u32,
    pub(super) step: StepFunction,
}

impl Facts {
    /// See [`LlmReport::doubling`]. The attention of prefills, of which sums are not kept, is left out.
    fn doubling(&self, tally: &Tally) -> Option<f64> {
        let context = tally.token_ticks as f64 / tally.ticks as f64;
        let (batch, tokens) = (batch_mean(tally)?, step_tokens_mean(tally)?);
        let time = |times: f64| {
            // As if each had as much of the context.
            let windowed = self.step.window().map_or(0.0, |window| context.min(batch * window as f64));
            let pass = Pass {
                sequences: (times * batch).round() as u64,
                new_tokens: (times * tokens).round() as u64,
                decode_context: (times * context).round() as u64,
                windowed_context: (times * windowed).round() as u64,
                ..Pass::default()
            };
            self.step.checked_ticks(&pass).map(|ticks| ticks as f64)
        };
        Some(time(2.0)? / time(1.0)?)
    }
}

/// Time in the step underway, and the same times its KV blocks and times its tokens.
fn integrals(step: Underway) -> [u128; 3] {
    let ticks = u128::from(step.ticks);
    [ticks, ticks * u128::from(step.blocks), ticks * u128::from(step.tokens)]
}

fn step_time_mean(tally: &Tally) -> Option<f64> {
    (tally.steps > 0).then(|| tally.ticks as f64 / TICKS_PER_NANO as f64 / tally.steps as f64)
}

fn batch_mean(tally: &Tally) -> Option<f64> {
    (tally.steps > 0).then(|| tally.sequence_ticks as f64 / tally.ticks as f64)
}

fn step_tokens_mean(tally: &Tally) -> Option<f64> {
    let rejected = tally.draft_tokens - tally.accepted_tokens;
    let tokens = tally.prompt_tokens + tally.output_tokens + rejected;
    (tally.steps > 0).then(|| tokens as f64 / tally.steps as f64)
}

impl Measures {
    pub(super) fn new(replicas: u32) -> Self {
        Self {
            tallies: vec![Tally::default(); replicas as usize],
            before: vec![[0; 3]; replicas as usize],
            since: SimTime::ZERO,
            rejected: Rejected::default(),
            answered: Answered::default(),
        }
    }

    /// The measured part begins, with these steps underway, one for each replica.
    pub(super) fn reset(&mut self, now: SimTime, underway: impl Iterator<Item = Underway>) {
        self.tallies.fill(Tally::default());
        self.before = underway.map(integrals).collect();
        self.since = now;
        self.rejected = Rejected::default();
        self.answered = Answered::default();
    }

    /// What was measured until `now`, when these steps are underway: by the pool, and by each replica. Of
    /// replicas that are not prefill workers `held` were paid for, on average.
    pub(super) fn report(
        &self,
        tallies: &[Tally],
        underway: &[Underway],
        facts: &Facts,
        held: f64,
        now: SimTime,
    ) -> (LlmReport, Vec<EngineFigures>) {
        let elapsed = (now.since(self.since).as_nanos() as f64) * TICKS_PER_NANO as f64;
        let share = |sum: u128, of: f64| if elapsed > 0.0 { sum as f64 / (elapsed * of) } else { 0.0 };
        let (mut all, mut busy, mut used, mut filled, mut most) = (Tally::default(), 0, 0, 0, 0.0f64);
        // Prefill workers are bound by something else.
        let mut decoders = Tally::default();
        let beside = facts.groups.get(1);
        let all_held = |of: fn(&Group) -> u64| {
            let beside = beside.map_or(0, |group| of(group) * u64::from(group.replicas));
            held * of(&facts.groups[0]) as f64 + beside as f64
        };
        let mut replicas = Vec::with_capacity(tallies.len());
        let groups = facts.groups.iter().enumerate();
        let groups = groups.flat_map(|(place, group)| (0..group.replicas).map(move |_| (place, group)));
        for (((tally, step), before), (place, group)) in
            tallies.iter().zip(underway).zip(&self.before).zip(groups)
        {
            let usable = f64::from(group.usable_blocks);
            let [time, blocks, tokens] = integrals(*step);
            let block_ticks = tally.block_ticks + blocks - before[1];
            let blocks_max = tally.blocks_max.max(step.blocks);
            let ticks = tally.ticks + tally.lost_ticks + time - before[0];
            busy += ticks * u128::from(group.weight);
            used += block_ticks;
            filled += tally.token_ticks + tokens - before[2];
            most = most.max(f64::from(blocks_max) / usable);
            all.add(tally);
            if place == 0 {
                decoders.add(tally);
            }
            replicas.push(EngineFigures {
                busy: share(ticks, 1.0),
                steps: tally.steps,
                step_time_mean: step_time_mean(tally),
                batch_mean: batch_mean(tally),
                kv: Some(KvFigures {
                    use_mean: share(block_ticks, usable),
                    use_max: f64::from(blocks_max) / usable,
                    preemptions: tally.preemptions,
                    prefix_hit_tokens: tally.prefix_hit_tokens,
                    prefix_query_tokens: tally.prefix_query_tokens,
                }),
            });
        }
        let pool = LlmReport {
            gpu_busy: share(busy, all_held(|group| group.weight)),
            gpus: facts.gpus_of_replica.map_or(1.0, |gpus| {
                held * gpus as f64 + beside.map_or(0, |group| group.weight * u64::from(group.replicas)) as f64
            }),
            kv_blocks: facts.kv_blocks,
            kv_tokens: facts.kv_tokens,
            kv_longest: facts.kv_longest,
            kv_use_mean: share(used, all_held(|group| group.usable_blocks.into())),
            kv_use_max: most,
            kv_utilization: (used > 0 && !facts.slides)
                .then(|| filled as f64 / (used as f64 * f64::from(facts.block_size))),
            steps: all.steps,
            step_time_mean: step_time_mean(&all),
            batch_mean: batch_mean(&all),
            max_num_seqs: facts.max_num_seqs,
            step_tokens_mean: step_tokens_mean(&all),
            max_num_batched_tokens: facts.max_num_batched_tokens,
            doubling: facts.doubling(&decoders),
            preemptions: all.preemptions,
            prefix_hit_tokens: all.prefix_hit_tokens,
            prefix_query_tokens: all.prefix_query_tokens,
            prompt_tokens: all.prompt_tokens,
            output_tokens: all.output_tokens,
            itl: all.itl,
            rejected: self.rejected,
            answered: self.answered,
            calibration: facts.calibration.clone(),
        };
        (pool, replicas)
    }
}
