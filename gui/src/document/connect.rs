//! Components that are made to call others.

use scenarios::{Scenario, ScenarioError};
use toml::{Table, Value};

use super::Document;
use super::structure::path;

/// What is wrong, and what to do about it.
fn refused(said: String, help: String) -> ScenarioError {
    ScenarioError::new(said).with_help(help)
}

/// The entries of a list of a component.
fn list(of: &Table, key: &str) -> Vec<Value> {
    of.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn table(of: &Table, key: &str) -> Table {
    of.get(key).and_then(Value::as_table).cloned().unwrap_or_default()
}

/// A table of one line, such as `{ to = "small" }`.
fn entry<const N: usize>(values: [(&str, Value); N]) -> Value {
    Value::Table(values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// Makes room for one more share, as large as the mean of the others, which leave it in proportion; what it is.
fn share<'a>(others: impl ExactSizeIterator<Item = &'a mut Value>) -> Value {
    let count = others.len() as f64;
    let mut sum = 0.0;
    for share in others {
        let own = share.as_float().or(share.as_integer().map(|whole| whole as f64)).unwrap_or_default();
        sum += own;
        *share = Value::Float(own * count / (count + 1.0));
    }
    Value::Float(sum / (count + 1.0))
}

/// The place of the model that a component answers as, the weakest first; none without one in the quality table.
fn rank(scenario: &Scenario, name: &str) -> Option<usize> {
    let quality = scenario.quality.as_ref()?;
    let answers_as = |model: &String| match quality.served_by.get(model) {
        Some(servers) => servers.iter().any(|server| server == name),
        None => model == name,
    };
    quality.models.iter().position(answers_as)
}

/// What has to be given before a router that judges answers can call `to`.
fn not_judged(scenario: &Scenario, from: &str, to: &str, or: &str) -> ScenarioError {
    let help = match &scenario.quality {
        None => format!("give a [quality] table that has `{to}` among its models{or}"),
        Some(quality) => format!(
            "name `{to}` in `quality.served_by`, under the model that it is (one of {}), or add it to `quality.models` \
             and to the joint table{or}",
            quality.models.join(", ")
        ),
    };
    let said = format!("`{from}` chooses by who is right, and nothing says which answers of `{to}` are");
    refused(said, format!("{help}; then connect them"))
}

/// What of a router is another value once it calls `to` as well.
fn routed(
    scenario: &Scenario,
    from: &str,
    to: &str,
    router: &Table,
) -> Result<(Vec<&'static str>, Value), ScenarioError> {
    let name = Value::String(to.to_owned());
    let policy = router.get("policy").and_then(Value::as_str).unwrap_or_default();
    let own = table(router, policy);
    Ok(match policy {
        "random" => {
            let mut shares = table(router, "shares");
            let part = share(shares.iter_mut().map(|(_, share)| share).collect::<Vec<_>>().into_iter());
            shares.insert(to.to_owned(), part);
            (vec!["shares"], Value::Table(shares))
        }
        // The harder half (an assumption, to be set in the inspector) goes there.
        "rules" => {
            let mut rules = list(router, "rules");
            rules.push(entry([("when", entry([("difficulty_above", Value::Float(0.5))])), ("to", name)]));
            (vec!["rules"], Value::Array(rules))
        }
        "strong_share" => (vec!["strong_share", "strong"], name),
        "classifier" => (vec!["classifier", "strong"], name),
        "semantic" => {
            let mut routes = list(&own, "routes");
            let shares = routes.iter_mut().filter_map(|route| route.get_mut("share"));
            let mut route = entry([("to", name), ("share", share(shares.collect::<Vec<_>>().into_iter()))]);
            // Where each route has a threshold of its own, that of the last (an assumption, as above).
            let threshold = routes.last().and_then(|last| last.get("score_threshold")).cloned();
            let is_common = own.contains_key("encoder") || own.contains_key("score_threshold");
            if let (Value::Table(route), Some(threshold), false) = (&mut route, threshold, is_common) {
                route.insert("score_threshold".to_owned(), threshold);
            }
            routes.push(route);
            (vec!["semantic", "routes"], Value::Array(routes))
        }
        "cheapest" => {
            if own.contains_key("accuracy_bound") && rank(scenario, to).is_none() {
                return Err(not_judged(
                    scenario,
                    from,
                    to,
                    &format!(", or take `accuracy_bound` from `{from}`"),
                ));
            }
            let mut models = list(&own, "models");
            // The dearest, and as fast as the one before (assumptions, as above).
            let latency = models.last().and_then(|last| last.get("latency")).cloned();
            let latency = latency.unwrap_or(Value::String("1s".to_owned()));
            models.push(entry([("to", name), ("latency", latency)]));
            (vec!["cheapest", "models"], Value::Array(models))
        }
        // What it is the weakest to be right on is sent to it (an assumption, as above).
        "confusion" => {
            let Some(own) = rank(scenario, to) else { return Err(not_judged(scenario, from, to, "")) };
            let mut rows: Vec<(String, Value)> = table(router, "confusion").into_iter().collect();
            let stronger = |(row, _): &(String, Value)| rank(scenario, row).is_some_and(|row| row > own);
            let place = rows.iter().position(stronger).unwrap_or(rows.len());
            rows.insert(place, (to.to_owned(), entry([(to, Value::Float(1.0))])));
            (vec!["confusion"], Value::Table(rows.into_iter().collect()))
        }
        policy => {
            let said = format!(
                "`{from}` is a router of the policy `{policy}` and cannot be made to call `{to}` here"
            );
            return Err(refused(said, "set whom it calls in the inspector".to_owned()));
        }
    })
}

impl Document {
    /// Makes one call another: the source its entry, a flow as its last step, and what hands calls on that instead.
    ///
    /// # Errors
    /// When it calls nobody by its nature, or already calls that one, unless it is a flow, which may call one several
    /// times; what has to be given first; what the simulator says of it.
    pub fn connect(&mut self, from: &str, to: &str) -> Result<(), ScenarioError> {
        let scenario = &self.loaded.scenario;
        let name = Value::String(to.to_owned());
        let again = || {
            let said = format!("`{from}` already calls `{to}`");
            refused(said, "connect it to another component, or change the call in the inspector".to_owned())
        };
        if let Some(traffic) = scenario.traffic.get(from) {
            if traffic.entry == to {
                return Err(again());
            }
            return self.set(&path(&["traffic", from, "entry"]), &name.to_string(), false);
        }
        let component = scenario
            .components
            .get(from)
            .ok_or_else(|| ScenarioError::new(format!("there is no component `{from}`")))?;
        if component.kind() != "flow" && component.callees().iter().any(|(_, callee)| *callee == to) {
            return Err(again());
        }
        let all = Table::try_from(component).unwrap_or_default();
        let (keys, value) = match component.kind() {
            "flow" => {
                let mut steps = list(&all, "steps");
                steps.push(name);
                (vec!["steps"], Value::Array(steps))
            }
            "cascade" => {
                // The last model has no verifier: a new one is asked first.
                let verifier = entry([
                    ("true_positive_rate", Value::Float(0.8)),
                    ("false_positive_rate", Value::Float(0.2)),
                ]);
                let mut stages = list(&all, "stages");
                stages.insert(0, entry([("call", name), ("verifier", verifier)]));
                (vec!["stages"], Value::Array(stages))
            }
            "router" => routed(scenario, from, to, &all)?,
            "semantic_cache" => (vec!["call"], name),
            "queue" => (vec!["target"], name),
            "pipeline" if all.get("materializes").is_some_and(Value::is_table) => {
                (vec!["materializes", "store"], name)
            }
            kind => {
                let kind = kind.replace('_', " ");
                let said = format!("`{from}` is a {kind} and cannot be made to call `{to}` here");
                let help = "put a flow before both, or set whom it calls in the inspector";
                return Err(refused(said, help.to_owned()));
            }
        };
        let keys: Vec<&str> = ["components", from].into_iter().chain(keys).collect();
        self.set(&path(&keys), &value.to_string(), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Document {
        Document::library("ten-times").unwrap()
    }

    /// With a router of its own in the place of the last one.
    fn with_router(document: &mut Document, own: &str) -> String {
        let router = "of_its_own";
        document
            .set(&format!("components.{router}"), &format!("{{ kind = \"router\", {own} }}"), false)
            .unwrap_or_else(|error| panic!("{own}: {error:?}"));
        router.to_owned()
    }

    fn calls(document: &Document, from: &str) -> Vec<String> {
        let callees = document.loaded.scenario.components[from].callees();
        callees.into_iter().map(|(_, callee)| callee.to_owned()).collect()
    }

    const SIMILARITY: &str =
        "same_intent = { mean = 0.8, sd = 0.1 }, different_intent = { mean = 0.2, sd = 0.1 }";

    #[test]
    fn routers_are_connected_by_their_policy() {
        let mut document = document();
        let (one, other) = (document.add("service", None).unwrap(), document.add("service", None).unwrap());
        let cases = [
            ("random", format!("shares = {{ {one} = 1 }}"), other.as_str()),
            (
                "rules",
                format!(
                    "default = \"{one}\", rules = [{{ when = {{ prompt_tokens_above = 1000 }}, to = \"{one}\" }}]"
                ),
                other.as_str(),
            ),
            // Models that the quality table knows.
            (
                "strong_share",
                "strong_share = { weak = \"small\", strong = \"small\", auc = 0.8, share = 0.4 }".to_owned(),
                "large",
            ),
            (
                "classifier",
                "classifier = { weak = \"small\", strong = \"small\", auc = 0.8, threshold = 0.4 }"
                    .to_owned(),
                other.as_str(),
            ),
            (
                "semantic",
                format!(
                    "default = \"{one}\", semantic = {{ encoder = \"openai\", routes = [{{ to = \"small\", share = 0.6 }}], {SIMILARITY} }}"
                ),
                other.as_str(),
            ),
            (
                "cheapest",
                "cheapest = { models = [{ to = \"small\", latency = \"300ms\" }] }".to_owned(),
                other.as_str(),
            ),
        ];
        for (policy, own, to) in &cases {
            let router = with_router(&mut document, &format!("policy = \"{policy}\", {own}"));
            document.connect(&router, to).unwrap_or_else(|error| panic!("{own}: {error:?}"));
            assert!(calls(&document, &router).iter().any(|callee| callee == to), "{own}");
            // Once is enough.
            let before = document.hash();
            let error = document.connect(&router, to).unwrap_err();
            assert_eq!(error.to_string(), format!("`{router}` already calls `{to}`"));
            assert_eq!(document.hash(), before);
        }
        let schema = scenarios::schema();
        let policies = schema["$defs"]["RouterPolicy"]["oneOf"].as_array().expect("the policies");
        for policy in policies.iter().map(|policy| policy["const"].as_str().expect("a name")) {
            let is_tried = cases.iter().any(|(tried, ..)| *tried == policy);
            assert!(is_tried || policy == "confusion", "{policy} is tried below or nowhere");
        }
    }

    #[test]
    fn shares_make_room() {
        let mut document = document();
        let services = [(); 3].map(|()| document.add("service", None).unwrap());
        let own =
            format!("policy = \"random\", shares = {{ {} = 0.75, {} = 0.25 }}", services[0], services[1]);
        let router = with_router(&mut document, &own);
        document.connect(&router, &services[2]).unwrap();
        let scenario = Table::try_from(&document.loaded.scenario).unwrap();
        let shares: Vec<f64> = services
            .iter()
            .map(|name| scenario["components"][&router]["shares"][name].as_float().unwrap())
            .collect();
        for (share, wanted) in shares.iter().zip([0.5, 0.5 / 3.0, 1.0 / 3.0]) {
            assert!((share - wanted).abs() < 1e-12, "{shares:?}");
        }
        // Of routes, what belongs to none stays that.
        let own = format!(
            "policy = \"semantic\", default = \"small\", semantic = {{ routes = [{{ to = \"{}\", share = 0.6, \
             score_threshold = 0.7 }}], {SIMILARITY} }}",
            services[0]
        );
        let router = with_router(&mut document, &own);
        document.connect(&router, &services[2]).unwrap();
        let scenario = Table::try_from(&document.loaded.scenario).unwrap();
        let routes = scenario["components"][&router]["semantic"]["routes"].as_array().unwrap();
        let figures = |key: &str| routes.iter().map(|route| route[key].as_float()).collect::<Vec<_>>();
        assert_eq!(figures("share"), [Some(0.3), Some(0.3)]);
        assert_eq!(figures("score_threshold"), [Some(0.7), Some(0.7)], "there is none for all");
    }

    /// Three models, of which the quality table knows two; a third component does what none does.
    fn judged() -> (Document, String) {
        let mut document = Document::library("model-routing").unwrap();
        let other = document.add("external_api", None).unwrap();
        (document, other)
    }

    #[test]
    fn who_is_right_has_to_be_known_first() {
        for own in [
            "policy = \"confusion\", confusion = { small = { small = 0.9, large = 0.1 }, large = { large = 1 } }",
            "policy = \"cheapest\", cheapest = { accuracy_bound = 0.5, models = [{ to = \"small\", latency = \"1s\" }] }",
        ] {
            let (mut document, other) = judged();
            let router = with_router(&mut document, own);
            let before = document.hash();
            let error = format!("{:?}", document.connect(&router, &other).unwrap_err());
            for part in [&other, "quality.served_by", "small, large"] {
                assert!(error.contains(part), "{error}");
            }
            assert_eq!(document.hash(), before);
            // Once it is given, they are connected.
            document.set("quality.served_by.large", &format!("[\"large\", \"{other}\"]"), false).unwrap();
            document.connect(&router, &other).unwrap_or_else(|error| panic!("{own}: {error:?}"));
            assert!(calls(&document, &router).contains(&other), "{own}");
        }
    }

    #[test]
    fn rows_of_a_confusion_table_stay_in_order() {
        let (mut document, other) = judged();
        document.set("quality.served_by.small", &format!("[\"small\", \"{other}\"]"), false).unwrap();
        let own = "policy = \"confusion\", confusion = { small = { small = 1 }, large = { large = 1 } }";
        let router = with_router(&mut document, own);
        document.connect(&router, &other).unwrap();
        let scenario = Table::try_from(&document.loaded.scenario).unwrap();
        let rows = scenario["components"][&router]["confusion"].as_table().unwrap();
        assert_eq!(rows.keys().collect::<Vec<_>>(), ["small", &other, "large"], "the weakest first");
    }

    #[test]
    fn only_a_flow_calls_another_again() {
        let mut document = document();
        let (one, flow) = (document.add("service", None).unwrap(), document.add("flow", None).unwrap());
        let steps = calls(&document, &flow);
        document.connect(&flow, &steps[0]).unwrap();
        assert_eq!(calls(&document, &flow), [steps[0].clone(), steps[0].clone()]);
        let source = document.loaded.scenario.traffic.keys().next().unwrap().clone();
        let entry = document.loaded.scenario.traffic[&source].entry.clone();
        let cache = document.add("semantic_cache", Some(&one)).unwrap();
        let queue = document.add("queue", Some(&one)).unwrap();
        for (from, to) in [(&source, &entry), (&cache, &one), (&queue, &one)] {
            let before = document.hash();
            let error = document.connect(from, to).unwrap_err();
            assert_eq!(error.to_string(), format!("`{from}` already calls `{to}`"));
            assert_eq!(document.hash(), before);
        }
        let error = document.connect(&one, &flow).unwrap_err();
        assert!(error.to_string().contains("is a service and cannot be made to call"), "{error}");
    }
}
