use super::*;
use crate::random::{Purpose, Streams};

/// Each law with the bits of its first three draws from one fixed stream.
fn golden() -> Result<Vec<(Dist, [u64; 3])>, DistributionError> {
    let exponential: Dist = Exponential::with_mean(2.0)?.into();
    let pareto: Dist = Pareto::new(1.0, 2.5)?.into();
    Ok(vec![
        (Constant::new(0.25)?.into(), [0x3fd0_0000_0000_0000, 0x3fd0_0000_0000_0000, 0x3fd0_0000_0000_0000]),
        (
            Uniform::new(-1.0, 3.0)?.into(),
            [0x3fb0_86bf_b9b5_2460, 0x3fd8_a899_f655_5e88, 0x4000_3936_35ad_11c7],
        ),
        (exponential.clone(), [0x3fe3_cdcb_4ccb_b5ac, 0x3feb_3584_49a7_175e, 0x4006_a250_58bb_1200]),
        (
            Normal::new(1.0, 2.0)?.into(),
            [0x3fee_ce8a_cdfb_285e, 0x3ff3_dc2c_97f4_5986, 0x4007_6429_1b36_116b],
        ),
        (
            LogNormal::from_mean_cv(512.0, 1.2)?.into(),
            [0x4066_b720_86b4_eba0, 0x406c_34ff_45dd_b5b3, 0x4083_c6f6_5678_9acd],
        ),
        (
            LogNormal::from_p50_p99(0.02, 0.18)?.into(),
            [0x3f86_b54f_aa98_61e4, 0x3f8c_32ce_7753_603e, 0x3fa3_c5a4_0606_86e2],
        ),
        (
            Gamma::from_mean_cv(1.0, 2.0)?.into(),
            [0x3f8b_d0c7_5798_05d2, 0x3fa4_0aa4_ff27_4a8d, 0x3ff1_7721_c777_ee7f],
        ),
        (
            Gamma::new(40.0, 0.5)?.into(),
            [0x4031_eec3_83d9_e8fa, 0x4032_9d98_5621_dcb9, 0x4036_1b7c_c0dc_911c],
        ),
        (
            Weibull::new(0.7, 3.0)?.into(),
            [0x3fe1_f7f7_415f_5fa7, 0x3fec_49c4_b34d_2262, 0x4013_b23f_6064_b139],
        ),
        (pareto.clone(), [0x3ff2_1bb0_c348_3f86, 0x3ff2_f748_854f_3320, 0x3ffc_2cd5_56d9_8bdb]),
        (
            HyperExponential::from_mean_cv(1.0, 3.0)?.into(),
            [0x3fc6_497a_f8e6_cbc3, 0x3fce_c014_7e11_8c84, 0x3feb_1db4_4329_cbed],
        ),
        (Zipf::new(1000, 0.9)?.into(), [0x401c_0000_0000_0000, 0x402e_0000_0000_0000, 0x406f_c000_0000_0000]),
        (
            Zipf::new(1_000_000_000, 0.6)?.into(),
            [0x4181_7283_8800_0000, 0x4190_d80e_1800_0000, 0x41bd_b89a_b200_0000],
        ),
        (
            Empirical::from_samples(vec![1.0, 4.0, 2.0, 8.5])?.into(),
            [0x3ffc_c650_fcb4_7db4, 0x4000_9f9c_de30_01ba, 0x4014_e08b_7a94_0dff],
        ),
        (
            Empirical::from_quantiles(vec![(0.0, 1.0), (0.5, 2.0), (1.0, 10.0)])?.into(),
            [0x3ff8_8435_fdcd_a923, 0x3ffb_1513_3eca_abd1, 0x4018_726c_6b5a_238e],
        ),
        (
            Mixture::new(vec![(3.0, exponential), (1.0, pareto.clone())])?.into(),
            [0x3fec_0cb5_0abb_351b, 0x3ff3_d298_1ac7_a9d9, 0x3ff0_2eaf_55fb_451b],
        ),
        (pareto.clipped(1.5, 4.0)?, [0x3ff8_0000_0000_0000, 0x3ff8_0000_0000_0000, 0x3ffc_2cd5_56d9_8bdb]),
    ])
}

