//! Progress on stderr while a run is under way, and Ctrl-C.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use scenarios::run::RunProgress;
use scenarios::sweep::SweepProgress;

use crate::output::Failure;

/// Between two looks at the progress.
const EVERY: Duration = Duration::from_millis(100);
/// Steps of the bar.
const STEPS: u64 = 1_000;

/// Cancels the run at the first Ctrl-C and the program at the second.
pub fn cancel_on_interrupt(progress: &Arc<RunProgress>) -> Result<(), Failure> {
    let progress = Arc::clone(progress);
    on_interrupt(move || {
        let again = progress.is_cancelled();
        progress.cancel();
        again
    })
}

/// Calls `stop` at Ctrl-C, and ends the program when it says that it has been called before.
pub fn on_interrupt(stop: impl Fn() -> bool + Send + 'static) -> Result<(), Failure> {
    let handler = move || {
        if stop() {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(handler).map_err(|error| Failure::text(format!("cannot catch Ctrl-C: {error}")))
}

/// Long work that can be watched.
pub trait Watched: Sync {
    /// Share of it that is done, from 0 to 1.
    fn fraction(&self) -> f64;
    /// What is being done.
    fn message(&self) -> String;
}

impl Watched for RunProgress {
    fn fraction(&self) -> f64 {
        Self::fraction(self)
    }

    fn message(&self) -> String {
        match self.is_cancelled() {
            true => "stopping".to_owned(),
            false => format!("{}/{} replications", self.done(), self.total()),
        }
    }
}

impl Watched for SweepProgress {
    fn fraction(&self) -> f64 {
        self.done() as f64 / self.total().max(1) as f64
    }

    fn message(&self) -> String {
        let points = format!("{}/{} points", self.done(), self.total());
        match (self.is_stopping(), self.failed()) {
            (true, _) => format!("{points}, stopping after those under way"),
            (false, 0) => points,
            (false, failed) => format!("{points}, {failed} could not be run"),
        }
    }
}

/// Does `work` while a bar shows how far `progress` is.
pub fn with_bar<T: Send>(progress: &impl Watched, quiet: bool, work: impl FnOnce() -> T + Send) -> T {
    if quiet || !std::io::stderr().is_terminal() {
        return work();
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let shown = scope.spawn(|| {
            // Short runs show nothing.
            std::thread::park_timeout(Duration::from_millis(300));
            let bar = ProgressBar::new(STEPS);
            let style = "{msg} {bar:40} {percent:>3}%  {elapsed} gone, {eta} left";
            bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
            while !done.load(Ordering::Acquire) {
                bar.set_position((progress.fraction() * STEPS as f64) as u64);
                bar.set_message(progress.message());
                std::thread::park_timeout(EVERY);
            }
            bar.finish_and_clear();
        });
        let result = work();
        done.store(true, Ordering::Release);
        shown.thread().unpark();
        result
    })
}
