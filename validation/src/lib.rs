//! Measurements on real systems and checks of the models against them: what is predicted stands beside what is
//! measured.
//!
//! * [`redis`]: reads of features from a real Redis on this machine.
//! * [`engine`]: a serving engine under load, beside what is predicted from its parts.
//! * [`gpu`]: kernels and passes timed by `tenfold-microbench`, and a profile that was not fitted to them.
//!
//! Measurements of an H200 are kept in `measurements/`; other GPU times come from imported kernel profiles and
//! datasheets, and every result says so.

pub mod engine;
pub mod gpu;
#[expect(clippy::disallowed_methods, reason = "real time is what is measured")]
pub mod redis;
