//! `tenfold workload`: what a scenario asks of its system, as a trace.

use std::process::ExitCode;
use std::sync::Arc;

use scenarios::report::check_file;
use scenarios::results::write_text;
use scenarios::run::RunProgress;

use crate::args::WorkloadArgs;
use crate::output::{Failure, check_apart, print};
use crate::progress::{cancel_on_interrupt, with_bar};
use crate::run::INTERRUPTED;

pub fn workload(args: &WorkloadArgs) -> Result<ExitCode, Failure> {
    let mut sets = args.input.set.clone();
    sets.extend(args.seed.map(|seed| format!("run.seed={seed}")));
    let loaded = args.input.load(&sets)?;
    let options = args.input.options();
    scenarios::check(&loaded, &options)?;
    args.out.as_deref().map_or(Ok(()), check_file).map_err(Failure::text)?;
    check_apart(|| args.input.files(&loaded), args.out.clone())?;
    let progress = Arc::new(RunProgress::new());
    cancel_on_interrupt(&progress)?;
    let made = with_bar(&*progress, args.quiet, || {
        scenarios::workload::of(&loaded, args.source.as_deref(), &options, &progress)
    });
    if progress.is_cancelled() {
        say!("interrupted: nothing is written");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let workload = made?;
    let Some(file) = &args.out else { return print(&workload.csv).map(|()| ExitCode::SUCCESS) };
    write_text(file, &workload.csv).map_err(Failure::text)?;
    let (requests, source) = (workload.requests, &workload.source);
    print(&format!("wrote {}: {requests} requests of `{source}`", file.display())).map(|()| ExitCode::SUCCESS)
}
