//! How the program is linked.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |what: &str| env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    // 80,000 pointers in tables of the large libraries would have to be corrected for where the program lies in
    // memory, which takes 3 ms at every start. At a fixed place they are right in the file.
    if (target("OS"), target("ENV")) == ("linux".into(), "gnu".into()) {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
