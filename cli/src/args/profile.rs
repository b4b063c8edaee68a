//! `tenfold profile`: profiles of GPUs from timed kernels.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub enum ProfileCommand {
    /// Read tables of kernel timings and write a profile
    Import(ImportArgs),
    /// Fit a profile to what tenfold-microbench measured
    Fit(FitArgs),
    /// Estimate the profile of a GPU that nobody measured from that of another, by datasheet ratios
    Derive(DeriveArgs),
}

/// The profile that is made.
#[derive(Debug, Args)]
pub struct NewProfile {
    /// Name of the profile: small letters, digits, `-`, `.` and `_`
    #[arg(long)]
    pub id: String,
    /// The GPU, by its id in the catalogue
    #[arg(long)]
    pub gpu: String,
    /// Today, as the profile states it
    #[arg(long, default_value = "unknown")]
    pub fitted: String,
    /// Profile file to write; it must not exist
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,
}

/// What measurements do not say of themselves.
#[derive(Debug, Args)]
pub struct Origin {
    /// The licence of the measurements
    #[arg(long, default_value = "Apache-2.0")]
    pub licence: String,
    /// When they were made
    #[arg(long, default_value = "unknown")]
    pub measured: String,
}

#[derive(Debug, Args)]
pub struct FitArgs {
    /// What tenfold-microbench wrote (JSON lines, plain or .gz)
    pub raw: PathBuf,
    #[command(flatten)]
    pub profile: NewProfile,
    #[command(flatten)]
    pub origin: Origin,
}

#[derive(Debug, Args)]
pub struct DeriveArgs {
    /// The measured profile: a built-in one by its name, or a file (.toml)
    pub from: String,
    #[command(flatten)]
    pub profile: NewProfile,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tables {
    Aiconfigurator,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Layout of the tables
    #[arg(long, value_enum)]
    pub from: Tables,
    /// Folder of the tables
    pub dir: PathBuf,
    #[command(flatten)]
    pub profile: NewProfile,
    #[command(flatten)]
    pub origin: Origin,
    /// Where the tables come from
    #[arg(long, default_value = "ai-dynamo/aiconfigurator")]
    pub source: String,
}
