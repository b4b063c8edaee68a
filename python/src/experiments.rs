//! `run`, `compare` and `validate`, and what they give.

use std::path::PathBuf;

use polars::prelude::DataFrame;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use scenarios::compare as comparing;
use scenarios::report::Report as Page;
use scenarios::results::Format;
use scenarios::run::RunProgress;
use serde_json::json;

use crate::convert::{Options, python};
use crate::error::{of_results, of_scenario, of_value};
use crate::frame::Frame;
use crate::report::Report;
use crate::scenario::Scenario;
use crate::work::without_gil;

/// What a run of a scenario gave.
#[pyclass(frozen, module = "tenfold")]
pub struct RunResult {
    result: scenarios::results::RunResult,
}

/// A format of files by its name.
pub fn format(name: &str) -> PyResult<Format> {
    name.parse().map_err(|error| of_value("format", error))
}

impl RunResult {
    fn frame(
        &self,
        py: Python<'_>,
        name: &str,
        make: fn(&scenarios::results::RunResult) -> DataFrame,
    ) -> Frame {
        py.detach(|| Frame::new(name, make(&self.result)))
    }
}

#[pymethods]
impl RunResult {
    /// Requests by replication, class and tenant.
    #[getter]
    fn summary(&self, py: Python<'_>) -> Frame {
        self.frame(py, "summary", scenarios::results::RunResult::summary)
    }

    /// What each component did.
    #[getter]
    fn components(&self, py: Python<'_>) -> Frame {
        self.frame(py, "components", scenarios::results::RunResult::components)
    }

    /// The system and each component over time, in windows.
    #[getter]
    fn series(&self, py: Python<'_>) -> Frame {
        self.frame(py, "series", scenarios::results::RunResult::series)
    }

    /// The bill.
    #[getter]
    fn costs(&self, py: Python<'_>) -> Frame {
        self.frame(py, "costs", scenarios::results::RunResult::costs)
    }

    /// What became of every expectation of the SLO.
    #[getter]
    fn verdicts(&self, py: Python<'_>) -> Frame {
        self.frame(py, "verdicts", scenarios::results::RunResult::verdicts)
    }

    /// How requests ended, counted in long form.
    #[getter]
    fn outcomes(&self, py: Python<'_>) -> Frame {
        self.frame(py, "outcomes", scenarios::results::RunResult::outcomes)
    }

    /// What only some components have.
    #[getter]
    fn measures(&self, py: Python<'_>) -> Frame {
        self.frame(py, "measures", scenarios::results::RunResult::measures)
    }

    /// Each replica of each pool.
    #[getter]
    fn replicas(&self, py: Python<'_>) -> Frame {
        self.frame(py, "replicas", scenarios::results::RunResult::replicas)
    }

    /// What a Prometheus dashboard would show beside what is so.
    #[getter]
    fn dashboard(&self, py: Python<'_>) -> Frame {
        self.frame(py, "dashboard", scenarios::results::RunResult::dashboard)
    }

    /// Every request by itself, where they were kept (``requests=True``); otherwise ``None``.
    #[getter]
    fn requests(&self, py: Python<'_>) -> Option<Frame> {
        py.detach(|| Some(Frame::new("requests", self.result.requests()?)))
    }

