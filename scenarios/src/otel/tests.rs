//! A system is simulated, its calls are written as a collector would, and a scenario is made of them: it does what the
//! first one did.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use sim_core::time::SimTime;
use sim_models::journal::Birth;
use sim_models::request::Outcome;
use sim_models::timeline::Span;
use tempfile::TempDir;

use super::*;
use crate::Loaded;
use crate::results::RunResult;
use crate::run::{RunOptions, RunProgress};

/// An assistant and a search behind a gateway, with lines short enough that hardly a call waits.
const SYSTEM: &str = r#"
    name = "Assistant and search"
    [run]
    duration = "200s"
    drain = "1m"
    warmup = "0s"
    replications = 1
    [traffic.assistant]
    arrivals = { process = "poisson", rate = "12/s" }
    entry = "gateway"
    priority = { chat = 1.0 }
    prompt_tokens = { lognormal = { mean = 600, cv = 0.8 } }
    output_tokens = { lognormal = { mean = 150, cv = 0.7 } }
    [traffic.finder]
    arrivals = { process = "poisson", rate = "18/s" }
    entry = "gateway"
    priority = { search = 1.0 }
    [components.gateway]
    kind = "flow"
    steps = ["gateway-work", "features",
             { call = "model", classes = ["chat"] },
             { parallel = ["index", "profiles"], classes = ["search"] },
             { call = "perhaps", classes = ["search"] }]
    [components.gateway-work]
    kind = "service"
    service_time = { exponential = { mean = "3ms" } }
    servers = 50
    [components.features]
    kind = "service"
    service_time = { gamma = { mean = "8ms", cv = 0.5 } }
    servers = 50
    [components.index]
    kind = "service"
    service_time = { lognormal = { mean = "30ms", cv = 0.6 } }
    servers = 100
    error_rate = 0.02
    [components.profiles]
    kind = "service"
    service_time = { exponential = { mean = "12ms" } }
    servers = 100
    [components.perhaps]
    kind = "router"
    policy = "random"
    shares = { reranker = 0.4, skip = 0.6 }
    [components.reranker]
    kind = "service"
    service_time = { lognormal = { mean = "25ms", cv = 0.4 } }
    servers = 100
    [components.skip]
    kind = "service"
    service_time = "0s"
    servers = 1000
    [components.model]
    kind = "external_api"
    ttft = { lognormal = { p50 = "300ms", p99 = "900ms" } }
    time_per_output_token = "10ms"
    [links."gateway -> features"]
    latency = "2ms"
"#;

fn run(loaded: &Loaded, options: &RunOptions) -> RunResult {
    crate::run(loaded, options, &RunProgress::new()).unwrap()
}

fn attribute(key: &str, value: Value) -> Value {
    json!({ "key": key, "value": value })
}

