//! The cost meter: what is paid for, how much of it, at which price.

use sim_core::stats::TimeWeighted;
use sim_core::time::SimTime;

use crate::component::ComponentId;

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
    /// Units held, over time.
    pub held: TimeWeighted,
}

impl CostItem {
    /// Units of the resource held on average in the measured part of the run.
    pub fn mean_held(&self, now: SimTime) -> f64 {
        self.held.mean(now)
    }

    /// USD an hour at the average amount held.
    pub fn usd_per_hour(&self, now: SimTime) -> f64 {
        self.price.usd_per_hour() * self.mean_held(now)
    }
}

/// All lines of the bill.
#[derive(Debug, Clone, Default)]
pub struct CostMeter {
    items: Vec<CostItem>,
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
            held,
        });
        self.items.len() - 1
    }

    /// From now on `units` of the resource with that number are held.
    pub(crate) fn hold(&mut self, item: usize, now: SimTime, units: u64) {
        self.items[item].held.set(now, units);
    }

    /// The lines.
    pub fn items(&self) -> &[CostItem] {
        &self.items
    }

    /// USD an hour of everything.
    pub fn usd_per_hour(&self, now: SimTime) -> f64 {
        self.items.iter().map(|item| item.usd_per_hour(now)).sum()
    }

    pub(crate) fn reset(&mut self, now: SimTime) {
        for item in &mut self.items {
            item.held.reset(now);
        }
    }
}
