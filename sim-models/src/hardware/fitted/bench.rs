//! Benchmark results of a real server, in the formats of the tools that make them.
//!
//! - `vllm bench serve --save-result --save-detailed` (vLLM, `vllm/benchmarks/serve.py`): `input_lens`,
//!   `output_lens`, `ttfts`, `itls` and, in later versions, `start_times`; without details, or without start
//!   times, only the means are used.
//! - GuideLLM (`benchmarks[].requests.successful[]`).
//! - AIPerf: a JSON object a request (`profile_export.jsonl`), or the summary (`profile_export_aiperf.json`).
//! - CSV with the columns `send_us`, `input_tokens`, `output_tokens`, `ttft_us` and `e2e_us`.
//!
//! All may be gzipped.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;
use thiserror::Error;

use super::moments::Observation;
use crate::gzip::unpack;

/// Longest file that is read, in bytes, unpacked.
const MAX_FILE: u64 = 1 << 30;

/// A benchmark result.
#[derive(Debug, Clone, PartialEq)]
pub enum Bench {
    /// Request by request, in order of sending.
    Requests(Vec<Observation>),
    /// A summary.
    Means(Means),
}

/// What a summary tells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Means {
    /// Requests answered.
    pub requests: u64,
    /// Requests answered each second.
    pub rate: f64,
    /// Mean tokens of a prompt.
    pub prompt_tokens: f64,
    /// Mean tokens of an answer.
    pub output_tokens: f64,
    /// Mean time to first token, in seconds.
    pub ttft_s: f64,
    /// Mean time for each further token, in seconds.
    pub tpot_s: f64,
}

/// A file that is no benchmark result.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{path}: {message}")]
pub struct BenchError {
    /// The file.
    pub path: String,
    /// What is wrong with it and what is expected.
    pub message: String,
}

const EXPECTED: &str = "expected the JSON of `vllm bench serve --save-result`, GuideLLM or AIPerf, or a CSV with \
                        send_us, input_tokens, output_tokens, ttft_us and e2e_us";

impl Bench {
    /// Reads a result file.
    ///
    /// # Errors
    /// What keeps it from being read, or what is missing in it.
    pub fn open(path: &Path) -> Result<Self, BenchError> {
        let refuse = |message: String| BenchError { path: path.display().to_string(), message };
        let text = File::open(path).and_then(unpack);
        let (text, _) = text.map_err(|error| refuse(error.to_string()))?;
        let mut bytes = Vec::new();
        text.take(MAX_FILE).read_to_end(&mut bytes).map_err(|error| refuse(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| refuse(format!("no text: {EXPECTED}")))?;
        Self::parse(&text).map_err(refuse)
    }

    /// Reads a result from a text; the error says what is wrong.
    ///
    /// # Errors
    /// As [`Bench::open`].
    pub fn parse(text: &str) -> Result<Self, String> {
        let bench = if text.trim_start().starts_with('{') { json(text)? } else { csv_rows(text)? };
        match bench {
            Self::Requests(requests) => {
                let good = |o: &Observation| {
                    o.sent_s.is_finite()
                        && o.ttft_s > 0.0
                        && o.latency_s >= o.ttft_s
                        && o.latency_s.is_finite()
                        && o.prompt_tokens > 0
                        && o.output_tokens > 0
                };
                let mut requests: Vec<_> = requests.into_iter().filter(good).collect();
                requests.sort_by(|a, b| a.sent_s.total_cmp(&b.sent_s));
                let Some(first) = requests.first().map(|o| o.sent_s) else {
                    return Err("no request with tokens and times".into());
                };
                for request in &mut requests {
                    request.sent_s -= first;
                }
                if requests.last().is_some_and(|last| last.sent_s > 1e7) {
                    return Err("requests over more than 115 days: expected one run".into());
                }
                Ok(Self::Requests(requests))
            }
            Self::Means(means) => {
                if means.requests == 0 {
                    return Err("a summary of no requests".to_owned());
                }
                for (what, value, least) in [
                    ("requests answered each second are", means.rate, 0.0),
                    ("mean tokens of a prompt are", means.prompt_tokens, 1.0),
                    ("mean tokens of an answer are", means.output_tokens, 1.0),
                    ("mean seconds to the first token are", means.ttft_s, 0.0),
                    ("mean seconds for each further token are", means.tpot_s, 0.0),
                ] {
                    if !(value > 0.0 && value >= least && value < 1e9) {
                        let expected = if least > 0.0 { "1 or more" } else { "a number above 0" };
                        return Err(format!("{what} {value}: expected {expected}"));
                    }
                }
                Ok(Self::Means(means))
            }
        }
    }
}

fn csv_rows(text: &str) -> Result<Bench, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|error| error.to_string())?.clone();
    let mut columns = [0; 5];
    for (column, name) in
        columns.iter_mut().zip(["send_us", "input_tokens", "output_tokens", "ttft_us", "e2e_us"])
    {
        let found = headers.iter().position(|header| header == name);
        *column = found.ok_or_else(|| format!("no column `{name}`: {EXPECTED}"))?;
    }
    let mut requests = Vec::new();
    for (line, row) in (2..).zip(reader.records()) {
        let row = row.map_err(|error| error.to_string())?;
        let number = |column: usize| {
            let cell = row.get(column).unwrap_or("");
            let value = cell.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
            value.ok_or_else(|| {
                format!("line {line}: `{}` is {cell:?}: expected a number of 0 or more", &headers[column])
            })
        };
        requests.push(Observation {
            sent_s: number(columns[0])? * 1e-6,
            prompt_tokens: number(columns[1])? as u32,
            output_tokens: number(columns[2])? as u32,
            ttft_s: number(columns[3])? * 1e-6,
            latency_s: number(columns[4])? * 1e-6,
        });
    }
    Ok(Bench::Requests(requests))
}

