//! `sweep` and `merge`.

use std::path::PathBuf;

use pyo3::exceptions::PyInterruptedError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use scenarios::sweep::{self, Design, Shard, Shards, SweepEnd, SweepOptions, SweepProgress, Tally};

use crate::convert::{Options, axes};
use crate::error::{of_scenario, of_sweep, of_value};
use crate::experiments::format;
use crate::report::Report;
use crate::scenario::Scenario;
use crate::work::without_gil;

/// A scenario and the points at which it will be run.
#[pyclass(frozen, module = "tenfold")]
pub struct Sweep {
    sweep: sweep::Sweep,
}

/// How it is done.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Space<'py> {
    axes: Option<Bound<'py, PyDict>>,
    design: Option<String>,
    samples: Option<u64>,
    shard: String,
    format: String,
    resume: bool,
}

/// What became of the points, as a dict.
fn told<'py>(py: Python<'py>, tally: &Tally, file: Option<PathBuf>) -> PyResult<Bound<'py, PyDict>> {
    let all = PyDict::new(py);
    all.set_item("points", tally.points)?;
    all.set_item("passed", tally.passed)?;
    all.set_item("missed", tally.missed)?;
    all.set_item("failed", tally.failed)?;
    all.set_item("first_error", &tally.first_error)?;
    all.set_item("path", file)?;
    Ok(all)
}

#[pymethods]
impl Sweep {
    /// Reads the axes and chooses the points.
    #[new]
    fn new(py: Python<'_>, scenario: &Scenario, space: Space<'_>, options: Options<'_>) -> PyResult<Self> {
        let design = space.design.map(|name| {
            let names: Vec<&str> = Design::ALL.iter().map(|(name, _)| *name).collect();
            let known = Design::ALL.into_iter().find(|(known, _)| *known == name);
            known
                .map(|(_, design)| design)
                .ok_or_else(|| of_value("design", format!("{name}: expected one of {}", names.join(", "))))
        });
        let shard: Shard = space.shard.parse().map_err(|error| of_value("shard", error))?;
        let options = SweepOptions {
            axes: axes(space.axes.as_ref())?,
            design: design.transpose()?,
            samples: space.samples,
            shard,
            run: options.read()?,
            format: format(&space.format)?,
            resume: space.resume,
        };
        let sweep = py.detach(|| sweep::Sweep::new(&scenario.loaded, options));
        Ok(Self { sweep: sweep.map_err(|error| of_scenario(py, &error))? })
    }

    /// Points of the whole sweep.
    #[getter]
    fn points(&self) -> u64 {
        self.sweep.points()
    }

    /// Runs the points that are not done yet and writes their rows to a directory.
    fn run<'py>(
        &self,
        py: Python<'py>,
        directory: PathBuf,
        tell: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let progress = SweepProgress::new();
        let end = without_gil(py, &progress, tell, || self.sweep.run(&directory, &progress))?;
        match end.map_err(|error| of_sweep(py, &error))? {
            SweepEnd::Finished { tally, file } => told(py, &tally, file),
            SweepEnd::Stopped { done, points } => {
                Err(PyInterruptedError::new_err(format!("{done} of {points} points are done and kept")))
            }
        }
    }

    /// The report of a sweep that has been run to the end.
    fn report(&self, py: Python<'_>, directory: PathBuf) -> PyResult<Report> {
        let page = py.detach(|| self.sweep.report(&directory)).map_err(|error| of_sweep(py, &error))?;
        Ok(Report { page })
    }
}

/// Joins the shards of a sweep in their directories into one file.
#[pyfunction]
pub fn merge<'py>(py: Python<'py>, directories: Vec<PathBuf>, file: PathBuf) -> PyResult<Bound<'py, PyDict>> {
    let format = format(&file.extension().unwrap_or_default().to_string_lossy())?;
    let joined = py.detach(|| Shards::read(&directories).and_then(|shards| shards.join(&file, format)));
    told(py, &joined.map_err(|error| of_sweep(py, &error))?, Some(file))
}

/// The report of a sweep in shards.
#[pyfunction]
pub fn merged_report(py: Python<'_>, directories: Vec<PathBuf>) -> PyResult<Report> {
    let page = py.detach(|| Shards::read(&directories).and_then(|shards| shards.report()));
    Ok(Report { page: page.map_err(|error| of_sweep(py, &error))? })
}
