//! The frames of a run.

use polars::prelude::DataFrame;
use sim_models::meter::RequestMeter;
use sim_models::pool::ReplicaReport;
use sim_models::quality::QualityOutput;
use sim_models::request::Outcome;
use sim_models::system::RunOutput;

use super::columns::{
    COMPONENTS, COSTS, DASHBOARD, MEASURES, OUTCOMES, REPLICAS, REQUESTS, SERIES, SUMMARY, VERDICTS,
};
use super::llm::{self, Figures};
use super::metrics::{self, Times, secs};
use super::requests::IN_FLIGHT;
use super::table::{Cell, Table, cells};
use super::verdicts::{expectations, kept};
use super::{RunResult, hex};
use crate::run::ALL;

impl RunResult {
    pub(super) fn keys(&self) -> [Cell<'_>; 2] {
        cells![&self.variant, self.plan.scale]
    }

    pub(super) fn numbered(&self) -> impl Iterator<Item = (u64, &RunOutput)> {
        self.replications.iter().copied().zip(&self.outputs)
    }

    /// The `summary` frame: requests by class and tenant.
    pub fn summary(&self) -> DataFrame {
        self.summary_of(true)
    }

    /// The `summary` frame; without `parts`, only the rows of all requests.
    pub(super) fn summary_of(&self, parts: bool) -> DataFrame {
        let rows =
            self.outputs.iter().map(|o| (o.labels.classes.len() + 1) * (o.labels.tenants.len() + 1)).sum();
        let mut table = Table::new(SUMMARY, rows);
        for (replication, output) in self.numbered() {
            let fingerprint = hex(output.fingerprint.value());
            let outcome_hash = hex(output.outcome_hash);
            let provenance = &self.provenance;
            let last = cells![
                &provenance.calibration,
                &fingerprint,
                &outcome_hash,
                self.plan.seed,
                &provenance.scenario_hash,
                &provenance.version,
            ];
            let classes =
                output.labels.classes.iter().map(String::as_str).enumerate().filter(|_| parts).map(Some);
            for class in std::iter::once(None).chain(classes) {
                let expected = expectations(&self.scenario.slo, class.map(|(_, name)| name));
                let tenants = output.labels.tenants.iter().map(String::as_str).enumerate();
                let tenants = tenants.filter(|_| parts).map(Some);
                for tenant in std::iter::once(None).chain(tenants) {
                    let requests = metrics::requests(output, class.map(|(n, _)| n), tenant.map(|(n, _)| n));
                    let name = |label: Option<(usize, &'_ str)>| {
                        label.map_or(ALL.to_owned(), |(_, name)| name.to_owned())
                    };
                    let (class_name, tenant_name) = (name(class), name(tenant));
                    let whole = class.is_none() && tenant.is_none();
                    let slo = kept(&expected, output, &requests);
                    table.row(&[
                        &cells![&self.scenario.name],
                        &self.keys(),
                        &cells![replication, &class_name, &tenant_name],
                        &request_cells(output, &requests),
                        &cost_cells(output, whole.then_some(&*requests)),
                        &cells![slo],
                        &last,
                        &self.margin_cells(output, whole.then_some(&*requests)),
                    ]);
                }
            }
        }
        table.finish()
    }

    /// The `components` frame.
    pub fn components(&self) -> DataFrame {
        let mut table = Table::new(COMPONENTS, self.outputs.len() * self.scenario.components.len());
        for (replication, output) in self.numbered() {
            for component in output.components.iter().filter(|component| !component.is_source) {
                let meter = &component.meter;
                let (wait, latency) = (Times::of(&meter.wait), Times::of(&meter.latency));
                let [ok, degraded, rejected, timed_out, failed] = meter.outcomes;
                let figures = component.llm.as_ref().map(Figures::of).unwrap_or_default();
                table.row(&[
                    &self.keys(),
                    &cells![replication, &component.name, self.kind(&component.name), meter.calls],
                    &cells![ok, degraded, rejected, timed_out, failed, meter.unheard],
                    &cells![meter.utilization(output.end), meter.queue.mean(output.end), meter.queue.max()],
                    &cells![wait.mean, wait.p50, wait.p99],
                    &cells![latency.mean, latency.p50, latency.p95, latency.p99, latency.max],
                    &cells![
                        figures.gpus,
                        figures.gpu_busy,
                        figures.kv_mean,
                        figures.kv_max,
                        figures.batch_mean
                    ],
                    &cells![
                        figures.preemptions,
                        figures.prefix_hit_rate,
                        figures.itl.mean,
                        figures.itl.p50,
                        figures.itl.p99
                    ],
                    &cells![figures.step_time_mean, llm::calibration(component)],
                ]);
            }
        }
        table.finish()
    }

