//! Rows and columns of text, for the terminal and for reports.

/// A table whose figures are text already, with their units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// What it is about.
    pub title: String,
    /// What else is to be known of it; may be empty.
    pub note: String,
    /// So many columns at the left are text, the others numbers.
    pub texts: usize,
    /// Names of the columns.
    pub header: Vec<String>,
    /// The rows, each with a cell for every column.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(title: &str, note: &str, texts: usize, header: &[&str]) -> Self {
        let header = header.iter().map(|name| (*name).to_owned()).collect();
        Self { title: title.to_owned(), note: note.to_owned(), texts, header, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether a column is text, which stands at the left: the first ones, and any with words.
    pub fn is_text(&self, column: usize) -> bool {
        let words =
            |row: &Vec<String>| row.get(column).is_some_and(|cell| cell.contains(' ') && cell.len() > 24);
        column < self.texts || self.rows.iter().any(words)
    }

    /// The table in Markdown, under a heading of the second level.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = format!("\n## {}\n\n", self.title);
        if !self.note.is_empty() {
            text += &format!("{}\n\n", self.note);
        }
        text += &line(&self.header);
        text += &format!("|{}\n", "---|".repeat(self.header.len()));
        text.extend(self.rows.iter().map(|row| line(row)));
        text
    }
}
