//! The `deployment` of a pool in a scenario.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::SimDuration;

use super::IntOrPercent;
use super::canary::CanaryConfig;
use crate::autoscaler::ColdStart;
use crate::error::ConfigError;
use crate::units::{Probability, Time, TimeDist};

/// How versions of a pool's program replace one another. Names and defaults are those of Kubernetes' Deployment (API
/// reference of apps/v1, read 2026-11), and of Argo Rollouts for what is a canary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeploymentConfig {
    /// The version at the start. Default: `v1`.
    pub version: String,
    /// How replicas are replaced. Default: `rolling_update`.
    pub strategy: Strategy,
    /// The most replicas above what there should be, a share of them rounded up. Default: 25%.
    pub max_surge: IntOrPercent,
    /// The most replicas that may be unavailable, a share of them rounded down. Default: 25%.
    pub max_unavailable: IntOrPercent,
    /// How long a new replica must be ready before it counts as available. Default: 0.
    pub min_ready_seconds: Time,
    /// How long a rollout may make no progress: no replica more of the new version, none less of old ones, and none
    /// that becomes ready. Default: 600 s.
    pub progress_deadline_seconds: Time,
    /// Whether the rollout is taken back then. Default: false: Kubernetes only reports it, as Argo Rollouts does
    /// (whose name this is); Helm's `--atomic` takes it back.
    pub progress_deadline_abort: bool,
    /// How long a replica that is taken away may work on the calls in it; then they fail. Default: 30 s, that of
    /// Kubernetes' pods.
    pub termination_grace_period_seconds: Time,
    /// With `strategy = "canary"`, its steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryConfig>,
    /// What is rolled out, and when.
    #[serde(rename = "rollout", skip_serializing_if = "Vec::is_empty")]
    pub rollouts: Vec<RolloutConfig>,
}

impl Default for DeploymentConfig {
    fn default() -> Self {
        let seconds = |seconds| Time::new(SimDuration::from_secs(seconds));
        Self {
            version: "v1".to_owned(),
            strategy: Strategy::RollingUpdate,
            max_surge: IntOrPercent::Percent(25),
            max_unavailable: IntOrPercent::Percent(25),
            min_ready_seconds: Time::ZERO,
            progress_deadline_seconds: seconds(600),
            progress_deadline_abort: false,
            termination_grace_period_seconds: seconds(30),
            canary: None,
            rollouts: Vec::new(),
        }
    }
}

/// How the replicas of a version are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// A few at a time.
    #[default]
    RollingUpdate,
    /// All old ones end before the first new one starts.
    Recreate,
    /// Step by step by the share of the traffic.
    Canary,
}

/// A version that is rolled out. One of a name that was there before is that version again (a rollback), and says
/// nothing else of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutConfig {
    /// When it begins.
    pub at: Time,
    /// The version.
    pub version: String,
    /// Share of its answers that fail, after the full work for them. Default: 0.
    #[serde(default, skip_serializing_if = "is_none")]
    pub error_rate: Probability,
    /// How many times as long its work takes. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow: Option<f64>,
    /// How long a replica of it takes to start. Default: as long as the pool says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_start: Option<Box<ColdStart>>,
    /// How long a replica of it runs from being ready until it crashes with all calls in it. Default: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash_after: Option<TimeDist>,
}

fn is_none(share: &Probability) -> bool {
    share.get() == 0.0
}

impl RolloutConfig {
    /// Whether it says anything of its version but the name.
    fn says_more(&self) -> bool {
        !is_none(&self.error_rate)
            || self.slow.is_some()
            || self.cold_start.is_some()
            || self.crash_after.is_some()
    }
}

impl DeploymentConfig {
    /// # Errors
    /// What of it cannot be; the path starts at the deployment.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |path: &[&str], message: String, help: &str| {
            Err(ConfigError::new(path.iter().copied(), message).help(help))
        };
        if let Some(canary) = &self.canary {
            if self.strategy != Strategy::Canary {
                let help = "expected strategy = \"canary\" beside it";
                return wrong(&["canary"], "only a canary has `canary`".into(), help);
            }
            canary.check().map_err(|error| error.within("canary"))?;
        } else if self.strategy == Strategy::Canary {
            let help = "expected canary = { steps = [{ set_weight = 10 }, { pause = \"5m\" }] } beside it";
            return wrong(&["strategy"], "a canary needs its steps".into(), help);
        }
        if self.progress_deadline_seconds <= self.min_ready_seconds {
            let message = format!("progress_deadline_seconds is {}", self.progress_deadline_seconds);
            let help = "expected a time above min_ready_seconds";
            return wrong(&["progress_deadline_seconds"], message, help);
        }
        let mut known = vec![self.version.as_str()];
        let mut last = None;
        for (index, rollout) in self.rollouts.iter().enumerate() {
            let index = index.to_string();
            let at = |key| ["rollout", index.as_str(), key];
            if last.is_some_and(|last| last >= rollout.at) {
                let message = format!("a rollout at {} is not after the one before it", rollout.at);
                return wrong(&at("at"), message, "expected rollouts in the order of their times");
            }
            last = Some(rollout.at);
            if rollout.slow.is_some_and(|factor| !(factor.is_finite() && factor > 0.0)) {
                let message = format!("slow is {}", rollout.slow.unwrap_or_default());
                return wrong(&at("slow"), message, "expected a number above 0, such as 2");
            }
            if known.contains(&rollout.version.as_str()) {
                if rollout.says_more() {
                    let message = format!("`{}` was there before", rollout.version);
                    let help = "expected another name, or nothing but `at` and `version` to go back to it";
                    return wrong(&at("version"), message, help);
                }
            } else {
                known.push(&rollout.version);
            }
        }
        Ok(())
    }
}
