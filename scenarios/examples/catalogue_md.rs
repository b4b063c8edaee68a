//! Prints the page of models, GPUs and hosts:
//! `cargo run -p scenarios --example catalogue_md > docs/src/reference/catalogue.md`.

fn main() {
    print!("{}", scenarios::language::catalogue());
}
