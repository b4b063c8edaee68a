//! The system part of a scenario: traffic, components, links, faults.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::random::KeyedStream;

use super::build::Scope;
use super::zones::Placement;
use crate::admission::{AdmissionConfig, Behind, Door};
use crate::cascade::CascadeConfig;
use crate::component::{Component, Role};
use crate::context::Labels;
use crate::cost::StorageConfig;
use crate::device::DeviceConfig;
use crate::energy::EnergyConfig;
use crate::error::ConfigError;
use crate::external_api::ExternalApiConfig;
use crate::feature_store::FeatureStoreConfig;
use crate::flow::FlowConfig;
use crate::hardware::precision::Precision;
use crate::link::LinkConfig;
use crate::llm::{BlastGroup, LlmConfig};
use crate::model_server::ModelServerConfig;
use crate::pipeline::PipelineConfig;
use crate::pool::ZoneAware;
use crate::quality::QualityConfig;
use crate::queue::QueueConfig;
use crate::router::RouterConfig;
use crate::semantic_cache::SemanticCacheConfig;
use crate::service::ServiceConfig;
use crate::spot::SpotConfig;
use crate::traffic::TrafficConfig;
use crate::training::TrainingConfig;
use crate::units::{Probability, Time, TimeDist};
use crate::vector_index::VectorIndexConfig;

/// What is simulated.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SystemConfig {
    /// Where requests come from, by name.
    #[serde(default)]
    pub traffic: IndexMap<String, TrafficConfig>,
    /// What serves them, by name.
    #[serde(default)]
    pub components: IndexMap<String, ComponentConfig>,
    /// GPUs that several of them share, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub devices: IndexMap<String, DeviceConfig>,
    /// Which models are right how often, and on the same questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<QualityConfig>,
    /// Policies of calls, by `"caller -> callee"`.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub links: IndexMap<String, LinkConfig>,
    /// Data at rest and what they cost, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub storage: IndexMap<String, StorageConfig>,
    /// What energy costs, and what comes of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<EnergyConfig>,
    /// The zones of components, by their names: one, or several for the replicas of a pool in turn (prefill workers come
    /// after decode workers).
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub placement: IndexMap<String, Placement>,
    /// What breaks, and when.
    #[serde(default, rename = "fault", skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultConfig>,
}

/// A component, by its `kind`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ComponentConfig {
    /// Calls steps in sequence or in parallel.
    Flow(FlowConfig),
    /// Serves calls on a number of equal servers.
    Service(ServiceConfig),
    /// Reads features of an entity from an online store.
    FeatureStore(Box<FeatureStoreConfig>),
    /// Sends each request to one of several components.
    Router(Box<RouterConfig>),
    /// A pool of LLM engine replicas on GPUs.
    Llm(Box<LlmConfig>),
    /// Runs a model that is no LLM, in batches, on GPUs or CPUs.
    ModelServer(Box<ModelServerConfig>),
    /// Runs a batch job by its schedule, over a volume of data.
    Pipeline(Box<PipelineConfig>),
    /// Trains a model with a gang of workers, and goes on from checkpoints where it is interrupted.
    Training(Box<TrainingConfig>),
    /// Finds the nearest vectors of a corpus.
    VectorIndex(VectorIndexConfig),
    /// Asks models from the cheapest on until an answer is accepted.
    Cascade(CascadeConfig),
    /// Answers what has been asked before, in other words too.
    SemanticCache(Box<SemanticCacheConfig>),
    /// Somebody else's model behind an API.
    ExternalApi(Box<ExternalApiConfig>),
    /// Stores calls as messages and has them worked on in the background.
    Queue(Box<QueueConfig>),
}

impl ComponentConfig {
    /// The kinds, as scenario files name them.
    pub const KINDS: &[&str] = &[
        "flow",
        "service",
        "feature_store",
        "router",
        "llm",
        "model_server",
        "pipeline",
        "training",
        "vector_index",
        "cascade",
        "semantic_cache",
        "external_api",
        "queue",
    ];

