//! Long lists of times (`us`), which the build script packs as bytes: a number by itself takes ten times as long to read.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

/// Reads a list of numbers, packed or not.
pub(super) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    deserializer.deserialize_any(List)
}

/// Reads a list of such lists.
pub(super) fn lists<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<f64>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Row(#[serde(deserialize_with = "list")] Vec<f64>);
    Ok(Vec::<Row>::deserialize(deserializer)?.into_iter().map(|row| row.0).collect())
}

struct List;

impl<'de> Visitor<'de> for List {
    type Value = Vec<f64>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<f64>, A::Error> {
        let mut numbers = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(4096));
        while let Some(number) = seq.next_element()? {
            numbers.push(number);
        }
        Ok(numbers)
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<f64>, E> {
        let (numbers, rest) = bytes.as_chunks();
        if !rest.is_empty() {
            return Err(E::custom("packed numbers have 8 bytes each"));
        }
        Ok(numbers.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Table {
        #[serde(deserialize_with = "list")]
        us: Vec<f64>,
    }

    #[test]
    fn packed_and_plain_lists_are_the_same() {
        let table = Table { us: vec![1.5, 2.0, -3e300] };
        assert_eq!(toml::from_str::<Table>("us = [1.5, 2, -3e300]").unwrap(), table);
        // A map of one: `us` with 24 bytes.
        let mut packed = b"\x81\xa2us\xc4\x18".to_vec();
        table.us.iter().for_each(|number| packed.extend(number.to_le_bytes()));
        assert_eq!(rmp_serde::from_slice::<Table>(&packed).unwrap(), table);
        packed.truncate(packed.len() - 1);
        packed[5] -= 1;
        assert!(rmp_serde::from_slice::<Table>(&packed).unwrap_err().to_string().contains("8 bytes"));
        let error = toml::from_str::<Table>("us = 'much'").unwrap_err().to_string();
        assert!(error.contains("expected a list of numbers"), "{error}");
    }
}