    /// Figures of all requests by the name of their column in ``summary``, averaged over the replications.
    #[getter]
    fn figures<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.whole(py, |average| Some(average.mean))
    }

    /// Half widths of the 95% confidence intervals of ``figures``; none of a single replication.
    #[getter]
    fn half_widths<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.whole(py, |average| average.half_width)
    }

    /// Whether the SLO was met; ``None`` when nothing is expected.
    #[getter]
    fn passed(&self) -> Option<bool> {
        self.result.passed()
    }

    /// What is worth knowing, in sentences, the most important first.
    #[getter]
    fn findings(&self) -> Vec<String> {
        self.result.findings.clone()
    }

    /// Name of the variant.
    #[getter]
    fn variant(&self) -> &str {
        &self.result.variant
    }

    /// Hashes over every event, by replication: equal runs have equal ones.
    #[getter]
    fn fingerprints(&self) -> Vec<String> {
        self.result.provenance.fingerprints.clone()
    }

    /// Where the result comes from: scenario, seed, version, hashes, calibration.
    #[getter]
    fn provenance<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        python(py, &json!(self.result.provenance))
    }

    /// Everything as a dict: provenance, findings and all frames as lists of rows.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        python(py, &py.detach(|| self.result.to_json()))
    }

    /// Writes every frame and ``provenance.json`` to a directory as ``parquet``, ``csv``, ``arrow`` or ``json``. Gives
    /// the paths.
    #[pyo3(signature = (directory, format="parquet"))]
    fn write(&self, py: Python<'_>, directory: PathBuf, format: &str) -> PyResult<Vec<PathBuf>> {
        let format = self::format(format)?;
        py.detach(|| self.result.write(&directory, format)).map_err(|error| of_results(&error))
    }

    /// The report with its pictures.
    fn report(&self, py: Python<'_>) -> Report {
        Report { page: py.detach(|| self.result.report()) }
    }

    /// Draws the run over time and its components, with matplotlib or altair. Gives the figure.
    #[pyo3(signature = (backend=None))]
    fn plot<'py>(slf: Bound<'py, Self>, backend: Option<&str>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("tenfold._plot")?.call_method1("run", (slf, backend))
    }

    fn __repr__(&self) -> String {
        let Page { title, lead, .. } = self.result.report();
        let verdict = match self.passed() {
            None => "nothing is expected",
            Some(true) => "SLO met",
            Some(false) => "SLO missed",
        };
        format!("<RunResult {title:?}: {verdict}; {lead}>")
    }

    fn _repr_html_(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        slf.py().import("tenfold._html")?.call_method1("run", (slf,))
    }
}

/// Columns of numbers in `summary` that say which run it was, and not what came of it.
const WHICH: [&str; 3] = ["multiplier", "replication", "seed"];

impl RunResult {
    fn whole<'py>(
        &self,
        py: Python<'py>,
        figure: fn(&scenarios::results::Average) -> Option<f64>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let figures = PyDict::new(py);
        let rows = self.result.summary_averages();
        let all = rows.first().map(|all| &all.figures).into_iter().flatten();
        for (column, average) in all.filter(|(column, _)| !WHICH.contains(column)) {
            if let Some(value) = figure(average) {
                figures.set_item(column, value)?;
            }
        }
        Ok(figures)
    }
}

/// Several systems under the same traffic and luck.
#[pyclass(frozen, module = "tenfold")]
pub struct Comparison {
    comparison: comparing::Comparison,
}

#[pymethods]
impl Comparison {
    /// A sentence for each of the others.
    #[getter]
    fn findings(&self) -> Vec<&str> {
        self.comparison.findings()
    }

    /// All results, that of the baseline first.
    #[getter]
    fn results(&self) -> Vec<RunResult> {
        self.comparison.results().map(|result| RunResult { result: result.clone() }).collect()
    }

