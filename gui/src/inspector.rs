//! What can be set of a component, a traffic source or the calls between two: from the schema of scenarios.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::LazyLock;

use scenarios::Scenario;
use scenarios::language::path_text;
use scenarios::units::{Bytes, HourlyPrice, Money, Rate, Time, TokenPrice};
use serde_json::Value;

static SCHEMA: LazyLock<Value> = LazyLock::new(scenarios::schema);

/// A value that can be set.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    /// Where it is, as overrides name it.
    pub path: String,
    /// Its name, under those of the tables around it.
    pub name: String,
    /// What it does.
    pub what: String,
    /// What holds if it is not set; empty where it must be set or nothing is said of it.
    pub default: String,
    /// As TOML; none where it is not set.
    pub value: Option<String>,
    /// The words it may be; empty where there are others.
    pub choices: Vec<String>,
    /// From where to where it may be dragged, if it is a number.
    pub range: RangeInclusive<f64>,
}

/// A thing with values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Thing {
    /// What it is: `component llm` or `calls web -> llm`.
    pub title: String,
    /// What that does.
    pub what: String,
    pub fields: Vec<Field>,
}

/// All that can be set of what has a name in the system: itself, and the calls that it makes. Of `a -> b`, the calls.
pub(crate) fn things(scenario: &Scenario, name: &str) -> Vec<Thing> {
    let Ok(all) = serde_json::to_value(scenario) else { return Vec::new() };
    let definition = |name: &str| &SCHEMA["$defs"][name];
    let mut things = Vec::new();
    if name.contains(" -> ") {
        let value = all["links"].get(name).cloned().unwrap_or_else(|| Value::Object(Default::default()));
        return vec![thing("calls", &["links", name], definition("LinkConfig"), &value)];
    }
    if let Some(traffic) = all["traffic"].get(name) {
        things.push(thing("traffic", &["traffic", name], definition("TrafficConfig"), traffic));
    }
    if let Some(component) = all["components"].get(name) {
        let kind = component["kind"].as_str().unwrap_or_default();
        let alternatives = definition("ComponentConfig")["oneOf"].as_array().map_or(&[][..], Vec::as_slice);
        let own = alternatives.iter().find(|one| one["properties"]["kind"]["const"] == kind);
        let title = kind.replace('_', " ");
        things.push(thing(&title, &["components", name], own.unwrap_or(&Value::Null), component));
    }
    let entry = all["traffic"].get(name).and_then(|traffic| traffic["entry"].as_str()).map(str::to_owned);
    let callees = scenario.components.get(name).into_iter().flat_map(|component| component.callees());
    let callees = callees.map(|(_, callee)| callee.to_owned());
    let mut seen: Vec<String> = Vec::new();
    for callee in entry.into_iter().chain(callees) {
        let link = format!("{name} -> {callee}");
        if seen.contains(&link) {
            continue;
        }
        let value = all["links"].get(&link).cloned().unwrap_or_else(|| Value::Object(Default::default()));
        things.push(thing(&format!("calls {link}"), &["links", &link], definition("LinkConfig"), &value));
        seen.push(link);
    }
    things
}

fn thing(title: &str, path: &[&str], schema: &Value, value: &Value) -> Thing {
    let path: Vec<String> = path.iter().map(|key| (*key).to_owned()).collect();
    let mut fields = Vec::new();
    let schema = resolved(schema);
    for (key, own) in
        schema["properties"].as_object().into_iter().flatten().filter(|(_, own)| own["const"].is_null())
    {
        field(&path, "", key, own, value.get(key), &mut fields);
    }
    // What is set first: it is what makes this one what it is.
    fields.sort_by_key(|field| field.value.is_none());
    let what = schema["description"].as_str().unwrap_or_default().to_owned();
    Thing { title: title.to_owned(), what, fields }
}

/// What a reference, or an alternative to nothing, stands for.
fn resolved(schema: &Value) -> &Value {
    if let Some(name) = schema["$ref"].as_str().and_then(|text| text.strip_prefix("#/$defs/")) {
        return resolved(&SCHEMA["$defs"][name]);
    }
    let alternatives = schema["anyOf"].as_array().into_iter().flatten();
    let mut others = alternatives.filter(|one| one["type"] != "null");
    match (others.next(), others.next()) {
        (Some(one), None) => resolved(one),
        _ => schema,
    }
}

fn choices(schema: &Value) -> Vec<String> {
    let schema = resolved(schema);
    let plain = schema["enum"].as_array().into_iter().flatten();
    let told = schema["oneOf"].as_array().into_iter().flatten().map(|one| &one["const"]);
    let all: Vec<&Value> = plain.chain(told).collect();
    let words: Option<Vec<String>> = all.iter().map(|one| one.as_str().map(str::to_owned)).collect();
    words.unwrap_or_default()
}

