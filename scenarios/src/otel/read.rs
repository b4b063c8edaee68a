//! OTLP in JSON: what the collector's file exporter writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use serde_json::error::Category;
use sim_models::gzip::unpack;

use crate::language::ScenarioError;

/// Longest file that is read, unpacked, in bytes (assumption: some five million spans, which fit into memory).
const MAX_BYTES: u64 = 4 << 30;
/// What a file is expected to be.
const EXPECTED: &str = "expected OTLP in JSON, as the collector's `file` exporter writes it: {\"resourceSpans\": [...]}, one \
                        a line or one in all, plain or gzipped";

/// What a span is to its service (`SpanKind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Work within the service, or unspecified.
    Internal,
    /// Answers a call.
    Server,
    /// Makes a call and waits for its answer.
    Client,
    /// Sends a message.
    Producer,
    /// Works on a message.
    Consumer,
}

/// What a span says of an answer of a model (semantic conventions for generative AI, 1.37 and before; vLLM's own names).
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Answer {
    /// `gen_ai.request.model`, or the model that answered.
    pub model: Option<String>,
    /// `gen_ai.provider.name`.
    pub provider: Option<String>,
    /// `gen_ai.usage.input_tokens`.
    pub input_tokens: Option<u32>,
    /// `gen_ai.usage.output_tokens`.
    pub output_tokens: Option<u32>,
    /// Seconds to the first token or chunk.
    pub ttft_s: Option<f64>,
    /// `gen_ai.conversation.id`.
    pub conversation: Option<String>,
}

/// A span, as much of it as is needed.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub id: String,
    /// Empty for a root.
    pub parent: String,
    /// Place of its service in [`Spans::services`].
    pub service: usize,
    pub name: String,
    pub kind: Kind,
    /// In nanoseconds since 1970.
    pub start: u64,
    pub end: u64,
    pub failed: bool,
    /// Whom a client span calls, if it says so.
    pub peer: Option<String>,
    pub answer: Option<Answer>,
    /// Share of the traces that a sampler kept, from `ot=th` of the trace state.
    pub kept: Option<f64>,
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Spans {
    /// Spans by trace.
    pub traces: BTreeMap<String, Vec<Span>>,
    /// Names of services, in the order of their first span.
    pub services: Vec<String>,
    /// How many instances of each were seen (`service.instance.id`).
    pub instances: Vec<BTreeSet<String>>,
    /// Spans in all.
    pub count: usize,
    /// Spans that are there more than once, as two exporters or a retry write them: the first counts.
    pub repeated: usize,
    /// Spans that say when they ended before they began, or never.
    pub without_time: usize,
    /// Whether the file ends within a line.
    pub is_cut: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Export {
    resource_spans: Option<Vec<ResourceSpans>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans {
    #[serde(default)]
    resource: Resource,
    #[serde(default)]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Deserialize, Default)]
struct Resource {
    #[serde(default)]
    attributes: Vec<Attribute>,
}

#[derive(Deserialize)]
struct ScopeSpans {
    #[serde(default)]
    spans: Vec<Written>,
}

#[derive(Deserialize)]
struct Attribute {
    key: String,
    #[serde(default)]
    value: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    trace_id: String,
    span_id: String,
    #[serde(default)]
    parent_span_id: String,
    #[serde(default)]
    trace_state: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    kind: Value,
    #[serde(default)]
    start_time_unix_nano: Value,
    #[serde(default)]
    end_time_unix_nano: Value,
    #[serde(default)]
    attributes: Vec<Attribute>,
    #[serde(default)]
    status: Value,
}

/// Reads the spans of a file.
///
/// # Errors
/// A file that cannot be read or is no OTLP, with the line.
pub(super) fn read(path: &Path) -> Result<Spans, ScenarioError> {
    let name = path.display().to_string();
    let refuse = |message: String| ScenarioError::new(message).with_help(EXPECTED).in_file(&name);
    let unread = |error: io::Error| ScenarioError::new(format!("cannot read it: {error}")).in_file(&name);
    let (text, is_zipped) = File::open(path).and_then(unpack).map_err(unread)?;
    let mut spans = Spans::default();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let (mut exports, mut others) = (0_usize, 0_usize);
    let documents =
        serde_json::Deserializer::from_reader(Bounded { text, left: MAX_BYTES }).into_iter::<Export>();
    for next in documents {
        let export = match next {
            Ok(export) => export,
            // What came before the cut is kept: the collector was stopped, or still writes.
            Err(error)
                if exports > 0
                    && (error.classify() == Category::Eof
                        || error
                            .io_error_kind()
                            .is_some_and(|kind| is_zipped && kind != ErrorKind::FileTooLarge)) =>
            {
                spans.is_cut = true;
                break;
            }
            Err(error) => {
                let text = error.to_string();
                let what = match error.classify() {
                    Category::Eof => "the file ends before its JSON does",
                    Category::Syntax => "not JSON",
                    Category::Data | Category::Io => text.split(" at line ").next().unwrap_or(&text),
                };
                return Err(refuse(format!("line {}: {what}", error.line().max(1))));
            }
        };
        match export.resource_spans {
            Some(resources) => {
                exports += 1;
                resources.into_iter().for_each(|resource| spans.take(resource, &mut places));
            }
            // Metrics and logs, which a collector may write to the same file.
            None => others += 1,
        }
    }
    if spans.count == 0 {
        return Err(refuse(match (exports, others) {
            (0, 0) => "the file is empty".to_owned(),
            (0, _) => "no `resourceSpans`: there are no traces in it".to_owned(),
            _ => "no spans in it".to_owned(),
        }));
    }
    for trace in spans.traces.values_mut() {
        let (all, mut ids) = (trace.len(), BTreeSet::new());
        trace.retain(|span| ids.insert(span.id.clone()));
        spans.repeated += all - trace.len();
    }
    spans.count -= spans.repeated;
    Ok(spans)
}

/// A text up to [`MAX_BYTES`], beyond which is an error and no end.
struct Bounded<R> {
    text: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.text.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::new(
                ErrorKind::FileTooLarge,
                format!("over {MAX_BYTES} bytes: some hours of traces are enough"),
            )
        })?;
        Ok(read)
    }
}

