//! What is wrong with a configuration, and where.

use std::fmt;

use thiserror::Error;

/// A configuration that cannot be simulated. `path` names the offending value by its keys, so that a
/// front end can point at the place in the file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct ConfigError {
    /// The keys from the top of the scenario to the value: `["links", "web -> edge", "timeout"]`.
    pub path: Vec<String>,
    /// What is wrong, with the offending value.
    pub message: String,
    /// What would be accepted.
    pub help: Option<String>,
}

impl ConfigError {
    /// An error at `path`.
    pub fn new<S: Into<String>>(path: impl IntoIterator<Item = S>, message: impl Into<String>) -> Self {
        Self { path: path.into_iter().map(Into::into).collect(), message: message.into(), help: None }
    }

    /// Says what would be accepted.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Puts a key in front of the path.
    pub fn within(mut self, key: impl Into<String>) -> Self {
        self.path.insert(0, key.into());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path.join("."))?;
        }
        write!(f, "{}", self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}
