//! Single pictures and tables of a report as files, by the ending of their names.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::path::Path;

use polars::prelude::{Column, DataFrame};

use super::{Picture, Report, Table};
use crate::results::write::{Staged, encode, write_text};
use crate::results::{Format, ResultsError};

fn ending(file: &Path) -> Option<&str> {
    file.extension().and_then(OsStr::to_str)
}

fn wrong_ending(file: &Path, expected: &str) -> ResultsError {
    let message = format!("expected a name that ends in {expected}");
    ResultsError::Io { path: file.to_owned(), source: io::Error::new(io::ErrorKind::InvalidInput, message) }
}

impl Report {
    /// Writes one picture, complete before it takes its name: `.svg` or `.png`, by the ending of the file.
    ///
    /// # Errors
    /// [`ResultsError::Io`] when it cannot be written, or has another ending.
    pub fn write_picture(&self, picture: &Picture, file: &Path) -> Result<(), ResultsError> {
        match ending(file) {
            Some("svg") => write_text(file, &picture.svg(&self.origin())),
            Some("png") => write_bytes(file, &picture.png(&self.origin())),
            _ => Err(wrong_ending(file, ".svg or .png")),
        }
    }

    /// Writes one table as it is read, figures with their units, complete before it takes its name: in the [`Format`] of
    /// the file's ending. Parquet and Arrow files keep where it comes from.
    ///
    /// # Errors
    /// [`ResultsError`] when it cannot be written, or has another ending.
    pub fn write_table(&self, table: &Table, file: &Path) -> Result<(), ResultsError> {
        let format: Option<Format> = ending(file).and_then(|ending| ending.parse().ok());
        let format = format.ok_or_else(|| wrong_ending(file, ".csv, .parquet, .json or .arrow"))?;
        let origin: serde_json::Map<String, serde_json::Value> =
            self.provenance.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        let origin = serde_json::Value::Object(origin).to_string();
        let mut staged = Staged::default();
        staged.write(file.to_owned(), |out| encode(&mut table.frame()?, format, Some(&origin), out))?;
        staged.publish().map(|_| ())
    }
}

impl Table {
    /// As a frame of text. Columns without a name, or with that of another, are numbered.
    fn frame(&self) -> Result<DataFrame, polars::error::PolarsError> {
        let mut columns: Vec<Column> = Vec::new();
        for (place, name) in self.header.iter().enumerate() {
            let is_known = columns.iter().any(|column| column.name() == name);
            let name =
                if name.is_empty() || is_known { format!("{name}{}", place + 1) } else { name.clone() };
            let cells: Vec<&str> =
                self.rows.iter().map(|row| row.get(place).map_or("", String::as_str)).collect();
            columns.push(Column::new(name.into(), cells));
        }
        DataFrame::new(self.rows.len(), columns)
    }
}

/// A PNG of pixels of three bytes, red, green and blue, row by row; with a `Description` if one is given.
pub(super) fn png_of((width, height): (u32, u32), pixels: &[u8], description: Option<&str>) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let known = "as many pixels as the header says";
    if let Some(text) = description {
        encoder.add_itxt_chunk("Description".to_owned(), text.to_owned()).expect(known);
    }
    let mut writer = encoder.write_header().expect(known);
    writer.write_image_data(pixels).expect(known);
    writer.finish().expect(known);
    file
}

/// Writes pixels of three bytes, red, green and blue, row by row, as a PNG that is complete before it takes its name.
///
/// # Errors
/// [`ResultsError::Io`] when it cannot be written, or the name ends in something else than `.png`.
///
/// # Panics
/// When there are not as many pixels as the size says.
pub fn write_png(file: &Path, size: (u32, u32), pixels: &[u8]) -> Result<(), ResultsError> {
    match ending(file) {
        Some("png") => write_bytes(file, &png_of(size, pixels, None)),
        _ => Err(wrong_ending(file, ".png")),
    }
}

fn write_bytes(file: &Path, bytes: &[u8]) -> Result<(), ResultsError> {
    let mut staged = Staged::default();
    staged.write(file.to_owned(), |out| Ok(out.write_all(bytes)?))?;
    staged.publish().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_written_by_the_ending_of_their_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut table = Table::new("Costs", "", 1, &["", "cost", "cost"]);
        table.row(["llm".to_owned(), "$1,200".to_owned(), "3".to_owned()]);
        let report = Report {
            title: String::new(),
            lead: String::new(),
            blocks: Vec::new(),
            provenance: vec![("seed".to_owned(), "7".to_owned())],
        };
        let csv = dir.path().join("costs.csv");
        report.write_table(&table, &csv).unwrap();
        assert_eq!(std::fs::read_to_string(&csv).unwrap(), "1,cost,cost3\nllm,\"$1,200\",3\n");
        let parquet = dir.path().join("costs.parquet");
        report.write_table(&table, &parquet).unwrap();
        assert!(std::fs::read(&parquet).unwrap().starts_with(b"PAR1"));
        let error = report.write_table(&table, &dir.path().join("costs.txt")).unwrap_err();
        assert!(error.to_string().contains(".csv, .parquet"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "no temporary file stays");
    }

    #[test]
    fn pictures_of_windows_are_png() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("window.png");
        write_png(&file, (2, 1), &[255, 0, 0, 0, 0, 255]).unwrap();
        let mut reader =
            png::Decoder::new(io::BufReader::new(std::fs::File::open(&file).unwrap())).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(pixels, [255, 0, 0, 0, 0, 255]);
        assert!(write_png(&dir.path().join("window.jpg"), (1, 1), &[0; 3]).is_err());
    }
}
