//! Parts of a sweep on disk, and the one file that they give.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use polars::prelude::{
    CsvWriter, DataFrame, IpcWriter, ParquetReader, ParquetWriter, PolarsError, SerReader, SerWriter,
};
use serde::{Deserialize, Serialize};

use super::Shard;
use super::row::{Columns, Row, Value};
use crate::results::write::{Staged, at};
use crate::results::{Format, ResultsError, json};
use crate::scenario::SloConfig;

/// Rows of a row group of the one file.
const GROUP: usize = 4_096;
/// Points that an error names.
const NAMED: usize = 10;

/// What a sweep is: its parts fit together when this is the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Version of the simulator.
    pub version: String,
    /// Version of the columns.
    pub columns_version: u32,
    /// Name of the scenario.
    pub scenario: String,
    /// What it is about.
    pub description: Option<String>,
    /// What is expected of it.
    pub slo: SloConfig,
    /// Seed of all randomness.
    pub seed: u64,
    /// Hash of its canonical form with its variants, in hexadecimal.
    pub scenario_hash: String,
    /// How runs differ from what the scenario says.
    pub run: String,
    pub design: String,
    /// Seed of draws; none for a grid.
    pub design_seed: Option<u64>,
    pub axes: Vec<AxisManifest>,
    pub points: u64,
    pub shard: Shard,
}

/// An axis and its values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct AxisManifest {
    pub path: String,
    pub values: serde_json::Value,
}

/// The file that says what a sweep is, in its directory.
pub const MANIFEST: &str = "manifest.json";

impl Manifest {
    /// The manifest in a directory, if there is one.
    pub fn read(dir: &Path) -> Result<Option<Self>, SweepError> {
        let path = dir.join(MANIFEST);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ResultsError::Io { path, source }.into()),
        };
        let read = serde_json::from_str(&text);
        read.map(Some).map_err(|error| {
            SweepError::Mismatch(format!("{} is no manifest of a sweep: {error}", path.display()))
        })
    }

    pub fn write(&self, dir: &Path) -> Result<(), SweepError> {
        let mut staged = Staged::default();
        staged.write(dir.join(MANIFEST), |file| {
            serde_json::to_writer_pretty(&mut *file, self).map_err(io::Error::from)?;
            Ok(file.write_all(b"\n")?)
        })?;
        staged.publish()?;
        Ok(())
    }

    /// What is different in another manifest, but for its shard.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let said = |what: &str, here: &str, there: &str| {
            (here != there).then(|| format!("its {what} is {there}, and not {here}"))
        };
        let axes = |manifest: &Self| {
            let axis = |axis: &AxisManifest| format!("{}={}", axis.path, axis.values);
            manifest.axes.iter().map(axis).collect::<Vec<_>>().join(" ")
        };
        said("version", &self.version, &other.version)
            .or_else(|| {
                said("column version", &self.columns_version.to_string(), &other.columns_version.to_string())
            })
            .or_else(|| said("scenario", &self.scenario, &other.scenario))
            .or_else(|| said("scenario hash", &self.scenario_hash, &other.scenario_hash))
            .or_else(|| said("way to run", &self.run, &other.run))
            .or_else(|| said("design", &self.design, &other.design))
            .or_else(|| {
                said("seed of draws", &format!("{:?}", self.design_seed), &format!("{:?}", other.design_seed))
            })
            .or_else(|| said("list of axes", &axes(self), &axes(other)))
            .or_else(|| said("number of points", &self.points.to_string(), &other.points.to_string()))
    }
}

/// A sweep that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// What cannot be read or written.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// A directory that holds another sweep, or not all of one.
    #[error("{0}")]
    Mismatch(String),
}

fn parts_dir(dir: &Path) -> PathBuf {
    dir.join("parts")
}

/// A part that is complete: some points, in order.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub path: PathBuf,
    pub points: Vec<u64>,
}

