//! What is varied: paths and their values.

use crate::language::{shown, split_override};
use crate::results::columns::Kind;

/// Most values of an axis (assumption: a thousand times what a plot shows).
const MAX_LEVELS: u64 = 1_000_000;

/// Units in which a column of numbers may be; what else is behind numbers makes them names.
const UNITS: [&str; 21] = [
    "ns", "us", "ms", "s", "m", "min", "h", "d", "/s", "/min", "/h", "/d", "k/s", "M/s", "B", "KiB", "MiB",
    "GiB", "KB", "MB", "GB",
];

/// The pseudo path of the load, a multiple of the scenario's.
pub(crate) const SCALE: &str = "scale";
/// The pseudo path of the variant.
pub(crate) const VARIANT: &str = "variant";

const EXPECTED: &str = "expected PATH=VALUES: a list (components.db.servers=1,2,4), steps (8..64/8), a number of \
                        them (1..100 log 7, 0..1 linear 5), or, to draw from, a range (8..64, 0.1..10 log)";

/// What is wrong with an axis, and what would be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AxisError {
    pub message: String,
    pub help: Option<String>,
}

impl AxisError {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: Some(EXPECTED.to_owned()) }
    }

    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// One thing that is varied.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    /// Its path, as `--set` takes it, or [`SCALE`] or [`VARIANT`].
    pub path: String,
    pub values: Values,
    /// Name and type of its column: numbers where all values are, in the one unit they have.
    pub column: (String, Kind),
}

/// The values of an axis, as `--set` takes them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Values {
    /// These.
    Levels(Vec<String>),
    /// Any in between, to draw from.
    Range(Range),
}

/// An interval.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Range {
    /// As it was written.
    text: String,
    low: f64,
    high: f64,
    log: bool,
    /// Digits behind the point: 0 for whole numbers.
    decimals: Option<usize>,
    /// What is in front of numbers and behind them.
    affix: (String, String),
}

/// A number with what is in front of it and behind it: `$2.5/h`.
#[derive(Debug, Clone, PartialEq)]
struct Number {
    value: f64,
    /// Digits behind the point; none with an exponent.
    decimals: Option<usize>,
    affix: (String, String),
}

impl Number {
    fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let (prefix, rest) = text.strip_prefix('$').map_or(("", text), |rest| ("$", rest));
        let bytes = rest.as_bytes();
        let digits = |mut at: usize| {
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        let start = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
        let whole = digits(start);
        let mut end = whole;
        let mut decimals = Some(0);
        if bytes.get(whole) == Some(&b'.') && digits(whole + 1) > whole + 1 {
            end = digits(whole + 1);
            decimals = Some(end - whole - 1);
        }
        if end == start {
            return None;
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'-' | b'+')));
            let exponent = digits(end + 1 + sign);
            if exponent > end + 1 + sign {
                (end, decimals) = (exponent, None);
            }
        }
        let value = rest[..end].parse::<f64>().ok().filter(|value| value.is_finite())?;
        Some(Self { value, decimals, affix: (prefix.to_owned(), rest[end..].trim().to_owned()) })
    }
}

