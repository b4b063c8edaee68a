//! The front of a pool of replicas: it picks a replica for every call, learns which replicas are well, and
//! keeps count of what is in each.
//!
//! # What it knows
//! A replica is up, crashed or hung ([`crate::component::Fault`]); the front does not see that. It picks by
//! what its checks have told it: a dead replica gets calls until it is found out, which takes simulated
//! time. A call to a crashed replica fails at once (connection refused). One to a hung replica is held
//! without an answer, and fails when the replica is restarted. The calls in each replica are the front's own
//! count, so that a crashed replica, which never holds any, looks idle.
//!
//! A replica that drains is told so: it gets no new calls and works off those it has. For the front it is
//! out of the pool until then, as an endpoint that was taken off the list (Kubernetes, Envoy's EDS).
//!
//! # Panic
//! When fewer than `panic_threshold` of the replicas that do not drain are healthy, the front picks among
//! all of those, dead ones too, or rejects everything (`fail_traffic_on_panic`). Where no replica may be
//! picked, calls are rejected.
//!
//! # Costs
//! Balancers say theirs. Health costs O(1) a call with outlier detection and nothing without; O(n) where a
//! replica's health changes and at each sweep.

mod affinity;
mod balance;
mod balancer;
mod checks;
mod faults;
mod fleet;
mod hashing;
mod health;
mod interruptions;
pub(crate) mod notation;
mod outlier;
mod report;
mod routing;
mod scaling;
#[cfg(test)]
mod tests;
mod versions;
mod zonal;

use std::collections::BTreeSet;

use sim_core::event::Phase;
use sim_core::random::{KeyedStream, Purpose, unit};
use sim_core::stats::TimeWeighted;
use sim_core::time::SimTime;

use crate::call::CallId;
use crate::component::Timer;
use crate::context::Ctx;
use crate::error::ConfigError;
use crate::measure::Measure;

use balance::Balance;
pub(crate) use balance::Signal;
pub use balancer::{
    Balancer, ConsistentHash, HashAlgorithm, HashKey, LeastRequest, PrefixAware, VllmDataParallel,
};
use checks::Checks;
use fleet::Fleet;
pub(crate) use fleet::Scaling;
pub use health::{ActiveCheck, HealthConfig, Pace};
pub use outlier::OutlierDetection;
use outlier::Outliers;
pub use report::{EngineFigures, KvFigures, PoolReport, ReplicaReport};
use zonal::Zonal;
pub use zonal::ZoneAware;

/// The most replicas of a pool: a bound on the memory of a simulation (assumption).
pub const MAX_REPLICAS: u32 = 4096;

/// Kinds of the front's timers, beyond those of any component that has one.
mod timer {
    pub(super) const CHECK: u16 = 1 << 15;
    pub(super) const CHECK_TIMEOUT: u16 = CHECK + 1;
    pub(super) const SWEEP: u16 = CHECK + 2;
    pub(super) const SCRAPE: u16 = CHECK + 3;
    pub(super) const SAMPLE: u16 = CHECK + 4;
    pub(super) const DECIDE: u16 = CHECK + 5;
    pub(super) const READY: u16 = CHECK + 6;
    pub(super) const ADMIT: u16 = CHECK + 7;
    pub(super) const NOTICE: u16 = CHECK + 8;
    pub(super) const RECLAIM: u16 = CHECK + 9;
    pub(super) const CAPACITY: u16 = CHECK + 10;
    pub(super) const ROLL: u16 = CHECK + 11;
    pub(super) const CRASH: u16 = CHECK + 12;
    pub(super) const WARMED: u16 = CHECK + 13;
    /// Kinds of each front of a component.
    pub(super) const COUNT: u16 = 64;
}

/// What a replica is like, whether or not anybody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It works.
    Up,
    /// It refuses connections.
    Crashed,
    /// It accepts calls and does nothing.
    Hung,
    /// It is not there: not started yet, or gone.
    Absent,
}

/// What the front of a pool is made of.
#[derive(Debug)]
pub(crate) struct FrontSetup<'a> {
    pub(crate) replicas: u32,
    /// Calls that a replica serves at once.
    pub(crate) capacity: u64,
    pub(crate) balancer: &'a Balancer,
    pub(crate) health: &'a HealthConfig,
    pub(crate) zone_aware: Option<ZoneAware>,
    /// Tokens that the prefix cache of a replica holds; none for replicas without one.
    pub(crate) prefix_room: Option<u64>,
    /// For a pool whose replicas come and go.
    pub(crate) scaling: Option<Scaling>,
}

