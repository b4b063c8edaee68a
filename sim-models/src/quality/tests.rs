use super::*;
use crate::system::{RunOutput, RunPlan, SystemConfig, Traces, build, run};
use sim_core::time::SimDuration;

const GSM8K: &str = "[quality]\nmodels = [\"small\", \"large\"]\njoint = [\n\
    { right = [], weight = 94 }, { right = [\"large\"], weight = 383 },\n\
    { right = [\"small\"], weight = 95 }, { right = [\"large\", \"small\"], weight = 747 }]\n";

fn system(entry: &str, quality: &str) -> String {
    format!(
        "[traffic.web]\nentry = \"{entry}\"\narrivals = {{ process = \"poisson\", rate = \"1000/s\" }}\n
         [components.small]\nkind = \"service\"\nservice_time = \"1ms\"\nservers = 1000\n
         [components.large]\nkind = \"service\"\nservice_time = \"2ms\"\nservers = 1000\n
         [components.both]\nkind = \"flow\"\nsteps = [\"large\", \"small\"]\n{quality}"
    )
}

fn config(text: &str) -> SystemConfig {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn simulate(text: &str) -> RunOutput {
    let plan = RunPlan {
        duration: SimDuration::from_secs(100),
        drain: SimDuration::from_secs(100),
        ..RunPlan::default()
    };
    run(build(&config(text), &plan, &Traces::new()).unwrap(), &plan).unwrap()
}

#[test]
fn accuracy_is_the_tables_and_the_same_questions_are_hard() {
    let small = simulate(&system("small", GSM8K));
    let large = simulate(&system("large", GSM8K));
    // The last answer heard counts.
    let both = simulate(&system("both", GSM8K));
    for (output, expected) in [(&small, 842.0 / 1319.0), (&large, 1130.0 / 1319.0), (&both, 842.0 / 1319.0)] {
        let (requests, accuracy) = (&output.requests[0], output.requests[0].accuracy().unwrap());
        assert_eq!(requests.scored, requests.answered());
        let z = (accuracy - expected) / (expected * (1.0 - expected) / requests.scored as f64).sqrt();
        assert!(z.abs() <= 4.0, "{accuracy}, expected {expected}");
    }
    // Each system knows what the other came to, on the same requests.
    let alone = |output: &RunOutput| {
        let quality = output.quality.as_ref().unwrap();
        [quality.models[0].accuracy, quality.models[1].accuracy, quality.oracle_accuracy]
    };
    assert_eq!(alone(&small), alone(&large));
    assert_eq!(alone(&small)[0], small.requests[0].accuracy());
    assert_eq!(alone(&small)[1], large.requests[0].accuracy());
    let oracle = alone(&small)[2].unwrap();
    assert!((oracle - 1225.0 / 1319.0).abs() < 0.005, "{oracle}");
    let quality = small.quality.as_ref().unwrap();
    assert_eq!(quality.best_single().unwrap().name, "large");
    assert!(quality.usd_per_request.is_none() && quality.zero_router().is_none());
}

#[test]
fn a_table_changes_no_run() {
    let (with, without) = (simulate(&system("both", GSM8K)), simulate(&system("both", "")));
    assert_eq!((with.fingerprint, with.outcome_hash), (without.fingerprint, without.outcome_hash));
    assert_eq!(without.requests[0].accuracy(), None);
}

#[test]
fn cells_lie_from_the_easiest_to_the_hardest() {
    let quality = config(&system("small", GSM8K)).quality.unwrap();
    let cells = table::cells(&quality).unwrap();
    let rights: Vec<u64> = cells.iter().map(|cell| cell.0).collect();
    assert_eq!(rights, [0b11, 0b01, 0b10, 0b00]);
    assert!((cells[0].1 - 747.0 / 1319.0).abs() < 1e-12);
}

#[test]
fn the_hull_leaves_out_what_mixing_beats() {
    let hull = Hull::new(vec![(1.0, 0.5), (3.0, 0.55), (5.0, 0.9), (4.0, 0.4), (9.0, 0.9)]);
    assert_eq!(hull, Hull::new(vec![(1.0, 0.5), (5.0, 0.9)]));
    assert_eq!((hull.accuracy_at(0.9), hull.accuracy_at(20.0)), (None, Some(0.9)));
    assert!((hull.accuracy_at(3.0).unwrap() - 0.7).abs() < 1e-12);
    assert!((hull.cost_of(0.7).unwrap() - 3.0).abs() < 1e-12);
    assert_eq!((hull.cost_of(0.95), hull.cost_of(0.1)), (None, Some(1.0)));
}

#[test]
fn a_file_of_questions_gives_the_same_table() {
    let dir = std::env::temp_dir().join(format!("tenfold-quality-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = |text: &str| std::fs::write(dir.join("joint.csv"), text).unwrap();
    file("bench,a,b\nx,1,1\nx,0,1\ny,0,0\nx,1,1\n");
    let csv = |rest: &str| {
        let quality = format!(
            "[quality]\nmodels = [\"small\", \"large\"]\n\
             joint_csv = {{ path = \"joint.csv\", columns = {{ small = \"a\", large = \"b\" }}{rest} }}"
        );
        let mut system = config(&system("small", &quality));
        system.resolve_paths(&dir);
        table::cells(&system.quality.unwrap())
    };
    assert_eq!(csv("").unwrap(), [(0b11, 0.5), (0b10, 0.25), (0b00, 0.25)]);
    assert_eq!(csv(", where = { bench = \"y\" }").unwrap(), [(0b00, 1.0)]);
    for (rest, place, message) in [
        (", where = { bench = \"z\" }", "joint_csv path", "no row passes"),
        (", where = { bnch = \"y\" }", "joint_csv where bnch", "no column `bnch`"),
    ] {
        let error = csv(rest).unwrap_err();
        assert_eq!(error.path.join(" "), place);
        assert!(error.message.contains(message) && error.help.is_some(), "{error}");
    }
    file("bench,a,b\nx,1,2\n");
    assert!(csv("").unwrap_err().message.contains("`2` in line 2"));
    file("bench,a\nx,1\n");
    assert_eq!(csv("").unwrap_err().path.join(" "), "joint_csv columns large");
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(csv("").unwrap_err().path.join(" "), "joint_csv path");
}

#[test]
fn mistakes_are_told_with_their_place() {
    let joint = "joint = [{ right = [\"small\"], weight = 1 }]";
    for (quality, place, message) in [
        ("models = []".to_owned(), "models", "names 0 models"),
        ("models = [\"small\", \"small\"]".into(), "models 1", "stands twice"),
        ("models = [\"small\"]".into(), "joint", "no joint table"),
        (format!("models = [\"smol\"]\n{joint}"), "joint 0 right 0", "unknown model `small`"),
        (format!("models = [\"small\", \"both\"]\n{joint}"), "models 1", "no component `both` answers"),
        (
            format!("models = [\"small\"]\n{joint}\nserved_by = {{ small = [\"larg\"] }}"),
            "served_by small 0",
            "no component `larg` answers",
        ),
        (
            format!("models = [\"small\", \"large\"]\n{joint}\nserved_by = {{ small = [\"large\"] }}"),
            "models 1",
            "answers as two models",
        ),
        (
            format!("models = [\"small\"]\n{joint}\nserved_by = {{ big = [] }}"),
            "served_by big",
            "unknown model",
        ),
        (
            "models = [\"small\"]\njoint = [{ right = [], weight = 0 }]".into(),
            "joint",
            "the weights sum to 0",
        ),
        (
            "models = [\"small\"]\njoint = [{ right = [], weight = 1 }, { right = [], weight = 1 }]".into(),
            "joint 1 right",
            "another cell",
        ),
        (
            format!("models = [\"small\"]\n{joint}\njoint_csv = {{ path = \"x.csv\" }}"),
            "joint_csv",
            "both `joint` and `joint_csv`",
        ),
    ] {
        let config = config(&system("small", &format!("[quality]\n{quality}")));
        let error = build(&config, &RunPlan::default(), &Traces::new()).unwrap_err();
        let path: Vec<&str> = std::iter::once("quality").chain(place.split(' ')).collect();
        assert_eq!(error.path, path, "{error}");
        assert!(error.message.contains(message) && error.help.is_some(), "{error}");
    }
}

/// An LLM in 4 bits that keeps 90% of its right answers, beside one in 16 bits with the same table.
#[test]
fn quantized_weights_lose_what_the_scenario_says() {
    let system = |precision: &str, retained: &str| {
        format!(
            "[traffic.web]\nentry = \"small\"\narrivals = {{ process = \"poisson\", rate = \"50/s\" }}\n\
             prompt_tokens = 16\noutput_tokens = 2\n\
             [components.small]\nkind = \"llm\"\nmodel = \"llama-3.2-1b\"\ngpu = \"h100-sxm\"\n\
             precision = \"{precision}\"\n\
             [quality]\nmodels = [\"small\"]\n{retained}\n\
             joint = [{{ right = [\"small\"], weight = 8 }}, {{ right = [], weight = 2 }}]"
        )
    };
    let of = |precision: &str, retained: &str| {
        let output = simulate(&system(precision, retained));
        let alone = output.quality.as_ref().unwrap().models[0].accuracy;
        assert_eq!(alone, output.requests[0].accuracy());
        (output.requests[0].accuracy().unwrap(), output.requests[0].scored as f64)
    };
    let said = "accuracy_retained = { int4 = 0.9, fp8 = 0.99 }";
    for (precision, retained, expected) in
        [("int4", said, 0.72), ("fp8", said, 0.792), ("bf16", said, 0.8), ("int4", "", 0.8)]
    {
        let (accuracy, n) = of(precision, retained);
        let z = (accuracy - expected) / (expected * (1.0 - expected) / n).sqrt();
        assert!(z.abs() <= 4.0, "{precision}: {accuracy}, expected {expected}");
    }
    // The same questions are lost with a lower share, and more.
    assert!(of("fp8", said).0 > of("int4", said).0);
    let table: QualityConfig = toml::from_str(&format!("models = [\"small\"]\n{said}")).unwrap();
    assert_eq!(toml::from_str::<QualityConfig>(&toml::to_string(&table).unwrap()).unwrap(), table);
}
