//! A service: any server of calls that is described by how long a call takes and how many it works on
//! at once, such as a database, a gateway or a CPU model.
//!
//! The time a call takes is drawn when it arrives, keyed by the request and its hop, so that compared
//! variants (other disciplines, more servers) meet the very same work, and disciplines that go by size
//! know it. Whether it then fails is drawn with it.
//!
//! With `replicas` it is a pool: each replica has its own servers and its own queue, and a balancer in front
//! picks one for each call ([`crate::pool`]).
//!
//! Faults without `replicas`: a crash takes servers chosen at random among those up; calls that are in service on them
//! fail, waiting calls go on waiting. With processor sharing calls belong to no server: each fails
//! with a probability of the share of servers lost. Without servers arrivals wait, up to the cap, for
//! the repair. In a pool a crash takes whole replicas, those of the lowest numbers that are up, with all
//! calls in them; they refuse calls until the repair. `slow` stretches the service of calls that begin it from then on; under
//! [`Discipline::ProcessorSharing`] and [`Discipline::Srpt`] of those that arrive from then on.

mod sharing;
mod stations;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::distribution::Dist;
use sim_core::random::{KeyedDraws, Purpose, unit};
use sim_core::time::SimTime;

use crate::admission::{AdmissionConfig, FairConfig, GuardedLine, LinePlan};
use crate::autoscaler::{AutoscalerConfig, ColdStart, PoolScaling, WarmPoolConfig};
use crate::call::{CallId, Reply};
use crate::component::{Component, Fault, Signals, Timer};
use crate::context::Ctx;
use crate::cost::{ListPrice, PriceModelConfig, Rent};
use crate::deployment::DeploymentConfig;
use crate::error::ConfigError;
use crate::measure::Measure;
use crate::pool::{Balancer, Due, Front, FrontSetup, HealthConfig, PoolReport, Signal, ZoneAware};
use crate::spot::SpotConfig;
use crate::system::Scope;
use crate::units::{HourlyPrice, Probability, TimeDist};
use sharing::Sharing;
use stations::Stations;

/// Serves calls on a number of equal servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// How long a call takes on a server of its own; negative draws take no time.
    pub service_time: TimeDist,
    /// How many calls are in service at once, each on a server of its own. Default: 1.
    #[serde(default = "one")]
    pub servers: NonZeroU32,
    /// Makes it a pool of so many replicas, each with its own servers and its own queue. Default: no pool,
    /// one queue for all servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<NonZeroU32>,
    /// How calls are spread over the replicas. Default: round_robin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balancer: Option<Balancer>,
    /// Whether calls go to replicas in the zone of their caller where there is room, as in Envoy. Default: the balancer
    /// does not know of zones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_aware: Option<ZoneAware>,
    /// How it is learnt which replicas are well. Default: kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthConfig>,
    /// Who decides how many replicas there are. Default: nobody, there are always as many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaler: Option<Box<AutoscalerConfig>>,
    /// How long a new replica takes. Default: no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_start: Option<Box<ColdStart>>,
    /// The most replicas that can be had, whatever the autoscaler asks for. Default: 1,000 (an assumption).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_quota: Option<NonZeroU32>,
    /// On spot capacity: how replicas are interrupted, and replaced with a cold start. What they cost is said by
    /// `price_model`. Default: they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spot: Option<Box<SpotConfig>>,
    /// How versions of its program replace one another. Default: there is one version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Box<DeploymentConfig>>,
    /// With an autoscaler, replicas that are kept prepared beside those that serve. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_pool: Option<Box<WarmPoolConfig>>,
    /// Who is served next. Default: `fcfs`.
    #[serde(default)]
    pub discipline: Discipline,
    /// With `fair`, whose calls are kept apart, and their weights. Default: tenants, with equal weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fair: Option<FairConfig>,
    /// With `adaptive_lifo`, how many calls wait before the last is served first. Default: 80% of
    /// `queue_cap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifo_threshold: Option<u32>,
    /// The most calls that wait, in a pool at each replica; one that finds as many waiting is rejected. 0 leaves no room to wait.
    /// With processor sharing: the most calls beyond the number of servers. Default: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_cap: Option<u32>,
    /// Which calls are turned away or given up. Default: those that find the queue full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Box<AdmissionConfig>>,
    /// Share of calls that fail, after their full time in service. Default: 0.
    #[serde(default)]
    pub error_rate: Probability,
    /// Price of one server. Default: not on the bill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<HourlyPrice>,
    /// How it is paid. Default: on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_model: Option<PriceModelConfig>,
}

