//! The Tenfold desktop app: the architecture of an AI system, what becomes of it under load, and what helps.
//!
//! Three things are kept apart: the scenario with its history ([`Document`]), results, which never change, and what
//! is seen of them. Views only draw; what they ask for is done once a frame, and whatever can be asked for is a
//! [`Command`]. All simulation is done by the `scenarios` crate, in the background.

mod app;
mod command;
mod document;
mod draw;
mod files;
mod inspector;
mod jobs;
mod keep;
mod shown;
mod theme;
mod view;

pub use app::App;
pub use command::{Command, MENUS, Tab};
pub use document::{Document, Origin};
pub use keep::state_dir;