fn json(text: &str) -> Result<Bench, String> {
    let parsed: Result<Value, _> = serde_json::from_str(text);
    match parsed {
        Ok(value) if value.get("benchmarks").is_some() => guidellm(&value),
        Ok(value) if value.get("mean_ttft_ms").is_some() => vllm(&value),
        Ok(value) if value.get("time_to_first_token").is_some() => aiperf_summary(&value),
        Ok(value) if value.get("metrics").is_some() => aiperf(text),
        Ok(_) => Err(format!("none of the known keys: {EXPECTED}")),
        // One object a line.
        Err(_) if text.lines().filter(|line| !line.trim().is_empty()).nth(1).is_some() => aiperf(text),
        Err(error) => Err(format!("line {}, column {}: {error}", error.line(), error.column())),
    }
}

fn number(value: &Value, key: &str) -> Result<f64, String> {
    let found = value.get(key).and_then(Value::as_f64);
    found.ok_or_else(|| format!("no number `{key}`: {EXPECTED}"))
}

fn numbers(value: &Value, key: &str) -> Option<Vec<f64>> {
    value.get(key)?.as_array()?.iter().map(Value::as_f64).collect()
}

fn vllm(value: &Value) -> Result<Bench, String> {
    let detailed = || -> Option<Result<Vec<Observation>, String>> {
        let ends: Option<Vec<f64>> = value.get("itls").and_then(Value::as_array).map(|all| {
            let sum = |gaps: &Value| {
                gaps.as_array().map_or(0.0, |gaps| gaps.iter().filter_map(Value::as_f64).sum())
            };
            all.iter().map(sum).collect()
        });
        let (sent, prompts, outputs) =
            (numbers(value, "start_times")?, numbers(value, "input_lens")?, numbers(value, "output_lens")?);
        let (ttfts, ends) = (numbers(value, "ttfts")?, ends?);
        let count = sent.len();
        if [prompts.len(), outputs.len(), ttfts.len(), ends.len()] != [count; 4] {
            return Some(Err(
                "its lists of requests are not equally long: expected one entry a request".to_owned()
            ));
        }
        let request = |i: usize| Observation {
            sent_s: sent[i],
            prompt_tokens: prompts[i] as u32,
            output_tokens: outputs[i] as u32,
            ttft_s: ttfts[i],
            latency_s: ttfts[i] + ends[i],
        };
        Some(Ok((0..count).map(request).collect()))
    };
    if let Some(requests) = detailed() {
        return requests.map(Bench::Requests);
    }
    let requests = number(value, "completed")?;
    Ok(Bench::Means(Means {
        requests: requests as u64,
        rate: number(value, "request_throughput")?,
        prompt_tokens: number(value, "total_input_tokens")? / requests,
        output_tokens: number(value, "total_output_tokens")? / requests,
        ttft_s: number(value, "mean_ttft_ms")? * 1e-3,
        tpot_s: number(value, "mean_tpot_ms")? * 1e-3,
    }))
}

