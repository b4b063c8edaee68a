//! Step tables by hand from the algorithms of concurrency-limits.

use super::*;

fn milliseconds(number: u64) -> SimDuration {
    SimDuration::from_millis(number)
}

fn ok(rtt: u64, inflight: u32) -> Sample {
    Sample { rtt: milliseconds(rtt), inflight, dropped: false }
}

fn lost(rtt: u64, inflight: u32) -> Sample {
    Sample { dropped: true, ..ok(rtt, inflight) }
}

/// Feeds samples and compares the limit after each.
fn follow(algorithm: &mut Algorithm, steps: &[(Sample, u32)]) {
    for (number, (sample, expected)) in steps.iter().enumerate() {
        algorithm.update(*sample, || 1.0);
        assert_eq!(algorithm.limit(), *expected, "step {number}: {sample:?}");
    }
}

#[test]
fn aimd() {
    let config = AimdConfig { min_limit: at_least_one(1), ..AimdConfig::default() };
    let mut limit = Algorithm::Aimd(config, 20);
    follow(
        &mut limit,
        &[
            (ok(10, 10), 21),
            // Not half of the limit in use.
            (ok(10, 10), 21),
            (ok(10, 11), 22),
            // 22 * 0.9 = 19.8
            (lost(10, 22), 19),
            (lost(10, 1), 17),
            // The timeout itself is no loss.
            (ok(5000, 17), 18),
            (ok(5001, 18), 16),
        ],
    );
    // The default bounds.
    let mut limit = Algorithm::Aimd(AimdConfig::default(), 20);
    follow(&mut limit, &[(lost(10, 20), 20)]);
    let mut limit = Algorithm::Aimd(AimdConfig::default(), 200);
    follow(&mut limit, &[(ok(10, 200), 200), (lost(10, 200), 180)]);
}

#[test]
fn vegas() {
    let mut limit = Algorithm::Vegas(Vegas::new(VegasConfig::default()));
    follow(
        &mut limit,
        &[
            // The first tells the latency without load.
            (ok(100, 20), 20),
            // No queue: beta, 6 log10(20), more.
            (ok(100, 20), 26),
            // ceil(26 * 3 / 103) = 1 is at the threshold.
            (ok(103, 26), 32),
            // 2 is below alpha.
            (ok(105, 32), 33),
            // 5 is between alpha and beta.
            (ok(115, 33), 33),
            // 8 is above beta.
            (ok(130, 33), 32),
            (lost(110, 32), 31),
            // Not half of the limit in use.
            (ok(130, 15), 31),
            // A new latency without load.
            (ok(90, 31), 31),
            // ceil(31 * 10 / 100) = 4.
            (ok(100, 31), 31),
        ],
    );
    for (limit, root) in [(1.0, 1.0), (9.0, 1.0), (99.9, 1.0), (100.0, 2.0), (999.0, 2.0), (1000.0, 3.0)] {
        assert_eq!(log10_root(limit), root, "{limit}");
    }
}

/// After jitter * 30 * limit samples the latency without load is measured anew.
#[test]
fn vegas_probes() {
    let config = VegasConfig { probe_multiplier: at_least_one(1), ..VegasConfig::default() };
    let mut limit = Algorithm::Vegas(Vegas::new(config));
    let mut update = |sample| limit.update(sample, || 0.0);
    update(ok(100, 20));
    // 8 is a queue, and 20 * 0.5 = 10 samples from the start is the probe.
    for _ in 0..8 {
        update(ok(120, 10));
    }
    update(ok(200, 20));
    assert_eq!(limit.limit(), 20);
    // Against the 200 of the probe there is no queue.
    limit.update(ok(200, 20), || 0.0);
    assert_eq!(limit.limit(), 26);
}

#[test]
fn gradient2() {
    let mut gradient = Gradient2::new(Gradient2Config::default());
    let mut check = |sample: Sample, expected: f64| {
        gradient.update(sample);
        assert!((gradient.estimated_limit - expected).abs() < 1e-6, "{gradient:?}, expected {expected}");
    };
    // 0.8 * 20 + 0.2 * (20 + 4)
    check(ok(100, 20), 20.8);
    check(ok(100, 20), 21.6);
    // Long 500 / 3, gradient 1.5 / 3 * 5 / 3 = 5 / 6: 0.8 * 21.6 + 0.2 * (18 + 4)
    check(ok(300, 20), 21.68);
    // Long 375, gradient 0.5625.
    check(ok(1000, 20), 0.8 * 21.68 + 0.2 * (0.5625 * 21.68 + 4.0));
    // Less than half of the limit in use.
    let before = 0.8 * 21.68 + 0.2 * (0.5625 * 21.68 + 4.0);
    check(ok(100, 10), before);
}