/// The exports of a collector, one a line: each service sends its own spans.
fn exports(result: &RunResult) -> String {
    let (output, timeline) = (&result.outputs[0], result.timeline().unwrap());
    let name = |span: &Span| output.components[usize::from(span.component)].name.as_str();
    let is_seen = |span: &Span| !["perhaps", "skip"].contains(&name(span));
    let places: BTreeMap<u64, usize> =
        timeline.spans.iter().enumerate().map(|(place, span)| (span.call, place)).collect();
    let births: BTreeMap<u64, &Birth> = output.births.iter().map(|birth| (birth.key, birth)).collect();
    // What no tracer sees stands for its caller.
    let parent = |span: &Span| {
        let mut above = span.parent.map(|call| &timeline.spans[places[&call]]);
        while let Some(unseen) = above.filter(|above| !is_seen(above)) {
            above = unseen.parent.map(|call| &timeline.spans[places[&call]]);
        }
        above
    };
    let nanos = |time: SimTime| (1_700_000_000_000_000_000 + time.as_nanos()).to_string();
    let mut lines = String::new();
    for span in timeline.spans.iter().filter(|span| is_seen(span)) {
        let (ended, outcome) = span.ended.unwrap();
        let above = parent(span);
        let base = |id: String, parent: Option<String>, kind: u32, name: &str, from: SimTime, to: SimTime| {
            json!({
                "traceId": format!("{:032x}", span.request + 1), "spanId": id, "parentSpanId": parent.unwrap_or_default(),
                "kind": kind, "name": name, "startTimeUnixNano": nanos(from), "endTimeUnixNano": nanos(to),
                "status": if outcome == Outcome::Ok { json!({}) } else { json!({ "code": 2 }) },
            })
        };
        let id = |kind: &str, call: u64| format!("{kind}{call:015x}");
        let (server, client) = (id("a", span.call), id("b", span.call));
        let caller = above.map(|above| id("a", above.call));
        let replied = SimTime::from_nanos(ended.as_nanos() + span.arrived.since(span.sent).as_nanos());
        let mut send = |service: &str, span: Value| {
            let resource =
                json!({ "attributes": [attribute("service.name", json!({ "stringValue": service }))] });
            let spans = json!([{ "resource": resource, "scopeSpans": [{ "spans": [span] }] }]);
            lines += &format!("{}\n", json!({ "resourceSpans": spans }));
        };
        match (name(span), above.map(name)) {
            ("gateway-work", _) => send("gateway", base(server, caller, 1, "render", span.arrived, ended)),
            ("model", Some(above)) => {
                let birth = births[&span.request];
                let mut call = base(client, caller, 3, "chat gpt-4.1", span.sent, replied);
                call["attributes"] = json!([
                    attribute("gen_ai.operation.name", json!({ "stringValue": "chat" })),
                    attribute("gen_ai.request.model", json!({ "stringValue": "gpt-4.1" })),
                    attribute(
                        "gen_ai.usage.input_tokens",
                        json!({ "intValue": birth.prompt_tokens.to_string() })
                    ),
                    attribute("gen_ai.usage.output_tokens", json!({ "intValue": birth.output_tokens })),
                ]);
                if let (Some(session), Value::Array(all)) = (birth.session, &mut call["attributes"]) {
                    let name = json!({ "stringValue": format!("talk {session}") });
                    all.push(attribute("gen_ai.conversation.id", name));
                }
                send(above, call);
            }
            (own, Some(above)) => {
                send(above, base(client.clone(), caller, 3, "GET", span.sent, replied));
                send(own, base(server, Some(client), 2, "GET /", span.arrived, ended));
            }
            (own, None) => {
                let operation = ["POST /chat", "GET /search"][usize::from(span.class)];
                send(own, base(server, None, 2, operation, span.arrived, ended));
            }
        }
    }
    lines
}

struct File(TempDir);

impl File {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("traces.json"), text).unwrap();
        Self(dir)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("traces.json")
    }

    fn import(&self, options: &ImportOptions) -> Result<Imported, ScenarioError> {
        import(&self.path(), options)
    }
}

/// A run of so many seconds, and its traces.
fn recorded(seconds: u32) -> (RunResult, String) {
    recorded_of(&SYSTEM.replace("200s", &format!("{seconds}s")))
}

fn recorded_of(system: &str) -> (RunResult, String) {
    let loaded = crate::parse(system, "system.toml", ".".as_ref(), &[]).unwrap();
    let options =
        RunOptions { timeline: Some("0s..260s".parse().unwrap()), births: true, ..RunOptions::default() };
    let result = run(&loaded, &options);
    assert!(!result.timeline().unwrap().is_cut);
    let text = exports(&result);
    (result, text)
}

fn close(what: &str, found: f64, expected: f64, within: f64) {
    assert!((found / expected - 1.0).abs() <= within, "{what}: {found}, expected {expected} within {within}");
}