    /// Whether each of the others meets its SLO, by name.
    #[getter]
    fn passed<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let passed = PyDict::new(py);
        for result in self.comparison.results() {
            passed.set_item(&result.variant, result.passed())?;
        }
        Ok(passed)
    }

    /// A frame of all results, one under the other (``summary``, ``components``, ...), or ``differences``.
    fn frame(&self, py: Python<'_>, name: &str) -> PyResult<Frame> {
        let mut frames = py.detach(|| self.comparison.frames());
        let names: Vec<&str> = frames.iter().map(|(name, _)| *name).collect();
        let Some(place) = names.iter().position(|known| *known == name) else {
            return Err(of_value(
                "name",
                format!("there is no `{name}`: expected one of {}", names.join(", ")),
            ));
        };
        Ok(Frame::new(name, frames.swap_remove(place).1))
    }

    /// Paired differences of each of the others from the baseline.
    #[getter]
    fn differences(&self, py: Python<'_>) -> PyResult<Frame> {
        self.frame(py, "differences")
    }

    /// Requests by variant, replication, class and tenant.
    #[getter]
    fn summary(&self, py: Python<'_>) -> PyResult<Frame> {
        self.frame(py, "summary")
    }

    /// Everything as a dict.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        python(py, &py.detach(|| self.comparison.to_json()))
    }

    /// Writes every frame to a directory. Gives the paths.
    #[pyo3(signature = (directory, format="parquet"))]
    fn write(&self, py: Python<'_>, directory: PathBuf, format: &str) -> PyResult<Vec<PathBuf>> {
        let format = self::format(format)?;
        py.detach(|| self.comparison.write(&directory, format)).map_err(|error| of_results(&error))
    }

    /// The report with its pictures.
    fn report(&self, py: Python<'_>) -> Report {
        Report { page: py.detach(|| self.comparison.report()) }
    }

    /// Draws the systems side by side, with matplotlib or altair, by columns of ``figures``. Gives the figure.
    #[pyo3(signature = (columns=None, backend=None))]
    fn plot<'py>(
        slf: Bound<'py, Self>,
        columns: Option<Bound<'py, PyAny>>,
        backend: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("tenfold._plot")?.call_method1("comparison", (slf, columns, backend))
    }

    fn __repr__(&self) -> String {
        let names: Vec<&str> = self.comparison.results().map(|result| result.variant.as_str()).collect();
        format!("<Comparison of {}>", names.join(", "))
    }

    fn _repr_html_(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        slf.py().import("tenfold._html")?.call_method1("comparison", (slf,))
    }
}

/// Runs a scenario.
#[pyfunction]
pub fn run(
    py: Python<'_>,
    scenario: &Scenario,
    options: Options<'_>,
    tell: Option<&Bound<'_, PyAny>>,
) -> PyResult<RunResult> {
    let (options, progress) = (options.read()?, RunProgress::new());
    let run = || scenarios::run(&scenario.loaded, &options, &progress);
    let result = without_gil(py, &progress, tell, run)?.map_err(|error| of_scenario(py, &error))?;
    Ok(RunResult { result })
}

/// Runs several scenarios, or the variants of one.
#[pyfunction]
pub fn compare(
    py: Python<'_>,
    scenarios: Vec<PyRef<'_, Scenario>>,
    variants: Vec<String>,
    baseline: Option<&str>,
    options: Options<'_>,
    tell: Option<&Bound<'_, PyAny>>,
) -> PyResult<Comparison> {
    let (options, progress) = (options.read()?, RunProgress::new());
    let files: Vec<scenarios::Loaded> = scenarios.iter().map(|scenario| scenario.loaded.clone()).collect();
    drop(scenarios);
    let work = || {
        let candidates = comparing::candidates(&files, &variants, baseline)?;
        for candidate in &candidates {
            scenarios::check(candidate, &options)?;
        }
        comparing::compare(&candidates, &options, &progress)
    };
    let comparison = without_gil(py, &progress, tell, work)?.map_err(|error| of_scenario(py, &error))?;
    Ok(Comparison { comparison })
}

/// Reads the traces and builds the system, but runs nothing. Gives warnings.
#[pyfunction]
pub fn validate(py: Python<'_>, scenario: &Scenario, options: Options<'_>) -> PyResult<Vec<String>> {
    let options = options.read()?;
    let check = || {
        let warnings = scenarios::check(&scenario.loaded, &options)?;
        for variant in scenario.loaded.variants()? {
            scenarios::check(&variant?, &options)?;
        }
        Ok(warnings.iter().map(ToString::to_string).collect())
    };
    py.detach(check).map_err(|error| of_scenario(py, &error))
}
