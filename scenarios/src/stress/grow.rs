//! What grows tenfold.

use sim_models::flow::StepConfig;
use sim_models::system::ComponentConfig;
use sim_models::units::{Bytes, Number, NumberDist};

use crate::scenario::Scenario;

/// What grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Grow {
    /// Requests: the same mix, more often.
    #[default]
    Usage,
    /// Data: what pipelines read and write, what indexes and feature stores hold.
    Data,
    /// Steps of a request: flows do each of theirs so many times, to the nearest whole number.
    Complexity,
}

impl Grow {
    /// All of them, by name.
    pub const ALL: [(&str, Self); 3] =
        [("usage", Self::Usage), ("data", Self::Data), ("complexity", Self::Complexity)];

    /// The scenario at a multiple, and the load to run it at.
    pub(super) fn apply(self, scenario: &Scenario, k: f64) -> (Scenario, f64) {
        let mut grown = scenario.clone();
        match self {
            Self::Usage => return (grown, k),
            Self::Data => grown.components.values_mut().for_each(|component| more_data(component, k)),
            Self::Complexity => grown.components.values_mut().for_each(|component| more_steps(component, k)),
        }
        (grown, 1.0)
    }
}

fn times(count: u64, k: f64) -> u64 {
    ((count as f64 * k).round() as u64).max(1)
}

/// Data of a component, so many times as much.
pub(super) fn more_data(component: &mut ComponentConfig, k: f64) {
    match component {
        ComponentConfig::Pipeline(pipeline) => {
            pipeline.volume = Bytes::new(times(pipeline.volume.get(), k));
            if let Some(writes) = &mut pipeline.materializes {
                writes.rows = Number::new(writes.rows.get() * k).unwrap_or(writes.rows);
            }
        }
        ComponentConfig::VectorIndex(index) => {
            index.vectors = times(index.vectors.get(), k).try_into().unwrap_or(index.vectors);
        }
        ComponentConfig::FeatureStore(store) => {
            if let Some(storage) = &mut store.storage {
                storage.entities = times(storage.entities.get(), k).try_into().unwrap_or(storage.entities);
            }
        }
        _ => {}
    }
}

fn more_steps(component: &mut ComponentConfig, k: f64) {
    let ComponentConfig::Flow(flow) = component else { return };
    for step in &mut flow.steps {
        let mut detailed = match step {
            StepConfig::Call(name) => {
                sim_models::flow::DetailedStep { call: Some(name.clone()), ..Default::default() }
            }
            StepConfig::Detailed(step) => step.clone(),
        };
        let whole = |count: f64| Number::new((count * k).round().max(1.0)).map(NumberDist::constant).ok();
        detailed.repeat = match detailed.repeat {
            None => whole(1.0),
            Some(NumberDist::Constant(count)) => whole(count.get()),
            Some(law) => Some(law.map(&|value| Number::new(value.get() * k).unwrap_or(value))),
        };
        *step = StepConfig::Detailed(detailed);
    }
}
