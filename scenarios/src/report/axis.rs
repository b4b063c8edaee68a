//! Axes: their range, their ticks and what stands at them.

use crate::results::show;

/// What the values of an axis are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds; shown in the unit that suits the largest.
    Seconds,
    /// Shares; shown in percent.
    Share,
    /// US dollars.
    Usd,
    /// Multiples of something.
    Times,
    /// Numbers, in a unit of their own; empty for counts.
    Number(&'static str),
}

/// An axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// What it shows, without its unit.
    pub name: String,
    /// The unit of its values.
    pub unit: Unit,
    /// Whether equal ways are equal ratios; values that are not above 0 are left out.
    pub log: bool,
    /// It goes as far as this at least.
    pub reach: Option<f64>,
}

impl Axis {
    /// A linear axis.
    pub fn linear(name: impl Into<String>, unit: Unit) -> Self {
        Self { name: name.into(), unit, log: false, reach: None }
    }

    /// A logarithmic one.
    pub fn log(name: impl Into<String>, unit: Unit) -> Self {
        Self { name: name.into(), unit, log: true, reach: None }
    }

    /// The same, as far as a value at least.
    pub fn reaching(self, value: f64) -> Self {
        Self { reach: Some(value), ..self }
    }

    /// Whether a value has a place on it.
    pub fn shows(&self, value: f64) -> bool {
        value.is_finite() && (!self.log || value > 0.0)
    }
}

impl Unit {
    /// A value as people read it.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Seconds => show::seconds(value),
            Self::Share => show::percent(value),
            Self::Usd => show::usd(value),
            Self::Times => times(value),
            Self::Number("") => show::rate(value),
            Self::Number(unit) => format!("{} {unit}", show::rate(value)),
        }
    }
}

fn times(value: f64) -> String {
    let rounded = (value * 100.0).round() / 100.0;
    format!("{rounded}x")
}

/// An axis over its values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ruler {
    pub title: String,
    pub ticks: Vec<(f64, String)>,
    log: bool,
    from: f64,
    to: f64,
}

/// About as many ticks as this.
const TICKS: f64 = 6.0;

impl Ruler {
    /// Over all of the values, of which there is one at least.
    pub(super) fn over(axis: &Axis, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values
            .chain(axis.reach)
            .filter(|value| axis.shows(*value))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low <= high { (low, high) } else { (1.0, 1.0) };
        if axis.log { Self::log(axis, low, high) } else { Self::linear(axis, low, high) }
    }

    fn linear(axis: &Axis, low: f64, high: f64) -> Self {
        let largest = low.abs().max(high.abs());
        let (factor, unit) = match axis.unit {
            Unit::Seconds => match largest {
                v if v >= 7200.0 => (3600.0, "h"),
                v if v >= 300.0 => (60.0, "min"),
                v if v >= 1.0 || v == 0.0 => (1.0, "s"),
                v if v >= 1e-3 => (1e-3, "ms"),
                _ => (1e-6, "us"),
            },
            Unit::Share => (0.01, "%"),
            Unit::Usd => (1.0, "USD"),
            Unit::Times => (1.0, "x"),
            Unit::Number(unit) => (1.0, unit),
        };
        // A share beyond all is none; other axes begin at 0.
        let (low, high) = (low.min(0.0) / factor, high / factor);
        let high = if high > low { high } else { low + 1.0 };
        let step = nice(high - low, &[1.0, 2.0, 2.5, 5.0]);
        let (from, to) = ((low / step).floor() * step, (high / step - 1e-9).ceil() * step);
        // What is known to end somewhere ends there.
        let to = if axis.reach == Some(high * factor) { high } else { to };
        let decimals = decimals(step);
        let number = |tick: f64| {
            if decimals == 0 { show::count(tick) } else { format!("{tick:.decimals$}") }
        };
        let count = ((to - from) / step + 1e-9).floor() as u64;
        let ticks = (0..=count).map(|i| {
            let tick = from + step * i as f64;
            // Minus nothing is nothing.
            let tick = if tick.abs() < step * 1e-6 { 0.0 } else { tick };
            (tick * factor, number(tick))
        });
        Self {
            title: titled(&axis.name, unit),
            ticks: ticks.collect(),
            log: false,
            from: from * factor,
            to: to * factor,
        }
    }

