//! The command as a user runs it.

mod bad_input;
mod book;
mod commands;
mod plan;
mod report;
mod sweep;

use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A small scenario; the tests of errors count its lines.
const SCENARIO: &str = r#"name = "Small"
[run]
duration = "30s"
replications = 2
[traffic.web]
arrivals = { process = "poisson", rate = "8/s" }
entry = "edge"

[components.edge]
kind = "flow"
steps = ["db"]
[components.db]
kind = "service"
service_time = { exponential = { mean = "100ms" } }
servers = 2

[slo]
latency = { p99 = "5s" }
[links."web -> edge"]
timeout = "10s"
"#;

/// A directory of its own to run the command in.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Self {
        Self(TempDir::new().expect("a temporary directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("writable");
    }

    fn tenfold(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tenfold"))
            .args(args)
            .current_dir(self.0.path())
            .output()
            .expect("the command starts")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
