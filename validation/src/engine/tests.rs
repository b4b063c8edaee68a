//! The records of a CPU with a tiny model, and made-up ones.

use std::path::PathBuf;

use scenarios::run::{RunOptions, RunProgress};

use super::*;

fn cpu() -> EngineReport {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("engine/records/cpu");
    check_engine(&dir).unwrap()
}

#[test]
fn a_cpu_engine_is_predicted_from_its_parts() {
    let report = cpu();
    assert!(report.complete && report.missing.is_empty(), "{:?}", report.missing);
    let loads: Vec<f64> = report.compared.iter().filter_map(|run| run.share).collect();
    assert!(loads.len() >= 8 && loads.contains(&0.1) && loads.contains(&1.2), "{loads:?}");
    let mixes: Vec<&str> = report.compared.iter().map(|run| run.mix.as_str()).collect();
    assert!(mixes.contains(&"chat") && mixes.contains(&"document"));
    let failed: Vec<String> = report
        .verdicts()
        .iter()
        .filter(|verdict| !verdict.passed())
        .map(|v| format!("{} {}: {:?}", v.run, v.what, v.pair))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(report.batching.as_ref().unwrap().passed(), "{:?}", report.batching);
    assert!(report.cold.as_ref().unwrap().passed(), "{:?}", report.cold);
    assert!(report.passed());
}

#[test]
fn the_check_can_fail() {
    let mut report = cpu();
    for run in &mut report.compared {
        for pair in run.values.values_mut() {
            pair.predicted.iter_mut().for_each(|value| *value *= 2.0);
        }
    }
    assert!(!report.passed());
    let out = |verdict: &Verdict| !verdict.passed() && verdict.what == "TPOT mean";
    assert!(report.verdicts().iter().any(out));
    assert!(report.tables().iter().any(|table| table.title == "Out of bounds"));
}

#[test]
fn a_scenario_says_what_was_predicted() {
    let report = cpu();
    let dir = tempfile::tempdir().unwrap();
    report.write(dir.path()).unwrap();
    for file in ["report.md", "report.html", "parity-ttft.svg", "scenarios"] {
        assert!(dir.path().join(file).exists(), "{file}");
    }
    let run = report.compared.iter().find(|run| run.share == Some(0.5)).unwrap();
    let name = format!("{}.toml", run.run.replace('/', "-"));
    let loaded = scenarios::load(&dir.path().join("scenarios").join(name), &[]).unwrap();
    let result = scenarios::run(&loaded, &RunOptions::default(), &RunProgress::new()).unwrap();
    let rows = result.summary_averages();
    for (column, figure) in [("latency_mean_s", Figure::Latency), ("ttft_mean_s", Figure::Ttft)] {
        let simulated = rows[0].mean(column).unwrap();
        let predicted = run.spread(figure).unwrap().predicted.mean;
        assert!((simulated / predicted - 1.0).abs() < 1e-3, "{column}: {simulated} {predicted}");
    }
}

#[test]
fn tokens_are_spread_from_the_first_to_the_last() {
    let one = Times { arrival: 0.0, first: 1.0, last: 5.0, tokens: 5 };
    let count = |window| tokens([one].into_iter(), window);
    assert_eq!(count((0.0, 10.0)), 5.0);
    assert_eq!(count((3.0, 10.0)), 2.0);
    assert_eq!(count((0.0, 3.0)), 3.0);
    let alone = Times { last: 1.0, tokens: 1, ..one };
    assert_eq!(tokens([alone].into_iter(), (0.0, 2.0)), 1.0);
    assert_eq!(tokens([alone].into_iter(), (2.0, 3.0)), 0.0);
}

#[test]
fn a_queue_grows_by_those_who_come_and_are_not_done() {
    let arrivals: Vec<f64> = (0..90).map(|i| f64::from(i) / 10.0).collect();
    // Served at six a second.
    let lasts: Vec<f64> = (1..=90).map(|i| f64::from(i) / 6.0).collect();
    let found = growth(&arrivals, &lasts, (3.0, 8.9));
    assert!((found - 4.0).abs() < 0.2, "{found}");
}

#[test]
fn quantiles_are_of_the_nearest_rank() {
    let values: Vec<f64> = (1..=200).map(f64::from).collect();
    let spread = Spread::of(&values).unwrap();
    assert_eq!((spread.p50, spread.p95, spread.p99, spread.mean), (100.0, 190.0, 198.0, 100.5));
    assert_eq!(Spread::of(&[]), None);
}

/// A folder with one file of records.
fn records(text: &str) -> (tempfile::TempDir, Result<EngineReport, EngineCheckError>) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("engine.jsonl"), text).unwrap();
    let report = check_engine(dir.path());
    (dir, report)
}

const MACHINE: &str = r#"{"kind":"machine","format":1,"unix_seconds":1,"torch":"2","transformers":"5","device":"cpu","host_cpus":2}"#;

#[test]
fn records_that_cannot_be_used_are_told_where() {
    let empty = tempfile::tempdir().unwrap();
    let message = |report: Result<EngineReport, EngineCheckError>| report.unwrap_err().to_string();
    assert!(message(check_engine(empty.path())).contains("no engine.jsonl"));
    let run = r#"{"kind":"run","run":"a","engine":"b","purpose":"load","seconds":1,"mix":"chat"}"#;
    let cases = [
        (String::new(), "empty"),
        ("{}\n".to_owned(), "engine.jsonl:1: "),
        (format!("{run}\n"), "expected the machine first"),
        (MACHINE.replace("\"format\":1", "\"format\":2"), "format 2: expected 1"),
        (format!("{MACHINE}\n{run}\n"), "engine.jsonl:2: a run of b"),
        (format!("{MACHINE}\n{{\"kind\":\"ran\",\"run\":\"a\"}}\n"), "has not begun"),
        (
            format!(
                "{MACHINE}\n{{\"kind\":\"check\",\"what\":\"attention\",\"worst\":1,\"tolerance\":0.1}}\n"
            ),
            "means nothing",
        ),
        (format!("{MACHINE}\n"), "no run under load"),
        // A line that was cut off is no error.
        (format!("{MACHINE}\n{{\"kind\":\"ru"), "no run under load"),
    ];
    for (text, expected) in cases {
        let (_dir, report) = records(&text);
        let found = message(report);
        assert!(found.contains(expected), "{text}: {found}");
    }
}

#[test]
fn an_unknown_device_is_named() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("engine/records/cpu");
    let found = |device: &str| {
        let mut records = Records::open(&file(&dir, "engine").unwrap()).unwrap();
        records.machine.device = device.to_owned();
        let operations = Raw::open(&file(&dir, "operations-tiny").unwrap()).unwrap();
        Calibrated::new(&records, "tiny", &operations).map(|own| own.profile.gpu)
    };
    assert_eq!(found("NVIDIA H200").unwrap(), "h200-sxm");
    assert_eq!(found("NVIDIA H100 80GB HBM3").unwrap(), "h100-sxm");
    assert_eq!(found("NVIDIA H100 PCIe").unwrap(), "h100-pcie");
    assert!(found("Abacus 9").unwrap_err().to_string().contains("Abacus 9"));
}
