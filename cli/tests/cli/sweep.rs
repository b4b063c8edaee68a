//! Sweeps: order and bytes, stops and kills, mistakes.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{SCENARIO, Scratch, text};

/// 24 points of a short run.
const AXES: [&str; 6] = [
    "--axis",
    "components.db.servers=1..3/1",
    "--axis",
    "links.web -> edge.timeout=1s..4s/1s",
    "--axis",
    "scale=1,3",
];

fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("ok.toml", &SCENARIO.replace("30s", "20s"));
    scratch
}

/// Runs a sweep to its end.
fn sweep(scratch: &Scratch, more: &[&str]) -> String {
    let mut args = vec!["sweep", "ok.toml"];
    args.extend(AXES);
    args.extend(more);
    let output = scratch.tenfold(&args);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn bytes(scratch: &Scratch, file: &str) -> Vec<u8> {
    fs::read(scratch.path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn bytes_depend_on_neither_jobs_nor_shards() {
    let scratch = scratch();
    assert!(sweep(&scratch, &["--jobs", "1"]).starts_with("24 points: "));
    let one = bytes(&scratch, "ok.sweep/sweep.parquet");
    sweep(&scratch, &["--jobs", "3", "--out", "three"]);
    assert!(one == bytes(&scratch, "three/sweep.parquet"));
    for shard in ["1/3", "2/3", "3/3"] {
        sweep(&scratch, &["--jobs", "2", "--shard", shard]);
    }
    let dirs = ["ok.sweep-3-of-3", "ok.sweep-1-of-3", "ok.sweep-2-of-3"];
    let merge = |dirs: &[&str], file: &str| {
        let mut args = vec!["merge"];
        args.extend(dirs);
        args.extend(["-o", file]);
        scratch.tenfold(&args)
    };
    let output = merge(&dirs, "all.parquet");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(one == bytes(&scratch, "all.parquet"));
    // So do reports.
    sweep(&scratch, &["--out", "shown", "--report", "one.html"]);
    let shown = scratch.tenfold(&[
        "merge", dirs[0], dirs[1], dirs[2], "-o", "all.csv", "--report", "all.html", "--plots", "plots",
    ]);
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stderr));
    assert!(bytes(&scratch, "one.html") == bytes(&scratch, "all.html"));
    assert!(scratch.path("plots").join("tornado.svg").exists());

    for (dirs, words) in [
        (&dirs[..2], "shards are missing: 2/3"),
        (&[dirs[0], dirs[1], dirs[2], dirs[1]][..], "shard 1/3 is there twice"),
        (&["nowhere"][..], "there is no sweep in nowhere"),
        (&["ok.sweep", dirs[0]][..], "another sweep"),
    ] {
        let output = merge(dirs, "none.parquet");
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(words), "{words}: {}", text(&output.stderr));
    }
    assert_eq!(merge(&dirs, "all.txt").status.code(), Some(2));
    // A part that is lost, or there twice, is named.
    let part = scratch.path("ok.sweep-1-of-3/parts/part-00000000.parquet");
    let kept = fs::read(&part).unwrap();
    fs::remove_file(&part).unwrap();
    let error = text(&merge(&dirs, "none.parquet").stderr);
    assert!(error.contains("points are missing: 0, "), "{error}");
    fs::write(&part, &kept).unwrap();
    fs::write(scratch.path("ok.sweep-1-of-3/parts/part-00000099.parquet"), &kept).unwrap();
    let error = text(&merge(&dirs, "none.parquet").stderr);
    assert!(error.contains("points are there twice: 0, "), "{error}");
    assert!(!scratch.path("none.parquet").exists());
}

#[test]
fn rows_are_in_the_order_of_the_grid() {
    let scratch = scratch();
    sweep(&scratch, &["--format", "csv"]);
    let csv = text(&bytes(&scratch, "ok.sweep/sweep.csv"));
    let mut lines = csv.lines();
    let head = "point,components.db.servers,\"links.\"\"web -> edge\"\".timeout (s)\",variant,multiplier,slo,finding,error,";
    assert!(lines.next().unwrap().starts_with(head), "{csv}");
    for (number, line) in lines.enumerate() {
        let (servers, timeout, scale) = (1 + number / 8, 1 + number / 2 % 4, 1 + 2 * (number % 2));
        assert!(line.starts_with(&format!("{number},{servers},{timeout}.0,base,{scale}.0,")), "{line}");
    }
    assert_eq!(csv.lines().count(), 25);
    // What is written once is written in other formats without running again.
    for format in ["json", "arrow", "parquet"] {
        sweep(&scratch, &["--format", format, "--resume"]);
        assert!(!bytes(&scratch, &format!("ok.sweep/sweep.{format}")).is_empty());
    }
    let json: serde_json::Value = serde_json::from_slice(&bytes(&scratch, "ok.sweep/sweep.json")).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 24);
    assert!(json[0]["latency_p99_s"].as_f64() > Some(0.0) && json[0]["half_width_latency_p99_s"].is_number());
}

