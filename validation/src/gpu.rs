//! A profile of a GPU beside measurements that it was not fitted to.
//!
//! Predicted are single kernels of real models' shapes and of the largest sizes, whole passes, and the passes of
//! simulated streams, by the profile and, to show what measuring buys, by the datasheet alone. Kernels that the profile
//! was fitted to are left out.

mod badges;
mod beside;
mod measured;
mod page;
#[cfg(test)]
mod tests;

use sim_models::hardware::catalogue::{self, Gpu};
use sim_models::hardware::datasheet::Efficiency;
use sim_models::hardware::fitted::Fitted;
use sim_models::hardware::kernels::{Kernel, precision};
use sim_models::hardware::microbench::{Format, Line, PassShape, Raw};
use sim_models::hardware::precision::Precision;
use sim_models::hardware::profile::{Profile, is_held_back};
use sim_models::hardware::timing::{StepFunction, TICKS_PER_NANO};
use thiserror::Error;

pub use badges::gpus_md;
pub use beside::Beside;
pub use measured::{ALIKE, Ceiling, Measured};

/// Why a profile cannot be held against measurements.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum GpuCheckError {
    /// Nothing was held back, or nothing of it can be predicted.
    #[error(
        "{0}: nothing in it was held back from a fit; expected a run of tenfold-microbench that got further"
    )]
    Nothing(String),
    /// A model or GPU that is not in the catalogue.
    #[error(transparent)]
    Hardware(#[from] sim_models::hardware::HardwareError),
}

/// What is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Matrix products.
    Gemm,
    /// Decode attention of a layer.
    DecodeAttention,
    /// Prefill attention of a layer.
    PrefillAttention,
    /// The three before, together.
    Kernels,
    /// Whole passes that decode.
    DecodePass,
    /// Whole passes of prompts.
    PrefillPass,
    /// Whole passes of both.
    MixedPass,
    /// The sum of a stream's passes.
    Stream,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Gemm,
        Self::DecodeAttention,
        Self::PrefillAttention,
        Self::Kernels,
        Self::DecodePass,
        Self::PrefillPass,
        Self::MixedPass,
        Self::Stream,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gemm => "matrix products",
            Self::DecodeAttention => "decode attention",
            Self::PrefillAttention => "prefill attention",
            Self::Kernels => "kernels together",
            Self::DecodePass => "decode passes",
            Self::PrefillPass => "prefill passes",
            Self::MixedPass => "mixed passes",
            Self::Stream => "streams, total time",
        }
    }

    /// Whether this is one of `operation`.
    pub fn is_of(self, operation: Self) -> bool {
        let kernels = [Self::Gemm, Self::DecodeAttention, Self::PrefillAttention];
        self == operation || operation == Self::Kernels && kernels.contains(&self)
    }

    /// The largest median and 90th percentile of errors that pass; none where the errors count with others alone.
    /// Of mixed passes and streams there are few: their median is bounded, of streams the worst.
    pub fn bounds(self) -> Option<(f64, f64)> {
        match self {
            Self::Gemm | Self::DecodeAttention | Self::PrefillAttention => None,
            Self::Kernels => Some((0.05, 0.15)),
            Self::DecodePass => Some((0.05, 0.10)),
            Self::PrefillPass => Some((0.07, 0.12)),
            Self::MixedPass => Some((0.08, 0.16)),
            Self::Stream => Some((0.05, 0.05)),
        }
    }
}

/// One measurement and what was predicted.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// What it is.
    pub operation: Operation,
    /// Number format of the weights (of attention: of the KV cache).
    pub precision: Precision,
    /// In words.
    pub what: String,
    /// Microseconds.
    pub measured_us: f64,
    /// By the profile, in microseconds.
    pub profile_us: f64,
    /// By the datasheet, in microseconds.
    pub datasheet_us: f64,
}

impl Compared {
    /// Predicted over measured, less one.
    pub fn error(&self) -> f64 {
        self.profile_us / self.measured_us - 1.0
    }

