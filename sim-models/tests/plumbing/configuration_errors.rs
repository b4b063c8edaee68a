//! What cannot be simulated is told with its place and with what would do.

use super::*;

fn check(text: &str, path: &[&str], message: &str, help: &str) {
    let error = refusal(text);
    assert_eq!(error.path, path, "{error}");
    assert!(error.message.contains(message), "{error}");
    assert!(error.help.as_ref().is_some_and(|text| text.contains(help)), "{error}");
}

fn edge_and_db() -> String {
    format!("{}{}", flow("edge", "\"db\""), service("db", "service_time = \"1ms\""))
}

#[test]
fn unknown_components() {
    let known = "expected one of edge, db";
    let text = each_second(&edge_and_db());
    check(
        &text.replace("entry = \"edge\"", "entry = \"egde\""),
        &["traffic", "web", "entry"],
        "unknown component `egde`",
        known,
    );
    for (steps, place) in [
        ("\"db\", \"bd\"", &["components", "edge", "steps", "1"][..]),
        ("{ call = \"bd\" }", &["components", "edge", "steps", "0", "call"]),
        ("{ parallel = [\"db\", \"bd\"] }", &["components", "edge", "steps", "0", "parallel", "1"]),
    ] {
        check(
            &text.replace("steps = [\"db\"]", &format!("steps = [{steps}]")),
            place,
            "unknown component `bd`",
            known,
        );
    }
    // A traffic source cannot be called.
    check(
        &text.replace("[\"db\"]", "[\"web\"]"),
        &["components", "edge", "steps", "0"],
        "unknown component `web`",
        known,
    );
}

#[test]
fn cycles_of_calls() {
    let text = each_second(&format!("{}{}{}", flow("edge", "\"a\""), flow("a", "\"b\""), flow("b", "\"a\"")));
    check(&text, &["components", "b", "steps", "0"], "a cycle of calls: a -> b -> a", "`repeat`");
    let text = each_second(&flow("edge", "\"edge\""));
    check(&text, &["components", "edge", "steps", "0"], "edge -> edge", "`repeat`");
    // Two ways to one component are none.
    let diamond = format!(
        "{}{}{}{}",
        flow("edge", "\"a\", \"b\""),
        flow("a", "\"db\""),
        flow("b", "\"db\""),
        service("db", "service_time = \"1ms\"")
    );
    assert_all(&simulate(&each_second(&diamond)), Outcome::Ok);
}

#[test]
fn links_that_nobody_uses() {
    let text = each_second(&edge_and_db());
    for (name, message, help) in [
        ("web -> db", "`web` never calls `db`", "`web` calls edge"),
        ("db -> edge", "`db` never calls `edge`", "`db` calls nobody"),
        ("edge -> bd", "unknown component `bd`", "expected one of web, edge, db"),
        ("edge to db", "does not name a link", "\"caller -> callee\""),
    ] {
        check(&format!("{text}{}", link(name, "latency = \"1ms\"")), &["links", name], message, help);
    }
    let twice = format!("{text}{}{}", link("edge -> db", ""), link("edge->db", ""));
    let error = refusal(&twice);
    assert_eq!(error.path, ["links", "edge->db"]);
    assert!(error.message.contains("twice"), "{error}");
}

#[test]
fn shares_that_do_not_sum_to_1() {
    for key in ["priority", "tenants"] {
        let with = |shares: &str| {
            each_second(&edge_and_db()).replace("entry =", &format!("{key} = {{ {shares} }}\nentry ="))
        };
        check(&with("a = 0.5, b = 0.4"), &["traffic", "web", key], "the shares sum to 0.9", "sum to 1");
        check(
            &with("a = 1.5, b = -0.5"),
            &["traffic", "web", key, "b"],
            "the share of `b` is -0.5",
            "from 0 to 1",
        );
    }
}

#[test]
fn times_of_zero() {
    let text = each_second(&edge_and_db());
    check(
        &format!("{text}{}", link("edge->db", "timeout = \"0s\"")),
        &["links", "edge->db", "timeout"],
        "a timeout of 0",
        "a time above 0",
    );
    check(
        &text.replace("entry =", "deadline = \"0s\"\nentry ="),
        &["traffic", "web", "deadline"],
        "a deadline of 0",
        "a time above 0",
    );
}

#[test]
fn faults_of_what_is_not_there() {
    let text = each_second(&edge_and_db());
    let fault = |fault: &str| format!("{text}[[fault]]\nat = \"1s\"\n{fault}\n");
    check(
        &fault("target = \"bd\"\nkind = \"crash\""),
        &["fault", "0", "target"],
        "unknown component `bd`",
        "edge, db",
    );
    check(
        &fault("target = \"web\"\nkind = \"crash\""),
        &["fault", "0", "target"],
        "unknown component `web`",
        "edge, db",
    );
    check(
        &fault("target = \"db\"\nkind = \"slow\""),
        &["fault", "0", "factor"],
        "needs a `factor`",
        "above 0",
    );
    check(
        &fault("target = \"db\"\nkind = \"slow\"\nfactor = -2"),
        &["fault", "0", "factor"],
        "-2",
        "above 0",
    );
    let error = refusal(&fault("target = \"db\"\nkind = \"crash\"\nfactor = 2"));
    assert_eq!(error.path, ["fault", "0", "factor"]);
}

#[test]
fn flows_and_names_that_make_no_sense() {
    let with =
        |steps: &str| each_second(&edge_and_db()).replace("steps = [\"db\"]", &format!("steps = [{steps}]"));
    check(&with(""), &["components", "edge", "steps"], "without steps", "at least one");
    for (step, key, message, help) in [
        ("repeat = 0", "repeat", "0 is no count", "a whole number from 1"),
        ("repeat = 2.5", "repeat", "2.5 is no count", "a whole number from 1"),
        ("repeat = 2, answer_tokens = 9", "answer_tokens", "the step is none", "`appended_tokens`"),
    ] {
        let place = ["components", "edge", "steps", "0", key];
        check(&with(&format!("{{ call = \"db\", {step} }}")), &place, message, help);
    }
    check(&with("{ repeat = 2 }"), &["components", "edge", "steps", "0"], "calls one component", "parallel");
    check(
        &with("{ call = \"db\", parallel = [\"db\"] }"),
        &["components", "edge", "steps", "0"],
        "calls one component",
        "parallel",
    );
    check(
        &with("{ call = \"db\", classes = [\"vip\"] }"),
        &["components", "edge", "steps", "0", "classes"],
        "unknown class `vip`",
        "expected one of default",
    );
    check(
        &with("{ call = \"db\", classes = [] }"),
        &["components", "edge", "steps", "0", "classes"],
        "no class",
        "default",
    );
    check(&edge_and_db(), &["traffic"], "no traffic", "[traffic.NAME]");
    let twice = format!("{}{}", each_second(&edge_and_db()), service("web", "service_time = \"1ms\""));
    check(&twice, &["components", "web"], "also the name of a traffic source", "another name");
}
