//! Profiles from the measured tables beside the repository.

use std::path::PathBuf;

use scenarios::profile::{ImportOptions, Imported, Profile, ProfileError, import_aiconfigurator};

fn tables() -> Option<PathBuf> {
    let shared = std::env::var_os("TENFOLD_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")), PathBuf::from);
    let folder = shared.join("data/kernels/h100_sxm");
    if !folder.is_dir() {
        eprintln!("skipped: no {} (set TENFOLD_SHARED to the folder of measured data)", folder.display());
        return None;
    }
    Some(folder)
}

fn import(folder: &std::path::Path) -> Imported {
    let options = ImportOptions {
        id: "h100-sxm-vllm-0.24".into(),
        gpu: "h100-sxm".into(),
        source: "ai-dynamo/aiconfigurator @ 095f58a, tables of vLLM 0.24.0 on h100_sxm".into(),
        licence: "Apache-2.0".into(),
        measured: "not stated by the source".into(),
        fitted: "2026-11-25".into(),
        ..ImportOptions::default()
    };
    import_aiconfigurator(folder, &options).unwrap()
}

/// The profile that ships is what an import of its source makes, and its lines fit.
#[test]
fn the_built_in_profile_is_an_import_of_its_source() {
    let Some(folder) = tables() else { return };
    let Imported { profile, fits, timings } = import(&folder);
    assert!(timings > 100_000, "{timings} timings");
    let text = profile.to_toml();
    assert_eq!(Profile::parse(&text, "written").unwrap(), profile, "what is written is read back");
    let rows = profile.decode_attention.len() + profile.prefill_attention.len();
    let good = fits.iter().filter(|fit| fit.r2 > 0.97).count();
    assert!(good * 10 >= fits.len() * 8, "{good} of {} lines explain 97%", fits.len());
    assert!(rows * 100 >= fits.len() * 90, "{rows} rows of {} shapes", fits.len());
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../sim-models/data/profiles/h100-sxm-vllm-0.24.toml");
    if std::fs::read_to_string(shipped).unwrap() != text {
        let made = std::env::temp_dir().join("h100-sxm-vllm-0.24.toml");
        std::fs::write(&made, text).unwrap();
        panic!("{shipped} is not what an import makes: that is now at {}", made.display());
    }
}

#[test]
fn folders_without_tables_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |text: &str| {
        let error = import_aiconfigurator(folder.path(), &ImportOptions::default()).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    };
    refused("gemm.parquet");
    std::fs::write(folder.path().join("gemm.parquet"), "no parquet at all").unwrap();
    refused("gemm.parquet");
    let missing = import_aiconfigurator("/nowhere".as_ref(), &ImportOptions::default());
    assert!(matches!(missing, Err(ProfileError::Io { .. })));
}
