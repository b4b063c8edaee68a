//! The names that scenario files may use for models, GPUs and hosts, as a page of the book.

use std::fmt::Write as _;

use sim_models::hardware::catalogue::{Gpu, Model, ModelKind, gpus, models, ranking_models};

const HEAD: &str = "\
# Catalogue: models, GPUs and hosts

The names that `model` and `gpu` take. Any of their figures can be had otherwise: a `model` may be the path of a
`config.json` of Hugging Face, prices are overridden by `price_per_gpu_hour` or `price_per_hour`. This page is generated from
the program.
";

/// The catalogue as Markdown: `docs/src/reference/catalogue.md`.
pub fn catalogue() -> String {
    let mut text = HEAD.to_owned();
    let kinds = [
        (ModelKind::Decoder, "Models that generate text", "For `llm`."),
        (ModelKind::Encoder, "Encoders", "Embedding models and cross-encoders, for `model_server`."),
    ];
    for (kind, title, what) in kinds {
        let _ = write!(
            text,
            "\n## {title}\n\n{what} Parameters in billions, of a mixture of experts also those that a token passes; the \
             longest context in tokens; the format that the published weights are in.\n\n\
             | name | model | parameters | layers | context | weights | figures |\n|---|---|---|---|---|---|---|\n"
        );
        for model in models().filter(|model| model.kind == kind) {
            let _ = writeln!(text, "{}", row(model));
        }
    }
    text.push_str(
        "\n## Ranking models\n\nFor `model_server`. Parameters in billions: nearly all of them are embeddings.\n\n\
         | name | model | parameters | figures |\n|---|---|---|---|\n",
    );
    for model in ranking_models() {
        let parameters = billions(model.embedding_parameters() + model.network_parameters());
        let _ = writeln!(text, "| `{}` | {} | {parameters} | {} |", model.id, model.name, model.source);
    }
    for (is_host, title) in [(false, "GPUs"), (true, "CPU hosts")] {
        let _ = write!(
            text,
            "\n## {title}\n\nMemory as it is reported, its bandwidth, and the price on demand of one. Where step times come \
             from is on [another page](gpus.md).\n\n\
             | name | what | memory | bandwidth | price an hour | price of |\n|---|---|---|---|---|---|\n"
        );
        for gpu in gpus().iter().filter(|gpu| gpu.cores.is_some() == is_host) {
            let Gpu { id, name, memory_bytes, memory_bandwidth, price_per_hour, price_source, .. } = gpu;
            let gib = *memory_bytes as f64 / f64::from(1_u32 << 30);
            let _ = writeln!(
                text,
                "| `{id}` | {name} | {gib:.1} GiB | {memory_bandwidth:.0} GB/s | ${price_per_hour:.2} | {price_source} |"
            );
        }
    }
    text
}

fn row(model: &Model) -> String {
    let Model { id, name, layers, max_context, source, .. } = model;
    let all = model.parameters();
    let idle = model.expert_parameters() - model.active_expert_parameters();
    let active = if idle > 0 { format!(", {} active", billions(all - idle)) } else { String::new() };
    let weights = model.precision.map_or("-".to_owned(), |precision| precision.to_string());
    format!(
        "| `{id}` | {name} | {}{active} | {layers} | {max_context} | {weights} | {source} |",
        billions(all)
    )
}

/// A number in billions, with three digits.
fn billions(number: u64) -> String {
    let billions = number as f64 / 1e9;
    match billions {
        large if large >= 100.0 => format!("{large:.0}"),
        middle if middle >= 10.0 => format!("{middle:.1}"),
        small => format!("{small:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_catalogue_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/reference/catalogue.md");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == catalogue(),
            "docs/src/reference/catalogue.md is stale: renew it with \
             `cargo run -p scenarios --example catalogue_md > docs/src/reference/catalogue.md`"
        );
    }

    #[test]
    fn parameters_that_a_token_passes_are_those_published() {
        let text = catalogue();
        let line = |name: &str| text.lines().find(|line| line.contains(&format!("`{name}`"))).unwrap();
        assert!(line("deepseek-v3").contains("| 671, 37."), "{}", line("deepseek-v3"));
        assert!(!line("llama-3.1-8b").contains("active") && line("llama-3.1-8b").contains("| 8.03 |"));
    }
}
