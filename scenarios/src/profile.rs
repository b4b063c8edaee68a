//! Profiles of GPUs from others' kernel timings.
//!
//! ```no_run
//! use scenarios::profile::{ImportOptions, import_aiconfigurator};
//! let options = ImportOptions { id: "my-h100".into(), gpu: "h100-sxm".into(), ..ImportOptions::default() };
//! let imported = import_aiconfigurator("tables/h100_sxm".as_ref(), &options)?;
//! std::fs::write("my-h100.toml", imported.profile.to_toml()).unwrap();
//! # Ok::<(), sim_models::hardware::profile::ProfileError>(())
//! ```

mod tables;

use std::path::Path;

use sim_models::hardware::HardwareError;
use sim_models::hardware::catalogue;
use sim_models::hardware::microbench::Raw;
use sim_models::hardware::precision::Precision;
use sim_models::hardware::profile::{
    AllReduceRecord, AttentionRecord, ExpertRecord, GemmRecord, Measurements, Overheads, is_held_back,
};
pub use sim_models::hardware::profile::{FitOptions, Profile, ProfileError, ProfileHeader, SlopeFit};
use tables::Table;

/// Token counts that an imported profile keeps: all of a decode batch's and both sides of the steps at which
/// another wave of thread blocks begins.
const TOKENS: [u64; 35] = [
    1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 160, 192, 224, 256, 257, 512, 513, 768, 769, 1024, 1025, 1280, 1536,
    1537, 1792, 2048, 2049, 2304, 2560, 3072, 3584, 4096, 8192, 16_384, 32_768,
];

/// What an import cannot find in the tables.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportOptions {
    /// Name of the profile: small letters, digits, `-`, `.` and `_`.
    pub id: String,
    /// The GPU, by its id in the catalogue.
    pub gpu: String,
    /// Where the tables come from.
    pub source: String,
    /// Their licence.
    pub licence: String,
    /// When they were measured.
    pub measured: String,
    /// Today.
    pub fitted: String,
    /// What kernel timings do not show.
    pub overheads: Overheads,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            id: String::new(),
            gpu: String::new(),
            source: "ai-dynamo/aiconfigurator".into(),
            licence: "Apache-2.0".into(),
            measured: "unknown".into(),
            fitted: "unknown".into(),
            overheads: Overheads::default(),
        }
    }
}

/// A profile and how well its straight lines fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The profile.
    pub profile: Profile,
    /// Attention, shape by shape.
    pub fits: Vec<SlopeFit>,
    /// Timings read.
    pub timings: usize,
}

/// The kernel timings of one serving engine on one kind of GPU, as aiconfigurator keeps them.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelTables {
    /// The device as its driver calls it.
    pub device: String,
    /// Whose kernels were timed.
    pub kernel_set: String,
    /// The timings.
    pub measurements: Measurements,
}

impl KernelTables {
    /// Reads the per-operation tables of aiconfigurator in `folder`: `gemm.parquet`, `context_attention.parquet` and
    /// `generation_attention.parquet`, and if they are there `moe.parquet`, `custom_allreduce.parquet` and
    /// `nccl.parquet`.
    ///
    /// bf16, fp8 (one scale a tensor) and, of experts, MXFP4 are taken, attention without a sliding window, and experts routed evenly
    /// on one GPU or split over several (not expert-parallel).
    ///
    /// # Errors
    /// A table that is missing, cannot be read or lacks a column.
    pub fn open(folder: &Path) -> Result<Self, ProfileError> {
        let gemm = Table::open(folder, "gemm.parquet", Some("gemm_dtype"))?;
        let (device, kernel_set) = (
            gemm.constant("device")?,
            format!("{} {}", gemm.constant("framework")?, gemm.constant("version")?),
        );
        let mut measurements = Measurements { gemm: gemm_records(&gemm)?, ..Measurements::default() };
        let decode = Table::open(folder, "generation_attention.parquet", Some("kv_cache_dtype"))?;
        measurements.decode = attention_records(&decode)?;
        let prefill = Table::open(folder, "context_attention.parquet", Some("kv_cache_dtype"))?;
        measurements.prefill = attention_records(&prefill)?;
        if folder.join("moe.parquet").exists() {
            measurements.experts = expert_records(&Table::open(folder, "moe.parquet", Some("moe_dtype"))?)?;
        }
        for (file, dtype, name, operation) in [
            ("custom_allreduce.parquet", "allreduce_dtype", "bfloat16", None),
            ("nccl.parquet", "nccl_dtype", "half", Some("all_reduce")),
        ] {
            if folder.join(file).exists() {
                let table = Table::open(folder, file, Some(dtype))?;
                measurements.all_reduce.extend(all_reduce_records(&table, dtype, name, operation)?);
            }
        }
        Ok(Self { device, kernel_set: kernel_set.replace("VLLM", "vLLM"), measurements })
    }

    /// The profile of these timings.
    ///
    /// # Errors
    /// What makes no profile.
    pub fn profile(&self, options: &ImportOptions) -> Result<Imported, ProfileError> {
        let measurements = &self.measurements;
        let timings = measurements.gemm.len()
            + measurements.decode.len()
            + measurements.prefill.len()
            + measurements.experts.len()
            + measurements.all_reduce.len();
        let header = ProfileHeader {
            id: options.id.clone(),
            gpu: options.gpu.clone(),
            device: self.device.clone(),
            kernel_set: self.kernel_set.clone(),
            source: options.source.clone(),
            licence: options.licence.clone(),
            measured: options.measured.clone(),
            fitted: options.fitted.clone(),
            overheads: options.overheads.clone(),
        };
        let (profile, fits) = measurements.profile(header, &TOKENS)?;
        Ok(Imported { profile, fits, timings })
    }
}