/// Who is served next. What is not preemptive finishes a call that it has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Discipline {
    /// First come, first served.
    #[default]
    Fcfs,
    /// Last come, first served, not preemptive.
    Lifo,
    /// The most important class first, within it first come, first served; not preemptive.
    Priority,
    /// As `priority`, but a more important call takes the server of a less important one, which later
    /// resumes where it stopped.
    PreemptivePriority,
    /// All calls at once at equal speed, each at most at the speed of one server.
    ProcessorSharing,
    /// Shortest job first, not preemptive.
    Sjf,
    /// Shortest remaining processing time first: a call that needs less than a call in service still
    /// does takes its server.
    Srpt,
    /// First come, first served, and last come, first served while more than `lifo_threshold` wait (B. Maurer,
    /// "Fail at Scale", ACM Queue 13 (8), 2015; HBase's AdaptiveLifoCoDelCallQueue); not preemptive.
    AdaptiveLifo,
    /// Weighted fair queueing of tenants or classes by the time that their calls take in service (start-time
    /// fair queueing, Goyal, Vin and Cheng, SIGCOMM 1996); not preemptive.
    Fair,
}

impl Discipline {
    /// Whether calls wait in a line until they start, and then go on to their end.
    pub(crate) fn has_line(self) -> bool {
        !matches!(self, Self::PreemptivePriority | Self::ProcessorSharing | Self::Srpt)
    }
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

impl ServiceConfig {
    pub(crate) fn build(&self, scope: &mut Scope) -> Result<Box<dyn Component>, ConfigError> {
        let law = self.service_time.build();
        let law = Arc::new(law.map_err(|error| ConfigError::new(["service_time"], error.to_string()))?);
        let is_pool = self.replicas.is_some() || self.autoscaler.is_some();
        if !is_pool {
            let settings = [
                ("balancer", self.balancer.is_some()),
                ("health", self.health.is_some()),
                ("zone_aware", self.zone_aware.is_some()),
                ("spot", self.spot.is_some()),
                ("deployment", self.deployment.is_some()),
            ];
            if let Some((key, _)) = settings.into_iter().find(|(_, given)| *given) {
                return Err(ConfigError::new([key], format!("`{key}` needs a pool"))
                    .help("expected `replicas` beside it, such as `replicas = 3`"));
            }
        }
        let replicas = self.replicas.map_or(1, NonZeroU32::get);
        let scaling = PoolScaling {
            autoscaler: self.autoscaler.as_deref(),
            spot: self.spot.as_deref(),
            deployment: self.deployment.as_deref(),
            warm_pool: self.warm_pool.as_deref(),
            cold_start: self.cold_start.as_deref(),
            quota: self.replica_quota,
            replicas,
            concurrency: self.servers.get(),
            weights: None,
        };
        let (scaling, replicas) = scaling.build()?.map_or((None, replicas), |(s, most)| (Some(s), most));
        let present = scaling.as_ref().map_or(replicas, |scaling| scaling.initial);
        let health = match &self.health {
            Some(health) => health.clone(),
            None if is_pool => HealthConfig::kubernetes(),
            None => HealthConfig::none(),
        };
        let mut front = Front::new(FrontSetup {
            replicas,
            capacity: self.servers.get().into(),
            balancer: &self.balancer.clone().unwrap_or_default(),
            health: &health,
            zone_aware: self.zone_aware,
            prefix_room: None,
            scaling,
        })?;
        let line = LinePlan::of_service(self, scope.labels())?;
        let servers = |replica: u32| Servers {
            law: law.clone(),
            error_rate: self.error_rate.get(),
            room: self.queue_cap.map_or(u64::MAX, u64::from),
            installed: self.servers.get(),
            up: self.servers.get(),
            slowdown: 1.0,
            crashes: 0,
            timer: replica as u16,
        };
        let capacity = u64::from(self.servers.get()) * u64::from(present);
        scope.meter().capacity.set(SimTime::ZERO, capacity);
        let each = u64::from(self.servers.get());
        let bill = scope.rent(Rent {
            resource: "server".to_owned(),
            list: ListPrice::given(self.price_per_hour),
            model: self.price_model.as_ref(),
            units: capacity,
            each: if is_pool { each } else { 1 },
        })?;
        if let Some(bill) = bill {
            front.set_bill(bill, each);
        }
        if let Some(line) = scope.rent_warm(self.warm_pool.as_deref()) {
            front.set_warm_bill(line);
        }
        Ok(match self.discipline {
            Discipline::ProcessorSharing => {
                let replicas = (0..replicas).map(|replica| Sharing::new(servers(replica)));
                Box::new(Service::new(replicas.collect(), front, is_pool, capacity))
            }
            discipline => {
                let replicas =
                    (0..replicas).map(|replica| Stations::new(servers(replica), discipline, line.clone()));
                Box::new(Service::new(replicas.collect(), front, is_pool, capacity))
            }
        })
    }
}

/// The servers of a replica, whatever the discipline.
#[derive(Debug)]
struct Servers {
    law: Arc<Dist>,
    error_rate: f64,
    /// The most calls that wait.
    room: u64,
    installed: u32,
    up: u32,
    /// How many times as long a service takes as drawn.
    slowdown: f64,
    /// Number of crashes, to key their draws by.
    crashes: u64,
    /// The kind of the timers: the number of the replica.
    timer: u16,
}

impl Servers {
    /// The service time in nanoseconds, and whether the call fails after it.
    #[inline]
    fn draw(&self, call: CallId, ctx: &Ctx) -> (u64, bool) {
        let mut draws = ctx.draws(call);
        let work = self.law.sample_duration(&mut draws).as_nanos();
        (work, self.error_rate > 0.0 && unit(&mut draws) < self.error_rate)
    }

