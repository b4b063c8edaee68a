//! What is served: how old it is, whether it is a default, and how often it would differ from the
//! training data.

use sim_core::distribution::Dist;
use sim_core::random::KeyedDraws;
use sim_core::stats::Histogram;
use sim_core::time::{SimDuration, SimTime};

use crate::measure::Measure;
use crate::units::Bytes;

/// Until when what is served knows what has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Horizon {
    /// Features that pipelines write; `None` where none does.
    pub batch: Option<SimTime>,
    /// Features that are pushed.
    pub streamed: Option<SimTime>,
}

/// The features of a request and what becomes of them with time.
#[derive(Debug)]
pub(super) struct Values {
    /// Features that pipelines write.
    pub batch: u32,
    pub streamed: u32,
    pub on_demand: u32,
    pub lag: Option<Dist>,
    pub ttl: Option<SimDuration>,
    /// Changes of a value a second.
    pub change_rate: f64,
    pub code_skew: f64,
    pub freshness_slo: Option<SimDuration>,
    /// The horizon of the last materialization.
    pub as_of: Option<SimTime>,
}

/// Features of one read without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Lost {
    pub batch: u32,
    pub streamed: u32,
}

/// What a feature store measured. Counts are of features, one of one request each, unless they say reads.
#[derive(Debug, Clone, Default)]
pub struct FeatureStoreReport {
    /// Features asked for, those computed on demand too.
    pub requested: u64,
    /// Served as their default because the lookup timed out.
    pub timed_out: u64,
    /// Served as their default because the value was older than `ttl`.
    pub expired: u64,
    /// Served as their default because the store had no room for the entity.
    pub missing: u64,
    /// Reads that asked the local cache.
    pub cache_reads: u64,
    /// Reads that the local cache answered.
    pub cache_hits: u64,
    /// Age in nanoseconds of served values whose age is known.
    pub age: Histogram,
    /// Served values that kept to `freshness_slo`.
    pub fresh: u64,
    /// Served values that can be compared with the point-in-time value: of known age, or computed on demand.
    pub judged: u64,
    /// How many of those differ from it, in expectation.
    pub skewed: f64,
    /// Reads that went to each shard.
    pub shard_reads: Vec<u64>,
    /// Memory that all features of all entities need, if the scenario says.
    pub memory_needed: Option<Bytes>,
    /// Memory there is, if the scenario says.
    pub memory: Option<Bytes>,
}

impl FeatureStoreReport {
    /// Share of features that were served as their default; `None` before any was asked for.
    pub fn defaulted(&self) -> Option<f64> {
        share((self.timed_out + self.expired + self.missing) as f64, self.requested)
    }

    /// Share of reads that the local cache answered; `None` without a cache.
    pub fn hit_ratio(&self) -> Option<f64> {
        share(self.cache_hits as f64, self.cache_reads)
    }

    /// Mean age of what was served, in seconds; `None` where no age is known.
    pub fn age_mean(&self) -> Option<f64> {
        self.age.mean().map(|nanos| nanos / 1e9)
    }

    /// Share of values of known age that kept to `freshness_slo`.
    pub fn freshness_attainment(&self) -> Option<f64> {
        share(self.fresh as f64, self.age.count())
    }

    /// Training-serving skew: the share of served values that differ from the point-in-time value.
    pub fn skew(&self) -> Option<f64> {
        share(self.skewed, self.judged)
    }

    /// Share of the reads of the store that went to its busiest shard.
    pub fn hottest_shard(&self) -> Option<f64> {
        let busiest = self.shard_reads.iter().max().copied().unwrap_or_default();
        share(busiest as f64, self.shard_reads.iter().sum())
    }
}

