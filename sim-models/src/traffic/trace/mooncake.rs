//! Mooncake's conversation trace.

use serde::Deserialize;
use sim_core::time::SimDuration;

use super::{BLOCK_TOKENS, Format, Trace, TraceRecord, plain, wrong};

/// Reads a JSON object a line.
pub(super) struct Mooncake;

#[derive(Deserialize)]
struct Row {
    /// Milliseconds.
    timestamp: u64,
    input_length: u32,
    output_length: u32,
    #[serde(default)]
    hash_ids: Vec<u64>,
}

const EXPECTED: &str = "expected {\"timestamp\": ms, \"input_length\": tokens, \"output_length\": tokens, \
                        \"hash_ids\": [..]} in integers from 0";

impl Format for Mooncake {
    fn has_header(&self) -> bool {
        false
    }

    fn record(&mut self, line: &str, trace: &mut Trace) -> Result<TraceRecord, String> {
        let row: Row = serde_json::from_str(line).map_err(|error| {
            // The parser sees one line only: its own "line 1" would mislead.
            let text = error.to_string();
            let what = text.split(" at line ").next().unwrap_or(&text);
            format!("{what} (character {}): {EXPECTED}", error.column())
        })?;
        let nanos = row.timestamp.checked_mul(1_000_000).ok_or_else(|| {
            wrong("timestamp", &row.timestamp.to_string(), "milliseconds, at most 584 years")
        })?;
        let most = row.input_length.div_ceil(BLOCK_TOKENS);
        if row.hash_ids.len() > most as usize {
            let value = format!("{} ids", row.hash_ids.len());
            let expected =
                format!("at most {most}, one for each {BLOCK_TOKENS} of {} tokens", row.input_length);
            return Err(wrong("hash_ids", &value, expected));
        }
        let blocks = trace.keep_blocks(&row.hash_ids).ok_or("more than 4294967295 prefix blocks in all")?;
        let record = plain(SimDuration::from_nanos(nanos), row.input_length, row.output_length);
        Ok(TraceRecord { blocks_start: blocks.start, blocks_len: blocks.end - blocks.start, ..record })
    }
}