#[test]
fn a_scenario_made_of_the_traces_of_a_run_does_the_same() {
    let (result, text) = recorded(200);
    let file = File::new(&text);
    let imported = file.import(&ImportOptions::default()).unwrap();
    let told = &imported.text;
    let read = |text: &str| crate::parse(text, "imported.toml", file.0.path(), &[]).unwrap();
    let loaded = read(told);
    let config = serde_json::to_value(&loaded.scenario).unwrap();

    // Structure: who calls whom, for which requests, how often, and what at once.
    let steps = config["components"]["gateway"]["steps"].as_array().unwrap();
    let only = |class: &str| json!([class]);
    assert_eq!(steps[..2], [json!("gateway-work"), json!("features")], "{told}");
    assert!(steps.contains(&json!({ "call": "gpt-4.1", "classes": only("POST-chat") })), "{told}");
    assert!(
        steps.contains(&json!({ "parallel": ["index", "profiles"], "classes": only("GET-search") })),
        "{told}"
    );
    assert!(
        steps.contains(&json!({ "call": "gateway-or-not-reranker", "classes": only("GET-search") })),
        "{told}"
    );
    let shares = &config["components"]["gateway-or-not-reranker"]["shares"];
    assert!((shares["reranker"].as_f64().unwrap() - 0.4).abs() < 0.03, "{told}");
    assert_eq!(config["links"]["gateway -> features"]["latency"], "2ms", "{told}");
    let errors = config["components"]["index"]["error_rate"].as_f64().unwrap();
    assert!((errors - 0.02).abs() < 0.007, "{errors}");
    let token: crate::units::Time =
        config["components"]["gpt-4.1"]["time_per_output_token"].as_str().unwrap().parse().unwrap();
    close("time per token", token.as_secs_f64(), 0.010, 0.03);

    // What comes of it.
    let imported = run(&loaded, &RunOptions::default());
    for (was, is) in [("chat", "POST-chat"), ("search", "GET-search")] {
        let of = |result: &RunResult, class: &str, column: &str| {
            let all = result.summary_averages();
            all.iter().find(|row| row.keys[0] == class).and_then(|row| row.mean(column)).unwrap()
        };
        for (column, within) in [
            ("latency_mean_s", 0.04),
            ("latency_p50_s", 0.05),
            ("latency_p99_s", 0.12),
            ("throughput_per_s", 0.06),
        ] {
            close(&format!("{column} of {is}"), of(&imported, is, column), of(&result, was, column), within);
        }
    }

    // Replayed, every request comes when it came, as long as it was.
    let options = ImportOptions { replay: Some("imported".into()), ..ImportOptions::default() };
    let replayed = file.import(&options).unwrap();
    let [(name, trace)] = &replayed.traces[..] else { panic!("{:?}", replayed.traces.len()) };
    assert_eq!(name, "imported.gateway.csv");
    assert_eq!(trace.lines().count(), result.outputs[0].births.len() + 1);
    std::fs::write(file.0.path().join(name), trace).unwrap();
    let again = run(&read(&replayed.text), &RunOptions { births: true, ..RunOptions::default() });
    assert_eq!(again.outputs[0].births.len(), result.outputs[0].births.len());
}

#[test]
fn packed_and_cut_files_are_read_as_far_as_they_go() {
    let (_, text) = recorded(10);
    let lines: Vec<&str> = text.lines().take(400).collect();
    let text = lines.join("\n");
    let plain = File::new(&text).import(&ImportOptions::default()).unwrap();
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(text.as_bytes()).unwrap();
    let file = File::new("");
    std::fs::write(file.path(), packer.finish().unwrap()).unwrap();
    assert_eq!(file.import(&ImportOptions::default()).unwrap(), plain);
    assert_eq!(File::new(&format!("\u{feff}{text}")).import(&ImportOptions::default()).unwrap(), plain);
    // One document in all, over several lines.
    let spans: Vec<Value> = lines
        .iter()
        .flat_map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["resourceSpans"].as_array().unwrap().clone()
        })
        .collect();
    let document = serde_json::to_string_pretty(&json!({ "resourceSpans": spans })).unwrap();
    assert_eq!(File::new(&document).import(&ImportOptions::default()).unwrap(), plain);
    // A collector that still writes.
    let cut = File::new(&text[..text.len() - 10]).import(&ImportOptions::default()).unwrap();
    assert_eq!(cut.spans, plain.spans - 1);
    assert!(cut.notes.iter().any(|note| note.contains("ends within a line")), "{:?}", cut.notes);
    // A tenth was traced.
    let sampled = ImportOptions { sampled: Some(0.1), ..ImportOptions::default() };
    let sampled = File::new(&text).import(&sampled).unwrap();
    assert!(sampled.notes.iter().any(|note| note.contains("10.0000% of the requests were traced")));
}