/// The first of several names that an object has as a number: versions differ.
fn any(value: &Value, keys: &[&str]) -> Result<f64, String> {
    let found = keys.iter().find_map(|key| value.pointer(key).and_then(Value::as_f64));
    found.ok_or_else(|| format!("a request without {}", keys.join(" or ")))
}

fn guidellm(value: &Value) -> Result<Bench, String> {
    let runs = value.get("benchmarks").and_then(Value::as_array).ok_or("`benchmarks` is no list")?;
    if runs.len() != 1 {
        return Err(format!("{} benchmarks in one file: expected one load", runs.len()));
    }
    let requests = runs[0].pointer("/requests/successful").and_then(Value::as_array);
    let requests = requests.ok_or("no requests.successful: expected a report with its requests")?;
    let request = |request: &Value| {
        let start = any(request, &["/request_start_time", "/start_time", "/info/timings/request_start"])?;
        let end = any(request, &["/request_end_time", "/end_time", "/info/timings/request_end"])?;
        Ok(Observation {
            sent_s: start,
            prompt_tokens: any(request, &["/prompt_tokens", "/input_metrics/text_tokens"])? as u32,
            output_tokens: any(request, &["/output_tokens", "/output_metrics/text_tokens"])? as u32,
            ttft_s: any(request, &["/time_to_first_token_ms"])? * 1e-3,
            latency_s: end - start,
        })
    };
    Ok(Bench::Requests(requests.iter().map(request).collect::<Result<_, String>>()?))
}

fn aiperf(text: &str) -> Result<Bench, String> {
    let mut requests = Vec::new();
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let value: Value =
            serde_json::from_str(text).map_err(|error| format!("line {line}: {error}: {EXPECTED}"))?;
        let phase = value.pointer("/metadata/benchmark_phase").and_then(Value::as_str);
        let cancelled = value.pointer("/metadata/was_cancelled").and_then(Value::as_bool) == Some(true);
        if phase == Some("warmup") || cancelled || value.get("error").is_some_and(|error| !error.is_null()) {
            continue;
        }
        let get = |key: &str| any(&value, &[key]).map_err(|message| format!("line {line}: {message}"));
        requests.push(Observation {
            sent_s: get("/metadata/request_start_ns")? * 1e-9,
            prompt_tokens: get("/metrics/input_sequence_length/value")? as u32,
            output_tokens: get("/metrics/output_sequence_length/value")? as u32,
            ttft_s: get("/metrics/time_to_first_token/value")? * 1e-3,
            latency_s: get("/metrics/request_latency/value")? * 1e-3,
        });
    }
    Ok(Bench::Requests(requests))
}

fn aiperf_summary(value: &Value) -> Result<Bench, String> {
    let mean = |key: &str| any(value, &[&format!("/{key}/avg")]);
    Ok(Bench::Means(Means {
        requests: mean("request_count")? as u64,
        rate: mean("request_throughput")?,
        prompt_tokens: mean("input_sequence_length")?,
        output_tokens: mean("output_sequence_length")?,
        ttft_s: mean("time_to_first_token")? * 1e-3,
        tpot_s: mean("inter_token_latency")? * 1e-3,
    }))
}