/// The profile of the tables of aiconfigurator in `folder`.
///
/// # Errors
/// As [`KernelTables::open`] and [`KernelTables::profile`].
pub fn import_aiconfigurator(folder: &Path, options: &ImportOptions) -> Result<Imported, ProfileError> {
    KernelTables::open(folder)?.profile(options)
}

/// A profile fitted to measurements of `tenfold-microbench`.
#[derive(Debug, Clone, PartialEq)]
pub struct FromRaw {
    /// The profile.
    pub profile: Profile,
    /// Attention, shape by shape.
    pub fits: Vec<SlopeFit>,
    /// Lines that it was fitted to, or could have been.
    pub timings: usize,
    /// Lines that it was not fitted to, to be predicted.
    pub held_back: usize,
}

/// Fits a profile to a raw file.
///
/// # Errors
/// A file that cannot be read, and as [`Profile::fit`].
pub fn fit_raw(raw: &Path, options: &FitOptions) -> Result<FromRaw, ProfileError> {
    let raw = open_raw(raw)?;
    let (profile, fits) = Profile::fit(&raw, options)?;
    let held_back = raw.lines.iter().filter(|line| is_held_back(line)).count();
    Ok(FromRaw { profile, fits, timings: raw.lines.len() - held_back, held_back })
}

/// Reads a raw file.
///
/// # Errors
/// As [`Raw::open`].
pub fn open_raw(path: &Path) -> Result<Raw, ProfileError> {
    let refused = |error: sim_models::hardware::microbench::RawError| ProfileError::Parse {
        origin: error.line.map_or_else(|| error.path.clone(), |line| format!("{}:{line}", error.path)),
        message: error.message,
    };
    Raw::open(path).map_err(refused)
}

/// A profile by the name of a built-in one, or from a file that ends in `.toml`.
///
/// # Errors
/// As [`Profile::named`] and [`Profile::open`].
pub fn find_profile(name: &str) -> Result<Profile, ProfileError> {
    let path = Path::new(name);
    if path.extension().is_some_and(|extension| extension == "toml") {
        Profile::open(path)
    } else {
        Profile::named(name).cloned()
    }
}

/// The estimate for a GPU that nobody measured: see [`Profile::derived`].
///
/// # Errors
/// An unknown profile or GPU, and as [`Profile::derived`].
pub fn derive_profile(from: &str, gpu: &str, id: &str, fitted: &str) -> Result<Profile, HardwareError> {
    let gpu = catalogue::gpu(gpu)?;
    Ok(find_profile(from)?.derived(gpu, id, fitted)?)
}

/// The precisions that a profile can have.
fn precision(name: &str) -> Option<Precision> {
    match name {
        "bfloat16" => Some(Precision::Bf16),
        "fp8" => Some(Precision::Fp8),
        "int8" => Some(Precision::Int8),
        "w4a16_mxfp4" => Some(Precision::Mxfp4),
        _ => None,
    }
}

fn gemm_records(table: &Table) -> Result<Vec<GemmRecord>, ProfileError> {
    let (dtype, [m, n, k], us) = (table.text("gemm_dtype")?, table.counts(["m", "n", "k"])?, table.micros()?);
    let rows = (0..us.len()).filter_map(|i| {
        Some(GemmRecord { precision: precision(&dtype[i])?, m: m[i], n: n[i], k: k[i], us: us[i] })
    });
    Ok(rows.collect())
}

fn attention_records(table: &Table) -> Result<Vec<AttentionRecord>, ProfileError> {
    let columns = ["batch_size", "isl", "step", "num_heads", "num_key_value_heads", "head_dim"];
    let [batch, isl, step, heads, kv_heads, head_dim] = table.counts(columns)?;
    let (kv, window, us) = (table.text("kv_cache_dtype")?, table.integers("window_size")?, table.micros()?);
    let rows = (0..us.len()).filter(|i| window[*i] <= 0).filter_map(|i| {
        Some(AttentionRecord {
            kv: precision(&kv[i])?,
            batch: batch[i],
            tokens: isl[i] + step[i],
            heads: heads[i],
            // 0 says as many as query heads.
            kv_heads: if kv_heads[i] == 0 { heads[i] } else { kv_heads[i] },
            head_dim: head_dim[i],
            us: us[i],
        })
    });
    Ok(rows.collect())
}

fn expert_records(table: &Table) -> Result<Vec<ExpertRecord>, ProfileError> {
    let columns =
        ["num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size"];
    let [tokens, hidden, inner, active, experts, split, spread] = table.counts(columns)?;
    let (dtype, routing, us) = (table.text("moe_dtype")?, table.text("distribution")?, table.micros()?);
    let rows = (0..us.len())
        .filter(|i| routing[*i] == "balanced" && spread[*i] == 1 && (1..=8).contains(&split[*i]))
        .filter_map(|i| {
            Some(ExpertRecord {
                precision: precision(&dtype[i])?,
                tokens: tokens[i],
                hidden: hidden[i],
                inner: inner[i] / split[i],
                active: active[i],
                experts: experts[i],
                us: us[i],
            })
        });
    Ok(rows.collect())
}

fn all_reduce_records(
    table: &Table,
    dtype: &str,
    name: &str,
    operation: Option<&str>,
) -> Result<Vec<AllReduceRecord>, ProfileError> {
    let ([gpus, elements], us) = (table.counts(["num_gpus", "message_size"])?, table.micros()?);
    let (dtypes, operations) = (table.text(dtype)?, table.text("op_name")?);
    let rows = (0..us.len())
        .filter(|i| dtypes[*i] == name && operation.is_none_or(|operation| operations[*i] == operation))
        .map(|i| AllReduceRecord { gpus: gpus[i], bytes: 2 * elements[i], us: us[i] });
    Ok(rows.collect())
}
