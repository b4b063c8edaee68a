//! What `tenfold validate` is told.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["redis", "engine", "raw", "published"]))]
pub struct ValidateArgs {
    /// Start a Redis on loopback, and predict reads of 50 and 100 features from those of 1 and 10
    #[arg(long)]
    pub redis: bool,
    /// Predict the runs of a serving engine that validation/engine/suite.py wrote to this directory
    #[arg(long, value_name = "DIR")]
    pub engine: Option<PathBuf>,
    /// Hold a GPU's profile against what tenfold-microbench measured and the fit did not see
    #[arg(long, value_name = "FILE", requires = "profile")]
    pub raw: Option<PathBuf>,
    /// The profile: a built-in one by its name, or a file (.toml)
    #[arg(long, value_name = "PROFILE", requires = "raw")]
    pub profile: Option<String>,
    /// Predict what others published: serving, kernels, features and loading times, as far as this directory has them
    #[arg(long, value_name = "DIR")]
    pub published: Option<PathBuf>,
    /// Write the report (Markdown, HTML, pictures) to this directory; of --engine also the scenarios that predict it
    #[arg(long, value_name = "DIR", conflicts_with = "redis")]
    pub out: Option<PathBuf>,
    /// The server program
    #[arg(long, value_name = "PROGRAM", default_value = "redis-server")]
    pub redis_server: String,
    /// Rounds in which all reads take turns
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// No progress on stderr
    #[arg(long, short)]
    pub quiet: bool,
}