impl Spans {
    fn take(&mut self, resource: ResourceSpans, places: &mut BTreeMap<String, usize>) {
        let of_service = |key: &str| text(&resource.resource.attributes, &[key]);
        // The name that an SDK gives a service without one (specification of resources).
        let name = of_service("service.name").unwrap_or_else(|| "unknown_service".to_owned());
        let service = *places.entry(name).or_insert_with_key(|name| {
            self.services.push(name.clone());
            self.instances.push(BTreeSet::new());
            self.services.len() - 1
        });
        if let Some(instance) = of_service("service.instance.id") {
            self.instances[service].insert(instance);
        }
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            self.count += 1;
            let (start, end) = (whole(&span.start_time_unix_nano), whole(&span.end_time_unix_nano));
            let (Some(start), Some(end)) = (start, end) else {
                self.without_time += 1;
                continue;
            };
            if start == 0 || end < start {
                self.without_time += 1;
                continue;
            }
            let kind = match (&span.kind.as_u64(), span.kind.as_str()) {
                (Some(2), _) | (_, Some("SPAN_KIND_SERVER")) => Kind::Server,
                (Some(3), _) | (_, Some("SPAN_KIND_CLIENT")) => Kind::Client,
                (Some(4), _) | (_, Some("SPAN_KIND_PRODUCER")) => Kind::Producer,
                (Some(5), _) | (_, Some("SPAN_KIND_CONSUMER")) => Kind::Consumer,
                _ => Kind::Internal,
            };
            let code = span.status.get("code");
            let failed = code.is_some_and(|code| *code == 2 || *code == "STATUS_CODE_ERROR");
            // All zeros is no parent, as some exporters write it.
            let parent = if span.parent_span_id.bytes().all(|byte| byte == b'0') {
                String::new()
            } else {
                span.parent_span_id.to_ascii_lowercase()
            };
            self.traces.entry(span.trace_id.to_ascii_lowercase()).or_default().push(Span {
                id: span.span_id.to_ascii_lowercase(),
                parent,
                service,
                kind,
                start,
                end,
                failed,
                peer: peer(&span.attributes),
                answer: answer(&span.attributes),
                kept: kept(&span.trace_state),
                name: span.name,
            });
        }
    }
}