    /// The `series` frame: one row a window, for the system and for every component.
    pub fn series(&self) -> DataFrame {
        let rows =
            self.outputs.iter().map(|output| output.windows.len() * (output.components.len() + 1)).sum();
        let mut table = Table::new(SERIES, rows);
        for (replication, output) in self.numbered() {
            let components = output.component_windows.chunks_exact(output.components.len().max(1));
            for (system, components) in output.windows.iter().zip(components) {
                let when = cells![replication, system.start.as_secs_f64(), system.width.as_secs_f64()];
                let [ok, degraded, rejected, timed_out, failed] = system.outcomes;
                table.row(&[
                    &self.keys(),
                    &when,
                    &cells![ALL_COMPONENTS, system.born, ok + degraded, rejected, timed_out, failed],
                    &cells![system.in_flight],
                    &cells![system.latency_mean.map(|mean| mean / 1e9), system.latency_p99.map(secs)],
                    &[Cell::Null; 5],
                ]);
                for (component, window) in output.components.iter().zip(components) {
                    if component.is_source {
                        continue;
                    }
                    let by = |part: f64, of: f64| (of > 0.0).then(|| part / of);
                    let kv = by(window.signals.kv_used as f64, window.signals.kv_total as f64);
                    table.row(&[
                        &self.keys(),
                        &when,
                        &cells![&component.name],
                        &[Cell::Null; 8],
                        &cells![
                            window.queue,
                            window.busy,
                            window.capacity,
                            by(window.busy, window.capacity),
                            kv
                        ],
                    ]);
                }
            }
        }
        table.finish()
    }

    /// The `costs` frame: the bill, averaged over the replications.
    pub fn costs(&self) -> DataFrame {
        let lines = self.outputs.first().map_or(&[][..], |output| &output.costs);
        let mut table = Table::new(COSTS, lines.len());
        for (number, line) in lines.iter().enumerate() {
            let same = self.outputs.iter().filter_map(|output| output.costs.get(number));
            let (units, per_hour) =
                same.fold((0.0, 0.0), |(units, usd), line| (units + line.units, usd + line.usd_per_hour));
            let n = self.outputs.len() as f64;
            let per_hour = per_hour / n;
            table.row(&[
                &self.keys(),
                &cells![&line.component, &line.resource, units / n, line.unit_usd_per_hour],
                &cells![per_hour, metrics::per_month(per_hour), &line.source, line.price_model],
            ]);
        }
        table.finish()
    }

    /// The `verdicts` frame.
    pub fn verdicts(&self) -> DataFrame {
        let mut table = Table::new(VERDICTS, self.verdicts.len());
        for verdict in &self.verdicts {
            table.row(&[
                &self.keys(),
                &cells![&verdict.class, verdict.metric, verdict.quantile, verdict.unit, verdict.limit],
                &cells![verdict.value, verdict.half_width, verdict.margin(), verdict.pass],
            ]);
        }
        table.finish()
    }

    /// The `outcomes` frame: counts in long form.
    pub fn outcomes(&self) -> DataFrame {
        let rows = self.outputs.iter().map(|output| output.requests.len() * (Outcome::ALL.len() + 1)).sum();
        let mut table = Table::new(OUTCOMES, rows);
        for (replication, output) in self.numbered() {
            let tenants = output.labels.tenants.len();
            for (cell, requests) in output.requests.iter().enumerate() {
                let class = &output.labels.classes[cell / tenants];
                let tenant = &output.labels.tenants[cell % tenants];
                let ended = Outcome::ALL.map(|outcome| (outcome.name(), requests.outcomes[outcome as usize]));
                for (outcome, count) in ended.into_iter().chain([(IN_FLIGHT, metrics::in_flight(requests))]) {
                    table.row(&[&self.keys(), &cells![replication, class, tenant, outcome, count]]);
                }
            }
        }
        table.finish()
    }

    /// The `measures` frame: what only some components have.
    pub fn measures(&self) -> DataFrame {
        let rows = self.outputs.iter().flat_map(|output| &output.components).map(|c| c.measures.len()).sum();
        let mut table = Table::new(MEASURES, rows);
        for (replication, output) in self.numbered() {
            for component in &output.components {
                for measure in &component.measures {
                    table.row(&[
                        &self.keys(),
                        &cells![replication, &component.name, measure.part.as_deref(), measure.name],
                        &cells![measure.value, measure.meaning],
                    ]);
                }
            }
            for measure in output.quality.iter().flat_map(QualityOutput::measures) {
                table.row(&[
                    &self.keys(),
                    &cells![replication, ALL_COMPONENTS, measure.part.as_deref(), measure.name],
                    &cells![measure.value, measure.meaning],
                ]);
            }
        }
        table.finish()
    }

