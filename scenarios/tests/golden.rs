//! The library gives what it is known to give, on any number of threads.

use std::path::Path;

use scenarios::golden::{Change, FILE, Golden, Goldens, bless, changes, compute, read};

#[test]
fn the_library_gives_what_it_gave() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let known = read(&dir).unwrap();
    assert!(!known.is_empty());
    // The same thread count twice, then others.
    for threads in [1, 1, 2, 8] {
        let changed = changes(&known, &compute(Some(threads)).unwrap());
        assert_eq!(changed, [], "with {threads} threads; if this is meant, run `tenfold bless`");
    }
}

#[test]
fn renewing_says_what_changed() {
    let dir = tempfile::tempdir().unwrap();
    let added = bless(dir.path()).unwrap();
    let variants =
        |text| scenarios::parse(text, "library", Path::new("."), &[]).unwrap().scenario.variant.len();
    let runs: usize = scenarios::library().iter().map(|scenario| 1 + variants(scenario.text)).sum();
    assert_eq!(added.len(), runs);
    assert!(added.iter().all(|(_, change)| *change == Change::Added));
    let first = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
    assert!(first.starts_with("# Fingerprints"));
    assert_eq!(bless(dir.path()).unwrap(), []);
    assert_eq!(std::fs::read_to_string(dir.path().join(FILE)).unwrap(), first);
    std::fs::write(dir.path().join(FILE), "x = 1").unwrap();
    assert!(bless(dir.path()).unwrap_err().to_string().contains(FILE));
}

#[test]
fn changes_are_told_apart() {
    let golden = |print: &str, outcome: &str| Golden {
        fingerprints: vec![print.to_owned()],
        outcome_hashes: vec![outcome.to_owned()],
    };
    let set = |list: &[(&str, Golden)]| -> Goldens {
        list.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect()
    };
    let before = set(&[
        ("a", golden("1", "1")),
        ("b", golden("1", "1")),
        ("c", golden("1", "1")),
        ("d", golden("1", "1")),
    ]);
    let after = set(&[
        ("a", golden("1", "1")),
        ("b", golden("2", "1")),
        ("c", golden("2", "2")),
        ("e", golden("1", "1")),
    ]);
    let expected =
        [("b", Change::Events), ("c", Change::Behaviour), ("e", Change::Added), ("d", Change::Removed)];
    assert_eq!(changes(&before, &after), expected.map(|(id, change)| (id.to_owned(), change)));
}