/// A replica as the front counts it.
#[derive(Debug)]
struct Member {
    condition: Condition,
    /// Whether an autoscaler takes it away, when its calls have ended.
    is_leaving: bool,
    drained: bool,
    /// Whether its zone is lost.
    cut_off: bool,
    /// Calls in it while it hangs.
    held: BTreeSet<CallId>,
    calls: u64,
    answered: u64,
    refused: u64,
    queue: TimeWeighted,
    busy: TimeWeighted,
    available: TimeWeighted,
}

/// The front of a pool: see the module.
#[derive(Debug)]
pub(crate) struct Front {
    /// The number of its first replica, where a component has another front for those before.
    first: u16,
    balance: Balance,
    scrape_period: sim_core::time::SimDuration,
    config: HealthConfig,
    members: Vec<Member>,
    /// Calls in each replica.
    active: Vec<u32>,
    /// Calls held by hung replicas.
    held: u64,
    checks: Option<Checks>,
    outliers: Option<Outliers>,
    /// Those that may be picked.
    candidates: Vec<u32>,
    /// Changes with them.
    version: u64,
    panic: TimeWeighted,
    /// Whether it is in a panic in which all calls are rejected.
    is_failing: bool,
    /// Made at the start.
    draws: Option<Draws>,
    no_replica: u64,
    capacity: u64,
    fleet: Option<Box<Fleet>>,
    /// With a router of traffic between versions.
    split: Option<Box<versions::Split>>,
    zone_aware: Option<ZoneAware>,
    /// With replicas in zones.
    zonal: Option<Box<Zonal>>,
}

#[derive(Debug, Clone, Copy)]
struct Draws {
    routing: KeyedStream,
    jitter: KeyedStream,
}

impl Front {
    /// # Errors
    /// What of the balancer or the health checks cannot be; the path starts at the pool.
    pub(crate) fn new(setup: FrontSetup) -> Result<Self, ConfigError> {
        let FrontSetup { replicas, capacity, balancer, health, zone_aware, prefix_room, scaling } = setup;
        if replicas > MAX_REPLICAS {
            return Err(ConfigError::new(["replicas"], format!("replicas is {replicas}"))
                .help(format!("expected at most {MAX_REPLICAS}")));
        }
        balancer.check(replicas).map_err(|error| error.within("balancer"))?;
        health.check().map_err(|error| error.within("health"))?;
        if matches!(balancer, Balancer::PrefixAware(_)) && prefix_room.is_none() {
            return Err(ConfigError::new(["balancer"], "`prefix_aware` needs replicas with a prefix cache")
                .help("expected another balancer, such as \"consistent_hash\""));
        }
        let level = |level| TimeWeighted::new(SimTime::ZERO, level);
        let present = scaling.as_ref().map_or(replicas, |scaling| scaling.initial.min(replicas));
        let member = |replica| Member {
            condition: if replica < present { Condition::Up } else { Condition::Absent },
            is_leaving: false,
            drained: false,
            cut_off: false,
            held: BTreeSet::new(),
            calls: 0,
            answered: 0,
            refused: 0,
            queue: level(0),
            busy: level(0),
            available: level((replica < present).into()),
        };
        let fleet = scaling.map(|scaling| Box::new(Fleet::new(scaling, replicas as usize)));
        let mut front = Self {
            first: 0,
            balance: Balance::new(balancer.clone(), replicas, prefix_room.unwrap_or(0)),
            scrape_period: balancer.scrape_period(),
            config: health.clone(),
            members: (0..replicas).map(member).collect(),
            active: vec![0; replicas as usize],
            held: 0,
            checks: None,
            outliers: health.outlier_detection.map(|config| Outliers::new(config, replicas)),
            candidates: (0..present).collect(),
            version: 0,
            panic: level(0),
            is_failing: false,
            draws: None,
            no_replica: 0,
            capacity,
            fleet,
            split: None,
            zone_aware,
            zonal: None,
        };
        front.check_zone_aware()?;
        if front.fleet.as_ref().is_some_and(|fleet| fleet.is_bounded()) && *balancer != Balancer::RoundRobin {
            return Err(ConfigError::new(
                ["balancer"],
                "calls that wait in front for a replica with room go to the replicas in turn",
            )
            .help("expected an autoscaler without a bound on the calls of a replica, or no `balancer`"));
        }
        front.prepare_split(|| Balance::new(balancer.clone(), replicas, prefix_room.unwrap_or(0)));
        if let Some(fleet) = &mut front.fleet {
            fleet.set_room(&front.candidates, &front.active);
        }
        Ok(front)
    }

