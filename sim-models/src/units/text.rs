//! What the text forms share: splitting, exact decimals, the shortest form that reads back, serde.

use thiserror::Error;

/// A text that is not a value of the unit it should have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{value}` is not {what} ({reason}): expected {expected}")]
pub struct UnitError {
    /// The text, cut after 64 characters.
    pub value: String,
    /// What it should have been: `a duration`.
    pub what: &'static str,
    /// What is wrong with it.
    pub reason: &'static str,
    /// What is accepted, with an example.
    pub expected: &'static str,
}

/// What a unit type tells about its text form.
pub(super) trait Text: Sized {
    /// `a duration`
    const WHAT: &'static str;
    /// What is accepted, with an example.
    const EXPECTED: &'static str;
    /// The text form as a regular expression (JSON Schema).
    const PATTERN: &'static str;
    /// Example in the schema.
    const EXAMPLE: &'static str;

    fn error(value: impl ToString, reason: &'static str) -> UnitError {
        let value = value.to_string().chars().take(64).collect();
        UnitError { value, what: Self::WHAT, reason, expected: Self::EXPECTED }
    }
}

pub(super) const NO_NUMBER: &str = "no number in front";
pub(super) const NO_UNIT: &str = "no unit";
pub(super) const UNKNOWN_UNIT: &str = "unknown unit";
pub(super) const NEGATIVE: &str = "negative";
pub(super) const TOO_LARGE: &str = "too large";

/// A number without sign and exponent, and what follows it (spaces between them are dropped).
pub(super) fn split(text: &str) -> Result<(&str, &str), &'static str> {
    if text.starts_with('-') {
        return Err(NEGATIVE);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    if digits == 0 || number.len() > digits + 1 || number.starts_with('.') || number.ends_with('.') {
        return Err(NO_NUMBER);
    }
    Ok((number, unit.trim_start_matches(' ')))
}

/// `number` (as [`split`] gives it) times `unit`: the whole part, and whether a fraction is left and
/// is a half or more. In integers, so 0.1 is a tenth.
pub(super) fn times(number: &str, unit: u64) -> Result<(u64, Option<bool>), &'static str> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.trim_end_matches('0');
    // 18 digits behind the point: 10^18 times the largest unit stays below 2^127.
    if fraction.len() > 18 {
        return Err("more than 18 digits behind the point");
    }
    let parse = |digits: &str| if digits.is_empty() { Ok(0) } else { digits.parse::<u64>() };
    let whole = u128::from(parse(whole).map_err(|_| TOO_LARGE)?) * u128::from(unit);
    let scale = 10u128.pow(fraction.len() as u32);
    let part = u128::from(parse(fraction).map_err(|_| TOO_LARGE)?) * u128::from(unit);
    let total = u64::try_from(whole + part / scale).map_err(|_| TOO_LARGE)?;
    let rest = part % scale;
    Ok((total, (rest != 0).then_some(2 * rest >= scale)))
}

/// A decimal number times `unit`, rounded to the nearest integer; `None` when `number` is not a plain
/// decimal from 0 or the product does not fit.
pub(crate) fn decimal_times(number: &str, unit: u64) -> Option<u64> {
    match split(number) {
        Ok((number, "")) => {
            let (product, rest) = times(number, unit).ok()?;
            product.checked_add(u64::from(rest == Some(true)))
        }
        _ => None,
    }
}

/// The number before a unit as a float; the standard library rounds decimals correctly.
pub(super) fn float(number: &str) -> Result<f64, &'static str> {
    match number.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(TOO_LARGE),
    }
}

/// The shortest of `forms` that reads back as the same value; the first one of equal length.
pub(super) fn shortest(forms: impl IntoIterator<Item = String>, same: impl Fn(&str) -> bool) -> String {
    let mut best: Option<String> = None;
    for form in forms {
        if best.as_ref().is_none_or(|best| form.len() < best.len()) && same(&form) {
            best = Some(form);
        }
    }
    best.expect("the plain form reads back")
}

/// A number in plain decimals, and rounded to 15 significant digits in case the last ones are noise.
pub(super) fn decimals(value: f64) -> [String; 2] {
    let rounded = format!("{value:.14e}").parse::<f64>().unwrap_or(value);
    [format!("{value}"), format!("{rounded}")]
}

/// Serde and JSON Schema through the text form.
macro_rules! as_text {
    ($type:ident) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $type;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(<$type as $crate::units::text::Text>::EXPECTED)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<$type, E> {
                        use $crate::units::text::{NO_UNIT, Text};
                        Err(E::custom($type::error(number, NO_UNIT)))
                    }
                    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<$type, E> {
                        use $crate::units::text::{NO_UNIT, Text};
                        Err(E::custom($type::error(number, NO_UNIT)))
                    }
                    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<$type, E> {
                        use $crate::units::text::{NO_UNIT, Text};
                        Err(E::custom($type::error(number, NO_UNIT)))
                    }
                }
                // Any: a bare number must reach the visitor, which names the missing unit.
                deserializer.deserialize_any(Visitor)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                use $crate::units::text::Text;
                schemars::json_schema!({
                    "type": "string",
                    "pattern": $type::PATTERN,
                    "description": format!("{}: {}", $type::WHAT, $type::EXPECTED),
                    "examples": [$type::EXAMPLE],
                })
            }
        }
    };
}
pub(super) use as_text;
