//! Admission: which calls a component takes, which it turns away, and which of those that wait it gives up.
//!
//! # In the line
//! `drop_expired`, `codel`, `controlled_delay` and `push_out` act on the line in which calls wait: that of a
//! `service`. What is dropped is dropped when it would have started, and
//! its caller, if it still waits, hears a refusal.

mod codel;
mod fair;
mod guarded;
mod line;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use codel::{CodelConfig, ControlledDelayConfig};
pub use fair::{FairConfig, Party};
pub(crate) use guarded::{Entry, GuardedLine};
use guarded::{Guards, Kind};
pub(crate) use line::Line;

use crate::context::Labels;
use crate::error::ConfigError;
use crate::service::Discipline;

/// What a component does to keep its load within what it can serve.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdmissionConfig {
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

/// How the line of a component is configured, wherever that is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LineSettings<'a> {
    pub(crate) discipline: Discipline,
    pub(crate) fair: Option<&'a FairConfig>,
    pub(crate) lifo_threshold: Option<u32>,
    /// Most calls in it.
    pub(crate) cap: Option<u32>,
    pub(crate) admission: Option<&'a AdmissionConfig>,
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
    /// The plan of a line; none for one that only keeps an order.
    ///
    /// # Errors
    /// What cannot be, with its key; that of `admission` is within that.
    pub(crate) fn new(settings: LineSettings, labels: &Labels) -> Result<Option<Self>, ConfigError> {
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
        let within = |error: ConfigError| error.within("admission");
        let plain = AdmissionConfig::default();
        let admission = admission.unwrap_or(&plain);
        admission.check_guards().map_err(within)?;
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
        let needs_line = admission.needs_line();
        if let Some(key) = needs_line
            && !discipline.has_line()
        {
            let message = format!("`{key}` needs calls that wait until they start");
            return Err(within(
                ConfigError::new([key], message)
                    .help("expected a discipline that is not preemptive, such as \"fcfs\""),
            ));
        }
        if admission.push_out && cap.is_none() {
            let message = "a line without a bound is never full";
            return Err(within(ConfigError::new(["push_out"], message).help("expected a cap beside it")));
        }
        let is_plain =
            needs_line.is_none() && !matches!(discipline, Discipline::Fair | Discipline::AdaptiveLifo);
        Ok((!is_plain).then(|| Self { kind, guards: admission.guards(labels), by }))
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
