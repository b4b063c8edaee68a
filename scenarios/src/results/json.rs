//! Frames as JSON.

use polars::prelude::{AnyValue, DataFrame};
use serde_json::{Map, Value, json};

use super::RunResult;

/// The rows of a frame, each an object of its columns.
pub(crate) fn rows(frame: &DataFrame) -> Value {
    let row = |number: usize| -> Value {
        let cell = |column: &polars::prelude::Column| {
            let value = match column.get(number) {
                Ok(AnyValue::String(text)) => Value::from(text),
                Ok(AnyValue::StringOwned(text)) => Value::from(text.as_str()),
                Ok(AnyValue::UInt64(count)) => Value::from(count),
                // What is not finite has no JSON; there is none, for such cells are null.
                Ok(AnyValue::Float64(real)) => Value::from(real),
                Ok(AnyValue::Boolean(flag)) => Value::from(flag),
                _ => Value::Null,
            };
            (column.name().to_string(), value)
        };
        Value::Object(frame.columns().iter().map(cell).collect())
    };
    (0..frame.height()).map(row).collect()
}

impl RunResult {
    /// Everything as one JSON object: `provenance`, `findings`, and each frame as an array of rows.
    pub fn to_json(&self) -> Value {
        object(json!(self.provenance), json!(self.findings), &self.frames())
    }
}

/// Results as one JSON object.
pub(crate) fn object(provenance: Value, findings: Value, frames: &[(&'static str, DataFrame)]) -> Value {
    let mut object = Map::new();
    object.insert("provenance".into(), provenance);
    object.insert("findings".into(), findings);
    for (name, frame) in frames {
        object.insert((*name).into(), rows(frame));
    }
    Value::Object(object)
}
