use sim_core::random::{Purpose, Streams};

use super::*;

fn config(text: &str) -> ArrivalsConfig {
    #[derive(serde::Deserialize)]
    struct File {
        arrivals: ArrivalsConfig,
    }
    toml::from_str::<File>(&format!("arrivals = {text}"))
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .arrivals
}

fn stream(replication: u64) -> Stream {
    Streams::new(11, replication).stream("traffic.test", Purpose::Arrivals)
}

/// Arrivals in seconds before `end` seconds.
fn run(config: &ArrivalsConfig, end: f64, replication: u64) -> Vec<f64> {
    let mut process = config.build().unwrap().unwrap();
    let (mut rng, mut now, mut arrivals) = (stream(replication), SimTime::ZERO, Vec::new());
    while let Some(next) = process.next(now, &mut rng) {
        assert!(next >= now);
        now = next;
        if now.as_secs_f64() >= end {
            break;
        }
        arrivals.push(now.as_secs_f64());
    }
    arrivals
}

fn count(arrivals: &[f64], from: f64, to: f64) -> f64 {
    arrivals.iter().filter(|at| (from..to).contains(*at)).count() as f64
}

/// A count against a Poisson mean, |z| <= 4.
fn assert_poisson(count: f64, mean: f64) {
    let z = (count - mean) / mean.sqrt();
    assert!(z.abs() <= 4.0, "{count} for {mean}: z = {z}");
}

fn gaps(arrivals: &[f64]) -> (f64, f64) {
    let gaps: Vec<f64> = arrivals.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let n = gaps.len() as f64;
    let mean = gaps.iter().sum::<f64>() / n;
    let variance = gaps.iter().map(|gap| (gap - mean) * (gap - mean)).sum::<f64>() / (n - 1.0);
    (mean, variance.sqrt() / mean)
}