    /// The `replicas` frame: a row for each replica of each pool.
    pub fn replicas(&self) -> DataFrame {
        let pools = |output: &RunOutput| {
            output.components.iter().filter_map(|c| Some(c.pool.as_ref()?.replicas.len())).sum::<usize>()
        };
        let mut table = Table::new(REPLICAS, self.outputs.iter().map(pools).sum());
        for (replication, output) in self.numbered() {
            for component in &output.components {
                let replicas = component.pool.iter().flat_map(|pool| &pool.replicas);
                for (number, replica) in (0u64..).zip(replicas) {
                    table.row(&[
                        &self.keys(),
                        &cells![replication, &component.name, number],
                        &replica_cells(replica),
                    ]);
                }
            }
        }
        table.finish()
    }

    /// All frames by name, in the order of [`super::columns::FRAMES`]; that of requests where they were kept.
    pub fn frames(&self) -> Vec<(&'static str, DataFrame)> {
        let mut frames = vec![
            (SUMMARY.name, self.summary()),
            (COMPONENTS.name, self.components()),
            (SERIES.name, self.series()),
            (COSTS.name, self.costs()),
            (VERDICTS.name, self.verdicts()),
            (OUTCOMES.name, self.outcomes()),
            (MEASURES.name, self.measures()),
            (REPLICAS.name, self.replicas()),
            (DASHBOARD.name, self.dashboard()),
        ];
        frames.extend(self.requests().map(|requests| (REQUESTS.name, requests)));
        frames
    }

    /// Revenue and margin, where `all` requests are given.
    fn margin_cells(&self, output: &RunOutput, all: Option<&RequestMeter>) -> [Cell<'static>; 3] {
        let revenue = self.scenario.slo.revenue_per_1k;
        match all.and_then(|all| metrics::margin(output, all, revenue)) {
            Some(metrics::Margin { revenue, margin, share }) => cells![revenue, margin, share],
            None => [Cell::Null; 3],
        }
    }

    fn kind(&self, component: &str) -> Option<&'static str> {
        self.scenario.components.get(component).map(|config| config.kind())
    }
}

/// What series and measures call the whole system.
pub(super) const ALL_COMPONENTS: &str = "system";

/// From `born` to `usage_usd_per_request`.
fn request_cells(output: &RunOutput, requests: &RequestMeter) -> [Cell<'static>; 31] {
    let [ok, degraded, rejected, timed_out, failed] = requests.outcomes;
    let latency = Times::of(&requests.latency);
    let (ttft, tpot) = (Times::of(&requests.ttft), Times::of(&requests.tpot));
    let rate = |count| metrics::per_second(count, output);
    cells![
        requests.born,
        ok,
        degraded,
        rejected,
        timed_out,
        failed,
        metrics::in_flight(requests),
        metrics::error_rate(requests),
        rate(requests.answered_in_window),
        rate(requests.good_in_window),
        metrics::slo_attainment(requests),
        latency.mean,
        latency.p50,
        latency.p95,
        latency.p99,
        latency.max,
        ttft.mean,
        ttft.p50,
        ttft.p95,
        ttft.p99,
        ttft.max,
        tpot.mean,
        tpot.p50,
        tpot.p95,
        tpot.p99,
        tpot.max,
        requests.prompt_tokens,
        requests.output_tokens,
        rate(requests.output_tokens),
        requests.accuracy(),
        metrics::usage_per_request(output, requests),
    ]
}

/// From `calls` to `prefix_hit_rate`.
fn replica_cells(replica: &ReplicaReport) -> [Cell<'static>; 16] {
    let engine = replica.engine.as_ref();
    let kv = engine.and_then(|engine| engine.kv.as_ref());
    let share = |part: f64, of: u64| (of > 0).then(|| part / of as f64);
    cells![
        replica.calls,
        replica.answered,
        replica.refused,
        replica.ejections,
        replica.available,
        replica.queue_mean,
        replica.busy_mean,
        share(replica.busy_mean, replica.capacity),
        engine.map(|engine| engine.busy),
        engine.map(|engine| engine.steps),
        engine.and_then(|engine| engine.step_time_mean).map(|nanos| nanos / 1e9),
        engine.and_then(|engine| engine.batch_mean),
        kv.map(|kv| kv.use_mean),
        kv.map(|kv| kv.use_max),
        kv.map(|kv| kv.preemptions),
        kv.and_then(|kv| share(kv.prefix_hit_tokens as f64, kv.prefix_query_tokens)),
    ]
}

/// The bill, where `all` requests are given.
fn cost_cells(output: &RunOutput, all: Option<&RequestMeter>) -> [Cell<'static>; 4] {
    let Some(all) = all else { return [Cell::Null; 4] };
    let bill = metrics::bill(output, all);
    cells![bill.per_hour, metrics::per_month(bill.per_hour), bill.per_1k_good, bill.per_1m_tokens]
}
