//! With the published measurements beside the repository, where they are, and without.

use super::*;

/// The folder of published measurements, unless it is not there.
fn folder() -> Option<PathBuf> {
    let shared = std::env::var_os("TENFOLD_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")), PathBuf::from);
    let folder = shared.join("data");
    if !folder.is_dir() {
        eprintln!("skipped: no {} (set TENFOLD_SHARED to the folder of measured data)", folder.display());
        return None;
    }
    Some(folder)
}

#[test]
fn published_measurements_are_predicted_within_their_bounds() {
    let Some(folder) = folder() else { return };
    let report = check_published(&folder, |_, _, _| {}).unwrap();
    println!("{}", report.markdown());
    assert_eq!(report.skipped, Vec::<String>::new());
    assert!(report.passed(), "{:#?}", report.missed());
    // What the page of GPUs states is what is found here.
    for (precision, median, p90) in IMPORTED_ERROR {
        let what = format!("kernels together, {precision}: left out of a profile of the other half");
        let found = report.checks.iter().flat_map(|check| &check.spreads).find(|spread| spread.what == what);
        let Sizes { median: found_median, p90: found_p90, .. } = found.unwrap().sizes;
        let is_it = |stated: f64, found: f64| (stated - found).abs() < 0.0005;
        assert!(is_it(median, found_median) && is_it(p90, found_p90), "{what}: {found:?}");
    }
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/reference/published.md");
    let text = std::fs::read_to_string(shipped).unwrap();
    assert!(
        text == report.page_of_the_book(),
        "{shipped} is old: cargo run -p validation --example published_md ../shared/data > it"
    );
}

#[test]
fn a_folder_without_any_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = check_published(folder.path(), |_, _, _| {}).unwrap_err().to_string();
    assert!(error.contains("expected at least one of serving/qwen3-14b_h100_2rps.csv.gz"), "{error}");
}

/// A report of one figure that was measured as 100.
fn report(predicted: f64, bound: Option<f64>) -> PublishedReport {
    let row = Row { what: "figure".into(), unit: Unit::Seconds, measured: 100.0, predicted, bound };
    let sizes = |median| Sizes { count: 3, median, p90: 0.1, worst: 0.2 };
    let spread = Spread {
        what: "kernels".into(),
        sizes: sizes(predicted / 100.0 - 1.0),
        datasheet: sizes(0.5),
        bounds: bound.map(|bound| (bound, 0.15)),
    };
    let check = Check {
        title: "Made up",
        source: "nobody",
        said: "Nothing was measured.".into(),
        facts: vec![],
        rows: vec![row],
        spreads: vec![],
        pictures: vec![],
    };
    let many = Check { rows: vec![], spreads: vec![spread], ..check.clone() };
    PublishedReport { checks: vec![check, many], skipped: vec!["others: no file".into()] }
}

#[test]
fn a_check_fails_where_an_error_is_over_its_bound() {
    assert!(report(107.0, Some(0.08)).passed() && report(200.0, None).passed());
    let missed = report(109.0, Some(0.08));
    assert!(!missed.passed());
    assert_eq!(missed.missed().len(), 2);
    let text = missed.markdown();
    for part in [
        "2 fail",
        "| figure | 100 s | 109 s | +9.0% | 8% | FAIL |",
        "| kernels | 3 | 9.0% ",
        "others: no file",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let mut failing = report(100.0, None);
    failing.checks[0].facts.push((false, "something".into()));
    assert!(!failing.passed());
}

#[test]
fn a_report_is_written() {
    let dir = tempfile::tempdir().unwrap();
    report(109.0, Some(0.08)).write(dir.path()).unwrap();
    let html = std::fs::read_to_string(dir.path().join("report.html")).unwrap();
    assert!(html.contains("figure: +9.0% (at most 8%)") && html.contains("Nothing was measured."));
    assert!(dir.path().join("report.md").exists());
}

#[test]
fn a_broken_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let features = dir.path().join("features");
    std::fs::create_dir(&features).unwrap();
    std::fs::write(features.join("feast_online_latency.csv"), "store,features\nredis,50\n").unwrap();
    let error = check_published(dir.path(), |_, _, _| {}).unwrap_err().to_string();
    assert!(error.contains("feast_online_latency.csv") && error.contains("entity_rows"), "{error}");
}