/// A change here means other results for the same seed: on a platform, with a compiler or after an
/// edit. Only a deliberate change of a sampler may change these.
#[test]
fn golden_bits() {
    let (laws, expected): (Vec<_>, Vec<_>) = golden().unwrap().into_iter().unzip();
    let drawn: Vec<[u64; 3]> = laws
        .iter()
        .map(|law| {
            let mut rng = Streams::new(1, 0).stream("golden", Purpose::Service);
            std::array::from_fn(|_| law.sample(&mut rng).to_bits())
        })
        .collect();
    assert_eq!(drawn, expected, "drawn: {drawn:#x?}");
}

#[test]
fn each_sample_takes_one_number() {
    for (law, _) in golden().unwrap() {
        let mut rng = Streams::new(2, 0).stream("one", Purpose::Service);
        let mut other = rng.clone();
        law.sample(&mut rng);
        other.next_u64();
        assert_eq!(rng.next_u64(), other.next_u64(), "{law:?}");
    }
}

/// Whatever the uniform, a draw is finite and inside the law's support.
#[test]
fn draws_at_the_extreme_uniforms_are_finite() {
    const LEAST: f64 = f64::EPSILON / 2.0;
    for (law, _) in golden().unwrap() {
        let (lo, hi) = (law.quantile(0.0), law.quantile(1.0));
        for u in [LEAST, 0.5 - LEAST, 0.5 + LEAST, 0.75 - LEAST, 0.75 + LEAST, 1.0 - LEAST] {
            let x = law.sample_at(u);
            assert!(x.is_finite() && x >= lo && x <= hi, "{law:?} at {u}: {x}");
        }
    }
}

/// A sample is the quantile of its uniform, except where a branch is chosen first.
#[test]
fn samples_are_quantiles() {
    for (law, _) in golden().unwrap() {
        if matches!(law, Dist::Mixture(_) | Dist::HyperExponential(_)) {
            continue;
        }
        let mut rng = Streams::new(4, 0).stream("quantiles", Purpose::Service);
        for _ in 0..1000 {
            let u = unit(&mut rng);
            let (sample, quantile) = (law.sample_at(u), law.quantile(u));
            assert!((sample - quantile).abs() <= 1e-10 * quantile.abs(), "{law:?} {u}: {sample} {quantile}");
        }
    }
}

#[test]
fn the_ends_of_the_line_are_answered() {
    for (law, _) in golden().unwrap() {
        assert_eq!((law.cdf(f64::NEG_INFINITY), law.cdf(f64::INFINITY)), (0.0, 1.0), "{law:?}");
        assert_eq!(
            (law.quantile(-1.0), law.quantile(2.0)),
            (law.quantile(0.0), law.quantile(1.0)),
            "{law:?}"
        );
        assert!(law.cdf(f64::NAN).is_nan() && law.quantile(f64::NAN).is_nan(), "{law:?}");
    }
}

#[test]
fn durations_are_seconds() {
    let mut rng = Streams::new(1, 0).stream("d", Purpose::Service);
    let quarter = Dist::from(Constant::new(0.25).unwrap());
    assert_eq!(quarter.sample_duration(&mut rng), SimDuration::from_millis(250));
    let negative = Dist::from(Constant::new(-1.0).unwrap());
    assert_eq!(negative.sample_duration(&mut rng), SimDuration::ZERO);
}