    /// The same by the datasheet.
    pub fn datasheet_error(&self) -> f64 {
        self.datasheet_us / self.measured_us - 1.0
    }

    /// How long it takes, roughly.
    pub fn regime(&self) -> &'static str {
        match self.measured_us {
            us if us < 10.0 => "under 10 us",
            us if us < 50.0 => "10 to 50 us",
            us if us < 200.0 => "50 to 200 us",
            us if us < 5_000.0 => "0.2 to 5 ms",
            _ => "over 5 ms",
        }
    }
}

/// The sizes of some errors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sizes {
    /// How many.
    pub count: usize,
    /// The median.
    pub median: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The largest.
    pub worst: f64,
}

impl Sizes {
    /// Of errors with their signs; none of nothing.
    pub fn of(errors: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sizes: Vec<f64> = errors.map(f64::abs).collect();
        sizes.sort_by(f64::total_cmp);
        let last = sizes.len().checked_sub(1)?;
        // The nearest rank that has the share at or below it.
        let rank = |share: f64| sizes[((share * sizes.len() as f64).ceil() as usize).max(1) - 1];
        Some(Self { count: sizes.len(), median: rank(0.5), p90: rank(0.9), worst: sizes[last] })
    }
}

/// Everything that was held back, predicted.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuReport {
    /// The device, as its driver calls it.
    pub device: String,
    /// The profile's id.
    pub profile: String,
    /// Whether the measurements came to their end.
    pub complete: bool,
    /// What was compared.
    pub compared: Vec<Compared>,
    /// What other models say of the same device.
    pub beside: Vec<Beside>,
    /// What could not be predicted, and why.
    pub left_out: Vec<String>,
}

impl GpuReport {
    /// Errors of an operation in a precision.
    pub fn sizes(&self, operation: Operation, precision: Precision, datasheet: bool) -> Option<Sizes> {
        let own = self.compared.iter().filter(|c| c.operation.is_of(operation) && c.precision == precision);
        Sizes::of(own.map(|c| if datasheet { c.datasheet_error() } else { c.error() }))
    }

    /// Operations and precisions that there are, and whether each keeps to its bounds, if it has any.
    pub fn verdicts(&self) -> Vec<(Operation, Precision, Sizes, Option<bool>)> {
        let mut verdicts = Vec::new();
        for operation in Operation::ALL {
            for precision in Precision::ALL {
                if let Some(sizes) = self.sizes(operation, precision, false) {
                    let keeps = |(median, p90)| sizes.median <= median && sizes.p90 <= p90;
                    verdicts.push((operation, precision, sizes, operation.bounds().map(keeps)));
                }
            }
        }
        verdicts
    }

    /// Whether all of them do.
    pub fn passed(&self) -> bool {
        self.verdicts().iter().all(|(.., passed)| *passed != Some(false))
            && self.beside.iter().all(Beside::passed)
    }
}

