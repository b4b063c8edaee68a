//! Who decides how many replicas of each version there are to be.

mod log;
mod measures;

use std::collections::VecDeque;

use sim_core::distribution::Dist;
use sim_core::stats::TimeWeighted;
use sim_core::time::{SimDuration, SimTime};

use super::analysis::Analysis;
use super::canary::{CanaryConfig, by_replicas};
use super::config::{DeploymentConfig, Strategy};
use super::rolling::{Bounds, Set, pass, scale_in_proportion, specs};
use crate::autoscaler::Stages;
use crate::error::ConfigError;
pub use log::{RolloutEntry, RolloutEvent};
use measures::Record;

/// A version at work.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    name: String,
    /// Share of its answers that fail.
    pub(crate) error_rate: f64,
    /// How many times as long its work takes.
    pub(crate) slow: f64,
    /// None for that of the pool.
    pub(crate) cold_start: Option<Stages>,
    pub(crate) crash_after: Option<Dist>,
    /// Calls of it that ended, and those that failed because of it.
    calls: u64,
    bad: u64,
    replicas: TimeWeighted,
}

/// The replicas of a version as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Those that start or are ready.
    pub(crate) present: u32,
    /// Those that are ready.
    pub(crate) ready: u32,
    /// Those of them that are for long enough.
    pub(crate) available: u32,
    /// Those that are taken away.
    pub(crate) ending: u32,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With an answer, after so long.
    Answered(SimDuration),
    /// Without one.
    Failed,
    /// Without one because of its version.
    FailedByVersion,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// All replicas are of one version.
    Done,
    /// On the way to the new version.
    Forward,
    /// On the way back to the stable one.
    Back,
}

/// The controller of a pool's deployment.
#[derive(Debug, Clone)]
pub(crate) struct Rollouts {
    config: DeploymentConfig,
    /// In the order in which they first appear.
    versions: Vec<Version>,
    sets: Vec<Set>,
    plan: VecDeque<(SimTime, usize)>,
    /// Replicas there should be.
    replicas: u32,
    state: State,
    /// The version that was last all of the pool, and the one that is to be.
    stable: usize,
    new: usize,
    /// Replicas that are ready.
    ready: u64,
    /// Of a canary: its step, the end of a pause, and the weight of a router.
    step: usize,
    pause: Option<SimTime>,
    weight: u32,
    analysis: Option<Analysis>,
    /// With a router, when the side without traffic is taken away.
    retires: Option<SimTime>,
    /// When there was last progress, and what there was then.
    progress: (SimTime, [u32; 3]),
    is_late: bool,
    records: Vec<Record>,
    log: Vec<RolloutEntry>,
    /// Calls that failed when the grace period of their replica was over.
    killed: u64,
}

/// The most passes over the sets in an instant: they come to rest before.
const PASSES: usize = 1000;

