//! Closed forms of queueing theory that the simulator must reproduce.
//!
//! Every row of a table is measured as the mean over independent replications, on a seed of its own,
//! and accepted when it lies within four of its own standard errors of the exact value. Every row says
//! how large four standard errors may be, so that it cannot pass for want of precision: mostly one to
//! three percent of a mean; more in heavy traffic and for the probability of a tail. A quantile x of
//! probability p is tested as P(X > x) = 1 - p, whose estimate has no bias. `cargo test -p sim-models
//! --test queueing -- --nocapture` prints the table.

mod bulk;
mod disciplines;
mod exact;
mod gpu_sharing;
mod harness;
mod loss;
mod networks;
mod power;
mod single;
mod ties;
