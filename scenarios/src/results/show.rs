//! Figures as people read them.

use super::Average;

/// The mean, with its half width where that is more than a tenth of a percent of it.
pub fn with_interval(average: Average, show: impl Fn(f64) -> String) -> String {
    match average.half_width.filter(|width| *width > average.mean.abs() * 1e-3) {
        Some(width) => format!("{} +-{}", show(average.mean), show(width)),
        None => show(average.mean),
    }
}

/// A figure that there may be none of.
pub fn optional(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

/// Three digits that matter.
pub fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A time, in the unit that suits it.
pub fn seconds(value: f64) -> String {
    let (factor, unit) = match value.abs() {
        0.0 => return "0 s".to_owned(),
        v if v >= 7200.0 => (1.0 / 3600.0, "h"),
        v if v >= 120.0 => (1.0 / 60.0, "min"),
        v if v >= 0.9995 => (1.0, "s"),
        v if v >= 0.9995e-3 => (1e3, "ms"),
        _ => (1e6, "us"),
    };
    format!("{} {unit}", digits(value * factor))
}

/// A share.
pub fn percent(value: f64) -> String {
    format!("{:.1}%", value * 100.0)
}

/// A number a second, or any other.
pub fn rate(value: f64) -> String {
    if value.abs() >= 1000.0 { count(value) } else { digits(value) }
}

/// A whole number with separators.
pub fn count(value: f64) -> String {
    let plain = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in plain.chars().enumerate() {
        if index > 0 && (plain.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

/// A number of things, with an `s` where it is not one.
pub fn plural(number: f64, one: &str) -> String {
    let shown = if number.fract() == 0.0 { count(number) } else { digits(number) };
    format!("{shown} {one}{}", if number == 1.0 { "" } else { "s" })
}

/// US dollars.
pub fn usd(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("${}", count(value)),
        v if v >= 0.095 || v == 0.0 => format!("${value:.2}"),
        _ => format!("${value:.5}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_units() {
        assert_eq!(
            [0.0, 1e-7, 0.0123, 1.0, 59.9, 600.0, 9000.0].map(seconds),
            ["0 s", "0.100 us", "12.3 ms", "1.00 s", "59.9 s", "10.0 min", "2.50 h"]
        );
        assert_eq!([0.0, 999.0, 1000.0, 1234567.0].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.0123, 2.5, 80_000.0].map(usd), ["$0.00", "$0.01230", "$2.50", "$80,000"]);
    }

    #[test]
    fn one_is_no_plural() {
        assert_eq!(
            [0.0, 1.0, 1.5, 12_000.0].map(|number| plural(number, "run")),
            ["0 runs", "1 run", "1.50 runs", "12,000 runs"]
        );
    }

    #[test]
    fn an_interval_is_shown_when_it_matters() {
        let average = |half_width| Average { mean: 2.0, half_width };
        assert_eq!(with_interval(average(None), digits), "2.00");
        assert_eq!(with_interval(average(Some(0.1)), digits), "2.00 +-0.100");
        assert_eq!(with_interval(average(Some(0.0001)), digits), "2.00");
    }
}