impl Rollouts {
    /// `weights` are the bytes of the model of the pool.
    ///
    /// # Errors
    /// What of the deployment cannot be; the path starts at it.
    pub(crate) fn new(
        config: &DeploymentConfig,
        weights: Option<u64>,
        initial: u32,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let version = |name: &str| Version {
            name: name.to_owned(),
            error_rate: 0.0,
            slow: 1.0,
            cold_start: None,
            crash_after: None,
            calls: 0,
            bad: 0,
            replicas: TimeWeighted::new(SimTime::ZERO, 0),
        };
        let mut versions = vec![version(&config.version)];
        versions[0].replicas = TimeWeighted::new(SimTime::ZERO, initial.into());
        let mut plan = VecDeque::new();
        for (index, rollout) in config.rollouts.iter().enumerate() {
            let within = |error: ConfigError| error.within(index.to_string()).within("rollout");
            let known = versions.iter().position(|known| known.name == rollout.version);
            let place = known.unwrap_or(versions.len());
            if known.is_none() {
                let cold_start = rollout.cold_start.as_ref().map(|cold| cold.stages(weights)).transpose();
                let crash = rollout.crash_after.as_ref().map(|law| law.build()).transpose();
                versions.push(Version {
                    error_rate: rollout.error_rate.get(),
                    slow: rollout.slow.unwrap_or(1.0),
                    cold_start: cold_start.map_err(|error| within(error.within("cold_start")))?,
                    crash_after: crash
                        .map_err(|error| within(ConfigError::new(["crash_after"], error.to_string())))?,
                    ..version(&rollout.version)
                });
            }
            plan.push_back((SimTime::from_nanos(rollout.at.get().as_nanos()), place));
        }
        let mut sets = vec![Set::default(); versions.len()];
        sets[0] = Set { spec: initial, available: initial };
        Ok(Self {
            config: config.clone(),
            versions,
            sets,
            plan,
            replicas: initial,
            state: State::Done,
            stable: 0,
            new: 0,
            ready: initial.into(),
            step: 0,
            pause: None,
            weight: 0,
            analysis: None,
            retires: None,
            progress: (SimTime::ZERO, [0; 3]),
            is_late: false,
            records: Vec::new(),
            log: Vec::new(),
            killed: 0,
        })
    }

    /// How many replicas of a version there are to be.
    pub(crate) fn spec(&self, version: usize) -> u32 {
        self.sets[version].spec
    }

    pub(crate) fn version(&self, version: usize) -> &Version {
        &self.versions[version]
    }

    /// How many versions there are.
    pub(crate) fn count(&self) -> usize {
        self.versions.len()
    }

    pub(crate) fn grace(&self) -> SimDuration {
        self.config.termination_grace_period_seconds.get()
    }

    pub(crate) fn min_ready(&self) -> SimDuration {
        self.config.min_ready_seconds.get()
    }

    /// The most replicas beyond so many.
    pub(crate) fn surge(config: &DeploymentConfig, replicas: u32) -> u32 {
        match config.strategy {
            Strategy::Canary if config.canary.as_ref().is_some_and(|canary| canary.traffic_routing) => {
                replicas
            }
            _ => config.max_surge.up(replicas).max(1),
        }
    }

    /// With a router: the version that is rolled out, its share of the traffic, and the version that takes the rest.
    pub(crate) fn traffic(&self) -> Option<(usize, f64, usize)> {
        self.router()?;
        Some((self.new, f64::from(self.weight) / 100.0, self.stable))
    }

    /// A canary's configuration, if a router gives it its weight.
    fn router(&self) -> Option<&CanaryConfig> {
        self.config.canary.as_ref().filter(|canary| canary.traffic_routing)
    }

    /// A call to a version has ended.
    pub(crate) fn ended(&mut self, version: usize, how: Ended) {
        let tally = &mut self.versions[version];
        tally.calls += 1;
        tally.bad += u64::from(how == Ended::FailedByVersion);
        if version == self.new
            && let Some(analysis) = &mut self.analysis
        {
            let answered = match how {
                Ended::Answered(after) => Some(after),
                Ended::Failed | Ended::FailedByVersion => None,
            };
            analysis.record(answered);
        }
    }

    /// Calls have failed as the grace period of their replica is over.
    pub(crate) fn kill(&mut self, calls: u64) {
        self.killed += calls;
    }

    /// Decides anew: `replicas` are those there should be, `counts` those there are of each version.
    pub(crate) fn advance(&mut self, now: SimTime, replicas: u32, counts: &[Counts]) {
        for (set, count) in self.sets.iter_mut().zip(counts) {
            set.available = count.available.min(set.spec);
        }
        self.settle(now, counts);
        self.scale(replicas);
        while let Some((_, version)) = self.plan.pop_front_if(|(at, _)| *at <= now) {
            self.begin(version, now);
        }
        if self.state == State::Forward
            && let Some(reason) = self.analysis.as_mut().and_then(|analysis| analysis.measure(now))
        {
            self.abort(now, format!("analysis: {reason}"));
        }
        for _ in 0..PASSES {
            if !self.pass(now, counts) {
                break;
            }
        }
    }