impl FeatureStoreReport {
    /// In results: what there is in this store.
    pub(super) fn measures(&self) -> Vec<Measure> {
        let mut list = vec![
            Measure::count(
                "features_requested",
                self.requested,
                "Features asked for, those computed on demand too",
            ),
            Measure::known("defaulted_share", self.defaulted(), "Share of features served as their default"),
            Measure::count("defaulted_timed_out", self.timed_out, "Defaults because the lookup timed out"),
            Measure::count(
                "defaulted_expired",
                self.expired,
                "Defaults because the value was older than its TTL",
            ),
            Measure::count(
                "defaulted_missing",
                self.missing,
                "Defaults because the store had no room for the entity",
            ),
        ];
        if self.cache_reads > 0 {
            list.push(Measure::known(
                "cache_hit_ratio",
                self.hit_ratio(),
                "Share of reads that the local cache answered",
            ));
        }
        if self.age.count() > 0 {
            let seconds = |nanos: u64| nanos as f64 / 1e9;
            let known = |name, value, meaning| Measure::known(name, value, meaning);
            let p99 = self.age.quantile(0.99).map(seconds);
            list.push(known("age_mean_s", self.age_mean(), "Age of the values served: mean"));
            list.push(known("age_p99_s", p99, "99th percentile of it"));
            list.push(known("age_max_s", self.age.max().map(seconds), "The oldest"));
            let fresh = self.freshness_attainment();
            list.push(known(
                "freshness_attainment",
                fresh,
                "Share of the values served that kept to `freshness_slo`",
            ));
        }
        if self.judged > 0 {
            let meaning =
                "Training-serving skew: share of the values served that differ from the point-in-time value";
            list.push(Measure::known("skew_share", self.skew(), meaning));
        }
        if self.shard_reads.len() > 1 {
            let meaning = "Share of the reads of the store that went to its busiest shard";
            list.push(Measure::known("hottest_shard_share", self.hottest_shard(), meaning));
        }
        list
    }
}

fn share(part: f64, of: u64) -> Option<f64> {
    (of > 0).then(|| part / of as f64)
}

fn before(now: SimTime, age: SimDuration) -> SimTime {
    SimTime::from_nanos(now.as_nanos().saturating_sub(age.as_nanos()))
}

impl Values {
    /// Until when the store knows what has happened.
    pub(super) fn horizon(&self, now: SimTime, draws: &mut KeyedDraws) -> Horizon {
        let streamed = self.lag.as_ref().map(|lag| before(now, lag.sample_duration(draws)));
        Horizon { batch: self.as_of, streamed }
    }

    /// Counts what is served at `now` of a read that knows no more than `horizon`; true when some of it
    /// are defaults.
    pub(super) fn serve(
        &self,
        now: SimTime,
        horizon: Horizon,
        lost: Lost,
        report: &mut FeatureStoreReport,
    ) -> bool {
        let all = self.batch + self.streamed + self.on_demand;
        report.requested += u64::from(all);
        let mut expired = 0;
        for (features, as_of) in
            [(self.batch - lost.batch, horizon.batch), (self.streamed - lost.streamed, horizon.streamed)]
        {
            let Some(as_of) = as_of.filter(|_| features > 0) else { continue };
            let age = now.since(as_of);
            if self.ttl.is_some_and(|ttl| age > ttl) {
                expired += features;
                continue;
            }
            let features = u64::from(features);
            report.age.record_n(age.as_nanos(), features);
            if self.freshness_slo.is_some_and(|slo| age <= slo) {
                report.fresh += features;
            }
            self.judge(age, features, report);
        }
        // Computed now, from the request.
        self.judge(SimDuration::ZERO, u64::from(self.on_demand), report);
        report.expired += u64::from(expired);
        expired + lost.batch + lost.streamed > 0
    }

    fn judge(&self, age: SimDuration, features: u64, report: &mut FeatureStoreReport) {
        let same = (1.0 - self.code_skew) * libm::exp(-self.change_rate * age.as_secs_f64());
        report.judged += features;
        report.skewed += (1.0 - same) * features as f64;
    }
}
