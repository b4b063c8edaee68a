//! Columns of a parquet table.

use std::fs::File;
use std::path::{Path, PathBuf};

use polars::prelude::*;
use sim_models::hardware::profile::ProfileError;

/// A table of timings.
pub(super) struct Table {
    path: PathBuf,
    frame: DataFrame,
}

impl Table {
    /// Reads `file` of `folder`, which must have the column `dtype`.
    pub(super) fn open(folder: &Path, file: &str, dtype: Option<&str>) -> Result<Self, ProfileError> {
        let path = folder.join(file);
        let refuse = |message: String| ProfileError::Io { path: path.display().to_string(), message };
        let opened = File::open(&path).map_err(|error| refuse(error.to_string()))?;
        let frame = ParquetReader::new(opened).finish().map_err(|error| refuse(error.to_string()))?;
        let table = Self { path, frame };
        if let Some(dtype) = dtype {
            table.column(dtype)?;
        }
        Ok(table)
    }

    fn refuse(&self, message: impl std::fmt::Display) -> ProfileError {
        ProfileError::Parse { origin: self.path.display().to_string(), message: message.to_string() }
    }

    fn column(&self, name: &str) -> Result<&Column, ProfileError> {
        self.frame.column(name).map_err(|_| {
            let names: Vec<&str> = self.frame.get_column_names().iter().map(|name| name.as_str()).collect();
            self.refuse(format!(
                "no column `{name}`: expected the layout of aiconfigurator, found {}",
                names.join(", ")
            ))
        })
    }

    /// The one value of a text column, of all its rows.
    pub(super) fn constant(&self, name: &str) -> Result<String, ProfileError> {
        let mut values = self.text(name)?;
        values.sort_unstable();
        values.dedup();
        match values.len() {
            1 => Ok(values.remove(0)),
            count => Err(self.refuse(format!("column `{name}` has {count} values: expected one"))),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<Vec<String>, ProfileError> {
        let column = self.column(name)?.cast(&DataType::String).map_err(|error| self.refuse(error))?;
        let values = column.str().map_err(|error| self.refuse(error))?;
        let missing = || self.refuse(format!("column `{name}` has gaps"));
        values.iter().map(|value| value.map(str::to_owned).ok_or_else(missing)).collect()
    }

    pub(super) fn integers(&self, name: &str) -> Result<Vec<i64>, ProfileError> {
        let column = self.column(name)?.cast(&DataType::Int64).map_err(|error| self.refuse(error))?;
        let values = column.i64().map_err(|error| self.refuse(error))?;
        let missing = || self.refuse(format!("column `{name}` has gaps"));
        values.iter().map(|value| value.ok_or_else(missing)).collect()
    }

    /// Columns of counts.
    pub(super) fn counts<const N: usize>(&self, names: [&str; N]) -> Result<[Vec<u64>; N], ProfileError> {
        let mut columns = [const { Vec::new() }; N];
        for (column, name) in columns.iter_mut().zip(names) {
            for value in self.integers(name)? {
                let count = u64::try_from(value).ok().filter(|count| *count < 1 << 40);
                let refused =
                    || self.refuse(format!("column `{name}` has {value}: expected a count below 2^40"));
                column.push(count.ok_or_else(refused)?);
            }
        }
        Ok(columns)
    }

    /// The latencies, in microseconds.
    pub(super) fn micros(&self) -> Result<Vec<f64>, ProfileError> {
        let column = self.column("latency")?.cast(&DataType::Float64).map_err(|error| self.refuse(error))?;
        let values = column.f64().map_err(|error| self.refuse(error))?;
        values
            .iter()
            .map(|value| {
                let millis = value.filter(|millis| *millis > 0.0 && millis.is_finite());
                millis.map(|millis| millis * 1e3).ok_or_else(|| {
                    self.refuse(format!("column `latency` has {value:?}: expected milliseconds above 0"))
                })
            })
            .collect()
    }
}