    /// The kind, as scenario files name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Flow(_) => "flow",
            Self::Service(_) => "service",
            Self::FeatureStore(_) => "feature_store",
            Self::Router(_) => "router",
            Self::Llm(_) => "llm",
            Self::ModelServer(_) => "model_server",
            Self::Pipeline(_) => "pipeline",
            Self::Training(_) => "training",
            Self::VectorIndex(_) => "vector_index",
            Self::Cascade(_) => "cascade",
            Self::SemanticCache(_) => "semantic_cache",
            Self::ExternalApi(_) => "external_api",
            Self::Queue(_) => "queue",
        }
    }

    /// Whether it is a pool of replicas.
    pub fn is_pool(&self) -> bool {
        match self {
            Self::Llm(_) => true,
            Self::Service(config) => config.replicas.is_some() || config.autoscaler.is_some(),
            Self::ModelServer(config) => config.is_pool(),
            Self::Flow(_)
            | Self::FeatureStore(_)
            | Self::Router(_)
            | Self::Pipeline(_)
            | Self::Training(_)
            | Self::VectorIndex(_)
            | Self::Cascade(_)
            | Self::SemanticCache(_)
            | Self::ExternalApi(_)
            | Self::Queue(_) => false,
        }
    }

    /// Whether it can have replicas or instances in several zones: pools, and what has no capacity of its own.
    pub(super) fn can_be_in_several_zones(&self) -> bool {
        self.is_pool() || matches!(self, Self::Flow(_) | Self::Router(_) | Self::Cascade(_))
    }

    /// How the front of its pool goes by zones, if it does.
    pub(super) fn zone_aware(&self) -> Option<&ZoneAware> {
        match self {
            Self::Llm(config) => config.zone_aware.as_ref(),
            Self::Service(config) => config.zone_aware.as_ref(),
            Self::ModelServer(config) => config.zone_aware.as_ref(),
            _ => None,
        }
    }

    /// Whether it answers calls, and does not run by itself.
    pub fn answers_calls(&self) -> bool {
        !matches!(self, Self::Pipeline(_) | Self::Training(_))
    }

    /// How its replicas or workers are interrupted, where they are on spot capacity.
    pub(super) fn spot(&self) -> Option<&SpotConfig> {
        match self {
            Self::Training(config) => config.spot.as_ref(),
            Self::Service(config) => config.spot.as_deref(),
            Self::Llm(config) => config.spot.as_ref(),
            Self::ModelServer(config) => config.spot.as_ref(),
            _ => None,
        }
    }

    /// Whether its replicas come and go.
    pub(super) fn is_autoscaled(&self) -> bool {
        match self {
            Self::Llm(config) => config.autoscaler.is_some(),
            Self::Service(config) => config.autoscaler.is_some(),
            Self::ModelServer(config) => config.autoscaler.is_some(),
            _ => false,
        }
    }

    /// Whether it has a cache that can be emptied.
    pub(super) fn has_cache(&self) -> bool {
        match self {
            Self::FeatureStore(config) => config.cache.is_some(),
            Self::SemanticCache(_) => true,
            Self::Llm(config) => config.enable_prefix_caching,
            _ => false,
        }
    }

    /// Whether it may answer as a model in the table of quality.
    pub fn answers_as_model(&self) -> bool {
        matches!(self, Self::Service(_) | Self::Llm(_) | Self::ModelServer(_) | Self::ExternalApi(_))
    }

    /// The precision that it serves its model in, where it has one.
    pub(super) fn precision(&self) -> Option<Precision> {
        match self {
            Self::Llm(config) => config.precision.or_else(|| config.model().ok()?.precision),
            Self::ModelServer(config) => config.precision,
            _ => None,
        }
    }

    /// What is lost of it when a GPU is; none where it has no GPUs of its own.
    pub(super) fn blast_group(&self, role: Option<Role>) -> Option<BlastGroup> {
        match self {
            Self::Llm(config) => config.blast_group(role),
            _ => None,
        }
    }

    /// Whether its replicas have roles.
    pub(super) fn is_disaggregated(&self) -> bool {
        matches!(self, Self::Llm(config) if config.disaggregated.is_some())
    }

    /// Whom the component calls: for each, where the configuration says so, and its name.
    pub fn callees(&self) -> Vec<(Vec<String>, &str)> {
        match self {
            Self::Flow(config) => config.callees(),
            Self::Router(config) => config.callees(),
            Self::Cascade(config) => config.callees(),
            Self::SemanticCache(config) => config.callees(),
            Self::Pipeline(config) => config.callees(),
            Self::Queue(config) => config.callees(),
            Self::Service(_)
            | Self::FeatureStore(_)
            | Self::Llm(_)
            | Self::ModelServer(_)
            | Self::VectorIndex(_)
            | Self::Training(_)
            | Self::ExternalApi(_) => Vec::new(),
        }
    }

    /// What it does to keep its load within what it can serve.
    pub fn admission(&self) -> Option<&AdmissionConfig> {
        match self {
            Self::Flow(config) => config.admission.as_deref(),
            Self::Service(config) => config.admission.as_deref(),
            Self::Llm(config) => config.admission.as_deref(),
            Self::ModelServer(config) => config.admission.as_deref(),
            Self::Queue(config) => config.admission.as_deref(),
            Self::ExternalApi(config) => config.admission.as_deref(),
            Self::FeatureStore(_)
            | Self::Router(_)
            | Self::Cascade(_)
            | Self::SemanticCache(_)
            | Self::Pipeline(_)
            | Self::Training(_)
            | Self::VectorIndex(_) => None,
        }
    }

    /// The door that its calls pass.
    pub(crate) fn door(
        &self,
        labels: &Labels,
        jitter: KeyedStream,
    ) -> Result<Option<Box<Door>>, ConfigError> {
        let Some(admission) = self.admission() else { return Ok(None) };
        let behind = Behind {
            kind: self.kind(),
            has_line: matches!(self, Self::Service(_)),
            tells_waits: matches!(self, Self::Service(_) | Self::Llm(_) | Self::ModelServer(_)),
            labels,
            jitter,
        };
        admission.door(behind).map_err(|error| error.within("admission"))
    }

    /// Makes the component.
    ///
    /// # Errors
    /// What is wrong with its configuration; the path starts at the component.
    pub fn build(&self, scope: &mut Scope) -> Result<Box<dyn Component>, ConfigError> {
        match self {
            Self::Flow(config) => config.build(scope),
            Self::Service(config) => config.build(scope),
            Self::FeatureStore(config) => config.build(scope),
            Self::Router(config) => config.build(scope),
            Self::Llm(config) => config.build(scope),
            Self::ModelServer(config) => config.build(scope),
            Self::Pipeline(config) => config.build(scope),
            Self::Training(config) => config.build(scope),
            Self::VectorIndex(config) => config.build(scope),
            Self::Cascade(config) => config.build(scope),
            Self::SemanticCache(config) => config.build(scope),
            Self::ExternalApi(config) => config.build(scope),
            Self::Queue(config) => config.build(scope),
        }
    }
}