#[test]
fn the_long_average_of_gradient2_lags() {
    let mut gradient = Gradient2::new(Gradient2Config::default());
    for _ in 0..10 {
        gradient.update(ok(100, 1));
    }
    assert_eq!(gradient.long_rtt, 1e8);
    // 2 / 601 of the difference to 701 is 2.
    gradient.update(ok(701, 1));
    assert!((gradient.long_rtt - 1.02e8).abs() < 1.0);
    // More than twice the present: 5% less besides.
    gradient.update(ok(1, 1));
    let averaged = 1.02e8 * (1.0 - 2.0 / 601.0) + 1e6 * 2.0 / 601.0;
    assert!((gradient.long_rtt - averaged * 0.95).abs() < 1.0);
}

/// A station of 50 servers and 100 ms whose callers fill whatever the limit lets in: a call takes
/// 100 ms * max(1, limit / 50).
fn settle(mut limit: Algorithm, samples: u32) -> (u32, u32) {
    let (mut least, mut most) = (u32::MAX, 0);
    for number in 0..samples {
        let inside = limit.limit();
        let rtt = SimDuration::from_nanos(100_000_000 * u64::from(inside.max(50)) / 50);
        limit.update(Sample { rtt, inflight: inside, dropped: false }, || 1.0);
        if number >= samples / 2 {
            (least, most) = (least.min(limit.limit()), most.max(limit.limit()));
        }
    }
    (least, most)
}

#[test]
fn limits_find_a_known_capacity() {
    // 76 calls take 152 ms: a saw-tooth from 68 to 76.
    let timeout = Time::new(milliseconds(150));
    let config = AimdConfig { timeout, ..AimdConfig::default() };
    assert_eq!(settle(Algorithm::Aimd(config, 20), 10_000), (68, 76));
    // A queue of 3 to 6 beyond the 50, as long as the latency without load is remembered.
    let config = VegasConfig { probe_multiplier: at_least_one(1_000_000), ..VegasConfig::default() };
    let (least, most) = settle(Algorithm::Vegas(Vegas::new(config)), 10_000);
    assert!(least == most && (53..=56).contains(&most), "{least} {most}");
    // With a long memory of 100 ms: limit * (1 - 75 / limit) = 4.
    let config = Gradient2Config { long_window: at_least_one(u32::MAX), ..Gradient2Config::default() };
    let (least, most) = settle(Algorithm::Gradient2(Gradient2::new(config)), 10_000);
    assert!((78..=79).contains(&least) && (78..=79).contains(&most), "{least} {most}");
}

/// Callers that fill every limit leave no latency without load to be seen: vegas measures it anew under its own
/// queue and creeps up, and the average of gradient2 follows.
#[test]
fn limits_that_are_always_full_creep_up() {
    assert!(settle(Algorithm::Vegas(Vegas::new(VegasConfig::default())), 100_000).1 > 100);
    assert_eq!(settle(Algorithm::Gradient2(Gradient2::new(Gradient2Config::default())), 100_000), (200, 200));
}

#[test]
fn windows_average() {
    let mut window = Window::new(WindowConfig::default());
    let at = |milliseconds: u64| SimTime::from_nanos(milliseconds * 1_000_000);
    // The first ends the window that began with the world, with one sample.
    assert_eq!(window.add(at(50), ok(50, 7)), None);
    for time in (150..=1050).step_by(100) {
        assert_eq!(window.add(at(time), ok(50, 7)), None, "{time}");
    }
    // Too quick to count.
    let quick = Sample { rtt: SimDuration::from_micros(99), ..ok(1, 1000) };
    assert_eq!(window.add(at(1060), quick), None);
    // 10 of 50 ms and one of 160, lost.
    let mean = Sample { rtt: milliseconds(60), inflight: 9, dropped: true };
    assert_eq!(window.add(at(1150), lost(160, 9)), Some(mean));
    // Nine are too few.
    for time in (1250..=2050).step_by(100) {
        assert_eq!(window.add(at(time), ok(50, 7)), None, "{time}");
    }
    assert_eq!(window.add(at(2200), ok(50, 7)), Some(ok(50, 7)));
    assert_eq!(window.add(at(3300), ok(50, 7)), None);
}

#[test]
fn mistakes_are_told() {
    let number = |number| at_least_one(number);
    let aimd = AimdConfig::default();
    let gradient = Gradient2Config::default();
    for (checked, key) in [
        (AimdConfig { max_limit: number(10), ..aimd }.check(), "max_limit"),
        (AimdConfig { backoff_ratio: 1.0, ..aimd }.check(), "backoff_ratio"),
        (AimdConfig { timeout: Time::ZERO, ..aimd }.check(), "timeout"),
        (VegasConfig { smoothing: 0.0, ..VegasConfig::default() }.check(), "smoothing"),
        (Gradient2Config { smoothing: f64::NAN, ..gradient }.check(), "smoothing"),
        (Gradient2Config { max_concurrency: number(3), ..gradient }.check(), "max_concurrency"),
        (Gradient2Config { rtt_tolerance: 0.5, ..gradient }.check(), "rtt_tolerance"),
    ] {
        let error = checked.unwrap_err();
        assert_eq!(error.path, [key]);
        assert!(error.help.unwrap().starts_with("expected"));
    }
    assert!(aimd.check().is_ok() && gradient.check().is_ok() && VegasConfig::default().check().is_ok());
}
