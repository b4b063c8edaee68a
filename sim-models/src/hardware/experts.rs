//! How many experts a pass reads.
//!
//! A router sends each token to `k` different ones of a layer's `E` experts. Where it chooses uniformly, a token
//! passes a given expert by with probability `1 - k/E`, and n tokens, each on its own, with `(1 - k/E)^n`. So the
//! experts that at least one of them goes through, whose weights the pass must read, are in expectation
//!
//! ```text
//! E (1 - (1 - k/E)^n)
//! ```
//!
//! by the linearity of expectation, whatever experts have to do with each other. Uniform routing is an assumption:
//! trained routers are balanced over many tokens, but those of one text prefer some experts, so that small batches
//! read fewer. Engines that share out experts send all their tokens to all of them: `n` is then the sum over them.

/// Experts of `experts` that `tokens` tokens go through in expectation, each through `active` of them.
pub(super) fn read(experts: u64, active: u64, tokens: u64) -> f64 {
    if tokens == 0 {
        return 0.0;
    }
    let passed_by = tokens as f64 * libm::log1p(-(active as f64 / experts as f64));
    -libm::expm1(passed_by) * experts as f64
}

/// Numbers of tokens between which [`read`] is as good as straight (to 1 in 10,000), from 0 to one at which no
/// more than a millionth of an expert is not read.
pub(super) fn counts(experts: u64, active: u64, engines: u64) -> Vec<u64> {
    let mut counts = vec![0];
    let mut tokens: u64 = 0;
    while experts as f64 - read(experts, active, tokens * engines) > 1e-6 {
        tokens += (tokens / 64).max(1);
        counts.push(tokens);
    }
    counts
}

#[cfg(test)]
mod tests {
    use sim_core::random::{Purpose, Streams, unit};

    use super::*;

    #[test]
    fn it_is_the_closed_form() {
        for (experts, active) in [(8u64, 2u64), (128, 8), (256, 8), (4, 4), (16, 1)] {
            let mut passed_by = 1.0;
            for tokens in 0..200 {
                let expected = experts as f64 * (1.0 - passed_by);
                let found = read(experts, active, tokens);
                assert!((found - expected).abs() < 1e-9 * experts as f64, "{tokens}: {found}, {expected}");
                passed_by *= 1.0 - active as f64 / experts as f64;
            }
        }
        assert!((read(8, 2, 1) - 2.0).abs() < 1e-12);
        assert_eq!(read(8, 8, 1), 8.0);
    }

    #[test]
    fn so_many_are_found_by_drawing() {
        let mut draws = Streams::new(7, 0).stream("experts", Purpose::Service);
        for (experts, active, tokens) in [(8usize, 2usize, 3usize), (64, 6, 20), (128, 8, 16), (256, 8, 40)] {
            let rounds = 20_000;
            let (mut sum, mut squares) = (0.0, 0.0);
            for _ in 0..rounds {
                let mut seen = vec![false; experts];
                let mut deck: Vec<usize> = (0..experts).collect();
                for _ in 0..tokens {
                    for place in 0..active {
                        let other = place + (unit(&mut draws) * (experts - place) as f64) as usize;
                        deck.swap(place, other);
                        seen[deck[place]] = true;
                    }
                }
                let found = seen.iter().filter(|seen| **seen).count() as f64;
                sum += found;
                squares += found * found;
            }
            let mean = sum / f64::from(rounds);
            let error = ((squares / f64::from(rounds) - mean * mean) / f64::from(rounds)).sqrt();
            let z = (mean - read(experts as u64, active as u64, tokens as u64)) / error;
            assert!(z.abs() <= 4.0, "{experts} experts, {tokens} tokens: mean {mean}, z = {z}");
        }
    }

    #[test]
    fn between_the_counts_it_is_straight() {
        for (experts, active, engines) in [(8, 2, 1), (256, 8, 1), (256, 8, 8), (512, 1, 1), (2, 2, 1)] {
            let counts = counts(experts, active, engines);
            assert!(counts.len() < 600);
            let of = |tokens: u64| read(experts, active, tokens * engines);
            for pair in counts.windows(2) {
                for tokens in pair[0]..pair[1] {
                    let share = (tokens - pair[0]) as f64 / (pair[1] - pair[0]) as f64;
                    let straight = of(pair[0]) + share * (of(pair[1]) - of(pair[0]));
                    assert!((straight / of(tokens).max(1e-9) - 1.0).abs() < 1e-4 || tokens == 0);
                }
            }
        }
    }
}
