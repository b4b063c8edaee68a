//! The shards of a sweep, joined.

use std::path::{Path, PathBuf};

use super::axes::{Axis, AxisError, Values};
use super::row::Columns;
use super::store::{MANIFEST, Manifest, Part, check_complete, join};
use super::{Shard, SweepError, Swept, Tally};
use crate::results::Format;

/// All shards of a sweep, each of them finished.
#[derive(Debug)]
pub struct Shards {
    manifest: Manifest,
    manifests: Vec<PathBuf>,
    axes: Vec<Axis>,
    columns: Columns,
    parts: Vec<Part>,
}

impl Shards {
    /// Those in the directories.
    ///
    /// # Errors
    /// When they are not of one sweep, or points or shards are missing or there twice.
    pub fn read(dirs: &[PathBuf]) -> Result<Self, SweepError> {
        let fault = |text: String| Err(SweepError::Mismatch(text));
        let mut shards: Vec<(Shard, &PathBuf)> = Vec::new();
        let mut first: Option<Manifest> = None;
        let mut parts = Vec::new();
        for dir in dirs {
            let Some(manifest) = Manifest::read(dir)? else {
                return fault(format!("there is no sweep in {}", dir.display()));
            };
            let first = first.get_or_insert_with(|| manifest.clone());
            let of = || {
                let (here, there) = (first.shard.of, manifest.shard.of);
                (here != there).then(|| format!("it is one of {there} shards, and not of {here}"))
            };
            if let Some(difference) = first.difference(&manifest).or_else(of) {
                return fault(format!("{} is of another sweep: {difference}", dir.display()));
            }
            if let Some((shard, other)) = shards.iter().find(|(shard, _)| *shard == manifest.shard) {
                return fault(format!(
                    "shard {shard} is there twice: {} and {}",
                    other.display(),
                    dir.display()
                ));
            }
            shards.push((manifest.shard, dir));
            parts.extend(Part::list(dir)?);
        }
        let Some(manifest) = first else { return fault("there is nothing to merge".to_owned()) };
        let missing: Vec<String> = (1..=manifest.shard.of)
            .map(|index| Shard { index, ..manifest.shard })
            .filter(|shard| shards.iter().all(|(there, _)| there != shard))
            .map(|shard| shard.to_string())
            .collect();
        if !missing.is_empty() {
            return fault(format!("shards are missing: {}", missing.join(", ")));
        }
        check_complete(&parts, manifest.points)?;
        parts.sort_by_key(|part| part.points[0]);
        let axes =
            manifest.axes.iter().map(|axis| Axis::new(axis.path.clone(), Values::of_manifest(&axis.values)?));
        let axes: Vec<Axis> = axes.collect::<Result<_, AxisError>>().map_err(|error| {
            SweepError::Mismatch(format!("the manifest cannot be read: {}", error.message))
        })?;
        let columns =
            Columns::new(&axes).map_err(|name| SweepError::Mismatch(format!("two columns `{name}`")))?;
        let manifests = dirs.iter().map(|dir| dir.join(MANIFEST)).collect();
        Ok(Self { manifest: Manifest { shard: Shard::ALL, ..manifest }, manifests, axes, columns, parts })
    }

    /// The files that they are in.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.manifests.iter().chain(self.parts.iter().map(|part| &part.path)).cloned()
    }

    /// Joins them into one file, with the bytes that it would have without shards.
    ///
    /// # Errors
    /// When they cannot be read or the file cannot be written.
    pub fn join(&self, file: &Path, format: Format) -> Result<Tally, SweepError> {
        Ok(join(&self.parts, &self.columns, file, format)?)
    }

    /// What is in them.
    pub(crate) fn swept(&self) -> Result<Swept, SweepError> {
        Swept::read(&self.parts, &self.axes, &self.columns, &self.manifest)
    }
}
