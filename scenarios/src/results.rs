//! What a run gives: frames with documented columns, verdicts on the SLO, findings in words, and where
//! it all comes from.

mod averages;
pub mod columns;
pub mod dashboard;
pub(crate) mod findings;
mod frames;
pub(crate) mod json;
mod llm;
mod metrics;
mod perfetto;
mod requests;
pub mod show;
pub(crate) mod stamp;
mod steady;
pub(crate) mod table;
pub(crate) mod trend;
mod verdicts;
pub(crate) mod write;

use std::collections::BTreeMap;

use serde::Serialize;
use sim_models::system::{RunOutput, RunPlan};

use crate::language::BASE;
use crate::scenario::Scenario;
pub use averages::{Average, AverageRow};
pub(crate) use verdicts::too_few_answers;
pub use verdicts::{CONFIDENCE, Verdict};
pub use write::{Format, ResultsError, UnknownFormat, check_writable, result_files, write_text};

/// A run and everything that is said about it.
#[derive(Debug, Clone)]
pub struct RunResult {
    /// The scenario as it was run.
    pub scenario: Scenario,
    /// Name of the variant; `base` for the scenario as it is written.
    pub variant: String,
    /// The plan of its replication 0: durations, the warm-up found, the load.
    pub plan: RunPlan,
    /// Numbers of the replications that finished, in order.
    pub replications: Vec<u64>,
    /// What they left, in the same order.
    pub outputs: Vec<RunOutput>,
    /// Where the results come from.
    pub provenance: Provenance,
    /// What became of every expectation of the SLO.
    pub verdicts: Vec<Verdict>,
    /// Why what was measured does not last, in words: queues that grow, requests that pile up. Empty where nothing does.
    pub filling: Vec<String>,
    /// What is worth knowing, in sentences, the most important first.
    pub findings: Vec<String>,
    /// Set when the run was cancelled before all replications had finished.
    pub interrupted: Option<Interrupted>,
}

/// A run that was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Interrupted {
    /// Replications that finished.
    pub finished: u64,
    /// Replications that were planned.
    pub planned: u64,
}

/// Where results come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Provenance {
    /// Name of the scenario.
    pub scenario: String,
    /// Hash of its canonical form, in hexadecimal.
    pub scenario_hash: String,
    /// Name of the variant.
    pub variant: String,
    /// Load relative to the scenario's.
    pub multiplier: f64,
    /// Hashes of the traces that were replayed, by traffic source, in hexadecimal.
    pub traces: BTreeMap<String, String>,
    /// Seed of all randomness.
    pub seed: u64,
    /// Version of the simulator.
    pub version: String,
    /// Version of the columns.
    pub columns_version: u32,
    /// Simulated time in which requests were born, in seconds.
    pub duration_s: f64,
    /// Simulated time allowed after it for requests to end, in seconds.
    pub drain_s: f64,
    /// What was left out at the start, in seconds.
    pub warmup_s: f64,
    /// Numbers of the replications that finished.
    pub replications: Vec<u64>,
    /// Their hashes over every event, in hexadecimal.
    pub fingerprints: Vec<String>,
    /// Their hashes over the end of every request, in hexadecimal.
    pub outcome_hashes: Vec<String>,
    /// Where GPU times come from, the least certain of all; `none` without GPUs.
    pub calibration: String,
    /// Set when the run was cancelled.
    pub interrupted: Option<Interrupted>,
}

/// A hash as results write it.
pub(crate) fn hex(hash: u64) -> String {
    format!("{hash:016x}")
}

impl RunResult {
    pub(crate) fn new(
        scenario: Scenario,
        hash: u64,
        plan: RunPlan,
        replications: Vec<u64>,
        outputs: Vec<RunOutput>,
        interrupted: Option<Interrupted>,
        notes: Vec<String>,
    ) -> Self {
        let variant = BASE.to_owned();
        let provenance = Provenance {
            scenario: scenario.name.clone(),
            scenario_hash: hex(hash),
            variant: variant.clone(),
            multiplier: plan.scale,
            traces: BTreeMap::new(),
            seed: plan.seed,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            columns_version: columns::VERSION,
            duration_s: plan.duration.as_secs_f64(),
            drain_s: plan.drain.as_secs_f64(),
            warmup_s: plan.warmup.as_secs_f64(),
            replications: replications.clone(),
            fingerprints: outputs.iter().map(|output| hex(output.fingerprint.value())).collect(),
            outcome_hashes: outputs.iter().map(|output| hex(output.outcome_hash)).collect(),
            calibration: llm::worst_calibration(&outputs),
            interrupted,
        };
        let verdicts = verdicts::verdicts(&scenario.slo, &outputs);
        let mut result = Self {
            scenario,
            variant,
            plan,
            replications,
            outputs,
            provenance,
            verdicts,
            filling: Vec::new(),
            findings: Vec::new(),
            interrupted,
        };
        result.filling = steady::filling(&result);
        result.findings = findings::findings(&result, notes);
        result
    }

    /// The same result under the name of a variant.
    pub fn named(mut self, variant: impl Into<String>) -> Self {
        self.variant = variant.into();
        self.provenance.variant.clone_from(&self.variant);
        self
    }

    /// Whether every expectation of the SLO was met, in a system that does not fill up; `None` when there is none, or
    /// nothing was run.
    pub fn passed(&self) -> Option<bool> {
        let judged = !self.verdicts.is_empty() && !self.outputs.is_empty();
        judged.then(|| self.filling.is_empty() && self.verdicts.iter().all(|verdict| verdict.pass))
    }
}