fn read_frame(path: &Path, columns: Option<Vec<String>>) -> Result<DataFrame, ResultsError> {
    let file = at(path, File::open(path))?;
    let read = ParquetReader::new(file).with_columns(columns).finish();
    read.map_err(|source| ResultsError::Frame { path: path.to_owned(), source })
}

impl Part {
    /// Writes rows, which are in order and of which there is at least one.
    pub fn write(dir: &Path, columns: &Columns, rows: &[Row]) -> Result<(), ResultsError> {
        let path = parts_dir(dir).join(format!("part-{:08}.parquet", rows[0].point));
        let mut staged = Staged::default();
        staged.write(path, |file| {
            ParquetWriter::new(&mut *file).finish(&mut columns.frame(rows.iter()))?;
            file.flush()?;
            // What has its name is whole, also after a crash of the machine.
            Ok(file.get_ref().sync_all()?)
        })?;
        staged.publish()?;
        Ok(())
    }

    /// Makes room for parts; what an end left half written is removed.
    pub fn prepare(dir: &Path) -> Result<(), ResultsError> {
        let dir = parts_dir(dir);
        at(&dir, fs::create_dir_all(&dir))?;
        for entry in at(&dir, fs::read_dir(&dir))? {
            let path = at(&dir, entry)?.path();
            if path.extension().is_some_and(|ending| ending == "tmp") {
                at(&path, fs::remove_file(&path))?;
            }
        }
        Ok(())
    }

    /// All parts in a directory, by their first points.
    pub fn list(dir: &Path) -> Result<Vec<Self>, ResultsError> {
        let dir = parts_dir(dir);
        let mut parts = Vec::new();
        for entry in at(&dir, fs::read_dir(&dir))? {
            let path = at(&dir, entry)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("part-") && name.ends_with(".parquet") {
                let frame = read_frame(&path, Some(vec!["point".to_owned()]))?;
                let points =
                    frame.column("point").and_then(|column| Ok(column.u64()?.iter().flatten().collect()));
                let points = points.map_err(|source| ResultsError::Frame { path: path.clone(), source })?;
                parts.push(Self { path, points });
            }
        }
        parts.retain(|part| !part.points.is_empty());
        parts.sort_by_key(|part| part.points[0]);
        Ok(parts)
    }
}

fn some(points: &[u64]) -> String {
    let named: Vec<String> = points.iter().take(NAMED).map(u64::to_string).collect();
    format!("{}{}", named.join(", "), if points.len() > NAMED { ", ..." } else { "" })
}

/// Refuses parts in which points are missing, doubled or beyond the end.
pub(super) fn check_complete(parts: &[Part], expected: u64) -> Result<(), SweepError> {
    let mut seen = vec![0u8; expected as usize];
    for point in parts.iter().flat_map(|part| &part.points) {
        match seen.get_mut(*point as usize) {
            Some(count) => *count = count.saturating_add(1),
            None => {
                return Err(SweepError::Mismatch(format!(
                    "there is a point {point}, and the last is {}",
                    expected - 1
                )));
            }
        }
    }
    let which = |wanted: &dyn Fn(u8) -> bool| -> Vec<u64> {
        seen.iter().zip(0..).filter(|(count, _)| wanted(**count)).map(|(_, point)| point).collect()
    };
    let (missing, doubled) = (which(&|count| count == 0), which(&|count| count > 1));
    if !doubled.is_empty() {
        return Err(SweepError::Mismatch(format!(
            "{} points are there twice: {}",
            doubled.len(),
            some(&doubled)
        )));
    }
    if !missing.is_empty() {
        return Err(SweepError::Mismatch(format!(
            "{} points are missing: {}",
            missing.len(),
            some(&missing)
        )));
    }
    Ok(())
}

/// What became of the points.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// All points.
    pub points: u64,
    /// Those that keep to the SLO.
    pub passed: u64,
    /// Those that do not.
    pub missed: u64,
    /// Those that could not be run.
    pub failed: u64,
    /// Why the first of them could not.
    pub first_error: Option<String>,
}

