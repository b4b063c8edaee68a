//! Zipf's law of popularity.

use std::sync::Arc;

use super::{DistributionError, Law, check};

/// Ranks with an exact entry each.
const HEAD: usize = 1 << 16;
/// The tail's integrals start half a rank past the head.
const EDGE: f64 = HEAD as f64 + 0.5;
/// Steps of the guide into the head's table: as many as it has entries, so that there are few to choose from.
const GUIDE: usize = 1 << 16;
/// Ranks are exact in f64 up to here (2^53).
const MOST: u64 = 1 << 53;

/// Zipf's law: ranks 1 to n, where rank r has a probability proportional to r^-s.
///
/// The first 65,536 ranks have an exact cumulative table. Beyond, the sum of r^-s is the integral
/// from half a rank before to half a rank after, the leading term of the midpoint Euler-Maclaurin
/// formula, and is inverted in closed form. The next term changes a rank's probability by a share
/// of s (s + 1) / (24 r^2), which is below 6e-12 s (s + 1) there.
#[derive(Debug, Clone, PartialEq)]
pub struct Zipf {
    table: Arc<Table>,
}

#[derive(Debug, PartialEq)]
struct Table {
    n: f64,
    s: f64,
    /// The CDF at each rank of the head.
    head: Box<[f64]>,
    /// The first index of the head whose CDF reaches each of the `GUIDE` steps.
    guide: Box<[u32]>,
    /// The sum of r^-s, over the head and over all.
    head_sum: f64,
    total: f64,
    mean: f64,
    variance: f64,
}

/// The integral of x^-power from a to b.
fn integral(power: f64, a: f64, b: f64) -> f64 {
    let (t, log_ratio) = (1.0 - power, libm::log(b / a));
    libm::pow(a, t) * if t == 0.0 { log_ratio } else { libm::expm1(t * log_ratio) / t }
}

/// The sum over ranks 1 to `last` of r^(k - s), k = 0, 1, 2, given the sums over the head.
fn with_tail(head: [f64; 3], s: f64, last: f64) -> [f64; 3] {
    if last <= HEAD as f64 {
        return head;
    }
    let tail = |k: f64| integral(s - k, EDGE, last + 0.5);
    [head[0] + tail(0.0), head[1] + tail(1.0), head[2] + tail(2.0)]
}

/// A sum that carries what rounding lost (A. Neumaier, ZAMM 54, 1974).
#[derive(Clone, Copy, Default)]
struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        self.lost += if self.sum >= value { self.sum - sum + value } else { value - sum + self.sum };
        self.sum = sum;
    }

    fn value(self) -> f64 {
        self.sum + self.lost
    }
}

/// The sums over ranks 1 to `last` (within the head) of r^(k - s), each partial sum of k = 0 shown
/// to `visit`.
fn head_sums(s: f64, last: usize, mut visit: impl FnMut(f64)) -> [f64; 3] {
    let mut sums = [Sum::default(); 3];
    for r in 1..=last {
        let rank = r as f64;
        let weight = libm::pow(rank, -s);
        sums[0].add(weight);
        sums[1].add(weight * rank);
        sums[2].add(weight * rank * rank);
        visit(sums[0].value());
    }
    sums.map(Sum::value)
}

impl Zipf {
    /// Ranks 1 to `n` with exponent `s`; s = 0 makes all ranks alike.
    ///
    /// # Errors
    /// When `n` is 0 or above 2^53, or `s` is negative or not finite.
    pub fn new(n: u64, s: f64) -> Result<Self, DistributionError> {
        let ranks = check("zipf", "n", n as f64, (1..=MOST).contains(&n), "from 1 to 2^53")?;
        check("zipf", "s", s, s.is_finite() && s >= 0.0, "finite and at least 0")?;
        let size = n.min(HEAD as u64) as usize;
        let mut head = Vec::with_capacity(size);
        let head_sums = head_sums(s, size, |sum| head.push(sum));
        let [total, first, second] = with_tail(head_sums, s, ranks);
        for sum in &mut head {
            *sum /= total;
        }
        let mut guide = Vec::with_capacity(GUIDE);
        let mut index = 0;
        for step in 0..GUIDE {
            let u = step as f64 / GUIDE as f64;
            while index + 1 < size && head[index] < u {
                index += 1;
            }
            guide.push(index as u32);
        }
        let mean = first / total;
        Ok(Self {
            table: Arc::new(Table {
                n: ranks,
                s,
                head: head.into(),
                guide: guide.into(),
                head_sum: head_sums[0],
                total,
                mean,
                variance: (second / total - mean * mean).max(0.0),
            }),
        })
    }
}

impl Table {
    #[inline]
    fn rank(&self, u: f64) -> f64 {
        let last = self.head.len() - 1;
        if u > self.head[last] {
            return self.tail_rank(u);
        }
        let step = (u * GUIDE as f64) as usize;
        let from = self.guide[step.min(GUIDE - 1)] as usize;
        let to = self.guide.get(step + 1).map_or(last, |to| *to as usize);
        // The answer is at most `to`, where the CDF has reached the next step.
        (from + self.head[from..to].partition_point(|cdf| *cdf < u)) as f64 + 1.0
    }

    /// The inverse of the integral from the edge.
    fn tail_rank(&self, u: f64) -> f64 {
        if u >= 1.0 || self.head.len() < HEAD {
            return self.n;
        }
        let t = 1.0 - self.s;
        let part = (u * self.total - self.head_sum) / libm::pow(EDGE, t);
        let log_ratio = if t == 0.0 { part } else { libm::log1p((t * part).max(-1.0)) / t };
        // The slack takes up rounding, so that the CDF of a rank leads back to it.
        let y = EDGE * libm::exp(log_ratio) * (1.0 - 1e-12);
        (y - 0.5).ceil().clamp(HEAD as f64 + 1.0, self.n)
    }
}

impl Law for Zipf {
    #[inline]
    fn quantile(&self, u: f64) -> f64 {
        self.table.rank(u)
    }

    fn cdf(&self, x: f64) -> f64 {
        let table = &*self.table;
        if x < 1.0 {
            0.0
        } else if x >= table.n {
            1.0
        } else if x < HEAD as f64 + 1.0 {
            table.head[x as usize - 1]
        } else {
            (table.head_sum + integral(table.s, EDGE, x.floor() + 0.5)) / table.total
        }
    }

    fn mean(&self) -> f64 {
        self.table.mean
    }

    fn variance(&self) -> f64 {
        self.table.variance
    }

    fn partial_moments(&self, x: f64) -> [f64; 3] {
        let table = &*self.table;
        let last = x.floor().clamp(0.0, table.n);
        let head = head_sums(table.s, last.min(HEAD as f64) as usize, |_| ());
        with_tail(head, table.s, last).map(|sum| sum / table.total)
    }
}
