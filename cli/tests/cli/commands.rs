//! What the commands do when all is well, and their exit codes.

use std::fs;

use crate::{SCENARIO, Scratch, text};

#[test]
fn a_run_prints_what_a_user_needs() {
    let scratch = Scratch::new();
    scratch.write("ok.toml", SCENARIO);
    let output = scratch.tenfold(&["run", "ok.toml"]);
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for word in ["Requests", "Latency", "Components", "db", "utilization", "Cost", "Findings", "fingerprint"]
    {
        assert!(table.contains(word), "want `{word}`:\n{table}");
    }
}

#[test]
fn a_missed_slo_is_exit_code_1() {
    let scratch = Scratch::new();
    scratch.write("ok.toml", SCENARIO);
    let output = scratch.tenfold(&["run", "ok.toml", "--set", "slo.latency.p99=1ms"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("FAIL"));
}

#[test]
fn results_are_the_same_on_any_number_of_threads() {
    let scratch = Scratch::new();
    scratch.write("ok.toml", SCENARIO);
    let run = |threads: &str| {
        let output = scratch.tenfold(&["run", "ok.toml", "--format", "json", "--threads", threads]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let one = run("1");
    assert!(one.contains("\"fingerprint\""));
    assert_eq!((run("2"), run("8")), (one.clone(), one));
}

#[test]
fn frames_are_written_whole() {
    let scratch = Scratch::new();
    scratch.write("ok.toml", SCENARIO);
    for format in ["csv", "json", "parquet", "arrow"] {
        let output = scratch.tenfold(&["run", "ok.toml", "--out", format, "--format", format]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let mut names: Vec<String> = fs::read_dir(scratch.path(format))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        let mut expected: Vec<String> = [
            "components",
            "costs",
            "dashboard",
            "measures",
            "outcomes",
            "replicas",
            "series",
            "summary",
            "verdicts",
        ]
        .map(|name| format!("{name}.{format}"))
        .into();
        expected.push("provenance.json".to_owned());
        expected.sort_unstable();
        assert_eq!(names, expected);
    }
}

#[test]
fn files_of_an_earlier_run_are_told() {
    let scratch = Scratch::new();
    scratch.write("ok.toml", SCENARIO);
    let told = |format: &str| {
        let output = scratch.tenfold(&["run", "ok.toml", "--out", "out", "--format", format]);
        text(&output.stderr).contains("is of an earlier run, in another format")
    };
    assert_eq!(["csv", "csv", "json"].map(told), [false, false, true]);
}

#[test]
fn a_new_scenario_checks_and_its_canonical_form_is_the_same_scenario() {
    let scratch = Scratch::new();
    for name in ["queueing-basics", "recommender", "support-assistant"] {
        let file = format!("{name}.toml");
        assert_eq!(scratch.tenfold(&["new", &file, "--from", name]).status.code(), Some(0));
        let checked = scratch.tenfold(&["check", &file]);
        assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
        let canonical = text(&scratch.tenfold(&["check", &file, "--canonical"]).stdout);
        scratch.write("canonical.toml", &canonical);
        assert_eq!(text(&scratch.tenfold(&["check", "canonical.toml", "--canonical"]).stdout), canonical);
    }
    assert!(text(&scratch.tenfold(&["new"]).stdout).contains("support-assistant"));
    let schema: serde_json::Value =
        serde_json::from_str(&text(&scratch.tenfold(&["schema"]).stdout)).expect("valid JSON");
    assert!(schema["properties"]["traffic"].is_object());
}

#[test]
fn a_trace_is_replayed_in_full_and_scaled() {
    let scratch = Scratch::new();
    scratch.write("ok.toml", SCENARIO);
    let rows: String = (0..500).map(|row| format!("{},10,5\n", f64::from(row) * 0.2)).collect();
    scratch.write("trace.csv", &format!("arrival_s,prompt_tokens,output_tokens\n{rows}"));
    let born = |args: &[&str]| {
        let mut all = vec!["run", "ok.toml", "--trace", "trace.csv", "--format", "json"];
        all.extend(args);
        let output = scratch.tenfold(&all);
        let json: serde_json::Value = serde_json::from_str(&text(&output.stdout)).expect("valid JSON");
        json["summary"][0]["born"].as_u64()
    };
    assert_eq!(born(&[]), Some(500));
    assert_eq!(born(&["--scale", "3x"]), Some(1_500));
    assert_eq!(born(&["--duration", "10s"]), Some(51));
}

/// The production trace, where it can be had: every request is accounted for.
#[test]
fn a_production_trace_is_conserved() {
    let shared = std::env::var("TENFOLD_SHARED")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared").to_owned());
    let trace = format!("{shared}/data/traces/AzureLLMInferenceTrace_conv.csv");
    if !std::path::Path::new(&trace).exists() {
        println!("skipped: {trace} is not there");
        return;
    }
    let library = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/library/support-assistant.toml");
    let scratch = Scratch::new();
    for (scale, requests) in [("1x", 19_366), ("10x", 193_660)] {
        let args =
            ["run", library, "--trace", &trace, "--scale", scale, "--replications", "1", "--format", "json"];
        let output = scratch.tenfold(&args);
        let json: serde_json::Value = serde_json::from_str(&text(&output.stdout)).expect("valid JSON");
        let all = &json["summary"][0];
        let count = |column: &str| all[column].as_u64().expect("a count");
        let ends = ["ok", "degraded", "rejected", "timed_out", "failed", "in_flight"].map(count);
        assert_eq!((count("born"), ends.iter().sum::<u64>()), (requests, requests), "{all}");
        let findings = json["findings"].to_string();
        assert_eq!(findings.contains("nothing is overloaded"), scale == "1x", "{findings}");
    }
}

/// What others published, where it can be had.
#[test]
fn published_measurements_are_predicted() {
    let scratch = Scratch::new();
    for (args, part) in [
        (["validate", "--published", "nowhere"].as_slice(), "no published measurements"),
        (&["validate", "--published", ".", "--redis"], "cannot be used with"),
        (&["validate"], "--published <DIR>"),
    ] {
        let output = scratch.tenfold(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(part), "{args:?}: {}", text(&output.stderr));
    }
    let shared = std::env::var("TENFOLD_SHARED")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared").to_owned());
    let data = format!("{shared}/data");
    if !std::path::Path::new(&data).exists() {
        println!("skipped: {data} is not there");
        return;
    }
    let output = scratch.tenfold(&["validate", "--published", &data, "--out", "out", "--quiet"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.contains("TTFT p99 at 8/s") && !shown.contains("FAIL"), "{shown}");
    for file in ["report.md", "report.html", "parity-server.svg", "parity-kernels.png"] {
        assert!(scratch.path("out").join(file).exists(), "{file}");
    }
}

#[test]
fn a_bench_prints_rates() {
    let scratch = Scratch::new();
    let output = scratch.tenfold(&["bench", "--requests", "300", "--rounds", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("LLM serving at 40/s"));
    let output = scratch.tenfold(&["bench", "--requests", "300", "--rounds", "1", "--json"]);
    let figures: serde_json::Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert!(figures[0]["requests_per_cpu_second"].as_f64().unwrap() > 0.0);
    assert_eq!(scratch.tenfold(&["bench", "--rounds", "0"]).status.code(), Some(2));
}

#[test]
fn a_pool_is_calibrated_to_a_summary() {
    let scratch = Scratch::new();
    let pool = "name = \"One GPU\"\n[traffic.web]\narrivals = { process = \"poisson\", rate = \"2/s\" }\n\
                entry = \"llm\"\n[components.llm]\nkind = \"llm\"\nmodel = \"qwen3-14b\"\ngpu = \"h100-sxm\"\n";
    scratch.write("server.toml", pool);
    let summary = r#"{ "completed": 1000, "request_throughput": 2.0, "total_input_tokens": 985000,
        "total_output_tokens": 128000, "mean_ttft_ms": 66.9, "mean_tpot_ms": 12.33 }"#;
    scratch.write("bench.json", summary);
    let output = scratch.tenfold(&["calibrate", "server.toml", "--bench", "bench.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let fragment = text(&output.stdout);
    scratch.write("fitted.toml", &format!("{pool}{fragment}"));
    let output = scratch.tenfold(&["run", "fitted.toml", "--duration", "1m", "--replications", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("fitted"), "{}", text(&output.stdout));

    let output = scratch.tenfold(&["calibrate", "server.toml", "--bench", "bench.json", "--hold-back", "1"]);
    assert_eq!(output.status.code(), Some(2));
    let output = scratch.tenfold(&["calibrate", "server.toml", "--bench", "missing.json"]);
    assert_eq!(output.status.code(), Some(2));
}

const VARIANT: &str = "[[variant]]\nname = \"more\"\nset = { \"components.db.servers\" = 40 }\n";

#[test]
fn variants_are_compared_in_words() {
    let scratch = Scratch::new();
    scratch.write("ok.toml", &format!("{SCENARIO}{VARIANT}"));
    let output = scratch.tenfold(&["compare", "ok.toml", "--out", "both", "--format", "csv"]);
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for word in ["Systems", "Differences", "base", "more", "  - `more`: latency p99 "] {
        assert!(table.contains(word), "want `{word}`:\n{table}");
    }
    let differences = fs::read_to_string(scratch.path("both/differences.csv")).unwrap();
    assert!(differences.starts_with("variant,baseline,multiplier,class,metric,"), "{differences}");
    assert!(fs::read_to_string(scratch.path("both/summary.csv")).unwrap().contains(",more,"));
    let alone = scratch.tenfold(&["compare", "ok.toml", "--set", "variant=[]"]);
    assert_eq!(alone.status.code(), Some(2), "{}", text(&alone.stdout));
    let json = scratch.tenfold(&["compare", "ok.toml", "--baseline", "more", "--format", "json"]);
    let parsed: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(parsed["provenance"][0]["variant"], "more");
    // What is too slow for its SLO is a matter of the others than the baseline, where it is asked for.
    let gate = |slo: &str, more: &[&str]| {
        let slo = format!("slo={{ latency = {{ mean = \"{slo}\" }} }}");
        scratch.tenfold(&[&["compare", "ok.toml", "--set", &slo], more].concat()).status.code()
    };
    assert_eq!(gate("1us", &[]), Some(0));
    assert_eq!(gate("1us", &["--gate"]), Some(1));
    assert_eq!(gate("1h", &["--gate"]), Some(0));
}

#[test]
fn a_stress_test_says_what_breaks_first() {
    let scratch = Scratch::new();
    scratch.write("ok.toml", SCENARIO);
    let slo = "slo={ latency = { p99 = \"2s\" }, error_rate = 0.01 }";
    let output = scratch.tenfold(&["stress", "ok.toml", "--set", slo, "--multipliers", "1,100x"]);
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{}{table}", text(&output.stderr));
    for word in [
        "Levels",
        "1x",
        "100x",
        "Limit: ",
        "First to break: `db`",
        "+20% for `db`",
        "What helps at 100x",
        "Blast radius",
    ] {
        assert!(table.contains(word), "want `{word}`:\n{table}");
    }
    let json = scratch.tenfold(&["stress", "ok.toml", "--set", slo, "--multipliers", "1,100", "--json"]);
    let parsed: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(parsed["first"]["component"], "db");
    assert_eq!(parsed["levels"][1]["pass"], false);
    for wrong in [["--multipliers", "0.5"], ["--grow", "everything"]] {
        let output = scratch.tenfold(&[&["stress", "ok.toml", "--set", slo][..], &wrong[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}

/// Two requests, each a span of a service.
const TRACES: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scopeSpans":[{"spans":[
    {"traceId":"01","spanId":"01","name":"GET /","kind":2,"startTimeUnixNano":"1000000000","endTimeUnixNano":"1010000000"},
    {"traceId":"02","spanId":"02","name":"GET /","kind":2,"startTimeUnixNano":"2000000000","endTimeUnixNano":"2010000000"}]}]}]}"#;

#[test]
fn traces_become_a_scenario_that_runs() {
    let scratch = Scratch::new();
    scratch.write("traces.json", TRACES);
    let printed = scratch.tenfold(&["import", "otel", "traces.json"]);
    assert_eq!(printed.status.code(), Some(0), "{}", text(&printed.stderr));
    assert!(
        text(&printed.stderr).contains("note: as traced, requests took 10ms"),
        "{}",
        text(&printed.stderr)
    );
    let import = ["import", "otel", "traces.json", "--out", "shop.toml", "--replay"];
    let written = scratch.tenfold(&import);
    assert!(text(&written.stdout).contains("2 spans, 2 requests"), "{}", text(&written.stdout));
    let trace = fs::read_to_string(scratch.path("shop.shop.csv")).unwrap();
    assert_eq!(trace, "arrival_s,prompt_tokens,output_tokens\n0.000000000,1,1\n1.000000000,1,1\n");
    for command in [&["check", "shop.toml"][..], &["run", "shop.toml", "--replications", "1"]] {
        let output = scratch.tenfold(command);
        assert_eq!(output.status.code(), Some(0), "{command:?}: {}", text(&output.stderr));
    }
    let again = scratch.tenfold(&import);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("shop.toml exists already"), "{}", text(&again.stderr));
    let other = ["import", "otel", "traces.json", "--out", "other.toml", "--replay"];
    scratch.write("other.shop.csv", "mine");
    let half = scratch.tenfold(&other);
    assert_eq!(half.status.code(), Some(2));
    assert!(text(&half.stderr).contains("other.shop.csv exists already"), "{}", text(&half.stderr));
    assert_eq!(fs::read_to_string(scratch.path("other.shop.csv")).unwrap(), "mine");
    for more in [&["--sampled", "1e-8"][..], &["--sampled", "1e-300"]] {
        fs::remove_file(scratch.path("other.shop.csv")).unwrap_or_default();
        let few = scratch.tenfold(&[&other[..], more].concat());
        assert_eq!(few.status.code(), Some(2), "{more:?}");
        assert!(text(&few.stderr).contains(more[1]), "{}", text(&few.stderr));
        assert!(!scratch.path("other.shop.csv").exists());
    }
    assert!(!scratch.path("other.toml").exists());
    let unknown = scratch.tenfold(&["import", "otel", "traces.json", "--sampled", "7"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("above 0, at most 1"), "{}", text(&unknown.stderr));
}

#[test]
fn what_to_do_next_can_be_pasted_into_a_shell() {
    let scratch = Scratch::new();
    for (file, word) in
        [("sp ace.toml", "tenfold run 'sp ace.toml'"), ("it's.toml", "tenfold run 'it'\\''s.toml'")]
    {
        let made = scratch.tenfold(&["new", file, "--from", "queueing-basics"]);
        assert!(text(&made.stdout).trim_end().ends_with(word), "{}", text(&made.stdout));
    }
    let plain = scratch.tenfold(&["new", "plain-1.toml", "--from", "queueing-basics"]);
    assert!(text(&plain.stdout).trim_end().ends_with("tenfold run plain-1.toml"), "{}", text(&plain.stdout));
}