    /// When it has to decide again, though nothing changes.
    pub(crate) fn wake(&self) -> Option<SimTime> {
        let analysis = self.analysis.as_ref().map(|analysis| analysis.next);
        let runs = self.state != State::Done && self.pause.is_none() && !self.is_late;
        let deadline = runs.then(|| self.deadline());
        let begins = self.plan.front().map(|(at, _)| *at);
        [begins, self.pause, analysis, self.retires, deadline].into_iter().flatten().min()
    }

    fn deadline(&self) -> SimTime {
        self.progress.0.checked_add(self.config.progress_deadline_seconds.get()).unwrap_or(SimTime::MAX)
    }

    fn bounds(&self, replicas: u32) -> Bounds {
        Bounds::resolve(self.config.max_surge, self.config.max_unavailable, replicas)
    }

    /// The version that all replicas are to be of.
    fn target(&self) -> usize {
        if self.state == State::Back { self.stable } else { self.new }
    }

    fn tell(&mut self, at: SimTime, version: usize, event: RolloutEvent) {
        let version = self.versions[version].name.clone();
        self.log.push(RolloutEntry { at, version, event });
    }

    fn begin(&mut self, version: usize, now: SimTime) {
        match self.state {
            State::Done if version == self.new => return,
            State::Forward if version == self.new => return,
            State::Forward | State::Back if version == self.stable => {
                return self.abort(now, format!("rollout of {}", self.versions[version].name));
            }
            _ => {}
        }
        self.close(now);
        self.tell(now, version, RolloutEvent::Began);
        let ready = self.ready;
        self.records.push(Record {
            version,
            began: now,
            aborted: None,
            ended: None,
            ready: TimeWeighted::new(now, ready),
            ready_min: ready,
            ready_mean: None,
        });
        (self.new, self.state, self.step, self.pause, self.weight) = (version, State::Forward, 0, None, 0);
        (self.analysis, self.retires) = (None, None);
        self.restart_progress(now);
    }

    fn restart_progress(&mut self, now: SimTime) {
        (self.progress, self.is_late) = ((now, [0, u32::MAX, 0]), false);
    }

    fn abort(&mut self, now: SimTime, reason: String) {
        if self.state != State::Forward {
            return;
        }
        self.tell(now, self.new, RolloutEvent::Aborted(reason));
        if let Some(record) = self.records.last_mut() {
            record.aborted = Some(now);
        }
        (self.state, self.pause, self.weight, self.analysis) = (State::Back, None, 0, None);
        if let Some(router) = self.router() {
            let delay = router.abort_scale_down_delay_seconds.get();
            self.retires = now.checked_add(delay).ok();
        }
        self.restart_progress(now);
    }

    /// The present rollout is over, one way or the other.
    fn close(&mut self, now: SimTime) {
        if let Some(record) = self.records.last_mut().filter(|record| record.ended.is_none()) {
            record.ended = Some(now);
            record.ready_mean = Some(record.ready.mean(now));
        }
    }

    /// Takes note of what there is.
    pub(crate) fn settle(&mut self, now: SimTime, counts: &[Counts]) {
        self.ready = counts.iter().map(|count| u64::from(count.ready)).sum();
        self.watch_progress(now, counts);
        for (version, count) in self.versions.iter_mut().zip(counts) {
            version.replicas.set(now, (count.present + count.ending).into());
        }
        if let Some(record) = self.records.last_mut().filter(|record| record.ended.is_none()) {
            record.ready.set(now, self.ready);
            record.ready_min = record.ready_min.min(self.ready);
        }
    }

