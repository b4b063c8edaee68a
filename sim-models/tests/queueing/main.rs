//! Closed forms of queueing theory that the simulator must reproduce.
//!
//! Every row of a table is measured as the mean over independent replications with fixed seeds, and
//! accepted when it lies within four of its own standard errors of the exact value; the runs are long
//! enough for four standard errors to be one or two percent of a mean, and a few percent of the
//! probability of a tail. A quantile x of probability p is tested as P(X > x) = 1 - p, whose estimate
//! has no bias. `cargo test -p sim-models --test queueing -- --nocapture` prints the table.

mod disciplines;
mod exact;
mod harness;
mod loss;
mod networks;
mod power;
mod single;
mod ties;
