//! A pipeline at work.

use std::collections::VecDeque;

use sim_core::event::{EventHandle, Phase};
use sim_core::random::Purpose;
use sim_core::time::{SimDuration, SimTime};

use super::job::{Attempt, Job};
use super::report::PipelineReport;
use super::{LateRuns, PipelineConfig, RETRY_DELAY};
use crate::call::{CallId, Reply};
use crate::component::{Component, ComponentId, DataReport, Fault, Load, Signals, Timer};
use crate::context::Ctx;
use crate::measure::Measure;
use crate::request::Outcome;
use crate::units::Time;

/// A run is due.
const DUE: u16 = 0;
/// The attempt that is running ends: its work, or its writes.
const END: u16 = 1;
/// A failed run may be tried again.
const RETRY: u16 = 2;

const SECONDS_PER_DAY: f64 = 86_400.0;

/// Writes of a run into a store.
#[derive(Debug)]
pub(super) struct Writes {
    pub store: ComponentId,
    /// Of a run at the start.
    pub rows: f64,
    /// Seconds of the store a write.
    pub cost: f64,
    /// A second, after the other work; or along with it.
    pub rate: Option<f64>,
}

/// A run that is due.
#[derive(Debug, Clone, Copy)]
struct Run {
    number: u64,
    due: SimTime,
    /// Bytes.
    volume: f64,
    attempt: u32,
    /// What its next attempt takes.
    drawn: Attempt,
    /// When its first attempt began.
    began: SimTime,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    /// Ends then.
    Working { ends: SimTime, timer: EventHandle },
    /// Writes after its work.
    Writing { ends: SimTime, timer: EventHandle },
    /// Has failed and waits to be tried again; `ready` once it may.
    Waiting { ready: bool },
}

#[derive(Debug)]
pub(super) struct Runner {
    interval: SimDuration,
    first: SimDuration,
    window: SimDuration,
    volume: f64,
    volume_growth: f64,
    retries: u32,
    retry_delay: SimDuration,
    backfill: bool,
    late_runs: LateRuns,
    source_delay: SimDuration,
    job: Job,
    writes: Option<Writes>,
    /// The workers' line on the bill.
    item: Option<usize>,
    /// That of the scans of the offline store.
    scans: Option<usize>,
    slow: f64,
    is_down: bool,
    /// Runs that have come due.
    number: u64,
    line: VecDeque<Run>,
    current: Option<(Run, Stage)>,
    /// Bytes of failed and dropped runs, for the next one.
    carried: f64,
    /// Until when the output knows what has happened.
    as_of: SimTime,
    report: PipelineReport,
    measured_from: SimTime,
    /// The lag's integral over time, in seconds squared, up to `lag_until`.
    lag_integral: f64,
    lag_until: SimTime,
}

impl Runner {
    pub(super) fn new(
        config: &PipelineConfig,
        job: Job,
        writes: Option<Writes>,
        (item, scans): (Option<usize>, Option<usize>),
    ) -> Self {
        let time = |time: Option<Time>| time.map_or(SimDuration::ZERO, Time::get);
        Self {
            interval: config.interval.get(),
            first: time(config.first),
            window: config.window.unwrap_or(config.interval).get(),
            volume: config.volume.get() as f64,
            volume_growth: config.volume_growth.get(),
            retries: config.retries,
            retry_delay: config.retry_delay.map_or(RETRY_DELAY, Time::get),
            backfill: config.backfill,
            late_runs: config.late_runs,
            source_delay: time(config.source_delay),
            job,
            writes,
            item,
            scans,
            slow: 1.0,
            is_down: false,
            number: 0,
            line: VecDeque::new(),
            current: None,
            carried: 0.0,
            as_of: SimTime::ZERO,
            report: PipelineReport::default(),
            measured_from: SimTime::ZERO,
            lag_integral: 0.0,
            lag_until: SimTime::ZERO,
        }
    }