#[test]
fn errors_name_parameter_value_and_range() {
    let message = |error: DistributionError| error.to_string();
    let cases = [
        (message(Constant::new(f64::NAN).unwrap_err()), "constant: value is NaN; accepted: finite"),
        (message(Uniform::new(2.0, 1.0).unwrap_err()), "uniform: hi is 1; accepted: finite and above lo = 2"),
        (
            message(LogNormal::from_p50_p99(0.2, 0.1).unwrap_err()),
            "lognormal: p99 is 0.1; accepted: finite and above p50 = 0.2",
        ),
        (message(Gamma::new(0.0, 1.0).unwrap_err()), "gamma: shape is 0; accepted: from 0.01 to 1000000"),
        (
            message(HyperExponential::from_mean_cv(1.0, 0.5).unwrap_err()),
            "hyperexponential: cv is 0.5; accepted: from 1 to 1000000",
        ),
        (
            message(HyperExponential::new(&[(0.5, 1.0), (0.4, 2.0)]).unwrap_err()),
            "hyperexponential: sum of probabilities is 0.9; accepted: 1 (within 1e-9)",
        ),
        (message(Zipf::new(0, 1.0).unwrap_err()), "zipf: n is 0; accepted: from 1 to 2^53"),
        (
            message(Empirical::from_samples(vec![]).unwrap_err()),
            "empirical: samples has 0 entries; accepted: at least 1",
        ),
        (
            message(Empirical::from_samples(vec![1.0, f64::INFINITY]).unwrap_err()),
            "empirical: samples number 2 is inf; accepted: finite",
        ),
        (
            message(Empirical::from_quantiles(vec![(0.1, 1.0), (1.0, 2.0)]).unwrap_err()),
            "empirical: probability number 1 is 0.1; accepted: 0 for the first",
        ),
        (
            message(Empirical::from_quantiles(vec![(0.0, 1.0), (1.0, 0.5)]).unwrap_err()),
            "empirical: value number 2 is 0.5; accepted: finite and at least 1, the one before",
        ),
        (
            message(Mixture::new(vec![(-1.0, Constant::new(1.0).unwrap().into())]).unwrap_err()),
            "mixture: weight number 1 is -1; accepted: finite and above 0",
        ),
        (
            message(Dist::from(Constant::new(1.0).unwrap()).clipped(3.0, 2.0).unwrap_err()),
            "clipped: hi is 2; accepted: above lo = 3",
        ),
        (
            message(Normal::truncated(0.0, 1.0, 50.0, 60.0).unwrap_err()),
            "normal: probability of [lo, hi] is 0; accepted: 1e-280 and more",
        ),
    ];
    for (given, expected) in cases {
        assert_eq!(given, expected);
    }
}

/// Every constructor refuses what is not a number, and what would divide by zero.
#[test]
fn no_constructor_accepts_nonsense() {
    for bad in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
        assert!(Exponential::with_mean(bad).is_err());
        assert!(Normal::new(1.0, bad).is_err());
        assert!(LogNormal::new(0.0, bad).is_err());
        assert!(LogNormal::from_mean_cv(bad, 1.0).is_err());
        assert!(LogNormal::from_mean_cv(1.0, bad).is_err());
        assert!(LogNormal::from_p50_p99(bad, 1.0).is_err());
        assert!(Gamma::new(1.0, bad).is_err());
        assert!(Gamma::from_mean_cv(bad, 1.0).is_err());
        assert!(Gamma::from_mean_cv(1.0, bad).is_err());
        assert!(Weibull::new(bad, 1.0).is_err());
        assert!(Weibull::new(1.0, bad).is_err());
        assert!(Pareto::new(bad, 1.0).is_err());
        assert!(Pareto::new(1.0, bad).is_err());
        assert!(HyperExponential::new(&[(bad, 1.0)]).is_err());
        assert!(HyperExponential::new(&[(1.0, bad)]).is_err());
        assert!(HyperExponential::from_mean_cv(bad, 2.0).is_err());
        assert!(Mixture::new(vec![(bad, Dist::Constant(Constant::new(1.0).unwrap()))]).is_err());
    }
    for bad in [f64::NAN, f64::INFINITY, -1.0] {
        assert!(Zipf::new(10, bad).is_err());
    }
    for bad in [f64::NAN, f64::INFINITY] {
        assert!(Uniform::new(bad, 1.0).is_err());
        assert!(Uniform::new(0.0, bad).is_err());
        assert!(Normal::new(bad, 1.0).is_err());
        assert!(LogNormal::new(bad, 1.0).is_err());
        assert!(Normal::truncated(0.0, 1.0, bad, 1.0).is_err());
    }
    assert!(Normal::truncated(0.0, 1.0, 0.0, f64::NAN).is_err());
    assert!(HyperExponential::new(&[]).is_err());
    assert!(Empirical::from_samples(vec![-1e308, 1e308]).is_err());
    assert!(Mixture::new(vec![]).is_err());
}
