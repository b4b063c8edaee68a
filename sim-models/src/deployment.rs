//! Deployments: how the replicas of a pool are replaced by those of another version, and what a bad version does
//! until it is taken back.
//!
//! A pool with `deployment` runs one version of its program. Each `rollout` brings another one at its time, by one
//! of three strategies:
//!
//! * `rolling_update`, as the Deployment of Kubernetes: new replicas are started and old ones taken away, never more
//!   than `max_surge` above and never more than `max_unavailable` below what there should be.
//! * `recreate`: all old replicas end, and then all new ones start.
//! * `canary`, as Argo Rollouts: the new version takes a share of the traffic, step by step. The share is
//!   that of its replicas, or with `traffic_routing` exactly what the step says. An `analysis` watches it and takes it
//!   back when it does badly.
//!
//! A version differs from the others in what may be wrong with it: a share of its answers fail (`error_rate`), its work
//! takes longer (`slow`), it starts more slowly (`cold_start`), it crashes some time after each start (`crash_after`).
//!
//! # Going back
//! By hand: another rollout, of the version before. By itself: the analysis fails, or, with `progress_deadline_abort`,
//! a rollout makes no progress for `progress_deadline_seconds`.
//!
//! # What a replica lives through
//! It is started with the cold start of its version, ready after that, and available `min_ready_seconds` later. One
//! that is taken away gets no new calls and has `termination_grace_period_seconds` to finish those it has; then they
//! fail. One that crashes is started again after Kubernetes' back-off (10 s, doubled by each crash up to 5 min, and
//! 10 s again after it has run for 10 min; kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle, read 2026-11).
//!
//! # Choices
//! * Controllers see every change at once, as their watches do within a second. The ready replicas are those that
//!   the pool's active health checks take for well.
//! * An analysis measures the calls that ended since its last measurement; one that saw no call says nothing (with
//!   Argo's metric providers that is for the query to say). An error is whatever is no answer.
//! * The luck of a call with the error rate of a version is the same in every compared variant.
//! * Knative and Ray Serve roll out in their own ways, which are not modelled: a pool with their autoscalers has no
//!   `deployment`.

mod analysis;
mod canary;
mod config;
mod controller;
mod int_or_percent;
mod rolling;
#[cfg(test)]
mod tests;

pub use analysis::{AnalysisConfig, SuccessCondition};
pub use canary::{CanaryConfig, CanaryStep};
pub use config::{DeploymentConfig, RolloutConfig, Strategy};
pub(crate) use controller::{Counts, Ended, Rollouts};
pub use controller::{RolloutEntry, RolloutEvent};
pub use int_or_percent::IntOrPercent;
