//! How far an experiment is, and the way to stop it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sim_core::engine::Progress;
use sim_core::time::SimDuration;

/// Shared with another thread, shows how far a run is and can cancel it. One for each run, or for all those of an
/// experiment: what they plan adds up.
#[derive(Debug, Default)]
pub struct RunProgress {
    cancelled: AtomicBool,
    /// Replications finished.
    done: AtomicU64,
    /// Replications there will be.
    total: AtomicU64,
    /// Simulated nanoseconds of finished simulations.
    simulated: AtomicU64,
    /// Simulated nanoseconds of all, a pilot included.
    planned: AtomicU64,
    /// Simulations under way.
    active: Mutex<Vec<Arc<Progress>>>,
}

impl RunProgress {
    /// Nothing has begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the run to stop soon; finished replications are kept.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        for progress in self.active().iter() {
            progress.cancel();
        }
    }

    /// Whether a stop has been asked for.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Replications finished.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Replications there will be; 0 before the run has begun.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Share of the simulated time that is behind, over all replications, from 0 to 1.
    pub fn fraction(&self) -> f64 {
        let planned = self.planned.load(Ordering::Relaxed);
        if planned == 0 {
            return 0.0;
        }
        let under_way: u64 = self.active().iter().map(|progress| progress.now().as_nanos()).sum();
        let simulated = self.simulated.load(Ordering::Relaxed).saturating_add(under_way);
        (simulated as f64 / planned as f64).min(1.0)
    }

    /// A run of so many replications, and of so much simulated time in all, will be done.
    pub(super) fn plan(&self, replications: u64, all: SimDuration) {
        self.total.fetch_add(replications, Ordering::Relaxed);
        self.planned.fetch_add(all.as_nanos(), Ordering::Relaxed);
    }

    /// A simulation of `length` begins; it counts as done in full when the guard is dropped.
    pub(super) fn begin(&self, progress: Arc<Progress>, length: SimDuration) -> Active<'_> {
        let mut active = self.active();
        active.push(Arc::clone(&progress));
        // Under the lock: a cancellation either sees the simulation or is seen here.
        if self.is_cancelled() {
            progress.cancel();
        }
        Active { all: self, progress, length }
    }

    pub(super) fn finish_replication(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    fn active(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Progress>>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A simulation under way.
#[derive(Debug)]
pub(super) struct Active<'a> {
    all: &'a RunProgress,
    progress: Arc<Progress>,
    length: SimDuration,
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        let mut active = self.all.active();
        active.retain(|progress| !Arc::ptr_eq(progress, &self.progress));
        self.all.simulated.fetch_add(self.length.as_nanos(), Ordering::Relaxed);
    }
}