    fn volume_at(&self, at: SimTime) -> f64 {
        if self.volume_growth == 0.0 {
            return self.volume;
        }
        self.volume * libm::pow(1.0 + self.volume_growth, at.as_secs_f64() / SECONDS_PER_DAY)
    }

    fn rows(&self, volume: f64) -> f64 {
        self.writes.as_ref().map_or(0.0, |writes| writes.rows * volume / self.volume)
    }

    /// How long writes after the work take.
    fn write_time(&self, volume: f64) -> Option<SimDuration> {
        let rate = self.writes.as_ref()?.rate?;
        Some(SimDuration::saturating_from_secs_f64(self.rows(volume) / rate))
    }

    /// Seconds of work that is due and not done.
    fn backlog(&self, now: SimTime) -> f64 {
        let work = |run: &Run| {
            let writes = self.write_time(run.volume).unwrap_or_default();
            run.drawn.time.as_secs_f64() + writes.as_secs_f64()
        };
        let current = self.current.as_ref().map_or(0.0, |(run, stage)| match *stage {
            Stage::Working { ends, .. } => {
                ends.since(now).as_secs_f64() + self.write_time(run.volume).unwrap_or_default().as_secs_f64()
            }
            Stage::Writing { ends, .. } => ends.since(now).as_secs_f64(),
            Stage::Waiting { .. } => work(run),
        });
        current + self.line.iter().map(work).sum::<f64>()
    }

    fn open(&self) -> u64 {
        self.line.len() as u64 + u64::from(self.current.is_some())
    }

    /// The lag grows with time: up to now, that much of its integral.
    fn lag_integral(&self, now: SimTime) -> f64 {
        let lag = |at: SimTime| at.since(self.as_of).as_secs_f64();
        let span = now.since(self.lag_until).as_secs_f64();
        self.lag_integral + (lag(self.lag_until) + lag(now)) / 2.0 * span
    }

    fn set_as_of(&mut self, as_of: SimTime, now: SimTime) {
        self.lag_integral = self.lag_integral(now);
        self.lag_until = now;
        let before = now.since(self.as_of).as_secs_f64();
        self.report.lag_max = self.report.lag_max.max(before);
        self.as_of = as_of;
    }

    fn due(&mut self, ctx: &mut Ctx) {
        let now = ctx.now();
        let number = self.number;
        self.number += 1;
        ctx.schedule(self.interval, Phase::Timer, DUE, 0);
        self.report.due += 1;
        ctx.meter().calls += 1;
        let volume = self.volume_at(now);
        if self.late_runs == LateRuns::Skip && self.current.is_some() {
            self.report.skipped += 1;
            ctx.meter().outcomes[Outcome::Rejected as usize] += 1;
            self.carry(volume);
            return;
        }
        let drawn = self.draw(number, 0, volume, ctx);
        self.line.push_back(Run { number, due: now, volume, attempt: 0, drawn, began: now });
        ctx.meter().queue.add(now, 1);
        self.go_on(ctx);
    }

    fn draw(&self, number: u64, attempt: u32, volume: f64, ctx: &Ctx) -> Attempt {
        self.job.draw(ctx.keyed_stream(Purpose::Service), number, attempt, volume)
    }

