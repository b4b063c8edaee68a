//! Builds a polars frame row by row, as its columns are documented.

use polars::prelude::{
    BooleanChunkedBuilder, ChunkedBuilder, Column as PolarsColumn, DataFrame, Float64Type, IntoColumn,
    PrimitiveChunkedBuilder, StringChunkedBuilder, UInt64Type,
};

use super::columns::{Frame, Kind};

/// A value of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cell<'a> {
    Text(&'a str),
    Count(u64),
    Real(f64),
    Flag(bool),
    Null,
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Cell<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Cell<'_> {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<f64> for Cell<'_> {
    /// What is not finite is not known.
    fn from(real: f64) -> Self {
        if real.is_finite() { Self::Real(real) } else { Self::Null }
    }
}

impl From<bool> for Cell<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl<'a, T: Into<Cell<'a>>> From<Option<T>> for Cell<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The cells of a row from values of different types.
macro_rules! cells {
    ($($value:expr),* $(,)?) => { [$($crate::results::table::Cell::from($value)),*] };
}
pub(crate) use cells;

enum Builder {
    Text(StringChunkedBuilder),
    Count(PrimitiveChunkedBuilder<UInt64Type>),
    Real(PrimitiveChunkedBuilder<Float64Type>),
    Flag(BooleanChunkedBuilder),
}

impl Builder {
    fn push(&mut self, cell: Cell, column: &str) {
        match (self, cell) {
            (Self::Text(builder), Cell::Text(text)) => builder.append_value(text),
            (Self::Count(builder), Cell::Count(count)) => builder.append_value(count),
            (Self::Real(builder), Cell::Real(real)) => builder.append_value(real),
            (Self::Flag(builder), Cell::Flag(flag)) => builder.append_value(flag),
            (Self::Text(builder), Cell::Null) => builder.append_null(),
            (Self::Count(builder), Cell::Null) => builder.append_null(),
            (Self::Real(builder), Cell::Null) => builder.append_null(),
            (Self::Flag(builder), Cell::Null) => builder.append_null(),
            (_, cell) => unreachable!("column `{column}` is documented with another type than {cell:?}"),
        }
    }

    fn finish(self) -> PolarsColumn {
        match self {
            Self::Text(builder) => builder.finish().into_column(),
            Self::Count(builder) => builder.finish().into_column(),
            Self::Real(builder) => builder.finish().into_column(),
            Self::Flag(builder) => builder.finish().into_column(),
        }
    }
}

/// A frame under construction.
pub(crate) struct Table {
    name: &'static str,
    columns: Vec<String>,
    builders: Vec<Builder>,
    rows: usize,
}

impl Table {
    /// An empty frame with room for `rows`.
    pub(crate) fn new(frame: Frame, rows: usize) -> Self {
        let columns = frame.columns.iter().map(|column| (column.name.to_owned(), column.kind));
        Self::with_columns(frame.name, columns, rows)
    }

    /// An empty frame of columns that are only known now.
    pub(crate) fn with_columns(
        name: &'static str,
        columns: impl IntoIterator<Item = (String, Kind)>,
        rows: usize,
    ) -> Self {
        let (columns, kinds): (Vec<String>, Vec<Kind>) = columns.into_iter().unzip();
        let builders = columns.iter().zip(kinds).map(|(column, kind)| {
            let name = column.as_str().into();
            match kind {
                Kind::Text => Builder::Text(StringChunkedBuilder::new(name, rows)),
                Kind::Count => Builder::Count(PrimitiveChunkedBuilder::new(name, rows)),
                Kind::Real => Builder::Real(PrimitiveChunkedBuilder::new(name, rows)),
                Kind::Flag => Builder::Flag(BooleanChunkedBuilder::new(name, rows)),
            }
        });
        let builders = builders.collect();
        Self { name, columns, builders, rows: 0 }
    }

    /// Adds a row, given in parts: one cell for every column.
    ///
    /// # Panics
    /// When the cells are not those of the documented columns.
    pub(crate) fn row(&mut self, parts: &[&[Cell]]) {
        let cells: usize = parts.iter().map(|part| part.len()).sum();
        assert_eq!(cells, self.builders.len(), "cells and columns of `{}`", self.name);
        let cells = parts.iter().flat_map(|part| part.iter());
        for ((builder, column), cell) in self.builders.iter_mut().zip(&self.columns).zip(cells) {
            builder.push(*cell, column);
        }
        self.rows += 1;
    }

    /// The frame.
    pub(crate) fn finish(self) -> DataFrame {
        let columns = self.builders.into_iter().map(Builder::finish).collect();
        DataFrame::new(self.rows, columns).expect("columns of one length and with names of their own")
    }
}
