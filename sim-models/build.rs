//! Turns the built-in data, which people read and write as TOML, into MessagePack: reading the profile of one
//! GPU as text takes 20 ms, and every start of the program would wait for it.

use std::path::{Path, PathBuf};
use std::{env, fs};

const FILES: [&str; 6] = [
    "cpus.toml",
    "gpus.toml",
    "models.toml",
    "prices.toml",
    "profiles/h100-sxm-vllm-0.24.toml",
    "profiles/h200-sxm-tenfold.toml",
];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where"));
    for file in FILES {
        let source = Path::new("data").join(file);
        println!("cargo::rerun-if-changed={}", source.display());
        let text = fs::read_to_string(&source).unwrap_or_else(|error| panic!("{file}: {error}"));
        let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{file}: {error}"));
        let packed = rmp_serde::to_vec(&table).expect("TOML has nothing that MessagePack lacks");
        let name = source.with_extension("msgpack");
        let name = name.file_name().expect("a file");
        // A new file, as target folders may share theirs by hard links.
        let (whole, part) = (out.join(name), out.join("part"));
        let written = fs::write(&part, packed).and_then(|()| fs::rename(&part, &whole));
        written.unwrap_or_else(|error| panic!("{}: {error}", whole.display()));
    }
}