    /// `work` as long as it takes at the present speed.
    #[inline]
    fn stretched(&self, work: u64) -> u64 {
        // Longer than 104 days is not exact as f64; at full speed it need not be.
        if self.slowdown == 1.0 { work } else { (work as f64 * self.slowdown).round() as u64 }
    }

    /// The most calls there may be, in service or waiting.
    #[inline]
    fn most_calls(&self) -> u64 {
        self.room.saturating_add(u64::from(self.up))
    }

    /// Loses servers: how many, and draws to choose whom they take along.
    fn crash(&mut self, count: u32, ctx: &Ctx) -> (u32, KeyedDraws) {
        let draws = ctx.keyed_stream(Purpose::Faults).draws(self.crashes, 0, 0);
        self.crashes += 1;
        let lost = count.min(self.up);
        self.up -= lost;
        (lost, draws)
    }

    fn repair(&mut self, count: u32) {
        self.up = self.up.saturating_add(count).min(self.installed);
    }
}

/// The servers and the queue of one replica. It ends calls through the pool's front.
trait Replica: fmt::Debug + Send {
    fn servers(&mut self) -> &mut Servers;
    /// A call arrives.
    fn arrive(&mut self, call: CallId, front: &mut Front, ctx: &mut Ctx);
    /// A timer set with `data` has run out.
    fn on_timer(&mut self, data: u64, front: &mut Front, ctx: &mut Ctx);
    /// The caller gave up.
    fn cancel(&mut self, call: CallId, front: &mut Front, ctx: &mut Ctx);
    /// Servers are lost with the work on them.
    fn crash(&mut self, servers: u32, front: &mut Front, ctx: &mut Ctx);
    /// Servers are back.
    fn repair(&mut self, servers: u32, front: &mut Front, ctx: &mut Ctx);
    /// Work that begins now takes so many times as long.
    fn slow(&mut self, factor: f64, front: &mut Front, ctx: &mut Ctx);
    /// Everything in it is gone: the calls that were in it.
    fn lose(&mut self, ctx: &mut Ctx) -> Vec<CallId>;
    /// Calls waiting and calls in service.
    fn load(&self) -> (u64, u64);
    /// The line, where it does more than keep an order.
    fn line(&self) -> Option<&GuardedLine> {
        None
    }
    /// The measured part of the run begins.
    fn reset_measurements(&mut self) {}
}

/// One replica, or a pool of them.
#[derive(Debug)]
struct Service<R> {
    replicas: Vec<R>,
    front: Front,
    is_pool: bool,
    /// Calls waiting and in service, by replica, as last noted.
    noted: Vec<(u64, u64)>,
    /// Servers that are up.
    capacity: u64,
    /// How many times as long work takes because of a fault.
    slowed: f64,
}

impl<R: Replica> Service<R> {
    fn new(replicas: Vec<R>, front: Front, is_pool: bool, capacity: u64) -> Self {
        let noted = vec![(0, 0); replicas.len()];
        Self { replicas, front, is_pool, noted, capacity, slowed: 1.0 }
    }

    /// Sends a call to a replica.
    #[inline]
    fn hand_in(&mut self, call: CallId, ctx: &mut Ctx) {
        if let Some(replica) = self.front.route(call, ctx) {
            self.replicas[replica].arrive(call, &mut self.front, ctx);
            self.note(replica, ctx);
        }
    }

