//! Scenarios.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use scenarios::language::BASE;
use scenarios::report::{Diagram, Drawing, Picture};
use scenarios::{Loaded, ScenarioError};

use crate::convert::{python, sets};
use crate::error::{of_scenario, of_value};
use crate::value::Value;

/// A system, the load on it, how it is run and what is expected of it. It does not change: ``set`` and ``variant``
/// give another one.
#[pyclass(frozen, module = "tenfold")]
pub struct Scenario {
    pub loaded: Loaded,
}

/// The directory from which other files are looked for, wherever the process goes later.
fn fixed(dir: &Path) -> PathBuf {
    std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned())
}

#[pymethods]
impl Scenario {
    /// Reads a scenario file.
    ///
    /// :raises ScenarioError: what is wrong with the file, where, and what would be accepted.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let read = || {
            let loaded = scenarios::load(&path, &[])?;
            // Read again where other files are found from any working directory.
            scenarios::parse(loaded.text(), loaded.name(), &fixed(loaded.base_dir()), &[])
        };
        let loaded = py.detach(read).map_err(|error| of_scenario(py, &error))?;
        Ok(Self { loaded })
    }

    /// Reads a scenario that is already text. ``name`` stands for the file in errors; other files that it names are
    /// looked for in ``base_dir``.
    #[staticmethod]
    #[pyo3(signature = (text, *, name="scenario", base_dir=PathBuf::from(".")))]
    fn from_toml(py: Python<'_>, text: &str, name: &str, base_dir: PathBuf) -> PyResult<Self> {
        let loaded = py.detach(|| scenarios::parse(text, name, &fixed(&base_dir), &[]));
        Ok(Self { loaded: loaded.map_err(|error| of_scenario(py, &error))? })
    }

    /// A scenario of a dict with the keys of a scenario file. Places of errors are those in :meth:`source`.
    #[staticmethod]
    #[pyo3(signature = (values, *, base_dir=PathBuf::from(".")))]
    fn from_dict(py: Python<'_>, values: &Bound<'_, PyDict>, base_dir: PathBuf) -> PyResult<Self> {
        let text = toml::to_string(&Value::of(values)?).map_err(|error| of_value("values", error))?;
        Self::from_toml(py, &text, "dict", base_dir)
    }

    /// A scenario that ships with Tenfold: one of ``tenfold.library()``.
    #[staticmethod]
    fn library(py: Python<'_>, name: &str) -> PyResult<Self> {
        let known = scenarios::library();
        let Some(found) = known.iter().find(|scenario| scenario.id == name) else {
            let names: Vec<&str> = known.iter().map(|scenario| scenario.id).collect();
            let error = ScenarioError::new(format!("there is no `{name}` in the library"))
                .with_help(format!("expected one of {}", names.join(", ")));
            return Err(of_scenario(py, &error));
        };
        Self::from_toml(py, found.text, &format!("{name}.toml"), PathBuf::from("."))
    }

    /// The same with other values, by path: ``{"components.db.servers": 4}``.
    fn set(&self, py: Python<'_>, values: &Bound<'_, PyDict>) -> PyResult<Self> {
        let loaded = self.loaded.with(&sets(Some(values))?);
        Ok(Self { loaded: loaded.map_err(|error| of_scenario(py, &error))? })
    }

    /// A variant by its name; ``base`` is the scenario as it is written.
    fn variant(&self, py: Python<'_>, name: &str) -> PyResult<Self> {
        let loaded = self.loaded.variant(name);
        Ok(Self { loaded: loaded.map_err(|error| of_scenario(py, &error))? })
    }

    /// Names of the variants; the scenario as it is written is ``base`` and not among them.
    #[getter]
    fn variants(&self) -> Vec<&str> {
        self.loaded.scenario.variant.iter().map(|variant| variant.name.as_str()).collect()
    }

    /// Name of the scenario.
    #[getter]
    fn name(&self) -> &str {
        &self.loaded.scenario.name
    }

    /// What it shows.
    #[getter]
    fn description(&self) -> Option<&str> {
        self.loaded.scenario.description.as_deref()
    }

    /// Hash of the canonical form, as results name it.
    #[getter]
    fn hash(&self) -> String {
        format!("{:016x}", self.loaded.hash())
    }

    /// The canonical form, which reads back as the same scenario.
    fn to_toml(&self) -> String {
        self.loaded.scenario.to_toml()
    }

    /// The scenario as a dict, as ``from_dict`` takes it.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let table: Value = toml::from_str(&self.to_toml()).map_err(|error| of_value("scenario", error))?;
        table.python(py)
    }

    /// The text that it was read from, without what ``set`` has changed.
    fn source(&self) -> &str {
        self.loaded.text()
    }

    /// The architecture as SVG.
    fn architecture(&self) -> Option<String> {
        let diagram = Drawing::Diagram(Diagram::of(&self.loaded.scenario));
        let caption = "Calls go from left to right.";
        let picture = Picture::new("architecture", "Who calls whom", caption, diagram)?;
        Some(picture.svg(&format!("scenario: {}", self.loaded.scenario.name)))
    }

    fn __repr__(&self) -> String {
        let variant = match self.loaded.variant.as_str() {
            BASE => String::new(),
            name => format!(", variant {name:?}"),
        };
        format!("<Scenario {:?}{variant}, hash {}>", self.loaded.scenario.name, self.hash())
    }

    fn _repr_html_<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("tenfold._html")?.call_method1("scenario", (slf,))
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.loaded.scenario == other.loaded.scenario && self.loaded.base_dir() == other.loaded.base_dir()
    }

    fn __hash__(&self) -> u64 {
        self.loaded.hash()
    }

    /// What :mod:`pickle` needs to make it again.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Pickled)> {
        let Loaded { variant, .. } = &self.loaded;
        let (text, name) = (self.loaded.text().to_owned(), self.loaded.name().to_owned());
        let (dir, sets) = (self.loaded.base_dir().to_owned(), self.loaded.sets().to_vec());
        let again = py.get_type::<Self>().getattr("_again")?;
        Ok((again, (text, name, dir, sets, variant.clone())))
    }

    /// Makes what was pickled again.
    #[staticmethod]
    fn _again(
        py: Python<'_>,
        text: &str,
        name: &str,
        base_dir: PathBuf,
        sets: Vec<String>,
        variant: &str,
    ) -> PyResult<Self> {
        let loaded =
            scenarios::parse(text, name, &base_dir, &sets).and_then(|loaded| loaded.variant(variant));
        Ok(Self { loaded: loaded.map_err(|error| of_scenario(py, &error))? })
    }
}

/// Text, name, directory, overrides and variant.
type Pickled = (String, String, PathBuf, Vec<String>, String);

/// Names of the scenarios that ship with Tenfold, from the simplest on.
#[pyfunction]
pub fn library() -> Vec<&'static str> {
    scenarios::library().iter().map(|scenario| scenario.id).collect()
}

/// The language of scenario files as a JSON Schema, as a dict.
#[pyfunction]
pub fn schema(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    python(py, &scenarios::schema())
}
