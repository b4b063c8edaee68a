//! Admission: which calls a component takes, which it turns away, and which of those that wait it gives up.
//!
//! # At the door
//! A call that reaches a component passes its `rate_limit`, `dagor` and `concurrency`, in this order, and is
//! refused by the first that has no room for it. With `max_queue`, a call that finds the concurrency limit
//! reached waits in front instead.
//!
//! # In the line
//! `drop_expired`, `codel`, `controlled_delay` and `push_out` act on the line in which calls wait: that of a
//! `service`, or the one in front of any other component. What is dropped is dropped when it would have started, and
//! its caller, if it still waits, hears a refusal.
//!
//! # Costs
//! Components without admission: nothing. A rate limit and DAGOR: O(1) a call, DAGOR's level O(classes) a
//! window. A concurrency limit and a guarded line: O(log n) a call.

mod bucket;
mod codel;
mod concurrency;
mod dagor;
mod door;
mod fair;
mod guarded;
mod limits;
mod line;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::random::KeyedStream;

pub use bucket::RateLimitConfig;
pub use codel::{CodelConfig, ControlledDelayConfig};
pub use concurrency::ConcurrencyConfig;
pub use dagor::DagorConfig;
pub(crate) use door::Door;
pub use door::PartitionConfig;
pub use fair::{FairConfig, Party};
pub(crate) use guarded::{Entry, GuardedLine};
use guarded::{Guards, Kind};
pub use limits::{AimdConfig, Gradient2Config, VegasConfig, WindowConfig};
pub(crate) use line::Line;

use bucket::RateLimit;
use dagor::Dagor;
use door::{Limiter, Room};

use crate::context::Labels;
use crate::error::ConfigError;
use crate::service::{Discipline, ServiceConfig};

/// What a component does to keep its load within what it can serve.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdmissionConfig {
    /// Refuses calls that come faster than a token bucket fills. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimitConfig>,
    /// WeChat's overload control: refuses calls of low priority while others queue for too long. Needs a
    /// component in which calls queue. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dagor: Option<DagorConfig>,
    /// The most calls that the component has at once, in service or waiting in it. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencyConfig>,
    /// Shares of the concurrency limit that classes or tenants are sure of. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<PartitionConfig>,
    /// With `concurrency`, the most calls that wait in front of the component while the limit is reached. A
    /// `service` has `queue_cap` for its own queue. Default: none wait, they are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queue: Option<u32>,
    /// With `max_queue`, who goes in next: fcfs, lifo, priority, adaptive_lifo or fair (by calls, whatever they
    /// take). Default: fcfs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discipline: Option<Discipline>,
    /// With `fair`, whose calls are kept apart, and their weights. Default: tenants, with equal weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fair: Option<FairConfig>,
    /// With `adaptive_lifo`, how many calls wait before the last goes first. Default: 80% of `max_queue`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifo_threshold: Option<u32>,
    /// Whether a call whose caller has stopped waiting, or whose deadline has passed, is dropped when it would
    /// start. Default: false; it is served for nobody.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drop_expired: bool,
    /// Drops calls when all have waited too long for a while (RFC 8289). Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codel: Option<CodelConfig>,
    /// Drops calls that have waited too long, the sooner the longer the line has stood (Facebook). Default:
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controlled_delay: Option<ControlledDelayConfig>,
    /// Whether a full line makes room for a more important call: the newest of the least important class is
    /// refused in its place, or under `fair` the newest of the longest line for its weight. Default: false;
    /// who comes last is refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub push_out: bool,
}

impl AdmissionConfig {
    fn guards(&self, labels: &Labels) -> Guards {
        Guards {
            drop_expired: self.drop_expired,
            codel: self.codel,
            controlled_delay: self.controlled_delay,
            push_out: self.push_out,
            classes: labels.classes.len(),
        }
    }

    /// The first setting that needs a line.
    fn needs_line(&self) -> Option<&'static str> {
        let settings = [
            ("drop_expired", self.drop_expired),
            ("codel", self.codel.is_some()),
            ("controlled_delay", self.controlled_delay.is_some()),
            ("push_out", self.push_out),
        ];
        settings.into_iter().find(|(_, given)| *given).map(|(key, _)| key)
    }

    /// What of the guards cannot be.
    fn check_guards(&self) -> Result<(), ConfigError> {
        if let Some(codel) = &self.codel {
            codel.check().map_err(|error| error.within("codel"))?;
        }
        if let Some(delay) = &self.controlled_delay {
            delay.check().map_err(|error| error.within("controlled_delay"))?;
        }
        if self.codel.is_some() && self.controlled_delay.is_some() {
            return Err(ConfigError::new(["controlled_delay"], "two kinds of controlled delay for one line")
                .help("expected either `codel` or `controlled_delay`"));
        }
        Ok(())
    }
}

