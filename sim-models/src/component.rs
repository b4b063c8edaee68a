//! What every component of a system can do, and what happens to it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::SimTime;

use crate::call::{CallId, Progress, Reply};
use crate::context::Ctx;
use crate::device::ClientId;
use crate::feature_store::FeatureStoreReport;
use crate::measure::Measure;
use crate::pipeline::PipelineReport;

/// Numbers the components of a system; traffic sources come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentId(pub(crate) u16);

impl ComponentId {
    /// Its place in the lists of components.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A timer of a component has run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timer {
    /// Which of the component's timers.
    pub kind: u16,
    /// What it was set with.
    pub data: u64,
}

/// Something breaks or is mended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// So many servers or replicas are lost with all the work in them; `u32::MAX` for all.
    Crash {
        /// How many.
        replicas: u32,
    },
    /// So many crashed servers or replicas are back.
    Repair {
        /// How many.
        replicas: u32,
    },
    /// So many replicas of a pool hang: they take calls and do nothing.
    Hang {
        /// How many.
        replicas: u32,
    },
    /// So many hung replicas are restarted; the calls in them are lost.
    Restart {
        /// How many.
        replicas: u32,
    },
    /// So many replicas of a pool get no new calls and work off those they have.
    Drain {
        /// How many.
        replicas: u32,
    },
    /// So many drained replicas get calls again.
    Undrain {
        /// How many.
        replicas: u32,
    },
    /// So many replicas on spot capacity get the notice that they will be taken away.
    Interrupt {
        /// How many.
        replicas: u32,
    },
    /// Everything of mine that is in a zone is lost; only pools hear of it, others crash.
    LoseZone {
        /// Its number.
        zone: u16,
    },
    /// A zone that was lost is back, with all that is in it.
    RestoreZone {
        /// Its number.
        zone: u16,
    },
    /// No new replica can be had.
    StockOut,
    /// New replicas can be had again.
    Restock,
    /// What is cached is gone.
    ColdCache,
    /// Work takes `factor` times as long from now on (1 mends it).
    Slow {
        /// The factor.
        factor: f64,
    },
}

impl Fault {
    /// How many replicas it is about; none for all that there are, always.
    pub(crate) fn replicas(&self) -> Option<u32> {
        match *self {
            Self::Crash { replicas }
            | Self::Repair { replicas }
            | Self::Hang { replicas }
            | Self::Restart { replicas }
            | Self::Drain { replicas }
            | Self::Undrain { replicas }
            | Self::Interrupt { replicas } => Some(replicas),
            // A zone, the stock and caches are those of all of them.
            Self::Slow { .. }
            | Self::LoseZone { .. }
            | Self::RestoreZone { .. }
            | Self::StockOut
            | Self::Restock
            | Self::ColdCache => None,
        }
    }
}

/// The part of a pool that computes prompts, or the one that generates: the `role` label of llm-d's workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Prefill workers.
    Prefill,
    /// Decode workers.
    Decode,
}

/// Background work that is not simulated call by call, such as a pipeline's writes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Operations per second.
    pub rate: f64,
    /// Server-seconds an operation.
    pub cost: f64,
}

/// What a controller or a router may see of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signals {
    /// Calls waiting.
    pub queue: u64,
    /// Calls in service.
    pub busy: u64,
    /// Calls that can be in service at once.
    pub capacity: u64,
    /// KV blocks in use, of an LLM pool.
    pub kv_used: u64,
    /// KV blocks there are.
    pub kv_total: u64,
}

/// A part of a system. Calls reach it, and it replies to each exactly once.
///
/// Nothing here is called re-entrantly: what a component sends is delivered after it returns.
pub trait Component: fmt::Debug + Send {
    /// Before the first event: set timers.
    fn start(&mut self, _ctx: &mut Ctx) {}
    /// Somebody asks me.
    fn on_call(&mut self, call: CallId, ctx: &mut Ctx);
    /// A call of mine has ended.
    fn on_reply(&mut self, _call: CallId, _reply: Reply, _ctx: &mut Ctx) {}
    /// News of a call of mine.
    fn on_progress(&mut self, _call: CallId, _progress: Progress, _ctx: &mut Ctx) {}
    /// The caller of this call gave up, and says so. Who stops working replies (nobody listens any
    /// more); the default is to work on.
    fn on_cancel(&mut self, _call: CallId, _ctx: &mut Ctx) {}
    /// A timer of mine has run out.
    fn on_timer(&mut self, _timer: Timer, _ctx: &mut Ctx) {}
    /// Something in me breaks or is mended.
    fn on_fault(&mut self, _fault: &Fault, _ctx: &mut Ctx) {}
    /// The same, for some of the replicas of a pool. Only pools that have both roles are told of any.
    fn on_fault_of(&mut self, _role: Role, fault: &Fault, ctx: &mut Ctx) {
        self.on_fault(fault, ctx);
    }
    /// Background work on me changes to this.
    fn on_load(&mut self, _load: Load, _ctx: &mut Ctx) {}
    /// My work on a shared GPU goes on at another rate from now on ([`Ctx::device_rate`]): I re-anchor it.
    fn on_rate_change(&mut self, _client: ClientId, _ctx: &mut Ctx) {}
    /// A pipeline has written all that was known at `as_of` into me.
    fn on_materialized(&mut self, _as_of: SimTime, _ctx: &mut Ctx) {}
    /// My state at `now`, which may lie between two events. Pure.
    fn observe(&self, _now: SimTime) -> Signals {
        Signals::default()
    }
    /// What I measured, at the end of the run. Default: only what every component's meter shows.
    fn report(&self, _now: SimTime) -> Option<crate::llm::LlmReport> {
        None
    }
    /// What the front of a pool measured, at the end of the run. Default: no pool.
    fn pool_report(&self, _now: SimTime) -> Option<crate::pool::PoolReport> {
        None
    }
    /// What I measured of features and their pipelines, at the end of the run.
    fn data_report(&self, _now: SimTime) -> Option<DataReport> {
        None
    }
    /// What I measured beyond my meter, at the end of the run.
    fn measures(&self, _now: SimTime) -> Vec<Measure> {
        Vec::new()
    }
    /// The measured part of the run begins: forget what was counted so far.
    fn reset_measurements(&mut self, _now: SimTime) {}
}

/// What the data side of a system measured.
#[derive(Debug, Clone)]
pub enum DataReport {
    /// A feature store.
    FeatureStore(Box<FeatureStoreReport>),
    /// A batch pipeline.
    Pipeline(Box<PipelineReport>),
}
