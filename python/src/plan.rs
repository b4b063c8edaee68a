//! `plan`, and what it gives.

use std::path::PathBuf;

use polars::prelude::DataFrame;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use scenarios::plan::{Plan, PlanOptions, Target, warm_axis};
use scenarios::report::Report as Page;
use scenarios::report::plan::Planned;
use scenarios::run::{RunOptions, RunProgress};
use scenarios::units::Rate;

use crate::convert::{Options, axes, python};
use crate::error::{of_scenario, of_value};
use crate::frame::Frame;
use crate::report::Report;
use crate::scenario::Scenario;
use crate::work::without_gil;

/// The cheapest configuration that keeps to the SLO.
#[pyclass(frozen, module = "tenfold")]
pub struct PlanResult {
    best: Option<(Vec<(String, String)>, String)>,
    frame: DataFrame,
    json: serde_json::Value,
    page: Page,
    answer: Vec<String>,
    directory: PathBuf,
}

#[pymethods]
impl PlanResult {
    /// Values of the answer by path, as a scenario file writes them; ``None`` when no configuration holds.
    #[getter]
    fn best<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Some((settings, _)) = &self.best else { return Ok(None) };
        let best = PyDict::new(py);
        for (path, value) in settings {
            best.set_item(path, value)?;
        }
        Ok(Some(best))
    }

    /// The answer as a scenario, at the load of the one that was planned for.
    fn scenario(&self, py: Python<'_>) -> PyResult<Option<Scenario>> {
        let Some((_, text)) = &self.best else { return Ok(None) };
        let loaded = scenarios::parse(text, "plan", &self.directory, &[]);
        Ok(Some(Scenario { loaded: loaded.map_err(|error| of_scenario(py, &error))? }))
    }

    /// The answer in sentences.
    #[getter]
    fn findings(&self) -> Vec<String> {
        self.answer.clone()
    }

    /// What was run, the cheapest first.
    #[getter]
    fn configurations(&self) -> Frame {
        Frame::new("plan", self.frame.clone())
    }

    /// Everything as a dict.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        python(py, &self.json)
    }

    /// The report with its pictures.
    fn report(&self) -> Report {
        Report { page: self.page.clone() }
    }

    fn __repr__(&self) -> String {
        let best = self.best.as_ref().map_or_else(
            || "no configuration holds".to_owned(),
            |(settings, _)| {
                let sets: Vec<String> =
                    settings.iter().map(|(path, value)| format!("{path}={value}")).collect();
                sets.join(" ")
            },
        );
        format!("<PlanResult {best}>")
    }

    fn _repr_html_(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        slf.py().import("tenfold._html")?.call_method1("experiment", (slf,))
    }
}

/// What is asked.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Question<'py> {
    axes: Option<Bound<'py, PyDict>>,
    rate: Option<String>,
    users: Option<u32>,
    requests_per_user: Option<String>,
    max_replicas: Option<u32>,
    warm: Option<String>,
    pareto: Option<usize>,
    tornado: Option<Vec<String>>,
    out: Option<PathBuf>,
    resume: bool,
}

/// Looks for the plan.
#[pyfunction]
pub fn plan(
    py: Python<'_>,
    scenario: &Scenario,
    question: Question<'_>,
    options: Options<'_>,
    tell: Option<&Bound<'_, PyAny>>,
) -> PyResult<PlanResult> {
    let loaded = &scenario.loaded;
    let rate = |argument: &str, text: &Option<String>| -> PyResult<Option<Rate>> {
        let Some(text) = text else { return Ok(None) };
        let rate: Rate = text.parse().map_err(|error| of_value(argument, error))?;
        match rate.per_second() > 0.0 {
            true => Ok(Some(rate)),
            false => Err(of_value(argument, format!("{text}: expected a rate above 0, such as 120/s"))),
        }
    };
    let run = options.read()?;
    let target = match (rate("rate", &question.rate)?, question.users) {
        (Some(rate), _) => Target::Rate(rate),
        (None, Some(users)) => Target::Users(users, rate("requests_per_user", &question.requests_per_user)?),
        (None, None) => Target::Scale(run.scale),
    };
    let shown = |error| of_scenario(py, &error);
    let run = RunOptions { scale: target.scale(&loaded.scenario).map_err(shown)?, ..run };
    let axes = match &question.warm {
        Some(component) => vec![warm_axis(loaded, component).map_err(shown)?],
        None => axes(question.axes.as_ref())?,
    };
    let Question { max_replicas, warm, pareto, tornado, out, resume, .. } = question;
    let options = PlanOptions { axes, most: max_replicas, fewest: warm.is_some(), run };
    let progress = RunProgress::new();
    let work = || {
        let mut plan = Plan::new(loaded, options, &progress)?;
        if let Some(dir) = &out {
            plan.keep_in(dir, resume)?;
        }
        let found = plan.search()?;
        let effects = match (&found.best, &tornado) {
            (Some(best), Some(paths)) => plan.tornado(best, paths)?,
            _ => Vec::new(),
        };
        let front = pareto.map(|more| plan.front(more)).transpose()?.unwrap_or_default();
        let best = found
            .best
            .as_ref()
            .map(|best| plan.scenario(best).map(|scenario| (best.settings.clone(), scenario.to_toml())));
        let planned = Planned {
            loaded,
            target,
            warm: warm.as_deref(),
            plan: &plan,
            found: &found,
            front: &front,
            effects: &effects,
        };
        Ok(PlanResult {
            best: best.transpose()?,
            frame: plan.frame(&found, &front),
            json: plan.to_json(&found, &front, &effects),
            page: planned.report(),
            answer: planned.answer(),
            directory: loaded.base_dir().to_owned(),
        })
    };
    without_gil(py, &progress, tell, work)?.map_err(shown)
}