    /// Takes note of a replica's load after something has changed.
    #[inline]
    fn note(&mut self, replica: usize, ctx: &mut Ctx) {
        let now = ctx.now();
        let (queue, busy) = self.replicas[replica].load();
        let (before_queue, before_busy) = std::mem::replace(&mut self.noted[replica], (queue, busy));
        let meter = ctx.meter();
        if queue != before_queue {
            meter.queue.add(now, queue as i64 - before_queue as i64);
        }
        if busy != before_busy {
            meter.busy.add(now, busy as i64 - before_busy as i64);
        }
        if self.is_pool {
            self.front.note(replica, queue, busy, now);
        }
    }
}

impl<R: Replica> Component for Service<R> {
    fn start(&mut self, ctx: &mut Ctx) {
        self.front.start(ctx);
    }

    fn on_call(&mut self, call: CallId, ctx: &mut Ctx) {
        self.hand_in(call, ctx);
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Ctx) {
        if self.front.owns(timer) {
            let signal = |replica: usize| {
                let (waiting, running) = self.noted[replica];
                Signal { waiting, running, kv_usage: 0.0 }
            };
            match self.front.on_timer(timer, ctx, signal) {
                Due::Nothing => {}
                Due::Route(call) => self.hand_in(call, ctx),
                Due::Empty => drop(self.front.take_gone()),
                Due::Reclaim(replica) => {
                    let lost = self.replicas[replica].lose(ctx);
                    self.front.reclaimed(replica, lost, ctx);
                    drop(self.front.take_gone());
                    self.note(replica, ctx);
                }
                Due::Crash(replica) => {
                    let lost = self.replicas[replica].lose(ctx);
                    self.front.crashed(replica, lost, ctx);
                    self.note(replica, ctx);
                }
                Due::Started(replica) => {
                    let factor = self.slowed * self.front.slowdown(replica);
                    self.replicas[replica].slow(factor, &mut self.front, ctx);
                }
            }
            self.capacity = ctx.meter().capacity.level();
            return;
        }
        let replica = usize::from(timer.kind);
        self.replicas[replica].on_timer(timer.data, &mut self.front, ctx);
        self.note(replica, ctx);
    }

    fn on_cancel(&mut self, call: CallId, ctx: &mut Ctx) {
        if let Some(replica) = self.front.cancel(call, ctx) {
            self.replicas[replica].cancel(call, &mut self.front, ctx);
            self.note(replica, ctx);
        }
    }

    fn on_fault(&mut self, fault: &Fault, ctx: &mut Ctx) {
        let Self { replicas, front, slowed, .. } = self;
        match *fault {
            Fault::Slow { factor } => {
                *slowed = factor;
                for (index, replica) in replicas.iter_mut().enumerate() {
                    replica.slow(factor * front.slowdown(index), front, ctx);
                }
            }
            Fault::Crash { replicas: servers } if !self.is_pool => replicas[0].crash(servers, front, ctx),
            Fault::Repair { replicas: servers } if !self.is_pool => replicas[0].repair(servers, front, ctx),
            _ => {
                front.on_fault(fault, ctx, |replica, ctx| replicas[replica].lose(ctx));
            }
        }
        (0..self.replicas.len()).for_each(|replica| self.note(replica, ctx));
        let servers = u64::from(self.replicas[0].servers().up);
        self.capacity = if self.is_pool { self.front.up() * servers } else { servers };
        let now = ctx.now();
        ctx.meter().capacity.set(now, self.capacity);
    }

    fn observe(&self, _now: SimTime) -> Signals {
        let queue = self.noted.iter().map(|(queue, _)| queue).sum::<u64>() + self.front.held();
        let busy = self.noted.iter().map(|(_, busy)| busy).sum();
        Signals { queue, busy, capacity: self.capacity, ..Signals::default() }
    }

    fn pool_report(&self, now: SimTime) -> Option<PoolReport> {
        self.is_pool.then(|| self.front.report(now))
    }

    fn measures(&self, now: SimTime) -> Vec<Measure> {
        let mut list = GuardedLine::measures(self.replicas.iter().filter_map(Replica::line));
        if self.is_pool {
            list.extend(self.front.measures(now));
        }
        list
    }

    fn reset_measurements(&mut self, now: SimTime) {
        self.front.reset_measurements(now);
        self.replicas.iter_mut().for_each(Replica::reset_measurements);
    }
}

/// The end of a call that had its full time in service.
fn verdict(fails: bool) -> Reply {
    if fails { Reply::FAILED } else { Reply::OK }
}

#[cfg(test)]
mod tests;
