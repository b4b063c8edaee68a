//! Frames, shared with Python through Arrow.

use std::fs::File;
use std::path::PathBuf;

use polars::prelude::{AnyValue, CompatLevel, DataFrame, ParquetReader, SchemaExt, SerReader};
use polars_arrow::array::StructArray;
use polars_arrow::datatypes::{ArrowDataType, Field};
use polars_arrow::ffi::export_iterator;
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyKeyError, PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyList};

/// A table of results. Whatever reads Arrow takes it, without copying: ``polars.DataFrame(frame)``,
/// ``pyarrow.table(frame)``, ``pandas.DataFrame.from_arrow(frame)``, ``duckdb.sql("from frame")``.
#[pyclass(frozen, module = "tenfold")]
pub struct Frame {
    name: String,
    frame: DataFrame,
}

impl Frame {
    /// A frame of that name, in one piece.
    pub fn new(name: &str, mut frame: DataFrame) -> Self {
        frame.rechunk_mut();
        Self { name: name.to_owned(), frame }
    }
}

fn value<'py>(py: Python<'py>, value: AnyValue<'_>) -> PyResult<Bound<'py, PyAny>> {
    match value {
        AnyValue::String(text) => text.into_bound_py_any(py),
        AnyValue::StringOwned(text) => text.as_str().into_bound_py_any(py),
        AnyValue::UInt64(count) => count.into_bound_py_any(py),
        AnyValue::Int64(count) => count.into_bound_py_any(py),
        AnyValue::Float64(real) => real.into_bound_py_any(py),
        AnyValue::Boolean(flag) => flag.into_bound_py_any(py),
        _ => py.None().into_bound_py_any(py),
    }
}

#[pymethods]
impl Frame {
    /// Reads a Parquet file that a sweep or ``--format parquet`` has written.
    #[staticmethod]
    fn read_parquet(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let read = || -> Result<DataFrame, String> {
            let file = File::open(&path).map_err(|error| error.to_string())?;
            ParquetReader::new(file).finish().map_err(|error| error.to_string())
        };
        let frame = py.detach(read);
        let frame = frame.map_err(|error| PyOSError::new_err(format!("{}: {error}", path.display())))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Self::new(&name, frame))
    }

    /// Name of the frame, such as ``summary``.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// Names of the columns.
    #[getter]
    fn columns(&self) -> Vec<String> {
        self.frame.get_column_names_owned().iter().map(ToString::to_string).collect()
    }

    /// Rows and columns.
    #[getter]
    fn shape(&self) -> (usize, usize) {
        self.frame.shape()
    }

    fn __len__(&self) -> usize {
        self.frame.height()
    }

    fn __repr__(&self) -> String {
        self.frame.to_string()
    }

    /// The values of a column, as a list.
    fn __getitem__<'py>(&self, py: Python<'py>, column: &str) -> PyResult<Bound<'py, PyList>> {
        let known = self.frame.column(column).map_err(|_| {
            PyKeyError::new_err(format!("{column}: expected one of {}", self.columns().join(", ")))
        })?;
        let values = (0..known.len()).map(|row| {
            let cell = known.get(row).map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
            value(py, cell)
        });
        PyList::new(py, values.collect::<PyResult<Vec<_>>>()?)
    }

    /// The Arrow C stream of the frame (the Arrow PyCapsule interface). Types are not cast to ``requested_schema``.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // A consumer that wants other types casts by itself, as the interface allows.
        drop(requested_schema);
        let schema = self.frame.schema().to_arrow(CompatLevel::newest());
        let fields: Vec<Field> = schema.iter_values().cloned().collect();
        let dtype = ArrowDataType::Struct(fields);
        let batches: Vec<_> = self
            .frame
            .iter_chunks(CompatLevel::newest(), false)
            .map(|batch| {
                let rows = batch.len();
                Ok(StructArray::new(dtype.clone(), rows, batch.into_arrays(), None).boxed())
            })
            .collect();
        let stream = export_iterator(Box::new(batches.into_iter()), Field::new("".into(), dtype, false));
        PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
    }
}
