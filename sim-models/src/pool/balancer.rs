//! Which replica gets a call.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess};
use serde::{Serialize, Serializer};
use sim_core::time::SimDuration;

use super::hashing::is_prime;
use super::notation::{self, Notation};
use crate::error::ConfigError;
use crate::units::Time;

/// How calls are spread over the replicas that take calls: a name, or a table with one key, the name, and
/// its parameters. Draws belong to the call, so that compared variants meet the same luck; replicas that
/// are equally good are drawn among, unless stated. `n` is the number of replicas.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case")]
pub enum Balancer {
    /// One after the other. O(log n).
    #[default]
    RoundRobin,
    /// Each with the same probability. O(1).
    Random,
    /// Envoy's least request: the one with the fewest calls in it of a few that are drawn. O(1).
    LeastRequest(LeastRequest),
    /// The one with fewer calls of two different ones that are drawn (Mitzenmacher, "The power of two
    /// choices in randomized load balancing", IEEE TPDS 12 (2001)). O(1).
    PowerOfTwo,
    /// The one with the fewest calls in it of all. O(n).
    JoinShortestQueue,
    /// The same key to the same replica, and few keys move when replicas come and go. O(log n); O(n) with
    /// a bound on the load.
    ConsistentHash(ConsistentHash),
    /// Where most of the prompt is in the prefix cache, less a penalty on load. O(n); `llm` only.
    PrefixAware(PrefixAware),
    /// vLLM's balancing of data-parallel engines: the least `4 * waiting + running`, the first of equals.
    /// O(n).
    VllmDataParallel(VllmDataParallel),
}

/// Parameters of `least_request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LeastRequest {
    /// How many replicas are drawn, at least 2; one may be drawn twice, and the first of equals is taken.
    /// Default: 2, Envoy's (`LeastRequest.choice_count`).
    pub choice_count: u32,
}

impl Default for LeastRequest {
    fn default() -> Self {
        Self { choice_count: 2 }
    }
}

/// Parameters of `consistent_hash`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConsistentHash {
    /// How hashes are given to replicas. Default: ring_hash.
    pub algorithm: HashAlgorithm,
    /// What of a request is hashed. Default: prefix.
    pub key: HashKey,
    /// The least number of points on the ring. Default: 1024, Envoy's.
    pub minimum_ring_size: u32,
    /// Places of the Maglev table, a prime. Default: 65537, Envoy's.
    pub table_size: u32,
    /// The most calls of a replica, as a multiple (at least 1) of the mean over those that take calls, this
    /// call included and rounded up; where a replica is at the bound, the next on the circle is taken
    /// (Mirrokni, Thorup, Zadimoghaddam, "Consistent hashing with bounded loads", 2016). KubeAI uses 1.25.
    /// Default: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_factor: Option<f64>,
}

impl Default for ConsistentHash {
    fn default() -> Self {
        Self {
            algorithm: HashAlgorithm::RingHash,
            key: HashKey::Prefix,
            minimum_ring_size: 1024,
            table_size: 65_537,
            load_factor: None,
        }
    }
}

/// How hashes are given to replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HashAlgorithm {
    /// A ketama ring: many points a replica.
    RingHash,
    /// A Maglev table: even shares, and a few more keys that move.
    Maglev,
}

/// What of a request is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HashKey {
    /// The text that its prompt begins with (of blocks the first); a request without one is sent at random.
    Prefix,
    /// Its tenant.
    Tenant,
    /// Its entity.
    Entity,
}

/// Parameters of `prefix_aware`. The best score gets the call:
/// `matched_tokens / prompt_tokens - beta * (load - mean) / max(1, mean)`, the `loadaware` extension of the
/// router of vLLM's production stack. The tokens matched are those that the replica was sent before, the
/// most recently used, as many as its KV cache holds; what the cache has evicted since is not known.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PrefixAware {
    /// What load weighs against a hit. Default: 1.0, `loadaware`'s; 0 looks at hits alone.
    pub beta: f64,
    /// How often the load of the replicas (waiting and running) is read; in between it is stale. 0 counts
    /// the calls in them without delay, as `loadaware` does. Default: 50 ms, an assumption (what the
    /// Kubernetes Gateway API inference extension is set to).
    pub scrape_period: Time,
}

impl Default for PrefixAware {
    fn default() -> Self {
        Self { beta: 1.0, scrape_period: Time::new(SimDuration::from_millis(50)) }
    }
}

/// Parameters of `vllm_data_parallel` (`DPLBAsyncMPClient` in `vllm/v1/engine/core_client.py`, 0.11.0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VllmDataParallel {
    /// How often the engines' counts are read; in between each call sent counts as one more waiting.
    /// Default: 100 ms, vLLM's.
    pub scrape_period: Time,
}