/// How many points have their rows on disk.
fn parts(dir: &Path) -> usize {
    let entries = fs::read_dir(dir.join("parts")).map(|entries| entries.flatten().collect::<Vec<_>>());
    let names =
        entries.unwrap_or_default().into_iter().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with("part-")).count()
}

/// A sweep of eight hundred points that is under way, with some rows on disk.
fn under_way(scratch: &Scratch, args: &[&str]) -> std::process::Child {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tenfold"))
        .args(args)
        .current_dir(scratch.path("."))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    for _ in 0..6_000 {
        if parts(&scratch.path("out")) > 0 {
            return child;
        }
        assert!(child.try_wait().unwrap().is_none(), "the sweep has ended by itself");
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    panic!("no rows after a minute");
}

const MANY: [&str; 13] = [
    "sweep",
    "ok.toml",
    "--axis",
    "components.db.service_time.exponential.mean=10ms..150ms",
    "--samples",
    "800",
    "--replications",
    "1",
    "--duration",
    "5m",
    "--jobs",
    "2",
    "--out",
];

#[test]
fn a_killed_sweep_is_taken_up_and_gives_the_same_bytes() {
    let scratch = scratch();
    let with = |dir: &'static str, more: &[&'static str]| {
        let mut args = MANY.to_vec();
        args.push(dir);
        args.extend(more);
        args
    };
    let mut child = under_way(&scratch, &with("out", &[]));
    // SIGKILL on Unix.
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = parts(&scratch.path("out"));
    assert!(kept > 0 && !scratch.path("out/sweep.parquet").exists());
    // What was being written when the end came.
    fs::write(scratch.path("out/parts/.part-00000001.parquet.1.tmp"), "half").unwrap();

    let output = scratch.tenfold(&with("out", &[]));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("already"), "{}", text(&output.stderr));
    let output = scratch.tenfold(&with("out", &["--resume", "--set", "components.db.servers=3"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("scenario hash"), "{}", text(&output.stderr));

    let output = scratch.tenfold(&with("out", &["--resume"]));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let output = scratch.tenfold(&with("whole", &[]));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(bytes(&scratch, "out/sweep.parquet") == bytes(&scratch, "whole/sweep.parquet"));
    assert!(!scratch.path("out/parts/.part-00000001.parquet.1.tmp").exists());
}

#[cfg(unix)]
#[test]
fn an_interrupted_sweep_keeps_every_point_and_says_how_to_go_on() {
    let scratch = scratch();
    let mut args = MANY.to_vec();
    args.push("out");
    let child = under_way(&scratch, &args);
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    let message = text(&output.stderr);
    assert!(message.contains("of 800 points are done") && message.contains("--resume"), "{message}");
}

#[test]
fn points_that_cannot_be_run_are_rows() {
    let scratch = scratch();
    let axis = "components.edge.steps.0=db,nobody,edge";
    let output = scratch.tenfold(&["sweep", "ok.toml", "--axis", axis, "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("2 points could not be run"), "{}", text(&output.stdout));
    let rows: serde_json::Value = serde_json::from_slice(&bytes(&scratch, "ok.sweep/sweep.json")).unwrap();
    assert!(rows[0]["error"].is_null() && rows[0]["slo"] == "pass", "{rows}");
    for (row, words) in [(1, "nobody"), (2, "cycle")] {
        assert!(rows[row]["error"].as_str().unwrap().contains(words), "{rows}");
        assert!(rows[row]["latency_p99_s"].is_null() && rows[row]["slo"].is_null());
    }
}

#[test]
fn axes_of_the_scenario_variants_and_draws() {
    let scratch = Scratch::new();
    let more = "[[variant]]\nname = \"fast\"\nset = { \"components.db.servers\" = 8 }\n[sweep]\nsamples = 6\n\
                axes = { \"variant\" = [\"base\", \"fast\"], \"traffic.web.arrivals.rate\" = \"1/s..9/s\" }\n";
    scratch.write("ok.toml", &format!("{SCENARIO}{more}"));
    let rows = |dir: &str, more: &[&str]| -> serde_json::Value {
        let mut args = vec!["sweep", "ok.toml", "--duration", "10s", "--format", "json", "--out", dir];
        args.extend(more);
        let output = scratch.tenfold(&args);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        serde_json::from_slice(&bytes(&scratch, &format!("{dir}/sweep.json"))).unwrap()
    };
    let lhs = rows("a", &[]);
    let rates: Vec<f64> =
        (0..6).map(|row| lhs[row]["traffic.web.arrivals.rate (/s)"].as_f64().unwrap()).collect();
    let mut strata: Vec<usize> = rates.iter().map(|rate| ((rate - 1.0) / 8.0 * 6.0) as usize).collect();
    strata.sort_unstable();
    assert_eq!(strata, [0, 1, 2, 3, 4, 5], "{rates:?}");
    let fast = (0..6).filter(|row| lhs[row]["variant"] == "fast").count();
    assert_eq!(fast, 3);
    assert_eq!(rows("b", &[]), lhs);
    assert_ne!(rows("c", &["--seed", "2"]), lhs);
    assert_eq!(rows("d", &["--axis", "variant=base,fast"]).as_array().unwrap().len(), 2);
}

#[test]
fn bad_axes_are_refused_with_what_is_accepted() {
    let scratch = scratch();
    for (args, words) in [
        (&[][..], &["nothing to vary", "--axis"][..]),
        (&["--axis", "components.db.severs=1,2"], &["severs", "did you mean `servers`"]),
        (&["--axis", "components.bd.servers=1,2"], &["no `bd`", "db"]),
        (&["--axis", "components.db.servers=x,y"], &["\"x\"", "whole number"]),
        (&["--axis", "components.db.servers=1..4"], &["without a step", "8..64/8"]),
        (&["--axis", "components.db.servers=4..1/1"], &["ends before it begins", "PATH=VALUES"]),
        (&["--axis", "components.db.servers"], &["no `=`", "PATH=VALUES"]),
        (&["--axis", "scale=0,1"], &["no multiple", "above 0"]),
        (&["--axis", "variant=fast"], &["no variant `fast`"]),
        (&["--axis", "scale=1", "--axis", "scale=2"], &["two axes"]),
        (&["--axis", "scale=1,2", "--design", "grid", "--samples", "4"], &["a grid has no samples"]),
        (&["--axis", "scale=1,2", "--design", "lhs"], &["how many points"]),
        (&["--axis", "scale=1,2", "--samples", "0"], &["0 samples"]),
        (&["--axis", "scale=1,2", "--design", "sobol"], &["grid, random or lhs"]),
        (&["--axis", "scale=1,2", "--shard", "3/2"], &["1/4"]),
        (&["--axis", "scale=1,2", "--scale", "3"], &["the load is an axis", "scaled by 3"]),
    ] {
        let mut all = vec!["sweep", "ok.toml"];
        all.extend(args);
        let output = scratch.tenfold(&all);
        let error = text(&output.stderr).replace(['\n', '│'], " ");
        let error = error.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        for word in words {
            assert!(error.contains(word), "{args:?}: want `{word}`: {error}");
        }
        assert!(!scratch.path("ok.sweep").exists(), "{args:?}");
    }
    scratch.write(
        "ok.toml",
        &format!("{SCENARIO}[sweep]\naxes = {{ \"components.db.servers\" = \"4..1/1\" }}\n"),
    );
    let output = scratch.tenfold(&["sweep", "ok.toml"]);
    let error = text(&output.stderr);
    assert!(output.status.code() == Some(2) && error.contains("ok.toml:22:"), "{error}");
}

#[test]
fn a_trace_of_another_content_is_another_sweep() {
    let scratch = scratch();
    let trace = |gap: u32| {
        let rows: String = (0..40).map(|row| format!("{},10,5\n", row * gap)).collect();
        scratch.write("trace.csv", &format!("arrival_ms,prompt_tokens,output_tokens\n{rows}"));
    };
    let run = |more: &[&str]| {
        let axis = ["sweep", "ok.toml", "--trace", "trace.csv", "--axis", "components.db.servers=1,2"];
        scratch.tenfold(&axis.iter().chain(more).copied().collect::<Vec<_>>())
    };
    trace(100);
    assert_eq!(run(&["--shard", "1/2"]).status.code(), Some(0));
    trace(200);
    assert_eq!(run(&["--shard", "2/2"]).status.code(), Some(0));
    let merged = scratch.tenfold(&["merge", "ok.sweep-1-of-2", "ok.sweep-2-of-2", "-o", "all.csv"]);
    assert_eq!(merged.status.code(), Some(2));
    let resumed = run(&["--shard", "1/2", "--resume"]);
    assert_eq!(resumed.status.code(), Some(2));
    for error in [merged.stderr, resumed.stderr].map(|error| text(&error)) {
        assert!(error.contains("requests of web"), "{error}");
    }
    trace(100);
    assert_eq!(run(&["--shard", "1/2", "--resume"]).status.code(), Some(0));
}