    /// Begins what can begin.
    fn go_on(&mut self, ctx: &mut Ctx) {
        if self.is_down {
            return;
        }
        let now = ctx.now();
        let run = match self.current {
            None => {
                let Some(mut run) = self.line.pop_front() else { return };
                run.began = now;
                ctx.meter().queue.add(now, -1);
                ctx.meter().wait.record(now.since(run.due).as_nanos());
                if self.carried > 0.0 {
                    run.volume += std::mem::take(&mut self.carried);
                    run.drawn = self.draw(run.number, 0, run.volume, ctx);
                }
                run
            }
            Some((run, Stage::Waiting { ready: true })) => run,
            Some(_) => return,
        };
        let time = SimDuration::saturating_from_secs_f64(run.drawn.time.as_secs_f64() * self.slow);
        self.report.task_failures += run.drawn.task_failures;
        self.report.scan_usd += run.drawn.scan_usd;
        if let Some(line) = self.scans {
            ctx.spend_alone(line, run.drawn.scan_usd);
        }
        self.report.scanned += run.volume;
        if let Some(writes) = self.writes.as_ref().filter(|writes| writes.rate.is_none()) {
            let rate = self.rows(run.volume) / time.as_secs_f64();
            let rate = if rate.is_finite() { rate } else { 0.0 };
            ctx.set_load(writes.store, Load { rate, cost: writes.cost });
        }
        let stage =
            Stage::Working { ends: after(now, time), timer: ctx.schedule(time, Phase::StepEnd, END, 0) };
        self.current = Some((run, stage));
        self.hold(true, ctx);
    }

    /// Takes the workers or gives them back.
    fn hold(&mut self, working: bool, ctx: &mut Ctx) {
        let (now, workers) = (ctx.now(), if working { u64::from(self.job.workers) } else { 0 });
        ctx.meter().busy.set(now, workers);
        if let Some(item) = self.item {
            ctx.cost().hold(item, now, workers);
        }
    }

    /// The attempt that is running has ended, well or not.
    fn stop(&mut self, ctx: &mut Ctx) {
        self.hold(false, ctx);
        if let Some(writes) = &self.writes {
            ctx.set_load(writes.store, Load { rate: 0.0, cost: 0.0 });
        }
    }

    fn attempt_ends(&mut self, ctx: &mut Ctx) {
        let Some((run, stage)) = self.current else { return };
        if !run.drawn.succeeds {
            return self.attempt_fails(run, ctx);
        }
        if let (Stage::Working { .. }, Some(time)) = (stage, self.write_time(run.volume)) {
            let now = ctx.now();
            if let Some(writes) = &self.writes {
                ctx.set_load(writes.store, Load { rate: writes.rate.unwrap_or_default(), cost: writes.cost });
            }
            let timer = ctx.schedule(time, Phase::StepEnd, END, 0);
            self.current = Some((run, Stage::Writing { ends: after(now, time), timer }));
            return;
        }
        self.succeed(run, ctx);
    }

    fn succeed(&mut self, run: Run, ctx: &mut Ctx) {
        let now = ctx.now();
        self.stop(ctx);
        self.current = None;
        let run_time = now.since(run.began).as_secs_f64();
        let elapsed = now.since(run.due);
        self.report.succeeded += 1;
        self.report.run_time.push(run_time);
        self.report.run_time_max = self.report.run_time_max.max(run_time);
        self.report.elapsed.push(elapsed.as_secs_f64());
        let slack = self.window.as_secs_f64() / elapsed.as_secs_f64();
        self.report.slack_min = Some(self.report.slack_min.map_or(slack, |least| least.min(slack)));
        self.report.missed += u64::from(elapsed > self.window);
        let lateness = elapsed.saturating_sub(self.window).as_secs_f64();
        self.report.lateness_max = self.report.lateness_max.max(lateness);
        self.report.rows_written += self.rows(run.volume);
        ctx.meter().outcomes[Outcome::Ok as usize] += 1;
        ctx.meter().latency.record(elapsed.as_nanos());
        let as_of = SimTime::from_nanos(run.due.as_nanos().saturating_sub(self.source_delay.as_nanos()));
        self.set_as_of(as_of.max(self.as_of), now);
        if let Some(writes) = &self.writes {
            ctx.materialize(writes.store, self.as_of);
        }
        self.go_on(ctx);
    }

