//! Data that are kept, and data that leave.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Bytes, HOURS_PER_MONTH, Money};

/// Bytes of a GB, as prices count them.
const GB: f64 = 1e9;

/// Data at rest, whoever uses them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DataAtRest")]
pub struct StorageConfig {
    /// How much of it.
    pub size: Bytes,
    /// Price of a GB for a month. S3 Standard takes $0.023 for the first 50 TB (us-east-1, as listed in July 2022).
    pub price_per_gb_month: Money,
}

impl StorageConfig {
    /// GB kept, and the price of one for an hour.
    pub(crate) fn line(&self) -> (f64, f64) {
        (self.size.get() as f64 / GB, self.price_per_gb_month.dollars() / HOURS_PER_MONTH)
    }
}

/// Data that leave with each answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EgressConfig {
    /// How much of it.
    pub size: Bytes,
    /// Price of a GB that leaves.
    pub price_per_gb: Money,
}

impl EgressConfig {
    /// GB of an answer.
    pub(crate) fn gb(&self) -> f64 {
        self.size.get() as f64 / GB
    }
}
