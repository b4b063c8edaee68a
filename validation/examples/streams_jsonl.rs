//! Prints the passes that pools of library scenarios make, for `tenfold-microbench` to run one by one.

use scenarios::run::{Part, RunOptions, RunProgress};
use sim_models::hardware::microbench::{Format, PassStream};
use sim_models::hardware::precision::Precision;
use sim_models::llm::replay::{Recorded, Replica};
use sim_models::system::config::ComponentConfig;

/// Scenarios and pools whose models fit one GPU, and by how much their load is multiplied.
const STREAMS: [(&str, &str, f64); 4] = [
    ("llm-capacity", "llm", 1.0),
    ("llm-capacity", "llm", 4.0),
    ("support-assistant", "small", 1.0),
    ("ten-times", "small", 1.0),
];
/// The part of a run that is taken, and how many passes of it at most.
const TAKEN: &str = "60s..120s";
const MOST: usize = 300;

fn format(precision: Option<Precision>) -> Format {
    match precision {
        Some(Precision::Fp8) => Format::Fp8,
        Some(Precision::Fp16) => Format::Fp16,
        _ => Format::Bf16,
    }
}

fn stream(id: &str, pool: &str, scale: f64) -> Result<PassStream, Box<dyn std::error::Error>> {
    let one = scenarios::library().iter().find(|one| one.id == id).ok_or("no such scenario")?;
    let sets = ["run.replications=1".to_owned()];
    let loaded = scenarios::parse(one.text, id, ".".as_ref(), &sets)?;
    let timeline = Some(TAKEN.parse::<Part>()?);
    let options = RunOptions { births: true, timeline, scale, ..RunOptions::default() };
    let result = scenarios::run(&loaded, &options, &RunProgress::new())?;
    let output = result.outputs.first().ok_or("no run")?;
    let place = output.components.iter().position(|component| component.name == pool);
    let spans = output.timeline.iter().flat_map(|timeline| &timeline.spans);
    let taken = spans.filter(|span| Some(usize::from(span.component)) == place);
    let taken = taken.filter(|span| span.replica.is_none_or(|replica| replica == 0));
    let requests: Vec<Recorded> = taken
        .filter_map(|span| {
            let birth = output.births.iter().find(|birth| birth.key == span.request)?;
            Some(Recorded {
                sent: span.arrived,
                prompt_tokens: birth.prompt_tokens,
                output_tokens: birth.output_tokens,
            })
        })
        .collect();
    let config = match loaded.scenario.components.get(pool) {
        Some(ComponentConfig::Llm(config)) => config,
        _ => return Err(format!("`{pool}` is no `llm`").into()),
    };
    let replica = Replica {
        engine: config.engine_config()?,
        step: config.step_function()?,
        frontend: config.timing.frontend,
    };
    let passes = replica.passes(&requests)?;
    // Of the middle: at its ends the part is not full.
    let skipped = passes.len().saturating_sub(MOST) / 2;
    let passes = passes.into_iter().skip(skipped).take(MOST).collect();
    Ok(PassStream {
        scenario: if scale == 1.0 { id.to_owned() } else { format!("{id} at {scale}x") },
        component: pool.to_owned(),
        model: config.model.clone(),
        format: format(config.precision),
        kv: format(config.kv_precision),
        passes,
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for (id, pool, scale) in STREAMS {
        println!("{}", serde_json::to_string(&stream(id, pool, scale)?)?);
    }
    Ok(())
}
