//! Reports, pictures, timelines and dashboards.

use std::fs;

use crate::{SCENARIO, Scratch, text};

#[test]
fn every_experiment_writes_a_page_and_its_pictures() {
    let scratch = Scratch::new();
    let variant = "\n[[variant]]\nname = \"more\"\nset = { \"components.db.servers\" = 3 }\n";
    scratch.write("ok.toml", &format!("{SCENARIO}{variant}"));
    for (command, more) in [
        ("run", &[][..]),
        ("compare", &[]),
        ("stress", &["--levels-only", "--multipliers", "1,2"]),
        ("sweep", &["--axis", "components.db.servers=2,3"]),
        ("plan", &["--axis", "components.db.servers=1..3/1", "--pareto", "--tornado"]),
    ] {
        let (page, plots) = (format!("new/{command}.html"), format!("{command}-plots"));
        let args = [&[command, "ok.toml", "--report", &page, "--plots", &plots][..], more].concat();
        let output = scratch.tenfold(&args);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{command}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("wrote"), "{command}");
        let html = fs::read_to_string(scratch.path(&page)).unwrap();
        assert!(
            html.starts_with("<!DOCTYPE html>") && html.contains("<svg") && html.contains("Small"),
            "{command}"
        );
        let mut names: Vec<String> = fs::read_dir(scratch.path(&plots))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        assert!(names.len() >= 4 && names.len().is_multiple_of(2), "{command}: {names:?}");
        assert!(names.chunks(2).all(|pair| pair[0].replace(".png", ".svg") == pair[1]), "{names:?}");
    }
    let output =
        scratch.tenfold(&["sweep", "ok.toml", "--axis", "scale=1,2", "--shard", "1/2", "--report", "a.html"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("shard 1/2 has no report"));
}

