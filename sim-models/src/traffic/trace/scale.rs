//! A recorded load at a multiple of itself.

use rand::Rng;
use sim_core::random::{KeyedDraws, Purpose, Streams, unit};
use sim_core::time::SimDuration;

use super::{MAX_RECORDS, Trace, TraceError, TraceRecord};

impl Trace {
    /// The trace at `k` times its load: `k` copies of it, one upon the other.
    ///
    /// Each record comes `k` times; of a fraction, each record draws its part. The first copy keeps its
    /// recorded time. The others move by up to half the gap to the nearer neighbour, to either side, so
    /// that copies do not arrive in one instant unless the record itself came together with others. Beyond a
    /// few gaps the profile of rates is then exactly `k` times the recorded one, peaks and pauses where
    /// they were: the index of dispersion of counts over a window is `k` times the recorded one. That is
    /// a load whose users multiply and stay in step (a launch, a news hour); independent users would
    /// smooth it out. The time axis is not compressed: that would shorten the hour, and a
    /// tenfold load would end in six minutes.
    ///
    /// Lengths and classes are the recorded ones; shared prefixes (`prefix_id`), sessions and blocks of copies are
    /// their own, those of other users ([`Trace::blocks`]). The draws depend on the record's index and the copy alone: the same
    /// on every run, and a larger multiple keeps every record of a smaller one.
    ///
    /// # Errors
    /// [`TraceError::Scale`] when `k` is not above 0, leaves no record, or gives more than
    /// [`MAX_RECORDS`].
    pub fn scaled(&self, k: f64) -> Result<Self, TraceError> {
        let error = || TraceError::Scale { path: self.name.clone(), records: self.len(), multiple: k };
        if !(k > 0.0 && self.len() as f64 * k <= MAX_RECORDS as f64) {
            return Err(error());
        }
        let stream = Streams::new(0, 0).keyed("trace.scaled", Purpose::Arrivals);
        let (whole, part) = (k.floor() as u32, k - k.floor());
        let copies = whole + u32::from(part > 0.0);
        let mut records = Vec::with_capacity((self.len() as f64 * k) as usize + 1);
        for (index, record) in self.records.iter().enumerate() {
            let more = unit(&mut stream.draws(index as u64, 0, 0)) < part;
            let reach = self.reach(index);
            for copy in 0..whole + u32::from(more) {
                let at = match copy {
                    0 => record.at,
                    _ => moved(record.at, reach, stream.draws(index as u64, 1, copy)),
                };
                // Unlike copies stay unlike when copies are copied.
                let copy = record.copy.wrapping_mul(copies).wrapping_add(copy);
                records.push(TraceRecord { at, copy, ..*record });
            }
        }
        if records.is_empty() {
            return Err(error());
        }
        // Stable: among equals the order of the records and copies.
        records.sort_by_key(|record| record.at);
        Ok(Self {
            name: self.name.clone(),
            records,
            blocks: self.blocks.clone(),
            classes: self.classes.clone(),
            tenants: self.tenants.clone(),
            priorities: self.priorities.clone(),
            prefixes: self.prefixes.clone(),
            sessions: self.sessions.clone(),
        })
    }

    /// How far copies of a record may move to either side. The outermost ones stay: the trace begins and
    /// ends when it did.
    fn reach(&self, index: usize) -> u64 {
        let at = |index: usize| self.records.get(index).map(|record| record.at.as_nanos());
        match (index.checked_sub(1).and_then(at), at(index), at(index + 1)) {
            (Some(before), Some(here), Some(next)) => (here - before).min(next - here) / 2,
            _ => 0,
        }
    }
}

/// `at` moved by a uniform number of nanoseconds up to `reach` to either side.
fn moved(at: SimDuration, reach: u64, mut draws: KeyedDraws) -> SimDuration {
    let places = u128::from(reach) * 2 + 1;
    let place = (u128::from(draws.next_u64()) * places) >> 64;
    // The reach is at most half of `at` and of what follows it: no wrap in either direction.
    SimDuration::from_nanos((u128::from(at.as_nanos() - reach) + place) as u64)
}
