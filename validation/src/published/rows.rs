//! Rows of published tables.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::PublishedError;

/// The rows of a CSV file with a header.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, PublishedError> {
    let refuse = |error: csv::Error| PublishedError::File {
        path: path.display().to_string(),
        message: format!("{error}: expected the columns of its publisher"),
    };
    csv::Reader::from_path(path).map_err(refuse)?.deserialize().map(|row| row.map_err(refuse)).collect()
}

/// The median; the upper one of two.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
