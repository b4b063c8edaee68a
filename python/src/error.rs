//! Errors of Rust as exceptions of Python.

use miette::{GraphicalReportHandler, GraphicalTheme};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use scenarios::ScenarioError;
use scenarios::results::ResultsError;
use scenarios::sweep::SweepError;

/// The exception for what is wrong with a scenario: `tenfold.ScenarioError` with file, line, column and remedy, and
/// with the place in the file as a note.
pub fn of_scenario(py: Python<'_>, error: &ScenarioError) -> PyErr {
    let make = || -> PyResult<PyErr> {
        let excerpt = error.line().map(|_| {
            let mut text = String::new();
            let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
            handler.render_report(&mut text, error).map(|()| text).unwrap_or_default()
        });
        let class = py.import("tenfold._errors")?.getattr("ScenarioError")?;
        let arguments =
            (error.message(), error.file(), error.line(), error.column(), error.help_text(), excerpt);
        Ok(PyErr::from_value(class.call1(arguments)?))
    };
    make().unwrap_or_else(|other| other)
}

/// `ValueError` for an argument that cannot be read, with what would be accepted.
pub fn of_value(argument: &str, error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(format!("{argument}: {error}"))
}

/// `OSError` for what cannot be written.
pub fn of_results(error: &ResultsError) -> PyErr {
    PyOSError::new_err(error.to_string())
}

/// `OSError` for what cannot be read or written, `tenfold.ScenarioError` for directories of something else.
pub fn of_sweep(py: Python<'_>, error: &SweepError) -> PyErr {
    match error {
        SweepError::Results(error) => of_results(error),
        SweepError::Mismatch(message) => {
            let help = "resume=True takes up a sweep of the same scenario, axes and version; out= names another directory";
            of_scenario(py, &ScenarioError::new(message).with_help(help))
        }
    }
}
