//! Cells of words, with what holds and what does not.

use super::canvas::{Canvas, letters};
use super::chart::SMALL;
use super::color::{BAD, Color, GOOD, GRID, HEAT, INK, MUTED, SHADE};

const WIDTH: f64 = 920.0;
const HEAD: f64 = 28.0;
/// How much of the ground a colour covers: letters stay legible on it.
pub const HEATED: f64 = 0.45;

/// The colour of a cell of a heat map, by a value from 0 to 1: in equal steps.
pub fn step(share: f64) -> Color {
    HEAT[((share * HEAT.len() as f64) as usize).min(HEAT.len() - 1)]
}

/// Height of a line in a cell.
const LINE: f64 = 17.0;

/// A cell: whether it passes, and what is to be said of it, line by line.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Whether it passes; none where nothing is expected.
    pub pass: Option<bool>,
    /// Its colour in a heat map, from 0 to 1.
    pub heat: Option<f64>,
    /// What is said of it.
    pub lines: Vec<String>,
}

impl Cell {
    /// Whether it passes, in a word; empty where nothing is expected.
    pub fn verdict(&self) -> &'static str {
        self.pass.map_or("", |pass| if pass { "pass" } else { "FAIL" })
    }
}

/// Cells by rows and columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// What the columns are; empty where their names say it.
    pub across: String,
    /// What the rows are.
    pub down: String,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Name and cells of each row; none where there is nothing to say.
    pub rows: Vec<(String, Vec<Option<Cell>>)>,
    /// What is said where there is no cell.
    pub without: String,
}

impl Matrix {
    fn lines(&self) -> usize {
        let cells = self.rows.iter().flat_map(|(_, cells)| cells.iter().flatten());
        cells.map(|cell| cell.lines.len() + usize::from(cell.pass.is_some())).max().unwrap_or(1)
    }

    /// Height of the names above the cells.
    fn head(&self) -> f64 {
        if self.across.is_empty() { HEAD } else { 2.0 * HEAD - 6.0 }
    }

    fn row_height(&self) -> f64 {
        LINE * self.lines() as f64 + 14.0
    }

    pub(super) fn size(&self) -> (u32, u32) {
        (WIDTH as u32, (self.head() + self.row_height() * self.rows.len() as f64 + 8.0) as u32)
    }

    pub(super) fn draw(&self, canvas: &mut dyn Canvas) {
        let names = self.rows.iter().map(|(name, _)| name).chain([&self.down]);
        let widest = names.map(|name| canvas.width_of(name, SMALL)).fold(0.0, f64::max).min(190.0);
        let (left, head) = (widest + 20.0, self.head());
        let (width, height) = ((WIDTH - left - 6.0) / self.columns.len().max(1) as f64, self.row_height());
        if !self.across.is_empty() {
            canvas.text(&self.across, ((left + WIDTH) / 2.0, HEAD / 2.0), letters(SMALL, INK).centred());
        }
        let names = head - HEAD / 2.0;
        let down = canvas.fitted(&self.down, SMALL, left - 12.0);
        canvas.text(&down, (left - 12.0, names), letters(SMALL, INK).to_the_left());
        for (number, name) in self.columns.iter().enumerate() {
            let text = canvas.fitted(name, SMALL, width - 12.0);
            let middle = left + width * (number as f64 + 0.5);
            canvas.text(&text, (middle, names), letters(SMALL, MUTED).centred());
        }
        for (row, (name, cells)) in self.rows.iter().enumerate() {
            let top = head + height * row as f64;
            let text = canvas.fitted(name, SMALL, left - 12.0);
            canvas.text(&text, (left - 12.0, top + height / 2.0), letters(SMALL, INK).to_the_left());
            for (number, cell) in cells.iter().enumerate() {
                let corner = (left + width * number as f64 + 3.0, top + 3.0);
                let size = (width - 6.0, height - 6.0);
                let Some(cell) = cell else {
                    canvas.rect(corner, size, GRID, false);
                    let middle = (corner.0 + size.0 / 2.0, corner.1 + size.1 / 2.0);
                    canvas.text(&self.without, middle, letters(SMALL, MUTED).centred());
                    continue;
                };
                let ink = cell.pass.map_or(GRID, |pass| if pass { GOOD } else { BAD });
                canvas.rect(corner, size, SHADE, true);
                if let Some(share) = cell.heat {
                    let (right, below) = (corner.0 + size.0, corner.1 + size.1);
                    let all = [corner, (right, corner.1), (right, below), (corner.0, below)];
                    canvas.fill(&all, step(share), HEATED);
                }
                canvas.rect(corner, (6.0, size.1), ink, true);
                canvas.rect(corner, size, ink, false);
                let said = Some(cell.verdict()).filter(|word| !word.is_empty()).into_iter();
                for (line, text) in said.chain(cell.lines.iter().map(String::as_str)).enumerate() {
                    let at = (corner.0 + 14.0, corner.1 + 5.0 + LINE * (line as f64 + 0.5));
                    let text = canvas.fitted(text, SMALL, size.0 - 18.0);
                    canvas.text(&text, at, letters(SMALL, INK));
                }
            }
        }
    }
}
