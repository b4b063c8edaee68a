//! What a pool has measured.

use sim_core::time::SimTime;

use super::Pool;
use crate::energy::Power;
use crate::llm::engine::Tally;
use crate::llm::report::of_features;
use crate::llm::{LlmReport, Rejected};
use crate::measure::Measure;
use crate::pool::{EngineFigures, PoolReport};

impl Pool {
    /// What the pool and each of its engines have measured.
    pub(super) fn measured(&self, now: SimTime) -> (LlmReport, Vec<EngineFigures>) {
        let mut tallies = self.measures.tallies.clone();
        let mut underway = Vec::with_capacity(self.replicas.len());
        for (replica, tally) in self.replicas.iter().zip(&mut tallies) {
            let mut engine = replica.engine.clone();
            engine.settle(now, tally);
            underway.push(engine.underway(now));
        }
        self.measures.report(&tallies, &underway, &self.facts, self.front.held_mean(now), now)
    }

    /// What the fronts measured, and each replica's engine.
    pub(super) fn report_of_fronts(&self, now: SimTime) -> PoolReport {
        let mut report = self.front.report(now);
        for other in self.fronts().skip(1).map(|front| front.report(now)) {
            report.replicas.extend(other.replicas);
            report.held += other.held;
            report.no_replica += other.no_replica;
            report.ejections += other.ejections;
            report.panic = report.panic.max(other.panic);
        }
        let (pool, engines) = self.measured(now);
        report.calibration = Some(pool.calibration);
        for (replica, engine) in report.replicas.iter_mut().zip(engines) {
            replica.engine = Some(engine);
        }
        report
    }

    /// What was measured beyond the meter.
    pub(super) fn more_measures(&self, now: SimTime) -> Vec<Measure> {
        let (report, engines) = self.measured(now);
        let room = "tokens that the KV memory of a replica has room for";
        let meaning = "tokens held by the token slots of the KV memory in use, over time; above 1 where \
                       sequences share blocks";
        let mut measures = self.front.measures(now);
        measures.push(Measure::count("kv_tokens", report.kv_tokens, room));
        measures.push(Measure::known("kv_utilization", report.kv_utilization, meaning));
        let Rejected { queue_full, exceeds_model, exceeds_cache, .. } = report.rejected;
        for (name, count, meaning) in [
            ("refused_queue_cap", queue_full, "calls refused: as many waited as there may"),
            ("refused_exceeds_model", exceeds_model, "calls refused: prompt and answer beyond max_model_len"),
            ("refused_exceeds_cache", exceeds_cache, "calls refused: beyond the KV memory of a replica"),
        ] {
            // Most pools refuse nothing.
            measures.extend((count > 0).then(|| Measure::count(name, count, meaning)));
        }
        if let Some(gpus) = self.facts.gpus_of_replica {
            // Prefill workers come after the replicas, may be larger, and are always there.
            let prefill = self.facts.groups.get(1);
            let weights = std::iter::repeat_n(gpus, self.facts.groups[0].replicas as usize);
            let weights = weights.chain(std::iter::repeat(prefill.map_or(0, |group| group.weight)));
            let busy: f64 = engines.iter().zip(weights).map(|(engine, gpus)| engine.busy * gpus as f64).sum();
            measures.push(Power::measure(self.power.watts(report.gpus, busy)));
        }
        let config = self.replicas[0].engine.config();
        if config.speculative.is_some() || config.lora.is_some() || self.connector.is_some() {
            let mut all = Tally::default();
            for (replica, tally) in self.replicas.iter().zip(&self.measures.tallies) {
                let mut tally = tally.clone();
                replica.engine.clone().settle(now, &mut tally);
                all.add(&tally);
            }
            measures.extend(of_features(config, &all));
            let connector = self.connector.iter();
            measures.extend(connector.flat_map(|c| c.measures(config.block_size, &all, &engines, now)));
        }
        measures
    }
}
