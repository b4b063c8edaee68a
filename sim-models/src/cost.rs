//! The cost meter: what is paid for, how much of it, at which price.

mod data;
mod price_model;
#[cfg(test)]
mod tests;

use sim_core::stats::TimeWeighted;
use sim_core::time::SimTime;

use crate::call::CallId;
use crate::component::ComponentId;
use crate::context::Ctx;
pub use data::{EgressConfig, StorageConfig};
pub(crate) use price_model::cross_zone_price;
pub use price_model::{Discount, PriceModel, PriceModelConfig, Transfer, discounts, transfers};
pub(crate) use price_model::{ListPrice, Rent, Tariff};

/// How the bill grows with the load: beta = ln(C_k / C_1) / ln(k), for the bills at 1 and at `times` the load.
/// 1 where the bill grows as the load does, below 1 where a request becomes cheaper. `None` for no load or no bill.
pub fn elasticity(at_one: f64, at_times: f64, times: f64) -> Option<f64> {
    let beta = libm::log(at_times / at_one) / libm::log(times);
    (at_one > 0.0 && at_times > 0.0 && beta.is_finite()).then_some(beta)
}

/// How a resource is paid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Price {
    /// By the time it is held, busy or idle: USD an hour and unit.
    PerHour(f64),
}

impl Price {
    /// USD an hour and unit.
    pub fn usd_per_hour(self) -> f64 {
        match self {
            Self::PerHour(usd) => usd,
        }
    }
}

/// One line of the bill.
#[derive(Debug, Clone)]
pub struct CostItem {
    /// Who needs it.
    pub component: ComponentId,
    /// What it is: `gpu h100-sxm`, `server`.
    pub resource: String,
    /// Its price.
    pub price: Price,
    /// Where the price comes from.
    pub source: String,
    /// How it is paid.
    pub model: PriceModel,
    /// Units held, over time; those that a line of reserved ones pays are not among them.
    pub held: TimeWeighted,
    /// How many those are.
    beyond: u64,
    /// Their mean until the run's `duration` was over.
    closed: Option<f64>,
}

impl CostItem {
    /// Units of the resource held on average in the measured part of the run; the drain, in which nothing more is asked,
    /// is no part of it.
    pub fn mean_held(&self, now: SimTime) -> f64 {
        self.closed.unwrap_or_else(|| self.held.mean(now))
    }

    /// USD an hour at the average amount held.
    pub fn usd_per_hour(&self, now: SimTime) -> f64 {
        self.price.usd_per_hour() * self.mean_held(now)
    }
}

/// A line of the bill for what is paid by use: tokens, calls.
#[derive(Debug, Clone)]
pub struct UsageItem {
    /// Who needs it.
    pub component: ComponentId,
    /// What it is: `input tokens`, `calls`.
    pub resource: String,
    /// USD a unit.
    pub usd_per_unit: f64,
    /// Where the price comes from.
    pub source: String,
    /// Units used in the measured part of the run, until the end of the arrivals.
    pub used: f64,
}

/// What one call of a component that is paid by use costs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CallPrice {
    /// USD a call.
    pub call: f64,
    /// USD a prompt token.
    pub input: f64,
    /// USD an output token.
    pub output: f64,
}

impl CallPrice {
    /// USD of a call with so many prompt and output tokens.
    pub fn of(self, prompt_tokens: f64, output_tokens: f64) -> f64 {
        self.call + self.input * prompt_tokens + self.output * output_tokens
    }
}

/// All lines of the bill.
#[derive(Debug, Clone, Default)]
pub struct CostMeter {
    items: Vec<CostItem>,
    usage: Vec<UsageItem>,
    call_prices: Vec<(ComponentId, CallPrice)>,
}

impl CostMeter {
    /// Adds a resource of which `units` are held from the start; gives its number.
    pub fn add(
        &mut self,
        component: ComponentId,
        resource: impl Into<String>,
        price: Price,
        source: impl Into<String>,
        units: u64,
    ) -> usize {
        let held = TimeWeighted::new(SimTime::ZERO, units);
        self.items.push(CostItem {
            component,
            resource: resource.into(),
            price,
            source: source.into(),
            model: PriceModel::OnDemand,
            held,
            beyond: 0,
            closed: None,
        });
        self.items.len() - 1
    }

    /// From now on `units` of the resource with that number are held.
    pub(crate) fn hold(&mut self, item: usize, now: SimTime, units: u64) {
        let line = &mut self.items[item];
        line.held.set(now, units.saturating_sub(line.beyond));
    }

    /// Adds something that is paid by use; gives its number for [`Ctx::spend`].
    pub fn add_usage(
        &mut self,
        component: ComponentId,
        resource: impl Into<String>,
        usd_per_unit: f64,
        source: impl Into<String>,
    ) -> usize {
        let (resource, source) = (resource.into(), source.into());
        self.usage.push(UsageItem { component, resource, usd_per_unit, source, used: 0.0 });
        self.usage.len() - 1
    }

    /// Says what one call of a component costs, for baselines; it goes on the bill by [`Ctx::spend`].
    pub fn set_call_price(&mut self, component: ComponentId, price: CallPrice) {
        self.call_prices.push((component, price));
    }

    /// Components that are paid by the call, and what a call costs.
    pub fn call_prices(&self) -> impl Iterator<Item = (ComponentId, CallPrice)> {
        self.call_prices.iter().copied()
    }

    /// The lines of what is paid by use.
    pub fn usage(&self) -> &[UsageItem] {
        &self.usage
    }

    /// The lines.
    pub fn items(&self) -> &[CostItem] {
        &self.items
    }

    /// USD an hour of everything.
    pub fn usd_per_hour(&self, now: SimTime) -> f64 {
        self.items.iter().map(|item| item.usd_per_hour(now)).sum()
    }

    /// The run's `duration` is over: what is held from now on is not paid.
    pub(crate) fn close(&mut self, now: SimTime) {
        for item in &mut self.items {
            item.closed = Some(item.held.mean(now));
        }
    }

    pub(crate) fn reset(&mut self, now: SimTime) {
        for item in &mut self.items {
            item.held.reset(now);
        }
        for item in &mut self.usage {
            item.used = 0.0;
        }
    }
}

impl Ctx<'_> {
    /// So many units of what has that number on the bill are used for no request.
    pub(crate) fn spend_alone(&mut self, item: usize, units: f64) {
        let now = self.now();
        let core = &mut *self.core;
        if now >= core.measure_from && now <= core.arrivals_until {
            core.cost.usage[item].used += units;
        }
    }

    /// So many units of what has that number on the bill are used for the request of a call.
    pub fn spend(&mut self, call: CallId, item: usize, units: f64) {
        self.spend_alone(item, units);
        let id = self.call(call).request;
        let core = &mut *self.core;
        let line = &core.cost.usage[item];
        let (usd, is_egress) = (units * line.usd_per_unit, line.component.index() < core.source_count);
        if let Some(request) = core.requests.get(id).filter(|request| request.born >= core.measure_from) {
            let cell = core.cell(request);
            core.request_meters[cell].usage_usd += usd;
            if let Some(quality) = core.quality.as_mut().filter(|_| !is_egress) {
                quality.spent += usd;
            }
        }
    }
}
