//! Progress on stderr while a run is under way, and Ctrl-C.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use scenarios::run::RunProgress;

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

/// Does `work` while a bar shows how far `progress` is.
pub fn with_bar<T: Send>(progress: &RunProgress, quiet: bool, work: impl FnOnce() -> T + Send) -> T {
    if quiet || !std::io::stderr().is_terminal() {
        return work();
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Short runs show nothing.
            std::thread::park_timeout(Duration::from_millis(300));
            let bar = ProgressBar::new(STEPS);
            let style = "{msg} {bar:40} {percent:>3}%  {elapsed} gone, {eta} left";
            bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
            while !done.load(Ordering::Acquire) {
                bar.set_position((progress.fraction() * STEPS as f64) as u64);
                bar.set_message(match progress.is_cancelled() {
                    true => "stopping".to_owned(),
                    false => format!("{}/{} replications", progress.done(), progress.total()),
                });
                std::thread::park_timeout(EVERY);
            }
            bar.finish_and_clear();
        });
        let result = work();
        done.store(true, Ordering::Release);
        result
    })
}