    /// The second front of a component: of the replicas from number `first` on, with luck and timers of its own.
    pub(crate) fn from(mut self, first: u16) -> Self {
        self.first = first;
        self
    }

    /// What is added to the kinds of its timers.
    pub(super) fn kinds(&self) -> u16 {
        if self.first == 0 { 0 } else { timer::COUNT }
    }

    /// Sets its draws apart from those of the first front.
    pub(super) fn salt(&self) -> u32 {
        u32::from(self.first) << 16
    }

    /// Where a pool whose replicas come and go is on the bill, and how many units of it a replica is.
    pub(crate) fn set_bill(&mut self, item: usize, units: u64) {
        if let Some(fleet) = &mut self.fleet {
            fleet.set_bill(item, units);
        }
    }

    /// Where the replicas of a warm pool that do not run are on the bill.
    pub(crate) fn set_warm_bill(&mut self, item: usize) {
        if let Some(fleet) = &mut self.fleet {
            fleet.set_warm_bill(item);
        }
    }

    /// Before the first event.
    pub(crate) fn start(&mut self, ctx: &mut Ctx) {
        let (routing, jitter) = (ctx.keyed_stream(Purpose::Routing), ctx.keyed_stream(Purpose::Jitter));
        self.draws = Some(Draws { routing, jitter });
        self.find_zones(ctx);
        let (kinds, first) = (self.kinds(), u32::from(self.first));
        if let Some(active) = self.config.active {
            let phase = |replica: u32| unit(&mut jitter.draws((first + replica).into(), 0, 0));
            self.checks = Some(Checks::new(active, self.members.len() as u32, kinds, phase));
        }
        if let Some(outliers) = &self.outliers {
            ctx.schedule(outliers.config().interval.get(), Phase::Timer, timer::SWEEP + kinds, 0);
        }
        if !self.scrape_period.is_zero() {
            ctx.schedule(self.scrape_period, Phase::Timer, timer::SCRAPE + kinds, 0);
        }
        if let Some(fleet) = &mut self.fleet {
            fleet.start(ctx);
        }
        self.note_capacity(ctx);
    }

    /// Whether a timer of the component is the front's.
    pub(crate) fn owns(&self, timer: Timer) -> bool {
        timer
            .kind
            .checked_sub(timer::CHECK)
            .is_some_and(|kind| kind / timer::COUNT == self.kinds() / timer::COUNT)
    }

