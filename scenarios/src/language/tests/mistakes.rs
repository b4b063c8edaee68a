//! What is wrong is shown at its place, with what would be right.

use sim_models::system::ComponentConfig;

use super::*;

/// A change of the shop and its error: what stands at its place, and what it says.
fn assert_error(from: &str, to: &str, at: &str, expected: &str) {
    assert!(SHOP.contains(from), "{from}");
    let text = SHOP.replacen(from, to, 1);
    let error = check(&text, &[]).err().unwrap_or_else(|| panic!("accepted: {to}"));
    let start = SHOP.find(from).unwrap();
    let place = start + text[start..].find(at).unwrap_or_else(|| panic!("{at} in {to}"));
    let line = text[..place].matches('\n').count() + 1;
    let column = text[..place].rsplit('\n').next().unwrap().chars().count() + 1;
    assert_eq!(error.plain(), format!("shop.toml:{line}:{column}: {expected}"));
    assert_eq!((error.line(), error.column()), (Some(line), Some(column)));
}

/// The error of an override: what stands at its place, and what it says.
fn assert_set_error(set: &str, at: &str, expected: &str) {
    let error = check(SHOP, &[set]).err().unwrap_or_else(|| panic!("accepted: {set}"));
    let column = set.find(at).unwrap() + 1;
    assert_eq!(error.plain(), format!("--set:1:{column}: {expected}"));
}

const SERVICE_KEYS: &str = "expected one of service_time, servers, replicas, balancer, zone_aware, health, autoscaler, cold_start, \
                            replica_quota, spot, deployment, warm_pool, discipline, fair, lifo_threshold, queue_cap, admission, error_rate, \
                            price_per_hour, price_model";
const DURATION: &str = "expected a duration such as \"250ms\": a number from 0 and a unit (ns, us, ms, s, m, h, d), at most 584 years";
const LAWS: &str = "expected one of constant, uniform, exponential, normal, lognormal, gamma, erlang, weibull, pareto, \
                    hyperexponential, empirical, mixture";

#[test]
fn misspelt_keys() {
    let top = "expected one of name, description, run, slo, traffic, components, devices, quality, links, storage, energy, placement, fault, variant, sweep, plan";
    assert_error(
        "[run]",
        "[runs]",
        "runs",
        &format!("unknown key `runs` at the top level (did you mean `run`? {top})"),
    );
    let run = "expected one of duration, drain, warmup, seed, replications, windows";
    assert_error("seed", "sede", "sede", &format!("unknown key `sede` in run (did you mean `seed`? {run})"));
    // Behind `kind`, before it, and far from anything.
    let server = format!("unknown key `server` in components.stock (did you mean `servers`? {SERVICE_KEYS})");
    assert_error("servers", "server", "server", &server);
    let cap =
        format!("unknown key `queu_cap` in components.prices (did you mean `queue_cap`? {SERVICE_KEYS})");
    assert_error("queue_cap", "queu_cap", "queu_cap", &cap);
    let colour = format!("unknown key `colour` in components.prices ({SERVICE_KEYS})");
    assert_error("queue_cap", "colour", "colour", &colour);
    assert_error(
        "timeout",
        "timout",
        "timout",
        "unknown key `timout` in links.\"edge -> stock\" (did you mean `timeout`? expected one of latency, cross_zone, timeout, \
         per_try_timeout, cancel_on_timeout, retry, circuit_breaker, hedge, fallback, client_instances)",
    );
    assert_error(
        "cv = 1.2",
        "cw = 1.2",
        "cw",
        "unknown key `cw` in traffic.web.prompt_tokens.lognormal (did you mean `cv`? expected one of mean, cv, p50, \
         p99, min, max)",
    );
    assert_error(
        "[traffic.web]",
        "[traffic.web]\nsessions = { turns = 3, thinks = \"1s\" }",
        "thinks",
        "unknown key `thinks` in traffic.web.sessions (did you mean `think`? expected one of turns, think, appended_tokens)",
    );
    assert_error(
        "mean = \"20ms\"",
        "maen = \"20ms\"",
        "maen",
        "unknown key `maen` in components.stock.service_time.exponential (did you mean `mean`? expected one of mean, \
         min, max)",
    );
    let law = |name: &str, place: &str, meant: &str| {
        format!("unknown key `{name}` in {place} (did you mean `{meant}`? {LAWS})")
    };
    assert_error(
        "lognormal",
        "lognormall",
        "lognormall",
        &law("lognormall", "traffic.web.prompt_tokens", "lognormal"),
    );
    let exponential = law("exponentail", "components.stock.service_time", "exponential");
    assert_error("exponential", "exponentail", "exponentail", &exponential);
    assert_error(
        "parallel",
        "paralel",
        "paralel",
        "unknown key `paralel` in components.edge.steps.1 (did you mean `parallel`? expected one of call, parallel, \
         repeat, appended_tokens, answer_tokens, classes)",
    );
    assert_error(
        "p99 = \"2s\"",
        "p99 = \"2s\", p98 = \"1s\"",
        "p98",
        "unknown key `p98` in slo.latency (did you mean `p95`? expected one of mean, p50, p95, p99)",
    );
    assert_error(
        "process = \"poisson\"",
        "cv = 1, process = \"poisson\"",
        "cv",
        "`cv` is out of place: poisson arrivals take `rate`",
    );
}