    /// There should be another number of replicas.
    fn scale(&mut self, replicas: u32) {
        let before = std::mem::replace(&mut self.replicas, replicas);
        if before == replicas || self.config.strategy != Strategy::RollingUpdate || self.state == State::Done
        {
            return;
        }
        let mut active = (0..self.sets.len()).filter(|index| self.sets[*index].spec > 0);
        match (active.next(), active.next()) {
            (Some(only), None) => self.sets[only].scale(replicas),
            (Some(_), Some(_)) => {
                let most = before + self.bounds(before).surge;
                let bounds = self.bounds(replicas);
                scale_in_proportion(&mut self.sets, most, replicas, bounds);
            }
            _ => {}
        }
    }

    /// Progress is one more of the new version, one less of the others, or one more that is ready
    /// (`DeploymentProgressing` in `util/deployment_util.go`). A paused rollout has no deadline.
    fn watch_progress(&mut self, now: SimTime, counts: &[Counts]) {
        if self.state == State::Done {
            return;
        }
        let target = self.target();
        let of = |count: fn(&Counts) -> u32| counts.iter().map(count).sum::<u32>();
        let updated = counts[target].present;
        let seen = [updated, of(|count| count.present) - updated, of(|count| count.ready + count.available)];
        let (_, last) = self.progress;
        if self.pause.is_some() || seen[0] > last[0] || seen[1] < last[1] || seen[2] > last[2] {
            self.progress = (now, seen);
        } else {
            self.progress.1 = seen;
            if now >= self.deadline() && !self.is_late {
                self.is_late = true;
                self.tell(now, target, RolloutEvent::DeadlineExceeded);
                if self.config.progress_deadline_abort {
                    self.abort(now, "no progress until the deadline".into());
                }
            }
        }
    }

    /// One step towards where it should be: whether there may be more to do.
    fn pass(&mut self, now: SimTime, counts: &[Counts]) -> bool {
        let (replicas, target) = (self.replicas, self.target());
        if self.state == State::Done {
            return self.hold(now);
        }
        let bounds = self.bounds(replicas);
        let changed = match self.config.strategy {
            Strategy::RollingUpdate => pass(&mut self.sets, target, replicas, bounds),
            Strategy::Recreate => self.recreate(target, counts),
            Strategy::Canary if self.router().is_some() => self.route(now),
            Strategy::Canary => self.canary(now, bounds),
        };
        if changed {
            return true;
        }
        let others = specs(&self.sets) - self.sets[target].spec;
        let is_forward = self.state == State::Forward;
        let is_routed = self.router().is_some();
        if is_forward && self.has_steps_left()
            || self.sets[target].available < replicas
            || others > 0 && !is_routed
        {
            return false;
        }
        self.close(now);
        let version = self.new;
        let event = if is_forward { RolloutEvent::Completed } else { RolloutEvent::RolledBack };
        self.tell(now, version, event);
        if is_forward && is_routed {
            let delay =
                self.router().map_or(SimDuration::ZERO, |canary| canary.scale_down_delay_seconds.get());
            self.retires = now.checked_add(delay).ok();
        }
        (self.stable, self.new, self.state, self.weight) = (target, target, State::Done, 100);
        (self.analysis, self.pause) = (None, None);
        true
    }

    /// Between rollouts.
    fn hold(&mut self, now: SimTime) -> bool {
        if self.retires.is_some_and(|at| at <= now) {
            self.retires = None;
        }
        for (index, set) in self.sets.iter_mut().enumerate() {
            if index == self.new {
                set.scale(self.replicas);
            } else if self.retires.is_none() {
                set.scale(0);
            }
        }
        false
    }

    fn recreate(&mut self, target: usize, counts: &[Counts]) -> bool {
        let before = self.sets.clone();
        for (index, set) in self.sets.iter_mut().enumerate() {
            if index != target {
                set.scale(0);
            }
        }
        let others = counts.iter().enumerate().filter(|(index, _)| *index != target);
        let all_gone = others.map(|(_, count)| count.present + count.ending).sum::<u32>() == 0;
        if all_gone || self.sets[target].spec > 0 {
            self.sets[target].scale(self.replicas);
        }
        self.sets != before
    }

