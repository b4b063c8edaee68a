//! Stopping by confidence: replications are added until an interval is narrow enough.

use std::str::FromStr;

use thiserror::Error;

use crate::results::RunResult;
use crate::results::columns::{Kind, SUMMARY};
use crate::results::findings::percent;
use crate::run::ALL;

/// How narrow the 95% interval of a figure is to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Until {
    /// A column of the `summary`, of all requests.
    pub column: &'static str,
    /// The largest half width, by the mean: 0.05 for 5%.
    pub within: f64,
}

/// A condition that is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct UntilError(String);

impl FromStr for Until {
    type Err = UntilError;

    /// Reads `latency_p99 within 5%`; the unit at the end of a column's name may be left out.
    fn from_str(text: &str) -> Result<Self, UntilError> {
        const USAGE: &str = "expected such as \"latency_p99 within 5%\"";
        let (name, width) = text.split_once(" within ").ok_or_else(|| UntilError(USAGE.to_owned()))?;
        let name = name.trim();
        let numbers = || {
            SUMMARY.columns.iter().filter(|column| column.kind == Kind::Real && column.name != "multiplier")
        };
        let is_it = |column: &str| column == name || column.strip_suffix("_s") == Some(name);
        let column = numbers().map(|column| column.name).find(|column| is_it(column)).ok_or_else(|| {
            let known: Vec<&str> = numbers().map(|column| column.name).collect();
            UntilError(format!("no figure `{name}`: expected one of {}", known.join(", ")))
        })?;
        let percent = width.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        match percent {
            Some(percent) if percent > 0.0 && percent < 100.0 => Ok(Self { column, within: percent / 100.0 }),
            _ => Err(UntilError(format!("`{}` is no width: {USAGE}", width.trim()))),
        }
    }
}

impl Until {
    /// The present half width by the mean; none where there is no interval yet, or nothing was measured.
    fn width(self, result: &RunResult) -> Option<f64> {
        let summary = result.summary_averages();
        let all = summary.iter().find(|row| row.keys.iter().all(|key| key == ALL))?;
        let average = all.figures.get(self.column)?;
        Some(if average.mean == 0.0 { 0.0 } else { average.half_width? / average.mean.abs() })
    }

    /// Whether the interval is narrow enough.
    pub(super) fn is_met(self, result: &RunResult) -> bool {
        self.width(result).is_some_and(|width| width <= self.within)
    }

    /// Whether several replications have nothing of the kind to tell, so that more of them will not either.
    pub(super) fn is_in_vain(self, result: &RunResult) -> bool {
        result.replications.len() > 1 && self.width(result).is_none()
    }

    /// How many replications come next: half as many again. A quarter of the width takes sixteen times as many, so that
    /// few are run in vain.
    pub(super) fn next(done: u64) -> u64 {
        (done / 2).max(2)
    }

    /// What is said when no more replications are run.
    pub(super) fn missed(self, result: &RunResult) -> String {
        let Some(width) = self.width(result).map(percent) else {
            let number = result.replications.len();
            return format!(
                "{} was measured in none of {number} replications: no more were run",
                self.column
            );
        };
        format!(
            "{} is known to {width} after {} replications, and was to be within {}: make the run longer",
            self.column,
            result.replications.len(),
            percent(self.within)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read() {
        let read = |text: &str| text.parse::<Until>();
        assert_eq!(read("latency_p99 within 5%"), Ok(Until { column: "latency_p99_s", within: 0.05 }));
        assert_eq!(read("goodput_per_s within 0.5 %"), Ok(Until { column: "goodput_per_s", within: 0.005 }));
        for (wrong, word) in [
            ("latency_p99", "such as"),
            ("latency_p98 within 5%", "latency_p99_s"),
            ("latency_p99 within 5", "no width"),
            ("latency_p99 within 0%", "no width"),
            ("born within 5%", "no figure"),
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains(word), "{wrong}: {error}");
        }
    }
}
