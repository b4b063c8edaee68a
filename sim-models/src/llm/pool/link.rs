//! Transfers of KV that share the network between replicas.
//!
//! Each replica has a link of its own to the network, as wide in each direction. A transfer gets an equal share of
//! the sender's link or of the receiver's, whichever is less: with `n` transfers out of the one and `m` into the
//! other, 1 / max(n, m) of a link. So no link is ever given more than it has; what a transfer leaves unused at the
//! wider side is not given to others (max-min fairness would).
//!
//! Shares change where a transfer begins or ends, and O(transfers underway) is done then.

use sim_core::time::{SimDuration, SimTime};

/// Parts of a nanosecond that work is counted in.
const PARTS: u32 = 16;

/// A transfer underway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    /// The caller's name for it.
    pub(super) key: u64,
    pub(super) from: u32,
    pub(super) to: u32,
    /// Time that it still needs on a link of its own, in parts of a nanosecond.
    left: u64,
}

/// The links of all replicas.
#[derive(Debug, Clone)]
pub(super) struct Link {
    /// In the order in which they began.
    flows: Vec<Flow>,
    /// Transfers out of each replica, and into it.
    out: Vec<u32>,
    into: Vec<u32>,
    since: SimTime,
    /// Time that links were used, as if each transfer had had one of its own, in parts of a nanosecond.
    used: u128,
}

impl Link {
    pub(super) fn new(replicas: usize) -> Self {
        let none = vec![0; replicas];
        Self { flows: Vec::new(), out: none.clone(), into: none, since: SimTime::ZERO, used: 0 }
    }

    /// How many share the narrower of a transfer's links.
    fn sharers(&self, flow: &Flow) -> u64 {
        self.out[flow.from as usize].max(self.into[flow.to as usize]).into()
    }

    /// What is done by `now`.
    fn pass(&mut self, now: SimTime) {
        let time = now.since(self.since).as_nanos();
        self.since = now;
        if time == 0 {
            return;
        }
        for place in 0..self.flows.len() {
            let sharers = self.sharers(&self.flows[place]);
            let flow = &mut self.flows[place];
            // Up: what ends at a whole nanosecond does so however often it is looked at.
            let done = (u128::from(time) << PARTS).div_ceil(u128::from(sharers));
            let done = done.min(flow.left.into()) as u64;
            flow.left -= done;
            self.used += u128::from(done);
        }
    }

    /// A transfer begins that takes `time` on a link of its own.
    pub(super) fn begin(&mut self, now: SimTime, key: u64, (from, to): (u32, u32), time: SimDuration) {
        self.pass(now);
        let left = time.as_nanos().saturating_mul(1 << PARTS);
        self.flows.push(Flow { key, from, to, left });
        self.out[from as usize] += 1;
        self.into[to as usize] += 1;
    }

    /// Ends those transfers that `ends` is true of, in the order in which they began.
    fn end(&mut self, ends: impl Fn(&Flow) -> bool) -> Vec<Flow> {
        let Self { flows, out, into, .. } = self;
        let mut ended = Vec::new();
        flows.retain(|flow| {
            let ends = ends(flow);
            if ends {
                out[flow.from as usize] -= 1;
                into[flow.to as usize] -= 1;
                ended.push(*flow);
            }
            !ends
        });
        ended
    }

    /// Those that are through.
    pub(super) fn arrived(&mut self, now: SimTime) -> Vec<Flow> {
        self.pass(now);
        self.end(|flow| flow.left == 0)
    }

    /// A replica is gone, and all transfers out of it and into it.
    pub(super) fn lose(&mut self, now: SimTime, replica: u32) -> Vec<Flow> {
        self.pass(now);
        self.end(|flow| flow.from == replica || flow.to == replica)
    }

    /// When the next is through, if none begins before.
    pub(super) fn next(&self) -> Option<SimTime> {
        let time =
            |flow: &Flow| (u128::from(flow.left) * u128::from(self.sharers(flow))).div_ceil(1 << PARTS);
        let nanos = self.flows.iter().map(time).min()?;
        let nanos = SimDuration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        Some(self.since.checked_add(nanos).unwrap_or(SimTime::MAX))
    }

