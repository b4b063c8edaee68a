//! Prints the page of the book on a real serving engine beside its prediction.

use std::path::Path;

fn main() -> Result<(), validation::engine::EngineCheckError> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/records/h200");
    print!("{}", validation::engine::check_engine(&folder)?.page_of_the_book());
    Ok(())
}
