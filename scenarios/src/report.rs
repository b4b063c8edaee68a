//! Reports for people: what an experiment found in words, tables and pictures, as one page of HTML or as files of
//! pictures.
//!
//! [`RunResult::report`](crate::results::RunResult::report) and its like of the other experiments make one; pictures
//! can be made of any values ([`Picture::new`]).

mod axis;
mod bars;
mod canvas;
mod chart;
pub mod color;
pub mod compare;
mod diagram;
mod events;
mod html;
mod matrix;
mod picture;
mod pictures;
pub mod plan;
mod run;
pub mod stress;
mod sweep;
mod table;
mod tables;
mod write;

use std::io::Write as _;
use std::path::{Path, PathBuf};

pub use axis::{Axis, Unit};
pub use bars::{Span, Spans, Stack};
pub use chart::{Chart, Mark, Reference, Series};
pub use diagram::{Diagram, Layout, Node, heat};
pub use events::{Event, events};
pub use matrix::{Cell, HEATED, Matrix, step};
pub use picture::{Drawing, Picture};
pub use pictures::{Choice, pareto, tornado};
pub use run::heading;
pub use table::Table;
pub use tables::{dashboard, of_run};
pub use write::write_png;

use crate::language::BASE;
use crate::results::show::seconds;
use crate::results::write::{Staged, at, is_special, write_text};
use crate::results::{Provenance, ResultsError, check_writable};

/// A part of a report.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// A heading.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// Sentences, one by one.
    Items(Vec<String>),
    /// Whether something passes, in a sentence; neither where nothing is expected.
    Verdict {
        /// Whether it passes.
        pass: Option<bool>,
        /// The sentence.
        text: String,
    },
    /// A table.
    Table(Table),
    /// A picture.
    Picture(Picture),
}

/// What an experiment found, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What it is about.
    pub title: String,
    /// How it was done, in a sentence.
    pub lead: String,
    /// What it says, in order.
    pub blocks: Vec<Block>,
    /// Where it comes from, by name.
    pub provenance: Vec<(String, String)>,
}

impl Report {
    /// As one page of HTML that needs nothing else.
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// Its pictures, in order.
    pub fn pictures(&self) -> impl Iterator<Item = &Picture> {
        self.blocks.iter().filter_map(|block| match block {
            Block::Picture(picture) => Some(picture),
            _ => None,
        })
    }

    /// Mean, p50, p99 and maximum of everything that is drawn over time, between two times in seconds since the start
    /// of the run. None where nothing is.
    pub fn between(&self, from: f64, to: f64) -> Option<Table> {
        let title = format!("Over time, from {} to {}", seconds(from), seconds(to));
        let header = ["chart", "line", "mean", "p50", "p99", "max"];
        let mut table = Table::new(&title, "of the values that are drawn, one for each window", 2, &header);
        for picture in self.pictures() {
            let Drawing::Chart(chart) = &picture.drawing else { continue };
            if chart.is_over_time() {
                for (name, figures) in chart.between(from, to) {
                    let figures = figures.map(|figure| chart.y.unit.show(figure));
                    table.row([picture.title.clone(), name.to_owned()].into_iter().chain(figures));
                }
            }
        }
        (!table.rows.is_empty()).then_some(table)
    }

    fn picture(&mut self, picture: Option<Picture>) {
        self.blocks.extend(picture.map(Block::Picture));
    }

    /// Where it comes from, in one line.
    fn origin(&self) -> String {
        let parts: Vec<String> =
            self.provenance.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        parts.join("; ")
    }

    /// Writes the page, complete before it takes its name.
    ///
    /// # Errors
    /// [`ResultsError::Io`] when it cannot be written.
    pub fn write_html(&self, file: &Path) -> Result<(), ResultsError> {
        write_text(file, &self.html())
    }

    /// Writes every picture as SVG and PNG to a directory, which is made if it is not there. Gives their paths.
    ///
    /// # Errors
    /// [`ResultsError::Io`] when one cannot be written.
    pub fn write_pictures(&self, dir: &Path) -> Result<Vec<PathBuf>, ResultsError> {
        at(dir, std::fs::create_dir_all(dir))?;
        let (mut staged, origin) = (Staged::default(), self.origin());
        for picture in self.pictures() {
            let path = |ending: &str| dir.join(format!("{}.{ending}", picture.name));
            staged.write(path("svg"), |out| Ok(out.write_all(picture.svg(&origin).as_bytes())?))?;
            staged.write(path("png"), |out| Ok(out.write_all(&picture.png(&origin))?))?;
        }
        staged.publish()
    }
}

/// Makes the directory of a file if it is not there and sees whether it can be written to: to be asked before a long
/// run.
///
/// # Errors
/// [`ResultsError::Io`] when it cannot, or when the file is a directory.
pub fn check_file(file: &Path) -> Result<(), ResultsError> {
    if file.is_dir() {
        return at(file, Err(std::io::ErrorKind::IsADirectory.into()));
    }
    if is_special(file) {
        return Ok(());
    }
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    check_writable(dir.unwrap_or(Path::new(".")))
}

/// A scenario, and the variant of it.
fn named(scenario: &str, variant: &str) -> String {
    match variant {
        BASE => scenario.to_owned(),
        name => format!("{scenario}, variant `{name}`"),
    }
}

/// Where results come from, by name.
fn provenance_rows(provenance: &Provenance) -> Vec<(String, String)> {
    let list = |all: &[String]| match all {
        [] => "none".to_owned(),
        all => all.join(" "),
    };
    let row = |name: &str, value: String| (name.to_owned(), value);
    vec![
        row("scenario", provenance.scenario.clone()),
        row("scenario hash", provenance.scenario_hash.clone()),
        row("variant", provenance.variant.clone()),
        row("load", format!("{}x", provenance.multiplier)),
        row("seed", provenance.seed.to_string()),
        row("tenfold version", format!("{}, columns {}", provenance.version, provenance.columns_version)),
        row("calibration of GPU times", provenance.calibration.clone()),
        row("fingerprints by replication", list(&provenance.fingerprints)),
        row("outcome hashes by replication", list(&provenance.outcome_hashes)),
    ]
}

#[cfg(test)]
mod tests;
