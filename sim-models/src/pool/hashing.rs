//! Consistent hashing: a ring or a Maglev table from hashes to replicas.

use sim_core::random::stable_hash;

/// A hash of a few numbers, the same on every platform.
pub(super) fn hash_of(words: &[u64]) -> u64 {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    stable_hash(&bytes)
}

/// A circle of places, each of which belongs to a replica.
#[derive(Debug)]
pub(super) enum Circle {
    /// Points on the circle of 64-bit hashes, in order.
    Ring(Vec<(u64, u32)>),
    /// Equal arcs.
    Maglev(Vec<u32>),
}

impl Circle {
    /// A ketama ring of at least `minimum` points, as many for each of `replicas`. It holds all replicas:
    /// who is not available is passed over, which moves the keys of nobody else.
    pub(super) fn ring(replicas: u32, minimum: u32) -> Self {
        let each = minimum.div_ceil(replicas.max(1));
        let points = (0..replicas).flat_map(|replica| {
            (0..each).map(move |point| (hash_of(&[replica.into(), point.into()]), replica))
        });
        let mut points: Vec<_> = points.collect();
        points.sort_unstable();
        Self::Ring(points)
    }

    /// The Maglev table of `replicas` (Eisenbud et al., "Maglev", NSDI 2016, 3.4): in turn each takes the
    /// first free place of its own permutation, so that shares differ by one place at most. `size` is
    /// prime.
    pub(super) fn maglev(replicas: &[u32], size: u32) -> Self {
        const FREE: u32 = u32::MAX;
        let mut table = vec![FREE; if replicas.is_empty() { 0 } else { size as usize }];
        let place = |replica: u32, salt: u64, modulus: u32| {
            (hash_of(&[replica.into(), u64::MAX, salt]) % u64::from(modulus)) as usize
        };
        // (next place, step) of each permutation.
        let mut turns: Vec<_> =
            replicas.iter().map(|r| (place(*r, 0, size), place(*r, 1, size - 1) + 1)).collect();
        let mut filled = 0;
        while filled < table.len() {
            for ((next, step), replica) in turns.iter_mut().zip(replicas) {
                while table[*next] != FREE {
                    *next = (*next + *step) % table.len();
                }
                table[*next] = *replica;
                filled += 1;
                if filled == table.len() {
                    break;
                }
            }
        }
        Self::Maglev(table)
    }

    /// The first replica from the place of `hash` on that will do.
    pub(super) fn find(&self, hash: u64, will_do: impl Fn(u32) -> bool) -> Option<u32> {
        match self {
            Self::Ring(points) => {
                let start = points.partition_point(|(point, _)| *point < hash);
                let (before, after) = points.split_at(start);
                after.iter().chain(before).map(|(_, replica)| *replica).find(|replica| will_do(*replica))
            }
            Self::Maglev(table) => {
                let start = (hash % table.len().max(1) as u64) as usize;
                let (before, after) = table.split_at(start);
                after.iter().chain(before).copied().find(|replica| will_do(*replica))
            }
        }
    }
}

/// Whether `number` is a prime.
pub(super) fn is_prime(number: u32) -> bool {
    let divisors = (2..).take_while(|divisor: &u32| divisor.saturating_mul(*divisor) <= number);
    number > 1 && divisors.into_iter().all(|divisor| !number.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: u64 = 100_000;

    fn owners(circle: &Circle, will_do: impl Fn(u32) -> bool + Copy) -> Vec<u32> {
        (0..KEYS).map(|key| circle.find(hash_of(&[key]), will_do).unwrap()).collect()
    }

    fn shares(owners: &[u32], replicas: u32) -> Vec<f64> {
        let mut counts = vec![0.0; replicas as usize];
        owners.iter().for_each(|owner| counts[*owner as usize] += 1.0 / KEYS as f64);
        counts
    }

    #[test]
    fn primes() {
        let small: Vec<u32> = (0..30).filter(|number| is_prime(*number)).collect();
        assert_eq!(small, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(is_prime(65_537) && is_prime(4_294_967_291) && !is_prime(65_536) && !is_prime(65_537 * 3));
    }

    /// With v points each, the share of a replica has a coefficient of variation of about 1 / sqrt(v).
    #[test]
    fn a_ring_is_balanced_within_its_bounds() {
        let circle = Circle::ring(10, 1024);
        let shares = shares(&owners(&circle, |_| true), 10);
        let off = shares.iter().map(|share| share * 10.0 - 1.0);
        let variance = off.map(|off| off * off).sum::<f64>() / 10.0;
        let spread = variance.sqrt() * (103.0f64).sqrt();
        assert!((0.3..2.0).contains(&spread), "{shares:?}");
        assert!(shares.iter().all(|share| (0.07..0.13).contains(share)), "{shares:?}");
    }

    /// Places differ by one; what keys make of them is luck.
    #[test]
    fn a_maglev_table_is_even() {
        let Circle::Maglev(table) = Circle::maglev(&(0..10).collect::<Vec<_>>(), 65_537) else { panic!() };
        for replica in 0..10 {
            let places = table.iter().filter(|owner| **owner == replica).count();
            assert!((6_553..=6_554).contains(&places), "{replica}: {places}");
        }
    }

    #[test]
    fn who_leaves_a_ring_moves_only_its_own_keys() {
        let circle = Circle::ring(10, 1024);
        let (before, after) = (owners(&circle, |_| true), owners(&circle, |replica| replica != 3));
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
        assert!(moved.clone().all(|(before, _)| *before == 3));
        let share = moved.count() as f64 / KEYS as f64;
        assert!((0.07..0.13).contains(&share), "{share} of the keys moved");
        // To all others.
        assert!(shares(&after, 10).iter().filter(|share| **share > 0.08).count() == 9);
    }

    /// Maglev moves a few keys of others besides (Maglev, 5.3).
    #[test]
    fn who_leaves_a_maglev_table_moves_few_keys_of_others() {
        let all: Vec<u32> = (0..10).collect();
        let rest: Vec<u32> = (0..10).filter(|replica| *replica != 3).collect();
        let before = owners(&Circle::maglev(&all, 65_537), |_| true);
        let after = owners(&Circle::maglev(&rest, 65_537), |_| true);
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
        let share = moved.clone().count() as f64 / KEYS as f64;
        assert!((0.09..0.15).contains(&share), "{share} of the keys moved");
        let others = moved.filter(|(before, _)| **before != 3).count() as f64 / KEYS as f64;
        assert!(others < 0.05, "{others} of the keys moved without need");
    }

    #[test]
    fn without_replicas_nothing_is_found() {
        assert_eq!(Circle::ring(3, 10).find(7, |_| false), None);
        assert_eq!(Circle::maglev(&[], 7).find(7, |_| true), None);
    }
}
