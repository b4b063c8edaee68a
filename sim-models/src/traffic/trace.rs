//! Recorded traffic: who asked when, with prompts and answers how long.
//!
//! Three formats are read, plain or gzipped: the Azure LLM inference trace ([`TraceFormat::Azure`]),
//! Mooncake's conversation trace ([`TraceFormat::Mooncake`]) and a CSV of one's own
//! ([`TraceFormat::Generic`]). A trace is read line by line and kept compact: names are numbered and
//! prefix blocks lie in one list.
//!
//! ```
//! use sim_models::traffic::trace::{Trace, TraceFormat};
//! let csv = "arrival_s,prompt_tokens,output_tokens\n0,512,20\n1.5,100,7\n";
//! let trace = Trace::read(csv.as_bytes(), "mine.csv", TraceFormat::Auto).unwrap();
//! assert_eq!(trace.len(), 2);
//! assert_eq!(trace.scaled(3.0).unwrap().len(), 6);
//! ```

mod azure;
mod generic;
mod lines;
mod mooncake;
mod scale;

use std::fmt;
use std::fs::File;
use std::io::{BufRead, Read};
use std::ops::Range;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::fingerprint::Fingerprint;
use sim_core::random::stable_hash;
use sim_core::time::SimDuration;
use thiserror::Error;

use crate::gzip::unpack;
use lines::Lines;

/// Tokens in a prefix block of a Mooncake trace (Qin et al., "Mooncake", FAST'25: blocks of 512).
pub const BLOCK_TOKENS: u32 = 512;

/// Longest line that is read, in bytes.
pub const MAX_LINE: usize = 1 << 20;

/// Most records in a trace, also after scaling: 20 million are about 1.3 GB.
pub const MAX_RECORDS: usize = 20_000_000;

/// The latest first arrival: the Unix time of 9 September 2001, before which no trace was recorded.
const LATEST_START: SimDuration = SimDuration::from_secs(1_000_000_000);

/// How a trace is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TraceFormat {
    /// Told from the first line: `{` is Mooncake, Azure's header is Azure, else generic.
    #[default]
    Auto,
    /// `TIMESTAMP,ContextTokens,GeneratedTokens` with UTC times such as `2023-11-16 18:15:46.6805900`
    /// (Azure/AzurePublicDataset, Patel et al., "Splitwise", ISCA'24). Starts at its first record.
    Azure,
    /// A JSON object a line: `timestamp` (ms), `input_length`, `output_length` and, perhaps,
    /// `hash_ids`, a number for each 512 tokens of the prompt: equal numbers are an equal prefix
    /// (kvcache-ai/Mooncake, FAST'25). Other keys are ignored.
    Mooncake,
    /// CSV with a header row: `arrival_s` or `arrival_ms`, `prompt_tokens`, `output_tokens`, and
    /// perhaps `class`, `tenant`, `priority`, `prefix_id` (requests of one id share the first
    /// `shared_prefix_tokens` of their prompts), `session_id` (each prompt of a session begins with the
    /// prompt and the answer before it). Columns in any order; an empty optional cell is none.
    Generic,
}

/// A trace that cannot be read or scaled.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The file cannot be opened or read; also bytes that are not gzip behind a gzip header.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A line that breaks the format.
    #[error("{path}:{line}: {message}")]
    Line {
        /// The file.
        path: String,
        /// Line number, from 1.
        line: u64,
        /// The column, the value and what is accepted.
        message: String,
    },
    /// No record at all.
    #[error("{path}: no requests: expected at least one record")]
    Empty {
        /// The file.
        path: String,
    },
    /// A multiple that cannot be made.
    #[error(
        "{path}: cannot scale {records} records by {multiple}: expected a number above 0 and at most \
             {MAX_RECORDS} records in the end, at least one"
    )]
    Scale {
        /// The file.
        path: String,
        /// Records before scaling.
        records: usize,
        /// The multiple asked for.
        multiple: f64,
    },
}

/// A recorded request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceRecord {
    /// Arrival after the start of the trace.
    pub at: SimDuration,
    /// Length of the prompt.
    pub prompt_tokens: u32,
    /// Length of the answer.
    pub output_tokens: u32,
    /// Index into [`Trace::classes`].
    pub class: Option<u16>,
    /// Index into [`Trace::tenants`].
    pub tenant: Option<u16>,
    /// Index into [`Trace::priorities`].
    pub priority: Option<u16>,
    /// Index into [`Trace::prefixes`].
    pub prefix: Option<u32>,
    /// How many tokens of the prompt are the prefix's.
    pub shared_prefix_tokens: u32,
    /// Index into [`Trace::sessions`].
    pub session: Option<u32>,
    /// Length of the session's first prompt.
    pub opening_tokens: u32,
    /// Which copy of a recorded request this is; 0 is the recorded one itself.
    pub copy: u32,
    blocks_start: u32,
    blocks_len: u32,
}

