//! Whether a profile makes sense.

use super::super::catalogue;
use super::{FORMAT, Profile, ProfileError};

/// Longest time in a table, in microseconds.
const MAX_US: f64 = 1e9;
/// Longest list in a table.
const MAX_POINTS: usize = 4096;
/// Largest count in a table.
const MAX_COUNT: u64 = 1 << 40;

impl Profile {
    /// Whether every value can be used.
    ///
    /// # Errors
    /// [`ProfileError::Invalid`] with the first that cannot.
    pub fn check(&self) -> Result<(), ProfileError> {
        let refuse = |place: String, message: String| {
            Err(ProfileError::Invalid { profile: self.id.clone(), place, message })
        };
        if self.format != FORMAT {
            return refuse("format".into(), format!("is {}: expected {FORMAT}", self.format));
        }
        let named = |text: &str| {
            !text.is_empty()
                && text.len() <= 64
                && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c))
        };
        if !named(&self.id) {
            return refuse("id".into(), "is not of 1 to 64 small letters, digits, `-`, `.` and `_`".into());
        }
        if let Err(error) = catalogue::gpu(&self.gpu) {
            return refuse("gpu".into(), format!("is unknown: {error}"));
        }
        let texts = [
            ("device", &self.device),
            ("kernel_set", &self.kernel_set),
            ("source", &self.source),
            ("licence", &self.licence),
            ("measured", &self.measured),
            ("fitted", &self.fitted),
            ("overheads.source", &self.overheads.source),
        ];
        for (place, text) in texts {
            if text.trim().is_empty() {
                return refuse(place.into(), "is empty: say it, or say that it is unknown".into());
            }
        }
        let o = &self.overheads;
        let overheads = [
            ("step_gap_us", o.step_gap_us, MAX_US),
            ("host_step_us", o.host_step_us, MAX_US),
            ("host_sequence_us", o.host_sequence_us, MAX_US),
            ("elementwise_floor_us", o.elementwise_floor_us, MAX_US),
            ("elementwise_gb_s", o.elementwise_gb_s, 1e9),
        ];
        for (place, value, most) in overheads {
            if let Err(message) = positive(value, most) {
                return refuse(format!("overheads.{place}"), message);
            }
        }
        if !(o.sustained_slowdown >= 1.0 && o.sustained_slowdown <= 10.0) {
            let message = format!("is {}: expected a factor from 1 to 10", o.sustained_slowdown);
            return refuse("overheads.sustained_slowdown".into(), message);
        }
        self.check_tables().or_else(|(place, message)| refuse(place, message))
    }

    fn check_tables(&self) -> Result<(), (String, String)> {
        if self.gemm.is_empty() {
            return Err(("gemm".into(), "is empty: expected a table for one precision at least".into()));
        }
        for (i, table) in self.gemm.iter().enumerate() {
            let at = |key: &str| format!("gemm[{i}].{key}");
            for (key, grid) in [("m", &table.m), ("n", &table.n), ("k", &table.k)] {
                increasing(grid).map_err(|message| (at(key), message))?;
            }
            if self.gemm[..i].iter().any(|other| other.precision == table.precision) {
                return Err((at("precision"), format!("is {} a second time", table.precision)));
            }
            not_negative(table.gap_us).map_err(|message| (at("gap_us"), message))?;
            let shapes = table.n.len() * table.k.len();
            if table.us.len() != shapes {
                let message = format!("has {} rows: expected {shapes}, one for each n and k", table.us.len());
                return Err((at("us"), message));
            }
            for (row, times) in table.us.iter().enumerate() {
                times_of(times, table.m.len()).map_err(|message| (at(&format!("us[{row}]")), message))?;
            }
        }
        let heads = |h: u64, kv: u64, dim: u64| {
            [h, kv, dim].iter().all(|count| (1..=1 << 20).contains(count)) && h.is_multiple_of(kv)
        };
        let whole =
            "has heads that no model has: expected whole groups of query heads, each of width 1 or more";
        for (i, row) in self.decode_attention.iter().enumerate() {
            let at = |key: &str| format!("decode_attention[{i}].{key}");
            if !heads(row.heads, row.kv_heads, row.head_dim) {
                return Err((at("heads"), whole.into()));
            }
            positive(row.floor_us, MAX_US).map_err(|message| (at("floor_us"), message))?;
            positive(row.gb_s, 1e9).map_err(|message| (at("gb_s"), message))?;
            not_negative(row.sequence_us).map_err(|message| (at("sequence_us"), message))?;
        }
        for (i, row) in self.prefill_attention.iter().enumerate() {
            let at = |key: &str| format!("prefill_attention[{i}].{key}");
            if !heads(row.heads, row.kv_heads, row.head_dim) {
                return Err((at("heads"), whole.into()));
            }
            positive(row.tflops, 1e9).map_err(|message| (at("tflops"), message))?;
            not_negative(row.token_ns).map_err(|message| (at("token_ns"), message))?;
        }
        for (i, table) in self.elementwise.iter().enumerate() {
            let at = |key: &str| format!("elementwise[{i}].{key}");
            increasing(&table.tokens).map_err(|message| (at("tokens"), message))?;
            times_of(&table.us, table.tokens.len()).map_err(|message| (at("us"), message))?;
            let earlier = || self.elementwise[..i].iter().filter(|other| other.kernel == table.kernel);
            let is_repeated = earlier().any(|other| other.width == table.width);
            let others = earlier().any(|other| other.tokens != table.tokens);
            one_axis("width", table.width, is_repeated, others)
                .map_err(|(key, message)| (at(key), message))?;
        }
        for (i, table) in self.sampling.iter().enumerate() {
            let at = |key: &str| format!("sampling[{i}].{key}");
            increasing(&table.sequences).map_err(|message| (at("sequences"), message))?;
            times_of(&table.us, table.sequences.len()).map_err(|message| (at("us"), message))?;
            let earlier = &self.sampling[..i];
            let is_repeated = earlier.iter().any(|other| other.vocabulary == table.vocabulary);
            let others = earlier.iter().any(|other| other.sequences != table.sequences);
            let checked = one_axis("vocabulary", table.vocabulary, is_repeated, others);
            checked.map_err(|(key, message)| (at(key), message))?;
        }
        for (i, table) in self.experts.iter().enumerate() {
            let at = |key: &str| format!("experts[{i}].{key}");
            increasing(&table.tokens).map_err(|message| (at("tokens"), message))?;
            times_of(&table.us, table.tokens.len()).map_err(|message| (at("us"), message))?;
        }
        for (i, table) in self.all_reduce.iter().enumerate() {
            let at = |key: &str| format!("all_reduce[{i}].{key}");
            increasing(&table.bytes).map_err(|message| (at("bytes"), message))?;
            times_of(&table.us, table.bytes.len()).map_err(|message| (at("us"), message))?;
        }
        Ok(())
    }
}

