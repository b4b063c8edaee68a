//! `calibrate`: step times from a benchmark of one's own server.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use scenarios::calibrate::{self as fitting, CalibrateOptions, Calibrated, Errors};
use scenarios::run::RunProgress;

use crate::error::{of_scenario, of_value};
use crate::scenario::Scenario;
use crate::work::without_gil;

/// Step times of a pool, fitted to a benchmark.
#[pyclass(frozen, module = "tenfold")]
pub struct Calibration {
    calibrated: Calibrated,
    loaded: scenarios::Loaded,
}

/// Predicted over measured, less one, by figure.
fn told<'py>(py: Python<'py>, errors: &Errors) -> PyResult<Bound<'py, PyDict>> {
    let all = PyDict::new(py);
    all.set_item("ttft_mean", errors.ttft_mean)?;
    all.set_item("ttft_p99", errors.ttft_p99)?;
    all.set_item("tpot_mean", errors.tpot_mean)?;
    all.set_item("latency_mean", errors.latency_mean)?;
    all.set_item("latency_p99", errors.latency_p99)?;
    Ok(all)
}

#[pymethods]
impl Calibration {
    /// The pool.
    #[getter]
    fn component(&self) -> &str {
        &self.calibrated.component
    }

    /// Where its step times come from now, as results name it.
    #[getter]
    fn badge(&self) -> &str {
        &self.calibrated.badge
    }

    /// Predicted over measured, less one, of the requests that it was fitted to; ``None`` of a summary only.
    #[getter]
    fn errors<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.calibrated.fit.as_ref().map(|fit| told(py, &fit.errors)).transpose()
    }

    /// The same of the requests that were held back; ``None`` where none were.
    #[getter]
    fn held_back_errors<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let errors = self.calibrated.fit.as_ref().and_then(|fit| fit.held_back_errors.as_ref());
        errors.map(|errors| told(py, errors)).transpose()
    }

    /// The lines to put into the scenario.
    fn to_toml(&self) -> String {
        self.calibrated.to_toml()
    }

    /// The scenario with them.
    fn scenario(&self, py: Python<'_>) -> PyResult<Scenario> {
        let name = &self.calibrated.component;
        let lines: toml::Table = self.to_toml().parse().map_err(|error| of_value("calibration", error))?;
        let timing = lines["components"][name]["timing"].as_table().into_iter().flatten();
        let key = toml::Value::String(name.clone());
        let sets: Vec<String> =
            timing.map(|(part, value)| format!("components.{key}.timing.{part}={value}")).collect();
        let loaded = self.loaded.with(&sets).map_err(|error| of_scenario(py, &error))?;
        Ok(Scenario { loaded })
    }

    fn __repr__(&self) -> String {
        format!("<Calibration of {}: {}>", self.calibrated.component, self.calibrated.badge)
    }
}

/// Fits a pool's step times to a benchmark.
#[pyfunction]
pub fn calibrate(
    py: Python<'_>,
    scenario: &Scenario,
    bench: PathBuf,
    component: Option<String>,
    hold_back: f64,
) -> PyResult<Calibration> {
    if !(0.0..=0.9).contains(&hold_back) {
        return Err(of_value("hold_back", format!("{hold_back}: expected 0 to 0.9")));
    }
    let options = CalibrateOptions { component, hold_back };
    let work = || fitting::calibrate(&scenario.loaded, &bench, &options);
    let calibrated = without_gil(py, &RunProgress::new(), None, work)?;
    let calibrated = calibrated.map_err(|error| of_scenario(py, &error))?;
    Ok(Calibration { calibrated, loaded: scenario.loaded.clone() })
}
