//! Long work without the GIL, which can be watched and stopped.

use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use scenarios::run::RunProgress;
use scenarios::sweep::SweepProgress;

/// Between two looks at signals and progress.
const EVERY: Duration = Duration::from_millis(50);

/// The process that imported the package.
static PROCESS: OnceLock<u32> = OnceLock::new();

/// Remembers which process this is.
pub fn remember_process() {
    PROCESS.get_or_init(std::process::id);
}

/// Work under way.
pub trait Watched: Sync {
    /// Share of it that is done, from 0 to 1.
    fn fraction(&self) -> f64;
    /// Asks it to stop soon.
    fn stop(&self);
}

impl Watched for RunProgress {
    fn fraction(&self) -> f64 {
        Self::fraction(self)
    }

    fn stop(&self) {
        self.cancel();
    }
}

impl Watched for SweepProgress {
    fn fraction(&self) -> f64 {
        self.done() as f64 / self.total().max(1) as f64
    }

    fn stop(&self) {
        Self::stop(self);
    }
}

/// Does `work` on a thread of its own, without the GIL, while this one looks after signals (Ctrl-C stops the work and
/// is raised) and tells `tell`, if there is one, the share that is done.
///
/// # Errors
/// What a signal handler or `tell` raises.
pub fn without_gil<T: Send>(
    py: Python<'_>,
    watched: &impl Watched,
    tell: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce() -> T + Send,
) -> PyResult<T> {
    let tell = tell.map(|tell| tell.clone().unbind());
    let work = || -> PyResult<T> {
        if PROCESS.get() == Some(&std::process::id()) {
            return Ok(work());
        }
        // The threads of the shared pool stayed behind in the process that this one was forked from.
        let pool = rayon::ThreadPoolBuilder::new().build();
        let pool = pool.map_err(|error| PyRuntimeError::new_err(format!("cannot start threads: {error}")))?;
        Ok(pool.install(work))
    };
    py.detach(|| {
        std::thread::scope(|scope| {
            let (send, receive) = channel();
            let worker = scope.spawn(move || {
                let result = work();
                // Nobody listens any more when a signal was raised.
                let _ = send.send(result);
            });
            loop {
                match receive.recv_timeout(EVERY) {
                    Ok(result) => return result,
                    Err(RecvTimeoutError::Timeout) => {}
                    // A bug of the simulator: Python sees it as a PanicException.
                    Err(RecvTimeoutError::Disconnected) => match worker.join() {
                        Err(panic) => std::panic::resume_unwind(panic),
                        Ok(()) => unreachable!("the worker sends before it ends"),
                    },
                }
                let look = |py: Python<'_>| {
                    py.check_signals()?;
                    tell.as_ref().map_or(Ok(()), |tell| tell.call1(py, (watched.fraction(),)).map(drop))
                };
                if let Err(raised) = Python::attach(look) {
                    watched.stop();
                    return Err(raised);
                }
            }
        })
    })
}