    fn log(axis: &Axis, low: f64, high: f64) -> Self {
        let (low, high) = if high / low > 1.3 { (low, high) } else { (low / 1.5, high * 1.5) };
        let (from, to) = (low / 1.08, high * 1.08);
        let decade = |value: f64| libm::log10(value).floor() as i32;
        let marks: &[f64] = match to / from {
            ..30.0 => &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
            ..3e3 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let mut ticks: Vec<f64> = (decade(from)..=decade(to))
            .flat_map(|power| marks.iter().map(move |mark| mark * libm::pow(10.0, f64::from(power))))
            .filter(|tick| (from..=to).contains(tick))
            .collect();
        // So short an axis is nearly a linear one.
        if ticks.len() < 4 {
            let step = nice(to - from, &[1.0, 2.0, 5.0]);
            let [first, last] = [(from / step).ceil(), (to / step).floor()].map(|number| number as u64);
            ticks = (first..=last).map(|number| number as f64 * step).collect();
        }
        let ticks = ticks.into_iter().map(|tick| (tick, short(tick, axis.unit)));
        // The other units stand at the ticks.
        let unit = match axis.unit {
            Unit::Number(unit) if !unit.is_empty() => format!("{unit}, log scale"),
            Unit::Usd => "USD, log scale".to_owned(),
            _ => "log scale".to_owned(),
        };
        Self { title: titled(&axis.name, &unit), ticks: ticks.collect(), log: true, from, to }
    }

    /// Where a value lies, from 0 to 1.
    pub(super) fn place(&self, value: f64) -> f64 {
        if self.log {
            libm::log(value / self.from) / libm::log(self.to / self.from)
        } else {
            (value - self.from) / (self.to - self.from)
        }
    }

    /// The largest value that has a place.
    pub(super) fn end(&self) -> f64 {
        self.to
    }
}

fn titled(name: &str, unit: &str) -> String {
    if unit.is_empty() { name.to_owned() } else { format!("{name} ({unit})") }
}

/// A round number, about a sixth of the span: one of the marks, and zeros.
fn nice(span: f64, marks: &[f64]) -> f64 {
    let rough = span / TICKS;
    let power = libm::pow(10.0, libm::log10(rough).floor());
    let mark = marks.iter().find(|mark| *mark * power >= rough * (1.0 - 1e-9));
    mark.unwrap_or(&10.0) * power
}

/// Decimals that multiples of a step need.
fn decimals(step: f64) -> usize {
    let has = |decimals: &usize| {
        let scaled = step * libm::pow(10.0, *decimals as f64);
        (scaled - scaled.round()).abs() < 1e-6 * scaled
    };
    (0..12).find(has).unwrap_or(12)
}

/// At most two digits and a unit.
fn short(tick: f64, unit: Unit) -> String {
    let number = |value: f64| {
        let rounded = format!("{value:.1}");
        if value >= 1000.0 {
            show::count(value)
        } else if value >= 0.95 {
            rounded.strip_suffix(".0").unwrap_or(&rounded).to_owned()
        } else {
            // As many digits as there are zeros, and two more.
            let text = format!("{value:.*}", (-libm::log10(value).floor()) as usize + 1);
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    };
    match unit {
        Unit::Seconds => match tick {
            v if v >= 3600.0 => format!("{} h", number(v / 3600.0)),
            v if v >= 0.9995 => format!("{} s", number(v)),
            v if v >= 0.9995e-3 => format!("{} ms", number(v * 1e3)),
            v => format!("{} us", number(v * 1e6)),
        },
        Unit::Share => format!("{}%", number(100.0 * tick)),
        Unit::Times => format!("{}x", number(tick)),
        Unit::Usd | Unit::Number(_) => number(tick),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis, values: &[f64]) -> (String, Vec<String>) {
        let ruler = Ruler::over(axis, values.iter().copied());
        assert!(ruler.ticks.len() >= 2, "{ruler:?}");
        for value in values.iter().filter(|value| axis.shows(**value)) {
            assert!((-1e-9..=1.0 + 1e-9).contains(&ruler.place(*value)), "{value} on {ruler:?}");
        }
        (ruler.title.clone(), ruler.ticks.into_iter().map(|(_, label)| label).collect())
    }

    #[test]
    fn ticks_are_round_and_titles_have_units() {
        let latency = Axis::linear("latency", Unit::Seconds);
        let ms = ["0", "2", "4", "6", "8", "10", "12"].map(str::to_owned).to_vec();
        assert_eq!(labels(&latency, &[0.0051, 0.0112]), ("latency (ms)".to_owned(), ms));
        let share = labels(&Axis::linear("busy", Unit::Share), &[0.0, 1.0]);
        assert_eq!(share.0, "busy (%)");
        assert_eq!(share.1, ["0", "20", "40", "60", "80", "100"]);
        let log = labels(&Axis::log("load", Unit::Times), &[1.0, 3.0, 5.0, 10.0]);
        assert_eq!(log.1, ["1x", "1.5x", "2x", "3x", "5x", "7x", "10x"]);
        let short = labels(&Axis::log("latency", Unit::Seconds), &[0.025, 0.036]);
        assert_eq!(short.1, ["25 ms", "30 ms", "35 ms"]);
        assert_eq!(
            labels(&Axis::log("latency", Unit::Seconds), &[1e-3, 1e3]).1,
            ["1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s", "1,000 s"].map(str::to_owned)[..].to_vec()
        );
    }

    #[test]
    fn any_values_have_an_axis() {
        for values in [&[0.0][..], &[-3.0, 4.0], &[1e-12], &[7.5e9, 7.6e9], &[0.3; 4], &[]] {
            for axis in [
                Axis::linear("a", Unit::Number("")),
                Axis::log("b", Unit::Usd),
                Axis::log("c", Unit::Seconds),
            ] {
                let (_, labels) = labels(&axis, values);
                assert!(
                    labels.iter().all(|label| !label.contains("NaN") && !label.contains("inf")),
                    "{labels:?}"
                );
            }
        }
    }
}
