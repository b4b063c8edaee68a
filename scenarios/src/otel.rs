//! A scenario to start from, out of OpenTelemetry traces of a real system: services become components, the time between
//! spans their own work, client spans the calls between them, `gen_ai.*` attributes models with lengths in tokens.
//!
//! ```no_run
//! use scenarios::otel::{ImportOptions, import};
//! let imported = import("traces.json".as_ref(), &ImportOptions::default())?;
//! std::fs::write("imported.toml", &imported.text).unwrap();
//! for note in &imported.notes {
//!     eprintln!("{note}");
//! }
//! # Ok::<(), scenarios::ScenarioError>(())
//! ```

mod build;
mod law;
mod models;
mod read;
mod sessions;
mod tally;
#[cfg(test)]
mod tests;
mod visits;

use std::path::Path;

use crate::language::ScenarioError;
use tally::Tally;
use visits::Visits;

/// What traces do not say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ImportOptions {
    /// Share of the requests that were traced, above 0, at most 1. By default what the sampler wrote into the trace state
    /// (`ot=th`), or 1.
    pub sampled: Option<f64>,
    /// The GPU (by its id in the catalogue) that models of the catalogue are to run on, as `llm` pools. By default every
    /// model is an `external_api` with the times that were measured.
    pub gpu: Option<String>,
    /// Replay the arrivals as they were recorded, from files whose names begin with this. By default requests arrive at
    /// random at the rate that was seen.
    pub replay: Option<String>,
}

/// A scenario made of traces.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The scenario, with what was assumed in comments at its top.
    pub text: String,
    /// With [`ImportOptions::replay`], names and contents of the traces that stand beside it.
    pub traces: Vec<(String, String)>,
    /// What the traces could not tell, and what is assumed instead.
    pub notes: Vec<String>,
    /// Spans read.
    pub spans: usize,
    /// Requests from outside.
    pub requests: usize,
}

/// Makes a scenario of a file of traces: OTLP in JSON, as the collector's `file` exporter writes it, plain or gzipped.
///
/// # Errors
/// A file that cannot be read or has fewer than two requests, an option out of its range, a GPU that the models do not
/// fit.
pub fn import(path: &Path, options: &ImportOptions) -> Result<Imported, ScenarioError> {
    if let Some(share) = options.sampled.filter(|share| !(*share > 0.0 && *share <= 1.0)) {
        return Err(ScenarioError::new(format!("a share of {share:?} of the requests is traced"))
            .with_help("expected a number above 0, at most 1, such as 0.1"));
    }
    let spans = read::read(path)?;
    let visits = Visits::new(&spans);
    let tally = Tally::new(&visits);
    build::build(path, &spans, &visits, &tally, options)
}
