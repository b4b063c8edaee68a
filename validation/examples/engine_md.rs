//! Writes the page of the book on a real serving engine beside its prediction, and its pictures.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let report = validation::engine::check_engine(&root.join("engine/records/h200"))?;
    for (place, text) in report.of_the_book() {
        std::fs::write(root.join("../docs/src").join(place), text)?;
    }
    Ok(())
}