/// Where numbers may be; those with a unit are never negative.
fn range(schema: &Value) -> RangeInclusive<f64> {
    let schema = resolved(schema);
    let bound = |key: &str| schema[key].as_f64();
    let least = if schema["type"] == "string" { 0.0 } else { f64::NEG_INFINITY };
    bound("minimum").unwrap_or(least)..=bound("maximum").unwrap_or(f64::INFINITY)
}

fn field(
    path: &[String],
    within: &str,
    key: &str,
    schema: &Value,
    value: Option<&Value>,
    fields: &mut Vec<Field>,
) {
    let mut path = path.to_vec();
    path.push(key.to_owned());
    let name = if within.is_empty() { key.to_owned() } else { format!("{within}.{key}") };
    let said = schema["description"].as_str().or_else(|| resolved(schema)["description"].as_str());
    let said = said.unwrap_or_default();
    // What is set within a table is set one by one.
    if let Some(table) = value.and_then(Value::as_object).filter(|table| !table.is_empty() && path.len() < 8)
    {
        let inner = resolved(schema);
        let mut alternatives = ["oneOf", "anyOf"].into_iter().filter_map(|of| inner[of].as_array()).flatten();
        let inner = alternatives.find(|one| fits(resolved(one), table)).map_or(inner, resolved);
        for (key, value) in table {
            let own = &inner["properties"][key];
            // What tells kinds apart is no value of its own.
            if own["const"].is_null() {
                let own = if own.is_null() { inner } else { own };
                self::field(&path, &name, key, own, Some(value), fields);
            }
        }
        return;
    }
    let default = said.split_once("Default: ").map_or("", |(_, rest)| rest).trim_end_matches('.');
    let default = match (default, &schema["default"]) {
        ("", Value::Null) => String::new(),
        ("", value) => toml_of(value),
        (said, _) => said.to_owned(),
    };
    fields.push(Field {
        path: path_text(&path),
        name,
        what: said.to_owned(),
        default,
        value: value.filter(|value| !value.is_null()).map(toml_of),
        choices: choices(schema),
        range: range(schema),
    });
}

/// Whether a table is one of this alternative.
fn fits(alternative: &Value, table: &serde_json::Map<String, Value>) -> bool {
    let Some(properties) = alternative["properties"].as_object() else { return false };
    let told = |key: &String| {
        properties.get(key).is_some_and(|own| own["const"].is_null() || own["const"] == table[key])
    };
    table.keys().all(told)
}

/// A value as a scenario file writes it.
fn toml_of(value: &Value) -> String {
    toml::Value::try_from(value).map_or_else(|_| value.to_string(), |value| value.to_string())
}

/// A number with what stands before and behind it: `"8/s"`, `$0.50/h`, `4`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Quantity {
    before: String,
    pub number: f64,
    behind: String,
}

impl Quantity {
    /// None where a value is not one number.
    pub fn of(value: &str) -> Option<Self> {
        let start = value.find(|c: char| c.is_ascii_digit() || c == '-')?;
        let (before, rest) = value.split_at(start);
        let end =
            rest.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '_'))).unwrap_or(rest.len());
        let (number, behind) = rest.split_at(end);
        let number = number.replace('_', "").parse().ok()?;
        // Words with a number in them are none: "h100-sxm", "llama-3.1-8b".
        let is_quiet = |text: &str| text.chars().all(|c| matches!(c, '"' | '$'));
        let is_unit = behind.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, '/' | '"' | '%' | ' '));
        (is_quiet(before) && is_unit).then(|| Self {
            before: before.to_owned(),
            number,
            behind: behind.to_owned(),
        })
    }

    /// Its unit.
    pub fn unit(&self) -> &str {
        self.behind.trim_matches(['"', ' '])
    }

    /// Whether it counts things: it has no unit and no fraction.
    pub fn is_whole(&self) -> bool {
        self.before.is_empty() && self.behind.is_empty() && self.number.fract() == 0.0
    }

    /// What stands before the number: the sign of a currency, or nothing.
    pub fn sign(&self) -> &str {
        self.before.trim_matches('"')
    }

    /// The number that is meant by what was typed: in this unit, or in another one of its kind.
    ///
    /// # Errors
    /// Why it is none, and what would be.
    pub fn read(&self, typed: &str) -> Result<f64, String> {
        let typed = typed.trim();
        let bare = typed.strip_prefix('$').filter(|_| self.sign() == "$").unwrap_or(typed).trim_start();
        if let Some(number) = bare.replace('_', "").parse().ok().filter(|number: &f64| number.is_finite()) {
            return Ok(number);
        }
        let sign = self.sign();
        let (one, typed) = (format!("{sign}1{}", self.behind.trim_matches('"')), format!("{sign}{bare}"));
        let kinds = [
            of_kind(&one, &typed, |time: Time| time.get().as_nanos() as f64),
            of_kind(&one, &typed, |bytes: Bytes| bytes.get() as f64),
            of_kind(&one, &typed, Rate::per_second),
            of_kind(&one, &typed, HourlyPrice::per_hour),
            of_kind(&one, &typed, TokenPrice::per_million),
            of_kind(&one, &typed, Money::dollars),
        ];
        let known = kinds.into_iter().flatten().next().filter(|_| self.before.starts_with('"'));
        known.unwrap_or_else(|| Err(format!("`{typed}` is not a number{}", self.in_unit())))
    }

    fn in_unit(&self) -> String {
        if self.unit().is_empty() { String::new() } else { format!(" in {}", self.unit()) }
    }

    /// The same with another number.
    pub fn with(&self, number: f64) -> String {
        format!("{}{number}{}", self.before, self.behind)
    }
}

