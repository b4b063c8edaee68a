use super::*;
use crate::run::RunProgress;

/// A page whose database has so many servers; the variants differ in one thing each.
fn loaded(variants: &str) -> Loaded {
    let text = format!(
        "name = \"shop\"\nrun = {{ duration = \"60s\", warmup = \"0s\", replications = 8 }}\n\
         [traffic.web]\nentry = \"db\"\narrivals = {{ process = \"poisson\", rate = \"30/s\" }}\n\
         [components.db]\nkind = \"service\"\nservers = 4\nservice_time = {{ exponential = {{ mean = \"100ms\" }} }}\n\
         price_per_hour = \"$1/h\"\n{variants}"
    );
    crate::parse(&text, "shop.toml", Path::new("."), &[]).unwrap_or_else(|error| panic!("{}", error.plain()))
}

fn compared(loaded: &Loaded, baseline: Option<&str>) -> Comparison {
    let all = candidates(std::slice::from_ref(loaded), &[], baseline).unwrap();
    compare(&all, &RunOptions::default(), &RunProgress::new()).unwrap()
}

fn of(compared: &Compared, column: &str) -> Difference {
    let all = compared
        .differences
        .iter()
        .find(|(class, difference)| class == ALL && difference.metric.column == column);
    all.unwrap().1
}

#[test]
fn what_is_the_same_is_called_so_and_what_is_faster_is_measured() {
    let variants = "[[variant]]\nname = \"same\"\n[[variant]]\nname = \"fast\"\n\
                    set = { \"components.db.service_time.exponential.mean\" = \"95ms\" }\n\
                    [[variant]]\nname = \"more\"\nset = { \"components.db.servers\" = 5 }\n";
    let comparison = compared(&loaded(variants), None);
    assert_eq!(comparison.findings()[0], "`same`: the same to the last event");
    let fast = of(&comparison.others[1], "latency_p50_s");
    let difference = fast.difference.unwrap();
    assert!(fast.is_sure() && (-0.25..-0.05).contains(&difference.mean), "{difference:?}");
    // One server more costs a quarter more, to the cent.
    let cost = of(&comparison.others[2], "cost_usd_per_month").difference.unwrap();
    assert!((cost.mean - 0.25).abs() < 1e-9 && cost.half_width.unwrap() < 1e-9, "{cost:?}");
    let finding = &comparison.others[2].finding;
    assert!(finding.contains("latency p99 -") && finding.contains("cost +25%"), "{finding}");
    assert!(!finding.contains("error rate"), "{finding}");
}

/// The same luck makes the interval of the difference narrower than unpaired runs would: (half width)^2 is inversely
/// proportional to the number of requests. At half load; where the smaller system queues most of the time, and the larger
/// does not, their luck has less in common (at 0.75 twice fewer requests for the fifth server).
#[test]
fn pairing_saves_requests() {
    let variants = "[[variant]]\nname = \"fast\"\n\
                    set = { \"components.db.service_time.exponential.mean\" = \"95ms\" }\n\
                    [[variant]]\nname = \"more\"\nset = { \"components.db.servers\" = 5 }\n";
    let mut loaded = loaded(variants);
    loaded = loaded
        .with(&["traffic.web.arrivals.rate=20/s".to_owned(), "run.replications=20".to_owned()])
        .unwrap();
    let comparison = compared(&loaded, None);
    let column = METRICS.iter().position(|metric| metric.column == "latency_mean_s").unwrap();
    let values = |result: &RunResult| -> Vec<f64> {
        let all = Values::of(result).0;
        all.iter().filter(|((class, _), _)| class == ALL).map(|(_, row)| row[column].unwrap()).collect()
    };
    let base = values(&comparison.baseline);
    for other in &comparison.others {
        let values = values(&other.result);
        let width = |values: &[f64]| replication_interval(values, CONFIDENCE).unwrap().half_width;
        let unpaired = width(&base).hypot(width(&values));
        let paired = paired_difference(&values, &base, CONFIDENCE).unwrap().half_width;
        let ratio = unpaired / paired;
        let saved = ratio * ratio;
        println!("{}: {saved:.1} times fewer requests", other.result.variant);
        assert!(saved > 3.0, "{}: {saved}", other.result.variant);
    }
}

#[test]
fn any_variant_can_be_the_baseline() {
    let comparison = compared(
        &loaded("[[variant]]\nname = \"five\"\nset = { \"components.db.servers\" = 5 }\n"),
        Some("five"),
    );
    assert_eq!(comparison.baseline.variant, "five");
    assert_eq!(comparison.others[0].result.variant, BASE);
    let cost = of(&comparison.others[0], "cost_usd_per_month").difference.unwrap();
    assert!((cost.mean + 0.2).abs() < 1e-9, "{cost:?}");
    let frames = comparison.frames();
    assert_eq!(frames.len(), 10);
    assert_eq!(frames[0].1.height(), 2 * comparison.baseline.summary().height());
    assert_eq!(comparison.differences().height(), comparison.others[0].differences.len());
}

#[test]
fn a_pool_that_serves_nobody_is_no_division_by_zero() {
    let variants = "[[variant]]\nname = \"dead\"\nset = { \"components.db.error_rate\" = 1 }\n";
    let dead = &compared(&loaded(variants), None).others[0];
    assert_eq!(of(dead, "error_rate").difference.unwrap().mean, 1.0);
    assert!(of(dead, "latency_p99_s").difference.is_none());
    assert!(dead.finding.contains("latency p99 not measured"), "{}", dead.finding);
    let alive = &compared(&loaded(variants), Some("dead")).others[0];
    assert!(alive.finding.contains("; latency p99 not measured in the baseline"), "{}", alive.finding);
    assert!(alive.finding.contains("goodput from 0 to "), "{}", alive.finding);
}

#[test]
fn what_cannot_be_compared_is_an_error() {
    let one = loaded("[[variant]]\nname = \"five\"\nset = { \"components.db.servers\" = 5 }\n");
    let refused = |files: &[Loaded], variants: &[String], baseline| {
        candidates(files, variants, baseline).unwrap_err().plain()
    };
    assert!(refused(&[loaded("")], &[], None).contains("nothing to compare"));
    assert!(
        refused(std::slice::from_ref(&one), &["six".to_owned()], None).contains("there is no variant `six`")
    );
    assert!(refused(std::slice::from_ref(&one), &[], Some("six")).contains("expected one of base, five"));
    assert!(refused(&[one.clone(), one.clone()], &[], None).contains("two systems are named `shop`"));
    assert!(refused(&[one.clone(), one], &["five".to_owned()], None).contains("several files"));
}

#[test]
fn differences_are_short() {
    let of = |mean, half_width| Average { mean, half_width };
    assert_eq!(change(of(-0.614, Some(0.031)), false), "-61% +-3.1%");
    assert_eq!(change(of(0.0349, None), false), "+3.5%");
    assert_eq!(change(of(-0.35, Some(0.02)), true), "-35 +-2.0 points");
    assert_eq!(change(of(19.0, Some(1.0)), false), "20 times as much");
}
