//! Links: the client-side policies between two components.
//!
//! A component makes one call, and hears of one end. On a link with policies the call is not sent itself:
//! *attempts* are made under it (`attempts`), one after the other by [`retry`], beside each other by
//! [`hedge`], none at all while a [`breaker`] is open, and of another component when the attempts at the
//! first have failed ([`fallback`]). A link without policies takes none of this way.
//!
//! A call goes through them in the order of resilience4j's decorators, the first on the outside:
//! fallback, `timeout`, retry, hedge, circuit breaker, `per_try_timeout`. So the breaker sees every
//! attempt, and a short-circuited attempt may be retried.
//!
//! Timeouts are Envoy's (`RouteAction.timeout`, `RetryPolicy.per_try_timeout`): `timeout` is for the
//! call with all its retries and the waits between them, `per_try_timeout` for each attempt. What a
//! `timeout` ends is not retried; a fallback may still stand in, in a time of its own.
//!
//! Breakers, budgets and what is known of latencies belong to one client process each. A link stands
//! for `client_instances` of them, and a hash of the request says through which it goes.

pub(crate) mod attempts;
pub mod breaker;
pub mod budget;
pub(crate) mod cross_zone;
pub mod fallback;
pub mod hedge;
mod meter;
pub mod retry;

use std::collections::VecDeque;
use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::distribution::Dist;
use sim_core::event::Phase;
use sim_core::random::{KeyedStream, Purpose, Streams, stable_hash};
use sim_core::scheduler::{Scheduler, TimerLane};
use sim_core::time::SimDuration;

use crate::call::CallId;
use crate::error::ConfigError;
use crate::event::PackedEvent;
use crate::units::{Time, TimeDist};
use breaker::{Breaker, BreakerConfig};
use budget::Budget;
use cross_zone::CrossZone;
pub use cross_zone::CrossZoneConfig;
use fallback::{FallbackStep, Step};
use hedge::{Hedge, HedgeConfig, Latencies};
use meter::LinkMeter;
pub use meter::{BreakerChange, BreakerOutput};
use retry::{Retry, RetryConfig};

/// Numbers the links of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub(crate) u32);

/// The policies of calls from one component (or traffic source) to another. Links that a scenario
/// does not list take no time and wait forever.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkConfig {
    /// Network time one way, drawn anew for the call and for its reply. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<TimeDist>,
    /// What is added where the two ends of a call are in different zones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_zone: Option<CrossZoneConfig>,
    /// How long the caller waits for the reply, all retries and the waits between them included. Default:
    /// forever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Time>,
    /// How long the caller waits for the reply to each attempt. Default: as long as for the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_try_timeout: Option<Time>,
    /// Whether a caller that stops waiting tells the callee, which then stops working. Default: false,
    /// as without context propagation: the callee goes on, and its work is wasted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancel_on_timeout: bool,
    /// Whether and when a failed attempt is made again: a preset or a table. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryConfig>,
    /// What keeps calls from a callee that is in trouble: a breaker, or a limit. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<BreakerConfig>,
    /// A second attempt while the first is still under way. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge: Option<HedgeConfig>,
    /// What stands in, one after the other, when the call has failed: names of components, `stale`,
    /// `default` or `reject`. Default: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<FallbackStep>,
    /// How many client processes hold these policies, each with a breaker and budgets of its own.
    /// Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_instances: Option<NonZeroU32>,
}

/// Caller and callee as a link's name gives them: `"caller -> callee"`.
pub fn link_ends(name: &str) -> Option<(&str, &str)> {
    let (from, to) = name.split_once("->")?;
    Some((from.trim(), to.trim()))
}

/// A time to wait and the lane of timers that wait as long.
pub(crate) type Patience = (SimDuration, TimerLane);

/// The faults under way that cut a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cuts {
    /// What is sent is lost.
    pub silent: u32,
    /// What is sent fails at once.
    pub refusing: u32,
}

impl Cuts {
    #[inline]
    pub(crate) fn any(self) -> bool {
        self.silent | self.refusing != 0
    }
}

/// A link as the simulation uses it.
#[derive(Debug)]
pub(crate) struct Link {
    pub latency: Option<Dist>,
    pub network: KeyedStream,
    pub cross_zone: CrossZone,
    pub timeout: Option<Patience>,
    pub cancel_on_timeout: bool,
    pub policies: Option<Box<Policies>>,
    pub cuts: Cuts,
}

/// What makes attempts of the calls over a link.
#[derive(Debug)]
pub(crate) struct Policies {
    per_try: Option<Patience>,
    retry: Option<Retry>,
    hedge: Option<Hedge>,
    /// What stands in, in this order.
    fallback: Vec<Step>,
    clients: Vec<Client>,
    draws: KeyedStream,
    pub(crate) meter: LinkMeter,
}

