//! The laws against `rand_distr`, and Zipf's also against its exact probabilities.
#![allow(missing_docs)]

use rand_distr as oracle;
use sim_core::distribution::*;
use sim_core::random::{Purpose, Stream, Streams};

type Built = Result<Dist, DistributionError>;

fn stream(name: &str) -> Stream {
    Streams::new(2024, 0).stream(name, Purpose::Service)
}

fn draws(law: &Dist, name: &str, n: usize) -> Vec<f64> {
    let mut rng = stream(name);
    (0..n).map(|_| law.sample(&mut rng)).collect()
}

/// The greatest distance between two empirical CDFs (two-sample Kolmogorov-Smirnov).
fn distance(mut a: Vec<f64>, mut b: Vec<f64>) -> f64 {
    a.sort_by(f64::total_cmp);
    b.sort_by(f64::total_cmp);
    let (mut i, mut j, mut worst) = (0, 0, 0.0f64);
    while i < a.len() && j < b.len() {
        let x = a[i].min(b[j]);
        while i < a.len() && a[i] <= x {
            i += 1;
        }
        while j < b.len() && b[j] <= x {
            j += 1;
        }
        worst = worst.max((i as f64 / a.len() as f64 - j as f64 / b.len() as f64).abs());
    }
    worst
}

const KS_DRAWS: usize = 400_000;

/// The critical distance at level 0.001: sqrt(-ln(0.0005) / 2) sqrt(2 / n) (Smirnov, 1948).
fn critical() -> f64 {
    (-libm::log(0.0005) / 2.0).sqrt() * (2.0 / KS_DRAWS as f64).sqrt()
}

type Oracle = Box<dyn Fn(&mut Stream) -> f64>;

fn boxed(law: impl Distribution<f64> + 'static) -> Oracle {
    Box::new(move |rng| law.sample(rng))
}

/// One of the oracles, at random.
fn choice(parts: Vec<(f64, Oracle)>) -> Oracle {
    let uniform = oracle::Uniform::new(0.0, 1.0).unwrap();
    Box::new(move |rng| {
        let mut u = uniform.sample(rng);
        for (weight, law) in &parts {
            if u < *weight {
                return law(rng);
            }
            u -= weight;
        }
        parts[0].1(rng)
    })
}

fn uniform(lo: f64, hi: f64) -> Oracle {
    boxed(oracle::Uniform::new(lo, hi).unwrap())
}

fn exponential(mean: f64) -> Oracle {
    boxed(oracle::Exp::new(1.0 / mean).unwrap())
}

/// Every continuous law beside the same law of `rand_distr`.
fn pairs() -> Vec<(&'static str, Built, Oracle)> {
    let normal = oracle::Normal::new(1.0, 2.0).unwrap();
    let hyper = HyperExponential::new(&[(0.9, 0.5), (0.1, 5.0)]);
    let mixture = Exponential::with_mean(2.0)
        .and_then(|law| Ok(vec![(2.0, law.into()), (3.0, Pareto::new(1.0, 2.5)?.into())]))
        .and_then(Mixture::new);
    let table = vec![(0.0, 1.0), (0.5, 2.0), (0.9, 4.0), (1.0, 9.0)];
    vec![
        ("uniform", Uniform::new(1.0, 3.0).map(Dist::from), uniform(1.0, 3.0)),
        ("exponential", Exponential::with_mean(2.0).map(Dist::from), exponential(2.0)),
        (
            "normal, not negative",
            Normal::new(1.0, 2.0).map(Dist::from),
            Box::new(move |rng| {
                loop {
                    let x = normal.sample(rng);
                    if x >= 0.0 {
                        return x;
                    }
                }
            }),
        ),
        (
            "lognormal",
            LogNormal::new(1.0, 0.8).map(Dist::from),
            boxed(oracle::LogNormal::new(1.0, 0.8).unwrap()),
        ),
        (
            "gamma, shape 0.3",
            Gamma::new(0.3, 2.0).map(Dist::from),
            boxed(oracle::Gamma::new(0.3, 2.0).unwrap()),
        ),
        (
            "gamma, shape 3.7",
            Gamma::new(3.7, 0.5).map(Dist::from),
            boxed(oracle::Gamma::new(3.7, 0.5).unwrap()),
        ),
        (
            "gamma, shape 60",
            Gamma::new(60.0, 0.1).map(Dist::from),
            boxed(oracle::Gamma::new(60.0, 0.1).unwrap()),
        ),
        ("weibull", Weibull::new(0.7, 3.0).map(Dist::from), boxed(oracle::Weibull::new(3.0, 0.7).unwrap())),
        ("pareto", Pareto::new(2.0, 1.5).map(Dist::from), boxed(oracle::Pareto::new(2.0, 1.5).unwrap())),
        (
            "hyperexponential",
            hyper.map(Dist::from),
            choice(vec![(0.9, exponential(0.5)), (0.1, exponential(5.0))]),
        ),
        (
            "empirical",
            Empirical::from_quantiles(table).map(Dist::from),
            choice(vec![(0.5, uniform(1.0, 2.0)), (0.4, uniform(2.0, 4.0)), (0.1, uniform(4.0, 9.0))]),
        ),
        (
            "mixture",
            mixture.map(Dist::from),
            choice(vec![(0.4, exponential(2.0)), (0.6, boxed(oracle::Pareto::new(1.0, 2.5).unwrap()))]),
        ),
    ]
}