    fn attempt_fails(&mut self, mut run: Run, ctx: &mut Ctx) {
        self.stop(ctx);
        self.report.attempts_failed += 1;
        if run.attempt < self.retries {
            run.attempt += 1;
            run.drawn = self.draw(run.number, run.attempt, run.volume, ctx);
            self.current = Some((run, Stage::Waiting { ready: false }));
            ctx.schedule(self.retry_delay, Phase::Timer, RETRY, 0);
            return;
        }
        self.current = None;
        self.report.failed += 1;
        ctx.meter().outcomes[Outcome::Failed as usize] += 1;
        let elapsed = ctx.now().since(run.due).as_nanos();
        ctx.meter().latency.record(elapsed);
        self.carry(run.volume);
        self.go_on(ctx);
    }

    /// Leaves the work of a run that is lost to the next one, if that does it.
    fn carry(&mut self, volume: f64) {
        if self.backfill {
            self.carried += volume;
        }
    }

    /// What was measured until `now`.
    fn measured(&self, now: SimTime) -> PipelineReport {
        let measured = now.since(self.measured_from).as_secs_f64();
        let lag = now.since(self.as_of).as_secs_f64();
        let report = PipelineReport {
            open: self.open(),
            backlog: self.backlog(now),
            lag,
            lag_max: self.report.lag_max.max(lag),
            lag_mean: if measured > 0.0 { self.lag_integral(now) / measured } else { lag },
            measured,
            ..self.report.clone()
        };
        debug_assert!(report.is_conserved(), "runs were lost or counted twice: {report:?}");
        report
    }
}

fn after(now: SimTime, time: SimDuration) -> SimTime {
    now.checked_add(time).unwrap_or(SimTime::MAX)
}

impl Component for Runner {
    fn start(&mut self, ctx: &mut Ctx) {
        ctx.schedule(self.first, Phase::Timer, DUE, 0);
        if let Some(writes) = &self.writes {
            ctx.materialize(writes.store, SimTime::ZERO);
        }
    }

    fn on_call(&mut self, call: CallId, ctx: &mut Ctx) {
        // Nothing leads here: the system refuses to be built otherwise.
        ctx.reply(call, Reply::FAILED);
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx) {
        match timer.kind {
            DUE => self.due(ctx),
            END => self.attempt_ends(ctx),
            _ => {
                if let Some((_, Stage::Waiting { ready })) = &mut self.current {
                    *ready = true;
                }
                self.go_on(ctx);
            }
        }
    }

    fn on_fault(&mut self, fault: &Fault, ctx: &mut Ctx) {
        if let Fault::Crash { .. } = fault {
            self.is_down = true;
            let now = ctx.now();
            ctx.meter().capacity.set(now, 0);
            if let Some((run, Stage::Working { timer, .. } | Stage::Writing { timer, .. })) = self.current {
                ctx.cancel_timer(timer);
                self.attempt_fails(run, ctx);
            }
        } else if let Fault::Repair { .. } = fault {
            self.is_down = false;
            let now = ctx.now();
            ctx.meter().capacity.set(now, u64::from(self.job.workers));
            self.go_on(ctx);
        } else if let Fault::Slow { factor } = fault {
            self.slow = *factor;
        }
    }

    fn observe(&self, _now: SimTime) -> Signals {
        let is_working = self.current.is_some_and(|(_, stage)| !matches!(stage, Stage::Waiting { .. }));
        let workers = u64::from(self.job.workers);
        Signals {
            queue: self.line.len() as u64,
            busy: if is_working { workers } else { 0 },
            capacity: if self.is_down { 0 } else { workers },
            ..Signals::default()
        }
    }

    fn data_report(&self, now: SimTime) -> Option<DataReport> {
        Some(DataReport::Pipeline(Box::new(self.measured(now))))
    }

    fn measures(&self, now: SimTime) -> Vec<Measure> {
        self.measured(now).measures()
    }

    fn reset_measurements(&mut self, now: SimTime) {
        self.report = PipelineReport {
            open_at_start: self.open(),
            backlog_start: self.backlog(now),
            ..PipelineReport::default()
        };
        self.measured_from = now;
        (self.lag_integral, self.lag_until) = (0.0, now);
    }
}