/// Rows of one kernel differ in `key`, and have times at the same counts.
fn one_axis(
    key: &'static str,
    size: u64,
    is_repeated: bool,
    has_other_counts: bool,
) -> Result<(), (&'static str, String)> {
    if size == 0 || size > MAX_COUNT || is_repeated {
        return Err((key, format!("is {size}: expected each once, from 1 to 2^40")));
    }
    match has_other_counts {
        true => Err(("us", "is for other counts than the rows before: expected the same".to_owned())),
        false => Ok(()),
    }
}

fn positive(value: f64, most: f64) -> Result<(), String> {
    if value > 0.0 && value <= most {
        Ok(())
    } else {
        Err(format!("is {value}: expected a number above 0, at most {most}"))
    }
}

fn not_negative(value: f64) -> Result<(), String> {
    if (0.0..=MAX_US).contains(&value) {
        Ok(())
    } else {
        Err(format!("is {value}: expected 0 or more, at most {MAX_US}"))
    }
}

fn increasing(grid: &[u64]) -> Result<(), String> {
    if grid.is_empty() || grid.len() > MAX_POINTS {
        return Err(format!("has {} values: expected 1 to {MAX_POINTS}", grid.len()));
    }
    if let Some(pair) = grid.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(format!("goes from {} to {}: expected increasing values", pair[0], pair[1]));
    }
    let last = grid[grid.len() - 1];
    if grid[0] == 0 || last > MAX_COUNT {
        return Err(format!("has values from {} to {last}: expected 1 to 2^40", grid[0]));
    }
    Ok(())
}

fn times_of(times: &[f64], count: usize) -> Result<(), String> {
    if times.len() != count {
        return Err(format!("has {} times: expected {count}", times.len()));
    }
    for &time in times {
        positive(time, MAX_US)?;
    }
    match times.windows(2).find(|pair| pair[0] > pair[1]) {
        Some(pair) => {
            Err(format!("falls from {} to {}: expected that more work takes no less time", pair[0], pair[1]))
        }
        None => Ok(()),
    }
}
