//! Frames as files.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use polars::io::parquet::write::KeyValueMetadata;
use polars::prelude::{CsvWriter, DataFrame, IpcWriter, ParquetWriter, PolarsError, SerWriter};
use thiserror::Error;

use super::columns::{FRAMES, SUMMARY};
use super::stamp::stamped;
use super::{Provenance, RunResult, json};

/// How frames are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a header.
    Csv,
    /// An array of objects.
    Json,
    /// Apache Parquet.
    Parquet,
    /// Arrow IPC, also known as Feather.
    Ipc,
}

impl Format {
    /// All of them, by the ending of their files.
    pub const ALL: [(&str, Self); 4] =
        [("csv", Self::Csv), ("json", Self::Json), ("parquet", Self::Parquet), ("arrow", Self::Ipc)];

    /// The ending of its files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Parquet => "parquet",
            Self::Ipc => "arrow",
        }
    }
}

/// A format that is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown format `{0}`: expected csv, json, parquet or arrow")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        let known = Self::ALL.iter().find(|(name, _)| *name == text);
        known.map(|(_, format)| *format).ok_or_else(|| UnknownFormat(text.to_owned()))
    }
}

/// Results that cannot be written.
#[derive(Debug, Error)]
pub enum ResultsError {
    /// A directory or a file that cannot be made or written.
    #[error("cannot write results to {path}: {source}", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A frame that cannot be written in a format.
    #[error("cannot write results to {path}: {source}", path = .path.display())]
    Frame {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: PolarsError,
    },
}

pub(crate) fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, ResultsError> {
    result.map_err(|source| ResultsError::Io { path: path.to_owned(), source })
}

/// Makes the directory if it is not there and writes a small file in it, which is removed again: to
/// be asked before a long run.
///
/// # Errors
/// [`ResultsError::Io`] when the directory cannot be made or written to.
pub fn check_writable(dir: &Path) -> Result<(), ResultsError> {
    at(dir, fs::create_dir_all(dir))?;
    let probe = temporary(dir, "writable");
    at(dir, File::create(&probe).and_then(|mut file| file.write_all(b"?")))?;
    at(dir, fs::remove_file(&probe))
}

/// Whether a path leads to a device or a pipe, such as `/dev/stdout`.
pub(crate) fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir())
}

/// A name in the same directory, so that renaming does not copy; one of its own for each process.
fn temporary(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!(".{name}.{}.tmp", std::process::id()))
}

/// Under what Parquet and Arrow files keep where they come from, as JSON.
const ORIGIN: &str = "tenfold.provenance";

pub(crate) fn encode(
    frame: &mut DataFrame,
    format: Format,
    origin: Option<&str>,
    file: &mut impl Write,
) -> Result<(), PolarsError> {
    match format {
        Format::Csv => CsvWriter::new(file).finish(frame),
        Format::Parquet => {
            let pairs = origin.map(|origin| vec![(ORIGIN.to_owned(), origin.to_owned())]);
            let metadata = pairs.map(KeyValueMetadata::from_static);
            ParquetWriter::new(file).with_key_value_metadata(metadata).finish(frame).map(|_| ())
        }
        Format::Ipc => {
            let mut writer = IpcWriter::new(file);
            if let Some(origin) = origin {
                writer.set_custom_schema_metadata(Arc::new([(ORIGIN.into(), origin.into())].into()));
            }
            writer.finish(frame)
        }
        Format::Json => serde_json::to_writer(&mut *file, &json::rows(frame))
            .map_err(|error| io::Error::from(error).into()),
    }
}

/// Files that are complete under temporary names; those that are not moved are removed.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    files: Vec<(PathBuf, PathBuf)>,
}

