//! A whole vLLM server on one H100: calibrated on one load, predicted on another and in saturation.

use std::path::Path;

use scenarios::calibrate::{CalibrateOptions, calibrate, replay};
use scenarios::report::{Picture, Unit};
use sim_models::hardware::fitted::{Bench, Observation};
use sim_models::llm::LlmConfig;
use sim_models::system::ComponentConfig;

use super::page::parity;
use super::{Check, PublishedError, Row};

/// What is calibrated with, and what is predicted.
pub(super) const FILES: [&str; 2] =
    ["serving/qwen3-14b_h100_2rps.csv.gz", "serving/qwen3-14b_h100_8rps.csv.gz"];

/// The server as its publisher describes it.
const SERVER: &str = r#"
name = "Qwen3-14B on an H100"
[traffic.web]
arrivals = { process = "poisson", rate = "2/s" }
entry = "qwen"
prompt_tokens = { constant = 985 }
output_tokens = { constant = 128 }
[components.qwen]
kind = "llm"
model = "qwen3-14b"
gpu = "h100-sxm"
max_num_batched_tokens = 8192
max_num_seqs = 256
kv_blocks = 18038
"#;

/// Requests a second that it served in saturation, the middle of 17.2 to 17.5, at about 985 tokens in and
/// 128 out: from other runs of the same server, which are not in the files.
const SATURATED: f64 = 17.35;
/// Tokens of an answer in saturation.
const OUTPUT_TOKENS: u32 = 128;
/// Requests that are sent to saturate the server. Its throughput is that of the middle three fifths.
const SENT: u32 = 6_000;

/// A time of a request, if it has it.
type Figure = fn(&Observation) -> Option<f64>;

const FIGURES: [(&str, Figure); 3] = [
    ("TTFT", |request| Some(request.ttft_s)),
    ("TPOT", Observation::tpot_s),
    ("latency", |request| Some(request.latency_s)),
];

/// Largest errors of their means and 99th percentiles.
const BOUNDS: [[Option<f64>; 2]; 3] =
    [[Some(0.08), Some(0.15)], [Some(0.04), None], [Some(0.04), Some(0.06)]];

/// The figures of a run that has any, sorted.
fn sorted(run: &[Observation], of: Figure) -> Option<Vec<f64>> {
    let mut values: Vec<f64> = run.iter().filter_map(of).collect();
    values.sort_by(f64::total_cmp);
    (!values.is_empty()).then_some(values)
}

/// The value that a share of the sorted ones is at or below.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[(((sorted.len() - 1) as f64) * share).round() as usize]
}

fn mean_and_p99(run: &[Observation], of: Figure) -> Option<(f64, f64)> {
    let values = sorted(run, of)?;
    Some((values.iter().sum::<f64>() / values.len() as f64, quantile(&values, 0.99)))
}

fn requests(path: &Path) -> Result<Vec<Observation>, PublishedError> {
    let file = |message: String| PublishedError::File { path: path.display().to_string(), message };
    match Bench::open(path) {
        Ok(Bench::Requests(requests)) => Ok(requests),
        Ok(Bench::Means(_)) => Err(file("a summary: expected a row a request".into())),
        Err(error) => Err(file(error.message)),
    }
}

/// The pool with what was fitted, as a user would write it.
fn pool(fragment: &str) -> Result<LlmConfig, PublishedError> {
    let loaded = scenarios::parse(&format!("{SERVER}{fragment}"), "server.toml", ".".as_ref(), &[])?;
    match loaded.scenario.components.get("qwen") {
        Some(ComponentConfig::Llm(config)) => Ok((**config).clone()),
        _ => unreachable!("the scenario has one component, an llm pool"),
    }
}

