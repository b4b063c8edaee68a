//! The records of an H200, and made-up ones.

use std::path::PathBuf;

use scenarios::run::{RunOptions, RunProgress};

use super::batching::BatchingCompared;
use super::*;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("engine/records/h200")
}

fn h200() -> EngineReport {
    check_engine(&folder()).unwrap()
}

/// What misses its bound is named here, with the error that it had when it was measured; nothing may grow past it.
/// All but two are of the small model, half of whose steps is Python: the processors of the machine that was measured
/// were up to 1.8 times slower in some seconds than in others.
#[test]
fn a_gpu_engine_is_predicted_from_its_parts() {
    let over = [
        ("llama-3.1-8b-graphs/document/load-50", "TPOT mean", 0.072),
        ("llama-3.1-8b-graphs/document/load-50", "end to end mean", 0.069),
        ("llama-3.2-1b-graphs/chat/load-50", "TTFT mean", 0.25),
        ("llama-3.2-1b-graphs/chat/load-50", "TPOT mean", 0.21),
        ("llama-3.2-1b-graphs/chat/load-50", "TPOT p99", 0.22),
        ("llama-3.2-1b-graphs/chat/load-50", "end to end mean", 0.22),
        ("llama-3.2-1b-graphs/chat/load-50", "end to end p99", 0.21),
        ("llama-3.2-1b-graphs/chat/load-110", "requests a second more", 2.4),
        ("llama-3.2-1b-graphs/document/load-80", "TTFT mean", 0.19),
        ("llama-3.2-1b-graphs/document/load-80", "TTFT p99", 0.24),
        ("llama-3.2-1b-graphs/document/load-80", "TPOT mean", 0.15),
        ("llama-3.2-1b-graphs/document/load-80", "end to end mean", 0.16),
        ("llama-3.2-1b-graphs/document/load-80", "end to end p99", 0.18),
    ];
    let report = h200();
    assert!(report.complete && report.missing.is_empty(), "{:?}", report.missing);
    let loads: Vec<f64> = report.compared.iter().filter_map(|run| run.share).collect();
    assert!(loads.len() >= 8 && loads.contains(&0.1) && loads.contains(&1.2), "{loads:?}");
    let mixes: Vec<&str> = report.compared.iter().map(|run| run.mix.as_str()).collect();
    assert!(mixes.contains(&"chat") && mixes.contains(&"document"));
    let verdicts = report.verdicts();
    assert_eq!(verdicts.len(), 67);
    for v in &verdicts {
        match over.iter().find(|known| (known.0, known.1) == (v.run.as_str(), v.what.as_str())) {
            Some((.., most)) => {
                assert!(v.pair.error().abs() <= *most, "{v:?}");
                assert!(!v.passed(), "{} {} is within its bound now: say so", v.run, v.what);
            }
            None => assert!(v.passed(), "{v:?}"),
        }
    }
}

/// Two loads without a delay worth the name are over 10%: the batcher, which is in Python, takes its time between
/// executions.
#[test]
fn dynamic_batching_and_cold_starts_are_predicted() {
    let report = h200();
    let batching = report.batching.unwrap();
    assert_eq!(batching.compared.len(), 12);
    let over: Vec<&BatchingCompared> =
        batching.compared.iter().filter(|run| !batching.run_passed(run)).collect();
    let names: Vec<&str> = over.iter().map(|run| run.run.as_str()).collect();
    assert_eq!(names, ["batch-32/delay-0us/load-80", "batch-32/delay-4071us/load-80"]);
    for run in over {
        let Pair { predicted: p, measured: m } = run.latency;
        assert!([p.p50 / m.p50, p.p99 / m.p99].iter().all(|ratio| (ratio - 1.0).abs() < 0.17), "{run:?}");
    }
    let cold = report.cold.unwrap();
    assert!(cold.compared.len() == 2 && cold.passed(), "{cold:?}");
}

#[test]
fn the_page_of_the_book_is_as_made() {
    let book = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/src");
    let made = h200().of_the_book();
    assert_eq!(made.len(), 3);
    for (place, text) in made {
        let shipped = std::fs::read_to_string(book.join(place)).unwrap();
        assert!(shipped == text, "{place} is old: cargo run -p validation --example engine_md");
    }
}

#[test]
fn the_check_can_fail() {
    let mut report = h200();
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
    let mut report = h200();
    // One run is enough: all have their pictures.
    report.compared.retain(|run| run.share == Some(0.5) && run.mix == "chat");
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

/// An engine of records that were changed.
fn calibrated(name: &str, change: impl FnOnce(&mut Records)) -> Result<Calibrated, EngineCheckError> {
    let at = |what: &str| file(&folder(), what).unwrap();
    let mut records = Records::open(&at("engine")).unwrap();
    change(&mut records);
    let operations = Raw::open(&at(&format!("operations-{name}"))).unwrap();
    let attention = Attention::open(&at(&format!("attention-{name}"))).unwrap();
    Calibrated::new(&records, name, "chat", &operations, &attention)
}

/// Records of an asynchronous engine are predicted with a host that works while the device does.
#[test]
fn an_asynchronous_engine_hides_its_host() {
    let found = |asynchronous: bool| {
        let change = |records: &mut Records| {
            records.engines.values_mut().for_each(|engine| engine.asynchronous = asynchronous);
        };
        calibrated("llama-3.1-8b-graphs", change).unwrap()
    };
    let (one, other) = (found(false), found(true));
    assert!(!one.config().async_scheduling && other.config().async_scheduling);
    // What was measured is the same: what the host no longer takes is in the gap.
    let host = one.profile.overheads.host_step_us + one.profile.overheads.host_sequence_us;
    let more = other.profile.overheads.step_gap_us - one.profile.overheads.step_gap_us;
    assert!((0.8 * host..1.3 * host).contains(&more), "{host} {more}");
    // Starting the forward pass and tokens are of the host, too.
    assert!(other.profile.overheads.host_step_us > one.profile.overheads.host_step_us);
}

#[test]
fn an_unknown_device_is_named() {
    let found = |device: &str| {
        calibrated("llama-3.2-1b-graphs", |records| records.machine.device = device.to_owned())
            .map(|own| own.profile.gpu)
    };
    assert_eq!(found("NVIDIA H200").unwrap(), "h200-sxm");
    assert_eq!(found("NVIDIA H100 80GB HBM3").unwrap(), "h100-sxm");
    assert_eq!(found("NVIDIA H100 PCIe").unwrap(), "h100-pcie");
    assert!(found("Abacus 9").unwrap_err().to_string().contains("Abacus 9"));
}
