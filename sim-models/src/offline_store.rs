//! The offline store: columnar history in bulk, and what a scan of it takes in time and money.
//!
//! A scan of `bytes` over `n` streams (connections, slots) takes `first_byte + bytes / (n * stream)`, and
//! costs by what is scanned and by requests. There is nobody else: the bucket and the warehouse have room
//! for any number of scans.
//!
//! | `store`         | stream                        | streams             | first byte | price                     |
//! |-----------------|-------------------------------|---------------------|------------|---------------------------|
//! | `parquet-on-s3` | 85 MB/s a connection          | 16 a worker (guess) | 150 ms     | $0.0004 per 1,000 GETs of 8 MB |
//! | `bigquery`      | 40 MB/s a slot                | 2,000 in all        | 1 s (guess) | $6.25 per TiB            |
//!
//! Sources. S3: AWS, "Performance guidelines for Amazon S3" and "Performance design patterns" (read 2025):
//! one concurrent request for each 85-90 MB/s of desired throughput, byte ranges of typically 8 or 16 MB,
//! 100-200 ms for small objects; GET price of S3 Standard in us-east-1, 2025; reads within the region have
//! no price by volume. BigQuery: Google Cloud, "Anatomy of a BigQuery Query" (2016-01-26): 4 TB
//! (uncompressed) in 30 s by about 3,300 cores, which is 40 MB/s each; on-demand price a TiB of uncompressed
//! columns (2023-07 on) and 2,000 concurrent slots a project by default (Google Cloud pricing and quotas,
//! 2025). Every figure can be overridden.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::SimDuration;

use crate::error::ConfigError;
use crate::units::{Bytes, Money, Time};

/// An offline store, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OfflineStore {
    /// Parquet files in an S3 bucket, read by the workers themselves.
    #[serde(rename = "parquet-on-s3")]
    ParquetOnS3,
    /// BigQuery with on-demand pricing; bytes are those of the uncompressed columns.
    #[serde(rename = "bigquery")]
    Bigquery,
}

/// Where a pipeline reads its data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfflineStoreConfig {
    /// Which store.
    pub store: OfflineStore,
    /// Connections of each worker (`parquet-on-s3`, default 16, an assumption), or slots in all
    /// (`bigquery`, default 2,000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<NonZeroU32>,
    /// What one of them reads in a second. Default: 85 MB on S3, 40 MB in BigQuery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_per_second: Option<Bytes>,
    /// Time until data flow. Default: 150 ms on S3; 1 s in BigQuery, an assumption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<Time>,
    /// Price of scanning a TiB. Default: nothing on S3, $6.25 in BigQuery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_tib: Option<Money>,
    /// Price of 1,000 requests. Default: $0.0004 on S3, nothing in BigQuery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_1k_requests: Option<Money>,
    /// What one request reads. Default: 8 MB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_bytes: Option<Bytes>,
}

const TIB: f64 = (1u64 << 40) as f64;

/// What a scan takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scan {
    /// From its beginning to the last byte.
    pub time: SimDuration,
    /// US dollars.
    pub usd: f64,
}

/// An offline store as a pipeline uses it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scanner {
    first_byte: SimDuration,
    /// Bytes a second, of all workers together.
    rate: f64,
    usd_per_byte: f64,
    usd_per_request: f64,
    request_bytes: u64,
}

impl OfflineStoreConfig {
    /// A store with all defaults.
    pub fn new(store: OfflineStore) -> Self {
        Self {
            store,
            streams: None,
            stream_per_second: None,
            first_byte: None,
            price_per_tib: None,
            price_per_1k_requests: None,
            request_bytes: None,
        }
    }