/// Names in order of appearance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Names {
    names: Vec<String>,
    index: std::collections::BTreeMap<String, u32>,
}

impl Names {
    /// The name's number, unless it is above `max`.
    fn number(&mut self, name: &str, max: u32) -> Option<u32> {
        if let Some(number) = self.index.get(name) {
            return Some(*number);
        }
        let number = u32::try_from(self.names.len()).ok().filter(|number| *number <= max)?;
        self.names.push(name.to_owned());
        self.index.insert(name.to_owned(), number);
        Some(number)
    }
}

/// A recorded sequence of requests in order of arrival, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    name: String,
    records: Vec<TraceRecord>,
    blocks: Vec<u64>,
    classes: Names,
    tenants: Names,
    priorities: Names,
    prefixes: Names,
    sessions: Names,
}

impl Trace {
    /// Reads a file, plain or gzipped.
    ///
    /// # Errors
    /// [`TraceError`] with the file, the line and what is wrong.
    pub fn open(path: &Path, format: TraceFormat) -> Result<Self, TraceError> {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => Self::read(file, &name, format),
            Err(source) => Err(TraceError::Io { path: name, source }),
        }
    }

    /// Reads a trace, plain or gzipped; `name` stands for the file in errors.
    ///
    /// # Errors
    /// [`TraceError`] with the name, the line and what is wrong.
    pub fn read(input: impl Read, name: &str, format: TraceFormat) -> Result<Self, TraceError> {
        let (mut text, _) =
            unpack(input).map_err(|source| TraceError::Io { path: name.to_owned(), source })?;
        Self::parse(&mut text, name, format)
    }

    /// Hash of all that is read, whatever the file's name, format and packing.
    pub fn hash(&self) -> u64 {
        let mut hash = Fingerprint::default();
        for record in &self.records {
            let label = |label: Option<u16>| label.map_or(u64::MAX, u64::from);
            for word in [
                record.at.as_nanos(),
                u64::from(record.prompt_tokens),
                u64::from(record.output_tokens),
                label(record.class),
                label(record.tenant),
                label(record.priority),
                record.prefix.map_or(u64::MAX, u64::from),
                u64::from(record.shared_prefix_tokens),
                u64::from(record.copy),
                u64::from(record.blocks_len),
            ] {
                hash.word(word);
            }
            if let Some(session) = record.session {
                hash.word(session.into());
            }
        }
        self.blocks.iter().for_each(|block| hash.word(*block));
        for names in [&self.classes, &self.tenants, &self.priorities, &self.prefixes] {
            hash.word(names.names.len() as u64);
            names.names.iter().for_each(|name| hash.word(stable_hash(name.as_bytes())));
        }
        self.sessions.names.iter().for_each(|name| hash.word(stable_hash(name.as_bytes())));
        hash.value()
    }

    fn parse(input: &mut dyn BufRead, name: &str, format: TraceFormat) -> Result<Self, TraceError> {
        let mut trace = Self {
            name: name.to_owned(),
            records: Vec::new(),
            blocks: Vec::new(),
            classes: Names::default(),
            tenants: Names::default(),
            priorities: Names::default(),
            prefixes: Names::default(),
            sessions: Names::default(),
        };
        let mut lines = Lines::new(input, name);
        if !lines.advance()? {
            return Err(TraceError::Empty { path: name.to_owned() });
        }
        let first = lines.current();
        let mut reader: Box<dyn Format> = match format {
            TraceFormat::Auto if first.starts_with('{') => Box::new(mooncake::Mooncake),
            TraceFormat::Mooncake => Box::new(mooncake::Mooncake),
            TraceFormat::Auto if first == azure::HEADER => Box::new(azure::Azure::default()),
            TraceFormat::Azure if first == azure::HEADER => Box::new(azure::Azure::default()),
            TraceFormat::Azure => {
                let message = format!("header is `{}`: expected `{}`", shown(first), azure::HEADER);
                return Err(lines.error(message));
            }
            TraceFormat::Auto | TraceFormat::Generic => match generic::Generic::new(first) {
                Ok(generic) => Box::new(generic),
                Err(message) if format == TraceFormat::Auto => {
                    let others = format!("(or the header `{}`, or a JSON object a line)", azure::HEADER);
                    return Err(lines.error(format!("{message} {others}")));
                }
                Err(message) => return Err(lines.error(message)),
            },
        };
        if reader.has_header() && !lines.advance()? {
            return Err(TraceError::Empty { path: name.to_owned() });
        }
        loop {
            trace.push(&mut *reader, lines.current()).map_err(|message| lines.error(message))?;
            if !lines.advance()? {
                break;
            }
        }
        trace.records.shrink_to_fit();
        trace.blocks.shrink_to_fit();
        Ok(trace)
    }

    fn push(&mut self, reader: &mut dyn Format, line: &str) -> Result<(), String> {
        let record = reader.record(line, self)?;
        if let Some(last) = self.records.last()
            && record.at < last.at
        {
            let (at, last) = (record.at, last.at);
            return Err(format!(
                "arrives at {at}, before the record above ({last}): expected records in order of arrival"
            ));
        }
        if self.records.is_empty() && record.at >= LATEST_START {
            let seconds = record.at.as_secs_f64();
            return Err(format!(
                "the first request arrives {seconds} s after the start, as by a clock that counts from 1970: expected \
                 times from the start of the trace on, with the first one taken from all"
            ));
        }
        if self.records.len() == MAX_RECORDS {
            return Err(format!("more than {MAX_RECORDS} records"));
        }
        self.records.push(record);
        Ok(())
    }

    /// The name it was read under: the path of its file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The requests, in order of arrival.
    pub fn records(&self) -> &[TraceRecord] {
        &self.records
    }

    /// How many requests.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Never: a trace has at least one request.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// From the start of the trace to the last arrival.
    pub fn duration(&self) -> SimDuration {
        self.records.last().map_or(SimDuration::ZERO, |record| record.at)
    }

    /// Names of classes, in order of appearance.
    pub fn classes(&self) -> &[String] {
        &self.classes.names
    }

    /// Names of tenants, in order of appearance.
    pub fn tenants(&self) -> &[String] {
        &self.tenants.names
    }

    /// Names of priorities, in order of appearance.
    pub fn priorities(&self) -> &[String] {
        &self.priorities.names
    }

    /// Ids of shared prefixes, in order of appearance.
    pub fn prefixes(&self) -> &[String] {
        &self.prefixes.names
    }

    /// Ids of sessions, in order of appearance.
    pub fn sessions(&self) -> &[String] {
        &self.sessions.names
    }

    /// Ids of the prefix blocks of `record`, a record of this trace, [`BLOCK_TOKENS`] tokens each (the
    /// last one perhaps part full). Equal ids are equal content.
    ///
    /// A copy made by [`Trace::scaled`] has ids of its own, equal among the records of the same copy
    /// exactly where the recorded ones are: another population of users with the same habits.
    pub fn blocks(&self, record: &TraceRecord) -> impl ExactSizeIterator<Item = u64> + '_ {
        let start = record.blocks_start as usize;
        let recorded = self.blocks.get(start..start + record.blocks_len as usize).unwrap_or_default();
        let copy = record.copy;
        recorded.iter().map(move |id| if copy == 0 { *id } else { of_copy(*id, copy) })
    }

    fn keep_blocks(&mut self, ids: &[u64]) -> Option<Range<u32>> {
        let start = u32::try_from(self.blocks.len()).ok()?;
        let end = u32::try_from(self.blocks.len() + ids.len()).ok()?;
        self.blocks.extend_from_slice(ids);
        Some(start..end)
    }
}

