//! A run in steps: a coarse answer at once, a finer one soon, then the whole.
//!
//! A coarse answer is that of a short run in two replications. How short it must be is found by runs that are longer
//! and longer, until the next would no longer fit; so it depends on the machine, and only the whole run is a result.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use scenarios::results::RunResult;
use scenarios::run::{DEFAULT_DURATION, RunOptions, RunProgress};
use scenarios::scenario::Warmup;
use scenarios::units::Time;
use scenarios::{Loaded, ScenarioError};

/// What the simulation of the first answer may take: the rest of 100 ms is for reading the edit, the report and a frame.
const FIRST: Duration = Duration::from_millis(40);

/// The same for the second answer, of two seconds.
const FINER: Duration = Duration::from_millis(1_200);

/// The first try: this share of the time.
const TINY: f64 = 1.0 / 1024.0;

/// Of the time that is left, this much is planned for (assumption).
const MARGIN: f64 = 0.7;

/// Longer than this, a part is no quicker than the whole.
const LARGEST: f64 = 0.5;

/// Replications of a part, so that there is an interval.
const REPLICATIONS: u32 = 2;

/// The same scenario over a share of its time. What is planned for fixed times may be behind its end.
fn part(loaded: &Loaded, share: f64) -> Loaded {
    let mut part = loaded.clone();
    let run = &mut part.scenario.run;
    let short = |time: Time| {
        let millis = (time.get().as_nanos() as f64 * share / 1e6).max(1.0);
        format!("{millis:.0}ms").parse::<Time>().unwrap_or(time)
    };
    let whole = run.duration.unwrap_or(Time::from(DEFAULT_DURATION));
    run.duration = Some(short(whole));
    run.drain = run.drain.map(short);
    run.warmup = match run.warmup {
        Warmup::Fixed(time) if time.get().is_zero() => run.warmup,
        Warmup::Fixed(time) => Warmup::Fixed(short(time)),
        // No pilot: a fifth is left out (assumption).
        Warmup::Auto => Warmup::Fixed(
            format!("{:.0}us", whole.get().as_nanos() as f64 * share / 5e3).parse().unwrap_or(whole),
        ),
    };
    run.replications = run.replications.min(NonZeroU32::new(REPLICATIONS).expect("not zero"));
    part
}

/// A part that was run, and how long that took.
struct Done {
    result: RunResult,
    share: f64,
    seconds: f64,
}

/// Runs a part. None where it cannot be run in part: the whole will say why.
#[expect(clippy::disallowed_methods, reason = "how long people wait, not simulated time")]
fn done(loaded: &Loaded, share: f64, options: &RunOptions, progress: &RunProgress) -> Option<Done> {
    let begun = Instant::now();
    let result = scenarios::run(&part(loaded, share), options, progress).ok()?;
    let seconds = begun.elapsed().as_secs_f64();
    (!progress.is_cancelled()).then_some(Done { result, share, seconds })
}

/// The longest part that is run within the time, found from a tiny one on.
fn first(loaded: &Loaded, options: &RunOptions, progress: &RunProgress) -> Option<Done> {
    let mut left = FIRST.as_secs_f64();
    let mut last = done(loaded, TINY, options, progress)?;
    loop {
        left -= last.seconds;
        // Not more than sixteen times as much at once: what begins empty is quicker at first.
        let growth = (MARGIN * left / last.seconds).min(16.0);
        if growth < 2.0 || last.share >= LARGEST {
            return Some(last);
        }
        last = done(loaded, (last.share * growth).min(LARGEST), options, progress)?;
    }
}

/// Runs it; `show` is given each answer, and whether it is a coarse one. The progress of the coarse answers is not that of
/// the whole, which would go back with each of them.
///
/// # Errors
/// Why it cannot be run.
pub(super) fn run(
    loaded: &Loaded,
    options: &RunOptions,
    [coarse, progress]: [&RunProgress; 2],
    mut show: impl FnMut(RunResult, bool),
) -> Result<(), ScenarioError> {
    if let Some(Done { result, share, seconds }) = first(loaded, options, coarse) {
        show(result, true);
        let times = f64::from(loaded.scenario.run.replications.get().div_ceil(REPLICATIONS));
        let finer = (share * MARGIN * FINER.as_secs_f64() / seconds).min(LARGEST);
        if seconds / share * times > FINER.as_secs_f64()
            && finer > 2.0 * share
            && let Some(finer) = done(loaded, finer, options, coarse)
        {
            show(finer.result, true);
        }
    }
    let result = scenarios::run(loaded, options, progress)?;
    if !progress.is_cancelled() {
        show(result, false);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_scenario_of_the_library_can_be_run_in_part() {
        for one in scenarios::library() {
            let loaded = scenarios::parse(one.text, one.id, Path::new("."), &[]).unwrap();
            let done = done(&loaded, TINY, &RunOptions::default(), &RunProgress::new());
            let done = done.unwrap_or_else(|| panic!("{}", one.id));
            assert_eq!(done.result.outputs.len(), 2, "{}", one.id);
        }
    }

    #[test]
    fn the_whole_comes_last_and_what_is_cancelled_shows_nothing() {
        let one = scenarios::library().iter().find(|one| one.id == "queueing-basics").unwrap();
        let loaded = scenarios::parse(one.text, one.id, Path::new("."), &[]).unwrap();
        let mut shown = Vec::new();
        let (parts, whole) = (RunProgress::new(), RunProgress::new());
        run(&loaded, &RunOptions::default(), [&parts, &whole], |result, coarse| {
            assert!(!coarse || whole.fraction() == 0.0, "a part is not progress of the whole");
            shown.push((result.provenance.duration_s, coarse))
        })
        .unwrap();
        assert!(shown.len() >= 2 && shown.is_sorted_by(|one, next| one.0 < next.0), "{shown:?}");
        assert_eq!(shown.iter().filter(|(_, coarse)| !coarse).count(), 1);
        parts.cancel();
        whole.cancel();
        run(&loaded, &RunOptions::default(), [&parts, &whole], |_, _| panic!("it was cancelled")).unwrap();
    }
}
