//! GPUs, models, what fits into memory, and how long a forward pass takes.
//!
//! - [`catalogue`]: GPUs, CPU hosts and models by name, with the source of every figure; models by their
//!   Hugging Face `config.json`.
//! - [`memory`]: weights, activations and the KV cache blocks that remain.
//! - [`timing`]: the integer [`StepFunction`](timing::StepFunction) of a forward pass, whatever its
//!   source, and its closed form over a run of decode steps.
//! - [`datasheet`]: a step function from datasheet peaks and efficiencies, *uncalibrated*.
//! - [`profile`]: a step function from kernels timed on the GPU.
//! - [`kernels`]: single kernels, by a profile or the datasheet.
//! - [`microbench`]: the raw measurements that a profile can be fitted to.
//! - [`fitted`]: what a user's own measurements of a server change in either.
//!
//! ```
//! use sim_models::hardware::catalogue::{gpu, model};
//! use sim_models::hardware::datasheet::Efficiency;
//! use sim_models::hardware::precision::Precision;
//! use sim_models::hardware::timing::{Pass, StepFunction, nanos_ceil};
//!
//! let (gpu, model) = (gpu("h100-sxm")?, model("llama-3.1-8b")?);
//! let (bf16, tensor_parallel) = (Precision::Bf16, 1);
//! let step = StepFunction::from_datasheet(gpu, model, bf16, bf16, tensor_parallel, &Efficiency::default())?;
//! let pass = Pass { sequences: 1, new_tokens: 1, decode_context: 500, ..Pass::default() };
//! let seconds = nanos_ceil(step.ticks(&pass)).as_secs_f64();
//! assert!(seconds > 15.01e9 / 3.35e12, "no faster than its weights can be read");
//! # Ok::<(), sim_models::hardware::HardwareError>(())
//! ```

pub mod catalogue;
pub mod datasheet;
mod experts;
pub mod fitted;
pub mod kernels;
pub mod kv_groups;
pub mod memory;
pub mod microbench;
mod numbers;
pub mod precision;
pub mod profile;
pub mod timing;

use thiserror::Error;

use precision::Precision;

/// Reads built-in data as the build script packed them.
pub(crate) fn unpack<T: serde::Deserialize<'static>>(packed: &'static [u8]) -> T {
    rmp_serde::from_slice(packed).unwrap_or_else(|error| panic!("built-in data: {error}"))
}

/// The numbers of GPUs that one replica of a model may be split over (one host).
pub const TENSOR_PARALLEL: [u64; 4] = [1, 2, 4, 8];

/// How a model lies on GPUs. A number stands for tensor parallelism alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// GPUs that each matrix is split over: 1, 2, 4 or 8.
    pub tensor_parallel: u64,
    /// Engines that share out the experts of a layer among them (expert parallelism), each with attention, KV
    /// cache and requests of its own: 1, 2, 4 or 8, and at most 8 GPUs with `tensor_parallel`.
    pub data_parallel: u64,
}

impl Placement {
    /// GPUs that experts are shared out over.
    pub fn gpus(self) -> u64 {
        self.tensor_parallel.saturating_mul(self.data_parallel)
    }
}

impl From<u64> for Placement {
    fn from(tensor_parallel: u64) -> Self {
        Self { tensor_parallel, data_parallel: 1 }
    }
}