#[test]
fn a_window_is_written_for_perfetto() {
    let scratch = Scratch::new();
    scratch.write("ok.toml", SCENARIO);
    let output =
        scratch.tenfold(&["run", "ok.toml", "--perfetto", "trace.json", "--perfetto-window", "10s..12s"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let trace: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(scratch.path("trace.json")).unwrap()).unwrap();
    assert_eq!(trace["otherData"]["window_s"], serde_json::json!([10.0, 12.0]));
    assert!(trace["traceEvents"].as_array().unwrap().len() > 20);
    for (window, words) in [("12s..10s", "before its end"), ("soon", "soon"), ("1h..2h", "not in the run")] {
        let output =
            scratch.tenfold(&["run", "ok.toml", "--perfetto", "t.json", "--perfetto-window", window]);
        assert_eq!(output.status.code(), Some(2), "{window}");
        assert!(text(&output.stderr).contains(words), "{window}: {}", text(&output.stderr));
        assert!(!scratch.path("t.json").exists());
    }
}

#[test]
fn a_dashboard_is_shown_and_is_in_the_json() {
    let scratch = Scratch::new();
    scratch.write("ok.toml", SCENARIO);
    let shown = text(&scratch.tenfold(&["run", "ok.toml", "--dashboard", "--duration", "3m"]).stdout);
    assert!(shown.contains("What a dashboard would show") && shown.contains("peak dashboard"), "{shown}");
    let json = text(
        &scratch.tenfold(&["run", "ok.toml", "--dashboard", "--duration", "3m", "--format", "json"]).stdout,
    );
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let row = &json["dashboard"][0];
    assert_eq!((row["component"].as_str(), row["quantile"].as_str()), (Some("system"), Some("p50")));
    let figure = |column: &str| row[column].as_f64().unwrap();
    let (from, to) = (figure("bucket_from_s"), figure("bucket_to_s"));
    assert!((from..=to).contains(&figure("exact_s")) && (from..=to).contains(&figure("dashboard_s")));
    assert!(figure("peak_exact_s") > 0.0 && figure("peak_dashboard_s") > 0.0);
}

#[test]
fn a_page_that_cannot_be_written_is_named_before_the_run() {
    let scratch = Scratch::new();
    scratch.write("ok.toml", SCENARIO);
    for flag in ["--report", "--perfetto", "--plots"] {
        let target = if flag == "--plots" { "ok.toml" } else { "ok.toml/page" };
        let output = scratch.tenfold(&["run", "ok.toml", flag, target]);
        assert_eq!(output.status.code(), Some(2), "{flag}");
        assert!(text(&output.stderr).contains("cannot write"), "{flag}: {}", text(&output.stderr));
    }
}

#[test]
fn what_is_read_is_not_written_over() {
    let scratch = Scratch::new();
    scratch.write("ok.toml", SCENARIO);
    scratch.write("other.toml", &SCENARIO.replace("Small", "Other"));
    let trace = "arrival_s,prompt_tokens,output_tokens\n0,10,5\n1,10,5\n";
    for name in ["trace.csv", "series.csv", "sweep.csv"] {
        scratch.write(name, trace);
    }
    for (args, word) in [
        (&["run", "ok.toml", "--report", "ok.toml"][..], "is read by the same command"),
        (
            &["run", "ok.toml", "--trace", "trace.csv", "--perfetto", "./trace.csv"],
            "is read by the same command",
        ),
        (&["run", "ok.toml", "--report", "page", "--perfetto", "./page"], "would be written twice"),
        (&["workload", "ok.toml", "-o", "ok.toml"], "is read by the same command"),
        (&["compare", "ok.toml", "other.toml", "--report", "ok.toml"], "is read by the same command"),
        (
            &["run", "ok.toml", "--trace", "series.csv", "--out", ".", "--format", "csv"],
            "is read by the same command",
        ),
        (
            &[
                "sweep",
                "ok.toml",
                "--trace",
                "sweep.csv",
                "--axis",
                "scale=1,2",
                "--out",
                ".",
                "--format",
                "csv",
            ],
            "is read by the same command",
        ),
        (&["run", "ok.toml", "--out", "new", "--report", "new/provenance.json"], "would be written twice"),
        (
            &["sweep", "ok.toml", "--axis", "scale=1,2", "--out", "new", "--report", "new/manifest.json"],
            "would be written twice",
        ),
        (&["plan", "ok.toml", "--out", "new", "--report", "new/evaluated.toml"], "would be written twice"),
        (&["validate", "--engine", "runs", "--out", "./runs"], "is read by the same command"),
    ] {
        let output = scratch.tenfold(args);
        let error = text(&output.stderr);
        assert!(output.status.code() == Some(2) && error.contains(word), "{args:?}: {error}");
    }
    assert_eq!(std::fs::read_to_string(scratch.path("ok.toml")).unwrap(), SCENARIO);
    for name in ["trace.csv", "series.csv", "sweep.csv"] {
        assert_eq!(std::fs::read_to_string(scratch.path(name)).unwrap(), trace);
    }
    let swept = scratch.tenfold(&["sweep", "ok.toml", "--axis", "scale=1,2", "--out", "swept"]);
    assert!(matches!(swept.status.code(), Some(0 | 1)), "{}", text(&swept.stderr));
    let part = fs::read_dir(scratch.path("swept/parts")).unwrap().next().unwrap().unwrap().path();
    let kept = fs::read(&part).unwrap();
    let output = scratch.tenfold(&["merge", "swept", "-o", part.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("is read by the same command"), "{}", text(&output.stderr));
    let output = scratch.tenfold(&["merge", "swept", "-o", "a.csv", "--report", "swept/manifest.json"]);
    assert!(text(&output.stderr).contains("is read by the same command"), "{}", text(&output.stderr));
    assert!(fs::read(&part).unwrap() == kept && !scratch.path("a.csv").exists());
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_devices_stay() {
    let scratch = Scratch::new();
    scratch.write("ok.toml", SCENARIO);
    scratch.write("real.html", "old");
    std::os::unix::fs::symlink("real.html", scratch.path("link.html")).unwrap();
    assert_eq!(scratch.tenfold(&["run", "ok.toml", "--report", "link.html"]).status.code(), Some(0));
    assert!(scratch.path("link.html").is_symlink());
    assert!(std::fs::read_to_string(scratch.path("real.html")).unwrap().contains("<html"));
    let output = scratch.tenfold(&["workload", "ok.toml", "-o", "/dev/stdout"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("arrival_s"), "{}", text(&output.stdout));
    assert!(!std::path::Path::new("/dev/stdout").is_file());
}

#[test]
fn every_request_is_in_a_file_of_its_own() {
    let scratch = Scratch::new();
    scratch.write("ok.toml", SCENARIO);
    let options = ["run", "ok.toml", "--requests", "--duration", "3m"];
    let told = scratch.tenfold(&options);
    assert_eq!(told.status.code(), Some(2));
    assert!(text(&told.stderr).contains("--out DIR or --format json"), "{}", text(&told.stderr));
    let json = scratch.tenfold(&[&options[..], &["--format", "json"]].concat());
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let rows = json["requests"].as_array().unwrap().len() as u64;
    assert!(rows > 0);
    let born: u64 = json["summary"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["class"] == "all" && row["tenant"] == "all")
        .map(|row| row["born"].as_u64().unwrap())
        .sum();
    assert_eq!(rows, born);
    scratch.tenfold(&[&options[..], &["--out", "kept", "--format", "csv"]].concat());
    let csv = std::fs::read_to_string(scratch.path("kept/requests.csv")).unwrap();
    assert_eq!(csv.lines().count() as u64, rows + 1);
    assert!(
        csv.starts_with("variant,multiplier,replication,request,source,class,tenant,session,turn,born_s,")
    );
}
