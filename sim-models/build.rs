//! Turns the built-in data, which people read and write as TOML, into MessagePack: reading the profile of one
//! GPU as text takes 20 ms, and every start of the program would wait for it.

use std::path::{Path, PathBuf};
use std::{env, fs};

use serde::ser::{Serialize, SerializeMap, Serializer};
use toml::Value;

const FILES: [&str; 6] = [
    "cpus.toml",
    "gpus.toml",
    "models.toml",
    "prices.toml",
    "profiles/h100-sxm-vllm-0.24.toml",
    "profiles/h200-sxm-tenfold.toml",
];

/// A value, with long lists of numbers under [`TIMES`] as bytes (`hardware/numbers.rs` reads them), and what is under
/// [`PART`], too: it is read when it is needed.
struct Packed<'a> {
    value: &'a Value,
    are_times: bool,
}

/// Shorter ones stay lists.
const LONG: usize = 8;
const TIMES: &str = "us";
const PART: &str = "config";

fn pack(value: &Value) -> Vec<u8> {
    rmp_serde::to_vec(&Packed { value, are_times: false }).expect("TOML has nothing that MessagePack lacks")
}

impl Serialize for Packed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Table(table) => {
                let mut map = serializer.serialize_map(Some(table.len()))?;
                for (key, value) in table {
                    match key.as_str() {
                        PART => map.serialize_entry(key, &Bytes(pack(value)))?,
                        _ => map.serialize_entry(key, &Packed { value, are_times: key == TIMES })?,
                    }
                }
                map.end()
            }
            Value::Array(list)
                if self.are_times && list.len() >= LONG && list.iter().all(Value::is_float) =>
            {
                let bytes = list.iter().filter_map(Value::as_float).flat_map(f64::to_le_bytes);
                Bytes(bytes.collect()).serialize(serializer)
            }
            Value::Array(list) => {
                let parts = list.iter().map(|value| Packed { value, are_times: self.are_times });
                serializer.collect_seq(parts)
            }
            value => value.serialize(serializer),
        }
    }
}

struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where"));
    for file in FILES {
        let source = Path::new("data").join(file);
        println!("cargo::rerun-if-changed={}", source.display());
        let text = fs::read_to_string(&source).unwrap_or_else(|error| panic!("{file}: {error}"));
        let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{file}: {error}"));
        let packed = pack(&Value::Table(table));
        let name = source.with_extension("msgpack");
        let name = name.file_name().expect("a file");
        // A new file, as target folders may share theirs by hard links.
        let (whole, part) = (out.join(name), out.join("part"));
        let written = fs::write(&part, packed).and_then(|()| fs::rename(&part, &whole));
        written.unwrap_or_else(|error| panic!("{}: {error}", whole.display()));
    }
}