impl Default for VllmDataParallel {
    fn default() -> Self {
        Self { scrape_period: Time::new(SimDuration::from_millis(100)) }
    }
}

/// The largest ring, Envoy's, and the largest Maglev table, Envoy's.
const LARGEST: (u32, u32) = (8 << 20, 5_000_011);

impl Balancer {
    /// The name, and whether all parameters have their defaults.
    fn name(&self) -> &'static str {
        let place = match self {
            Self::RoundRobin => 0,
            Self::Random => 1,
            Self::LeastRequest(_) => 2,
            Self::PowerOfTwo => 3,
            Self::JoinShortestQueue => 4,
            Self::ConsistentHash(_) => 5,
            Self::PrefixAware(_) => 6,
            Self::VllmDataParallel(_) => 7,
        };
        Self::NAMES[place]
    }

    /// How often it reads the replicas' signals; never at 0.
    pub(super) fn scrape_period(&self) -> SimDuration {
        match self {
            Self::PrefixAware(PrefixAware { scrape_period, .. })
            | Self::VllmDataParallel(VllmDataParallel { scrape_period }) => scrape_period.get(),
            _ => SimDuration::ZERO,
        }
    }

    /// Whether the parameters make a balancer for so many replicas; the path of an error starts at it.
    pub(super) fn check(&self, replicas: u32) -> Result<(), ConfigError> {
        let wrong = |key: &str, value: String, expected: String| {
            Err(ConfigError::new([self.name(), key], format!("{key} is {value}")).help(expected))
        };
        match self {
            Self::LeastRequest(LeastRequest { choice_count: count @ 0..2 }) => {
                wrong("choice_count", count.to_string(), "expected at least 2".into())
            }
            Self::ConsistentHash(hash) => {
                let (ring, table) = LARGEST;
                let (size, points) = (hash.table_size, hash.minimum_ring_size);
                if points == 0 || points > ring {
                    let expected = format!("expected 1 to {ring}");
                    return wrong("minimum_ring_size", points.to_string(), expected);
                }
                if size < replicas || size > table || !is_prime(size) {
                    let expected = format!("expected a prime from {replicas}, the replicas, to {table}");
                    return wrong("table_size", size.to_string(), expected);
                }
                match hash.load_factor {
                    Some(factor) if !(1.0..=1e6).contains(&factor) => {
                        let expected = "expected a number from 1, such as 1.25".into();
                        wrong("load_factor", factor.to_string(), expected)
                    }
                    _ => Ok(()),
                }
            }
            Self::PrefixAware(PrefixAware { beta, .. }) if !(0.0..=1e6).contains(beta) => {
                wrong("beta", beta.to_string(), "expected a number from 0, such as 1.0".into())
            }
            Self::VllmDataParallel(VllmDataParallel { scrape_period }) if scrape_period.get().is_zero() => {
                wrong("scrape_period", scrape_period.to_string(), "expected a time above 0".into())
            }
            _ => Ok(()),
        }
    }
}

impl Notation for Balancer {
    const NAMES: &'static [&'static str] = &[
        "round_robin",
        "random",
        "least_request",
        "power_of_two",
        "join_shortest_queue",
        "consistent_hash",
        "prefix_aware",
        "vllm_data_parallel",
    ];
    const EXPECTED: &'static str =
        "a balancer such as \"round_robin\" or { least_request = { choice_count = 3 } }";

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "round_robin" => Self::RoundRobin,
            "random" => Self::Random,
            "least_request" => Self::LeastRequest(LeastRequest::default()),
            "power_of_two" => Self::PowerOfTwo,
            "join_shortest_queue" => Self::JoinShortestQueue,
            "consistent_hash" => Self::ConsistentHash(ConsistentHash::default()),
            "prefix_aware" => Self::PrefixAware(PrefixAware::default()),
            "vllm_data_parallel" => Self::VllmDataParallel(VllmDataParallel::default()),
            _ => return None,
        })
    }

    fn from_table<'de, A: MapAccess<'de>>(mut table: A) -> Result<Self, A::Error> {
        let balancer = Self::deserialize(MapAccessDeserializer::new(&mut table))?;
        if let Some(second) = table.next_key::<String>()? {
            let message = format!("one balancer only: `{second}` is a second key (parameters go one deeper)");
            return Err(de::Error::custom(message));
        }
        Ok(balancer)
    }
}

impl<'de> Deserialize<'de> for Balancer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        notation::read(deserializer)
    }
}

