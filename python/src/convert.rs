//! Values of Python as values of scenarios and options.

use std::path::PathBuf;

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyMapping, PySequence, PyString};
use scenarios::run::RunOptions;
use scenarios::units::Time;
use toml::{Table, Value};

use crate::error::of_value;

/// A value of Python as TOML writes it.
///
/// # Errors
/// `TypeError` for what TOML has no word for; `None` is left out of tables.
pub fn toml_value(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    if let Ok(flag) = value.cast::<PyBool>() {
        return Ok(Value::Boolean(flag.is_true()));
    }
    if value.is_instance_of::<PyInt>() {
        return value.extract().map(Value::Integer);
    }
    if value.is_instance_of::<PyFloat>() {
        return value.extract().map(Value::Float);
    }
    if let Ok(text) = value.cast::<PyString>() {
        return text.extract().map(Value::String);
    }
    if let Ok(table) = value.cast::<PyMapping>() {
        let mut entries = Table::new();
        for pair in table.items()?.try_iter()? {
            let (key, value): (String, Bound<'_, PyAny>) = pair?.extract()?;
            if !value.is_none() {
                entries.insert(key, toml_value(&value)?);
            }
        }
        return Ok(Value::Table(entries));
    }
    if let Ok(items) = value.cast::<PySequence>() {
        let items = items.try_iter()?.map(|item| toml_value(&item?));
        return items.collect::<PyResult<_>>().map(Value::Array);
    }
    // Numbers of NumPy and their like.
    if let Ok(number) = value.call_method0("__index__") {
        return number.extract().map(Value::Integer);
    }
    if let Ok(number) = value.call_method0("__float__") {
        return number.extract().map(Value::Float);
    }
    let kind = value.get_type().name()?.to_string();
    Err(PyTypeError::new_err(format!(
        "a scenario has no {kind}: expected str, int, float, bool, a list or a dict"
    )))
}

/// Overrides as `--set` takes them: a dict of values by path.
pub fn sets(set: Option<&Bound<'_, PyDict>>) -> PyResult<Vec<String>> {
    let entry = |(path, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| -> PyResult<String> {
        Ok(format!("{}={}", path.extract::<String>()?, toml_value(&value)?))
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
            Ok(values) => {
                values.map(|value| Ok(toml_value(&value?)?.to_string())).collect::<PyResult<_>>()?
            }
            Err(_) => vec![toml_value(&values)?.to_string()],
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
        Ok(text) => text.trim().trim_end_matches('x').parse().ok(),
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
}

impl Options<'_> {
    /// As `scenarios` takes them.
    ///
    /// # Errors
    /// `ValueError` for what cannot be read.
    pub fn read(&self) -> PyResult<RunOptions> {
        if self.threads == Some(0) {
            return Err(of_value("threads", "0: expected at least 1"));
        }
        let duration = self.duration.as_ref().map(|value| time("duration", value)).transpose()?;
        let until = self.until.as_ref().map(|text| text.parse().map_err(|error| of_value("until", error)));
        Ok(RunOptions {
            threads: self.threads,
            scale: multiple("scale", &self.scale)?,
            trace: self.trace.clone(),
            duration: duration.map(|time| time.get()),
            until: until.transpose()?,
            ..RunOptions::default()
        })
    }
}

/// JSON as objects of Python.
pub fn python<'py>(py: Python<'py>, value: &serde_json::Value) -> PyResult<Bound<'py, PyAny>> {
    py.import("json")?.call_method1("loads", (value.to_string(),))
}

/// A value of TOML as Python has it, tables in their order.
pub fn of_toml<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    match value {
        Value::Boolean(flag) => flag.into_bound_py_any(py),
        Value::Integer(number) => number.into_bound_py_any(py),
        Value::Float(number) => number.into_bound_py_any(py),
        Value::String(text) => text.into_bound_py_any(py),
        Value::Datetime(time) => time.to_string().into_bound_py_any(py),
        Value::Array(items) => {
            let items = items.iter().map(|item| of_toml(py, item)).collect::<PyResult<Vec<_>>>()?;
            items.into_bound_py_any(py)
        }
        Value::Table(table) => {
            let entries = PyDict::new(py);
            for (key, value) in table {
                entries.set_item(key, of_toml(py, value)?)?;
            }
            entries.into_bound_py_any(py)
        }
    }
}