/// A span of a service in a trace: id, parent, kind, name, milliseconds from and to.
fn span(
    service: &str,
    trace: u32,
    ids: (&str, &str),
    kind: u32,
    name: &str,
    ms: (u64, u64),
    attributes: Value,
) -> String {
    let at = |ms: u64| (1_700_000_000_000_000_000 + 1_000_000 * ms).to_string();
    let resource = json!({ "attributes": [attribute("service.name", json!({ "stringValue": service }))] });
    let span = json!({
        "traceId": format!("{trace:032x}"), "spanId": ids.0, "parentSpanId": ids.1, "kind": kind, "name": name,
        "startTimeUnixNano": at(ms.0), "endTimeUnixNano": at(ms.1), "attributes": attributes,
    });
    let spans = json!([{ "resource": resource, "scopeSpans": [{ "spans": [span] }] }]);
    format!("{}\n", json!({ "resourceSpans": spans }))
}

#[test]
fn models_databases_messages_circles_and_lost_spans() {
    let text = |value: &str| json!({ "stringValue": value });
    let mut lines = String::new();
    for number in 0..40_u32 {
        let start = 1_000 * u64::from(number);
        let at = |from: u64, to: u64| (start + from, start + to);
        let vllm = json!([
            attribute("gen_ai.request.model", text("meta-llama/Llama-3.1-8B-Instruct")),
            attribute("gen_ai.usage.prompt_tokens", json!({ "intValue": "100" })),
            attribute("gen_ai.usage.completion_tokens", json!({ "intValue": "21" })),
            attribute("gen_ai.latency.time_to_first_token", json!({ "doubleValue": 0.05 })),
        ]);
        let database =
            json!([attribute("db.system.name", text("postgresql")), attribute("db.namespace", text("shop"))]);
        lines += &span("api", number, ("01", ""), 2, "GET /a", at(0, 400), json!([]));
        lines += &span("api", number, ("02", "01"), 3, "SELECT", at(10, 30), database.clone());
        lines += &span("api", number, ("03", "01"), 3, "SELECT", at(30, 50), database);
        lines += &span("api", number, ("04", "01"), 3, "POST", at(60, 320), json!([]));
        lines += &span("vllm", number, ("05", "04"), 2, "llm_request", at(65, 315), vllm);
        // The model asks the service that asked it: once in a while.
        if number % 10 == 0 {
            lines += &span("vllm", number, ("06", "05"), 3, "GET", at(70, 80), json!([]));
            lines += &span("api", number, ("07", "06"), 2, "GET /tool", at(71, 79), json!([]));
        }
        lines += &span(
            "api",
            number,
            ("08", "01"),
            4,
            "send",
            at(350, 352),
            json!([attribute("messaging.system", text("kafka"))]),
        );
        lines += &span("mailer", number, ("09", "08"), 5, "process", at(600, 640), json!([]));
        lines += &span("api", number, ("0a", "ff"), 1, "lost", at(1, 2), json!([]));
    }
    let file = File::new(&lines);
    let imported = file.import(&ImportOptions::default()).unwrap();
    let loaded = crate::parse(&imported.text, "imported.toml", ".".as_ref(), &[]).unwrap();
    let config = serde_json::to_value(&loaded.scenario).unwrap();
    let told = &imported.text;
    let steps = json!(["api-work", { "call": "postgresql-shop", "repeat": 2 }, "vllm"]);
    assert_eq!(config["components"]["api"]["steps"], steps, "{told}");
    // 250 ms, 50 of them to the first token, for the 20 others.
    assert_eq!(config["components"]["vllm"]["ttft"], "50ms", "{told}");
    assert_eq!(config["components"]["vllm"]["time_per_output_token"], "10ms", "{told}");
    // 400 ms without 40 of the database and 260 of the model.
    assert_eq!(config["components"]["api-work"]["service_time"], "100ms", "{told}");
    assert_eq!(config["links"]["api -> vllm"]["latency"], "5ms", "{told}");
    assert_eq!(config["traffic"]["process-traffic"]["entry"], "mailer", "{told}");
    assert_eq!(config["traffic"]["GET-a-traffic"]["prompt_tokens"], 100, "{told}");
    for part in
        ["40 messages worked on later", "40 spans left out whose parents", "4 calls of `vllm` to `api`"]
    {
        assert!(imported.notes.iter().any(|note| note.contains(part)), "{part} in {:?}", imported.notes);
    }
    let pools =
        file.import(&ImportOptions { gpu: Some("h100-sxm".into()), ..ImportOptions::default() }).unwrap();
    let said = "llama-3.1-8b on 1 replica of h100-sxm";
    assert!(pools.notes.iter().any(|note| note.contains(said)), "{:?}", pools.notes);
    assert!(
        pools.text.contains("kind = \"llm\"\nmodel = \"llama-3.1-8b\"\ngpu = \"h100-sxm\""),
        "{}",
        pools.text
    );
}

