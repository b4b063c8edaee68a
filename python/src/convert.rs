//! Values of Python as values of scenarios and options.

use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use scenarios::run::RunOptions;
use scenarios::units::Time;

use crate::error::of_value;
use crate::value::Value;

/// Overrides as `--set` takes them: a dict of values by path.
pub fn sets(set: Option<&Bound<'_, PyDict>>) -> PyResult<Vec<String>> {
    let entry = |(path, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| -> PyResult<String> {
        Ok(format!("{}={}", path.extract::<String>()?, Value::of(&value)?.inline()?))
    };
    set.into_iter().flatten().map(entry).collect()
}

/// Axes as `--axis` takes them: a dict by path of lists, or of the text of a list or range.
pub fn axes(axes: Option<&Bound<'_, PyDict>>) -> PyResult<Vec<String>> {
    let entry = |(path, values): (Bound<'_, PyAny>, Bound<'_, PyAny>)| -> PyResult<String> {
        let path = path.extract::<String>()?;
        if let Ok(text) = values.cast::<PyString>() {
            return Ok(format!("{path}={}", text.extract::<String>()?));
        }
        let values: Vec<String> = match values.try_iter() {
            Ok(values) => values.map(|value| Value::of(&value?)?.inline()).collect::<PyResult<_>>()?,
            Err(_) => vec![Value::of(&values)?.inline()?],
        };
        if values.is_empty() {
            return Err(PyValueError::new_err(format!("the axis {path} has no values")));
        }
        Ok(format!("{path}={}", values.join(",")))
    };
    axes.into_iter().flatten().map(entry).collect()
}

/// A multiple of the load: a number, or a text such as `"10x"`.
pub fn multiple(argument: &str, value: &Bound<'_, PyAny>) -> PyResult<f64> {
    let number = match value.extract::<String>() {
        Ok(text) => text.strip_suffix(['x', 'X']).unwrap_or(&text).parse().ok(),
        Err(_) => value.extract().ok(),
    };
    number
        .filter(|scale: &f64| scale.is_finite() && *scale > 0.0)
        .ok_or_else(|| of_value(argument, format!("{value} is no multiple: expected 10 or \"10x\"")))
}

/// A time: seconds, or a text such as `"30m"`.
fn time(argument: &str, value: &Bound<'_, PyAny>) -> PyResult<Time> {
    let text = match value.extract::<f64>() {
        Ok(seconds) => format!("{seconds}s"),
        Err(_) => value.extract::<String>()?,
    };
    text.parse().map_err(|error| of_value(argument, format!("{value}: {error}")))
}

/// How a run differs from what the scenario says.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Options<'py> {
    threads: Option<usize>,
    scale: Bound<'py, PyAny>,
    trace: Option<PathBuf>,
    duration: Option<Bound<'py, PyAny>>,
    until: Option<String>,
    requests: bool,
}

impl Options<'_> {
    /// As `scenarios` takes them.
    ///
    /// # Errors
    /// `ValueError` for what cannot be read.
    pub fn read(&self) -> PyResult<RunOptions> {
        let duration = self.duration.as_ref().map(|value| time("duration", value)).transpose()?;
        let until = self.until.as_ref().map(|text| text.parse().map_err(|error| of_value("until", error)));
        Ok(RunOptions {
            threads: self.threads,
            scale: multiple("scale", &self.scale)?,
            trace: self.trace.clone(),
            duration: duration.map(|time| time.get()),
            until: until.transpose()?,
            ..RunOptions::default()
        }
        .keeping_requests(self.requests))
    }
}

/// JSON as objects of Python.
pub fn python<'py>(py: Python<'py>, value: &serde_json::Value) -> PyResult<Bound<'py, PyAny>> {
    py.import("json")?.call_method1("loads", (value.to_string(),))
}
