//! Reads of features from a real Redis, predicted from reads of one and of ten.
//!
//! A Redis server is started on this machine's loopback, filled, and read the three ways in which a feature
//! store reads: one `GET` after the other, all `GET`s in one pipeline, and one `MGET`. What reads of 1 and 10
//! features take gives the `lookup` and `per_feature` of a `feature_store`; the simulator then says what
//! reads of 50 and 100 take, and the real ones stand beside it.
//!
//! All ways and sizes take turns, read by read, so that a machine that slows down slows all of them; a
//! figure is the median of all reads of its kind, which the few that were interrupted do not move. What a read
//! takes hangs on the one before it (what it left in the caches and the branch predictors, and how long it let the
//! other side sleep), which tells most in small reads, and those are what the model is fitted to. So each turn has
//! an order of its own, drawn at random, and before each read comes one of the same kind that is not timed. The
//! slope is the median of the differences between ten features and one within a turn.

mod server;

use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use redis::{Commands, Connection, RedisError};
use thiserror::Error;

use server::Server;

/// How far a prediction may be from what is measured: a quarter.
pub const TOLERANCE: f64 = 0.25;

/// Features of a read that the model is fitted to.
pub const FITTED: [u32; 2] = [1, 10];

/// Features of a read that it predicts.
pub const PREDICTED: [u32; 2] = [50, 100];

/// Entities in the store, each with as many features as the largest read.
const ENTITIES: u32 = 1_000;

/// Bytes of a value, an assumption: a float with its time, or a short text.
const VALUE_BYTES: usize = 16;

/// Why a real Redis could not be measured.
#[derive(Debug, Error)]
pub enum RedisCheckError {
    /// There is no server program.
    #[error("cannot start `{program}`: {source}")]
    NoServer {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// It runs, but does not answer.
    #[error("`{program}` does not answer on port {port}: {message}")]
    Silent {
        /// The program.
        program: String,
        /// The port on loopback.
        port: u16,
        /// Why.
        message: String,
    },
    /// It answered with an error.
    #[error("redis: {0}")]
    Redis(#[from] RedisError),
    /// The prediction could not be made.
    #[error(transparent)]
    Scenario(#[from] scenarios::ScenarioError),
}

/// A way to read the features of an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// One `GET` after the other.
    Sequential,
    /// All `GET`s sent at once, all answers read then.
    Pipelined,
    /// One `MGET`.
    MultiGet,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sequential, Self::Pipelined, Self::MultiGet];

    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential GET",
            Self::Pipelined => "pipelined GET",
            Self::MultiGet => "MGET",
        }
    }

    fn read(self, redis: &mut Connection, keys: &[String]) -> Result<(), RedisError> {
        let values: Vec<Vec<u8>> = match self {
            Self::Sequential => keys.iter().map(|key| redis.get(key)).collect::<Result<_, _>>()?,
            Self::Pipelined => {
                let mut pipe = redis::pipe();
                for key in keys {
                    pipe.get(key);
                }
                pipe.query(redis)?
            }
            Self::MultiGet => redis.mget(keys)?,
        };
        assert!(values.iter().all(|value| value.len() == VALUE_BYTES), "every feature is there");
        Ok(())
    }
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// The server program. Default: `redis-server`.
    pub program: String,
    /// Rounds in which all reads take turns. Default: 20.
    pub rounds: u32,
    /// Reads of each kind in a round. Default: 100.
    pub reads: u32,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self { program: "redis-server".to_owned(), rounds: 20, reads: 100 }
    }
}

/// One way to read so many features.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RedisRow {
    /// How.
    pub way: Way,
    /// How many features.
    pub features: u32,
    /// Time of a read, in seconds: what the simulator says, for reads it was not fitted to.
    pub predicted_s: Option<f64>,
    /// Time of a read, in seconds: the median.
    pub measured_s: f64,
}

impl RedisRow {
    /// How far the prediction is off, by what was measured.
    pub fn error(&self) -> Option<f64> {
        self.predicted_s.map(|predicted| predicted / self.measured_s - 1.0)
    }
}

/// Predicted beside measured.
#[derive(Debug, Clone, PartialEq)]
pub struct RedisReport {
    /// The server's version, as it says.
    pub version: String,
    /// By way, then by features.
    pub rows: Vec<RedisRow>,
}

impl RedisReport {
    /// Whether all predictions are within [`TOLERANCE`].
    pub fn passed(&self) -> bool {
        self.rows.iter().filter_map(RedisRow::error).all(|error| error.abs() <= TOLERANCE)
    }
}

