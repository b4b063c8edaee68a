//! `tenfold sweep` and `tenfold merge`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use scenarios::results::show::plural;
use scenarios::results::{Format, result_files};
use scenarios::run::RunOptions;
use scenarios::sweep::{MANIFEST, Shard, Shards, Sweep, SweepEnd, SweepOptions, SweepProgress, Tally};

use crate::args::{Luck, MergeArgs, SweepArgs};
use crate::output::{Failure, check_apart, print};
use crate::progress::{on_interrupt, with_bar};
use crate::run::INTERRUPTED;

pub fn sweep(args: &SweepArgs) -> Result<ExitCode, Failure> {
    let luck = Luck { seed: args.seed, replications: args.replications, threads: None };
    let loaded = args.input.load(&luck.sets(&args.input.set))?;
    let options = SweepOptions {
        axes: args.axis.clone(),
        design: args.design,
        samples: args.samples,
        shard: args.shard,
        run: RunOptions { threads: args.jobs.map(usize::from), ..args.input.options() },
        format: args.format,
        resume: args.resume,
    };
    let sweep = Sweep::new(&loaded, options)?;
    args.pages.check()?;
    if args.shard != Shard::ALL && (args.pages.report.is_some() || args.pages.plots.is_some()) {
        return Err(Failure::text(format!("shard {} has no report of its own", args.shard))
            .help("expected --report and --plots of a whole sweep"));
    }
    let dir = args.out.clone().unwrap_or_else(|| default_dir(&args.input.file, args.shard));
    let written = result_files(&dir, args.format).into_iter().chain([dir.join(MANIFEST)]);
    check_apart(|| args.input.files(&loaded), written.chain(args.pages.report.clone()))?;
    let progress = Arc::new(SweepProgress::new());
    let stopping = Arc::clone(&progress);
    on_interrupt(move || {
        let again = stopping.is_stopping();
        stopping.stop();
        again
    })?;
    let end = with_bar(&*progress, args.quiet, || sweep.run(&dir, &progress));
    let end = end.map_err(|error| {
        Failure::text(error).help(
            "--resume takes up a sweep of the same scenario, axes and version; --out names another directory",
        )
    })?;
    Ok(match end {
        SweepEnd::Finished { tally, file } => {
            print(&in_words(&tally))?;
            match file {
                Some(file) => {
                    say!("wrote {}", file.display());
                    args.pages.write(|| sweep.report(&dir).map_err(Failure::text))?;
                }
                None => say!(
                    "shard {} is in {}: when all are done, `tenfold merge DIR... -o FILE` joins them",
                    args.shard,
                    dir.display()
                ),
            }
            ExitCode::SUCCESS
        }
        SweepEnd::Stopped { done, points } => {
            say!(
                "interrupted: {done} of {} are done and kept in {}; the same command with --resume goes on",
                plural(points as f64, "point"),
                dir.display()
            );
            ExitCode::from(INTERRUPTED)
        }
    })
}

pub fn merge(args: &MergeArgs) -> Result<ExitCode, Failure> {
    let ending = args.out.extension().unwrap_or_default().to_string_lossy();
    let format: Format = ending.parse().map_err(|_| {
        Failure::text(format!("the name {} does not say its format", args.out.display()))
            .help("expected an ending of .parquet, .csv, .arrow or .json")
    })?;
    args.pages.check()?;
    let shards = Shards::read(&args.dirs).map_err(|error| {
        Failure::text(error)
            .help("expected the directories of all shards of one sweep, each once and each finished")
    })?;
    check_apart(
        || shards.files().collect(),
        [args.out.clone()].into_iter().chain(args.pages.report.clone()),
    )?;
    let tally = shards.join(&args.out, format).map_err(Failure::text)?;
    print(&in_words(&tally))?;
    say!("wrote {}", args.out.display());
    args.pages.write(|| shards.report().map_err(Failure::text))?;
    Ok(ExitCode::SUCCESS)
}

/// `FILE.sweep`, or `FILE.sweep-2-of-4`, in the working directory.
fn default_dir(file: &Path, shard: Shard) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    match shard {
        Shard::ALL => format!("{stem}.sweep").into(),
        Shard { index, of } => format!("{stem}.sweep-{index}-of-{of}").into(),
    }
}

fn in_words(tally: &Tally) -> String {
    let points = |number: u64| plural(number as f64, "point");
    let verb =
        |number: u64, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
    let mut text = points(tally.points);
    if tally.passed + tally.missed > 0 {
        let kept = verb(tally.passed, "keeps", "keep");
        let missed = verb(tally.missed, "does", "do");
        text.push_str(&format!(": {kept} to the SLO, {missed} not"));
    }
    if let Some(error) = &tally.first_error {
        text.push_str(&format!("\n{} could not be run; the first: {error}", points(tally.failed)));
    }
    text
}
