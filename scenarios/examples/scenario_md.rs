//! Prints the documentation of scenario files:
//! `cargo run -p scenarios --example scenario_md > docs/src/reference/scenario.md`.

fn main() {
    print!("{}", scenarios::language::reference());
}