/// Predicts everything in `raw` that `profile` was not fitted to. `name` names the measurements in errors.
///
/// # Errors
/// A GPU that the catalogue lacks, or nothing to predict.
pub fn check_gpu(raw: &Raw, profile: &Profile, name: &str) -> Result<GpuReport, GpuCheckError> {
    let gpu = catalogue::gpu(&profile.gpu).map_err(sim_models::hardware::HardwareError::from)?;
    let (mut compared, mut left_out) = (Vec::new(), Vec::new());
    for line in raw.lines.iter().filter(|line| is_held_back(line)) {
        match line {
            Line::Pass { model, format, kv, shape, time, .. } => {
                match steps(profile, gpu, model, *format, *kv) {
                    Ok((precision, steps)) => compared.push(Compared {
                        operation: operation_of(shape),
                        precision,
                        what: format!("{model}, {}", words(shape)),
                        measured_us: time.us,
                        profile_us: pass_us(&steps[0], shape),
                        datasheet_us: pass_us(&steps[1], shape),
                    }),
                    Err(why) => left_out.push(why),
                }
            }
            Line::Stream { scenario, component, model, format, kv, us, shapes, .. } => {
                match steps(profile, gpu, model, *format, *kv) {
                    Ok((precision, steps)) => {
                        let sum = |step: &StepFunction| shapes.iter().map(|shape| pass_us(step, shape)).sum();
                        compared.push(Compared {
                            operation: Operation::Stream,
                            precision,
                            what: format!("{scenario}, {component}: {} passes of {model}", us.len()),
                            measured_us: us.iter().sum(),
                            profile_us: sum(&steps[0]),
                            datasheet_us: sum(&steps[1]),
                        });
                    }
                    Err(why) => left_out.push(why),
                }
            }
            line => {
                let Some((kernel, measured_us)) = Kernel::of(line) else { continue };
                let (operation, precision) = match kernel {
                    Kernel::Gemm { precision, .. } => (Operation::Gemm, precision),
                    Kernel::Decode { kv, .. } => (Operation::DecodeAttention, kv),
                    Kernel::Prefill { kv, .. } => (Operation::PrefillAttention, kv),
                };
                let datasheet_us = Efficiency::default().kernel_us(gpu, &kernel);
                match profile.kernel_us(&kernel) {
                    Some(profile_us) => compared.push(Compared {
                        operation,
                        precision,
                        what: format!("{kernel:?}"),
                        measured_us,
                        profile_us,
                        datasheet_us,
                    }),
                    None => left_out.push(format!("{}: no table in {precision}", operation.name())),
                }
            }
        }
    }
    left_out.sort();
    left_out.dedup();
    if compared.is_empty() {
        return Err(GpuCheckError::Nothing(name.to_owned()));
    }
    Ok(GpuReport {
        device: raw.device.name.clone(),
        profile: profile.id.clone(),
        complete: raw.complete,
        compared,
        beside: beside::beside(raw),
        left_out,
    })
}

fn operation_of(shape: &PassShape) -> Operation {
    match (shape.decode.is_empty(), shape.prefill.is_empty()) {
        (false, true) => Operation::DecodePass,
        (true, _) => Operation::PrefillPass,
        (false, false) => Operation::MixedPass,
    }
}

fn words(shape: &PassShape) -> String {
    let pass = shape.pass();
    let chunks: u32 = shape.prefill.iter().map(|(_, chunk)| chunk).sum();
    format!("{} decoding over {} tokens, {chunks} of prompts", shape.decode.len(), pass.decode_context)
}

/// The step functions of a model by the profile and by the datasheet, without a host and gaps between passes: passes
/// are measured on the device alone.
fn steps(
    profile: &Profile,
    gpu: &Gpu,
    model: &str,
    format: Format,
    kv: Format,
) -> Result<(Precision, [StepFunction; 2]), String> {
    let model = catalogue::model(model).map_err(|error| error.to_string())?;
    let (Some(weights), Some(kv)) = (precision(format), precision(kv)) else {
        return Err(format!("no engine serves {format:?}"));
    };
    let bare = Fitted {
        step_gap_us: Some(0.0),
        host_step_us: Some(0.0),
        host_sequence_us: Some(0.0),
        ..Fitted::neutral(profile.overheads.sustained_slowdown, "the device alone")
    };
    let said = |error: sim_models::hardware::HardwareError| format!("{}: {error}", model.id);
    let by_profile = StepFunction::from_profile(profile, gpu, model, weights, kv, 1, true, Some(&bare));
    let datasheet =
        Efficiency { step_gap_us: 0.0, host_step_us: 0.0, host_sequence_us: 0.0, ..Efficiency::default() };
    let by_datasheet = StepFunction::from_datasheet(gpu, model, weights, kv, 1, &datasheet);
    Ok((weights, [by_profile.map_err(said)?, by_datasheet.map_err(said)?]))
}

fn pass_us(step: &StepFunction, shape: &PassShape) -> f64 {
    step.ticks(&shape.pass()) as f64 / TICKS_PER_NANO as f64 / 1e3
}
