//! Prints the page of the book on the measurements that are kept with the project.

use std::path::Path;

fn main() -> Result<(), String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("measurements");
    print!("{}", validation::gpu::Measured::open(&folder, "h200-sxm")?.markdown());
    Ok(())
}
