//! A queue: a broker that takes messages and answers at once, and consumers that hand them to a component in
//! the background, with the semantics of Amazon SQS (a visibility timeout, a dead-letter queue) or, with
//! partitions, of Kafka (one message of a partition at a time, in order).
//!
//! # A message
//! A call that reaches the queue is answered when its message has been stored. A free consumer receives the
//! oldest message that is visible and calls the target for it. An answer deletes the message. Without one the
//! message stays invisible until its visibility timeout is over, counted from when it was received; then it can
//! be received again, by whichever consumer is free. A consumer that takes longer than the timeout is not told:
//! the message is worked on twice. A message that becomes visible again after `max_receives` receives goes to the
//! dead-letter queue.
//!
//! # What is counted
//! The request of a call ends when its caller hears that the message is stored. The message carries a copy of
//! the request, which no deadline of the user's holds back and which counts as no request: what becomes of it is
//! told by the queue's measures. A run that goes on until all has ended waits for messages too.

mod broker;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::{SimDuration, SimTime};

use crate::admission::AdmissionConfig;
use crate::component::Component;
use crate::error::ConfigError;
use crate::system::Scope;
use crate::units::{Time, TimeDist};
use broker::{Broker, Setup};

/// Stores calls as messages and has them worked on in the background.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {
    /// The component that works on the messages.
    pub target: String,
    /// How many consumers receive messages. Default: 1.
    #[serde(default = "one")]
    pub consumers: NonZeroU32,
    /// How many messages each of them works on at once. Default: 1.
    #[serde(default = "one")]
    pub concurrency: NonZeroU32,
    /// How long it takes to store a message; the caller waits for that. Default: no time.
    #[serde(default = "no_time")]
    pub store_time: TimeDist,
    /// How long a message that was received stays invisible. Default: 30 s, that of SQS.
    #[serde(default = "half_a_minute")]
    pub visibility_timeout: Time,
    /// After how many receives a message goes to the dead-letter queue (`maxReceiveCount` of SQS). Default:
    /// never, as without a redrive policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_receives: Option<NonZeroU32>,
    /// How long a message is kept; an older one is deleted when it would be received. Default: 4 days, that of
    /// SQS.
    #[serde(default = "four_days")]
    pub retention: Time,
    /// The most messages that are stored, those being worked on among them. Default: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<NonZeroU32>,
    /// What happens when it is full. Default: reject_publish.
    #[serde(default)]
    pub overflow: Overflow,
    /// Makes it an ordered log of so many partitions: a message belongs to one by its entity (without entities by
    /// itself), and messages of a partition are worked on one at a time and in order. Default: no order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<NonZeroU32>,
    /// Which messages are turned away. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Box<AdmissionConfig>>,
}

/// What a full queue does, by RabbitMQ's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// The new message is refused.
    #[default]
    RejectPublish,
    /// The oldest message that is not being worked on is dropped; without one the new message is refused.
    DropHead,
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

fn no_time() -> TimeDist {
    TimeDist::constant(Time::ZERO)
}

fn half_a_minute() -> Time {
    Time::new(SimDuration::from_secs(30))
}

fn four_days() -> Time {
    Time::new(SimDuration::from_secs(4 * 86_400))
}

/// The most partitions: a bound on the memory of a simulation (assumption).
const MAX_PARTITIONS: u32 = 100_000;

impl QueueConfig {
    pub(crate) fn callees(&self) -> Vec<(Vec<String>, &str)> {
        vec![(vec!["target".to_owned()], self.target.as_str())]
    }

    pub(crate) fn build(&self, scope: &mut Scope) -> Result<Box<dyn Component>, ConfigError> {
        for (key, time) in [("visibility_timeout", self.visibility_timeout), ("retention", self.retention)] {
            if time.get().is_zero() {
                let message = format!("{key} is {time}");
                return Err(ConfigError::new([key], message).help("expected a time above 0, such as \"30s\""));
            }
        }
        if let Some(partitions) = self.partitions.filter(|partitions| partitions.get() > MAX_PARTITIONS) {
            return Err(ConfigError::new(["partitions"], format!("partitions is {partitions}"))
                .help(format!("expected at most {MAX_PARTITIONS}")));
        }
        let store_time = self.store_time.build();
        let store_time = store_time.map_err(|error| ConfigError::new(["store_time"], error.to_string()))?;
        let slots = u64::from(self.consumers.get()) * u64::from(self.concurrency.get());
        scope.meter().capacity.set(SimTime::ZERO, slots);
        Ok(Box::new(Broker::new(Setup {
            target: scope.id(&self.target),
            consumers: self.consumers.get(),
            concurrency: self.concurrency.get(),
            store_time,
            visibility_timeout: self.visibility_timeout.get(),
            max_receives: self.max_receives.map_or(u32::MAX, NonZeroU32::get),
            retention: self.retention.get(),
            max_length: self.max_length.map_or(usize::MAX, |length| length.get() as usize),
            overflow: self.overflow,
            partitions: self.partitions.map(NonZeroU32::get),
        })))
    }
}
