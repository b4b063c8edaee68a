//! Prints the page of the book that says where the times of each GPU come from.

use std::path::Path;

use validation::gpu::{Measured, gpus_md};

fn main() -> Result<(), String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("measurements");
    print!("{}", gpus_md(&Measured::open(&folder, "h200-sxm")?));
    Ok(())
}