#[test]
fn what_is_no_trace_is_refused() {
    let refused = |text: &str, words: &[&str]| {
        let error = File::new(text).import(&ImportOptions::default()).unwrap_err().plain();
        for word in words {
            assert!(error.contains(word), "`{word}` in {error}");
        }
    };
    let one = span("api", 1, ("01", ""), 2, "GET", (0, 10), json!([]));
    refused("", &["traces.json", "empty", "resourceSpans"]);
    refused("name = \"a scenario\"", &["line 1", "not JSON", "OTLP"]);
    refused("{\"resourceMetrics\": []}", &["there are no traces in it"]);
    refused(&format!("{one}{one}{{\"resourceSpans\": 7}}\n{one}"), &["line 3", "invalid type"]);
    refused(&one[..40], &["ends before its JSON does"]);
    refused(&one, &["1 request from outside at one time", "some minutes"]);
    refused(&one.replace("1700000000010000000", "5"), &["at one time"]);
    // A jump in time is no reason to panic, and a share is that of the trace state.
    let kept = |share: &str| {
        one.replace("\"parentSpanId\"", &format!("\"traceState\":\"ot=th:{share}\",\"parentSpanId\""))
    };
    let two =
        kept("8") + &kept("c").replace("1700000000", "1700000900").replace(&format!("{:032x}", 1), "ff");
    let sampled = File::new(&two).import(&ImportOptions::default()).unwrap();
    assert!(
        sampled.notes.iter().any(|note| note.contains("from 25.0000% to 50.0000%")),
        "{:?}",
        sampled.notes
    );
    let error = import("nowhere.json".as_ref(), &ImportOptions::default()).unwrap_err().plain();
    assert!(error.contains("nowhere.json: cannot read it"), "{error}");
    let two = one.clone() + &span("api", 2, ("01", ""), 2, "GET", (500, 510), json!([]));
    for (options, word) in [
        (ImportOptions { sampled: Some(0.0), ..ImportOptions::default() }, "above 0"),
        (ImportOptions { sampled: Some(f64::NAN), ..ImportOptions::default() }, "above 0"),
    ] {
        let error = File::new(&two).import(&options).unwrap_err().plain();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn spans_that_come_twice_or_go_round_in_a_circle_are_left_out_and_told() {
    let mut lines = String::new();
    for number in 0..20_u32 {
        let start = 1_000 * u64::from(number);
        let one = |id, parent, kind, service| {
            span(service, number, (id, parent), kind, "GET", (start, start + 100), json!([]))
        };
        lines += &one("01", "", 2, "web");
        lines += &one("01", "", 2, "web");
        lines += &one("02", "03", 1, "web");
        lines += &one("03", "02", 1, "web");
    }
    let imported = File::new(&lines).import(&ImportOptions::default()).unwrap();
    assert_eq!((imported.requests, imported.spans), (20, 60));
    for part in ["20 spans left out that are there already", "40 spans left out below parents"] {
        assert!(imported.notes.iter().any(|note| note.contains(part)), "{part} in {:?}", imported.notes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever stands in a file: spans without parents or with themselves as such, circles, clocks that differ, children that
    /// outlive their parents.
    #[test]
    fn any_spans_make_a_scenario_that_checks_or_an_error(
        spans in vec((0..3_u32, 0..4_usize, 1..9_u32, 0..9_u32, 0..7_u32, 0..60_u64, 0..60_u64, any::<bool>()), 0..30),
    ) {
        let mut lines = String::new();
        for (trace, service, id, parent, kind, start, length, asks) in spans {
            let service = ["a", "nothing", "a-work", "b -> c"][service];
            let (id, parent) = (format!("{id:016x}"), format!("{parent:016x}"));
            let model = json!([attribute("gen_ai.usage.output_tokens", json!({ "intValue": length }))]);
            let attributes = if asks { model } else { json!([]) };
            lines += &span(service, trace, (&id, &parent), kind, service, (start, start + length), attributes);
        }
        // Importing checks what it has made.
        if let Err(error) = File::new(&lines).import(&ImportOptions::default()) {
            let told = error.plain();
            prop_assert!(told.contains("no rate can be told") || told.contains("is empty"), "{}\n{}", told, lines);
        }
    }
}

const TALKS: &str = r#"
    name = "Talks"
    run = { duration = "240s", drain = "20s", replications = 1 }
    [traffic.users]
    arrivals = { process = "poisson", rate = "4/s" }
    entry = "gateway"
    prompt_tokens = { uniform = { min = 50, max = 900 } }
    output_tokens = { uniform = { min = 5, max = 60 } }
    [traffic.users.sessions]
    turns = { uniform = { min = 1, max = 5 } }
    think = { uniform = { min = "1s", max = "3s" } }
    appended_tokens = { uniform = { min = 10, max = 40 } }
    [components.gateway]
    kind = "flow"
    steps = ["gateway-work", "model"]
    [components.gateway-work]
    kind = "service"
    service_time = "2ms"
    servers = 100
    [components.model]
    kind = "external_api"
    ttft = "300ms"
    time_per_output_token = "10ms"
"#;

#[test]
fn conversations_are_sessions() {
    let (result, text) = recorded_of(TALKS);
    let births = &result.outputs[0].births;
    let file = File::new(&text);
    let imported = file.import(&ImportOptions::default()).unwrap();
    let loaded = crate::parse(&imported.text, "imported.toml", file.0.path(), &[]).unwrap();
    let source = loaded.scenario.traffic.values().next().unwrap();
    let sessions = source.sessions.as_ref().unwrap();
    let close_to = |what: &str, law: &crate::units::NumberDist, mean: f64, within: f64| {
        close(what, law.build().unwrap().mean(), mean, within);
    };
    close("turns", sessions.mean_turns().unwrap(), 3.0, 0.04);
    close("think", sessions.think.build().unwrap().mean(), 2.0, 0.03);
    close_to("appended", sessions.appended_tokens.as_ref().unwrap(), 25.0, 0.03);
    close_to("prompts", source.prompt_tokens.as_ref().unwrap(), 475.0, 0.05);
    let rate = source.arrivals.rate_at(sim_core::time::SimDuration::ZERO).unwrap();
    close("rate", rate, 4.0, 0.1);
    assert!(imported.text.contains("conversations of `POST-chat` are sessions"), "{}", imported.text);

    // Replayed, whose turn is whose.
    let options = ImportOptions { replay: Some("talks".into()), ..ImportOptions::default() };
    let replayed = file.import(&options).unwrap();
    let (name, trace) = &replayed.traces[0];
    std::fs::write(file.0.path().join(name), trace).unwrap();
    let again = crate::parse(&replayed.text, "replayed.toml", file.0.path(), &[]).unwrap();
    let again = run(&again, &RunOptions { births: true, ..RunOptions::default() });
    let turns = |births: &[Birth]| {
        let mut sessions: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for birth in births {
            sessions.entry(birth.session.unwrap_or(birth.key)).or_default().push(birth.prompt_tokens);
        }
        let mut prompts: Vec<Vec<u32>> = sessions.into_values().collect();
        prompts.sort();
        prompts
    };
    assert_eq!(turns(&again.outputs[0].births), turns(births));
}
