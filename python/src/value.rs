//! Values as scenarios have them, between Python and TOML.

use indexmap::IndexMap;
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyMapping, PySequence, PyString};
use serde::{Deserialize, Serialize};
use toml::ser::ValueSerializer;

use crate::error::of_value;

/// A value of a scenario: that of `toml`, but that its whole numbers go as far as seeds do.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    Flag(bool),
    Integer(i64),
    /// Beyond 2^63.
    Large(u64),
    Float(f64),
    Text(String),
    List(Vec<Self>),
    Table(IndexMap<String, Self>),
}

fn whole(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    let integer = value.extract().map(Value::Integer).or_else(|_| value.extract().map(Value::Large));
    integer.map_err(|_| {
        of_value(
            &value.to_string(),
            "beyond the range of integers: expected an integer from -2^63 to 2^64 - 1",
        )
    })
}

impl Value {
    /// A value of Python as a scenario has it.
    ///
    /// # Errors
    /// `TypeError` for what TOML has no word for; `None` is left out of tables.
    pub fn of(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(flag) = value.cast::<PyBool>() {
            return Ok(Self::Flag(flag.is_true()));
        }
        if value.is_instance_of::<PyInt>() {
            return whole(value);
        }
        if value.is_instance_of::<PyFloat>() {
            return value.extract().map(Self::Float);
        }
        if let Ok(text) = value.cast::<PyString>() {
            return text.extract().map(Self::Text);
        }
        if let Ok(table) = value.cast::<PyMapping>() {
            let mut entries = IndexMap::new();
            for pair in table.items()?.try_iter()? {
                let (key, value): (String, Bound<'_, PyAny>) = pair?.extract()?;
                if !value.is_none() {
                    entries.insert(key, Self::of(&value)?);
                }
            }
            return Ok(Self::Table(entries));
        }
        if let Ok(items) = value.cast::<PySequence>() {
            let items = items.try_iter()?.map(|item| Self::of(&item?));
            return items.collect::<PyResult<_>>().map(Self::List);
        }
        // Numbers of NumPy and their like.
        if let Ok(number) = value.call_method0("__index__") {
            return whole(&number);
        }
        if let Ok(number) = value.call_method0("__float__") {
            return number.extract().map(Self::Float);
        }
        let kind = value.get_type().name()?.to_string();
        Err(PyTypeError::new_err(format!(
            "a scenario has no {kind}: expected str, int, float, bool, a list or a dict"
        )))
    }

    /// As it stands behind the equals sign.
    ///
    /// # Errors
    /// `ValueError` where TOML cannot write it.
    pub fn inline(&self) -> PyResult<String> {
        let mut text = String::new();
        let written = self.serialize(ValueSerializer::new(&mut text)).map(drop);
        written.map_err(|error| of_value("value", error))?;
        Ok(text)
    }

    /// As objects of Python, tables in their order.
    ///
    /// # Errors
    /// What Python raises.
    pub fn python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Flag(flag) => flag.into_bound_py_any(py),
            Self::Integer(number) => number.into_bound_py_any(py),
            Self::Large(number) => number.into_bound_py_any(py),
            Self::Float(number) => number.into_bound_py_any(py),
            Self::Text(text) => text.into_bound_py_any(py),
            Self::List(items) => {
                let items = items.iter().map(|item| item.python(py)).collect::<PyResult<Vec<_>>>()?;
                items.into_bound_py_any(py)
            }
            Self::Table(table) => {
                let entries = PyDict::new(py);
                for (key, value) in table {
                    entries.set_item(key, value.python(py)?)?;
                }
                entries.into_bound_py_any(py)
            }
        }
    }
}
