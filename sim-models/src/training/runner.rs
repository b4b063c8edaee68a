//! A training job at work.

use sim_core::event::{EventHandle, Phase};
use sim_core::random::{KeyedStream, Purpose};
use sim_core::time::{SimDuration, SimTime};

use super::job::{Attempt, Job, Progress};
use super::{TrainingConfig, daly, young};
use crate::call::{CallId, Reply};
use crate::component::{Component, Fault, Signals, Timer};
use crate::context::Ctx;
use crate::energy::Power;
use crate::measure::Measure;
use crate::request::Outcome;
use crate::spot::Spot;
use crate::units::Time;

/// The job may begin, or there is capacity again.
const BEGIN: u16 = 0;
/// The attempt that is running ends.
const END: u16 = 1;

const NANOS_PER_HOUR: f64 = 3.6e12;

/// What the gang costs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prices {
    /// Its line on the bill.
    pub item: usize,
    /// Units of that line.
    pub units: u64,
    /// USD an hour of the whole gang.
    pub usd_per_hour: f64,
    /// The same on demand.
    pub on_demand: Option<f64>,
}

#[derive(Debug)]
enum Stage {
    /// Not begun, or without capacity, or down until a repair (without a timer).
    Waiting(Option<EventHandle>),
    Running(Run),
    Done,
}

/// An attempt under way.
#[derive(Debug)]
struct Run {
    attempt: Attempt,
    began: SimTime,
    /// When it ends, and whether by an interruption; none for never.
    end: Option<(SimTime, bool)>,
    timer: Option<EventHandle>,
}

/// Where the time of the gang went, in nanoseconds, and what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Tally {
    held: u64,
    useful: u64,
    lost: u64,
    checkpoint: u64,
    restart: u64,
    waiting: u64,
    interruptions: u64,
    checkpoints: u64,
}

impl Tally {
    /// An attempt that came so far.
    fn add(&mut self, held: SimDuration, progress: Progress) {
        self.held += held.as_nanos();
        self.useful += progress.work;
        self.checkpoint += progress.checkpoint;
        self.restart += progress.restart;
        self.checkpoints += progress.checkpoints;
    }
}

#[derive(Debug)]
pub(super) struct Runner {
    workers: u64,
    start: SimDuration,
    job: Job,
    spot: Option<Spot>,
    checkpoint_on_notice: bool,
    gang_mttf: Option<f64>,
    prices: Option<Prices>,
    /// GPUs of the gang and the power of one.
    power: Option<(u64, Power)>,
    stream: Option<KeyedStream>,
    stage: Stage,
    /// Work that no interruption takes away any more.
    saved: u64,
    /// Attempts begun.
    attempts: u64,
    waiting_since: SimTime,
    finished: Option<SimTime>,
    tally: Tally,
    /// What was counted before the measured part, and when that began.
    before: Tally,
    measured_from: SimTime,
}

impl Runner {
    pub(super) fn new(
        config: &TrainingConfig,
        job: Job,
        spot: Option<Spot>,
        prices: Option<Prices>,
        power: Option<(u64, Power)>,
    ) -> Self {
        Self {
            workers: config.workers.get().into(),
            start: config.start.map_or(SimDuration::ZERO, Time::get),
            job,
            spot,
            checkpoint_on_notice: config.checkpoint_on_notice,
            gang_mttf: config.gang_mttf(),
            prices,
            power,
            stream: None,
            stage: Stage::Waiting(None),
            saved: 0,
            attempts: 0,
            waiting_since: SimTime::ZERO,
            finished: None,
            tally: Tally::default(),
            before: Tally::default(),
            measured_from: SimTime::ZERO,
        }
    }

    fn notice(&self) -> SimDuration {
        self.spot.as_ref().map_or(SimDuration::ZERO, |spot| spot.notice)
    }

    /// Takes the gang or gives it back.
    fn hold(&mut self, holds: bool, ctx: &mut Ctx) {
        let now = ctx.now();
        ctx.meter().busy.set(now, if holds { self.workers } else { 0 });
        if let Some(Prices { item, units, .. }) = self.prices {
            ctx.cost().hold(item, now, if holds { units } else { 0 });
        }
    }

    fn begin(&mut self, ctx: &mut Ctx) {
        let now = ctx.now();
        if self.attempts > 0 {
            self.tally.waiting += now.since(self.waiting_since).as_nanos();
        }
        let attempt = self.job.attempt(self.saved, self.attempts == 0);
        let life = self.spot.as_ref().zip(self.stream).and_then(|(spot, stream)| {
            let life = spot.life(stream, self.attempts, 0, now)?;
            now.checked_add(life.saturating_add(spot.notice)).ok()
        });
        self.attempts += 1;
        ctx.meter().calls += 1;
        self.hold(true, ctx);
        self.stage = Stage::Running(Run { attempt, began: now, end: None, timer: None });
        self.plan(life, ctx);
    }