    /// How so many workers scan it.
    ///
    /// # Errors
    /// When a stream or a request reads nothing.
    pub fn build(&self, workers: u32) -> Result<Scanner, ConfigError> {
        let (streams, stream, first_byte, per_tib, per_1k) = match self.store {
            OfflineStore::ParquetOnS3 => (16, 85_000_000, SimDuration::from_millis(150), 0.0, 0.0004),
            OfflineStore::Bigquery => (2_000, 40_000_000, SimDuration::from_secs(1), 6.25, 0.0),
        };
        let several = match self.store {
            OfflineStore::ParquetOnS3 => workers,
            OfflineStore::Bigquery => 1,
        };
        let some = |key: &str, value: Option<Bytes>, default: u64| match value.map_or(default, Bytes::get) {
            0 => Err(ConfigError::new([key], format!("`{key}` is 0B, which reads nothing"))
                .help("expected a size above 0, such as \"85MB\"")),
            bytes => Ok(bytes),
        };
        let stream = some("stream_per_second", self.stream_per_second, stream)?;
        let streams = self.streams.map_or(streams, NonZeroU32::get);
        Ok(Scanner {
            first_byte: self.first_byte.map_or(first_byte, Time::get),
            rate: stream as f64 * f64::from(streams) * f64::from(several),
            usd_per_byte: self.price_per_tib.map_or(per_tib, Money::dollars) / TIB,
            usd_per_request: self.price_per_1k_requests.map_or(per_1k, Money::dollars) / 1e3,
            request_bytes: some("request_bytes", self.request_bytes, 8_000_000)?,
        })
    }
}

impl Scanner {
    /// Whether scans cost anything.
    pub fn is_paid(&self) -> bool {
        self.usd_per_byte > 0.0 || self.usd_per_request > 0.0
    }

    /// A scan of so many bytes.
    pub fn scan(&self, bytes: f64) -> Scan {
        let time = SimDuration::saturating_from_secs_f64(bytes / self.rate);
        let requests = (bytes / self.request_bytes as f64).ceil();
        Scan {
            time: self.first_byte.saturating_add(time),
            usd: bytes * self.usd_per_byte + requests * self.usd_per_request,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str, workers: u32, bytes: f64) -> Scan {
        let config: OfflineStoreConfig = toml::from_str(text).unwrap();
        assert_eq!(toml::from_str::<OfflineStoreConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
        config.build(workers).unwrap().scan(bytes)
    }

    #[test]
    fn a_scan_takes_the_published_time_and_price() {
        // 4 TB in about 30 s by 3,300 cores; 4 TB are 3.638 TiB.
        let query = scan("store = \"bigquery\"\nstreams = 3300\nfirst_byte = \"0s\"", 1, 4e12);
        assert!((query.time.as_secs_f64() - 30.3).abs() < 0.01, "{query:?}");
        assert!((query.usd - 6.25 * 3.637_978_807).abs() < 1e-6, "{query:?}");
        // Slots are the project's, whoever asks.
        let bigquery = OfflineStoreConfig::new(OfflineStore::Bigquery);
        assert_eq!(bigquery.build(1).unwrap(), bigquery.build(50).unwrap());
        // 10 workers of 16 connections of 85 MB/s each read 13.6 GB/s; a TB is 125,000 requests.
        let files = scan("store = \"parquet-on-s3\"", 10, 1e12);
        assert!((files.time.as_secs_f64() - (0.15 + 1e12 / 13.6e9)).abs() < 1e-9, "{files:?}");
        assert!((files.usd - 0.05).abs() < 1e-12, "{files:?}");
        let egress = scan("store = \"parquet-on-s3\"\nprice_per_tib = \"$5\"\nstreams = 1", 1, TIB);
        assert!((egress.usd - 5.0).abs() < 0.06 && egress.time.as_secs_f64() > 12_900.0);
    }

    #[test]
    fn nothing_is_an_error() {
        let mut config = OfflineStoreConfig::new(OfflineStore::ParquetOnS3);
        config.request_bytes = Some(Bytes::new(0));
        let error = config.build(1).unwrap_err();
        assert_eq!(error.path, ["request_bytes"]);
        assert!(error.message.contains("`request_bytes` is 0B") && error.help.is_some());
    }
}
