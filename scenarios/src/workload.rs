//! What a scenario asks of its system, request by request, as a trace that other programs can replay: a load generator
//! that drives a real server, or Tenfold itself.
//!
//! ```
//! use scenarios::run::{RunOptions, RunProgress};
//!
//! let text = r#"
//!     name = "One server"
//!     [run]
//!     duration = "1m"
//!     [traffic.web]
//!     arrivals = { process = "poisson", rate = "8/s" }
//!     entry = "db"
//!     prompt_tokens = 512
//!     output_tokens = { uniform = { min = 1, max = 100 } }
//!     [components.db]
//!     kind = "service"
//!     service_time = "1ms"
//! "#;
//! let loaded = scenarios::parse(text, "one-server.toml", ".".as_ref(), &[])?;
//! let workload = scenarios::workload::of(&loaded, None, &RunOptions::default(), &RunProgress::new())?;
//! assert!(workload.csv.starts_with("arrival_s,prompt_tokens,output_tokens\n0."));
//! # Ok::<(), scenarios::ScenarioError>(())
//! ```

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use sim_models::journal::Birth;
use sim_models::llm::engine::Prefix;
use sim_models::system::RunOutput;

use crate::language::{Loaded, ScenarioError};
use crate::run::{RunOptions, RunProgress, run_scenario};

/// The requests of a traffic source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// The generic CSV of traces ([`TraceFormat::Generic`](sim_models::traffic::trace::TraceFormat::Generic)): times
    /// in seconds since the start of the run, exact to the nanosecond; `class`, `tenant`, the session and the prefix
    /// only where they tell requests apart.
    pub csv: String,
    /// How many requests.
    pub requests: usize,
    /// The traffic source.
    pub source: String,
}

/// The requests of `source`, or of the only one, in one replication of a scenario. The system is simulated with it, so
/// that the users of a closed loop ask when they would.
///
/// # Errors
/// What cannot be simulated, where it stands in the file; a source that is not there, or none named among several; a
/// run that was cancelled or without any request; prompts of blocks, which only the Mooncake format can say.
pub fn of(
    loaded: &Loaded,
    source: Option<&str>,
    options: &RunOptions,
    progress: &RunProgress,
) -> Result<Workload, ScenarioError> {
    let mut scenario = loaded.scenario.clone();
    let names = || scenario.traffic.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let wrong = |message: String, help: String| ScenarioError::new(message).with_help(help);
    let source = match source {
        Some(name) if !scenario.traffic.contains_key(name) => {
            return Err(wrong(format!("no traffic `{name}`"), format!("expected one of {}", names())));
        }
        Some(name) => name.to_owned(),
        None if scenario.traffic.len() > 1 => {
            let message = "the scenario has several traffic sources, and a trace is of one";
            return Err(wrong(message.into(), format!("name one of {}", names())));
        }
        None => scenario.traffic.keys().next().cloned().unwrap_or_default(),
    };
    scenario.run.replications = NonZeroU32::MIN;
    let options = RunOptions { births: true, until: None, ..options.clone() };
    let result = run_scenario(&scenario, loaded.hash(), loaded.base_dir(), &options, progress);
    let result = result.map_err(|error| loaded.locate(error))?;
    let Some(output) = result.outputs.first() else {
        return Err(ScenarioError::new("stopped before all requests were born"));
    };
    let place = output.components.iter().position(|component| component.name == source);
    let births: Vec<&Birth> = output.births.iter().filter(|birth| Some(birth.source) == place).collect();
    if births.is_empty() {
        return Err(wrong(
            format!("`{source}` asks for nothing in the run"),
            "choose a longer duration".into(),
        ));
    }
    let csv = csv(output, &births).map_err(ScenarioError::new)?;
    Ok(Workload { csv, requests: births.len(), source })
}