/// Measures a real Redis and predicts it. `progress` is told the rounds done and all.
///
/// # Errors
/// If there is no Redis on this machine, or it does not answer.
pub fn check_redis(
    options: &RedisOptions,
    mut progress: impl FnMut(u32, u32),
) -> Result<RedisReport, RedisCheckError> {
    let (_server, mut redis) = Server::start(&options.program)?;
    let keys: Vec<Vec<String>> = (0..ENTITIES)
        .map(|entity| (0..PREDICTED[1]).map(|feature| format!("customer:{entity}:{feature}")).collect())
        .collect();
    for keys in &keys {
        let values: Vec<_> = keys.iter().map(|key| (key, "7".repeat(VALUE_BYTES))).collect();
        let () = redis.mset(&values)?;
    }
    let sizes =
        Way::ALL.into_iter().flat_map(|way| FITTED.into_iter().chain(PREDICTED).map(move |n| (way, n)));
    let kinds: Vec<(Way, u32)> = sizes.collect();
    // By turn, then by kind.
    let mut turns: Vec<Vec<f64>> = Vec::new();
    let mut order: Vec<usize> = (0..kinds.len()).collect();
    let mut luck = SmallRng::seed_from_u64(1);
    let mut entity = 0;
    // The first round warms up.
    for round in 0..=options.rounds {
        for _ in 0..options.reads {
            order.shuffle(&mut luck);
            let mut turn = vec![0.0; kinds.len()];
            for kind in &order {
                let (way, features) = kinds[*kind];
                let mut read = || {
                    // A stride that meets all entities: 1,000 and 617 have no common divisor.
                    entity = (entity + 617) % keys.len();
                    let begun = Instant::now();
                    way.read(&mut redis, &keys[entity][..features as usize])?;
                    Ok::<f64, RedisError>(begun.elapsed().as_secs_f64())
                };
                read()?;
                turn[*kind] = read()?;
            }
            if round > 0 {
                turns.push(turn);
            }
        }
        progress(round, options.rounds);
    }
    let of = |figure: &dyn Fn(&[f64]) -> f64| median(turns.iter().map(|turn| figure(turn)).collect());
    let measured: Vec<f64> = (0..kinds.len()).map(|kind| of(&|turn| turn[kind])).collect();
    let version = redis::cmd("INFO").arg("server").query::<String>(&mut redis)?;
    let version = version.lines().find_map(|line| line.strip_prefix("redis_version:"));
    let mut rows = Vec::new();
    let per_way = FITTED.len() + PREDICTED.len();
    for ((way, measured), first) in
        Way::ALL.into_iter().zip(measured.chunks(per_way)).zip((0..).step_by(per_way))
    {
        let store = Fit::new(way, measured[0], of(&|turn| turn[first + 1] - turn[first]));
        for (features, measured_s) in FITTED.into_iter().chain(PREDICTED).zip(measured.iter().copied()) {
            let fitted = FITTED.contains(&features);
            let predicted_s = if fitted { None } else { Some(store.predict(features)?) };
            rows.push(RedisRow { way, features, predicted_s, measured_s });
        }
    }
    Ok(RedisReport { version: version.unwrap_or("unknown").to_owned(), rows })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A feature store that reads as this Redis does.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Fit {
    way: Way,
    /// Times in seconds.
    base: f64,
    lookup: f64,
    per_feature: f64,
}

impl Fit {
    /// The straight line through a read of one feature and one of ten, which takes so much longer; none of its
    /// parts is below zero.
    fn new(way: Way, one: f64, longer: f64) -> Self {
        let slope = (longer / f64::from(FITTED[1] - FITTED[0])).max(0.0);
        match way {
            Way::Sequential => {
                let lookup = slope.min(one);
                Self { way, base: one - lookup, lookup, per_feature: 0.0 }
            }
            Way::Pipelined | Way::MultiGet => {
                Self { way, base: 0.0, lookup: (one - slope).max(0.0), per_feature: slope }
            }
        }
    }

    /// The time of a read of so many features, simulated.
    fn predict(&self, features: u32) -> Result<f64, RedisCheckError> {
        let read = if self.way == Way::Sequential { "sequential" } else { "multi_get" };
        let [base, lookup, per_feature] =
            [self.base, self.lookup, self.per_feature].map(|seconds| format!("\"{:.0}ns\"", seconds * 1e9));
        let text = format!(
            "name = \"redis\"\nrun = {{ duration = \"10s\", replications = 1, warmup = \"0s\" }}\n\
             [traffic.reads]\nentry = \"store\"\narrivals = {{ process = \"deterministic\", rate = \"20/s\" }}\n\
             [components.store]\nkind = \"feature_store\"\nfeatures = {features}\nread = \"{read}\"\n\
             base = {base}\nlookup = {lookup}\nper_feature = {per_feature}\n"
        );
        Ok(crate::simulate(&text, "latency_mean_s")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_through_two_reads_predicts_the_others() {
        let cases = [
            (Way::Sequential, 20e-6, 200e-6, 50, 1000e-6),
            // What a read takes besides its lookups.
            (Way::Sequential, 30e-6, 210e-6, 50, 1010e-6),
            (Way::MultiGet, 20e-6, 29e-6, 100, 119e-6),
            (Way::Pipelined, 20e-6, 38e-6, 50, 118e-6),
            // Noise: ten features no slower than one.
            (Way::MultiGet, 20e-6, 19e-6, 100, 20e-6),
        ];
        for (way, one, ten, features, expected) in cases {
            let predicted = Fit::new(way, one, ten - one).predict(features).unwrap();
            assert!((predicted / expected - 1.0).abs() < 0.01, "{way:?} {features}: {predicted} {expected}");
        }
    }

    #[test]
    fn a_report_passes_within_a_quarter() {
        let row =
            |predicted_s| RedisRow { way: Way::MultiGet, features: 50, predicted_s, measured_s: 100e-6 };
        let report =
            |predicted| RedisReport { version: "7".to_owned(), rows: vec![row(None), row(predicted)] };
        assert!(report(None).passed() && report(Some(124e-6)).passed() && report(Some(76e-6)).passed());
        assert!(!report(Some(126e-6)).passed() && !report(Some(74e-6)).passed());
    }

    #[test]
    fn a_machine_without_redis_is_told_what_is_missing() {
        let options = RedisOptions { program: "/nowhere/redis-server".to_owned(), ..RedisOptions::default() };
        let error = check_redis(&options, |_, _| {}).unwrap_err();
        assert!(matches!(error, RedisCheckError::NoServer { .. }), "{error}");
        assert!(error.to_string().contains("/nowhere/redis-server"));
    }

    #[test]
    fn a_program_that_is_no_redis_is_told_to_be_silent() {
        let options = RedisOptions { program: "false".to_owned(), ..RedisOptions::default() };
        let error = check_redis(&options, |_, _| {}).unwrap_err();
        assert!(matches!(error, RedisCheckError::Silent { .. }), "{error}");
    }
}
