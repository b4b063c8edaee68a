//! What an AI system is made of: one room a pattern, its configuration, behaviour and tests together.
//!
//! - [`traffic`]: where requests come from, by an arrival process or a recorded trace.
//! - [`flow`], [`service`], [`feature_store`], [`vector_index`], [`router`], [`cascade`],
//!   [`semantic_cache`], [`llm`], [`model_server`], [`external_api`]: the components that serve them.
//! - [`admission`]: which calls a component takes, turns away or gives up; [`queue`]: work in the background.
//! - [`pipeline`], [`offline_store`]: batch jobs by schedule, and the store of history that they read.
//! - [`training`], [`spot`]: jobs that go on from checkpoints, and capacity that may be taken away.
//! - [`pool`]: the front of pools of replicas: balancers, health checks, ejection, panic.
//! - [`autoscaler`]: how many replicas a pool is to have.
//! - [`quality`]: who is right on which request, and what single models would have come to.
//! - [`link`]: the client-side policies between two of them.
//! - [`device`]: GPUs that several of them share.
//! - [`hardware`]: GPUs and models by name, what fits into memory, how long a forward pass takes.
//! - [`system`]: configuration to world, a run to its end, and what is known then.
//! - [`component`], [`context`], [`call`], [`request`], [`meter`], [`measure`], [`cost`], [`energy`]: the plumbing a new component
//!   plugs into.
//! - [`units`]: values as scenario files write them; [`gzip`]: files that may be packed.
//!
//! ```
//! use sim_models::system::{self, RunPlan, SystemConfig, Traces};
//!
//! let config: SystemConfig = toml::from_str(r#"
//!     [traffic.web]
//!     arrivals = { process = "poisson", rate = "8/s" }
//!     entry = "db"
//!     [components.db]
//!     kind = "service"
//!     service_time = { exponential = { mean = "100ms" } }
//! "#)?;
//! let plan = RunPlan::default();
//! let output = system::run(system::build(&config, &plan, &Traces::new())?, &plan)?;
//! assert!(output.conservation.holds());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod admission;
pub mod autoscaler;
mod by_number;
pub mod call;
pub mod cascade;
pub mod component;
pub mod context;
pub mod cost;
pub mod deployment;
pub mod device;
pub mod energy;
pub mod error;
pub mod event;
pub mod external_api;
pub mod feature_store;
pub mod flow;
pub mod gzip;
pub mod hardware;
pub mod journal;
pub mod link;
pub mod llm;
pub mod measure;
pub mod meter;
pub mod model_server;
pub mod offline_store;
pub mod pipeline;
pub mod pool;
pub mod quality;
pub mod queue;
mod recency;
pub mod request;
pub mod router;
pub mod semantic_cache;
pub mod service;
pub mod slab;
pub mod spot;
pub mod system;
pub mod timeline;
pub mod traffic;
pub mod training;
pub mod turn;
pub mod units;
pub mod vector_index;
