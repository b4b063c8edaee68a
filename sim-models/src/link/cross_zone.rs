//! What a call takes and costs whose two ends are in different zones of a cloud.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::SimDuration;

use crate::cost::cross_zone_price;
use crate::units::{Bytes, Money, Time};

/// What is added to a call over a link between two zones, where `[placement]` says in which its ends are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CrossZoneConfig {
    /// Network time one way, besides `latency`. Of a call to a pool both ways are taken on the way back. Default: 0.5 ms
    /// (an assumption: zones of AWS are "usually" less than 1 ms apart and there and back, less than 2 ms at most, said J.
    /// Hamilton at re:Invent 2014, SPOT301).
    pub latency: Time,
    /// Size of a call. Default: 0, not on the bill.
    #[serde(skip_serializing_if = "is_empty")]
    pub request_size: Bytes,
    /// Size of an answer. Default: 0, not on the bill.
    #[serde(skip_serializing_if = "is_empty")]
    pub reply_size: Bytes,
    /// Price of a GB each way: once where it leaves a zone, and again where it enters the other. Default: $0.01, as
    /// AWS takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_per_gb: Option<Money>,
}

fn is_empty(size: &Bytes) -> bool {
    size.get() == 0
}

impl Default for CrossZoneConfig {
    fn default() -> Self {
        Self {
            latency: Time::new(SimDuration::from_micros(500)),
            request_size: Bytes::default(),
            reply_size: Bytes::default(),
            price_per_gb: None,
        }
    }
}

impl CrossZoneConfig {
    /// USD of a GB from one zone to another, both ways of the price together, and where it comes from; none where
    /// nothing is on the bill.
    pub(crate) fn price(&self) -> Option<(f64, String)> {
        if is_empty(&self.request_size) && is_empty(&self.reply_size) {
            return None;
        }
        let (each_way, source) = match self.price_per_gb {
            Some(price) => (price.dollars(), "scenario".to_owned()),
            None => cross_zone_price(),
        };
        Some((2.0 * each_way, source))
    }
}

/// The same, as the simulation uses it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CrossZone {
    pub(crate) latency: SimDuration,
    /// Of a call and of an answer.
    pub(crate) gb: [f64; 2],
    /// On the bill.
    pub(crate) line: Option<usize>,
}

impl From<&CrossZoneConfig> for CrossZone {
    fn from(config: &CrossZoneConfig) -> Self {
        let gb = [config.request_size, config.reply_size].map(|size| size.get() as f64 / 1e9);
        Self { latency: config.latency.get(), gb, line: None }
    }
}