    /// Whether a canary is at one of its steps.
    fn has_steps_left(&self) -> bool {
        self.config.canary.as_ref().is_some_and(|canary| self.step < canary.steps.len())
    }

    /// The weight that the steps so far come to.
    fn step_weight(&self) -> u32 {
        let Some(canary) = self.config.canary.as_ref().filter(|_| self.state == State::Forward) else {
            return 0;
        };
        if self.step >= canary.steps.len() {
            return 100;
        }
        canary.steps[..=self.step].iter().rev().find_map(|step| step.set_weight).unwrap_or(0)
    }

    /// Goes on to the next step, if the present one is over.
    fn next_step(&mut self, now: SimTime, is_there: bool) -> bool {
        if self.state != State::Forward {
            return false;
        }
        let Some(canary) = &self.config.canary else { return false };
        if self.analysis.is_none()
            && let Some(analysis) = &canary.analysis
            && self.step >= analysis.starting_step as usize
        {
            self.analysis = Some(Analysis::begin(analysis, now));
        }
        let Some(step) = canary.steps.get(self.step).copied() else { return false };
        let is_over = match step.pause {
            Some(pause) => {
                let until = *self.pause.get_or_insert(now.checked_add(pause.get()).unwrap_or(SimTime::MAX));
                until <= now
            }
            None => is_there,
        };
        if is_over {
            self.pause = None;
            self.step += 1;
            self.restart_progress(now);
            if let Some(weight) = step.set_weight {
                self.tell(now, self.new, RolloutEvent::SetWeight(weight));
            }
        }
        is_over
    }

    /// A canary whose weight is that of its replicas.
    fn canary(&mut self, now: SimTime, bounds: Bounds) -> bool {
        let (new, stable, replicas) = (self.new, self.stable, self.replicas);
        let before = self.sets.clone();
        let is_other = |index: usize| index != new && index != stable;
        let available: u32 = self.sets.iter().map(|set| set.available).sum();
        let mut may_go = available.saturating_sub(replicas.saturating_sub(bounds.unavailable));
        for set in self.sets.iter_mut().enumerate().filter(|(index, _)| is_other(*index)).map(|(_, set)| set)
        {
            let fewer = set.spec.min(may_go);
            set.scale(set.spec - fewer);
            may_go -= fewer;
        }
        let others = specs(&self.sets) - self.sets[new].spec - self.sets[stable].spec;
        let both = (self.sets[new], self.sets[stable]);
        let (to_new, to_stable) = by_replicas(both, others, replicas, self.step_weight(), bounds);
        self.sets[new].scale(to_new);
        self.sets[stable].scale(to_stable);
        let changed = self.sets != before;
        let is_there = !changed && others == 0 && self.sets[new].available == self.sets[new].spec;
        changed || self.next_step(now, is_there)
    }

    /// A canary with a router: the stable version stays as it is until all traffic is elsewhere.
    fn route(&mut self, now: SimTime) -> bool {
        let (new, stable, weight) = (self.new, self.stable, self.step_weight());
        if self.retires.is_some_and(|at| at <= now) {
            self.retires = None;
        }
        let before = self.sets.clone();
        let canaries = (u64::from(self.replicas) * u64::from(weight)).div_ceil(100) as u32;
        for (index, set) in self.sets.iter_mut().enumerate() {
            if index == stable {
                set.scale(self.replicas);
            } else if index != new {
                set.scale(0);
            } else if self.state == State::Forward {
                set.scale(canaries);
            } else if self.retires.is_none() {
                set.scale(0);
            }
        }
        let is_there = self.state == State::Forward && self.sets[new].available >= canaries;
        // Past the last step all of it goes there only when the version is stable.
        if is_there && (weight < 100 || self.has_steps_left()) {
            self.weight = weight;
        }
        self.sets != before || self.next_step(now, is_there)
    }
}
