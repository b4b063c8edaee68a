//! Spot capacity: what nobody else wants now, and what happens when somebody does.
//!
//! Interruptions of one instance come after exponential times (a Poisson process). The provider gives notice, and
//! takes the instance when that is over; after a while there is capacity again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::distribution::{Dist, Exponential};
use sim_core::random::KeyedStream;
use sim_core::time::SimDuration;

use crate::error::ConfigError;
use crate::units::{Time, TimeDist};

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

/// Interruptions, ready to be drawn.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    pub notice: SimDuration,
    life: Option<Dist>,
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
        let back = self.capacity_return.as_ref().map(TimeDist::build).transpose();
        Ok(Spot {
            notice: self.notice.map_or(self.provider.notice(), Time::get),
            life,
            capacity_return: back
                .map_err(|error| ConfigError::new(["capacity_return"], error.to_string()))?,
        })
    }
}

impl Spot {
    /// Time to the notice of the interruption of what starts now, the `nth` of `which`; none for never.
    pub fn life(&self, stream: KeyedStream, which: u64, nth: u32) -> Option<SimDuration> {
        let law = self.life.as_ref()?;
        Some(law.sample_duration(&mut stream.draws(which, LIFE, nth)))
    }

    /// Time until there is capacity again after an interruption of it.
    pub fn capacity_return(&self, stream: KeyedStream, which: u64, nth: u32) -> SimDuration {
        let law = self.capacity_return.as_ref();
        law.map_or(SimDuration::ZERO, |law| law.sample_duration(&mut stream.draws(which, RETURN, nth)))
    }
}

#[cfg(test)]
mod tests {
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
        let never: SpotConfig = toml::from_str("mttf = \"0s\"").unwrap();
        assert_eq!(never.build(1).unwrap_err().path, ["mttf"]);
        assert!(toml::from_str::<SpotConfig>("provider = \"ibm\"").is_err());
    }
}