/// A number as it is written in a scenario; `decimals` digits behind the point, at most.
fn written(value: f64, decimals: Option<usize>, affix: &(String, String)) -> String {
    let number = match decimals {
        None => format!("{value}"),
        Some(0) => format!("{value:.0}"),
        Some(decimals) => {
            let text = format!("{value:.decimals$}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    };
    format!("{}{number}{}", affix.0, affix.1)
}

impl Range {
    /// The value at a share `u` of the range, from 0 to 1.
    fn at(&self, u: f64) -> String {
        let between = |low: f64, high: f64| match self.log {
            true => low * libm::pow(high / low, u),
            false => low + (high - low) * u,
        };
        if self.decimals == Some(0) {
            // Every whole number has a room of its own.
            let value = between(self.low, self.high + 1.0).floor().clamp(self.low, self.high);
            return written(value, Some(0), &self.affix);
        }
        let value = between(self.low, self.high);
        match self.affix.1.is_empty() {
            true => written(value, None, &self.affix),
            // Units are counted in integers: four digits, no more than they can have.
            false => {
                let digits = (0..9u8).find(|digits| value.abs() * libm::pow(10.0, f64::from(*digits)) >= 1e3);
                written(value, Some(digits.unwrap_or(9).into()), &self.affix)
            }
        }
    }
}

/// Splits at commas outside of quotes and brackets.
fn split_list(text: &str) -> Vec<&str> {
    let (mut items, mut start, mut depth, mut quote, mut escaped) = (Vec::new(), 0, 0i32, None, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth -= 1,
            (None, ',') if depth <= 0 => {
                items.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(text[start..].trim());
    items
}

/// An item of a list that is a range: its values, or the range itself. None for any other value.
fn range(item: &str) -> Result<Option<Values>, AxisError> {
    let Some((low_text, rest)) = item.split_once("..") else { return Ok(None) };
    let Some(low) = Number::read(low_text) else { return Ok(None) };
    let fault = |message: String| AxisError::new(format!("`{item}`: {message}"));
    let mut words = rest.split_whitespace();
    let (bound, law, count) = (words.next().unwrap_or_default(), words.next(), words.next());
    if let Some(word) = words.next() {
        return Err(fault(format!("there is `{word}` behind the range")));
    }
    let step = bound.rsplit_once('/').and_then(|(high, step)| Some((high, Number::read(step)?)));
    let (high_text, step) = step.map_or((bound, None), |(high, step)| (high, Some(step)));
    let high = Number::read(high_text).ok_or_else(|| fault(format!("`{high_text}` is no number")))?;
    let affix = [&low, &high].map(|number| number.affix.clone());
    let affix = match affix {
        [low, high] if low == high || low == Default::default() => high,
        [low, high] => {
            return Err(fault(format!(
                "from `{}{}` to `{}{}`: one unit is needed",
                low.0, low.1, high.0, high.1
            )));
        }
    };
    if low.value >= high.value {
        return Err(fault("the range ends before it begins".to_owned()));
    }
    let log = match law {
        None | Some("linear") => false,
        Some("log") if low.value > 0.0 => true,
        Some("log") => return Err(fault("a logarithmic range begins above 0".to_owned())),
        Some(other) => return Err(fault(format!("`{other}` is neither `log` nor `linear`"))),
    };
    let finest = |numbers: &[&Number]| {
        numbers.iter().map(|number| number.decimals).collect::<Option<Vec<_>>>()?.into_iter().max()
    };
    // Numbers with a unit are whole only where the unit is.
    let whole = affix.1.is_empty() || ["ns", "B"].contains(&affix.1.as_str());
    let decimals = finest(&[&low, &high]).filter(|decimals| *decimals == 0 && whole);
    if let Some(step) = step {
        if law.is_some() {
            return Err(fault("a step or `log` and a count, not both".to_owned()));
        }
        if step.value <= 0.0 || !(step.affix == affix || step.affix == Default::default()) {
            return Err(fault("the step must be above 0, in the unit of the range".to_owned()));
        }
        let steps = ((high.value - low.value) / step.value + 1e-9).floor();
        if steps >= MAX_LEVELS as f64 {
            return Err(fault(format!("more than {MAX_LEVELS} values")));
        }
        let decimals = finest(&[&low, &step]);
        let level = |at: u64| written(low.value + step.value * at as f64, decimals, &affix);
        return Ok(Some(Values::Levels((0..=steps as u64).map(level).collect())));
    }
    let Some(count) = count else {
        return Ok(Some(Values::Range(Range {
            text: item.to_owned(),
            low: low.value,
            high: high.value,
            log,
            decimals,
            affix,
        })));
    };
    let count = count.parse::<u64>().ok().filter(|count| (2..=MAX_LEVELS).contains(count));
    let count =
        count.ok_or_else(|| fault(format!("expected a count from 2 to {MAX_LEVELS} behind the law")))?;
    let level = |at: u64| {
        let u = at as f64 / (count - 1) as f64;
        let value = match (at, log) {
            (0, _) => low.value,
            (at, _) if at == count - 1 => high.value,
            (_, true) => low.value * libm::pow(high.value / low.value, u),
            (_, false) => low.value + (high.value - low.value) * u,
        };
        let digits = (0..12u8).find(|digits| value.abs() * libm::pow(10.0, f64::from(*digits)) >= 1e3);
        let decimals = decimals.or_else(|| digits.map(usize::from));
        written(value, decimals, &affix)
    };
    let mut levels: Vec<String> = (0..count).map(level).collect();
    levels.dedup();
    Ok(Some(Values::Levels(levels)))
}

impl Values {
    /// Reads what is behind `PATH=`.
    pub fn read(text: &str) -> Result<Self, AxisError> {
        let items = split_list(text);
        let mut levels = Vec::new();
        for item in &items {
            if item.is_empty() {
                return Err(AxisError::new(format!("a value is missing in `{text}`")));
            }
            match range(item)? {
                Some(Self::Levels(more)) => levels.extend(more),
                Some(whole) if items.len() == 1 => return Ok(whole),
                Some(_) => {
                    return Err(AxisError::new(format!(
                        "`{item}` in a list says no values: it needs a step or a count"
                    )));
                }
                None => levels.push((*item).to_owned()),
            }
        }
        Ok(Self::Levels(levels))
    }

    /// Reads an entry of `[sweep]`: an array, or a text as of the command line.
    pub fn of_json(value: &serde_json::Value) -> Result<Self, AxisError> {
        let literal = |value: &serde_json::Value| toml::Value::try_from(value).map(|value| value.to_string());
        match value {
            serde_json::Value::String(text) => Self::read(text),
            serde_json::Value::Array(items) if !items.is_empty() => {
                let levels = items.iter().map(literal).collect::<Result<_, _>>();
                levels.map(Self::Levels).map_err(|error| AxisError::new(error.to_string()))
            }
            serde_json::Value::Array(_) => Err(AxisError::new("no values")),
            other => literal(other)
                .map(|level| Self::Levels(vec![level]))
                .map_err(|error| AxisError::new(error.to_string())),
        }
    }

    /// Reads what [`Values::to_json`] wrote.
    pub fn of_manifest(value: &serde_json::Value) -> Result<Self, AxisError> {
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        match value {
            serde_json::Value::Array(levels) => {
                let levels: Option<Vec<String>> = levels.iter().map(text).collect();
                levels.map(Self::Levels).ok_or_else(|| AxisError::new("values that are no texts"))
            }
            other => Self::read(other.as_str().unwrap_or_default()),
        }
    }

    /// How they are written in a manifest.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Levels(levels) => serde_json::json!(levels),
            Self::Range(range) => serde_json::json!(range.text),
        }
    }
}

impl Axis {
    /// Reads `PATH=VALUES`.
    pub fn read(text: &str) -> Result<Self, AxisError> {
        let (path, values) =
            split_override(text).map_err(|(message, _)| AxisError::new(format!("`{text}`: {message}")))?;
        Self::new(path, Values::read(values)?)
    }

    /// An axis whose values are known.
    pub fn new(path: String, values: Values) -> Result<Self, AxisError> {
        if let Values::Levels(levels) = &values {
            for (number, level) in levels.iter().enumerate() {
                shown(level).map_err(|message| AxisError::new(format!("`{level}`: {message}")))?;
                if path == SCALE && multiple(level).is_none() {
                    let error = AxisError::new(format!("`{level}` is no multiple of the load"));
                    return Err(error.help("expected numbers above 0, such as scale=1,3,10"));
                }
                if levels.len() <= 1_000 && levels[..number].contains(level) {
                    return Err(AxisError::new(format!("the value `{level}` is there twice")));
                }
            }
        }
        let pseudo = [SCALE, VARIANT].contains(&path.as_str());
        match &values {
            Values::Range(range)
                if pseudo && (path == VARIANT || range.low <= 0.0 || range.affix != Default::default()) =>
            {
                Err(AxisError::new(format!("`{}` is no range of {path}s", range.text)).help(
                    "expected multiples above 0 (scale=1..10) or names of variants (variant=base,after)",
                ))
            }
            _ => Ok(Self { column: column(&path, &values), path, values }),
        }
    }

    /// Values of a grid; none where they are to be drawn.
    pub fn levels(&self) -> Option<&[String]> {
        match &self.values {
            Values::Levels(levels) => Some(levels),
            Values::Range(_) => None,
        }
    }

    /// The value at a share `u` of the axis, above 0 and below 1.
    pub fn at(&self, u: f64) -> String {
        match &self.values {
            Values::Levels(levels) => {
                levels[((u * levels.len() as f64) as usize).min(levels.len() - 1)].clone()
            }
            Values::Range(range) => range.at(u),
        }
    }

    /// Some of its values, to be tried.
    pub fn samples(&self) -> Vec<String> {
        match &self.values {
            Values::Levels(levels) => {
                levels.iter().take(8).chain(levels.iter().skip(8).last()).cloned().collect()
            }
            Values::Range(range) => [0.0, 0.5, 1.0].map(|u| range.at(u)).to_vec(),
        }
    }
}

/// Name and type of the column of an axis.
fn column(path: &str, values: &Values) -> (String, Kind) {
    let path = path.to_owned();
    let numbers: Option<Vec<Number>> = match values {
        Values::Range(Range { decimals, affix, low, .. }) => {
            Some(vec![Number { value: *low, decimals: *decimals, affix: affix.clone() }])
        }
        Values::Levels(levels) => levels.iter().map(|level| Number::read(&shown(level).ok()?)).collect(),
    };
    let numbers = numbers.filter(|numbers| numbers.iter().all(|number| number.affix == numbers[0].affix));
    let Some(numbers) = numbers else { return (path, Kind::Text) };
    let (prefix, unit) = &numbers[0].affix;
    match prefix.as_str() {
        "" if unit.is_empty() => {
            let whole = numbers.iter().all(|number| number.decimals == Some(0) && number.value >= 0.0);
            (path, if whole { Kind::Count } else { Kind::Real })
        }
        "" if UNITS.contains(&unit.as_str()) => (format!("{path} ({unit})"), Kind::Real),
        "$" => (format!("{path} (USD{unit})"), Kind::Real),
        _ => (path, Kind::Text),
    }
}

/// A multiple of the load: `3`, `0.5`, `10x`.
pub(crate) fn multiple(text: &str) -> Option<f64> {
    let text = shown(text).ok()?;
    let number = text.strip_suffix(['x', 'X']).unwrap_or(&text).parse::<f64>().ok()?;
    (number.is_finite() && number > 0.0).then_some(number)
}

/// The number that a value is, without its unit.
pub(crate) fn number(text: &str) -> Option<f64> {
    Number::read(&shown(text).ok()?).map(|number| number.value)
}

/// So many times a number, in its unit; none for what is no number.
pub(crate) fn times(text: &str, factor: f64) -> Option<String> {
    let Number { value, affix, .. } = Number::read(text)?;
    let value = value * factor;
    let digits = (0..9u8).find(|digits| value.abs() * libm::pow(10.0, f64::from(*digits)) >= 1e3);
    Some(written(value, Some(digits.unwrap_or(9).into()), &affix))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn levels(text: &str) -> Vec<String> {
        match Values::read(text).unwrap() {
            Values::Levels(levels) => levels,
            range => panic!("{text}: {range:?}"),
        }
    }

    #[test]
    fn lists_and_ranges_are_read() {
        for (text, expected) in [
            ("1,2,4", &["1", "2", "4"][..]),
            ("fp16, \"a,b\"", &["fp16", "\"a,b\""]),
            ("[1, 2],{ a = [3, 4] }", &["[1, 2]", "{ a = [3, 4] }"]),
            ("8..32/8", &["8", "16", "24", "32"]),
            ("0.1..0.4/0.1", &["0.1", "0.2", "0.3", "0.4"]),
            ("1..100 log 7", &["1", "2", "5", "10", "22", "46", "100"]),
            ("1.0..100.0 log 3", &["1", "10", "100"]),
            ("0..1.0 linear 5", &["0", "0.25", "0.5", "0.75", "1"]),
            ("5/s..20/s/5", &["5/s", "10/s", "15/s", "20/s"]),
            ("10..40ms/10ms", &["10ms", "20ms", "30ms", "40ms"]),
            ("1,2,4..8/2", &["1", "2", "4", "6", "8"]),
            ("../a.csv,../b.csv", &["../a.csv", "../b.csv"]),
        ] {
            assert_eq!(levels(text), expected, "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, words) in [
            ("", "a value is missing"),
            ("1,,2", "a value is missing"),
            ("8..4/2", "ends before it begins"),
            ("0..8 log 3", "begins above 0"),
            ("1..8 cubic 3", "neither `log` nor `linear`"),
            ("1..8 log 1", "a count from 2"),
            ("1..8 log 3 4", "behind the range"),
            ("1..x", "no number"),
            ("1ms..2s", "one unit"),
            ("1..8/0", "above 0"),
            ("1..1e12/1", "more than"),
            ("1,2..4", "needs a step"),
        ] {
            let error = Values::read(text).unwrap_err();
            assert!(error.message.contains(words), "{text}: {error:?}");
            assert!(error.help.is_some());
        }
        for (text, words) in [
            ("a.b", "no `=`"),
            ("a=[1", "["),
            ("a=1,1", "twice"),
            ("scale=0,1", "multiple"),
            ("variant=1..2", "range"),
        ] {
            let error = Axis::read(text).unwrap_err();
            assert!(error.message.contains(words), "{text}: {error:?}");
        }
    }

    #[test]
    fn columns_are_numbers_where_values_are() {
        for (text, name, kind) in [
            ("a.b=1,2", "a.b", Kind::Count),
            ("a.b=0.5,1", "a.b", Kind::Real),
            ("a.b=10ms,20ms", "a.b (ms)", Kind::Real),
            ("a.b=500ms,1s", "a.b", Kind::Text),
            ("a.b=\"5/s\",\"6/s\"", "a.b (/s)", Kind::Real),
            ("a.b=$2/h,$3/h", "a.b (USD/h)", Kind::Real),
            ("a.b=fp16,fp8", "a.b", Kind::Text),
            ("links.web -> db.timeout=1s..2s", "links.\"web -> db\".timeout (s)", Kind::Real),
            ("a.b=1..9", "a.b", Kind::Count),
        ] {
            assert_eq!(Axis::read(text).unwrap().column, (name.to_owned(), kind), "{text}");
        }
    }

    #[test]
    fn every_value_of_a_range_is_reached_and_none_beyond() {
        let axis = Axis::read("a=1..4").unwrap();
        let drawn: Vec<String> = (0..8).map(|i| axis.at((f64::from(i) + 0.5) / 8.0)).collect();
        assert_eq!(drawn, ["1", "1", "2", "2", "3", "3", "4", "4"]);
        let axis = Axis::read("a=1ms..1s log").unwrap_err();
        assert!(axis.message.contains("one unit"));
        let axis = Axis::read("a=1ms..1000ms log").unwrap();
        assert_eq!((axis.at(0.5), axis.at(1.0 / 3.0)), ("31.62ms".to_owned(), "10ms".to_owned()));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*", other in "[0-9.,/ elogx$\"\\[\\]-]*") {
            for text in [&text, &other] {
                let _ = Axis::read(text);
                let _ = Axis::read(&format!("a={text}"));
            }
        }
    }
}
