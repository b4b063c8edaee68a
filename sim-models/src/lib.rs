//! sim-models

pub mod call;
pub mod component;
pub mod context;
pub mod cost;
pub mod error;
pub mod feature_store;
pub mod flow;
pub mod hardware;
pub mod link;
pub mod llm;
pub mod meter;
pub mod request;
pub mod router;
pub mod service;
pub mod slab;
pub mod system;
pub mod traffic;
pub mod units;
