//! Named random streams, and draws keyed by what they are for.
//!
//! Never one global generator, never creation order: a stream's numbers depend on the seed, the
//! replication, its name and its purpose alone, so adding a component does not shift another's
//! numbers. A service draw is counter-based, keyed by (stream, request, hop, attempt): compared
//! variants meet the very same luck (common random numbers) whatever the order of their events.
//!
//! ```
//! use sim_core::random::{Purpose, Streams, unit};
//! let streams = Streams::new(1, 0);
//! let mut arrivals = streams.stream("traffic.web", Purpose::Arrivals);
//! let mut again = Streams::new(1, 0).stream("traffic.web", Purpose::Arrivals);
//! assert_eq!(unit(&mut arrivals), unit(&mut again));
//!
//! let service = streams.keyed("components.db", Purpose::Service);
//! assert_eq!(unit(&mut service.draws(7, 0, 0)), unit(&mut service.draws(7, 0, 0)));
//! ```

use std::convert::Infallible;

use rand::{Rng, SeedableRng, TryRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// What a stream of random numbers is for. Each purpose of a name has numbers of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// When requests are born.
    Arrivals = 1,
    /// What a request is: class, lengths, difficulty, keys.
    Attributes = 2,
    /// How long a service takes.
    Service = 3,
    /// How long the network takes.
    Network = 4,
    /// Where a request is sent.
    Routing = 5,
    /// When things break and are repaired.
    Faults = 6,
    /// Jitter of retries and timers.
    Jitter = 7,
}

/// Spreads the bits of a number over all 64: SplitMix64's finalizer (Stafford's variant 13; Steele, Lea, Flood:
/// "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
pub const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 2^64 / golden ratio, the increment of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stable 64-bit hash of bytes (FNV-1a, then finalized): the same on every platform and version.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(fnv)
}

/// The source of all randomness of one replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    root: u64,
}

impl Streams {
    /// The streams of replication `replication` of a run with `seed`.
    pub fn new(seed: u64, replication: u64) -> Self {
        Self { root: mix(mix(seed.wrapping_add(GOLDEN)).wrapping_add(replication.wrapping_mul(GOLDEN))) }
    }

    fn key(self, name: &str, purpose: Purpose) -> u64 {
        mix(self.root ^ mix(stable_hash(name.as_bytes()).wrapping_add((purpose as u64).wrapping_mul(GOLDEN))))
    }

    /// A sequential stream: for draws whose order is part of the model, such as arrivals.
    pub fn stream(self, name: &str, purpose: Purpose) -> Stream {
        Stream { generator: Xoshiro256PlusPlus::seed_from_u64(self.key(name, purpose)) }
    }

    /// A keyed stream: for draws that belong to a request, whatever the order of events.
    pub fn keyed(self, name: &str, purpose: Purpose) -> KeyedStream {
        KeyedStream { key: self.key(name, purpose) }
    }
}

/// A sequential random stream (xoshiro256++).
#[derive(Debug, Clone)]
pub struct Stream {
    generator: Xoshiro256PlusPlus,
}

impl TryRng for Stream {
    type Error = Infallible;

    #[inline]
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.generator.next_u32())
    }

    #[inline]
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.generator.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.generator.fill_bytes(bytes);
        Ok(())
    }
}

/// A family of generators, one for every (request, hop, attempt).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyedStream {
    key: u64,
}

impl KeyedStream {
    /// The draws of one attempt of one hop of one request.
    #[inline]
    pub fn draws(self, request: u64, hop: u32, attempt: u32) -> KeyedDraws {
        let place = u64::from(hop) << 32 | u64::from(attempt);
        KeyedDraws { state: mix(self.key ^ mix(request.wrapping_mul(GOLDEN) ^ mix(place))) }
    }
}

/// A counter-based generator (SplitMix64) for the few draws of one keyed place.
#[derive(Debug, Clone)]
pub struct KeyedDraws {
    state: u64,
}

impl TryRng for KeyedDraws {
    type Error = Infallible;

    #[inline]
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.next_u64() >> 32) as u32)
    }

    #[inline]
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.state = self.state.wrapping_add(GOLDEN);
        Ok(mix(self.state))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

/// A uniform number strictly between 0 and 1 with 52 random bits: both ends are left out, so that an
/// inverse CDF is finite (53 bits and a half would round to 1).
#[inline]
pub fn unit<R: Rng + ?Sized>(rng: &mut R) -> f64 {
    unit_of(rng.next_u64())
}

/// The number that [`unit()`] makes of a generator's next word: from the word's upper 52 bits.
#[inline]
pub fn unit_of(word: u64) -> f64 {
    const STEP: f64 = 1.0 / (1u64 << 52) as f64;
    ((word >> 12) as f64 + 0.5) * STEP
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(mut rng: impl Rng) -> u64 {
        rng.next_u64()
    }

    #[test]
    fn streams_differ_by_name_purpose_seed_and_replication() {
        let base = Streams::new(1, 0);
        let mut seen = vec![
            first(base.stream("a", Purpose::Arrivals)),
            first(base.stream("b", Purpose::Arrivals)),
            first(base.stream("a", Purpose::Service)),
            first(Streams::new(2, 0).stream("a", Purpose::Arrivals)),
            first(Streams::new(1, 1).stream("a", Purpose::Arrivals)),
            first(base.keyed("a", Purpose::Arrivals).draws(0, 0, 0)),
            first(base.keyed("a", Purpose::Arrivals).draws(1, 0, 0)),
            first(base.keyed("a", Purpose::Arrivals).draws(0, 1, 0)),
            first(base.keyed("a", Purpose::Arrivals).draws(0, 0, 1)),
        ];
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 9);
    }

    #[test]
    fn golden_bits() {
        let streams = Streams::new(1, 0);
        assert_eq!(first(streams.stream("traffic.web", Purpose::Arrivals)), GOLDEN_STREAM);
        assert_eq!(first(streams.keyed("components.db", Purpose::Service).draws(7, 1, 2)), GOLDEN_KEYED);
    }
    const GOLDEN_STREAM: u64 = 0x3f46_1471_3809_3930;
    const GOLDEN_KEYED: u64 = 0xf2e3_6ee8_0aab_b2eb;

    #[test]
    fn unit_is_open_and_uniform() {
        let mut rng = Streams::new(3, 0).stream("unit", Purpose::Service);
        let mut sum = 0.0;
        for _ in 0..1_000_000 {
            let u = unit(&mut rng);
            assert!(u > 0.0 && u < 1.0);
            sum += u;
        }
        assert!((sum / 1e6 - 0.5).abs() < 4.0 * (1.0f64 / 12.0 / 1e6).sqrt());
    }

    #[test]
    fn keyed_draws_are_uniform_over_neighbouring_keys() {
        let stream = Streams::new(3, 0).keyed("k", Purpose::Service);
        let mean = (0..1_000_000).map(|request| unit(&mut stream.draws(request, 0, 0))).sum::<f64>() / 1e6;
        assert!((mean - 0.5).abs() < 4.0 * (1.0f64 / 12.0 / 1e6).sqrt());
    }
}