impl Staged {
    /// Writes a file under a temporary name and remembers its own. A device or a pipe keeps its place and is written
    /// to at once; of a link the file behind it is replaced.
    pub(crate) fn write(
        &mut self,
        path: PathBuf,
        contents: impl FnOnce(&mut BufWriter<File>) -> Result<(), PolarsError>,
    ) -> Result<(), ResultsError> {
        if is_special(&path) {
            let mut file = BufWriter::new(at(&path, File::options().write(true).open(&path))?);
            contents(&mut file).map_err(|source| ResultsError::Frame { path: path.clone(), source })?;
            return at(&path, file.flush());
        }
        let path = match path.is_symlink() {
            true => fs::canonicalize(&path).unwrap_or(path),
            false => path,
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let staged = temporary(path.parent().unwrap_or(Path::new("")), &name);
        let mut file = BufWriter::new(at(&path, File::create(&staged))?);
        self.files.push((staged, path.clone()));
        contents(&mut file).map_err(|source| ResultsError::Frame { path: path.clone(), source })?;
        at(&path, file.flush())
    }

    /// Gives every file its name.
    pub(crate) fn publish(mut self) -> Result<Vec<PathBuf>, ResultsError> {
        let mut paths = Vec::new();
        while let Some((staged, path)) = self.files.pop() {
            let renamed = at(&path, fs::rename(&staged, &path));
            if renamed.is_err() {
                self.files.push((staged, path));
                return renamed.map(|()| paths);
            }
            paths.push(path);
        }
        paths.reverse();
        Ok(paths)
    }
}

/// Writes a text, complete before it takes its name, in the place of an older file.
///
/// # Errors
/// [`ResultsError::Io`] when it cannot be written.
pub fn write_text(file: &Path, text: &str) -> Result<(), ResultsError> {
    let mut staged = Staged::default();
    staged.write(file.to_owned(), |out| Ok(out.write_all(text.as_bytes())?))?;
    staged.publish().map(|_| ())
}

impl Drop for Staged {
    fn drop(&mut self) {
        for (staged, _) in &self.files {
            // Nothing more can be done about a temporary file that stays.
            let _ = fs::remove_file(staged);
        }
    }
}

impl RunResult {
    /// The `summary` frame as CSV.
    ///
    /// # Errors
    /// [`ResultsError::Frame`] when polars cannot write it.
    pub fn summary_csv(&self) -> Result<String, ResultsError> {
        csv(SUMMARY.name, self.summary())
    }

    /// Writes every frame and `provenance.json` to a directory, which is made if it is not there. All
    /// files are complete before the first takes its name, in the place of an older one. Gives their
    /// paths.
    ///
    /// # Errors
    /// [`ResultsError`] with the file that could not be written.
    pub fn write(&self, dir: &Path, format: Format) -> Result<Vec<PathBuf>, ResultsError> {
        let mut provenance = serde_json::json!(self.provenance);
        provenance["findings"] = serde_json::json!(self.findings);
        write_frames(dir, format, self.frames(), &[&self.provenance], &provenance)
    }
}

/// A frame as CSV.
pub(crate) fn csv(name: &str, mut frame: DataFrame) -> Result<String, ResultsError> {
    let mut text = Vec::new();
    let written = encode(&mut frame, Format::Csv, None, &mut text);
    written.map_err(|source| ResultsError::Frame { path: name.into(), source })?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

const PROVENANCE: &str = "provenance.json";

fn frame_file(dir: &Path, name: &str, format: Format) -> PathBuf {
    dir.join(format!("{name}.{}", format.extension()))
}

/// All files that results in a directory may have.
pub fn result_files(dir: &Path, format: Format) -> Vec<PathBuf> {
    let frames = FRAMES.iter().map(|frame| frame_file(dir, frame.name, format));
    frames.chain([dir.join(PROVENANCE)]).collect()
}

/// Writes frames under their names, each with where it comes from, and that of all.
pub(crate) fn write_frames(
    dir: &Path,
    format: Format,
    frames: Vec<(&'static str, DataFrame)>,
    sources: &[&Provenance],
    provenance: &serde_json::Value,
) -> Result<Vec<PathBuf>, ResultsError> {
    at(dir, fs::create_dir_all(dir))?;
    let mut staged = Staged::default();
    let origin = provenance.to_string();
    for (name, frame) in frames {
        staged.write(frame_file(dir, name, format), |file| {
            encode(&mut stamped(frame, sources)?, format, Some(&origin), file)
        })?;
    }
    staged.write(dir.join(PROVENANCE), |file| {
        serde_json::to_writer_pretty(&mut *file, provenance).map_err(io::Error::from)?;
        Ok(file.write_all(b"\n")?)
    })?;
    staged.publish()
}