/// The power of the test is part of it: 3% more of each value must be rejected.
#[test]
fn laws_match_rand_distr_and_a_bias_does_not() {
    for (name, law, oracle) in pairs() {
        let ours = draws(&law.unwrap(), name, KS_DRAWS);
        let mut rng = stream("oracle");
        let theirs: Vec<f64> = (0..KS_DRAWS).map(|_| oracle(&mut rng)).collect();
        let biased = ours.iter().map(|x| x * 1.03).collect();
        let (same, other) = (distance(ours, theirs.clone()), distance(biased, theirs));
        assert!(same < critical(), "{name}: distance {same}, critical {}", critical());
        assert!(other > critical(), "{name}: a bias of 3% passes with distance {other}");
    }
}

/// (chi-square - its mean) / its standard deviation, for cells of at least 5 expected.
fn chi_square_z(pairs: impl Iterator<Item = (f64, f64)>, constraints: f64) -> f64 {
    let (mut chi, mut cells) = (0.0, 0.0);
    for (observed, expected) in pairs {
        assert!(expected >= 5.0, "a cell of {expected}");
        chi += (observed - expected) * (observed - expected) / expected;
        cells += 1.0;
    }
    (chi - (cells - constraints)) / (2.0 * (cells - constraints)).sqrt()
}

/// Cells for ranks: each of the first 100, then ranges that double.
fn cell(rank: f64) -> usize {
    if rank <= 100.0 { rank as usize - 1 } else { 100 + ((rank / 101.0) as u64).ilog2() as usize }
}

fn counts(mut draw: impl FnMut() -> f64, n: u64, total: usize) -> Vec<f64> {
    let mut counts = vec![0.0; cell(n as f64) + 1];
    for _ in 0..total {
        counts[cell(draw())] += 1.0;
    }
    counts
}

#[test]
fn zipf_has_the_exact_probabilities_and_those_of_rand_distr() {
    const TOTAL: usize = 1_000_000;
    for (n, s) in [(1_000u64, 1.1), (60_000, 0.8), (1_000_000, 0.9), (1_000_000, 1.0)] {
        let mut expected = vec![0.0; cell(n as f64) + 1];
        for r in 1..=n {
            expected[cell(r as f64)] += libm::pow(r as f64, -s);
        }
        let sum: f64 = expected.iter().sum();
        for weight in &mut expected {
            *weight *= TOTAL as f64 / sum;
        }
        let law: Dist = Zipf::new(n, s).unwrap().into();
        let mut rng = stream("zipf");
        let ours = counts(|| law.sample(&mut rng), n, TOTAL);
        let z = chi_square_z(ours.iter().copied().zip(expected.iter().copied()), 1.0);
        assert!(z.abs() <= 4.0, "n = {n}, s = {s}: z = {z}");

        let oracle = oracle::Zipf::new(n as f64, s).unwrap();
        let mut rng = stream("oracle");
        let theirs = counts(|| oracle.sample(&mut rng), n, TOTAL);
        // Two samples of one size are alike when this is chi-square.
        let chi: f64 = ours.iter().zip(&theirs).map(|(a, b)| (a - b) * (a - b) / (a + b)).sum();
        let freedom = ours.len() as f64 - 1.0;
        let z = (chi - freedom) / (2.0 * freedom).sqrt();
        assert!(z.abs() <= 4.0, "n = {n}, s = {s} against rand_distr: z = {z}");

        // The test can fail: an exponent 0.01 off.
        let off: Dist = Zipf::new(n, s + 0.01).unwrap().into();
        let mut rng = stream("zipf");
        let biased = counts(|| off.sample(&mut rng), n, TOTAL);
        assert!(chi_square_z(biased.into_iter().zip(expected), 1.0) > 4.0, "n = {n}, s = {s}: bias passes");
    }
}