/// What admission has to know of a component.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Behind<'a> {
    pub(crate) kind: &'static str,
    /// Whether `admission` acts on a line of its own.
    pub(crate) has_line: bool,
    /// Whether it tells how long calls wait in it.
    pub(crate) tells_waits: bool,
    pub(crate) labels: &'a Labels,
    /// For what the door draws.
    pub(crate) jitter: KeyedStream,
}

impl AdmissionConfig {
    /// The door of a component; none for one that lets everything in.
    ///
    /// # Errors
    /// What cannot be, with its key.
    pub(crate) fn door(&self, behind: Behind) -> Result<Option<Box<Door>>, ConfigError> {
        let Behind { kind, has_line, tells_waits, labels, jitter } = behind;
        let within = |key: &'static str| move |error: ConfigError| error.within(key);
        let needs = |key: &str, what: String, help: &str| Err(ConfigError::new([key], what).help(help));
        let rate = self.rate_limit.as_ref().map(|config| RateLimit::new(config, labels)).transpose();
        let rate = rate.map_err(within("rate_limit"))?;
        let dagor = match &self.dagor {
            Some(_) if !tells_waits => {
                let what = format!("no calls queue in a {kind}, so it is never overloaded");
                return needs("dagor", what, "expected it at a service, an llm or a model_server");
            }
            Some(config) => {
                config.check().map_err(within("dagor"))?;
                Some(Dagor::new(*config, labels.classes.len()))
            }
            None => None,
        };
        let partitions = self.partitions.as_ref().map(|config| config.resolve(labels)).transpose();
        let partitions = partitions.map_err(within("partitions"))?;
        let limiter = match &self.concurrency {
            Some(config) => {
                config.check().map_err(within("concurrency"))?;
                let (algorithm, window) = config.build();
                if partitions.is_some() && self.max_queue.is_some() {
                    let what = "`max_queue` lets calls wait, and partitions refuse them".to_owned();
                    return needs("max_queue", what, "expected either `partitions` or `max_queue`");
                }
                Some(Limiter::new(algorithm, window, partitions))
            }
            None => {
                let settings =
                    [("partitions", partitions.is_some()), ("max_queue", self.max_queue.is_some())];
                if let Some((key, _)) = settings.into_iter().find(|(_, given)| *given) {
                    let what = format!("`{key}` without a concurrency limit");
                    return needs(key, what, "expected `concurrency` beside it, such as `{ fixed = 50 }`");
                }
                None
            }
        };
        let room = self.room(has_line, labels)?;
        let is_open = rate.is_none() && dagor.is_none() && limiter.is_none();
        Ok((!is_open).then(|| Box::new(Door::new(rate, dagor, limiter, room, jitter))))
    }

    /// The line in front.
    fn room(&self, has_line: bool, labels: &Labels) -> Result<Option<Room>, ConfigError> {
        let line_settings = [
            ("discipline", self.discipline.is_some()),
            ("fair", self.fair.is_some()),
            ("lifo_threshold", self.lifo_threshold.is_some()),
        ];
        let line_setting = line_settings.into_iter().find(|(_, given)| *given).map(|(key, _)| key);
        if has_line {
            let key = line_setting.or(self.max_queue.is_some().then_some("max_queue"));
            return match key {
                Some(key) => Err(ConfigError::new([key], format!("`{key}` for a second line"))
                    .help("a service has its own: expected `queue_cap` and `discipline` of the service")),
                None => Ok(None),
            };
        }
        let Some(cap) = self.max_queue else {
            return match line_setting.or(self.needs_line()) {
                Some(key) => {
                    Err(ConfigError::new([key], format!("`{key}` needs a line in which calls wait"))
                        .help("expected `concurrency` and `max_queue` beside it"))
                }
                None => Ok(None),
            };
        };
        let discipline = self.discipline.unwrap_or_default();
        if !discipline.has_line() || discipline == Discipline::Sjf {
            return Err(ConfigError::new(
                ["discipline"],
                "a line in front knows nothing of the work of a call",
            )
            .help("expected fcfs, lifo, priority, adaptive_lifo or fair"));
        }
        let settings = LineSettings {
            discipline,
            fair: self.fair.as_ref(),
            lifo_threshold: self.lifo_threshold,
            cap: self.max_queue,
            admission: self,
        };
        Ok(Some(Room::new(LinePlan::of(settings, labels)?, cap, discipline)))
    }
}