    /// A timer of the front has run out. `signal` reads a replica's load. Gives what the component now has to
    /// do.
    pub(crate) fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx, signal: impl Fn(usize) -> Signal) -> Due {
        let replica = timer.data as usize;
        match timer.kind - self.kinds() {
            timer::SAMPLE => self.sample(ctx, signal),
            timer::DECIDE => {
                if self.fleet.as_ref().is_some_and(|fleet| fleet.measures_to_decide()) {
                    self.sample(ctx, signal);
                }
                return self.decide(ctx);
            }
            timer::READY => return self.started(timer.data, ctx),
            timer::ROLL => return self.roll(ctx),
            timer::CRASH => return self.crashes(timer.data),
            timer::WARMED => self.fleet.iter_mut().for_each(|fleet| fleet.warmed(ctx)),
            timer::NOTICE => return self.life_is_over(timer.data, ctx),
            timer::RECLAIM => return self.reclaim(timer.data),
            timer::CAPACITY => return self.capacity_is_back(ctx),
            timer::ADMIT => {
                let call = CallId::from_bits(timer.data);
                if self.fleet.as_ref().is_some_and(|fleet| fleet.is_admitted(call)) {
                    return Due::Route(call);
                }
            }
            timer::CHECK => {
                let condition = self.members[replica].condition;
                let checks = self.checks.as_mut();
                if let Some(passed) = checks.and_then(|checks| checks.begin(replica, condition, ctx)) {
                    self.check_ended(replica, passed, ctx);
                }
            }
            timer::CHECK_TIMEOUT => self.check_ended(replica, false, ctx),
            timer::SWEEP => self.sweep(ctx),
            _ => {
                if let Some(split) = &mut self.split {
                    split.read((0..self.members.len()).map(&signal));
                }
                for (replica, last) in self.balance.signals.iter_mut().enumerate() {
                    *last = signal(replica);
                }
                ctx.schedule(self.scrape_period, Phase::Timer, timer::SCRAPE + self.kinds(), 0);
            }
        }
        Due::Nothing
    }

    fn check_ended(&mut self, replica: usize, passed: bool, ctx: &mut Ctx) {
        let Some(checks) = &mut self.checks else { return };
        let mut changed = checks.ended(replica, passed);
        let healthy = checks.is_healthy(replica);
        let is_out = self.outliers.as_ref().is_some_and(|outliers| outliers.is_out(replica));
        if let Some(outliers) = &mut self.outliers
            && passed
            && healthy
            && is_out
            && outliers.config().successful_active_health_check_uneject_host
        {
            outliers.uneject(replica, ctx.now());
            changed = true;
        }
        if changed {
            self.choose_candidates(ctx);
            self.note_health(ctx);
        }
        let matters = self.members[replica].condition != Condition::Up || self.awaits_check(replica);
        if let Some(checks) = &mut self.checks {
            checks.next(replica, matters, ctx);
        }
    }

    /// Whether a check that passes would let it back in.
    fn awaits_check(&self, replica: usize) -> bool {
        self.outliers.as_ref().is_some_and(|outliers| {
            outliers.is_out(replica) && outliers.config().successful_active_health_check_uneject_host
        })
    }

    pub(super) fn wake_checks(&mut self, replica: usize, ctx: &mut Ctx) {
        if let Some(checks) = &mut self.checks {
            checks.wake(replica, ctx);
        }
    }

    fn sweep(&mut self, ctx: &mut Ctx) {
        let now = ctx.now();
        let (kinds, salt) = (self.kinds(), self.salt());
        let Some(outliers) = &mut self.outliers else { return };
        let jitter = self.draws.map(|draws| draws.jitter);
        let mut chances = 0;
        let ejected = outliers.sweep(now, || {
            chances += 1;
            jitter.map_or(1.0, |jitter| unit(&mut jitter.draws(now.as_nanos(), 1 + salt, chances)))
        });
        ctx.schedule(outliers.config().interval.get(), Phase::Timer, timer::SWEEP + kinds, 0);
        for replica in ejected {
            self.wake_checks(replica, ctx);
        }
        self.choose_candidates(ctx);
    }

    /// Who may be picked, after somebody's health has changed. Calls in front go to those who may be picked again.
    pub(super) fn choose_candidates(&mut self, ctx: &mut Ctx) {
        let now = ctx.now();
        let is_well = |replica: &u32| {
            let replica = *replica as usize;
            self.checks.as_ref().is_none_or(|checks| checks.is_healthy(replica))
                && self.outliers.as_ref().is_none_or(|outliers| !outliers.is_out(replica))
        };
        let members = self.members.iter().zip(0u32..);
        let present: Vec<u32> = members.filter(|(member, _)| member.is_present()).map(|(_, n)| n).collect();
        let well: Vec<u32> = present.iter().copied().filter(is_well).collect();
        for (replica, member) in self.members.iter_mut().enumerate() {
            let available = well.binary_search(&(replica as u32)).is_ok();
            member.available.set(now, available.into());
            if !available && let Some(sent) = self.balance.sent.get_mut(replica) {
                // Its cache may be gone with it.
                sent.clear();
            }
        }
        let panic = (well.len() as f64) < self.config.panic_threshold.get() * present.len() as f64;
        self.panic.set(now, panic.into());
        self.is_failing = panic && self.config.fail_traffic_on_panic;
        if let Some(outliers) = &mut self.outliers {
            outliers.set_present(present.len());
        }
        self.candidates = match (panic, self.config.fail_traffic_on_panic) {
            (false, _) => well,
            (true, false) => present,
            (true, true) => Vec::new(),
        };
        self.split_candidates();
        self.sort_by_zone(panic);
        self.version += 1;
        if let Some(fleet) = &mut self.fleet {
            fleet.set_room(&self.candidates, &self.active);
            fleet.release(&self.candidates, ctx);
        }
    }

    /// Replicas that work.
    pub(crate) fn up(&self) -> u64 {
        self.members.iter().filter(|member| member.condition == Condition::Up).count() as u64
    }

    /// Replicas that are paid for, on average.
    pub(crate) fn held_mean(&self, now: SimTime) -> f64 {
        self.fleet.as_ref().map_or(self.members.len() as f64, |fleet| fleet.held_mean(now))
    }

    /// Calls held by hung replicas, and those that wait for a replica. They are among those waiting in the
    /// component's meter.
    pub(crate) fn held(&self) -> u64 {
        self.held + self.fleet.as_ref().map_or(0, |fleet| fleet.waiting())
    }

    /// Takes note of the calls in a replica; held ones, which the replica has lost, are not among them.
    #[inline]
    pub(crate) fn note(&mut self, replica: usize, queue: u64, busy: u64, now: SimTime) {
        let member = &mut self.members[replica];
        let queue = queue + member.held.len() as u64;
        if (queue, busy) != (member.queue.level(), member.busy.level()) {
            if let Some(fleet) = &mut self.fleet {
                fleet.note_busy(busy as i64 - member.busy.level() as i64, now);
            }
            member.queue.set(now, queue);
            member.busy.set(now, busy);
        }
    }

    pub(crate) fn reset_measurements(&mut self, now: SimTime) {
        for member in &mut self.members {
            (member.calls, member.answered, member.refused) = (0, 0, 0);
            for level in [&mut member.queue, &mut member.busy, &mut member.available] {
                level.reset(now);
            }
        }
        self.panic.reset(now);
        self.no_replica = 0;
        self.reset_zones();
        if let Some(fleet) = &mut self.fleet {
            fleet.reset_measurements(now);
        }
        if let Some(outliers) = &mut self.outliers {
            outliers.reset_measurements();
        }
    }

    /// What was measured; what computes in the replicas is for the component to add.
    pub(crate) fn report(&self, now: SimTime) -> PoolReport {
        let ejections = |replica| self.outliers.as_ref().map_or(0, |outliers| outliers.ejected(replica));
        let replica = |(replica, member): (usize, &Member)| ReplicaReport {
            calls: member.calls,
            answered: member.answered,
            refused: member.refused,
            queue_mean: member.queue.mean(now),
            busy_mean: member.busy.mean(now),
            capacity: self.capacity,
            available: member.available.mean(now),
            ejections: ejections(replica),
            engine: None,
        };
        PoolReport {
            ejections: (0..self.members.len()).map(ejections).sum(),
            replicas: self.members.iter().enumerate().map(replica).collect(),
            held: self.held_mean(now),
            no_replica: self.no_replica,
            panic: self.panic.mean(now),
            rollouts: self.rollouts().map(|rollouts| rollouts.log().to_vec()).unwrap_or_default(),
            calibration: None,
        }
    }

    /// What the front itself measured, in results.
    pub(crate) fn measures(&self, now: SimTime) -> Vec<Measure> {
        let PoolReport { no_replica, ejections, panic, .. } = self.report(now);
        let mut list = vec![
            Measure::count("no_replica", no_replica, "Calls rejected because no replica could be picked"),
            Measure::count("ejections", ejections, "Ejections of replicas by outlier detection"),
            Measure::new(
                "panic_share",
                panic,
                "Share of the time in a panic: too few replicas known to be well",
            ),
        ];
        list.extend(self.cross_zone_share().map(|share| {
            Measure::new(
                "cross_zone_share",
                share,
                "Share of the calls from a known zone that went to a replica in another",
            )
        }));
        list.extend(self.fleet.iter().flat_map(|fleet| fleet.measures(now)));
        list
    }
}

/// What a component has to do after a timer of the front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing.
    Nothing,
    /// To [`Front::route`] a call that has waited in front.
    Route(CallId),
    /// To forget what it knows of replicas that are [gone](Front::take_gone).
    Empty,
    /// To lose all the work in a replica, and say so with [`Front::reclaimed`].
    Reclaim(usize),
    /// The same, with [`Front::crashed`].
    Crash(usize),
    /// To let a replica that was started work as fast as [`Front::slowdown`] says.
    Started(usize),
}

impl Member {
    /// Whether it is in the pool and stays.
    fn is_present(&self) -> bool {
        self.condition != Condition::Absent && !self.is_leaving && !self.drained
    }
}
