//! `stress`, and what it gives.

use polars::prelude::DataFrame;
use pyo3::prelude::*;
use scenarios::run::RunProgress;
use scenarios::stress::{Grow, StressOptions, StressReport, StressTest};

use crate::convert::{Options, multiple, python};
use crate::error::{of_scenario, of_value};
use crate::frame::Frame;
use crate::report::Report;
use crate::scenario::Scenario;
use crate::work::without_gil;

/// What becomes of a system when its load grows ten times.
#[pyclass(frozen, module = "tenfold")]
pub struct StressResult {
    loaded: scenarios::Loaded,
    report: StressReport,
}

impl StressResult {
    fn frame(&self, name: &str, make: fn(&scenarios::results::RunResult) -> DataFrame) -> PyResult<Frame> {
        let mut all: Option<DataFrame> = None;
        for result in self.report.levels.iter().filter_map(|level| level.result.as_ref().ok()) {
            let frame = make(result);
            match &mut all {
                None => all = Some(frame),
                Some(all) => all.vstack_mut(&frame).map(drop).map_err(|error| of_value(name, error))?,
            }
        }
        Ok(Frame::new(name, all.unwrap_or_default()))
    }
}

#[pymethods]
impl StressResult {
    /// Whether every level passes.
    #[getter]
    fn passed(&self) -> bool {
        self.report.levels.iter().all(|level| level.passes())
    }

    /// The largest multiple that passes and the smallest that does not; ``None`` where there is none.
    #[getter]
    fn limit(&self) -> Option<(Option<f64>, Option<f64>)> {
        self.report.limit.map(|limit| (limit.passes, limit.fails))
    }

    /// The component that breaks first; ``None`` when nothing does.
    #[getter]
    fn first(&self) -> Option<&str> {
        self.report.first.as_ref()?.component.as_deref()
    }

    /// Requests at every multiple, by replication, class and tenant.
    #[getter]
    fn summary(&self) -> PyResult<Frame> {
        self.frame("summary", scenarios::results::RunResult::summary)
    }

    /// What each component did at every multiple.
    #[getter]
    fn components(&self) -> PyResult<Frame> {
        self.frame("components", scenarios::results::RunResult::components)
    }

    /// Everything as a dict: ``levels``, ``limit``, ``tried``, ``first``, ``recommendations``, ``blast``, ``fallbacks``.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        python(py, &self.report.to_json())
    }

    /// The report with its pictures.
    fn report(&self, py: Python<'_>) -> Report {
        Report { page: py.detach(|| self.report.report(&self.loaded)) }
    }

    /// Draws latency and goodput against the load, with matplotlib or altair. Gives the figure.
    #[pyo3(signature = (backend=None))]
    fn plot<'py>(slf: Bound<'py, Self>, backend: Option<&str>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("tenfold._plot")?.call_method1("stress", (slf, backend))
    }

    fn __repr__(&self) -> String {
        let levels: Vec<String> =
            self.report.levels.iter().map(|level| format!("{}x", level.multiple)).collect();
        format!("<StressResult {:?} at {}>", self.loaded.scenario.name, levels.join(", "))
    }

    fn _repr_html_(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        slf.py().import("tenfold._html")?.call_method1("experiment", (slf,))
    }
}

/// How far it goes.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Extent<'py> {
    multipliers: Vec<Bound<'py, PyAny>>,
    grow: String,
    levels_only: bool,
    fallbacks: bool,
}

/// Runs the stress test.
#[pyfunction]
pub fn stress(
    py: Python<'_>,
    scenario: &Scenario,
    extent: Extent<'_>,
    options: Options<'_>,
    tell: Option<&Bound<'_, PyAny>>,
) -> PyResult<StressResult> {
    let Extent { multipliers, grow, levels_only, fallbacks } = extent;
    let multipliers: Vec<f64> =
        multipliers.iter().map(|value| multiple("multipliers", value)).collect::<PyResult<_>>()?;
    let found = Grow::ALL.iter().find(|(name, _)| *name == grow);
    let names: Vec<&str> = Grow::ALL.iter().map(|(name, _)| *name).collect();
    let (_, grow) =
        found.ok_or_else(|| of_value("grow", format!("{grow}: expected one of {}", names.join(", "))))?;
    let progress = RunProgress::new();
    let options = StressOptions { run: options.read()?, multipliers, grow: *grow };
    let work = || {
        let test = StressTest::new(&scenario.loaded, options, &progress)?;
        test.report(!levels_only, fallbacks)
    };
    let report = without_gil(py, &progress, tell, work)?.map_err(|error| of_scenario(py, &error))?;
    Ok(StressResult { loaded: scenario.loaded.clone(), report })
}
