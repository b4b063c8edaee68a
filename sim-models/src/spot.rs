//! Spot capacity: what nobody else wants now, and what happens when somebody does.
//!
//! Interruptions of one instance come after exponential times (a Poisson process). The provider gives notice, and
//! takes the instance when that is over; after a while there is capacity again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::distribution::{Dist, Exponential};
use sim_core::random::KeyedStream;
use sim_core::time::{SimDuration, SimTime};

use crate::error::ConfigError;
use crate::units::{Number, Time, TimeDist};

/// Whose spot capacity it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SpotProvider {
    /// Amazon EC2 Spot Instances: two minutes of notice
    /// (docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html, read 2026-11).
    #[default]
    Aws,
    /// Google Cloud Spot VMs: 30 seconds (`skipGuestOsShutdown` of Compute Engine's API, v1, read 2026-11).
    Gcp,
    /// Azure Spot Virtual Machines: 30 seconds (`Preempt` of Scheduled Events; recalled, an assumption).
    Azure,
}

impl SpotProvider {
    fn notice(self) -> SimDuration {
        SimDuration::from_secs(match self {
            Self::Aws => 120,
            Self::Gcp | Self::Azure => 30,
        })
    }
}

/// How spot capacity is interrupted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SpotConfig {
    /// Whose it is, for the notice. Default: `aws`.
    pub provider: SpotProvider,
    /// Mean time from when an instance (a replica, a worker) is there to its interruption. Default: only faults of
    /// kind `spot_interruption` interrupt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mttf: Option<Time>,
    /// How much more often than on average instances are interrupted in each of the 24 hours of a day, which begins with
    /// the run: factors on 1 / `mttf`. Default: all hours are alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hourly: Option<Vec<Number>>,
    /// Time from the notice of an interruption to the loss. Default: the provider's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<Time>,
    /// Time from an interruption's notice (of a training job: from the loss) until there is capacity again. Default:
    /// none, there is at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_return: Option<TimeDist>,
}

/// What a draw is for, to key it by.
const LIFE: u32 = 1;
const RETURN: u32 = 2;

const HOURS: usize = 24;
const HOUR_S: f64 = 3600.0;

/// How long `hazard` seconds of an average hazard last from `now` on, by the factors of the hours (the inverse of the
/// cumulative hazard of a Poisson process whose rate is another in each hour).
fn through_the_day(hourly: &[f64], hazard: f64, now: SimTime) -> SimDuration {
    let day: f64 = hourly.iter().sum::<f64>() * HOUR_S;
    let days = (hazard / day).floor();
    let (mut left, mut lasted) = (hazard - days * day, days * HOURS as f64 * HOUR_S);
    let of_day = now.as_nanos() % (HOURS as u64 * 3_600_000_000_000);
    let mut hour = (of_day / 3_600_000_000_000) as usize;
    let mut rest = HOUR_S - (of_day % 3_600_000_000_000) as f64 / 1e9;
    // The present hour may come twice: what is left of it now, and the rest a day later.
    for _ in 0..=HOURS {
        let spent = hourly[hour] * rest;
        if spent > 0.0 && left <= spent {
            return SimDuration::saturating_from_secs_f64(lasted + left / hourly[hour]);
        }
        (left, lasted) = (left - spent, lasted + rest);
        (hour, rest) = ((hour + 1) % HOURS, HOUR_S);
    }
    SimDuration::saturating_from_secs_f64(lasted)
}

/// Interruptions, ready to be drawn.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    pub notice: SimDuration,
    life: Option<Dist>,
    hourly: Option<Vec<f64>>,
    capacity_return: Option<Dist>,
}

impl SpotConfig {
    /// Interruptions of `workers` instances that are lost with any one of them.
    ///
    /// # Errors
    /// What of it cannot be; the path starts at it.
    pub(crate) fn build(&self, workers: u32) -> Result<Spot, ConfigError> {
        let life = match self.mttf {
            Some(mttf) => {
                let mean = mttf.as_secs_f64() / f64::from(workers);
                Some(Dist::from(Exponential::with_mean(mean).map_err(|_| {
                    ConfigError::new(["mttf"], format!("mttf is {mttf}"))
                        .help("expected a time above 0, such as \"20h\"")
                })?))
            }
            None => None,
        };
        let hourly: Option<Vec<f64>> =
            self.hourly.as_ref().map(|hours| hours.iter().map(|factor| factor.get()).collect());
        if let Some(hours) = &hourly {
            let wrong = |message: String, help: &str| Err(ConfigError::new(["hourly"], message).help(help));
            if hours.len() != HOURS || hours.iter().all(|factor| *factor == 0.0) {
                let message = format!("hourly has {} numbers", hours.len());
                return wrong(message, "expected 24 numbers, one above 0 at least");
            }
            if life.is_none() {
                return wrong(
                    "there is no `mttf` that it would be a factor on".into(),
                    "expected `mttf` beside it",
                );
            }
        }
        let back = self.capacity_return.as_ref().map(TimeDist::build).transpose();
        Ok(Spot {
            notice: self.notice.map_or(self.provider.notice(), Time::get),
            life,
            hourly,
            capacity_return: back
                .map_err(|error| ConfigError::new(["capacity_return"], error.to_string()))?,
        })
    }
}

