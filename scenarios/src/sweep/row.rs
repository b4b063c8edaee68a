//! Rows of a sweep, and frames of them.

use polars::prelude::{AnyValue, DataFrame, PolarsError, polars_err};

use super::axes::{Axis, SCALE, VARIANT, number};
use super::columns::{BEFORE_AXES, HALF_WIDTH, SWEEP};
use crate::results::RunResult;
use crate::results::columns::Kind;
use crate::results::stamp::whole;
use crate::results::table::{Cell, Table};

/// A value that outlives its run.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Count(u64),
    Real(f64),
    Null,
}

impl Value {
    fn cell(&self) -> Cell<'_> {
        match self {
            Self::Text(text) => Cell::Text(text),
            Self::Count(count) => Cell::Count(*count),
            // What is not finite is not known.
            Self::Real(real) => Cell::from(*real),
            Self::Null => Cell::Null,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A point and what became of it: a value for each column.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub point: u64,
    pub values: Vec<Value>,
}

/// Names and types of the columns of a sweep.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Columns(Vec<(String, Kind)>);

/// Whether an axis has a column of its own.
fn is_own(axis: &Axis) -> bool {
    ![SCALE, VARIANT].contains(&axis.path.as_str())
}

impl Columns {
    /// The columns of a sweep over these axes; the name that would be there twice, if there is one.
    pub fn new(axes: &[Axis]) -> Result<Self, String> {
        let fixed = || SWEEP.columns.iter().map(|column| (column.name.to_owned(), column.kind));
        let own = axes.iter().filter(|axis| is_own(axis)).map(|axis| axis.column.clone());
        let all: Vec<(String, Kind)> =
            fixed().take(BEFORE_AXES).chain(own).chain(fixed().skip(BEFORE_AXES)).collect();
        match all.iter().enumerate().find(|(at, (name, _))| all[..*at].iter().any(|(other, _)| other == name))
        {
            Some((_, (name, _))) => Err(name.clone()),
            None => Ok(Self(all)),
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Where a column is.
    pub fn position(&self, name: &str) -> usize {
        self.names().position(|column| column == name).expect("a documented column")
    }

    /// A frame of rows. It is built value by value, so that equal rows give equal bytes.
    pub fn frame<'r>(&self, rows: impl ExactSizeIterator<Item = &'r Row>) -> DataFrame {
        let mut table = Table::with_columns(SWEEP.name, self.0.clone(), rows.len());
        for row in rows {
            let cells: Vec<Cell> = row.values.iter().map(Value::cell).collect();
            table.row(&[&cells]);
        }
        table.finish()
    }

    /// The rows of a frame.
    ///
    /// # Errors
    /// When it has other columns.
    pub fn rows(&self, frame: &DataFrame) -> Result<Vec<Row>, PolarsError> {
        let expected = self.0.iter().map(|(name, kind)| (name.as_str(), kind.dtype()));
        let found = frame.columns().iter().map(|column| (column.name().as_str(), column.dtype().clone()));
        if !found.eq(expected) {
            return Err(polars_err!(SchemaMismatch: "these are not the columns of this sweep"));
        }
        let row = |number: usize| {
            let value = |column: &polars::prelude::Column| {
                Ok(match column.get(number)? {
                    AnyValue::String(text) => Value::from(text),
                    AnyValue::StringOwned(text) => Value::from(text.as_str()),
                    AnyValue::UInt64(count) => Value::Count(count),
                    AnyValue::Float64(real) => Value::Real(real),
                    _ => Value::Null,
                })
            };
            let values: Vec<Value> = frame.columns().iter().map(value).collect::<Result<_, PolarsError>>()?;
            match values[0] {
                Value::Count(point) => Ok(Row { point, values }),
                _ => Err(polars_err!(SchemaMismatch: "a row without the number of its point")),
            }
        };
        (0..frame.height()).map(row).collect()
    }
}

/// What is known of a point before it is run.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub point: u64,
    pub axes: &'a [Axis],
    /// The value on each axis.
    pub values: &'a [String],
    pub variant: &'a str,
    pub multiplier: f64,
}

impl Place<'_> {
    /// Everything up to `multiplier`.
    fn head(&self) -> Vec<Value> {
        let mut head = vec![Value::Count(self.point)];
        let own = self.axes.iter().zip(self.values).filter(|(axis, _)| is_own(axis));
        head.extend(own.map(|(axis, value)| match (axis.column.1, number(value)) {
            (Kind::Count, Some(number)) => Value::Count(number as u64),
            (Kind::Real, Some(number)) => Value::Real(number),
            _ => crate::language::shown(value).map_or(Value::Null, Value::Text),
        }));
        head.extend([Value::from(self.variant), Value::Real(self.multiplier)]);
        head
    }

    fn row(self, mut tail: impl FnMut(&'static str) -> Value) -> Row {
        let mut values = self.head();
        // `point`, `variant` and `multiplier` are in the head.
        values.extend(SWEEP.columns.iter().skip(BEFORE_AXES + 2).map(|column| tail(column.name)));
        Row { point: self.point, values }
    }

    /// The row of a point that cannot be run.
    pub fn failed(self, error: &str) -> Row {
        self.row(|column| match column {
            "error" => Value::from(error),
            "version" => Value::from(env!("CARGO_PKG_VERSION")),
            _ => Value::Null,
        })
    }

    /// The row of a point that was run.
    pub fn done(self, result: &RunResult) -> Row {
        let average = result.whole_average();
        let figure = |column: &str| {
            let (column, is_width) = match column.strip_prefix(HALF_WIDTH) {
                Some(column) => (column, true),
                None => (column, false),
            };
            let figure = average.as_ref().and_then(|average| average.figures.get(column));
            let value =
                figure.and_then(|figure| if is_width { figure.half_width } else { Some(figure.mean) });
            value.map_or(Value::Null, Value::Real)
        };
        let provenance = &result.provenance;
        let all = |hashes: &[String]| Value::Text(whole(hashes));
        self.row(|column| match column {
            "slo" => Value::from(match result.passed() {
                None => "none",
                Some(true) => "pass",
                Some(false) => "fail",
            }),
            "finding" => result.findings.first().map_or(Value::Null, |finding| Value::from(finding.as_str())),
            "error" => Value::Null,
            "replications" => Value::Count(result.outputs.len() as u64),
            "calibration" => Value::from(provenance.calibration.as_str()),
            "fingerprint" => all(&provenance.fingerprints),
            "outcome_hash" => all(&provenance.outcome_hashes),
            "seed" => Value::Count(provenance.seed),
            "scenario_hash" => Value::from(provenance.scenario_hash.as_str()),
            "version" => Value::from(provenance.version.as_str()),
            figured => figure(figured),
        })
    }
}
