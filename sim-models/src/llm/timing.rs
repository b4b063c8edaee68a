//! Where an LLM pool's times come from.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::SimDuration;

use crate::error::ConfigError;
use crate::hardware::catalogue::{Gpu, Model};
use crate::hardware::datasheet::Efficiency;
use crate::hardware::fitted::Fitted;
use crate::hardware::precision::Precision;
use crate::hardware::profile::{Profile, ProfileError};
use crate::hardware::timing::StepFunction;
use crate::hardware::{HardwareError, Placement};

/// Where step times come from, and what the API server takes. Results name it: *estimate*
/// (by the datasheet, uncalibrated, or from other kernels), *imported* or *measured* (a profile of the GPU's
/// kernels, timed by others or by `tenfold-microbench`), or *calibrated* (fitted to measurements of the server itself).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimingConfig {
    /// `datasheet`, `profile`, or `auto`: the profile where one is named or built in for the GPU and has the
    /// kernels that the model needs, unless efficiencies are given. Default: auto.
    #[serde(default, skip_serializing_if = "is_default")]
    pub source: TimingSource,
    /// A built-in profile by its name, or the path of a profile file (`.toml`, relative to the scenario).
    /// Default: the built-in one of the GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// How far below the datasheet the server runs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub efficiency: Efficiency,
    /// What measurements of the server say: written by `tenfold calibrate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fitted: Option<Fitted>,
    /// Time of the API server.
    #[serde(default, skip_serializing_if = "is_default")]
    pub frontend: FrontEnd,
}

/// Where step times come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimingSource {
    /// A profile where there is one, otherwise the datasheet.
    #[default]
    Auto,
    /// Datasheet peaks and efficiencies.
    Datasheet,
    /// Kernels timed on the GPU.
    Profile,
}

/// The API server in front of an engine: HTTP, tokenization, passing requests in and tokens out. Its time
/// delays a request and occupies nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FrontEnd {
    /// For each request, in microseconds. Default: 0. Fitted to one server, Qwen3-14B under vLLM 0.23 with a
    /// client on the same host: about 5,500.
    pub request_us: f64,
    /// For each token of the prompt, in microseconds. Default: 0.
    pub token_us: f64,
}

impl FrontEnd {
    /// How long a request with such a prompt is delayed.
    pub fn delay(&self, prompt_tokens: u32) -> SimDuration {
        let us = self.request_us + self.token_us * f64::from(prompt_tokens);
        SimDuration::from_nanos((us * 1e3).round() as u64)
    }

    fn check(&self) -> Result<(), HardwareError> {
        for (name, value) in [("request_us", self.request_us), ("token_us", self.token_us)] {
            if !(0.0..=1e9).contains(&value) {
                let expected = "microseconds from 0 to 1000000000";
                return Err(HardwareError::OutOfRange { name, value, expected });
            }
        }
        Ok(())
    }
}

/// The hardware that a pool runs on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hardware<'a> {
    pub(super) gpu: &'a Gpu,
    /// Whether it is a part of the GPU of that name, of which no profile was taken.
    pub(super) is_slice: bool,
    pub(super) model: &'a Model,
    pub(super) precision: Precision,
    pub(super) kv_precision: Precision,
    pub(super) placement: Placement,
    /// Whether the host prepares a step while the GPU computes the one before.
    pub(super) async_scheduling: bool,
}

/// Whether a profile is named by a file, not by its id.
pub fn is_profile_file(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "toml")
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl TimingConfig {
    pub(super) fn is_default(&self) -> bool {
        is_default(self)
    }

    /// The key of the figures that step times depend on.
    pub(super) fn figures(&self) -> &'static str {
        if self.fitted.is_some() { "fitted" } else { "efficiency" }
    }

    /// Whether every figure is in its range: the error names it by its keys.
    pub(super) fn check(&self, refused: fn(HardwareError) -> ConfigError) -> Result<(), ConfigError> {
        let at = |key| move |error| refused(error).within(key);
        self.efficiency.check().map_err(at("efficiency"))?;
        self.frontend.check().map_err(at("frontend"))?;
        self.fitted.as_ref().map_or(Ok(()), Fitted::check).map_err(at("fitted"))
    }

    /// The step function of a model on its GPUs.
    pub(super) fn step_function(&self, hardware: Hardware) -> Result<StepFunction, HardwareError> {
        let profile = if hardware.is_slice { None } else { self.profile_for(hardware.gpu)? };
        let Some(profile) = profile else { return self.datasheet_step(hardware) };
        let Hardware { gpu, model, precision, kv_precision, placement, async_scheduling, .. } = hardware;
        let step = StepFunction::from_profile(
            &profile,
            gpu,
            model,
            precision,
            kv_precision,
            placement,
            async_scheduling,
            self.fitted.as_ref(),
        );
        match step {
            Err(HardwareError::Profile(ProfileError::Lacks { .. }))
                if self.source == TimingSource::Auto && self.profile.is_none() =>
            {
                self.datasheet_step(hardware)
            }
            other => other,
        }
    }

    /// The profile to use; none for the datasheet.
    fn profile_for(&self, gpu: &Gpu) -> Result<Option<std::borrow::Cow<'static, Profile>>, HardwareError> {
        use std::borrow::Cow::{Borrowed, Owned};
        if self.source == TimingSource::Datasheet {
            return Ok(None);
        }
        if let Some(name) = &self.profile {
            return Ok(Some(if is_profile_file(name) {
                Owned(Profile::open(Path::new(name))?)
            } else {
                Borrowed(Profile::named(name)?)
            }));
        }
        match self.source {
            TimingSource::Profile => Ok(Some(Borrowed(Profile::of_gpu(&gpu.id).ok_or_else(|| {
                let has = Profile::builtin().map(|profile| profile.gpu.clone()).collect::<Vec<_>>();
                ProfileError::Lacks {
                    profile: "(built in)".into(),
                    what: gpu.id.clone(),
                    has: format!("there are profiles of {}", has.join(", ")),
                }
            })?))),
            _ if is_default(&self.efficiency) => Ok(Profile::of_gpu(&gpu.id).map(Borrowed)),
            _ => Ok(None),
        }
    }

    fn datasheet_step(&self, hardware: Hardware) -> Result<StepFunction, HardwareError> {
        let Hardware { gpu, model, precision, kv_precision, placement, async_scheduling, .. } = hardware;
        let efficiency = Efficiency { async_scheduling, ..self.efficiency };
        match &self.fitted {
            None => StepFunction::from_datasheet(gpu, model, precision, kv_precision, placement, &efficiency),
            Some(fitted) => fitted.on_datasheet(gpu, model, precision, kv_precision, placement, &efficiency),
        }
    }
}
