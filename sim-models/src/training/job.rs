//! What an attempt has done after a while, in closed form.

use sim_core::time::SimDuration;

/// What there is to do, and in which steps.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// None for work without end.
    pub work: Option<SimDuration>,
    /// Work between two checkpoints; none for no checkpoints.
    pub interval: Option<SimDuration>,
    pub checkpoint: SimDuration,
    pub restart: SimDuration,
}

/// An attempt: what it began with, and how it goes on if nothing interrupts it. Nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attempt {
    restart: u64,
    /// Work left when it began.
    left: u64,
    /// Work between two checkpoints.
    interval: u64,
    checkpoint: u64,
    /// Checkpoints until the work is done: none after the last piece.
    checkpoints: u64,
}

/// Where the time of an attempt has gone, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Progress {
    pub restart: u64,
    pub work: u64,
    /// Work up to the last checkpoint.
    pub saved: u64,
    pub checkpoint: u64,
    /// Checkpoints that were finished.
    pub checkpoints: u64,
}

impl Job {
    /// An attempt after `saved` nanoseconds of work were saved; the first needs no restart.
    pub fn attempt(&self, saved: u64, is_first: bool) -> Attempt {
        let left = self.work.map_or(u64::MAX, |work| work.as_nanos().saturating_sub(saved));
        let interval = self.interval.map_or(u64::MAX, |interval| interval.as_nanos().max(1));
        Attempt {
            restart: if is_first { 0 } else { self.restart.as_nanos() },
            left,
            interval,
            checkpoint: self.checkpoint.as_nanos(),
            checkpoints: left.saturating_sub(1) / interval,
        }
    }
}

impl Attempt {
    /// How long it takes if nothing interrupts it; none for longer than there is time.
    pub fn length(&self) -> Option<SimDuration> {
        let checkpoints = self.checkpoints.checked_mul(self.checkpoint)?;
        let nanos = self.restart.checked_add(self.left)?.checked_add(checkpoints)?;
        (self.left < u64::MAX).then_some(SimDuration::from_nanos(nanos))
    }

    /// What it has done after so long.
    pub fn after(&self, elapsed: SimDuration) -> Progress {
        let elapsed = elapsed.as_nanos();
        let Some(time) = elapsed.checked_sub(self.restart) else {
            return Progress { restart: elapsed, ..Progress::default() };
        };
        let cycle = self.interval.saturating_add(self.checkpoint);
        let checkpoints = (time / cycle).min(self.checkpoints);
        let since = time - checkpoints * cycle;
        let piece = if checkpoints < self.checkpoints {
            self.interval
        } else {
            self.left - checkpoints * self.interval
        };
        let saved = checkpoints * self.interval;
        Progress {
            restart: self.restart,
            work: saved + since.min(piece),
            saved,
            checkpoint: checkpoints * self.checkpoint + since.saturating_sub(piece).min(self.checkpoint),
            checkpoints,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(nanos: u64) -> SimDuration {
        SimDuration::from_nanos(nanos)
    }

    #[test]
    fn pieces_of_work_with_checkpoints_between_them() {
        let job =
            Job { work: Some(nanos(25)), interval: Some(nanos(10)), checkpoint: nanos(2), restart: nanos(3) };
        // 10, a checkpoint, 10, a checkpoint, 5.
        let attempt = job.attempt(0, true);
        assert_eq!(attempt.length(), Some(nanos(29)));
        for (elapsed, work, saved, checkpoint) in [
            (0, 0, 0, 0),
            (9, 9, 0, 0),
            (10, 10, 0, 0),
            (11, 10, 0, 1),
            (12, 10, 10, 2),
            (13, 11, 10, 2),
            (23, 20, 10, 3),
            (24, 20, 20, 4),
            (29, 25, 20, 4),
        ] {
            let progress = attempt.after(nanos(elapsed));
            assert_eq!((progress.work, progress.saved, progress.checkpoint), (work, saved, checkpoint));
            assert_eq!(progress.restart + progress.work + progress.checkpoint, elapsed);
        }
        // After 20 were saved: a restart and five more, without a checkpoint.
        let second = job.attempt(20, false);
        assert_eq!(second.length(), Some(nanos(8)));
        assert_eq!(second.after(nanos(2)), Progress { restart: 2, ..Progress::default() });
        assert_eq!(second.after(nanos(8)).work, 5);
        // A piece that ends the work needs none.
        assert_eq!(Job { work: Some(nanos(20)), ..job.clone() }.attempt(0, true).length(), Some(nanos(22)));
        let endless = Job { work: None, interval: None, ..job };
        assert_eq!(endless.attempt(7, false).length(), None);
        assert_eq!(endless.attempt(7, false).after(nanos(103)).work, 100);
    }
}