#[test]
fn the_first_of_equal_mistakes_is_shown() {
    let text = SHOP.replace("queue_cap", "server").replace("servers", "server");
    let error = check(&text, &[]).unwrap_err();
    assert_eq!((error.line(), error.column()), (Some(23), Some(1)), "{}", error.plain());
    let text = SHOP.replace("kind = \"service\"\n", "");
    let error = check(&text, &[]).unwrap_err();
    assert_eq!((error.line(), error.column()), (Some(20), Some(13)), "{}", error.plain());
}

#[test]
fn what_is_missing_is_missed_at_its_table() {
    let kinds = ComponentConfig::KINDS.join(", ");
    let text = SHOP.replace("kind = \"flow\"\n", "");
    let expected =
        format!("shop.toml:16:13: missing key `kind` in components.edge (add `kind = ...`, one of {kinds})");
    assert_eq!(check(&text, &[]).unwrap_err().plain(), expected);
    for (from, expected) in [
        (
            "service_time = \"5ms\"\n",
            "shop.toml:25:13: missing key `service_time` in components.prices (add `service_time = ...` in components.prices)",
        ),
        ("cv = 1.2", "shop.toml:14:31: lognormal: expected either `mean` and `cv`, or `p50` and `p99`"),
        (
            ", rate = \"5/s\"",
            "shop.toml:12:12: missing key `rate` in traffic.web.arrivals (poisson arrivals take `rate`)",
        ),
        (
            "entry = \"edge\"\n",
            "shop.toml:11:10: missing key `entry` in traffic.web (add `entry = ...` in traffic.web)",
        ),
        (
            "name = \"Shop\"\n",
            "shop.toml:1:1: missing key `name` at the top level (add `name = ...` at the top level)",
        ),
    ] {
        let error = check(&SHOP.replacen(from, "", 1), &[]).unwrap_err();
        assert_eq!(error.plain(), expected);
    }
}

#[test]
fn unknown_names() {
    let kinds = kinds().join(", ");
    let flo = format!("unknown kind `flo` (did you mean `flow`? expected one of {kinds})");
    assert_error("kind = \"flow\"", "kind = \"flo\"", "\"flo\"", &flo);
    let processes = "expected one of poisson, gamma, deterministic, batch, mmpp, diurnal, ramp, step, spike, closed_loop, trace";
    let poison = format!("unknown process `poison` (did you mean `poisson`? {processes})");
    assert_error("\"poisson\"", "\"poison\"", "\"poison\"", &poison);
    assert_error(
        "\"crash\"",
        "\"crush\"",
        "\"crush\"",
        "unknown kind `crush` (did you mean `crash`? expected one of crash, hang, drain, spot_interruption, slow, error_rate, zone_loss, partition, outage, cold_cache, stock_out)",
    );
    let components = "expected one of edge, stock, prices";
    let edgy = format!("unknown component `edgy` (did you mean `edge`? {components})");
    assert_error("entry = \"edge\"", "entry = \"edgy\"", "\"edgy\"", &edgy);
    assert_error(
        "\"prices\"",
        "\"shelf\"",
        "\"shelf\"",
        &format!("unknown component `shelf` ({components})"),
    );
    assert_error(
        "\"edge -> stock",
        "\"edge -> stok",
        "\"edge",
        "unknown component `stok` in link `edge -> stok` (did you mean `stock`? expected one of web, edge, stock, prices)",
    );
    assert_error(
        "\"edge -> stock",
        "\"stock -> edge",
        "\"stock",
        "`stock` never calls `edge` (`stock` calls nobody)",
    );
    assert_error(
        "\"edge -> stock",
        "\"stock",
        "\"stock",
        "`stock` does not name a link (expected \"caller -> callee\")",
    );
}