/// The id of a block in another copy: 64 bits of hash, so that two of a million meet with a chance of
/// 3e-8.
fn of_copy(id: u64, copy: u32) -> u64 {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&id.to_le_bytes());
    key[8..].copy_from_slice(&copy.to_le_bytes());
    stable_hash(&key)
}

/// A reader of one format.
trait Format {
    /// Whether the first line is a header.
    fn has_header(&self) -> bool {
        true
    }

    /// The record of a line, or what is wrong with the line.
    fn record(&mut self, line: &str, trace: &mut Trace) -> Result<TraceRecord, String>;
}

/// A record with the columns every format has.
fn plain(at: SimDuration, prompt_tokens: u32, output_tokens: u32) -> TraceRecord {
    TraceRecord {
        at,
        prompt_tokens,
        output_tokens,
        class: None,
        tenant: None,
        priority: None,
        prefix: None,
        shared_prefix_tokens: 0,
        session: None,
        opening_tokens: 0,
        copy: 0,
        blocks_start: 0,
        blocks_len: 0,
    }
}

/// What is wrong with a column.
fn wrong(column: &str, value: &str, expected: impl fmt::Display) -> String {
    format!("column `{column}` is `{}`: expected {expected}", shown(value))
}

/// The start of a text, for messages.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

/// A number of tokens.
fn tokens(column: &str, value: &str) -> Result<u32, String> {
    // The standard parser also takes a plus sign.
    match value.parse() {
        Ok(tokens) if value.as_bytes()[0].is_ascii_digit() => Ok(tokens),
        _ => Err(wrong(column, value, "an integer from 0 to 4294967295")),
    }
}

#[cfg(test)]
mod tests;
