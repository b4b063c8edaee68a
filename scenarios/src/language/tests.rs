use super::*;
use sim_models::system::{RunPlan, Traces, build};

/// A scenario that can be simulated; tests change one line of it.
pub(super) const SHOP: &str = r#"name = "Shop"

[run]
duration = "1m"
seed = 7
replications = 2

[slo]
latency = { p99 = "2s" }

[traffic.web]
arrivals = { process = "poisson", rate = "5/s" }
entry = "edge"
prompt_tokens = { lognormal = { mean = 512, cv = 1.2 } }

[components.edge]
kind = "flow"
steps = ["stock", { parallel = ["stock", "prices"] }]

[components.stock]
kind = "service"
service_time = { exponential = { mean = "20ms" } }
servers = 4

[components.prices]
service_time = "5ms"
queue_cap = 100
kind = "service"

[links."edge -> stock"]
latency = "1ms"
timeout = "250ms"

[[fault]]
at = "10s"
target = "stock"
kind = "crash"
"#;

fn with(from: &str, to: &str) -> String {
    assert_eq!(SHOP.matches(from).count(), 1, "{from} stands once");
    SHOP.replace(from, to)
}

fn check_sets(text: &str, sets: &[&str]) -> Result<Loaded, ScenarioError> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let loaded = parse(text, "shop.toml", Path::new("."), &sets)?;
    match build(&loaded.scenario.system(), &RunPlan::default(), &Traces::new()) {
        Ok(_) => Ok(loaded),
        Err(error) => Err(loaded.locate(error)),
    }
}

/// The error of a text, and what is at its place: up to the end of the word.
fn error_of(text: &str, sets: &[&str]) -> (String, String) {
    let error = check_sets(text, sets).err().unwrap_or_else(|| panic!("accepted: {text}"));
    let shown = match error.file() {
        Some("--set") => sets.iter().rev().copied().collect::<Vec<_>>()[0],
        _ => text,
    };
    let line = shown.split('\n').nth(error.line().unwrap() - 1).unwrap();
    let at: String = line.chars().skip(error.column().unwrap() - 1).take(12).collect();
    (error.plain(), at)
}

#[test]
fn the_shop_is_accepted() {
    check_sets(SHOP, &[]).unwrap();
}

#[test]
fn print_all() {
    for (from, to) in [
        ("name = \"Shop\"", "name = \"Shop\"\nrunn = 1"),
        ("seed = 7", "sede = 7"),
        ("servers = 4", "server = 4"),
        ("queue_cap", "queu_cap"),
        ("timeout =", "timout ="),
        ("cv = 1.2", "cw = 1.2"),
        ("rate =", "rte ="),
        ("lognormal", "lognormall"),
        ("parallel", "paralel"),
        ("\"20ms\"", "20"),
        ("\"20ms\"", "\"20parsec\""),
        ("\"20ms\"", "20ms"),
        ("\"5/s\"", "\"-5/s\""),
        ("\"5ms\"", "true"),
        ("\"stock\", \"prices\"", "\"stock\", \"price\""),
        ("edge -> stock", "edge -> stok"),
        ("\"prices\"", "\"edge\""),
        ("kind = \"flow\"", "kind = \"flo\""),
        ("kind = \"flow\"\n", ""),
        ("queue_cap = 100\nkind = \"service\"", "queue_cap = 100"),
        ("service_time = \"5ms\"\n", ""),
        ("queue_cap = 100", "queue_cap = 5000000000"),
        ("queue_cap = 100", "queue_cap = -1"),
        ("servers = 4", "servers = 0"),
        ("cv = 1.2", "cv = nan"),
        ("cv = 1.2", "cv = -inf"),
        ("cv = 1.2", "cv = 1e400"),
        ("cv = 1.2", "cv = 99999999999999999999999"),
        ("cv = 1.2", "cv = -1"),
        ("replications = 2", "replications = -2"),
        ("replications = 2", "replications = 0"),
        ("target = \"stock\"", "target = \"stok\""),
        ("kind = \"crash\"", "kind = \"crush\""),
        ("kind = \"crash\"", "kind = \"slow\""),
        ("kind = \"crash\"", "kind = \"crash\"\nfactor = 2"),
        ("p99 = \"2s\"", "p99 = \"2s\", p98 = \"3s\""),
        ("process = \"poisson\"", "process = \"poison\""),
        ("process = \"poisson\"", "cv = 1, process = \"poisson\""),
        ("process = \"poisson\", rate", "process = \"gamma\", cv = 50, rate"),
        ("process = \"poisson\", ", ""),
        ("rate = \"5/s\"", "rate = \"5/s\", rate = \"6/s\""),
        ("steps = [", "steps = 5 #"),
        ("steps = [", "steps = [5, "),
    ] {
        let (error, at) = error_of(&SHOP.replacen(from, to, 1), &[]);
        println!("{from} => {to}\n    {error}\n    at: {at}");
    }
    for set in [
        "components.edgee.steps=1",
        "components.edge.stepz=1",
        "components.edge.steps.7=stock",
        "components.edge.steps.0=stok",
        "run.seed.x=1",
        "run.sede=1",
        "links.\"edge -> stock\".timeout=250parsec",
        "links.\"edge -> stok\".timeout=250ms",
        "components.stock.servers=0",
        "components.stock.servers=nan",
        "traffic.web.arrivals.rate=[1, 2",
    ] {
        let (error, at) = error_of(SHOP, &[set]);
        println!("{set}\n    {error}\n    at: {at}");
    }
    println!("{}", parse(SHOP, "x", Path::new("."), &[]).unwrap().scenario.to_toml());
}