fn csv(output: &RunOutput, births: &[&Birth]) -> Result<String, String> {
    let labels = &output.labels;
    let (classes, tenants) = (labels.classes.len() > 1, labels.tenants.len() > 1);
    let sessions = births.iter().any(|birth| session(birth).is_some());
    let prefixes = births.iter().any(|birth| *opening(birth) != Prefix::None);
    let mut out = csv::Writer::from_writer(Vec::new());
    let mut write = |row: Vec<String>| out.write_record(&row).map_err(|error| error.to_string());
    let optional = [
        (classes, &["class"][..]),
        (tenants, &["tenant"]),
        (sessions, &["session_id"]),
        (prefixes, &["prefix_id", "shared_prefix_tokens"]),
    ];
    let more = optional.iter().filter(|(is_there, _)| *is_there).flat_map(|(_, names)| *names);
    write(
        ["arrival_s", "prompt_tokens", "output_tokens"].iter().chain(more).map(ToString::to_string).collect(),
    )?;
    // Numbered in the order of their first use.
    let mut session_numbers: BTreeMap<u64, usize> = BTreeMap::new();
    let mut numbers: BTreeMap<u64, usize> = BTreeMap::new();
    for birth in births {
        let at = birth.at.as_nanos();
        let mut row = vec![
            format!("{}.{:09}", at / 1_000_000_000, at % 1_000_000_000),
            birth.prompt_tokens.to_string(),
            birth.output_tokens.to_string(),
        ];
        if classes {
            row.push(labels.classes[usize::from(birth.class)].clone());
        }
        if tenants {
            row.push(labels.tenants[usize::from(birth.tenant)].clone());
        }
        let mut first_prompt = birth.prompt_tokens;
        if let Some((id, opening_tokens)) = session(birth) {
            let next = session_numbers.len();
            row.push(session_numbers.entry(id).or_insert(next).to_string());
            first_prompt = opening_tokens;
        } else if sessions {
            row.push(String::new());
        }
        match opening(birth) {
            Prefix::Shared { id, tokens } => {
                let next = numbers.len();
                row.push(numbers.entry(*id).or_insert(next).to_string());
                // Of the prompt: what is generated is no part of a trace.
                row.push(first_prompt.min(*tokens).to_string());
            }
            Prefix::None if prefixes => row.extend([String::new(), String::new()]),
            Prefix::None => {}
            Prefix::Blocks { .. } | Prefix::Conversation { .. } => {
                return Err(
                    "the prompts are those of a Mooncake trace, whose blocks this format cannot say: \
                            take that trace itself"
                        .to_owned(),
                );
            }
        }
        write(row)?;
    }
    let bytes = out.into_inner().map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

/// The session that a request is a turn of, and the length of its first prompt in tokens.
fn session(birth: &Birth) -> Option<(u64, u32)> {
    match birth.prefix {
        Prefix::Conversation { id, opening_tokens, .. } => Some((id, opening_tokens)),
        _ => None,
    }
}

/// What a request shares with others, or the first turn of its session.
fn opening(birth: &Birth) -> &Prefix {
    match &birth.prefix {
        Prefix::Conversation { opening, .. } => opening,
        prefix => prefix,
    }
}

#[cfg(test)]
mod tests {
    use sim_models::journal::RequestRecord;

    use super::*;

    const TEXT: &str = r#"
        name = "Two classes"
        [run]
        duration = "1m"
        drain = "1m"
        warmup = "5s"
        [traffic.web]
        arrivals = { process = "poisson", rate = "4/s" }
        entry = "llm"
        priority = { chat = 0.75, batch = 0.25 }
        prompt_tokens = { uniform = { min = 100, max = 900 } }
        output_tokens = { uniform = { min = 2, max = 60 } }
        [components.llm]
        kind = "llm"
        model = "llama-3.1-8b"
        gpu = "h100-sxm"
    "#;

    fn parsed(text: &str) -> Loaded {
        crate::parse(text, "test.toml", ".".as_ref(), &[]).unwrap()
    }

    fn workload(text: &str, source: Option<&str>) -> Result<Workload, ScenarioError> {
        of(&parsed(text), source, &RunOptions::default(), &RunProgress::new())
    }

    /// What becomes of the requests of a scenario as they are drawn, and replayed from a trace of it.
    fn drawn_and_replayed(text: &str) -> [Vec<RequestRecord>; 2] {
        let workload = workload(text, None).unwrap();
        assert_eq!(workload.csv.lines().count(), workload.requests + 1);
        let dir = tempfile::tempdir().unwrap();
        let trace = dir.path().join("requests.csv");
        std::fs::write(&trace, &workload.csv).unwrap();
        let run = |options: &RunOptions| {
            let mut loaded = parsed(text);
            loaded.scenario.run.replications = NonZeroU32::MIN;
            crate::run(&loaded, options, &RunProgress::new()).unwrap().outputs[0].journal.clone()
        };
        let options = RunOptions { journal: true, ..RunOptions::default() };
        [run(&options), run(&RunOptions { trace: Some(trace), ..options })]
    }

    /// Replayed, it is the run that it was taken of.
    #[test]
    fn a_workload_replays_the_run() {
        let workload = workload(TEXT, None).unwrap();
        let header = workload.csv.lines().next().unwrap();
        assert_eq!(
            (header, workload.source.as_str()),
            ("arrival_s,prompt_tokens,output_tokens,class", "web")
        );
        let [drawn, replayed] = drawn_and_replayed(TEXT);
        assert!(drawn.len() > 150);
        assert_eq!(drawn, replayed);
    }

    /// So it is with sessions, whose requests have names of their own as long as they are drawn.
    #[test]
    fn sessions_replay() {
        let text = TEXT.replace(
            "[components.llm]",
            "prefixes = { count = 3, tokens = 64 }\n\
             sessions = { turns = 4, think = \"2s\", appended_tokens = { uniform = { min = 10, max = 90 } } }\n\
             [components.llm]",
        );
        let header = "arrival_s,prompt_tokens,output_tokens,class,session_id,prefix_id,shared_prefix_tokens";
        assert_eq!(workload(&text, None).unwrap().csv.lines().next(), Some(header));
        let [drawn, replayed] = drawn_and_replayed(&text).map(|mut journal| {
            journal.iter_mut().for_each(|record| record.key = 0);
            journal.sort_by_key(|record| (record.ended, record.born));
            journal
        });
        assert!(drawn.len() > 500, "{}", drawn.len());
        assert_eq!(drawn, replayed);
    }

    #[test]
    fn prefixes_are_shared_alike() {
        let text =
            TEXT.replace("[components.llm]", "prefixes = { count = 3, tokens = 64 }\n[components.llm]");
        let workload = workload(&text, None).unwrap();
        let ids: std::collections::BTreeSet<&str> =
            workload.csv.lines().skip(1).map(|line| line.split(',').nth(4).unwrap()).collect();
        assert_eq!(ids.into_iter().collect::<Vec<_>>(), ["0", "1", "2"]);
        assert!(workload.csv.lines().skip(1).all(|line| line.ends_with(",64")));
    }

    #[test]
    fn mistakes_are_told() {
        let two = format!(
            "{TEXT}\n[traffic.other]\narrivals = {{ process = \"poisson\", rate = \"1/s\" }}\nentry = \"llm\""
        );
        for (source, said) in [(None, "several traffic sources"), (Some("wob"), "no traffic `wob`")] {
            let error = workload(&two, source).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        assert!(workload(&two, Some("other")).is_ok());
    }
}
