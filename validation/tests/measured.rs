//! The measurements that are kept with the project: the profile is what they give, and its errors stay in their bounds.

use std::path::Path;

use sim_models::hardware::microbench::Raw;
use sim_models::hardware::precision::Precision;
use sim_models::hardware::profile::{FitOptions, Profile};
use validation::gpu::{ALIKE, Measured, Operation, gpus_md};

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("measurements")
}

fn h200() -> Measured {
    Measured::open(&folder(), "h200-sxm").unwrap()
}

#[test]
fn the_shipped_profile_is_the_fit_of_the_measurements() {
    let raw = Raw::open(&folder().join("h200-sxm-full.jsonl.gz")).unwrap();
    let shipped = Profile::of_gpu("h200-sxm").unwrap();
    let options = FitOptions {
        id: shipped.id.clone(),
        gpu: shipped.gpu.clone(),
        licence: shipped.licence.clone(),
        measured: shipped.measured.clone(),
        fitted: shipped.fitted.clone(),
    };
    assert_eq!(&Profile::fit(&raw, &options).unwrap().0, shipped);
}

/// What misses its bound is named here, with the errors that it had when it was fitted; nothing may grow past them.
#[test]
fn errors_on_what_was_held_back_stay_in_their_bounds() {
    let over = [
        (Operation::Kernels, Precision::Bf16, 0.05, 0.158),
        (Operation::Kernels, Precision::Fp16, 0.059, 0.154),
        (Operation::Kernels, Precision::Int8, 0.109, 0.238),
    ];
    let report = h200().report;
    for (operation, precision, sizes, passed) in report.verdicts() {
        let known = over.iter().find(|known| (known.0, known.1) == (operation, precision));
        match known {
            Some((.., median, p90)) => {
                assert!(sizes.median <= *median && sizes.p90 <= *p90, "{precision}: {sizes:?}");
                assert_eq!(
                    passed,
                    Some(false),
                    "{operation:?} in {precision} is within its bound now: say so"
                );
            }
            None => assert_ne!(passed, Some(false), "{operation:?} in {precision}: {sizes:?}"),
        }
    }
    for operation in Operation::ALL {
        assert!(report.verdicts().iter().any(|verdict| verdict.0 == operation), "no {operation:?}");
    }
    assert_eq!(report.beside.len(), 4);
    assert!(report.beside.iter().all(validation::gpu::Beside::passed), "{:?}", report.beside);
    // What measuring buys: the datasheet alone is farther off, whatever is predicted.
    for (operation, precision, sizes, _) in report.verdicts() {
        let datasheet = report.sizes(operation, precision, true).unwrap();
        assert!(datasheet.median > sizes.median, "{operation:?} in {precision}: {datasheet:?}");
    }
}

#[test]
fn two_runs_agree_and_ceilings_are_those_of_pytorch() {
    let Measured { repeated, ceilings, .. } = h200();
    assert!(repeated.median <= ALIKE && repeated.count > 1500, "{repeated:?}");
    let [copy, product] = &ceilings[..] else { panic!("{ceilings:?}") };
    assert!(copy.difference().abs() <= ALIKE, "{copy:?}");
    assert!(product.difference().abs() <= ALIKE, "{product:?}");
}

#[test]
fn the_page_of_measurements_is_as_made() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/reference/measured.md");
    let text = std::fs::read_to_string(shipped).unwrap();
    assert!(
        text == h200().markdown(),
        "{shipped} is old: cargo run -p validation --example measured_md > it"
    );
}

#[test]
fn the_page_of_gpus_is_as_made() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/reference/gpus.md");
    let text = std::fs::read_to_string(shipped).unwrap();
    assert!(text == gpus_md(&h200()), "{shipped} is old: cargo run -p validation --example gpus_md > it");
    let line = "| `h100-sxm` | estimate | imported | imported | imported | estimate | imported | estimate |";
    assert!(text.contains(line), "{text}");
}