/// What one client process remembers of the calls over a link.
#[derive(Debug)]
struct Client {
    breaker: Option<Breaker>,
    budget: Option<Budget>,
    hedge_budget: Option<Budget>,
    latencies: Latencies,
    /// Attempts under way.
    active: u32,
    /// Calls in a retry or in the wait before it.
    retrying: u32,
    /// Calls that wait for a connection.
    waiting: VecDeque<CallId>,
}

/// The most client processes of a link.
const MOST_CLIENTS: u32 = 100_000;

/// How to name a link in messages, and by what its luck goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinkName<'a> {
    /// As the scenario spells it.
    pub given: &'a str,
    /// However the scenario spells the name, the luck is the same.
    pub canonical: &'a str,
}

impl LinkConfig {
    /// Lays the link; what it falls back on is known when all links are laid.
    pub(crate) fn build(
        &self,
        name: LinkName,
        deadline: Option<SimDuration>,
        streams: Streams,
        scheduler: &mut Scheduler<PackedEvent>,
    ) -> Result<Link, ConfigError> {
        let within = |error: ConfigError| error.within(name.given).within("links");
        let wrong = |key: &str, message: String| within(ConfigError::new([key], message));
        let latency = self.latency.as_ref().map(|latency| latency.build()).transpose();
        let limit = |key: &str, time: Option<Time>| match time.map(Time::get) {
            Some(time) if time.is_zero() => {
                let error = wrong(key, format!("a {key} of 0 answers nothing"));
                Err(error.help("expected a time above 0"))
            }
            time => Ok(time),
        };
        let timeout = limit("timeout", self.timeout)?.into_iter().chain(deadline).min();
        let per_try = limit("per_try_timeout", self.per_try_timeout)?;
        let has_policies = self.retry.is_some()
            || self.circuit_breaker.is_some()
            || self.hedge.is_some()
            || !self.fallback.is_empty();
        let mut lane = |after: SimDuration| (after, scheduler.timer_lane(after, Phase::Timer));
        // One attempt is the whole call.
        let whole = if has_policies { timeout } else { timeout.into_iter().chain(per_try).min() };
        let timeout = whole.map(&mut lane);
        let policies = match has_policies {
            true => Some(Box::new(self.policies(per_try.map(lane), name, streams).map_err(within)?)),
            false if self.client_instances.is_some() => {
                let error = wrong("client_instances", "there is no policy that they would hold".into());
                return Err(
                    error.help("expected `retry`, `circuit_breaker`, `hedge` or `fallback` beside it")
                );
            }
            false => None,
        };
        Ok(Link {
            latency: latency.map_err(|error| wrong("latency", error.to_string()))?,
            network: streams.keyed(name.canonical, Purpose::Network),
            cross_zone: CrossZone::from(&self.cross_zone.clone().unwrap_or_default()),
            timeout,
            cancel_on_timeout: self.cancel_on_timeout,
            policies,
            cuts: Cuts::default(),
        })
    }

    fn policies(
        &self,
        per_try: Option<Patience>,
        name: LinkName,
        streams: Streams,
    ) -> Result<Policies, ConfigError> {
        let clients = self.client_instances.map_or(1, NonZeroU32::get);
        if clients > MOST_CLIENTS {
            return Err(ConfigError::new(["client_instances"], format!("{clients} client instances"))
                .help(format!("expected at most {MOST_CLIENTS}")));
        }
        let retry = self.retry.as_ref().map(RetryConfig::build).transpose();
        let (retry, budget) = retry.map_err(|error| error.within("retry"))?.unzip();
        let hedge = self.hedge.as_ref().map(HedgeConfig::build).transpose();
        let (hedge, hedge_budget) = hedge.map_err(|error| error.within("hedge"))?.unzip();
        let breaker = self.circuit_breaker.as_ref().map(BreakerConfig::build).transpose();
        let breaker = breaker.map_err(|error| error.within("circuit_breaker"))?;
        let client = || Client {
            breaker: breaker.clone(),
            budget: budget.clone().flatten(),
            hedge_budget: hedge_budget.clone().flatten(),
            latencies: Latencies::default(),
            active: 0,
            retrying: 0,
            waiting: VecDeque::new(),
        };
        Ok(Policies {
            per_try,
            retry,
            hedge,
            fallback: Vec::new(),
            clients: (0..clients).map(|_| client()).collect(),
            draws: streams.keyed(name.canonical, Purpose::Jitter),
            meter: LinkMeter::default(),
        })
    }
}

impl Policies {
    /// Says what stands in when a call has failed.
    pub(crate) fn fall_back_on(&mut self, chain: Vec<Step>) {
        self.meter.served = vec![0; chain.len()];
        self.fallback = chain;
    }

    /// The client process that a request goes through.
    fn client_of(&self, request: u64) -> u32 {
        match self.clients.len() as u64 {
            1 => 0,
            clients => (stable_hash(&request.to_le_bytes()) % clients) as u32,
        }
    }
}
