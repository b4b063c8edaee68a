//! What scenario files write as a name, or as a table where parameters differ from the defaults.

use std::fmt;
use std::marker::PhantomData;

use schemars::Schema;
use serde::Deserializer;
use serde::de::{self, MapAccess, Visitor};

/// A value that is written as a name or as a table.
pub(crate) trait Notation: Sized {
    /// All names.
    const NAMES: &'static [&'static str];
    /// What it is, for messages.
    const EXPECTED: &'static str;

    /// The value of a name.
    fn named(name: &str) -> Option<Self>;

    /// The value that a table describes.
    fn from_table<'de, A: MapAccess<'de>>(table: A) -> Result<Self, A::Error>;
}

/// Reads a name or a table.
pub(crate) fn read<'de, T: Notation, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(NameOrTable(PhantomData))
}

/// The schema of a key, with what it means.
pub(crate) fn described(mut schema: Schema, meaning: &str) -> Schema {
    schema.insert("description".to_owned(), meaning.into());
    schema
}

struct NameOrTable<T>(PhantomData<T>);

impl<'de, T: Notation> Visitor<'de> for NameOrTable<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<T, E> {
        T::named(name).ok_or_else(|| E::unknown_variant(name, T::NAMES))
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<T, A::Error> {
        T::from_table(table)
    }
}