/// What was typed, by one of a unit; none where the unit is not one of this kind.
fn of_kind<T: FromStr<Err: std::fmt::Display>>(
    one: &str,
    typed: &str,
    size: impl Fn(T) -> f64,
) -> Option<Result<f64, String>> {
    let one = size(one.parse().ok()?);
    Some(typed.parse().map(|typed| size(typed) / one).map_err(|error: T::Err| error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_in_the_library_can_be_inspected_and_set_to_what_it_is() {
        for one in scenarios::library() {
            let loaded = scenarios::parse(one.text, one.id, ".".as_ref(), &[]).unwrap();
            let scenario = &loaded.scenario;
            let mut count = 0;
            for name in scenario.traffic.keys().chain(scenario.components.keys()) {
                let things = things(scenario, name);
                assert!(!things.is_empty(), "{}: {name}", one.id);
                for field in things.iter().flat_map(|thing| &thing.fields) {
                    assert!(!field.what.is_empty(), "{}: {} says nothing", one.id, field.path);
                    let Some(value) = &field.value else { continue };
                    let again = loaded.with(&[format!("{}={value}", field.path)]);
                    let again =
                        again.unwrap_or_else(|error| panic!("{}: {}={value}: {error}", one.id, field.path));
                    assert_eq!(again.hash(), loaded.hash(), "{}: {}={value}", one.id, field.path);
                    count += 1;
                }
            }
            assert!(count > 3, "{}: {count} values", one.id);
        }
    }

    #[test]
    fn what_is_typed_in_another_unit_is_converted() {
        let read = |value: &str, typed: &str| Quantity::of(value).unwrap().read(typed);
        for (value, typed, number) in [
            ("\"100ms\"", "1s", 1_000.0),
            ("\"100ms\"", " 0.5 ", 0.5),
            ("\"100ms\"", "250us", 0.25),
            ("\"8/s\"", "600/min", 10.0),
            ("\"24GiB\"", "512MiB", 0.5),
            ("\"$0.50/h\"", "$2", 2.0),
            ("\"$0.50/h\"", "$730/mo", 1.0),
            ("\"$0.50/h\"", "730/mo", 1.0),
            ("\"$2/Mtok\"", "$0.5/ktok", 500.0),
            ("4", "1_000", 1_000.0),
        ] {
            assert_eq!(read(value, typed), Ok(number), "{value}: {typed}");
        }
        for (value, typed, said) in [
            ("\"100ms\"", "1x", "ns, us, ms, s"),
            ("\"100ms\"", "-1s", "negative"),
            ("\"100ms\"", "1GiB", "a duration"),
            ("\"8/s\"", "1s", "a rate"),
            ("4", "1s", "not a number"),
            ("4", "$1", "not a number"),
            ("4", "inf", "not a number"),
        ] {
            let error = read(value, typed).unwrap_err();
            assert!(error.contains(said), "{value}: {typed}: {error}");
        }
    }

    #[test]
    fn quantities_keep_their_unit() {
        let with = |value: &str| Quantity::of(value).map(|quantity| quantity.with(2.5));
        assert_eq!(with("\"8/s\"").as_deref(), Some("\"2.5/s\""));
        assert_eq!(with("\"$0.50/h\"").as_deref(), Some("\"$2.5/h\""));
        assert_eq!(with("4").as_deref(), Some("2.5"));
        assert_eq!(with("\"100ms\"").as_deref(), Some("\"2.5ms\""));
        assert!(Quantity::of("4").unwrap().is_whole() && !Quantity::of("4.5").unwrap().is_whole());
        for word in ["\"h100-sxm\"", "\"llama-3.1-8b\"", "\"multi_get\"", "[1, 2]", "true", "\"1e3 to 2e3\""]
        {
            assert_eq!(Quantity::of(word), None, "{word}");
        }
    }
}
