//! Measurements on real systems and checks of the models against them: what is predicted stands beside what is
//! measured.
//!
//! * [`redis`]: reads of features from a real Redis on this machine.
//! * [`engine`]: a serving engine under load, beside what is predicted from its parts.
//! * [`gpu`]: kernels and passes timed by `tenfold-microbench`, and a profile that was not fitted to them.
//! * [`published`]: what others measured and published, where a folder of it is at hand.
//!
//! Measurements of an H200 are kept in `measurements/`; other GPU times come from imported kernel profiles and
//! datasheets, and every result says so.

pub mod engine;
pub mod gpu;
pub mod published;
#[expect(clippy::disallowed_methods, reason = "real time is what is measured")]
pub mod redis;

/// A figure of a scenario's one run: a column of its summary.
fn simulate(text: &str, column: &str) -> Result<f64, scenarios::ScenarioError> {
    let loaded = scenarios::parse(text, "scenario.toml", ".".as_ref(), &[])?;
    let result =
        scenarios::run(&loaded, &scenarios::run::RunOptions::default(), &scenarios::run::RunProgress::new())?;
    Ok(result.summary_averages()[0].mean(column).expect("requests that were answered"))
}
