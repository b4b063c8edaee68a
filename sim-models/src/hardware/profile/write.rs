//! Profiles as text.

use std::fmt::Display;

use super::Profile;

impl Profile {
    /// The profile as TOML, which [`Profile::parse`] reads to the same profile. A row of a table is a line.
    pub fn to_toml(&self) -> String {
        let mut lines = vec![format!("format = {}", self.format)];
        let texts = [
            ("id", &self.id),
            ("gpu", &self.gpu),
            ("device", &self.device),
            ("kernel_set", &self.kernel_set),
            ("source", &self.source),
            ("licence", &self.licence),
            ("measured", &self.measured),
            ("fitted", &self.fitted),
        ];
        lines.extend(texts.iter().map(|(key, value)| format!("{key} = {}", quoted(value))));
        lines.extend(self.estimate.iter().map(|estimate| format!("estimate = {}", quoted(estimate))));
        rows(&mut lines, "decode_attention", &self.decode_attention, |row| {
            format!(
                "kv = \"{}\", heads = {}, kv_heads = {}, head_dim = {}, floor_us = {:?}, sequence_us = {:?}, gb_s = {:?}",
                row.kv, row.heads, row.kv_heads, row.head_dim, row.floor_us, row.sequence_us, row.gb_s,
            )
        });
        rows(&mut lines, "prefill_attention", &self.prefill_attention, |row| {
            format!(
                "kv = \"{}\", heads = {}, kv_heads = {}, head_dim = {}, token_ns = {:?}, tflops = {:?}",
                row.kv, row.heads, row.kv_heads, row.head_dim, row.token_ns, row.tflops,
            )
        });
        rows(&mut lines, "elementwise", &self.elementwise, |table| {
            let (kernel, width) = (table.kernel.name(), table.width);
            let (tokens, us) = (list(&table.tokens), times(&table.us));
            format!("kernel = \"{kernel}\", width = {width}, tokens = {tokens}, us = {us}")
        });
        rows(&mut lines, "sampling", &self.sampling, |table| {
            let (sequences, us) = (list(&table.sequences), times(&table.us));
            format!("vocabulary = {}, sequences = {sequences}, us = {us}", table.vocabulary)
        });
        rows(&mut lines, "experts", &self.experts, |table| {
            format!(
                "precision = \"{}\", hidden = {}, inner = {}, active = {}, experts = {}, tokens = {}, us = {}",
                table.precision,
                table.hidden,
                table.inner,
                table.active,
                table.experts,
                list(&table.tokens),
                times(&table.us),
            )
        });
        rows(&mut lines, "all_reduce", &self.all_reduce, |table| {
            format!("gpus = {}, bytes = {}, us = {}", table.gpus, list(&table.bytes), times(&table.us))
        });
        let o = &self.overheads;
        lines.push("\n[overheads]".into());
        let overheads = [
            ("step_gap_us", o.step_gap_us),
            ("host_step_us", o.host_step_us),
            ("host_sequence_us", o.host_sequence_us),
            ("elementwise_floor_us", o.elementwise_floor_us),
            ("elementwise_gb_s", o.elementwise_gb_s),
            ("sustained_slowdown", o.sustained_slowdown),
        ];
        lines.extend(overheads.iter().map(|(key, value)| format!("{key} = {value:?}")));
        lines.push(format!("source = {}", quoted(&o.source)));
        for table in &self.gemm {
            lines.push(format!("\n[[gemm]]\nprecision = \"{}\"", table.precision));
            for (key, grid) in [("m", &table.m), ("n", &table.n), ("k", &table.k)] {
                lines.push(format!("{key} = {}", list(grid)));
            }
            if table.gap_us > 0.0 {
                lines.push(format!("gap_us = {:?}", table.gap_us));
            }
            lines.push("us = [".into());
            lines.extend(table.us.iter().map(|row| format!("{},", times(row))));
            lines.push("]".into());
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

/// An array of inline tables, one on a line; nothing where there are none and they may be left out.
fn rows<R>(lines: &mut Vec<String>, key: &str, rows: &[R], inside: impl Fn(&R) -> String) {
    if rows.is_empty() && !key.ends_with("attention") {
        return;
    }
    lines.push(format!("\n{key} = ["));
    lines.extend(rows.iter().map(|row| format!("{{ {} }},", inside(row))));
    lines.push("]".into());
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Times with a point or an exponent, as TOML wants of floating point.
fn times(values: &[f64]) -> String {
    list(values.iter().map(|value| format!("{value:?}")))
}

fn list<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    format!("[{}]", values.join(","))
}