#[test]
fn a_cycle_of_calls() {
    assert_error(
        "\"prices\"",
        "\"edge\"",
        "\"edge\"",
        "a cycle of calls: edge -> edge (a component must not call one that calls it; use `repeat` in a flow for loops)",
    );
}

#[test]
fn units_and_types() {
    assert_error("\"20ms\"", "20", "20", &format!("`20` is not a duration (no unit) ({DURATION})"));
    assert_error(
        "\"20ms\"",
        "\"20parsec\"",
        "\"20",
        &format!("`20parsec` is not a duration (unknown unit) ({DURATION})"),
    );
    let quotes = "string values must be quoted (a number with a unit is written in quotes: \"20ms\")";
    assert_error("\"20ms\"", "20ms", "20ms", quotes);
    assert_error(
        "\"5/s\"",
        "\"-5/s\"",
        "\"-5/s\"",
        "`-5/s` is not a rate (negative) (expected a rate such as \"12/s\": a number from 0, perhaps k or M, and a unit \
         (/s, /min, /h, /d))",
    );
    assert_error(
        "\"5ms\"",
        "true",
        "true",
        "`service_time` is true (expected a duration such as \"2ms\" or a distribution such as { lognormal = { .. } })",
    );
    assert_error(
        "steps = [",
        "steps = [5, ",
        "5",
        "`components.edge.steps.0` is 5 (expected a component's name, { call = \"name\" } or { parallel = [\"name\", ...] })",
    );
    assert_error(
        "timeout = \"250ms\"",
        "timeout = \"0s\"",
        "\"0s\"",
        "a timeout of 0 answers nothing (expected a time above 0)",
    );
}

#[test]
fn numbers_beyond_range() {
    let whole = "expected a whole number from 0 to 4294967295";
    assert_error(
        "queue_cap = 100",
        "queue_cap = 5000000000",
        "5000",
        &format!("`queue_cap` is 5000000000 ({whole})"),
    );
    assert_error("queue_cap = 100", "queue_cap = -1", "-1", &format!("`queue_cap` is -1 ({whole})"));
    let positive = "expected a whole number from 1 to 4294967295";
    assert_error(
        "replications = 2",
        "replications = -2",
        "-2",
        &format!("`replications` is -2 ({positive})"),
    );
    assert_error("servers = 4", "servers = 0", "0", &format!("`servers` is 0 ({positive})"));
    for number in ["nan", "-inf", "+inf"] {
        let message = format!("`{number}` is not a number that can be used (expected a finite number)");
        assert_error("cv = 1.2", &format!("cv = {number}"), number, &message);
    }
    let huge = "`1e400` is beyond the range of numbers (expected a number up to 1.8e308)";
    assert_error("cv = 1.2", "cv = 1e400", "1e400", huge);
    let long =
        "`18446744073709551616` is beyond the range of integers (expected an integer from -2^63 to 2^64 - 1)";
    assert_error("seed = 7", "seed = 18446744073709551616", "1844", long);
    assert!(check(&SHOP.replace("seed = 7", "seed = 18446744073709551615"), &[]).is_ok());
    assert_error("cv = 1.2", "cv = -1", "-1", "lognormal: cv is -1 (expected finite and above 0)");
}