#[test]
fn poisson_counts_and_gaps() {
    let arrivals = run(&config(r#"{ process = "poisson", rate = "100/s" }"#), 2_000.0, 0);
    assert_poisson(arrivals.len() as f64, 200_000.0);
    let (_, cv) = gaps(&arrivals);
    // The sample cv of n exponentials has a standard error of 1 / sqrt(n).
    assert!((cv - 1.0).abs() <= 4.0 / 200_000f64.sqrt(), "{cv}");
    // Memoryless: P(gap > 2 means) = e^-2.
    let long = arrivals.windows(2).filter(|pair| pair[1] - pair[0] > 0.02).count() as f64;
    let p = libm::exp(-2.0);
    let n = arrivals.len() as f64;
    assert!((long - n * p).abs() <= 4.0 * (n * p * (1.0 - p)).sqrt(), "{long}");
}

#[test]
fn deterministic_times_are_exact() {
    let config = config(r#"{ process = "deterministic", rate = "3/s" }"#);
    let mut process = config.build().unwrap().unwrap();
    let (mut rng, mut now) = (stream(0), SimTime::from_nanos(7));
    for n in 1..=3_000u64 {
        now = process.next(now, &mut rng).unwrap();
        // n / 3 s to the nearest nanosecond.
        assert_eq!(now.as_nanos(), 7 + (n * 1_000_000_000 + 1) / 3);
    }
    assert_eq!(now.as_nanos(), 1_000_000_000_007);
}

#[test]
fn batches_come_at_once_and_by_chance() {
    let arrivals = run(&config(r#"{ process = "batch", rate = "100/s", size = 4 }"#), 2_000.0, 0);
    let batches: Vec<f64> = arrivals.chunks(4).map(|batch| batch[0]).collect();
    assert!(arrivals.chunks_exact(4).all(|batch| batch.iter().all(|at| *at == batch[0])));
    assert_poisson(batches.len() as f64, 50_000.0);
    let (_, cv) = gaps(&batches);
    assert!((cv - 1.0).abs() <= 4.0 / 50_000f64.sqrt(), "{cv}");
    let alone = config(r#"{ process = "batch", rate = "30/s", size = 1 }"#);
    assert_eq!(run(&alone, 100.0, 3), run(&config(OPEN[0]), 100.0, 3));
}

#[test]
fn gamma_gaps_have_the_rate_and_cv_asked_for() {
    for cv in [0.5, 2.0] {
        let arrivals =
            run(&config(&format!(r#"{{ process = "gamma", rate = "50/s", cv = {cv} }}"#)), 4_000.0, 0);
        // Counts of a renewal process: variance = cv^2 times the mean.
        let z = (arrivals.len() as f64 - 200_000.0) / (cv * 200_000f64.sqrt());
        assert!(z.abs() <= 4.0, "cv {cv}: {} arrivals, z = {z}", arrivals.len());
        let (_, sample) = gaps(&arrivals);
        // Delta method with a gamma's skewness 2 cv and excess kurtosis 6 cv^2.
        let error = cv * ((0.5 + cv * cv / 2.0) / 200_000.0).sqrt();
        assert!(((sample - cv) / error).abs() <= 4.0, "{sample} for {cv}, standard error {error}");
    }
}

const MMPP: &str = r#"{ process = "mmpp", states = [
    { rate = "20/s", mean = "6s" }, { rate = "200/s", mean = "2s" } ] }"#;

#[test]
fn mmpp_rate_and_dispersion_match_the_closed_form() {
    let config = config(MMPP);
    // (20 x 6 + 200 x 2) / 8 = 65 a second.
    assert_eq!(config.rate_at(SimDuration::ZERO), Some(65.0));
    // Two states (Fischer, Meier-Hellstern, "The MMPP cookbook", 1993): the counts of a window t have an
    // index of dispersion 1 + 2 v / (m s) (1 - (1 - e^(-s t)) / (s t)), with m the mean rate, v the
    // variance of the rate and s the sum of the jump rates.
    let (m, s) = (65.0, 1.0 / 6.0 + 1.0 / 2.0);
    let v = 0.75 * 0.25 * 180.0 * 180.0;
    let (t, windows) = (10.0, 4_000);
    let expected = 1.0 + 2.0 * v / (m * s) * (1.0 - (1.0 - libm::exp(-s * t)) / (s * t));
    // Independent windows: each replication gives one, stationary from its start.
    let counts: Vec<f64> = (0..windows).map(|r| run(&config, t, r).len() as f64).collect();
    let n = f64::from(windows as u32);
    let mean = counts.iter().sum::<f64>() / n;
    let moment = |p: i32| counts.iter().map(|c| (0..p).fold(1.0, |x, _| x * (c - mean))).sum::<f64>() / n;
    let variance = moment(2);
    let z = (mean - m * t) / (variance / n).sqrt();
    assert!(z.abs() <= 4.0, "mean {mean}, z = {z}");
    let z = (variance - expected * m * t) / ((moment(4) - variance * variance) / n).sqrt();
    assert!(z.abs() <= 4.0, "dispersion {} for {expected}, z = {z}", variance / mean);
}

#[test]
fn diurnal_counts_follow_the_sine() {
    let config = config(r#"{ process = "diurnal", rate = "2/s", peak_to_mean = 1.8, phase = "6h" }"#);
    let arrivals = run(&config, 2.0 * 86_400.0, 0);
    // From 6 h on the sine is a cosine: its integral from a to b hours is 24 / tau (sin b - sin a).
    let integral = |from: f64, to: f64| {
        let turn = std::f64::consts::TAU / 24.0;
        let sines = libm::sin(turn * to) - libm::sin(turn * from);
        2.0 * 3_600.0 * (to - from + 0.8 / turn * sines)
    };
    for hour in (0..48).step_by(3) {
        let (from, to) = (f64::from(hour), f64::from(hour + 3));
        assert_poisson(count(&arrivals, from * 3_600.0, to * 3_600.0), integral(from, to));
    }
    let rate = |hours: u64| config.rate_at(SimDuration::from_secs(hours * 3_600)).unwrap();
    for (hours, expected) in [(0, 3.6), (6, 2.0), (12, 0.4), (24, 3.6)] {
        assert!((rate(hours) - expected).abs() < 1e-9);
    }
}

#[test]
fn ramp_step_and_spike_have_their_counts_in_every_segment() {
    // Up, and down to nothing: the integral of a line is a parabola.
    for (from, to) in [(10.0, 1_000.0), (1_000.0, 0.0)] {
        let text =
            format!(r#"{{ process = "ramp", from = "{from}/s", to = "{to}/s", over = "100s", at = "20s" }}"#);
        let arrivals = run(&config(&text), 200.0, 0);
        assert_poisson(count(&arrivals, 0.0, 20.0), 20.0 * from);
        for part in 0..10 {
            let begin = f64::from(part) * 10.0;
            let mean = 10.0 * (from + (to - from) * (begin + 5.0) / 100.0);
            assert_poisson(count(&arrivals, 20.0 + begin, 30.0 + begin), mean);
        }
        if to > 0.0 {
            assert_poisson(count(&arrivals, 120.0, 200.0), 80.0 * to);
        } else {
            assert_eq!(count(&arrivals, 120.0, 200.0), 0.0);
        }
    }
    let steps = r#"{ process = "step", steps = [{ at = "10s", rate = "50/s" }, { at = "20s", rate = "0/s" },
        { at = "30s", rate = "500/s" }] }"#;
    let arrivals = run(&config(steps), 60.0, 1);
    assert_eq!((count(&arrivals, 0.0, 10.0), count(&arrivals, 20.0, 30.0)), (0.0, 0.0));
    assert_poisson(count(&arrivals, 10.0, 20.0), 500.0);
    assert_poisson(count(&arrivals, 30.0, 60.0), 15_000.0);
    for text in [
        r#"{ process = "spike", base = "100/s", at = "30s", for = "10s", multiplier = 8 }"#,
        r#"{ process = "spike", base = "100/s", at = "30s", for = "10s", rate = "800/s" }"#,
    ] {
        let arrivals = run(&config(text), 100.0, 2);
        assert_poisson(count(&arrivals, 0.0, 30.0), 3_000.0);
        assert_poisson(count(&arrivals, 30.0, 40.0), 8_000.0);
        assert_poisson(count(&arrivals, 40.0, 100.0), 6_000.0);
    }
}

#[test]
fn within_a_ramp_arrivals_follow_its_line() {
    // From 0 over 100 s, an arrival before the end is at x with P(X <= x) = (x / 100)^2: mean 200 / 3,
    // variance 100^2 / 18.
    // One arrival a run on average: each step goes far along the line.
    let config = config(r#"{ process = "ramp", from = "0/s", to = "0.02/s", over = "100s" }"#);
    let arrivals: Vec<f64> = (0..50_000).flat_map(|replication| run(&config, 100.0, replication)).collect();
    let n = arrivals.len() as f64;
    assert_poisson(n, 50_000.0);
    let mean = arrivals.iter().sum::<f64>() / n;
    let z = (mean - 200.0 / 3.0) / (100.0 / (18.0 * n).sqrt());
    assert!(z.abs() <= 4.0, "{mean}");
}

const OPEN: [&str; 9] = [
    r#"{ process = "poisson", rate = "30/s" }"#,
    r#"{ process = "gamma", rate = "30/s", cv = 1.5 }"#,
    r#"{ process = "deterministic", rate = "30/s" }"#,
    r#"{ process = "batch", rate = "30/s", size = 3 }"#,
    MMPP,
    r#"{ process = "diurnal", rate = "30/s", peak_to_mean = 2, period = "50s" }"#,
    r#"{ process = "ramp", from = "10/s", to = "50/s", over = "80s" }"#,
    r#"{ process = "step", steps = [{ at = "0s", rate = "20/s" }, { at = "50s", rate = "40/s" }] }"#,
    r#"{ process = "spike", base = "20/s", at = "40s", for = "20s", rate = "70/s" }"#,
];

#[test]
fn the_same_stream_gives_the_same_arrivals() {
    for text in OPEN {
        let config = config(text);
        assert_eq!(run(&config, 100.0, 3), run(&config, 100.0, 3), "{text}");
        if !text.contains("deterministic") {
            assert_ne!(run(&config, 100.0, 3), run(&config, 100.0, 4), "{text}");
        }
    }
}

#[test]
fn scaling_multiplies_the_rate_and_keeps_the_profile() {
    for text in OPEN {
        let (one, ten) = (config(text), config(text).scaled(10.0).unwrap());
        for second in 0..100 {
            let at = SimDuration::from_secs(second);
            let (before, after) = (one.rate_at(at).unwrap(), ten.rate_at(at).unwrap());
            assert!((after - 10.0 * before).abs() <= 1e-9 * after, "{text} at {at}: {before}, {after}");
        }
        let arrivals = run(&ten, 100.0, 5).len();
        assert!(arrivals > run(&one, 100.0, 5).len() * 5, "{text}: {arrivals}");
    }
    // One draw an arrival: at twice the rate the same arrivals come in half the time.
    let slow = run(&config(OPEN[0]), 100.0, 6);
    let fast = run(&config(OPEN[0]).scaled(2.0).unwrap(), 50.0, 6);
    assert_eq!(slow.len(), fast.len());
    assert!(slow.iter().zip(&fast).all(|(slow, fast)| (slow - 2.0 * fast).abs() < 1e-5));
}

#[test]
fn closed_loops_and_traces_are_scaled_but_not_built() {
    let users =
        config(r#"{ process = "closed_loop", users = 4, think = { exponential = { mean = "5s" } } }"#);
    assert!(users.build().unwrap().is_none());
    let scaled = users.scaled(2.6).unwrap();
    assert!(matches!(scaled, ArrivalsConfig::ClosedLoop { users, .. } if users.get() == 10));
    let trace =
        config(r#"{ process = "trace", path = "a.csv", format = "azure", scale = 2 }"#).scaled(3.0).unwrap();
    assert!(matches!(trace, ArrivalsConfig::Trace { scale, .. } if scale == 6.0));
    assert!(trace.build().unwrap().is_none());
    for k in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
        assert!(users.scaled(k).is_err(), "{k}");
    }
}

#[test]
fn silence_ends() {
    for text in [
        r#"{ process = "poisson", rate = "0/s" }"#,
        r#"{ process = "gamma", rate = "0/s", cv = 1 }"#,
        r#"{ process = "deterministic", rate = "0/s" }"#,
        r#"{ process = "batch", rate = "0/s", size = 2 }"#,
        r#"{ process = "mmpp", states = [{ rate = "0/s", mean = "1s" }, { rate = "0/s", mean = "1s" }] }"#,
        r#"{ process = "diurnal", rate = "0/s", peak_to_mean = 1.5 }"#,
        r#"{ process = "step", steps = [{ at = "5s", rate = "0/s" }] }"#,
    ] {
        assert!(run(&config(text), 1e9, 0).is_empty(), "{text}");
    }
    // A start late in time: no wrap.
    let mut process = config(OPEN[5]).build().unwrap().unwrap();
    assert_eq!(process.next(SimTime::MAX, &mut stream(0)), None);
}

#[test]
fn the_canonical_form_round_trips() {
    let more = [
        r#"{ process = "closed_loop", users = 4, think = "5s" }"#,
        r#"{ process = "trace", path = "a.csv" }"#,
        r#"{ process = "spike", base = "20/s", at = "40s", for = "20s", multiplier = 3.5 }"#,
    ];
    for text in OPEN.iter().chain(&more) {
        let read = config(text);
        let json = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<ArrivalsConfig>(&json).unwrap(), read);
        let toml = toml::to_string(&read).unwrap();
        assert_eq!(toml::from_str::<ArrivalsConfig>(&toml).unwrap(), read);
    }
    let schema = serde_json::to_string(&schemars::schema_for!(ArrivalsConfig)).unwrap();
    for part in ["\"process\"", "\"closed_loop\"", "\"for\"", "peak_to_mean"] {
        assert!(schema.contains(part), "{part} in {schema}");
    }
}

#[test]
fn errors_point_at_the_place_and_say_what_is_accepted() {
    #[derive(Debug, serde::Deserialize)]
    struct File {
        #[serde(rename = "arrivals")]
        _arrivals: ArrivalsConfig,
    }
    let whole = "";
    for (text, at, message) in [
        (r#"{ process = "poison", rate = "1/s" }"#, r#""poison""#, "`poisson`"),
        (r#"{ process = "poisson", rate = 12 }"#, "12", "no unit"),
        (r#"{ process = "poisson", rte = "1/s" }"#, "rte", "unknown field `rte`"),
        (r#"{ rate = "1/s" }"#, whole, "missing field `process`"),
        (
            r#"{ process = "gamma", rate = "1/s" }"#,
            whole,
            "missing `cv`: gamma arrivals take `rate` and `cv`",
        ),
        (
            r#"{ process = "poisson", rate = "1/s", cv = 2 }"#,
            whole,
            "`cv` is out of place: poisson arrivals take",
        ),
        (r#"{ process = "gamma", rate = "1/s", cv = 0 }"#, whole, "from 0.001 to 10"),
        (r#"{ process = "gamma", rate = "1/s", cv = nan }"#, whole, "from 0.001 to 10"),
        (r#"{ process = "diurnal", rate = "1/s", peak_to_mean = 3 }"#, whole, "from 1 to 2"),
        (
            r#"{ process = "diurnal", rate = "1/s", peak_to_mean = 2, period = "0s" }"#,
            whole,
            "`period` is 0s",
        ),
        (r#"{ process = "step", steps = [] }"#, whole, "at least one step"),
        (
            r#"{ process = "step", steps = [{ at = "1s", rate = "1/s" }, { at = "1s", rate = "2/s" }] }"#,
            whole,
            "later than",
        ),
        (r#"{ process = "mmpp", states = [{ rate = "1/s", mean = "1s" }] }"#, whole, "at least two"),
        (
            r#"{ process = "mmpp", states = [{ rate = "1/d", mean = "1ns" }, { rate = "1/d", mean = "1ns" }] }"#,
            whole,
            "a million jumps",
        ),
        (r#"{ process = "spike", base = "1/s", at = "1s", for = "1s" }"#, whole, "either"),
        (
            r#"{ process = "spike", base = "1/s", at = "1s", for = "1s", rate = "2/s", multiplier = 2 }"#,
            whole,
            "either",
        ),
        (r#"{ process = "closed_loop", users = 0, think = "1s" }"#, "0", "nonzero"),
        (r#"{ process = "trace", path = "x", scale = 0 }"#, whole, "above 0"),
    ] {
        let file = format!("arrivals = {text}");
        let error = toml::from_str::<File>(&file).unwrap_err();
        let span = error.span().unwrap_or_else(|| panic!("{text}: no span: {error}"));
        assert_eq!(&file[span], if at.is_empty() { text } else { at }, "{error}");
        assert!(error.message().contains(message), "{text}: {error}");
    }
}