impl Tally {
    fn count(&mut self, columns: &Columns, row: &Row) {
        self.points += 1;
        match &row.values[columns.position("slo")] {
            Value::Text(slo) if slo == "pass" => self.passed += 1,
            Value::Text(slo) if slo == "fail" => self.missed += 1,
            _ => {}
        }
        if let Value::Text(error) = &row.values[columns.position("error")] {
            self.failed += 1;
            self.first_error.get_or_insert_with(|| error.clone());
        }
    }
}

/// Goes through all rows in the order of their points, in groups of a size that depends on nothing. Only parts that
/// overlap are in memory at a time.
pub(super) fn in_order(
    parts: &[Part],
    columns: &Columns,
    mut each: impl FnMut(&[Row]) -> Result<(), PolarsError>,
) -> Result<Tally, PolarsError> {
    let (mut tally, mut waiting, mut group) = (Tally::default(), BTreeMap::new(), Vec::with_capacity(GROUP));
    for (number, part) in parts.iter().enumerate() {
        let unread =
            |error| io::Error::other(format!("the part {} cannot be read: {error}", part.path.display()));
        let frame = read_frame(&part.path, None).map_err(unread)?;
        waiting.extend(columns.rows(&frame)?.into_iter().map(|row| (row.point, row)));
        let next = parts.get(number + 1).map_or(u64::MAX, |part| part.points[0]);
        while let Some(first) = waiting.first_entry().filter(|first| *first.key() < next) {
            let row = first.remove();
            tally.count(columns, &row);
            group.push(row);
            if group.len() == GROUP {
                each(&group)?;
                group.clear();
            }
        }
    }
    if !group.is_empty() {
        each(&group)?;
    }
    Ok(tally)
}

/// Writes the one file.
pub(super) fn join(
    parts: &[Part],
    columns: &Columns,
    path: &Path,
    format: Format,
) -> Result<Tally, ResultsError> {
    let mut staged = Staged::default();
    let mut tally = Tally::default();
    staged.write(path.to_owned(), |file| {
        tally = stream(parts, columns, file, format)?;
        Ok(())
    })?;
    staged.publish()?;
    Ok(tally)
}

fn stream(
    parts: &[Part],
    columns: &Columns,
    file: &mut BufWriter<File>,
    format: Format,
) -> Result<Tally, PolarsError> {
    let schema = columns.frame([].iter()).schema().clone();
    match format {
        Format::Parquet => {
            let mut writer = ParquetWriter::new(file).batched(&schema)?;
            let tally = in_order(parts, columns, |rows| writer.write_batch(&columns.frame(rows.iter())))?;
            writer.finish()?;
            Ok(tally)
        }
        Format::Csv => {
            let mut writer = CsvWriter::new(file).batched(&schema)?;
            let tally = in_order(parts, columns, |rows| writer.write_batch(&columns.frame(rows.iter())))?;
            writer.finish()?;
            Ok(tally)
        }
        Format::Ipc => {
            let fields = vec![Default::default(); schema.len()];
            let mut writer = IpcWriter::new(file).batched(&schema, fields)?;
            let tally = in_order(parts, columns, |rows| writer.write_batch(&columns.frame(rows.iter())))?;
            writer.finish()?;
            Ok(tally)
        }
        Format::Json => {
            let mut separator = "[";
            let tally = in_order(parts, columns, |rows| {
                let serde_json::Value::Array(rows) = json::rows(&columns.frame(rows.iter())) else {
                    unreachable!("rows are an array")
                };
                for row in rows {
                    file.write_all(separator.as_bytes())?;
                    serde_json::to_writer(&mut *file, &row).map_err(io::Error::from)?;
                    separator = ",\n";
                }
                Ok(())
            })?;
            file.write_all(if tally.points == 0 { b"[]\n" } else { b"]\n" })?;
            Ok(tally)
        }
    }
}
