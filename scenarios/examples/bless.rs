//! Renews the golden fingerprints: `cargo run -p scenarios --example bless`.

use std::path::Path;

fn main() -> Result<(), scenarios::golden::GoldenError> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (id, change) in scenarios::golden::bless(&dir)? {
        println!("{id}: {change:?}");
    }
    Ok(())
}
