//! Prints the documentation of results: `cargo run -p scenarios --example results_md > docs/src/reference/results.md`.

fn main() {
    print!("{}", scenarios::results::columns::markdown());
}
