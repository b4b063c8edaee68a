//! `tenfold plan` as a user runs it.

use std::fs;

use crate::{SCENARIO, Scratch, text};

const AXIS: &str = "components.db.servers=1..8/1";

fn priced() -> String {
    SCENARIO
        .replace("servers = 2", "servers = 2\nprice_per_hour = \"$0.10/h\"")
        .replace("p99 = \"5s\"", "p99 = \"700ms\"")
}

#[test]
fn the_answer_is_a_sentence_and_arguments() {
    let scratch = Scratch::new();
    scratch.write("ok.toml", &priced());
    let output =
        scratch.tenfold(&["plan", "ok.toml", "--axis", AXIS, "--scale", "3x", "--write", "best.toml"]);
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{table}{}", text(&output.stderr));
    for word in [
        "servers of `db`",
        "a month",
        "--set 'components.db.servers=",
        "at 3x the load",
        "Among 8 configurations",
    ] {
        assert!(table.contains(word), "want `{word}`:\n{table}");
    }
    // What is written is what was found, and holds.
    let run = scratch.tenfold(&["run", "best.toml", "--scale", "3x"]);
    assert_eq!(run.status.code(), Some(0), "{}{}", text(&run.stdout), text(&run.stderr));
    let again = scratch.tenfold(&["plan", "ok.toml", "--axis", AXIS, "--write", "best.toml"]);
    assert_eq!((again.status.code(), text(&again.stderr).contains("exists already")), (Some(2), true));
}

#[test]
fn where_nothing_holds_the_exit_code_says_so() {
    let scratch = Scratch::new();
    scratch.write("ok.toml", &priced());
    let output = scratch.tenfold(&["plan", "ok.toml", "--axis", AXIS, "--set", "slo.latency.p99=1ms"]);
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(table.contains("none holds") && table.contains("latency p99"), "{table}");
}

#[test]
fn everything_is_there_as_json_and_as_files() {
    let scratch = Scratch::new();
    scratch.write("ok.toml", &priced());
    let common = [
        "plan",
        "ok.toml",
        "--axis",
        AXIS,
        "--pareto",
        "3",
        "--tornado",
        "components.db.service_time.exponential.mean",
    ];
    let output = scratch.tenfold(&[&common[..], &["--format", "json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let json: serde_json::Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert!(json["best"][0].as_str().unwrap().starts_with("components.db.servers="));
    let rows = json["plan"].as_array().unwrap();
    assert_eq!(rows.iter().filter(|row| row["best"] == true).count(), 1);
    assert!(rows.iter().any(|row| row["front"] == true));
    // Each row says where it comes from.
    let best = rows.iter().find(|row| row["best"] == true).unwrap();
    let set = json["best"][0].as_str().unwrap();
    let run = scratch.tenfold(&["run", "ok.toml", "--set", set, "--out", "best", "--format", "json"]);
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    let of_run: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(scratch.path("best/costs.json")).unwrap()).unwrap();
    let summary: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(scratch.path("best/verdicts.json")).unwrap()).unwrap();
    for key in ["scenario_hash", "seed", "version"] {
        assert_eq!(best[key], of_run[0][key], "{key}");
    }
    assert_eq!(best["fingerprint"], summary[0]["fingerprint"]);
    assert!(json["tornado"].as_array().unwrap().iter().any(|step| step["what"] == "load"));
    let output = scratch.tenfold(&[&common[..], &["--format", "csv"]].concat());
    assert!(text(&output.stdout).starts_with("point,settings,best,holds"));
    let files = [&common[..], &["--format", "csv", "--out", "results"]].concat();
    assert_eq!(scratch.tenfold(&files).status.code(), Some(0));
    for name in ["plan.csv", "provenance.json", "evaluated.toml"] {
        assert!(scratch.path("results").join(name).exists(), "{name}");
    }
    // What is there is taken up only when asked for.
    let refused = scratch.tenfold(&files);
    assert_eq!((refused.status.code(), text(&refused.stderr).contains("--resume")), (Some(2), true));
    let before = fs::read_to_string(scratch.path("results").join("plan.csv")).unwrap();
    assert_eq!(scratch.tenfold(&[&files[..], &["--resume"]].concat()).status.code(), Some(0));
    assert_eq!(fs::read_to_string(scratch.path("results").join("plan.csv")).unwrap(), before);
}

#[test]
fn users_rates_and_prices_are_understood_or_refused() {
    let scratch = Scratch::new();
    scratch.write("ok.toml", &priced());
    let plan = |more: &[&str]| {
        let output = scratch.tenfold(&[&["plan", "ok.toml", "--axis", AXIS], more].concat());
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let (code, table, _) = plan(&["--users", "9600", "--requests-per-user", "6/h"]);
    assert_eq!(code, 0);
    assert!(table.contains("for 9,600 users who send") && table.contains("(2x the load)"), "{table}");
    assert!(plan(&["--rate", "24/s"]).1.contains("at 24/s"));
    for (more, word) in [
        (&["--users", "10"][..], "--requests-per-user"),
        (&["--rate", "fast"], "expected"),
        (&["--rate", "10/s", "--scale", "2x"], "cannot be used with"),
        (&["--resume"], "--out"),
        (&["--api-price", "1,2"], "error"),
    ] {
        let (code, _, error) = plan(more);
        assert!(code == 2 && error.contains(word), "{more:?}: {code} {error}");
    }
    let warm = scratch.tenfold(&["plan", "ok.toml", "--warm", "db"]);
    assert_eq!((warm.status.code(), text(&warm.stderr).contains("no autoscaler")), (Some(2), true));
    let even = scratch.tenfold(&["plan", "ok.toml", "--break-even", "db"]);
    assert_eq!(
        (even.status.code(), text(&even.stderr).contains("no pool of an LLM")),
        (Some(2), true),
        "{}",
        text(&even.stderr)
    );
}

#[test]
fn a_bill_that_is_nearest_to_its_limit_is_told() {
    let scratch = Scratch::new();
    scratch.write("ok.toml", &priced());
    let output = scratch.tenfold(&[
        "plan",
        "ok.toml",
        "--axis",
        "components.db.servers=3",
        "--set",
        "slo.monthly_cost=\"$220\"",
        "--set",
        "slo.latency.p99=10s",
    ]);
    let table = text(&output.stdout);
    assert!(
        table.contains("monthly cost is $219.00, nearest to its limit of $220.00"),
        "{table}{}",
        text(&output.stderr)
    );
}
