//! Values of scenario files: a number and its unit in one string (`"250ms"`, `"24GiB"`, `"$2.50/h"`).
//!
//! Every type reads from and writes to its text form, and the canonical form reads back as the same
//! value to the last bit. A bare number where a unit is needed is an error that shows the unit.
//!
//! ```
//! use sim_models::units::{Bytes, Rate, Time};
//! assert_eq!("1.5s".parse::<Time>().unwrap().to_string(), "1500ms");
//! assert_eq!("600/min".parse::<Rate>().unwrap().per_second(), 10.0);
//! assert_eq!("24GiB".parse::<Bytes>().unwrap().get(), 24 << 30);
//! let error = "250".parse::<Time>().unwrap_err().to_string();
//! assert!(error.contains("no unit") && error.contains("\"250ms\""));
//! ```

mod bytes;
mod dist;
mod money;
mod number;
mod rate;
mod text;
mod time;

pub use bytes::Bytes;
pub use dist::{DistConfig, DistConfigError, DistValue, Law, NumberDist, TimeDist, Weighted};
pub use money::{HOURS_PER_MONTH, HourlyPrice, Money, TokenPrice};
pub use number::{Number, Probability};
pub use rate::Rate;
pub use text::UnitError;
pub(crate) use text::decimal_times;
pub use time::Time;