    /// Seconds of a whole link that were used until `now`, since the last [`Link::forget`].
    pub(super) fn used_s(&self, now: SimTime) -> f64 {
        let mut copy = self.clone();
        copy.pass(now);
        copy.used as f64 / (1u64 << PARTS) as f64 / 1e9
    }

    /// What is counted begins at `now`.
    pub(super) fn forget(&mut self, now: SimTime) {
        self.pass(now);
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(nanos: u64) -> SimTime {
        SimTime::from_nanos(nanos)
    }

    fn time(nanos: u64) -> SimDuration {
        SimDuration::from_nanos(nanos)
    }

    /// Lets all go on to their ends: when each was through, by key.
    fn drain(link: &mut Link) -> Vec<(u64, u64)> {
        let mut ends = Vec::new();
        while let Some(next) = link.next() {
            let arrived = link.arrived(next);
            assert!(!arrived.is_empty());
            ends.extend(arrived.iter().map(|flow| (flow.key, next.as_nanos())));
        }
        ends
    }

    #[test]
    fn equal_transfers_share_a_link_and_others_do_not_notice() {
        let mut link = Link::new(4);
        (0..3).for_each(|key| link.begin(at(10), key, (0, 2), time(1_001)));
        link.begin(at(10), 9, (1, 3), time(1_001));
        assert_eq!(drain(&mut link), [(9, 1_011), (0, 3_013), (1, 3_013), (2, 3_013)]);
        assert!((link.used_s(at(5_000)) - 4.0 * 1_001e-9).abs() < 1e-13);
    }

    /// Processor sharing: work of 100 at 0 and of 30 at 40 end at 130 and 100.
    #[test]
    fn who_comes_later_takes_its_share() {
        let mut link = Link::new(2);
        link.begin(at(0), 1, (0, 1), time(100));
        link.begin(at(40), 2, (0, 1), time(30));
        assert_eq!(drain(&mut link), [(2, 100), (1, 130)]);
    }

    #[test]
    fn a_lost_replica_frees_the_links_of_others() {
        let mut link = Link::new(3);
        link.begin(at(0), 1, (0, 2), time(100));
        link.begin(at(0), 2, (1, 2), time(100));
        let lost = link.lose(at(100), 1);
        assert_eq!(lost.iter().map(|flow| flow.key).collect::<Vec<_>>(), [2]);
        assert_eq!(drain(&mut link), [(1, 150)]);
    }

    proptest! {
        /// No link ever does more than one second of work in a second, and all work is done.
        #[test]
        fn work_is_conserved(
            flows in prop::collection::vec((0u64..500, 0u32..3, 0u32..3, 1u64..1_000), 1..20),
        ) {
            let mut link = Link::new(6);
            let (mut now, mut ends, mut sent, mut all) = (0, Vec::new(), [0u64; 3], 0);
            for (key, (gap, from, to, work)) in (0..).zip(&flows) {
                now += gap;
                while let Some(next) = link.next().filter(|next| *next <= at(now)) {
                    ends.extend(link.arrived(next).iter().map(|flow| (flow.key, next.as_nanos())));
                }
                link.begin(at(now), key, (*from, to + 3), time(*work));
                sent[*from as usize] += work;
                all += work;
            }
            ends.extend(drain(&mut link));
            prop_assert_eq!(ends.len(), flows.len());
            let last = ends.iter().map(|(_, end)| *end).max().unwrap();
            prop_assert!(sent.iter().all(|work| *work <= last));
            prop_assert!((link.used_s(at(last)) * 1e9 - all as f64).abs() < 1e-6 * all as f64);
            let mut begun = 0;
            for (key, (gap, _, _, work)) in (0..).zip(&flows) {
                begun += gap;
                let end = ends.iter().find(|(of, _)| *of == key).unwrap().1;
                prop_assert!(end >= begun + work, "no faster than alone");
            }
        }
    }
}