/// Why a choice of hardware, model and settings cannot be.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum HardwareError {
    /// A name that is not in the catalogue.
    #[error(transparent)]
    UnknownName(#[from] catalogue::UnknownName),
    /// A `config.json` that cannot be used.
    #[error(transparent)]
    ModelFile(#[from] catalogue::ModelFileError),
    /// A model that generates no text.
    #[error("{0} is an encoder: it generates no text and keeps no KV cache")]
    Encoder(String),
    /// A number format that no kernels exist for.
    #[error("no engine has kernels for {precision} weights on {gpu}: expected {}", names(.accepted))]
    NoKernels {
        /// The format asked for.
        precision: Precision,
        /// Catalogue id of the GPU.
        gpu: String,
        /// The formats that there are kernels for.
        accepted: Vec<Precision>,
    },
    /// A format of experts' weights, for a model that has none.
    #[error("{precision} is a format of experts' weights, and {model} has none: expected {}", names(.accepted))]
    NoExperts {
        /// The format asked for.
        precision: Precision,
        /// Catalogue id of the model.
        model: String,
        /// The other formats that there are kernels for.
        accepted: Vec<Precision>,
    },
    /// A model split over several CPU hosts.
    #[error("{gpus} of {gpu} for one model: expected 1, as a model is not split over hosts")]
    SplitHost {
        /// The number of hosts asked for.
        gpus: u64,
        /// Catalogue id of the host.
        gpu: String,
    },
    /// A tensor parallelism that no engine offers.
    #[error("tensor_parallel = {0}: expected 1, 2, 4 or 8")]
    TensorParallel(u64),
    /// A tensor parallelism that does not divide the model's attention heads.
    #[error(
        "tensor_parallel = {tensor_parallel} does not divide {model}: it has {heads} attention heads and {kv_heads} key-value heads"
    )]
    Indivisible {
        /// The number of GPUs asked for.
        tensor_parallel: u64,
        /// Catalogue id of the model.
        model: String,
        /// Its attention heads.
        heads: u64,
        /// Its key-value heads.
        kv_heads: u64,
    },
    /// Engines that cannot share out experts.
    #[error(
        "data_parallel_size = {data_parallel} for {model}: expected 1, 2, 4 or 8 engines, at most 8 GPUs \
         together, and a model with experts to share out"
    )]
    DataParallel {
        /// The number of engines asked for.
        data_parallel: u64,
        /// Catalogue id of the model.
        model: String,
    },
    /// A precision that no engine keeps the KV cache in.
    #[error("kv_precision = {0}: expected fp32, fp16, bf16, fp8 or int8")]
    KvPrecision(Precision),
    /// A number outside its range.
    #[error("{name} = {value}: expected {expected}")]
    OutOfRange {
        /// The parameter.
        name: &'static str,
        /// What was given.
        value: f64,
        /// What is accepted.
        expected: &'static str,
    },
    /// The model does not fit into the memory of the GPUs.
    #[error(transparent)]
    DoesNotFit(#[from] memory::DoesNotFit),
    /// A profile that cannot be read or used.
    #[error(transparent)]
    Profile(#[from] profile::ProfileError),
}

fn names(precisions: &[Precision]) -> String {
    let names: Vec<_> = precisions.iter().map(Precision::to_string).collect();
    names.join(", ")
}

/// Checks that `gpu` has kernels for weights in `precision` and that `model` can be placed on several of them
/// so.
///
/// # Errors
/// [`HardwareError::NoKernels`], [`HardwareError::NoExperts`], [`HardwareError::SplitHost`], [`HardwareError::DataParallel`], and as
/// [`check_tensor_parallel`].
pub fn check_placement(
    gpu: &catalogue::Gpu,
    model: &catalogue::Model,
    precision: Precision,
    placement: Placement,
) -> Result<(), HardwareError> {
    let Placement { tensor_parallel, data_parallel } = placement;
    let accepted = || {
        let of_model = |other: &Precision| model.experts > 1 || *other != Precision::Mxfp4;
        Precision::ALL
            .into_iter()
            .filter(|other| of_model(other) && !gpu.unsupported.contains(other))
            .collect()
    };
    if gpu.unsupported.contains(&precision) {
        return Err(HardwareError::NoKernels { precision, gpu: gpu.id.clone(), accepted: accepted() });
    }
    if precision == Precision::Mxfp4 && model.experts == 1 {
        return Err(HardwareError::NoExperts { precision, model: model.id.clone(), accepted: accepted() });
    }
    check_tensor_parallel(model, tensor_parallel)?;
    if data_parallel != 1 && (model.experts == 1 || !TENSOR_PARALLEL.contains(&placement.gpus())) {
        return Err(HardwareError::DataParallel { data_parallel, model: model.id.clone() });
    }
    if gpu.is_host() && placement.gpus() > 1 {
        return Err(HardwareError::SplitHost { gpus: placement.gpus(), gpu: gpu.id.clone() });
    }
    Ok(())
}

/// Checks that `model` can be split over `tensor_parallel` GPUs: whole attention heads on each, and
/// key-value heads either divided or, where there are fewer than GPUs, replicated.
///
/// # Errors
/// [`HardwareError::TensorParallel`] or [`HardwareError::Indivisible`].
pub fn check_tensor_parallel(model: &catalogue::Model, tensor_parallel: u64) -> Result<(), HardwareError> {
    if !TENSOR_PARALLEL.contains(&tensor_parallel) {
        return Err(HardwareError::TensorParallel(tensor_parallel));
    }
    let kv_divides =
        model.kv_heads.is_multiple_of(tensor_parallel) || tensor_parallel.is_multiple_of(model.kv_heads);
    if model.heads.is_multiple_of(tensor_parallel) && kv_divides {
        return Ok(());
    }
    Err(HardwareError::Indivisible {
        tensor_parallel,
        model: model.id.clone(),
        heads: model.heads,
        kv_heads: model.kv_heads,
    })
}
