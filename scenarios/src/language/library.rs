//! The scenarios that ship with the program.

/// A scenario of the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LibraryScenario {
    /// Its name: that of its file, without the ending.
    pub id: &'static str,
    /// Its text.
    pub text: &'static str,
}

macro_rules! library {
    ($($id:literal),+ $(,)?) => {
        &[$(LibraryScenario { id: $id, text: include_str!(concat!("../../library/", $id, ".toml")) }),+]
    };
}

/// The scenarios that ship with the program, from the simplest on.
pub fn library() -> &'static [LibraryScenario] {
    library![
        "queueing-basics",
        "recommender",
        "feature-store",
        "ranking-server",
        "paged-attention",
        "precision",
        "disaggregated",
        "nightly-batch",
        "spot-training",
        "cold-start",
        "deployment",
        "load-shedding",
        "circuit-breaker",
        "retry-storm",
        "gpu-sharing",
        "llm-capacity",
        "model-routing",
        "cascade",
        "semantic-cache",
        "agent-loop",
        "chat-sessions",
        "support-assistant",
        "ten-times"
    ]
}