#[test]
fn not_toml() {
    assert_error("rate = \"5/s\"", "rate = \"5/s\", rate = \"6/s\"", "rate = \"6/s\"", "duplicate key");
    let error = check("name = \"\u{e9}\u{e9}\"\nrun = ]", &[]).unwrap_err();
    assert_eq!((error.line(), error.column()), (Some(2), Some(7)), "{}", error.plain());
    let error = check("\n", &[]).unwrap_err();
    assert!(error.plain().starts_with("shop.toml: the file is empty (start from"), "{}", error.plain());
}

#[test]
fn overrides_are_shown_instead_of_the_file() {
    assert_set_error(
        "components.edgee.steps=1",
        "edgee",
        "there is no `edgee` in components (did you mean `edge`? there are edge, stock, prices)",
    );
    assert_set_error(
        "run.sede=1",
        "sede",
        "unknown key `sede` in run (did you mean `seed`? expected one of duration, drain, warmup, seed, replications, windows)",
    );
    assert_set_error(
        "components.edge.stepz.0=1",
        "stepz",
        "unknown key `stepz` in components.edge (did you mean `steps`? expected one of steps, admission)",
    );
    assert_set_error(
        "components.edge.steps.7=stock",
        "7",
        "there is no entry `7` in components.edge.steps (components.edge.steps has 2 entries: 0 to 1)",
    );
    assert_set_error(
        "run.seed.x=1",
        "x",
        "there is no `x` in run.seed: it is an integer (set run.seed as a whole)",
    );
    assert_set_error(
        "links.\"edge -> stock\".timeout=250parsec",
        "250",
        &format!("`250parsec` is not a duration (unknown unit) ({DURATION})"),
    );
    assert_set_error(
        "links.\"edge -> stok\".timeout=250ms",
        "\"edge",
        "unknown component `stok` in link `edge -> stok` (did you mean `stock`? expected one of web, edge, stock, prices)",
    );
    assert_set_error(
        "components.edge.steps.0=stok",
        "stok",
        "unknown component `stok` (did you mean `stock`? expected one of edge, stock, prices)",
    );
    assert_set_error(
        "components.stock.queue_cap=nan",
        "nan",
        "`nan` is not a number that can be used (expected a finite number)",
    );
    assert_set_error(
        "run.seed",
        "run",
        "there is no `=` (expected path=value, such as components.edge.servers=4 or links.\"web -> edge\".timeout=250ms)",
    );
    // Of several, the one that is wrong.
    let error = check(SHOP, &["run.seed=1", "run.seed=x", "run.windows=5"]).unwrap_err();
    assert_eq!(
        error.plain(),
        "--set:1:10: `seed` is the text \"x\" (expected a whole number from 0 to 18446744073709551615)"
    );
}

#[test]
fn errors_of_the_simulator_are_located() {
    let loaded = check(SHOP, &["components.stock.servers=9"]).unwrap();
    let at = |path: &[&str]| {
        let error = loaded.locate(ConfigError::new(path.iter().copied(), "m"));
        error.to_string()
    };
    assert_eq!(at(&["components", "stock", "servers"]), "--set:1:26: m");
    assert_eq!(at(&["components", "prices", "queue_cap"]), "shop.toml:27:13: m");
    assert_eq!(at(&["components", "edge", "steps", "1", "parallel", "1"]), "shop.toml:18:42: m");
    // A value that is not there: the table that lacks it.
    assert_eq!(at(&["components", "prices", "servers"]), "shop.toml:25:13: components.prices.servers: m");
    assert_eq!(at(&["links", "edge -> stock"]), "shop.toml:30:8: m");
    assert_eq!(at(&["fault", "0", "target"]), "shop.toml:36:10: m");
    assert_eq!(at(&["fault", "3"]), "shop.toml:34:1: fault.3: m");
    assert_eq!(at(&["traffic"]), "shop.toml:11:2: m");
    assert_eq!(at(&[]), "shop.toml:1:1: m");
}

