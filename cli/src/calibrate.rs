//! `tenfold calibrate` and `tenfold profile`: step times from measurements.

use std::process::ExitCode;

use scenarios::calibrate::{self, CalibrateOptions};
use scenarios::profile::{FitOptions, ImportOptions, derive_profile, fit_raw, import_aiconfigurator};

use crate::args::{CalibrateArgs, DeriveArgs, FitArgs, ImportArgs, Tables};
use crate::new::write_new;
use crate::output::{Failure, print, quoted};
use crate::tables;

/// Prints the fragment for the scenario on standard output, and how good it is on stderr.
pub fn calibrate(args: &CalibrateArgs) -> Result<ExitCode, Failure> {
    if !(0.0..=0.9).contains(&args.hold_back) {
        return Err(Failure::text(format!("--hold-back is {}", args.hold_back)).help("expected 0 to 0.9"));
    }
    let loaded = scenarios::load(&args.file, &args.set)?;
    let options = CalibrateOptions { component: args.component.clone(), hold_back: args.hold_back };
    let calibrated = calibrate::calibrate(&loaded, &args.bench, &options)?;
    say!("{}", tables::calibration(&calibrated));
    print(&calibrated.to_toml())?;
    Ok(ExitCode::SUCCESS)
}

pub fn import(args: &ImportArgs) -> Result<ExitCode, Failure> {
    let options = ImportOptions {
        id: args.profile.id.clone(),
        gpu: args.profile.gpu.clone(),
        source: args.source.clone(),
        licence: args.origin.licence.clone(),
        measured: args.origin.measured.clone(),
        fitted: args.profile.fitted.clone(),
        ..ImportOptions::default()
    };
    let imported = match args.from {
        Tables::Aiconfigurator => import_aiconfigurator(&args.dir, &options).map_err(Failure::text)?,
    };
    write_new(&args.profile.out, &imported.profile.to_toml())?;
    let straight = imported.fits.iter().filter(|fit| fit.r2 >= 0.97).count();
    print(&format!(
        "wrote {} from {} timings; a straight line explains 97% of the variance in {straight} of {} shapes of attention",
        args.profile.out.display(),
        imported.timings,
        imported.fits.len()
    ))?;
    Ok(ExitCode::SUCCESS)
}

pub fn fit(args: &FitArgs) -> Result<ExitCode, Failure> {
    let options = FitOptions {
        id: args.profile.id.clone(),
        gpu: args.profile.gpu.clone(),
        licence: args.origin.licence.clone(),
        measured: args.origin.measured.clone(),
        fitted: args.profile.fitted.clone(),
    };
    let fitted = fit_raw(&args.raw, &options).map_err(Failure::text)?;
    write_new(&args.profile.out, &fitted.profile.to_toml())?;
    print(&format!(
        "wrote {} from {} timings; {} lines are held back: tenfold validate --raw {} --profile {}",
        args.profile.out.display(),
        fitted.timings,
        fitted.held_back,
        quoted(args.raw.display()),
        quoted(args.profile.out.display())
    ))?;
    Ok(ExitCode::SUCCESS)
}

pub fn derive(args: &DeriveArgs) -> Result<ExitCode, Failure> {
    let new = &args.profile;
    let profile = derive_profile(&args.from, &new.gpu, &new.id, &new.fitted).map_err(Failure::text)?;
    write_new(&new.out, &profile.to_toml())?;
    let estimate = profile.estimate.unwrap_or_default();
    print(&format!("wrote {}: an estimate, {estimate}", new.out.display()))?;
    Ok(ExitCode::SUCCESS)
}
