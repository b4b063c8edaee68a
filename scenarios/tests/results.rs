//! Frames and files of results.

use std::fs::{self, File};
use std::path::Path;

use polars::prelude::{CsvReader, DataFrame, IpcReader, ParquetReader, SerReader};
use scenarios::results::columns::FRAMES;
use scenarios::results::{Format, RunResult, check_writable};
use scenarios::run::{RunOptions, RunProgress, run_scenario};
use scenarios::scenario::Scenario;

fn result() -> RunResult {
    let text = r#"
        name = "shop, with a comma"
        run = { duration = "30s", replications = 3, windows = 20 }
        slo = { latency = { p99 = "1s" } }
        [traffic.web]
        arrivals = { process = "poisson", rate = "50/s" }
        entry = "db"
        priority = { gold = 0.2, rest = 0.8 }
        tenants = { a = 0.5, b = 0.5 }
        [components.db]
        kind = "service"
        servers = 2
        service_time = { exponential = { mean = "30ms" } }
        queue_cap = 5
        price_per_hour = "$0.5/h"
    "#;
    let scenario: Scenario = toml::from_str(text).unwrap();
    let go = run_scenario(&scenario, 0xabc, Path::new("."), &RunOptions::default(), &RunProgress::new());
    go.unwrap().named("wide")
}

#[test]
fn frames_are_as_documented() {
    let result = result();
    for ((name, frame), documented) in result.frames().into_iter().zip(FRAMES) {
        assert_eq!(name, documented.name);
        let found: Vec<_> =
            frame.columns().iter().map(|c| (c.name().to_string(), c.dtype().clone())).collect();
        let expected: Vec<_> =
            documented.columns.iter().map(|c| (c.name.to_owned(), c.kind.dtype())).collect();
        assert_eq!(found, expected, "{name}");
        // A plain queue has no measures and is no pool.
        assert_eq!(frame.height() > 0, !["measures", "replicas"].contains(&name), "{name}");
    }
}

fn sum(frame: &DataFrame, column: &str, class: &str, tenant: &str) -> u64 {
    let text = |name: &str| frame.column(name).unwrap().str().unwrap().clone();
    let (classes, tenants) = (text("class"), text("tenant"));
    let values = frame.column(column).unwrap().u64().unwrap();
    (0..frame.height())
        .filter(|row| classes.get(*row) == Some(class) && tenants.get(*row) == Some(tenant))
        .map(|row| values.get(row).unwrap())
        .sum()
}

#[test]
fn sums_agree() {
    let result = result();
    let summary = result.summary();
    // (all, gold, rest) x (all, a, b) x 3.
    assert_eq!(summary.height(), 27);
    for column in ["born", "ok", "rejected", "in_flight", "prompt_tokens"] {
        let all = sum(&summary, column, "all", "all");
        let parts: u64 =
            ["gold", "rest"].iter().flat_map(|c| ["a", "b"].map(|t| sum(&summary, column, c, t))).sum();
        assert_eq!(all, parts, "{column}");
        assert_eq!(all, sum(&summary, column, "all", "a") + sum(&summary, column, "all", "b"));
    }
    assert!(sum(&summary, "rejected", "all", "all") > 0);
    let outcomes = result.outcomes();
    assert_eq!(outcomes.height(), 4 * 6 * 3);
    let counted: u64 = outcomes.column("count").unwrap().u64().unwrap().iter().flatten().sum();
    assert_eq!(counted, sum(&summary, "born", "all", "all"));
    // The whole run, warm-up included, window by window.
    let series = result.series();
    let born: u64 = series.column("born").unwrap().u64().unwrap().iter().flatten().sum();
    assert_eq!(born, result.outputs.iter().map(|output| output.conservation.born).sum::<u64>());
    let costs = result.costs();
    assert_eq!(costs.height(), 1);
    assert_eq!(costs.column("usd_per_month").unwrap().f64().unwrap().get(0), Some(730.0));
}