#[test]
fn a_model_that_does_not_fit() {
    let text = library().iter().find(|scenario| scenario.id == "support-assistant").unwrap().text;
    let error = check(&text.replace("tensor_parallel = 4", "tensor_parallel = 1"), &[]).unwrap_err();
    let line = text.lines().position(|line| line.starts_with("model = \"llama-3.1-70b\"")).unwrap() + 1;
    assert_eq!((error.line(), error.column()), (Some(line), Some(9)), "{}", error.plain());
    let set = check(text, &["components.large.gpu=l4"]).unwrap_err();
    assert!(set.plain().contains("does not fit on"), "{}", set.plain());
    let gpu = check(text, &["components.large.gpu=h100-sxn"]).unwrap_err();
    assert!(
        gpu.plain().starts_with("--set:1:22: unknown gpu `h100-sxn` (did you mean `h100-sxm`?"),
        "{}",
        gpu.plain()
    );
}

#[test]
fn what_an_override_says_is_shown_in_the_override() {
    // The key is in the file, too.
    assert_set_error(
        "components.stock.service_time={ exponentail = { mean = \"20ms\" } }",
        "exponentail",
        &format!(
            "unknown key `exponentail` in components.stock.service_time (did you mean `exponential`? {LAWS})"
        ),
    );
    let error = check(SHOP, &["components.edge={ kind = \"flow\", steps = [\"edge\"] }"]).unwrap_err();
    assert_eq!(error.file(), Some("--set"), "{}", error.plain());
    let error =
        check(SHOP, &["traffic.web={ arrivals = { process = \"poisson\", rate = \"5/s\" }, entry = \"x\" }"]);
    let error = error.unwrap_err();
    assert_eq!(error.file(), Some("--set"), "{}", error.plain());
    // What is changed keeps its place among the others.
    let changed = check(SHOP, &["components.stock={ kind = \"service\", service_time = \"5ms\" }"]).unwrap();
    let names: Vec<&String> = changed.scenario.components.keys().collect();
    assert_eq!(names, ["edge", "stock", "prices"]);
    assert_eq!(check(SHOP, &["name=2026-11-28"]).unwrap().scenario.name, "2026-11-28");
    assert_set_error(
        "run.duration=2026-11-28",
        "2026",
        &format!("`2026-11-28` is not a duration (unknown unit) ({DURATION})"),
    );
}

#[test]
fn what_a_terminal_would_obey_is_refused() {
    let says = "in a name or a text (expected letters, digits, spaces and signs)";
    for (from, to, c) in [
        ("\"Shop\"", "\"Shop\\u001b[31m\"", "1b"),
        ("\"Shop\"", "\"\"\"Shop\nagain\"\"\"", "a"),
        ("\"5ms\"", "\"5ms\\u0007\"", "7"),
        ("[\"stock\", {", "[\"st\\u009bck\", {", "9b"),
    ] {
        let at = to.trim_start_matches('[').split(',').next().unwrap().lines().next().unwrap();
        assert_error(from, to, at, &format!("a control character, \\u{{{c}}}, {says}"));
    }
    assert_error(
        "[components.prices]",
        "[components.\"pr\\u0000\"]",
        "\"pr",
        &format!("a control character, \\u{{0}}, {says}"),
    );
    assert_set_error("name=a\u{7}b", "a\u{7}", &format!("a control character, \\u{{7}}, {says}"));
    let described = SHOP.replacen("[run]", "description = \"\"\"Two lines,\n\tand one more.\"\"\"\n[run]", 1);
    check(&described, &[]).unwrap();
    let described = described.replace("lines", "\\u001blines");
    assert!(check(&described, &[]).unwrap_err().plain().contains("\\u{1b}"));
}

#[test]
fn a_list_is_cut_between_names() {
    let llm = "[components.llm]\nkind = \"llm\"\nmodel = \"llama-3\"\ngpu = \"h100-sxm\"\n";
    let error = check(&format!("{SHOP}{llm}"), &[]).unwrap_err();
    let help = error.help_text().unwrap();
    let (meant, list) = help.split_once("? expected one of ").unwrap();
    assert_eq!(meant, "did you mean `llama-3-8b`");
    let names: Vec<&str> = list.strip_suffix(", ...").unwrap().split(", ").collect();
    let known: Vec<&str> = sim_models::hardware::catalogue::models().map(|model| model.id.as_str()).collect();
    assert_eq!(names, known[..names.len()]);
    assert!(names.len() > 20 && names.len() < known.len());
}