    /// The attempt goes on to its end, or to its loss where that comes before.
    fn plan(&mut self, loss: Option<SimTime>, ctx: &mut Ctx) {
        let Stage::Running(run) = &mut self.stage else { return };
        let completion = run.attempt.length().and_then(|length| run.began.checked_add(length).ok());
        let end = match (completion, loss) {
            (Some(completion), Some(loss)) if loss < completion => Some((loss, true)),
            (Some(completion), _) => Some((completion, false)),
            (None, loss) => loss.map(|loss| (loss, true)),
        };
        if let Some(timer) = run.timer.take() {
            ctx.cancel_timer(timer);
        }
        run.end = end;
        run.timer = end.map(|(at, _)| ctx.schedule_at(at, Phase::Fault, END, 0));
    }

    /// The attempt that is running is over.
    fn end(&mut self, ctx: &mut Ctx) {
        let Stage::Running(Run { end: Some((_, true)), .. }) = self.stage else { return self.complete(ctx) };
        self.lose(self.notice(), ctx);
        let back = self
            .spot
            .as_ref()
            .zip(self.stream)
            .map_or(SimDuration::ZERO, |(spot, stream)| spot.capacity_return(stream, self.attempts, 0));
        self.stage = Stage::Waiting(Some(ctx.schedule(back, Phase::Timer, BEGIN, 0)));
    }

    fn complete(&mut self, ctx: &mut Ctx) {
        let now = ctx.now();
        let Stage::Running(run) = std::mem::replace(&mut self.stage, Stage::Done) else { return };
        let held = now.since(run.began);
        let progress = run.attempt.after(held);
        self.tally.add(held, progress);
        self.saved += progress.work;
        self.finished = Some(now);
        ctx.meter().outcomes[Outcome::Ok as usize] += 1;
        ctx.meter().latency.record(now.as_nanos() - self.start.as_nanos());
        self.hold(false, ctx);
    }

    /// The gang is lost, `notice` after it was known to be.
    fn lose(&mut self, notice: SimDuration, ctx: &mut Ctx) {
        let now = ctx.now();
        let Stage::Running(run) = std::mem::replace(&mut self.stage, Stage::Waiting(None)) else { return };
        if let Some(timer) = run.timer {
            ctx.cancel_timer(timer);
        }
        let held = now.since(run.began);
        let checkpoint = self.job.checkpoint;
        let mut progress = run.attempt.after(held);
        if self.checkpoint_on_notice && !notice.is_zero() && notice >= checkpoint {
            // It works on until there is just time for one more checkpoint.
            progress = run.attempt.after(held.saturating_sub(checkpoint));
            progress.saved = progress.work;
            progress.checkpoint += held.as_nanos().min(checkpoint.as_nanos());
            progress.checkpoints += 1;
        }
        self.saved += progress.saved;
        self.tally.lost += progress.work - progress.saved;
        self.tally.add(held, Progress { work: progress.saved, ..progress });
        self.tally.interruptions += 1;
        ctx.meter().outcomes[Outcome::Failed as usize] += 1;
        self.waiting_since = now;
        self.hold(false, ctx);
    }

    /// Everything up to now; work under way counts as useful until it is lost.
    fn all(&self, now: SimTime) -> Tally {
        let mut all = self.tally;
        match &self.stage {
            Stage::Running(run) => {
                let held = now.since(run.began);
                all.add(held, run.attempt.after(held));
            }
            Stage::Waiting(_) if self.attempts > 0 => {
                all.waiting += now.since(self.waiting_since).as_nanos();
            }
            Stage::Waiting(_) | Stage::Done => {}
        }
        all
    }

    /// The same, of the measured part.
    fn measured(&self, now: SimTime) -> Tally {
        let (all, before) = (self.all(now), self.before);
        Tally {
            held: all.held - before.held,
            // What was under way when measurement began may have been lost since.
            useful: all.useful.saturating_sub(before.useful),
            lost: all.lost - before.lost,
            checkpoint: all.checkpoint.saturating_sub(before.checkpoint),
            restart: all.restart - before.restart,
            waiting: all.waiting - before.waiting,
            interruptions: all.interruptions - before.interruptions,
            checkpoints: all.checkpoints.saturating_sub(before.checkpoints),
        }
    }
}

impl Component for Runner {
    fn start(&mut self, ctx: &mut Ctx) {
        self.stream = Some(ctx.keyed_stream(Purpose::Faults));
        self.stage = Stage::Waiting(Some(ctx.schedule(self.start, Phase::Timer, BEGIN, 0)));
    }

    fn on_call(&mut self, call: CallId, ctx: &mut Ctx) {
        // Nothing leads here: the system refuses to be built otherwise.
        ctx.reply(call, Reply::FAILED);
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx) {
        match timer.kind {
            BEGIN => self.begin(ctx),
            _ => self.end(ctx),
        }
    }

