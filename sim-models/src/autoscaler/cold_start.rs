//! How long a new replica takes, stage by stage: a node, the image, the weights, the start of the program.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::distribution::Dist;
use sim_core::random::{KeyedDraws, unit};
use sim_core::time::SimDuration;

use crate::error::ConfigError;
use crate::units::{Bytes, Probability, Time, TimeDist};

/// Where weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StorageTier {
    /// A registry or an object store, over the network: 0.8 GB/s (16 GB in 20 s; tensorfuse issue 1, 2025).
    #[default]
    Remote,
    /// The node's SSD: 7 GB/s (Llama-3-70B in 20 s; ServerlessLLM issue 193, 2024).
    Ssd,
    /// The node's memory: 25 GB/s (the same in 5.5 s).
    Dram,
}

impl StorageTier {
    /// Bytes a second where the scenario does not say.
    pub fn bandwidth(self) -> f64 {
        match self {
            Self::Remote => 0.8e9,
            Self::Ssd => 7e9,
            Self::Dram => 25e9,
        }
    }
}

/// The stages of a cold start, one after the other. What is not said takes no time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ColdStart {
    /// Time to get a node. A cloud's GPU node takes about 45 s (tensorfuse issue 1, 2025).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<TimeDist>,
    /// Share of new replicas that find a node ready (a warm pool of nodes). Default: 0.
    pub node_ready: Probability,
    /// Size of the container image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Bytes>,
    /// Bytes of it that come in a second. Default: 0.75 GB (15 GB in 20 s; tensorfuse issue 1, 2025).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_bandwidth: Option<Bytes>,
    /// Share of new replicas whose node has the image. Default: 0.
    pub image_cached: Probability,
    /// Size of the weights. Default: those of the model for an `llm`, otherwise none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Bytes>,
    /// Where they come from. Default: `remote`.
    pub weights_from: StorageTier,
    /// Bytes of them that come in a second. Default: that of the tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights_bandwidth: Option<Bytes>,
    /// Share of new replicas whose node has the weights on its SSD. Default: 0.
    pub weights_cached: Probability,
    /// Start of the program: CUDA context, graphs, compilation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<TimeDist>,
    /// How long a replica that is there is already not used: the health check's patience. Default: 0.
    pub readiness: Time,
}

/// A cold start, ready to be drawn.
#[derive(Debug, Clone)]
pub(crate) struct Stages {
    node: Option<Dist>,
    node_ready: f64,
    image: SimDuration,
    image_cached: f64,
    weights: SimDuration,
    weights_on_ssd: SimDuration,
    weights_cached: f64,
    init: Option<Dist>,
    readiness: SimDuration,
}

/// How long each stage of one cold start takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Taken {
    pub node: SimDuration,
    pub image: SimDuration,
    pub weights: SimDuration,
    pub init: SimDuration,
}

impl Taken {
    pub fn total(self) -> SimDuration {
        self.node.saturating_add(self.image).saturating_add(self.weights).saturating_add(self.init)
    }
}

impl ColdStart {
    /// `weights` are those of the component's model.
    ///
    /// # Errors
    /// What of it cannot be; the path starts at the cold start.
    pub(crate) fn stages(&self, weights: Option<u64>) -> Result<Stages, ConfigError> {
        let law = |key: &'static str, law: &Option<TimeDist>| {
            let built = law.as_ref().map(|law| law.build()).transpose();
            built.map_err(|error| ConfigError::new([key], error.to_string()))
        };
        for (key, rate) in
            [("image_bandwidth", self.image_bandwidth), ("weights_bandwidth", self.weights_bandwidth)]
        {
            if rate.is_some_and(|rate| rate.get() == 0) {
                return Err(ConfigError::new([key], format!("{key} is 0")).help("expected more than 0 bytes"));
            }
        }
        let time = |bytes: u64, rate: Option<Bytes>, default: f64| {
            let rate = rate.map_or(default, |rate| rate.get() as f64);
            SimDuration::saturating_from_secs_f64(bytes as f64 / rate)
        };
        let weights = self.weights.map(Bytes::get).or(weights).unwrap_or(0);
        let fetched = time(weights, self.weights_bandwidth, self.weights_from.bandwidth());
        Ok(Stages {
            node: law("node", &self.node)?,
            node_ready: self.node_ready.get(),
            image: time(self.image.map_or(0, Bytes::get), self.image_bandwidth, 0.75e9),
            image_cached: self.image_cached.get(),
            weights: fetched,
            // What is cached comes from where it is quicker.
            weights_on_ssd: time(weights, None, StorageTier::Ssd.bandwidth()).min(fetched),
            weights_cached: self.weights_cached.get(),
            init: law("init", &self.init)?,
            readiness: self.readiness.get(),
        })
    }
}

