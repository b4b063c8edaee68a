//! The whole simulator: Llama-3.1-8B in bf16 on one H100, token budget 2,048, 256 sequences.

use crate::{ANSWERS, PROMPTS, Row, TIMEOUT, simulate, table, traffic};

const REQUESTS: u64 = 100_000;

/// The system at `rate` requests per second.
pub fn system(rate: u32) -> String {
    format!(
        "{}[components.llm]\nkind = \"llm\"\nmodel = \"llama-3.1-8b\"\ngpu = \"h100-sxm\"\n\
         max_num_batched_tokens = 2048\nmax_num_seqs = 256\n{TIMEOUT}",
        traffic(rate, PROMPTS, ANSWERS)
    )
}

/// Prints the rates at light load and near saturation.
pub fn bench() {
    let row = |rate: u32| {
        let text = system(rate);
        move || simulate(&text, REQUESTS, rate, |_| ())
    };
    table(&[Row { name: "8 requests/s", run: &row(8) }, Row { name: "40 requests/s", run: &row(40) }]);
}