/// Something that breaks, at a given time or at random. Faults of one kind that overlap on one target count together:
/// the end of one mends what it broke and not what others did (replicas are counted, factors multiply).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultConfig {
    /// When it breaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
    /// In place of `at`: it breaks again and again, after exponentially distributed times with this mean from
    /// the start, and from each repair. The share of the time in which it works is then mtbf / (mtbf + mean
    /// repair). The times do not depend on anything else in the system, so that variants break alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtbf: Option<Time>,
    /// Which component; the zone of a `zone_loss`; the link `"caller -> callee"` of a `partition`.
    pub target: String,
    /// How.
    pub kind: FaultKind,
    /// How many servers or replicas a crash takes, or how many replicas hang or drain. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// How many GPUs of an `llm` a crash or a hang takes, in place of `replicas`: those of the lowest numbers
    /// that are up, such as the 8 of a host. A replica that is split over several is lost with any of them;
    /// engines that share out experts are lost together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<u32>,
    /// Whose replicas, of an `llm` that is `disaggregated`: `prefill` or `decode`. Default: all, or with `replicas` those
    /// of the decode workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// How many times as long work takes, for `slow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// Share of the answers that fail, for `error_rate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Probability>,
    /// Whether calls over a cut link fail at once, as where a connection is refused, for `partition` and
    /// `outage`. Default: false, they are lost, and their callers wait until their timeouts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fail_fast: bool,
    /// How long until it is mended: a time or a distribution. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair: Option<TimeDist>,
}

impl FaultConfig {
    /// A fault at a time, of a whole component and for ever.
    pub fn new(at: Time, target: impl Into<String>, kind: FaultKind) -> Self {
        Self {
            at: Some(at),
            mtbf: None,
            target: target.into(),
            kind,
            replicas: None,
            gpus: None,
            role: None,
            factor: None,
            share: None,
            fail_fast: false,
            repair: None,
        }
    }
}

/// How something breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Servers or replicas are lost with all the work in them. A crashed replica of a pool refuses calls
    /// until it is repaired. A `pipeline` fails: its run is lost, and none succeeds until it is repaired.
    Crash,
    /// Replicas of a pool take calls and never answer, until they are restarted at `repair`: then all calls
    /// in them fail.
    Hang,
    /// Replicas of a pool get no new calls and finish those they have, until `repair`.
    Drain,
    /// Replicas or training workers on spot capacity get the notice that they will be taken away; when capacity comes
    /// back is said by their `spot`.
    SpotInterruption,
    /// Work takes longer.
    Slow,
    /// A share of the calls that would be answered fail instead, after the full work for them.
    ErrorRate,
    /// Everything that `[placement]` puts into a zone crashes, and new replicas cannot start there.
    ZoneLoss,
    /// Nothing passes a link: calls, answers, news and cancellations are lost. What is on its way arrives. A
    /// call that is lost and has no timeout is never heard of again.
    Partition,
    /// A dependency is out of reach: all links to it are cut as in a `partition`.
    Outage,
    /// A `semantic_cache`, the local cache of a `feature_store` or the prefix cache of an `llm` is emptied; of the last
    /// what no sequence uses, as by vLLM's `reset_prefix_cache`. There is nothing to repair.
    ColdCache,
    /// An autoscaler gets no new replicas (the cloud is out of that GPU).
    StockOut,
}
