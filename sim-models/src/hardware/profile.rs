//! Profiles: kernels timed on a GPU, and what they say about the steps of any model on it.
//!
//! A profile is a TOML file (`format = 1`) with the times of a serving engine's kernels on one kind of GPU:
//! matrix multiplications by shape ([`GemmTable`]), attention as straight lines ([`DecodeAttention`],
//! [`PrefillAttention`]), what lies between ([`ElementwiseTable`], [`SamplingTable`]), experts ([`ExpertTable`]) and
//! all-reduces ([`AllReduceTable`]), with their source and licence, and the [`Overheads`] that kernel timings do not show.
//! It is made from per-operation tables by
//! [`Measurements::profile`] and compiled for a model by
//! [`StepFunction::from_profile`](super::timing::StepFunction::from_profile). Between measured points times are
//! linear.
//!
//! Built in is `h100-sxm-vllm-0.24`: the tables of ai-dynamo/aiconfigurator (commit 095f58a, vLLM 0.24.0 on an
//! NVIDIA H100 80GB HBM3, Apache-2.0), and `h200-sxm-tenfold`, fitted to what `tenfold-microbench` measured on an NVIDIA
//! H200 (`validation/measurements`): products by cublasLt, attention by kernels of our own.

mod attention;
mod check;
mod compile;
mod derive;
mod elementwise;
mod fit;
mod import;
mod predict;
mod series;
mod table;
#[cfg(test)]
mod tests;
mod write;

use std::path::Path;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::timing::Calibration;
pub use attention::{DecodeAttention, PrefillAttention};
pub use derive::ESTIMATE_ERROR;
pub use elementwise::{ElementwiseKernel, ElementwiseTable, SamplingTable};
pub use fit::{FitOptions, is_held_back};
pub use import::{
    AllReduceRecord, AttentionRecord, BEYOND_CACHE, ExpertRecord, GemmRecord, LEAST_SHAPE, Measurements,
    ProfileHeader, SlopeFit,
};
pub use table::{AllReduceTable, ExpertTable, GemmTable};

/// The version of the profile format.
pub const FORMAT: u32 = 1;

/// How the kernel set of a profile begins whose kernels `tenfold-microbench` timed.
const OWN_KERNELS: &str = "tenfold-microbench";

/// Longest profile file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// A profile that cannot be read or used.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ProfileError {
    /// The file cannot be read.
    #[error("{path}: {message}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        message: String,
    },
    /// The text is no profile.
    #[error("{origin}: {message}")]
    Parse {
        /// The file, or the name of a built-in profile.
        origin: String,
        /// What is wrong, with line and column where they are known.
        message: String,
    },
    /// A value that makes no sense.
    #[error("profile {profile}: {place} {message}")]
    Invalid {
        /// The profile's id.
        profile: String,
        /// The key.
        place: String,
        /// What is wrong with it and what would be accepted.
        message: String,
    },
    /// A name that no built-in profile bears.
    #[error("unknown profile `{name}`: expected {} or the path of a .toml file", accepted.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The built-in profiles.
        accepted: Vec<String>,
    },
    /// The profile is of another GPU.
    #[error("profile {profile} was measured on {measured}, not on {asked}")]
    OtherGpu {
        /// The profile's id.
        profile: String,
        /// Its GPU.
        measured: String,
        /// The GPU asked for.
        asked: String,
    },
    /// The profile has no table for what a model needs.
    #[error("profile {profile} has no {what}: {has}; `source = \"datasheet\"` needs none")]
    Lacks {
        /// The profile's id.
        profile: String,
        /// What is needed.
        what: String,
        /// What there is instead.
        has: String,
    },
}

/// What kernel timings do not show: launches, the host, and how long computing can be kept up. None is 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overheads {
    /// Time between two steps that overlaps with nothing, in microseconds.
    pub step_gap_us: f64,
    /// Time of the host for each step, in microseconds: hidden behind the GPU with asynchronous scheduling.
    pub host_step_us: f64,
    /// Time of the host for each sequence in a step, in microseconds.
    pub host_sequence_us: f64,
    /// Latency of the element-wise kernels in each layer, in microseconds.
    pub elementwise_floor_us: f64,
    /// Memory bandwidth that element-wise kernels and sampling reach, in GB/s.
    pub elementwise_gb_s: f64,
    /// By how much sustained computing is slower than the kernels that were timed: the power limit.
    pub sustained_slowdown: f64,
    /// Where these figures are from.
    pub source: String,
}

