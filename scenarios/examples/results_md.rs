//! Prints the documentation of results: `cargo run -p scenarios --example results_md > docs/results.md`.

fn main() {
    print!("{}", scenarios::results::columns::markdown());
}
