//! Bad input gives a one-screen error that names place and remedy, with exit code 2.

use std::fs;

use crate::{SCENARIO, Scratch, text};

/// Checks the error of `tenfold run` on a scenario.
fn refuses(scratch: &Scratch, scenario: &str, place: &str, words: &[&str]) {
    scratch.write("bad.toml", scenario);
    let output = scratch.tenfold(&["run", "bad.toml"]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.lines().count() <= 24, "more than a screen:\n{error}");
    assert!(error.contains(&format!("bad.toml:{place}")), "want {place}:\n{error}");
    for word in words {
        assert!(error.contains(word), "want `{word}`:\n{error}");
    }
    assert!(output.stdout.is_empty());
}

/// The scenario with one piece of text replaced.
fn with(from: &str, to: &str) -> String {
    assert!(SCENARIO.contains(from), "{from}");
    SCENARIO.replacen(from, to, 1)
}

#[test]
fn mistakes_in_the_file_are_shown_in_the_file() {
    let scratch = Scratch::new();
    let cases: [(String, &str, &[&str]); 10] = [
        (with("service_time", "servise_time"), "14:1", &["servise_time", "service_time"]),
        (with("\"100ms\"", "\"100 parsecs\""), "14:", &["100 parsecs", "250ms"]),
        (with("[links.\"web -> edge\"]", "[links.\"web -> edgy\"]"), "19:", &["edgy", "edge"]),
        (with("\"8/s\"", "\"-8/s\""), "6:", &["-8/s", "12/s"]),
        (with("servers = 2", "servers = nan"), "15:", &["nan"]),
        (with("servers = 2", "servers = 99999999999"), "15:", &["99999999999"]),
        (with("servers = 2", "servers = 1e999"), "15:", &["1e999"]),
        (with("steps = [\"db\"]", "steps = [\"bd\"]"), "11:", &["bd", "db"]),
        (with("kind = \"flow\"", "kind = \"folw\""), "10:", &["folw", "flow"]),
        (
            with(
                "steps = [\"db\"]",
                "steps = [\"db\", \"again\"]\n[components.again]\nkind = \"flow\"\nsteps = [\"edge\"]",
            ),
            "1",
            &["cycle", "edge", "again"],
        ),
    ];
    for (scenario, place, words) in &cases {
        refuses(&scratch, scenario, place, words);
    }
}

#[test]
fn a_model_that_does_not_fit_says_what_would() {
    let scratch = Scratch::new();
    let llm = "kind = \"llm\"\nmodel = \"llama-3.1-70b\"\ngpu = \"h100-sxm\"\n";
    let scenario =
        with("kind = \"service\"\nservice_time = { exponential = { mean = \"100ms\" } }\nservers = 2\n", llm);
    refuses(&scratch, &scenario, "1", &["llama-3.1-70b", "GiB", "tensor_parallel"]);
}

#[test]
fn files_that_cannot_be_read() {
    let scratch = Scratch::new();
    let refused = |args: &[&str], words: &[&str]| {
        let output = scratch.tenfold(args);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        for word in words {
            assert!(error.contains(word), "{args:?}: want `{word}`:\n{error}");
        }
    };
    refused(&["run", "missing.toml"], &["missing.toml"]);
    fs::write(scratch.path("latin1.toml"), b"name = \"caf\xe9\"\n").unwrap();
    refused(&["run", "latin1.toml"], &["latin1.toml", "UTF-8"]);
    // A line of a gigabyte, all of it a hole.
    fs::File::create(scratch.path("long.toml")).unwrap().set_len(1 << 30).unwrap();
    refused(&["run", "long.toml"], &["long.toml"]);
    scratch.write("ok.toml", SCENARIO);
    scratch.write("empty.csv", "");
    refused(&["run", "ok.toml", "--trace", "empty.csv"], &["empty.csv"]);
    scratch.write("header.csv", "arrival_s,prompt_tokens,output_tokens\n");
    refused(&["run", "ok.toml", "--trace", "header.csv"], &["header.csv"]);
    scratch.write("broken.csv", "arrival_s,prompt_tokens,output_tokens\n0.5,10,10\n0.6,ten,10\n");
    refused(&["run", "ok.toml", "--trace", "broken.csv"], &["broken.csv:3", "prompt_tokens", "ten"]);
    refused(&["run", "ok.toml", "--set", "components.db.server=3"], &["server", "servers"]);
    refused(&["run", "ok.toml", "--scale", "ten"], &["ten"]);
    refused(&["run", "ok.toml", "--format", "parquet"], &["--out"]);
    refused(&["run", "ok.toml", "--out", "ok.toml/results"], &["ok.toml/results"]);
    refused(&["new", "ok.toml"], &["exists"]);
    refused(&["new", "fresh.toml", "--from", "nothing"], &["nothing", "recommender"]);
    assert!(!scratch.path("fresh.toml").exists());
}