impl Spot {
    /// Time to the notice of the interruption of what starts at `now`, the `nth` of `which`; none for never.
    pub fn life(&self, stream: KeyedStream, which: u64, nth: u32, now: SimTime) -> Option<SimDuration> {
        let law = self.life.as_ref()?;
        let life = law.sample_duration(&mut stream.draws(which, LIFE, nth));
        Some(match &self.hourly {
            Some(hourly) => through_the_day(hourly, life.as_secs_f64(), now),
            None => life,
        })
    }

    /// Time until there is capacity again after an interruption of it.
    pub fn capacity_return(&self, stream: KeyedStream, which: u64, nth: u32) -> SimDuration {
        let law = self.capacity_return.as_ref();
        law.map_or(SimDuration::ZERO, |law| law.sample_duration(&mut stream.draws(which, RETURN, nth)))
    }
}

#[cfg(test)]
mod tests {
    use sim_core::random::{Purpose, Streams};

    use super::*;

    #[test]
    fn providers_give_their_notice_and_scenarios_override_it() {
        for (text, seconds) in [
            ("", 120),
            ("provider = \"aws\"", 120),
            ("provider = \"gcp\"", 30),
            ("provider = \"azure\"", 30),
            ("provider = \"gcp\"\nnotice = \"5s\"", 5),
        ] {
            let config: SpotConfig = toml::from_str(text).unwrap();
            assert_eq!(config.build(1).unwrap().notice, SimDuration::from_secs(seconds), "{text}");
        }
        let hours =
            |factors: &str| toml::from_str::<SpotConfig>(&format!("mttf = \"1h\"\nhourly = [{factors}]"));
        for factors in ["1, 2".to_owned(), vec!["0"; 24].join(", ")] {
            assert_eq!(hours(&factors).unwrap().build(1).unwrap_err().path, ["hourly"]);
        }
        let never: SpotConfig = toml::from_str("mttf = \"0s\"").unwrap();
        assert_eq!(never.build(1).unwrap_err().path, ["mttf"]);
        assert!(toml::from_str::<SpotConfig>("provider = \"ibm\"").is_err());
    }

    /// Twice the hazard in the second half of the day and none in the first: of what is left at noon exp(-2 h / mttf) lives
    /// h hours on, and nothing ends before noon.
    #[test]
    fn the_hazard_follows_the_hours_of_the_day() {
        let mut factors = vec!["0"; 12];
        factors.extend(["2"; 12]);
        let text = format!("mttf = \"6h\"\nhourly = [{}]", factors.join(", "));
        let spot = toml::from_str::<SpotConfig>(&text).unwrap().build(1).unwrap();
        let stream = Streams::new(1, 0).keyed("pool", Purpose::Faults);
        let hours = |hours: u64| SimTime::from_nanos(hours * 3_600_000_000_000);
        let lives = |from: SimTime| -> Vec<f64> {
            (0..20_000).map(|n| spot.life(stream, n, 0, from).unwrap().as_secs_f64() / 3600.0).collect()
        };
        let share = |lives: &[f64], beyond: f64| {
            lives.iter().filter(|life| **life > beyond).count() as f64 / lives.len() as f64
        };
        let from_noon = lives(hours(12));
        let of_midnight = lives(hours(0));
        assert!(of_midnight.iter().all(|life| *life >= 12.0));
        // Four standard errors of 20,000 draws are 0.014 at most. After midnight there is none for 12 hours.
        for (beyond, expected) in [(3.0, -1.0f64), (6.0, -2.0), (12.0, -4.0), (23.9, -4.0), (27.0, -5.0)] {
            let measured = share(&from_noon, beyond);
            println!("beyond {beyond} h: {measured:.4}, exp({expected}) = {:.4}", libm::exp(expected));
            assert!((measured - libm::exp(expected)).abs() < 0.015, "{beyond}: {measured}");
            let later = share(&of_midnight, beyond + 12.0);
            assert!((later - libm::exp(expected)).abs() < 0.015, "{beyond}: {later}");
        }
        // Within an hour, what is left of it counts, and after a day the rest of it.
        let late =
            spot.life(stream, 0, 0, SimTime::from_nanos(43_200_000_000_000 + 1_800_000_000_000)).unwrap();
        let noon = spot.life(stream, 0, 0, hours(12)).unwrap();
        assert!(late >= noon, "{late:?} {noon:?}");
    }
}
