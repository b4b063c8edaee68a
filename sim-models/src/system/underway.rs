//! Faults that are underway, and what they come to together: the end of one does not mend what another broke too.
//!
//! * Crashes, hangs and drains of so many replicas (or servers) count together: when one ends, as many are mended as
//!   the others do not account for.
//! * Of slow-downs the factors multiply; shares of errors are independent of one another.
//! * A zone is back, and there is stock again, when all faults that took it are over.

use std::collections::BTreeMap;

use crate::component::{ComponentId, Fault, Role};

/// Whose replicas.
type Whose = (ComponentId, Option<Role>);

/// What counts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Counted {
    Crashes,
    Hangs,
    Drains,
    StockOuts,
}

/// All faults that have begun and not ended.
#[derive(Debug, Default)]
pub(super) struct Underway {
    /// Replicas that they take, all told.
    counts: BTreeMap<(u16, Option<u8>, Counted), u64>,
    zones: BTreeMap<u16, u32>,
    slow: BTreeMap<u16, Vec<f64>>,
    errors: BTreeMap<u16, Vec<f64>>,
}

/// The list without one of a value, or with one more.
fn change(list: &mut Vec<f64>, value: f64, mended: bool) {
    match list.iter().position(|present| mended && *present == value) {
        Some(place) => drop(list.remove(place)),
        None => list.push(value),
    }
}

impl Underway {
    /// A fault of replicas happens, or ends: what the component is to be told.
    pub(super) fn count(&mut self, (target, role): Whose, fault: Fault) -> Vec<Fault> {
        let (counted, replicas, again): (_, _, fn(u32) -> Fault) = match fault {
            Fault::Crash { replicas } => return self.add(target, role, Counted::Crashes, replicas, fault),
            Fault::Hang { replicas } => return self.add(target, role, Counted::Hangs, replicas, fault),
            Fault::Drain { replicas } => return self.add(target, role, Counted::Drains, replicas, fault),
            Fault::StockOut => return self.add(target, role, Counted::StockOuts, u32::MAX, fault),
            Fault::Repair { replicas } => (Counted::Crashes, replicas, |replicas| Fault::Crash { replicas }),
            Fault::Restart { replicas } => (Counted::Hangs, replicas, |replicas| Fault::Hang { replicas }),
            Fault::Undrain { replicas } => (Counted::Drains, replicas, |replicas| Fault::Drain { replicas }),
            Fault::Restock => (Counted::StockOuts, u32::MAX, |_| Fault::StockOut),
            _ => return vec![fault],
        };
        let left = self.counts.entry(key(target, role, counted)).or_default();
        *left = left.saturating_sub(replicas.into());
        match u32::try_from(*left) {
            // Another one takes them all.
            Ok(u32::MAX) | Err(_) => Vec::new(),
            // All are mended but those of others.
            Ok(others) if replicas == u32::MAX && others > 0 => vec![fault, again(others)],
            Ok(_) => vec![fault],
        }
    }

    fn add(
        &mut self,
        target: ComponentId,
        role: Option<Role>,
        counted: Counted,
        replicas: u32,
        fault: Fault,
    ) -> Vec<Fault> {
        *self.counts.entry(key(target, role, counted)).or_default() += u64::from(replicas);
        vec![fault]
    }

    /// Work takes longer, or no longer so: how many times as long it takes now.
    pub(super) fn slow(&mut self, target: ComponentId, factor: f64, mended: bool) -> f64 {
        let list = self.slow.entry(target.0).or_default();
        change(list, factor, mended);
        list.iter().product()
    }

    /// A share of answers fails, or no longer: the share that fails now.
    pub(super) fn errors(&mut self, target: ComponentId, share: f64, mended: bool) -> f64 {
        let list = self.errors.entry(target.0).or_default();
        change(list, share, mended);
        match list[..] {
            [only] => only,
            _ => 1.0 - list.iter().map(|share| 1.0 - share).product::<f64>(),
        }
    }

    /// A zone is lost, or no longer: whether another fault has it, so that nothing changes.
    pub(super) fn zone(&mut self, zone: u16, mended: bool) -> bool {
        let count = self.zones.entry(zone).or_default();
        let before = *count;
        *count = if mended { before.saturating_sub(1) } else { before + 1 };
        if mended { *count > 0 } else { before > 0 }
    }
}

fn key(target: ComponentId, role: Option<Role>, counted: Counted) -> (u16, Option<u8>, Counted) {
    (target.0, role.map(|role| role as u8), counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Whose = (ComponentId(3), None);

    #[test]
    fn the_first_repair_leaves_what_the_second_fault_took() {
        let mut underway = Underway::default();
        let all = u32::MAX;
        let crash = |replicas| Fault::Crash { replicas };
        let repair = |replicas| Fault::Repair { replicas };
        for (fault, told) in [
            (crash(all), vec![crash(all)]),
            (crash(all), vec![crash(all)]),
            // Others count by themselves.
            (Fault::Drain { replicas: 1 }, vec![Fault::Drain { replicas: 1 }]),
            (repair(all), vec![]),
            (crash(2), vec![crash(2)]),
            (repair(all), vec![repair(all), crash(2)]),
            (crash(1), vec![crash(1)]),
            (repair(2), vec![repair(2)]),
            (repair(1), vec![repair(1)]),
            (Fault::StockOut, vec![Fault::StockOut]),
            (Fault::StockOut, vec![Fault::StockOut]),
            (Fault::Restock, vec![]),
            (Fault::Restock, vec![Fault::Restock]),
            (Fault::ColdCache, vec![Fault::ColdCache]),
        ] {
            assert_eq!(underway.count(ME, fault), told, "{fault:?}");
        }
    }

    #[test]
    fn factors_multiply_and_shares_are_independent() {
        let mut underway = Underway::default();
        assert_eq!(underway.slow(ME.0, 10.0, false), 10.0);
        assert_eq!(underway.slow(ME.0, 3.0, false), 30.0);
        assert_eq!(underway.slow(ME.0, 10.0, true), 3.0);
        assert_eq!(underway.slow(ME.0, 3.0, true), 1.0);
        assert_eq!(underway.errors(ME.0, 0.3, false), 0.3);
        assert_eq!(underway.errors(ME.0, 0.5, false), 1.0 - 0.7 * 0.5);
        assert_eq!(underway.errors(ME.0, 0.3, true), 0.5);
        assert_eq!(underway.errors(ME.0, 0.5, true), 0.0);
    }

    #[test]
    fn a_zone_is_back_when_all_faults_are_over() {
        let mut underway = Underway::default();
        let told = [false, false, true, true].map(|mended| underway.zone(1, mended));
        assert_eq!(told, [false, true, true, false]);
    }
}
