//! Published online stores.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::SimDuration;

/// Features of a feature view in the published measurements.
pub(super) const FEATURES_PER_VIEW: u32 = 10;

/// An online store: `custom`, or the median of a whole read through Feast's feature server as
/// `base + lookup * views`, without spread.
///
/// From the logs of feast-dev/feast-benchmarks (commit 80e80da, 2022; Python feature server, one entity
/// row, c5.4xlarge, 50 to 250 features, ten to a feature view): median latency in ms at 50 / 100 / 150 /
/// 200 / 250 features, and straight lines fitted to it. One lookup reads one view and costs ten times the
/// slope; reads are `sequential`, as Feast's were. Any other `read` over a preset extrapolates, and so do
/// views of another size, whose lookups are assumed to take as long. Medians say nothing of the tail: give
/// `lookup` a law where it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// Redis: 8.7 / 12.7 / 16.7 / 20.9 / 25.0 ms, 4.56 ms + 0.0817 ms a feature (R2 0.9999).
    Redis,
    /// DynamoDB: 33.4 / 61.9 / 89.5 / 119 / 149 ms, 4.07 ms + 0.577 ms a feature (R2 0.9997).
    Dynamodb,
    /// Google Datastore: 46.7 / 88.8 / 132 / 175 / 234 ms, 0.9056 ms a feature. Through the origin,
    /// since the free fit (0.923 ms a feature, R2 0.995) has a base below 0, -3.1 ms.
    Datastore,
    /// By the scenario's own `lookup` and `base`.
    Custom,
}

impl Backend {
    /// Base and time of a lookup of one view, of a published store.
    pub(super) fn fit(self) -> Option<(SimDuration, SimDuration)> {
        let (base, lookup) = match self {
            Self::Redis => (4_560_000, 817_000),
            Self::Dynamodb => (4_070_000, 5_770_000),
            Self::Datastore => (0, 9_056_000),
            Self::Custom => return None,
        };
        Some((SimDuration::from_nanos(base), SimDuration::from_nanos(lookup)))
    }
}
