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

pub mod bench;
pub mod calibrate;
pub mod compare;
pub mod golden;
pub mod language;
pub mod otel;
pub mod plan;
pub mod profile;
pub mod report;
pub mod results;
pub mod run;
pub mod scenario;
pub mod stress;
pub mod sweep;
pub mod workload;

pub use golden::bless;
pub use language::{LibraryScenario, Loaded, ScenarioError, library, load, parse, schema};
pub use run::{check, run};
pub use scenario::Scenario;
pub use sim_models::units;
