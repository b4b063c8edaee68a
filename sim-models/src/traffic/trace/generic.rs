//! A CSV of one's own, with a header row.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sim_core::time::SimDuration;

use super::{Format, Names, Trace, TraceRecord, plain, shown, tokens, wrong};
use crate::units::decimal_times;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Column {
    ArrivalS,
    ArrivalMs,
    PromptTokens,
    OutputTokens,
    Class,
    Tenant,
    Priority,
    PrefixId,
    SharedPrefixTokens,
    SessionId,
}

const COLUMNS: [(&str, Column); 10] = [
    ("arrival_s", Column::ArrivalS),
    ("arrival_ms", Column::ArrivalMs),
    ("prompt_tokens", Column::PromptTokens),
    ("output_tokens", Column::OutputTokens),
    ("class", Column::Class),
    ("tenant", Column::Tenant),
    ("priority", Column::Priority),
    ("prefix_id", Column::PrefixId),
    ("shared_prefix_tokens", Column::SharedPrefixTokens),
    ("session_id", Column::SessionId),
];

/// Reads the columns of the header.
pub(super) struct Generic {
    columns: Vec<(&'static str, Column)>,
    /// The first and the last turn so far of each session.
    sessions: BTreeMap<u32, [TraceRecord; 2]>,
}

impl Generic {
    pub(super) fn new(header: &str) -> Result<Self, String> {
        let accepted = || COLUMNS.map(|(name, _)| name).join(", ");
        let mut columns: Vec<(&str, Column)> = Vec::new();
        for cell in cells(header)? {
            let name = cell.trim_ascii();
            let Some(column) = COLUMNS.iter().find(|(known, _)| *known == name) else {
                return Err(format!("unknown column `{}`: expected some of {}", shown(name), accepted()));
            };
            if columns.contains(column) {
                return Err(format!("column `{name}` twice: expected each once"));
            }
            columns.push(*column);
        }
        let has = |wanted: Column| columns.iter().any(|(_, column)| *column == wanted);
        if has(Column::ArrivalS) == has(Column::ArrivalMs) {
            return Err("expected one column of the two `arrival_s` and `arrival_ms`".to_owned());
        }
        for (name, column) in
            [("prompt_tokens", Column::PromptTokens), ("output_tokens", Column::OutputTokens)]
        {
            if !has(column) {
                return Err(format!("no column `{name}`: expected some of {}", accepted()));
            }
        }
        if has(Column::PrefixId) != has(Column::SharedPrefixTokens) {
            return Err("expected both columns `prefix_id` and `shared_prefix_tokens`, or neither".to_owned());
        }
        Ok(Self { columns, sessions: BTreeMap::new() })
    }
}

impl Format for Generic {
    fn record(&mut self, line: &str, trace: &mut Trace) -> Result<TraceRecord, String> {
        let cells = cells(line)?;
        if cells.len() != self.columns.len() {
            return Err(format!(
                "{} columns: expected {}, as in the header",
                cells.len(),
                self.columns.len()
            ));
        }
        let mut record = plain(SimDuration::ZERO, 0, 0);
        for ((name, column), cell) in self.columns.iter().zip(&cells) {
            let cell = cell.trim_ascii();
            match column {
                Column::ArrivalS => record.at = time(name, cell, 1_000_000_000)?,
                Column::ArrivalMs => record.at = time(name, cell, 1_000_000)?,
                Column::PromptTokens => record.prompt_tokens = tokens(name, cell)?,
                Column::OutputTokens => record.output_tokens = tokens(name, cell)?,
                Column::SharedPrefixTokens if cell.is_empty() => {}
                Column::SharedPrefixTokens => record.shared_prefix_tokens = tokens(name, cell)?,
                Column::Class => record.class = small(name, cell, &mut trace.classes)?,
                Column::Tenant => record.tenant = small(name, cell, &mut trace.tenants)?,
                Column::Priority => record.priority = small(name, cell, &mut trace.priorities)?,
                Column::PrefixId => record.prefix = number(name, cell, &mut trace.prefixes, u32::MAX)?,
                Column::SessionId => record.session = number(name, cell, &mut trace.sessions, u32::MAX)?,
            }
        }
        if record.shared_prefix_tokens > record.prompt_tokens {
            let expected = format!("at most the prompt's {} tokens", record.prompt_tokens);
            return Err(wrong("shared_prefix_tokens", &record.shared_prefix_tokens.to_string(), expected));
        }
        if record.shared_prefix_tokens > 0 && record.prefix.is_none() {
            return Err(wrong("prefix_id", "", "an id, for `shared_prefix_tokens` is above 0"));
        }
        if let Some(session) = record.session {
            self.go_on(session, &mut record, trace)?;
        }
        Ok(record)
    }
}

impl Generic {
    /// A turn of a session: what its first turn shares with others, later ones do, too.
    fn go_on(&mut self, session: u32, turn: &mut TraceRecord, trace: &Trace) -> Result<(), String> {
        let Some([first, last]) = self.sessions.get_mut(&session) else {
            turn.opening_tokens = turn.prompt_tokens;
            self.sessions.insert(session, [*turn; 2]);
            return Ok(());
        };
        let before = u64::from(last.prompt_tokens) + u64::from(last.output_tokens);
        if u64::from(turn.prompt_tokens) < before {
            let name = shown(&trace.sessions.names[session as usize]);
            let expected =
                format!("at least {before}: the prompt and the answer before it in session `{name}`");
            return Err(wrong("prompt_tokens", &turn.prompt_tokens.to_string(), expected));
        }
        let own = (turn.prefix, turn.shared_prefix_tokens);
        let opening = (first.prefix, first.shared_prefix_tokens);
        if own != (None, 0) && own != opening {
            let name =
                |prefix: Option<u32>| prefix.map_or("", |prefix| &trace.prefixes.names[prefix as usize]);
            let expected = format!(
                "`{}` with {} shared tokens as in the session's first turn, or an empty cell",
                shown(name(opening.0)),
                opening.1
            );
            return Err(wrong("prefix_id", name(own.0), expected));
        }
        (turn.prefix, turn.shared_prefix_tokens) = opening;
        turn.opening_tokens = first.opening_tokens;
        *last = *turn;
        Ok(())
    }
}

/// Cells of a row; quotes as in RFC 4180, but no line break within them.
fn cells(line: &str) -> Result<Vec<Cow<'_, str>>, String> {
    if !line.contains('"') {
        return Ok(line.split(',').map(Cow::Borrowed).collect());
    }
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
    let mut row = csv::StringRecord::new();
    reader.read_record(&mut row).map_err(|error| format!("not a CSV row: {error}"))?;
    Ok(row.iter().map(|cell| Cow::Owned(cell.to_owned())).collect())
}

