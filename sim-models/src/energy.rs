//! Energy of GPUs and hosts, by how busy they are.
//!
//! ```text
//! power = idle + (limit - idle) * utilization
//! ```
//!
//! with the power limit of the datasheet and the idle power of the catalogue ([`Gpu::idle_power`]): the linear model of
//! Fan, Weber and Barroso ("Power Provisioning for a Warehouse-sized Computer", ISCA 2007). It overstates work that is
//! bound by memory, which leaves a GPU below its limit: an assumption. Every component with GPUs, and every shared
//! device, has the measures `power_mean_w`, `energy_kwh` and `co2_kg`; with a price of energy there is a line
//! `electricity` on the bill as well, for those who pay their own. Prices of clouds include it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ConfigError;
use crate::hardware::catalogue::Gpu;
use crate::measure::Measure;
use crate::units::{Money, Number};

/// What electricity is called on the bill.
pub const ELECTRICITY: &str = "electricity";

/// Mean of the world in 2023, in g CO2-equivalent a kWh: Ember, "Electricity generation emission intensity in selected
/// countries worldwide in 2023", July 2024 (statista.com/statistics/943137, read 2026-11).
pub const WORLD_GCO2_PER_KWH: f64 = 481.0;

/// What energy costs, and what comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnergyConfig {
    /// Price of a kWh. Default: energy is not on the bill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_kwh: Option<Money>,
    /// Power usage effectiveness: energy of the whole data centre by that of its computers, at least 1. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pue: Option<Number>,
    /// Grams of CO2-equivalent a kWh. Default: 481, the mean of the world in 2023 (Ember).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gco2_per_kwh: Option<Number>,
}

impl EnergyConfig {
    /// # Errors
    /// What of it cannot be; the path starts at it.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        match self.pue {
            Some(pue) if pue.get() < 1.0 => Err(ConfigError::new(["pue"], format!("pue is {pue}"))
                .help("expected at least 1, such as 1.2: a data centre takes no less than its computers")),
            _ => Ok(()),
        }
    }

    /// kWh of the data centre for each of its computers.
    pub(crate) fn overhead(&self) -> f64 {
        self.pue.map_or(1.0, Number::get)
    }

    /// The measures of something of which the power is known, over so many hours.
    pub(crate) fn measures(&self, watts: f64, hours: f64) -> [Measure; 2] {
        let kwh = watts / 1e3 * hours * self.overhead();
        let grams = self.gco2_per_kwh.map_or(WORLD_GCO2_PER_KWH, Number::get);
        [
            Measure::new("energy_kwh", kwh, "Energy of its GPUs or hosts, with what the data centre adds"),
            Measure::new("co2_kg", kwh * grams / 1e3, "Emissions of that energy, in kg of CO2-equivalent"),
        ]
    }
}

/// Power of one GPU or host in watts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Power {
    idle: f64,
    limit: f64,
}

impl Power {
    pub(crate) fn of(gpu: &Gpu) -> Self {
        Self { idle: gpu.idle_power(), limit: gpu.power_watts }
    }

    /// Of so many held, of which so many are busy, on average.
    pub(crate) fn watts(self, held: f64, busy: f64) -> f64 {
        self.idle * held + (self.limit - self.idle) * busy
    }

    /// The measure that everything else goes by.
    pub(crate) fn measure(watts: f64) -> Measure {
        Measure::new(POWER, watts, "Power of its GPUs or hosts, on average")
    }
}

/// Name of the measure of power.
pub(crate) const POWER: &str = "power_mean_w";

#[cfg(test)]
mod tests;
