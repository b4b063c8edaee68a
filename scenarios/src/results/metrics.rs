//! Figures of the requests of one replication.

use std::borrow::Cow;

use sim_core::stats::Histogram;
use sim_models::energy::ELECTRICITY;
use sim_models::meter::RequestMeter;
use sim_models::request::Outcome;
use sim_models::system::RunOutput;
use sim_models::units::{HOURS_PER_MONTH, Money};

/// Nanoseconds as seconds.
pub(super) fn secs(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// Mean and quantiles of a time, in seconds; `None` when nothing was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Times {
    pub mean: Option<f64>,
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    pub max: Option<f64>,
}

impl Times {
    pub(super) fn of(histogram: &Histogram) -> Self {
        Self::in_units(histogram, 1e9)
    }

    /// Of times counted in so many units a second.
    pub(super) fn in_units(histogram: &Histogram, per_second: f64) -> Self {
        let seconds = |value: u64| value as f64 / per_second;
        let quantile = |q| histogram.quantile(q).map(seconds);
        Self {
            mean: histogram.mean().map(|mean| mean / per_second),
            p50: quantile(0.5),
            p95: quantile(0.95),
            p99: quantile(0.99),
            max: histogram.max().map(seconds),
        }
    }
}

/// All requests of a replication whose class and tenant pass: borrowed where they are counted in one place.
pub(super) fn requests(
    output: &RunOutput,
    class: Option<usize>,
    tenant: Option<usize>,
) -> Cow<'_, RequestMeter> {
    let tenants = output.labels.tenants.len();
    let passes = |cell: usize| {
        class.is_none_or(|class| class == cell / tenants)
            && tenant.is_none_or(|tenant| tenant == cell % tenants)
    };
    let mut meters = (0..).zip(&output.requests).filter(|(cell, _)| passes(*cell)).map(|(_, meter)| meter);
    let mut sum = meters.next().map_or_else(Cow::default, Cow::Borrowed);
    for meter in meters {
        sum.to_mut().merge(meter);
    }
    sum
}

/// Requests born and not ended.
pub(super) fn in_flight(meter: &RequestMeter) -> u64 {
    meter.born - meter.ended()
}

fn share(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

/// Share of the ended that got no answer.
pub(super) fn error_rate(meter: &RequestMeter) -> Option<f64> {
    let errors = [Outcome::Rejected, Outcome::TimedOut, Outcome::Failed]
        .map(|outcome| meter.outcomes[outcome as usize]);
    share(errors.iter().sum(), meter.ended())
}

/// Share of the ended that were good.
pub(super) fn slo_attainment(meter: &RequestMeter) -> Option<f64> {
    share(meter.good, meter.ended())
}

/// A count by the length of the measured part in which requests were born.
pub(super) fn per_second(count: u64, output: &RunOutput) -> Option<f64> {
    let measured = output.measured().as_secs_f64();
    (measured > 0.0).then(|| count as f64 / measured)
}

/// What was paid by use, USD by ended request; `None` where nothing is paid so.
pub(super) fn usage_per_request(output: &RunOutput, meter: &RequestMeter) -> Option<f64> {
    // Electricity is used by the system, not by a request.
    let is_known = output.costs.iter().any(|line| line.by_use && line.resource != ELECTRICITY);
    meter.usage_usd_per_request().filter(|_| is_known)
}

/// The bill of a replication.
pub(super) struct Bill {
    pub per_hour: f64,
    pub per_1k_good: Option<f64>,
    pub per_1m_tokens: Option<f64>,
}

/// The bill, also by what was got for it in the measured part.
pub(super) fn bill(output: &RunOutput, all: &RequestMeter) -> Bill {
    // The sum of nothing would be -0.
    let per_hour = output.costs.iter().fold(0.0, |sum, line| sum + line.usd_per_hour);
    let by = |count: u64, unit: f64| {
        let per_second = per_second(count, output).filter(|rate| *rate > 0.0)?;
        Some(per_hour / 3600.0 / per_second * unit)
    };
    Bill { per_hour, per_1k_good: by(all.good_in_window, 1e3), per_1m_tokens: by(all.output_tokens, 1e6) }
}

/// What good requests earn, beside the bill; USD an hour.
pub(super) struct Margin {
    pub revenue: f64,
    pub margin: f64,
    /// Of the revenue.
    pub share: Option<f64>,
}

/// What is left of what good requests earn at `revenue_per_1k`; `None` where nobody said, or nothing was measured.
pub(super) fn margin(
    output: &RunOutput,
    all: &RequestMeter,
    revenue_per_1k: Option<Money>,
) -> Option<Margin> {
    let good = per_second(all.good_in_window, output)?;
    let revenue = good * 3600.0 / 1e3 * revenue_per_1k?.dollars();
    let margin = revenue - bill(output, all).per_hour;
    Some(Margin { revenue, margin, share: (revenue > 0.0).then_some(margin / revenue) })
}

/// The bill for a month of 730 hours.
pub(super) fn per_month(usd_per_hour: f64) -> f64 {
    usd_per_hour * HOURS_PER_MONTH
}
