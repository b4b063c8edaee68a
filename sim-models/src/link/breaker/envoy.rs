//! Envoy's circuit breakers: limits on what one proxy has under way to a callee.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Admission, Underway};

/// Parameters of `envoy` (`config.cluster.v3.CircuitBreakers.Thresholds`). It has no states: what goes over
/// a limit is rejected at once, without an attempt. Its `max_retries` is the budget `envoy` of retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EnvoyConfig {
    /// The protocol to the callee. With `http1` a connection carries one request at a time; with `http2` one
    /// connection carries them all, and only `max_requests` limits them. Default: http1, as of a cluster
    /// whose protocol is not set.
    pub protocol: Protocol,
    /// The most connections, with `http1`. Default: 1024.
    pub max_connections: u32,
    /// The most requests that wait for a connection. Default: 1024.
    pub max_pending_requests: u32,
    /// The most requests under way. Default: 1024.
    pub max_requests: u32,
}

impl Default for EnvoyConfig {
    fn default() -> Self {
        Self {
            protocol: Protocol::Http1,
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
        }
    }
}

/// What is spoken to the callee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// A request a connection.
    Http1,
    /// All requests on one connection.
    Http2,
}

impl EnvoyConfig {
    pub(super) fn admit(&self, underway: Underway) -> Admission {
        if self.protocol == Protocol::Http1 && underway.active >= self.max_connections {
            return if underway.waiting < self.max_pending_requests {
                Admission::Wait
            } else {
                Admission::Refuse
            };
        }
        if underway.active < self.max_requests { Admission::Go } else { Admission::Refuse }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fill_then_the_queue_then_all_is_refused() {
        let http1 = EnvoyConfig { max_connections: 2, max_pending_requests: 1, ..EnvoyConfig::default() };
        let http2 = EnvoyConfig { protocol: Protocol::Http2, max_requests: 2, ..http1 };
        for (active, waiting, one, two) in [
            (0, 0, Admission::Go, Admission::Go),
            (1, 0, Admission::Go, Admission::Go),
            (2, 0, Admission::Wait, Admission::Refuse),
            (2, 1, Admission::Refuse, Admission::Refuse),
        ] {
            let underway = Underway { active, waiting };
            assert_eq!((http1.admit(underway), http2.admit(underway)), (one, two), "{underway:?}");
        }
        let narrow = EnvoyConfig { max_requests: 1, ..http1 };
        assert_eq!(narrow.admit(Underway { active: 1, waiting: 0 }), Admission::Refuse);
    }
}
