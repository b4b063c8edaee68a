//! The report for people: Markdown, and a page with pictures.

use std::path::Path;

use scenarios::report::{Axis, Block, Chart, Drawing, Mark, Picture, Report, Series, Table, Unit};
use scenarios::results::{show, write_text};

use super::{Check, KNOWN, PublishedError, PublishedReport, Row, Spread};
use crate::gpu::Sizes;

/// Predicted over measured, with the line on which both are equal. Points are `(measured, predicted)`.
pub(super) fn parity(
    name: &str,
    title: &str,
    caption: &str,
    unit: Unit,
    series: Vec<(String, Vec<(f64, f64)>)>,
) -> Option<Picture> {
    let all = series.iter().flat_map(|(_, points)| points).flat_map(|(x, y)| [*x, *y]);
    let (least, most) = all.fold((f64::MAX, 0.0_f64), |(least, most), at| (least.min(at), most.max(at)));
    let points = |(name, points)| Series { name, points, mark: Mark::Points };
    let mut series: Vec<Series> = series.into_iter().map(points).collect();
    let equal = vec![(least, least), (most, most)];
    series.push(Series { name: "equal".into(), points: equal, mark: Mark::Line });
    let (x, y) = (Axis::log("measured", unit), Axis::log("predicted", unit));
    Picture::new(name, title, caption, Drawing::Chart(Chart { x, y, series, references: vec![] }))
}

/// The same of rows in one unit.
pub(super) fn parity_of_rows(name: &str, what: &str, rows: &[Row]) -> Option<Picture> {
    let unit = rows.first()?.unit;
    let bounded = |bounded: bool| -> Vec<(f64, f64)> {
        let own = rows.iter().filter(|row| row.bound.is_some() == bounded);
        own.map(|row| (row.measured, row.predicted)).collect()
    };
    let series = [("with a bound", bounded(true)), ("for information", bounded(false))];
    let series = series.into_iter().filter(|(_, points)| !points.is_empty());
    let caption = "Each point is a figure of the table; on the line both are equal.";
    let title = format!("{what}: predicted and measured");
    parity(name, &title, caption, unit, series.map(|(name, points)| (name.to_owned(), points)).collect())
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let passed = self.passed().map_or("", |passed| if passed { "pass" } else { "FAIL" });
        vec![
            self.what.clone(),
            self.unit.show(self.measured),
            self.unit.show(self.predicted),
            format!("{:+.1}%", 100.0 * self.error()),
            self.bound.map_or_else(|| "-".to_owned(), |bound| format!("{:.0}%", 100.0 * bound)),
            passed.to_owned(),
        ]
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

impl Spread {
    fn cells(&self) -> Vec<String> {
        let (Sizes { count, median, p90, worst }, datasheet) = (self.sizes, self.datasheet);
        let passed = self.passed().map_or("", |passed| if passed { "pass" } else { "FAIL" });
        let mut cells = vec![self.what.clone(), show::count(count as f64)];
        cells.extend([median, p90, worst, datasheet.median, datasheet.p90].map(percent));
        cells.push(passed.to_owned());
        cells
    }
}

impl Check {
    fn table(&self, note: &str) -> Table {
        let figures = ["what", "measured", "predicted", "error", "at most", ""];
        let errors = ["what", "number", "median", "p90", "worst", "datasheet median", "datasheet p90", ""];
        let header: &[&str] = if self.spreads.is_empty() { &figures } else { &errors };
        let mut table = Table::new(self.title, note, 1, header);
        table.rows.extend(self.rows.iter().map(Row::cells));
        table.rows.extend(self.spreads.iter().map(Spread::cells));
        table
    }
}

impl PublishedReport {
    fn lead(&self) -> String {
        let bounded = self.checks.iter().flat_map(Check::verdicts).count();
        let missed = self.missed().len();
        let said = if missed == 0 { "all of them pass".to_owned() } else { format!("{missed} fail") };
        format!(
            "What others measured and published, beside what is predicted. {bounded} predictions are checked; \
             {said}. The rest is shown for information."
        )
    }

    /// Tables for the terminal.
    pub fn tables(&self) -> impl Iterator<Item = Table> {
        self.checks.iter().map(|check| check.table(""))
    }

    /// A page with tables and pictures.
    pub fn report(&self) -> Report {
        let mut blocks = Vec::new();
        for check in &self.checks {
            let verdict = |(passed, text)| Block::Verdict { pass: Some(passed), text };
            blocks.extend(check.verdicts().into_iter().map(verdict));
        }
        for check in &self.checks {
            blocks.push(Block::Table(check.table("")));
            blocks.push(Block::Text(check.said.clone()));
            blocks.push(Block::Text(format!("Source: {}.", check.source)));
            blocks.extend(check.pictures.iter().cloned().map(Block::Picture));
        }
        if !self.skipped.is_empty() {
            blocks.push(Block::Heading("Left out".into()));
            blocks.push(Block::Items(self.skipped.clone()));
        }
        Report {
            title: "Published measurements, predicted".into(),
            lead: self.lead(),
            blocks,
            provenance: vec![("tenfold".into(), env!("CARGO_PKG_VERSION").into())],
        }
    }

    /// The tables as Markdown.
    pub fn markdown(&self) -> String {
        let mut page = format!("# Published measurements, predicted\n\n{}\n", self.lead());
        for check in &self.checks {
            let fact = |(holds, what): &(bool, String)| {
                format!("{}: {what}.\n\n", if *holds { "pass" } else { "FAIL" })
            };
            let facts: String = check.facts.iter().map(fact).collect();
            let note = format!("{}\n\n{facts}Source: {}.", check.said, check.source);
            page += &check.table(&note).markdown();
        }
        if !self.skipped.is_empty() {
            page += "\n## Left out\n\n";
            page.extend(self.skipped.iter().map(|what| format!("- {what}\n")));
        }
        page
    }

    /// The page of the book: made again by `cargo run -p validation --example published_md DIR`.
    pub fn page_of_the_book(&self) -> String {
        let markdown = self.markdown();
        let (title, body) = markdown.split_once("\n\n").unwrap_or((&markdown, ""));
        let files = KNOWN.iter().flat_map(|known| known.files).map(|file| format!("- `{file}`\n"));
        format!(
            "{title}\n\n`tenfold validate --published DIR` makes this of a folder that has any of these files as \
             their publishers have them; none is part of the project, and what is not there is left out and said \
             to be. With `--out DIR` it writes `report.md`, `report.html` and pictures of predicted over measured. \
             Exit code 1: an error is over its bound.\n\n{}\n{body}",
            files.collect::<String>()
        )
    }

    /// Writes `report.md`, `report.html` and the pictures.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), PublishedError> {
        let page = self.report();
        page.write_pictures(dir)?;
        page.write_html(&dir.join("report.html"))?;
        Ok(write_text(&dir.join("report.md"), &self.markdown())?)
    }
}