/// How the line of a component is configured, wherever that is written.
#[derive(Debug, Clone, Copy)]
struct LineSettings<'a> {
    discipline: Discipline,
    fair: Option<&'a FairConfig>,
    lifo_threshold: Option<u32>,
    /// Most calls in it.
    cap: Option<u32>,
    admission: &'a AdmissionConfig,
}

/// A line that does more than keep an order, to be made for every replica.
#[derive(Debug, Clone)]
pub(crate) struct LinePlan {
    kind: Kind,
    guards: Guards,
    /// Whose calls are kept apart.
    by: Party,
}

impl LinePlan {
    /// The plan of a line.
    ///
    /// # Errors
    /// What cannot be, with its key, wherever that stands.
    fn of(settings: LineSettings, labels: &Labels) -> Result<Self, ConfigError> {
        let LineSettings { discipline, fair, lifo_threshold, cap, admission } = settings;
        let misplaced = |key: &str, discipline: &str| {
            ConfigError::new([key], format!("`{key}` says nothing under this discipline"))
                .help(format!("expected `discipline = \"{discipline}\"` beside it"))
        };
        if fair.is_some() && discipline != Discipline::Fair {
            return Err(misplaced("fair", "fair"));
        }
        if lifo_threshold.is_some() && discipline != Discipline::AdaptiveLifo {
            return Err(misplaced("lifo_threshold", "adaptive_lifo"));
        }
        admission.check_guards()?;
        let mut by = Party::Class;
        let kind = match discipline {
            Discipline::Fair => {
                let fair = fair.cloned().unwrap_or_default();
                by = fair.by;
                Kind::Fair(fair.resolve(labels).map_err(|error| error.within("fair"))?)
            }
            Discipline::AdaptiveLifo => {
                let threshold = match (lifo_threshold, cap) {
                    (Some(threshold), _) => threshold,
                    // HBase's hbase.ipc.server.callqueue.codel.lifo.threshold.
                    (None, Some(cap)) => (u64::from(cap) * 8 / 10) as u32,
                    (None, None) => {
                        let message = "`adaptive_lifo` without a bound on the line";
                        return Err(ConfigError::new(["discipline"], message)
                            .help("expected `lifo_threshold`, such as 40, or a cap beside it"));
                    }
                };
                Kind::Ranked { newest_beyond: threshold as usize }
            }
            Discipline::Lifo => Kind::Ranked { newest_beyond: 0 },
            _ => Kind::Ranked { newest_beyond: usize::MAX },
        };
        if let Some(key) = admission.needs_line()
            && !discipline.has_line()
        {
            let message = format!("`{key}` needs calls that wait until they start");
            return Err(ConfigError::new([key], message)
                .help("expected a discipline that is not preemptive, such as \"fcfs\""));
        }
        if admission.push_out && cap.is_none() {
            let message = "a line without a bound is never full";
            return Err(ConfigError::new(["push_out"], message).help("expected a cap of the queue"));
        }
        Ok(Self { kind, guards: admission.guards(labels), by })
    }

    /// The plan of a service's line; none for one that only keeps an order.
    ///
    /// # Errors
    /// As [`LinePlan::of`]; the path starts at the service.
    pub(crate) fn of_service(service: &ServiceConfig, labels: &Labels) -> Result<Option<Self>, ConfigError> {
        let plain = AdmissionConfig::default();
        let settings = LineSettings {
            discipline: service.discipline,
            fair: service.fair.as_ref(),
            lifo_threshold: service.lifo_threshold,
            cap: service.queue_cap,
            admission: service.admission.as_deref().unwrap_or(&plain),
        };
        let plan = Self::of(settings, labels).map_err(|error| {
            let of_admission = ["drop_expired", "codel", "controlled_delay", "push_out"];
            let is_of_admission = error.path.first().is_some_and(|key| of_admission.contains(&key.as_str()));
            if is_of_admission { error.within("admission") } else { error }
        })?;
        let keeps_order = settings.admission.needs_line().is_none()
            && !matches!(service.discipline, Discipline::Fair | Discipline::AdaptiveLifo);
        Ok((!keeps_order).then_some(plan))
    }

    /// A new line.
    pub(crate) fn line(&self) -> GuardedLine {
        GuardedLine::new(self.kind.clone(), self.guards)
    }

    /// The class or the flow of a call.
    pub(crate) fn group(&self, class: u8, tenant: u16) -> u16 {
        match self.by {
            Party::Class => class.into(),
            Party::Tenant => tenant,
        }
    }
}

#[cfg(test)]
mod tests;