fn find<'a>(attributes: &'a [Attribute], keys: &[&str]) -> Option<&'a Value> {
    keys.iter()
        .find_map(|key| attributes.iter().find(|attribute| attribute.key == *key))
        .map(|found| &found.value)
}

fn text(attributes: &[Attribute], keys: &[&str]) -> Option<String> {
    let text = find(attributes, keys)?.get("stringValue")?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// 64-bit integers are texts in the JSON form of protocol buffers; some exporters write numbers.
fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn number(attributes: &[Attribute], keys: &[&str]) -> Option<f64> {
    let value = find(attributes, keys)?;
    let int = value.get("intValue").and_then(whole).map(|int| int as f64);
    let number = int.or_else(|| value.get("doubleValue")?.as_f64())?;
    (number.is_finite() && number >= 0.0).then_some(number)
}

/// Whom a client span calls (semantic conventions for databases, messaging, RPC and HTTP, new and old).
fn peer(attributes: &[Attribute]) -> Option<String> {
    let of = |keys: &[&str]| text(attributes, keys);
    of(&["peer.service"])
        .or_else(|| {
            let system = of(&["db.system.name", "db.system"])?;
            Some(of(&["db.namespace", "db.name"]).map_or(system.clone(), |name| format!("{system}-{name}")))
        })
        .or_else(|| of(&["messaging.system"]))
        .or_else(|| of(&["server.address", "net.peer.name", "rpc.service"]))
}

fn answer(attributes: &[Attribute]) -> Option<Answer> {
    // An agent's run and a call of a tool carry the model's name, too, but are none of its answers.
    let operation = text(attributes, &["gen_ai.operation.name"]);
    let is_answer = operation
        .as_deref()
        .is_none_or(|name| ["chat", "text_completion", "generate_content", "embeddings"].contains(&name));
    let tokens =
        |keys: &[&str]| number(attributes, keys).map(|tokens| tokens.min(f64::from(u32::MAX)) as u32);
    let answer = Answer {
        model: text(attributes, &["gen_ai.request.model", "gen_ai.response.model"]),
        provider: text(attributes, &["gen_ai.provider.name", "gen_ai.system"]),
        input_tokens: tokens(&["gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"]),
        output_tokens: tokens(&["gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"]),
        ttft_s: number(
            attributes,
            &["gen_ai.response.time_to_first_chunk", "gen_ai.latency.time_to_first_token"],
        ),
        conversation: None,
    };
    let conversation = text(attributes, &["gen_ai.conversation.id"]);
    (is_answer && (operation.is_some() || answer != Answer::default()))
        .then_some(Answer { conversation, ..answer })
}

/// The share that a sampler kept: 1 - T / 2^56 with the threshold T of `ot=th:T`, whose trailing zeros are left out
/// ("TraceState: Probability Sampling", OpenTelemetry specification).
fn kept(state: &str) -> Option<f64> {
    let ours = state.split(',').find_map(|entry| entry.trim().strip_prefix("ot="))?;
    let digits = ours.split(';').find_map(|pair| pair.strip_prefix("th:"))?;
    let threshold = (1..=14).contains(&digits.len()).then(|| u64::from_str_radix(digits, 16).ok())??;
    let share = 1.0 - threshold as f64 / (1_u64 << (4 * digits.len())) as f64;
    (share > 0.0).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_of_samplers() {
        // The table of the specification.
        for (state, share) in [
            ("ot=th:0", Some(1.0)),
            ("ot=th:8", Some(0.5)),
            ("other=1, ot=rv:1;th:c", Some(0.25)),
            ("ot=th:fd70a3d70a3d71", Some(0.01)),
            ("ot=th:ffffffffffffff", None),
            ("ot=rv:12", None),
            ("ot=th:xyz", None),
            ("", None),
        ] {
            match (kept(state), share) {
                (Some(read), Some(share)) => assert!((read - share).abs() < 1e-6, "{state}: {read}"),
                (read, share) => assert_eq!(read, share, "{state}"),
            }
        }
    }
}
