//! The scenario language, the experiments on scenarios, and their results: the one front door. Whatever
//! a front end can do, it does with these calls.
//!
//! ```
//! use scenarios::run::{RunOptions, RunProgress};
//!
//! let text = r#"
//!     name = "One server"
//!     [run]
//!     duration = "10m"
//!     replications = 2
//!     [traffic.web]
//!     arrivals = { process = "poisson", rate = "8/s" }
//!     entry = "db"
//!     [components.db]
//!     kind = "service"
//!     service_time = { exponential = { mean = "100ms" } }
//! "#;
//! let loaded = scenarios::parse(text, "one-server.toml", ".".as_ref(), &[])?;
//! let result = scenarios::run(&loaded, &RunOptions::default(), &RunProgress::new())?;
//! let all = &result.summary_averages()[0];
//! assert!(all.mean("latency_mean_s").is_some_and(|mean| mean > 0.1));
//! # Ok::<(), scenarios::ScenarioError>(())
//! ```

pub mod golden;
pub mod language;
pub mod results;
pub mod run;
pub mod scenario;

pub use golden::bless;
pub use language::{LibraryScenario, Loaded, ScenarioError, library, load, parse, schema};
pub use scenario::Scenario;
pub use sim_models::units;

use results::RunResult;
use run::{RunOptions, RunProgress, Warning};

/// Reads the traces and builds the system of a scenario, but runs nothing.
///
/// # Errors
/// The first thing that cannot be simulated, shown in the file.
pub fn check(loaded: &Loaded, options: &RunOptions) -> Result<Vec<Warning>, ScenarioError> {
    let checked = run::check_scenario(&loaded.scenario, loaded.base_dir(), options);
    checked.map_err(|error| loaded.locate(error))
}

/// Runs a scenario.
///
/// # Errors
/// What cannot be simulated, shown in the file.
pub fn run(
    loaded: &Loaded,
    options: &RunOptions,
    progress: &RunProgress,
) -> Result<RunResult, ScenarioError> {
    let (scenario, hash) = (&loaded.scenario, loaded.hash());
    let result = run::run_scenario(scenario, hash, loaded.base_dir(), options, progress);
    result.map_err(|error| loaded.locate(error))
}