#[test]
fn files_read_back() {
    let result = result();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("not/yet/there");
    for (extension, format) in Format::ALL {
        assert_eq!(extension.parse::<Format>(), Ok(format));
        // A second time, over the files of the first.
        for _ in 0..2 {
            let paths = result.write(&out, format).unwrap();
            assert_eq!(paths.len(), result.frames().len() + 1);
            assert!(paths.iter().all(|path| path.is_file()));
        }
    }
    assert!("xlsx".parse::<Format>().unwrap_err().to_string().contains("csv, json, parquet or arrow"));
    for (name, frame) in result.frames() {
        let open = |extension: &str| File::open(out.join(format!("{name}.{extension}"))).unwrap();
        let own = frame.get_column_names_owned();
        let mut parquet = ParquetReader::new(open("parquet"));
        let metadata = parquet.get_metadata().unwrap().key_value_metadata().clone().unwrap();
        let kept =
            metadata.iter().find(|pair| pair.key == "tenfold.provenance").unwrap().value.clone().unwrap();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&kept).unwrap()["scenario_hash"],
            "0000000000000abc"
        );
        let parquet = parquet.finish().unwrap();
        stamped(&parquet, &result);
        assert!(parquet.select(own.clone()).unwrap().equals_missing(&frame), "{name}");
        let mut arrow = IpcReader::new(open("arrow"));
        let metadata = arrow.custom_metadata().unwrap().unwrap();
        assert_eq!(metadata.get("tenfold.provenance").map(|text| text.as_str()), Some(kept.as_str()));
        let arrow = arrow.finish().unwrap();
        stamped(&arrow, &result);
        assert!(arrow.select(own.clone()).unwrap().equals_missing(&frame), "{name}");
        let csv = CsvReader::new(open("csv")).finish().unwrap();
        assert_eq!(csv.height(), frame.height(), "{name}");
        assert_eq!(csv.get_column_names(), arrow.get_column_names());
        for column in frame.columns().iter().filter(|column| column.dtype().is_float()) {
            let back = csv.column(column.name()).unwrap().cast(column.dtype()).unwrap();
            assert!(back.equals_missing(column), "{name}.{}", column.name());
        }
        let json: serde_json::Value = serde_json::from_reader(open("json")).unwrap();
        let rows = &result.to_json()[name];
        assert_eq!(rows.as_array().unwrap().len(), frame.height());
        for (written, row) in json.as_array().unwrap().iter().zip(rows.as_array().unwrap()) {
            assert_eq!(written.as_object().unwrap().len(), arrow.width(), "{name}");
            for (column, value) in row.as_object().unwrap() {
                // Reading a decimal may lose the last bit.
                let same = match (written[column].as_f64(), value.as_f64()) {
                    (Some(a), Some(b)) => (a - b).abs() <= 1e-12 * b.abs(),
                    _ => written[column] == *value,
                };
                assert!(same, "{name}.{column}: {} and {value}", written[column]);
            }
        }
    }
    let provenance: serde_json::Value =
        serde_json::from_reader(File::open(out.join("provenance.json")).unwrap()).unwrap();
    assert_eq!(provenance["scenario_hash"], "0000000000000abc");
    assert_eq!(
        (provenance["variant"].as_str(), provenance["columns_version"].as_u64()),
        (Some("wide"), Some(1))
    );
    assert_eq!(provenance["fingerprints"].as_array().unwrap().len(), 3);
    assert_eq!(provenance["fingerprints"][2], result.to_json()["summary"][18]["fingerprint"]);
    // Nine frames in four formats and the provenance; nothing temporary is left.
    assert_eq!(fs::read_dir(&out).unwrap().count(), 37);
}

/// Every row says where it comes from.
fn stamped(frame: &DataFrame, result: &RunResult) {
    let text = |column: &str, row: usize| {
        frame.column(column).unwrap().get(row).unwrap().get_str().unwrap_or_default().to_owned()
    };
    let number = |column: &str, row: usize| frame.column(column).ok()?.get(row).unwrap().extract::<u64>();
    let provenance = &result.provenance;
    for row in 0..frame.height() {
        assert_eq!(text("scenario_hash", row), provenance.scenario_hash);
        assert_eq!(text("version", row), provenance.version);
        assert_eq!(number("seed", row), Some(provenance.seed));
        let fingerprint = text("fingerprint", row);
        match number("replication", row) {
            Some(replication) => assert_eq!(fingerprint, provenance.fingerprints[replication as usize]),
            None => assert!(fingerprint.len() == 16 && !provenance.fingerprints.contains(&fingerprint)),
        }
    }
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    assert!(check_writable(&dir.path().join("new")).is_ok());
    assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 0);
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for error in [check_writable(&file).unwrap_err(), result().write(&file, Format::Csv).unwrap_err()] {
        assert!(
            error.to_string().starts_with(&format!("cannot write results to {}", file.display())),
            "{error}"
        );
    }
    // A directory in the place of a file: nothing is half written.
    let out = dir.path().join("out");
    fs::create_dir_all(out.join("series.csv/occupied")).unwrap();
    assert!(result().write(&out, Format::Csv).is_err());
    let hidden = fs::read_dir(&out)
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0);
}