/// Requests a second that the server ends in the middle of `rate` requests a second, with the prompts of `like`.
fn saturated(config: &LlmConfig, like: &[Observation], rate: f64) -> Result<f64, String> {
    let prompts = like.iter().cycle().map(|request| request.prompt_tokens);
    let all: Vec<Observation> = (0..SENT)
        .zip(prompts)
        .map(|(i, prompt_tokens)| Observation {
            sent_s: f64::from(i) / rate,
            prompt_tokens,
            output_tokens: OUTPUT_TOKENS,
            ttft_s: 1.0,
            latency_s: 2.0,
        })
        .collect();
    let mut ends: Vec<f64> = replay(config, &all)?.iter().map(|one| one.sent_s + one.latency_s).collect();
    ends.sort_by(f64::total_cmp);
    let (from, to) = (ends.len() * 3 / 10, ends.len() * 9 / 10);
    Ok((to - from) as f64 / (ends[to] - ends[from]))
}

/// Calibrated on 2 requests a second alone, the server is predicted on 8 and in saturation.
pub(super) fn check(dir: &Path) -> Result<Check, PublishedError> {
    let [bench, held_back] = FILES.map(|file| dir.join(file));
    let server = scenarios::parse(SERVER, "server.toml", ".".as_ref(), &[])?;
    let calibrated = calibrate(&server, &bench, &CalibrateOptions::default())?;
    let config = pool(&calibrated.to_toml())?;
    let measured = requests(&held_back)?;
    let refused = |message: String| PublishedError::File { path: held_back.display().to_string(), message };
    let predicted = replay(&config, &measured).map_err(refused)?;
    let mut rows = Vec::new();
    for ((name, of), [mean_bound, p99_bound]) in FIGURES.into_iter().zip(BOUNDS) {
        let run = |run: &[Observation]| mean_and_p99(run, of).ok_or_else(|| refused(format!("no {name}")));
        let (measured, predicted) = (run(&measured)?, run(&predicted)?);
        for (statistic, measured, predicted, bound) in
            [("mean", measured.0, predicted.0, mean_bound), ("p99", measured.1, predicted.1, p99_bound)]
        {
            let what = format!("{name} {statistic} at 8/s");
            rows.push(Row { what, unit: Unit::Seconds, measured, predicted, bound });
        }
    }
    for rate in [20.0, 30.0] {
        rows.push(Row {
            what: format!("requests/s served of {rate}/s sent"),
            unit: Unit::Number(""),
            measured: SATURATED,
            predicted: saturated(&config, &measured, rate).map_err(refused)?,
            bound: Some(0.04),
        });
    }
    let fitted = calibrated.fit.as_ref().map_or(0, |fit| fit.requests);
    Ok(Check {
        title: "A vLLM server of Qwen3-14B on an H100",
        source: "inference-sim/residency-vllm @ 2641b57: vLLM 0.23, bf16, one H100 SXM; no licence is stated, the \
                 files are not part of the project",
        said: format!(
            "Fitted to {fitted} requests of the run at 2 requests/s alone; the run at 8/s ({} requests) is \
             replayed at its send times. No figure of that run or of saturation was fitted to. What it served in \
             saturation (17.2 to 17.5 requests/s) is from other runs of it, which are not in the files. Repeats of \
             the real runs differ by 1.7% in means and 4.7% in the p99 of TTFT.",
            measured.len()
        ),
        facts: Vec::new(),
        rows,
        spreads: Vec::new(),
        pictures: parity_of(&measured, &predicted).into_iter().collect(),
    })
}

/// Percentiles of the two runs.
fn parity_of(measured: &[Observation], predicted: &[Observation]) -> Option<Picture> {
    let series = FIGURES.into_iter().filter_map(|(name, of)| {
        let (measured, predicted) = (sorted(measured, of)?, sorted(predicted, of)?);
        let shares = (1..100).map(|percent| f64::from(percent) / 100.0);
        let points = shares.map(|share| (quantile(&measured, share), quantile(&predicted, share)));
        Some((name.to_owned(), points.collect()))
    });
    parity(
        "parity-server",
        "Qwen3-14B at 8 requests/s: predicted and measured",
        "Each point is a percentile from the 1st to the 99th; on the line both are equal.",
        Unit::Seconds,
        series.collect(),
    )
}
