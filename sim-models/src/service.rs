//! A service: any server of calls that is described by how long a call takes and how many it works on
//! at once, such as a database, a gateway or a CPU model.
//!
//! The time a call takes is drawn when it arrives, keyed by the request and its hop, so that compared
//! variants (other disciplines, more servers) meet the very same work, and disciplines that go by size
//! know it. Whether it then fails is drawn with it.
//!
//! Faults: a crash takes servers chosen at random among those up; calls that are in service on them
//! fail, waiting calls go on waiting. With processor sharing calls belong to no server: each fails
//! with a probability of the share of servers lost. Without servers arrivals wait, up to the cap, for
//! the repair. `slow` stretches the service of calls that begin it from then on; under
//! [`Discipline::ProcessorSharing`] and [`Discipline::Srpt`] of those that arrive from then on.

mod line;
mod sharing;
mod stations;

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::distribution::Dist;
use sim_core::random::{KeyedDraws, Purpose, unit};
use sim_core::time::SimDuration;

use crate::call::{CallId, Reply};
use crate::component::Component;
use crate::context::Ctx;
use crate::cost::Price;
use crate::error::ConfigError;
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
    /// Who is served next. Default: `fcfs`.
    #[serde(default)]
    pub discipline: Discipline,
    /// The most calls that wait; one that finds as many waiting is rejected. 0 leaves no room to wait.
    /// With processor sharing: the most calls beyond the number of servers. Default: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_cap: Option<u32>,
    /// Share of calls that fail, after their full time in service. Default: 0.
    #[serde(default)]
    pub error_rate: Probability,
    /// Price of one server. Default: not on the bill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<HourlyPrice>,
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
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

impl ServiceConfig {
    pub(crate) fn build(&self, scope: &mut Scope) -> Result<Box<dyn Component>, ConfigError> {
        let law = self.service_time.build();
        let servers = Servers {
            law: law.map_err(|error| ConfigError::new(["service_time"], error.to_string()))?,
            error_rate: self.error_rate.get(),
            room: self.queue_cap.map_or(u64::MAX, u64::from),
            installed: self.servers.get(),
            up: self.servers.get(),
            slowdown: 1.0,
            crashes: 0,
        };
        let capacity = u64::from(servers.up);
        scope.meter().capacity.set(sim_core::time::SimTime::ZERO, capacity);
        if let Some(price) = self.price_per_hour {
            let (cost, me) = scope.cost();
            cost.add(me, "server", Price::PerHour(price.per_hour()), "scenario", capacity);
        }
        Ok(match self.discipline {
            Discipline::ProcessorSharing => Box::new(Sharing::new(servers)),
            discipline => Box::new(Stations::new(servers, discipline)),
        })
    }
}

/// The servers, whatever the discipline.
#[derive(Debug)]
struct Servers {
    law: Dist,
    error_rate: f64,
    /// The most calls that wait.
    room: u64,
    installed: u32,
    up: u32,
    /// How many times as long a service takes as drawn.
    slowdown: f64,
    /// Number of crashes, to key their draws by.
    crashes: u64,
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
    fn crash(&mut self, replicas: u32, ctx: &mut Ctx) -> (u32, KeyedDraws) {
        let draws = ctx.keyed_stream(Purpose::Faults).draws(self.crashes, 0, 0);
        self.crashes += 1;
        let lost = replicas.min(self.up);
        self.set_up(self.up - lost, ctx);
        (lost, draws)
    }

    fn repair(&mut self, replicas: u32, ctx: &mut Ctx) {
        self.set_up(self.up.saturating_add(replicas).min(self.installed), ctx);
    }

    fn set_up(&mut self, up: u32, ctx: &mut Ctx) {
        self.up = up;
        let now = ctx.now();
        ctx.meter().capacity.set(now, u64::from(up));
    }
}

/// The end of a call that had its full time in service.
fn verdict(fails: bool) -> Reply {
    if fails { Reply::FAILED } else { Reply::OK }
}

/// Time since a call reached me.
#[inline]
fn waited(call: CallId, ctx: &Ctx) -> SimDuration {
    ctx.now().since(ctx.call(call).arrived_at)
}

#[cfg(test)]
mod tests;
