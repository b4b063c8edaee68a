//! Cells of words, with what holds and what does not.

use super::canvas::{Canvas, letters};
use super::chart::SMALL;
use super::color::{BAD, GOOD, GRID, INK, MUTED, SHADE};

const WIDTH: f64 = 920.0;
const HEAD: f64 = 28.0;
/// Height of a line in a cell.
const LINE: f64 = 17.0;

/// A cell: whether it passes, and what is to be said of it, line by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Whether it passes.
    pub pass: bool,
    /// What is said of it.
    pub lines: Vec<String>,
}

/// Cells by rows and columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Name and cells of each row; none where there is nothing to say.
    pub rows: Vec<(String, Vec<Option<Cell>>)>,
}

impl Matrix {
    fn lines(&self) -> usize {
        let cells = self.rows.iter().flat_map(|(_, cells)| cells.iter().flatten());
        cells.map(|cell| cell.lines.len() + 1).max().unwrap_or(1)
    }

    fn row_height(&self) -> f64 {
        LINE * self.lines() as f64 + 14.0
    }

    pub(super) fn size(&self) -> (u32, u32) {
        (WIDTH as u32, (HEAD + self.row_height() * self.rows.len() as f64 + 8.0) as u32)
    }

    pub(super) fn draw(&self, canvas: &mut dyn Canvas) {
        let widest =
            self.rows.iter().map(|(name, _)| canvas.width_of(name, SMALL)).fold(0.0, f64::max).min(190.0);
        let left = widest + 20.0;
        let (width, height) = ((WIDTH - left - 6.0) / self.columns.len().max(1) as f64, self.row_height());
        for (number, name) in self.columns.iter().enumerate() {
            let text = canvas.fitted(name, SMALL, width - 12.0);
            canvas.text(
                &text,
                (left + width * (number as f64 + 0.5), HEAD / 2.0),
                letters(SMALL, MUTED).centred(),
            );
        }
        for (row, (name, cells)) in self.rows.iter().enumerate() {
            let top = HEAD + height * row as f64;
            let text = canvas.fitted(name, SMALL, left - 12.0);
            canvas.text(&text, (left - 12.0, top + height / 2.0), letters(SMALL, INK).to_the_left());
            for (number, cell) in cells.iter().enumerate() {
                let corner = (left + width * number as f64 + 3.0, top + 3.0);
                let size = (width - 6.0, height - 6.0);
                let Some(cell) = cell else {
                    canvas.rect(corner, size, GRID, false);
                    let middle = (corner.0 + size.0 / 2.0, corner.1 + size.1 / 2.0);
                    canvas.text("cannot fail so", middle, letters(SMALL, MUTED).centred());
                    continue;
                };
                let ink = if cell.pass { GOOD } else { BAD };
                canvas.rect(corner, size, SHADE, true);
                canvas.rect(corner, (6.0, size.1), ink, true);
                canvas.rect(corner, size, ink, false);
                let said = std::iter::once(if cell.pass { "pass" } else { "FAIL" });
                for (line, text) in said.chain(cell.lines.iter().map(String::as_str)).enumerate() {
                    let at = (corner.0 + 14.0, corner.1 + 5.0 + LINE * (line as f64 + 0.5));
                    let text = canvas.fitted(text, SMALL, size.0 - 18.0);
                    canvas.text(&text, at, letters(SMALL, INK));
                }
            }
        }
    }
}