/// A time: exact in decimals, to the nearest nanosecond; a number with an exponent goes through a float.
fn time(column: &str, cell: &str, unit: u64) -> Result<SimDuration, String> {
    if let Some(nanos) = decimal_times(cell, unit) {
        return Ok(SimDuration::from_nanos(nanos));
    }
    let float = cell.parse::<f64>().ok().map(|value| value * (unit as f64 / 1e9));
    float
        .and_then(|seconds| SimDuration::from_secs_f64(seconds).ok())
        .ok_or_else(|| wrong(column, cell, "a time from 0, at most 584 years, such as `12.5`"))
}

fn small(column: &str, cell: &str, names: &mut Names) -> Result<Option<u16>, String> {
    // The bound makes the cast exact.
    Ok(number(column, cell, names, u32::from(u16::MAX))?.map(|number| number as u16))
}

fn number(column: &str, cell: &str, names: &mut Names, max: u32) -> Result<Option<u32>, String> {
    if cell.is_empty() {
        return Ok(None);
    }
    if cell.contains(char::is_control) {
        let cell: String = cell.chars().flat_map(char::escape_default).collect();
        return Err(wrong(column, &cell, "a name without control characters"));
    }
    let expected = || format!("at most {} different ones", u64::from(max) + 1);
    names.number(cell, max).map(Some).ok_or_else(|| wrong(column, cell, expected()))
}