/// Kernels timed on one kind of GPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Version of the format: [`FORMAT`].
    pub format: u32,
    /// Name in scenarios.
    pub id: String,
    /// The GPU, by its id in the catalogue.
    pub gpu: String,
    /// The device as its driver calls it.
    pub device: String,
    /// Whose kernels were timed.
    pub kernel_set: String,
    /// Where the timings come from.
    pub source: String,
    /// Their licence.
    pub licence: String,
    /// When they were measured.
    pub measured: String,
    /// When this file was made from them.
    pub fitted: String,
    /// Says of a profile that is not of this GPU's timings what it was derived from, and how far it may be off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<String>,
    /// What kernel timings do not show.
    pub overheads: Overheads,
    /// Matrix multiplications, a table a precision.
    pub gemm: Vec<GemmTable>,
    /// Decode attention, a row a shape.
    pub decode_attention: Vec<DecodeAttention>,
    /// Prefill attention, a row a shape.
    pub prefill_attention: Vec<PrefillAttention>,
    /// Element-wise kernels, a row a kernel and width; without any, they are worked out from the overheads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elementwise: Vec<ElementwiseTable>,
    /// Drawing tokens, a row a vocabulary; without any, it is worked out from the overheads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sampling: Vec<SamplingTable>,
    /// Expert layers, a row a shape.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub experts: Vec<ExpertTable>,
    /// All-reduces, a row a number of GPUs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub all_reduce: Vec<AllReduceTable>,
}

/// A profile that is built in: read when it is first needed.
struct Builtin {
    id: &'static str,
    gpu: &'static str,
    profile: LazyLock<Profile>,
}

static BUILTIN: [Builtin; 2] = [
    Builtin {
        id: "h100-sxm-vllm-0.24",
        gpu: "h100-sxm",
        profile: LazyLock::new(|| {
            super::unpack(include_bytes!(concat!(env!("OUT_DIR"), "/h100-sxm-vllm-0.24.msgpack")))
        }),
    },
    Builtin {
        id: "h200-sxm-tenfold",
        gpu: "h200-sxm",
        profile: LazyLock::new(|| {
            super::unpack(include_bytes!(concat!(env!("OUT_DIR"), "/h200-sxm-tenfold.msgpack")))
        }),
    },
];

impl Profile {
    /// Reads a profile. `origin` names it in errors.
    ///
    /// # Errors
    /// What is no TOML, no profile, or makes no sense, with its place.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ProfileError> {
        let profile: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
            let place = line.map_or_else(String::new, |line| format!("line {line}: "));
            ProfileError::Parse { origin: origin.to_owned(), message: format!("{place}{}", error.message()) }
        })?;
        profile.check()?;
        Ok(profile)
    }

    /// Reads a profile from a file.
    ///
    /// # Errors
    /// As [`Profile::parse`], and what keeps the file from being read.
    pub fn open(path: &Path) -> Result<Self, ProfileError> {
        let shown = path.display().to_string();
        let refuse = |message: String| ProfileError::Io { path: shown.clone(), message };
        let length = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?.len();
        if length > MAX_FILE {
            return Err(refuse(format!("{length} bytes: expected a profile of at most {MAX_FILE}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
        Self::parse(&text, &shown)
    }

    /// The profiles that are built in.
    pub fn builtin() -> impl ExactSizeIterator<Item = &'static Self> {
        BUILTIN.iter().map(|builtin| &*builtin.profile)
    }

    /// A built-in profile by its name.
    ///
    /// # Errors
    /// [`ProfileError::Unknown`], with the names there are.
    pub fn named(name: &str) -> Result<&'static Self, ProfileError> {
        let found = BUILTIN.iter().find(|builtin| builtin.id == name);
        found.map(|builtin| &*builtin.profile).ok_or_else(|| ProfileError::Unknown {
            name: name.to_owned(),
            accepted: BUILTIN.iter().map(|builtin| builtin.id.to_owned()).collect(),
        })
    }

    /// The built-in profile of a GPU of the catalogue, where there is one.
    pub fn of_gpu(gpu: &str) -> Option<&'static Self> {
        BUILTIN.iter().find(|builtin| builtin.gpu == gpu).map(|builtin| &*builtin.profile)
    }

    /// Whose timings it is of.
    pub fn calibration(&self) -> Calibration {
        match &self.estimate {
            Some(_) => Calibration::Estimate,
            None if self.kernel_set.starts_with(OWN_KERNELS) => Calibration::Measured,
            None => Calibration::Imported,
        }
    }

    fn lacks(&self, what: impl Into<String>, has: impl Into<String>) -> ProfileError {
        ProfileError::Lacks { profile: self.id.clone(), what: what.into(), has: has.into() }
    }
}

impl Default for Overheads {
    fn default() -> Self {
        Self {
            step_gap_us: 100.0,
            host_step_us: 1500.0,
            host_sequence_us: 8.0,
            elementwise_floor_us: 6.0,
            elementwise_gb_s: 2780.0,
            sustained_slowdown: 1.11,
            source:
                "assumptions, in agreement with one server (Qwen3-14B, bf16, H100, vLLM 0.23, 2 requests/s); \
                     elementwise_gb_s as measured for reading weights; sustained_slowdown within 1.06 to 1.17"
                    .into(),
        }
    }
}
