//! The kernels' arithmetic on a CPU: `emulated.cpp` runs their source and compares it with plain loops.

use std::path::Path;
use std::process::Command;

#[test]
fn kernels_agree_with_plain_loops() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let made = tempfile::tempdir().unwrap();
    let program = made.path().join("emulated");
    let compiled = Command::new("c++")
        .args(["-std=c++17", "-O1", "-w", "-o"])
        .arg(&program)
        .arg(folder.join("emulated.cpp"))
        .output();
    let Ok(compiled) = compiled else {
        eprintln!("skipped: no C++ compiler");
        return;
    };
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let run = Command::new(&program).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}");
    assert!(said.lines().filter(|line| line.ends_with("pass")).count() >= 20, "{said}");
}