impl Stages {
    /// One cold start. Every draw is made whatever came before, so that variants compare.
    pub(crate) fn draw(&self, draws: &mut KeyedDraws) -> Taken {
        let chances = [(); 3].map(|()| unit(draws));
        let mut time =
            |law: &Option<Dist>| law.as_ref().map_or(SimDuration::ZERO, |law| law.sample_duration(draws));
        let (node, init) = (time(&self.node), time(&self.init));
        let unless = |chance: f64, share: f64, time: SimDuration, otherwise: SimDuration| {
            if chance < share { otherwise } else { time }
        };
        Taken {
            node: unless(chances[0], self.node_ready, node, SimDuration::ZERO),
            image: unless(chances[1], self.image_cached, self.image, SimDuration::ZERO),
            weights: unless(chances[2], self.weights_cached, self.weights, self.weights_on_ssd),
            init: init.saturating_add(self.readiness),
        }
    }
}

#[cfg(test)]
mod tests {
    use sim_core::random::{Purpose, Streams};

    use super::*;

    fn draw(cold_start: &ColdStart, weights: Option<u64>, number: u64) -> Taken {
        let stream = Streams::new(1, 0).keyed("pool", Purpose::Jitter);
        cold_start.stages(weights).unwrap().draw(&mut stream.draws(number, 0, 0))
    }

    fn seconds(seconds: f64) -> SimDuration {
        SimDuration::saturating_from_secs_f64(seconds)
    }

    /// The published start of a 16 GB model: about 45 s for a node, 20 s for an image of 15 GB, 20 s for the
    /// weights.
    #[test]
    fn a_16_gb_model_stage_by_stage() {
        let bytes = |text: &str| Some(text.parse::<Bytes>().unwrap());
        let cold_start = ColdStart {
            node: Some(TimeDist::Constant(Time::new(SimDuration::from_secs(45)))),
            image: bytes("15GB"),
            weights: bytes("16GB"),
            init: Some(TimeDist::Constant(Time::new(SimDuration::from_secs(10)))),
            ..ColdStart::default()
        };
        let taken = draw(&cold_start, None, 0);
        assert_eq!((taken.node, taken.image), (seconds(45.0), seconds(20.0)));
        assert_eq!((taken.weights, taken.init), (seconds(20.0), seconds(10.0)));
        assert_eq!(taken.total(), seconds(95.0));
        for (tier, expected) in [(StorageTier::Ssd, 16.0 / 7.0), (StorageTier::Dram, 0.64)] {
            let from = ColdStart { weights_from: tier, ..cold_start.clone() };
            assert_eq!(draw(&from, None, 0).weights, seconds(expected));
        }
        // The scenario's own size and bandwidth come before the model's.
        let own = ColdStart { weights_bandwidth: bytes("2GB"), ..cold_start.clone() };
        assert_eq!(draw(&own, Some(1), 0).weights, seconds(8.0));
        assert_eq!(draw(&ColdStart::default(), Some(8_000_000_000), 0).weights, seconds(10.0));
        assert_eq!(draw(&ColdStart::default(), None, 0), Taken::default());
    }

    #[test]
    fn caches_save_their_share() {
        let share = |share: f64| Probability::new(share).unwrap();
        let cold_start = ColdStart {
            image: Some("15GB".parse().unwrap()),
            image_cached: share(0.3),
            weights_cached: share(0.6),
            ..ColdStart::default()
        };
        let taken: Vec<Taken> = (0..10_000).map(|n| draw(&cold_start, Some(16_000_000_000), n)).collect();
        let cached = |is: &dyn Fn(&Taken) -> bool| taken.iter().filter(|t| is(t)).count() as f64 / 1e4;
        // 10,000 draws: four standard errors are 0.02.
        assert!((cached(&|t| t.image.is_zero()) - 0.3).abs() < 0.02);
        assert!((cached(&|t| t.weights < seconds(3.0)) - 0.6).abs() < 0.02);
    }
}
