//! Reports: pages and pictures.

use std::path::PathBuf;

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use scenarios::report::{Block, Picture, Report as Page};

use crate::error::of_results;

/// What an experiment found, for people: a page of HTML with pictures.
#[pyclass(frozen, module = "tenfold")]
pub struct Report {
    pub page: Page,
}

/// A table: its title, its header and its rows.
type Rows<'a> = (&'a str, &'a [String], &'a [Vec<String>]);

impl Report {
    fn picture(&self, name: &str) -> PyResult<&Picture> {
        self.page.pictures().find(|picture| picture.name == name).ok_or_else(|| {
            PyKeyError::new_err(format!("{name}: expected one of {}", self.pictures().join(", ")))
        })
    }

    fn origin(&self) -> String {
        let parts: Vec<String> =
            self.page.provenance.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        parts.join("; ")
    }
}

#[pymethods]
impl Report {
    /// What it is about.
    #[getter]
    fn title(&self) -> &str {
        &self.page.title
    }

    /// How it was done, in a sentence.
    #[getter]
    fn lead(&self) -> &str {
        &self.page.lead
    }

    /// Whether everything expected holds, each in a sentence.
    #[getter]
    fn verdicts(&self) -> Vec<(Option<bool>, &str)> {
        let verdict = |block| match block {
            &Block::Verdict { pass, ref text } => Some((pass, text.as_str())),
            _ => None,
        };
        self.page.blocks.iter().filter_map(verdict).collect()
    }

    /// Tables: title, header and rows.
    #[getter]
    fn tables(&self) -> Vec<Rows<'_>> {
        let mut tables = Vec::new();
        for block in &self.page.blocks {
            if let Block::Table(table) = block {
                tables.push((table.title.as_str(), &*table.header, &*table.rows));
            }
        }
        tables
    }

    /// Names of the pictures.
    #[getter]
    fn pictures(&self) -> Vec<&str> {
        self.page.pictures().map(|picture| picture.name.as_str()).collect()
    }

    /// A picture as SVG.
    fn svg(&self, name: &str) -> PyResult<String> {
        Ok(self.picture(name)?.svg(&self.origin()))
    }

    /// A picture as PNG.
    fn png(&self, py: Python<'_>, name: &str) -> PyResult<Vec<u8>> {
        let picture = self.picture(name)?;
        Ok(py.detach(|| picture.png(&self.origin())))
    }

    /// The page, which needs nothing else.
    fn html(&self) -> String {
        self.page.html()
    }

    /// Writes the page to a file, complete before it takes its name.
    fn save(&self, path: PathBuf) -> PyResult<()> {
        self.page.write_html(&path).map_err(|error| of_results(&error))
    }

    /// Writes every picture as SVG and PNG to a directory. Gives their paths.
    fn save_pictures(&self, directory: PathBuf) -> PyResult<Vec<PathBuf>> {
        self.page.write_pictures(&directory).map_err(|error| of_results(&error))
    }

    fn __repr__(&self) -> String {
        format!("<Report {:?}, {} pictures>", self.page.title, self.page.pictures().count())
    }
}