    fn on_fault(&mut self, fault: &Fault, ctx: &mut Ctx) {
        let now = ctx.now();
        match *fault {
            Fault::Crash { .. } => {
                ctx.meter().capacity.set(now, 0);
                match &mut self.stage {
                    Stage::Running(_) => self.lose(SimDuration::ZERO, ctx),
                    Stage::Waiting(timer) => {
                        if let Some(timer) = timer.take() {
                            ctx.cancel_timer(timer);
                        }
                    }
                    Stage::Done => {}
                }
            }
            Fault::Repair { .. } => {
                ctx.meter().capacity.set(now, self.workers);
                if let Stage::Waiting(timer @ None) = &mut self.stage {
                    let wait = if self.attempts == 0 {
                        SimDuration::from_nanos(self.start.as_nanos().saturating_sub(now.as_nanos()))
                    } else {
                        SimDuration::ZERO
                    };
                    *timer = Some(ctx.schedule(wait, Phase::Timer, BEGIN, 0));
                }
            }
            Fault::Interrupt { .. } => {
                let Ok(loss) = now.checked_add(self.notice()) else { return };
                if let Stage::Running(run) = &self.stage
                    && run.end.is_none_or(|(end, _)| loss < end)
                {
                    self.plan(Some(loss), ctx);
                }
            }
            // The system refuses others for a training job.
            _ => {}
        }
    }

    fn observe(&self, _now: SimTime) -> Signals {
        let busy = if matches!(self.stage, Stage::Running(_)) { self.workers } else { 0 };
        Signals { busy, capacity: self.workers, ..Signals::default() }
    }

    fn measures(&self, now: SimTime) -> Vec<Measure> {
        let tally = self.measured(now);
        let hours = |nanos: u64| nanos as f64 / NANOS_PER_HOUR;
        let efficiency = (tally.held > 0).then(|| tally.useful as f64 / tally.held as f64);
        let checkpoint = self.job.checkpoint.as_secs_f64();
        let optimum = |law: fn(f64, f64) -> f64| {
            self.gang_mttf.filter(|_| checkpoint > 0.0).map(|mttf| law(checkpoint, mttf))
        };
        let mut list = vec![
            Measure::known(
                "efficiency",
                efficiency,
                "Useful work by the time that the gang was held and paid",
            ),
            Measure::new("useful_h", hours(tally.useful), "Hours of work of the gang that became the model"),
            Measure::new("lost_h", hours(tally.lost), "Hours of work lost with interruptions"),
            Measure::new("checkpoint_h", hours(tally.checkpoint), "Hours in which it wrote checkpoints"),
            Measure::new("restart_h", hours(tally.restart), "Hours in which it started again"),
            Measure::new("waiting_h", hours(tally.waiting), "Hours without capacity after interruptions"),
            Measure::count("interruptions", tally.interruptions, "Interruptions and crashes of the gang"),
            Measure::count("checkpoints", tally.checkpoints, "Checkpoints that were finished"),
            Measure::known(
                "checkpoint_interval_s",
                self.job.interval.map(SimDuration::as_secs_f64),
                "Work between two checkpoints",
            ),
            Measure::known("young_s", optimum(young), "Young's optimum of it"),
            Measure::known("daly_s", optimum(daly), "Daly's optimum of it"),
        ];
        if let Some(work) = self.job.work {
            let done = match &self.stage {
                Stage::Running(run) => self.saved + run.attempt.after(now.since(run.began)).work,
                _ => self.saved,
            };
            let share = done as f64 / work.as_nanos() as f64;
            list.push(Measure::new("done_share", share, "Share of the work that is done, from the start on"));
            let finished = self.finished.map(SimTime::as_secs_f64);
            list.push(Measure::known("finished_s", finished, "When the job was done, from the start on"));
        }
        let measured = now.since(self.measured_from).as_nanos();
        if let Some((gpus, power)) = self.power.filter(|_| measured > 0) {
            // Idle while it starts and while it writes checkpoints.
            let mean = |nanos: u64| gpus as f64 * nanos as f64 / measured as f64;
            let watts = power.watts(mean(tally.held), mean(tally.useful + tally.lost));
            list.push(Power::measure(watts));
        }
        if let Some(prices) = self.prices {
            let usd = efficiency.filter(|share| *share > 0.0).map(|share| prices.usd_per_hour / share);
            let ratio = prices.on_demand.filter(|usd| *usd > 0.0).map(|usd| prices.usd_per_hour / usd);
            list.push(Measure::known("usd_per_useful_h", usd, "Price of the gang by hour of useful work"));
            list.push(Measure::known(
                "break_even_efficiency",
                ratio,
                "Efficiency from which on this price is better than that on demand: their ratio",
            ));
        }
        list
    }

    fn reset_measurements(&mut self, now: SimTime) {
        self.before = self.all(now);
        self.measured_from = now;
    }
}
