//! How fast the works on a GPU go on, given who has how many of them running.

use super::work::Rate;

/// The way a GPU is shared, in numbers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    /// Processes take turns of so many nanoseconds, with a switch of so many between them.
    TimeSlicing { slice: u64, switch: u64 },
    /// Processes run side by side.
    Mps,
    /// Processes have slices of their own.
    Mig,
}

/// What decides a process's share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    /// Works running.
    pub(super) running: u32,
    /// How fast it is alone: its slice's share with MIG.
    pub(super) speed: Rate,
    /// The most of the GPU that it may use at once, with MPS.
    pub(super) limit: Rate,
}

/// The rate of each of the works of `claims`; that of a process without work is what one would have
/// if it began.
pub(super) fn rates(rule: Rule, gain: Rate, claims: &[Claim], rates: &mut Vec<Rate>) {
    rates.clear();
    match rule {
        Rule::TimeSlicing { slice, switch } => {
            let active = claims.iter().filter(|claim| claim.running > 0).count() as u64;
            rates.extend(claims.iter().map(|claim| {
                let others = active - u64::from(claim.running > 0);
                let turn = if others == 0 {
                    Rate::FULL
                } else {
                    Rate::share(slice, (slice + switch).saturating_mul(others + 1))
                };
                turn.of(side_by_side(claim.running, gain)).of(claim.speed)
            }));
        }
        Rule::Mig => {
            rates.extend(claims.iter().map(|claim| side_by_side(claim.running, gain).of(claim.speed)));
        }
        Rule::Mps => water_fill(gain, claims, rates),
    }
}

/// The rate of each of `n` works of one speed: together `1 + gain (1 - 1/n)`.
fn side_by_side(works: u32, gain: Rate) -> Rate {
    let n = u128::from(works.max(1));
    let full = u128::from(Rate::FULL.units());
    Rate::from_units((n * full + u128::from(gain.units()) * (n - 1)) / (n * n))
}

/// What all works together can do is shared evenly among them; what a limited process cannot use
/// goes to the others.
fn water_fill(gain: Rate, claims: &[Claim], rates: &mut Vec<Rate>) {
    let works = |claim: &Claim| u128::from(claim.running.max(1));
    // All of the GPU is no limit: several works of one process gain from one another, too.
    let most = |claim: &Claim| match claim.limit {
        Rate::FULL => u128::from(Rate::FULL.units()),
        limit => u128::from(limit.units()) / works(claim),
    };
    let mut waiting: Vec<usize> = (0..claims.len()).filter(|index| claims[*index].running > 0).collect();
    waiting.sort_by_key(|index| (most(&claims[*index]), *index));
    let n: u128 = waiting.iter().map(|index| works(&claims[*index])).sum();
    let mut left = match n {
        0 => 0,
        n => u128::from(Rate::FULL.units()) + u128::from(gain.units()) * (n - 1) / n,
    };
    rates.extend(claims.iter().map(|claim| Rate::from_units(most(claim)).of(claim.speed)));
    let mut sharers = n;
    for index in waiting {
        let claim = &claims[index];
        let each = most(claim).min(left / sharers);
        left -= each * works(claim);
        sharers -= works(claim);
        rates[index] = Rate::from_units(each).of(claim.speed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(rule: Rule, gain: f64, claims: &[(u32, f64)]) -> Vec<f64> {
        let claims: Vec<_> = claims
            .iter()
            .map(|(running, limit)| Claim {
                running: *running,
                speed: Rate::FULL,
                limit: Rate::from_share(*limit),
            })
            .collect();
        let mut list = Vec::new();
        rates(rule, Rate::from_share(gain), &claims, &mut list);
        list.into_iter().map(Rate::as_f64).collect()
    }

    fn assert_close(measured: &[f64], expected: &[f64]) {
        assert_eq!(measured.len(), expected.len());
        for (measured, expected) in measured.iter().zip(expected) {
            assert!((measured - expected).abs() < 1e-8, "{measured} for {expected}");
        }
    }

    #[test]
    fn turns_add_no_throughput_and_switches_cost_some() {
        let rule = Rule::TimeSlicing { slice: 2_000_000, switch: 0 };
        assert_close(&shares(rule, 0.0, &[(1, 1.0)]), &[1.0]);
        assert_close(&shares(rule, 0.0, &[(1, 1.0), (0, 1.0), (3, 1.0)]), &[0.5, 1.0 / 3.0, 0.5 / 3.0]);
        let rule = Rule::TimeSlicing { slice: 2_000_000, switch: 500_000 };
        // Alone there is nothing to switch to.
        assert_close(&shares(rule, 0.0, &[(1, 1.0), (0, 1.0)]), &[1.0, 0.4]);
        assert_close(&shares(rule, 0.0, &[(1, 1.0), (1, 1.0)]), &[0.4, 0.4]);
    }

    #[test]
    fn side_by_side_a_little_more_gets_done() {
        assert_close(&shares(Rule::Mps, 0.0, &[(1, 1.0), (1, 1.0)]), &[0.5, 0.5]);
        assert_close(&shares(Rule::Mps, 0.2, &[(1, 1.0), (1, 1.0)]), &[0.55, 0.55]);
        // Works, not processes, share.
        assert_close(&shares(Rule::Mps, 0.0, &[(1, 1.0), (3, 1.0)]), &[0.25, 0.25]);
        // Two works of one process: 1.1 together.
        assert_close(&shares(Rule::Mps, 0.2, &[(2, 1.0)]), &[0.55]);
        assert_close(&shares(Rule::Mig, 0.2, &[(2, 1.0)]), &[0.55]);
    }

    #[test]
    fn a_limit_is_no_reservation() {
        assert_close(&shares(Rule::Mps, 0.0, &[(1, 0.3), (0, 1.0)]), &[0.3, 1.0]);
        assert_close(&shares(Rule::Mps, 0.0, &[(1, 0.3), (1, 1.0)]), &[0.3, 0.7]);
        assert_close(&shares(Rule::Mps, 0.0, &[(2, 0.3), (1, 1.0)]), &[0.15, 0.7]);
        assert_close(&shares(Rule::Mps, 0.0, &[(1, 0.6), (1, 0.9), (1, 1.0)]), &[1.0 / 3.0; 3]);
        // Limits that leave room are met whatever the gain.
        assert_close(&shares(Rule::Mps, 1.0, &[(1, 0.25), (1, 0.25)]), &[0.25, 0.25]);
    }
}