impl Serialize for Balancer {
    /// The name where it says it all.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if Self::named(self.name()).as_ref() == Some(self) {
            serializer.serialize_str(self.name())
        } else {
            Self::serialize(self, serializer)
        }
    }
}

impl JsonSchema for Balancer {
    fn schema_name() -> Cow<'static, str> {
        "Balancer".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = |name: &str, parameters: Schema| {
            json_schema!({
                "type": "object",
                "properties": { name: parameters },
                "required": [name],
                "additionalProperties": false,
            })
        };
        let tables = [
            table("least_request", generator.subschema_for::<LeastRequest>()),
            table("consistent_hash", generator.subschema_for::<ConsistentHash>()),
            table("prefix_aware", generator.subschema_for::<PrefixAware>()),
            table("vllm_data_parallel", generator.subschema_for::<VllmDataParallel>()),
        ];
        json_schema!({
            "description": "How calls are spread over the replicas that take calls: a name, or a table with \
                            one key, the name, and its parameters.",
            "anyOf": [
                {
                    "type": "string",
                    "enum": Self::NAMES,
                    "description": "`round_robin`: one after the other. `random`: each alike. `least_request`: \
                                    Envoy's, the one with the fewest calls of a few that are drawn. `power_of_two`: \
                                    of two different ones. `join_shortest_queue`: of all. `consistent_hash`: the \
                                    same key to the same replica. `prefix_aware`: where most of the prompt is in \
                                    the prefix cache, less a penalty on load. `vllm_data_parallel`: vLLM's, the \
                                    least `4 * waiting + running`.",
                },
                { "oneOf": tables },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct File {
        balancer: Balancer,
    }

    fn read(text: &str) -> Result<Balancer, String> {
        toml::from_str::<File>(text).map(|file| file.balancer).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn names_and_tables_read_back() {
        for name in Balancer::NAMES {
            let balancer = read(&format!("balancer = \"{name}\"")).unwrap();
            assert_eq!(balancer.name(), *name);
            assert_eq!(Balancer::named(name).unwrap(), balancer);
            assert_eq!(toml::to_string(&File { balancer }).unwrap(), format!("balancer = \"{name}\"\n"));
        }
        let tables = [
            "least_request = { choice_count = 3 }",
            "consistent_hash = { algorithm = \"maglev\", key = \"entity\", load_factor = 1.25 }",
            "prefix_aware = { beta = 0.5, scrape_period = \"0s\" }",
            "vllm_data_parallel = { scrape_period = \"1s\" }",
        ];
        for table in tables {
            let balancer = read(&format!("balancer = {{ {table} }}")).unwrap();
            let file = File { balancer };
            assert_eq!(toml::from_str::<File>(&toml::to_string(&file).unwrap()).unwrap(), file);
            assert_eq!(file.balancer.check(10), Ok(()));
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (text, part) in [
            ("\"best\"", "unknown variant `best`, expected one of `round_robin`, `random`"),
            ("{ best = {} }", "unknown variant `best`"),
            ("3", "expected a balancer such as"),
            ("{ least_request = { choices = 3 } }", "unknown field `choices`, expected `choice_count`"),
            ("{ least_request = {}, prefix_aware = {} }", "one balancer only"),
            ("{ prefix_aware = { scrape_period = 3 } }", "duration"),
        ] {
            let message = read(&format!("balancer = {text}")).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
        for (text, key) in [
            ("least_request = { choice_count = 1 }", "choice_count"),
            ("consistent_hash = { minimum_ring_size = 0 }", "minimum_ring_size"),
            ("consistent_hash = { table_size = 65536 }", "table_size"),
            ("consistent_hash = { table_size = 7 }", "table_size"),
            ("consistent_hash = { load_factor = 0.9 }", "load_factor"),
            ("consistent_hash = { load_factor = nan }", "load_factor"),
            ("prefix_aware = { beta = -1.0 }", "beta"),
            ("vllm_data_parallel = { scrape_period = \"0s\" }", "scrape_period"),
        ] {
            let error = read(&format!("balancer = {{ {text} }}")).unwrap().check(10).unwrap_err();
            assert_eq!(error.path.last().unwrap(), key, "{error}");
            assert!(error.help.unwrap().starts_with("expected"), "{text}");
        }
    }

    #[test]
    fn the_schema_takes_names_and_tables() {
        let schema = serde_json::to_value(schemars::schema_for!(Balancer)).unwrap();
        assert_eq!(schema["anyOf"][0]["enum"].as_array().unwrap().len(), Balancer::NAMES.len());
        assert_eq!(schema["anyOf"][1]["oneOf"].as_array().unwrap().len(), 4);
    }
}
