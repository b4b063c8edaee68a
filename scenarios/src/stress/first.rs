//! The first component that breaks, and the proof.

use rayon::prelude::*;
use sim_models::system::ComponentConfig;
use sim_models::system::config::{FaultConfig, FaultKind};
use sim_models::units::{Rate, Time};

use super::{Limit, StressTest};
use crate::results::findings::{Blamed, blamed, pressures};
use crate::results::{RunResult, findings};
use crate::scenario::Scenario;

/// How much more capacity the proof gives to a component: a fifth.
const MORE: f64 = 1.2;

/// How far above the limit the proof is tried: with a fifth more of what was short the limit is a fifth higher.
const ABOVE: f64 = 1.1;

/// How far above the smallest failing multiple a component is looked for that is surely short of something.
const FARTHER: [f64; 4] = [1.0, 1.25, 1.6, 2.0];

/// Suspects whose proof is tried.
const TRIED: usize = 3;

/// What happens to the limit when one component gets a fifth more capacity.
#[derive(Debug, Clone, PartialEq)]
pub struct Proof {
    /// The component.
    pub component: String,
    /// The multiple that was tried, above the limit.
    pub multiple: f64,
    /// Whether it passes now: the limit has moved. None where a component cannot be given more.
    pub moves: Option<bool>,
}

/// A component that may be the first to break.
#[derive(Debug, Clone, PartialEq)]
pub struct Suspect {
    /// Its name.
    pub component: String,
    /// What is said of it.
    pub why: String,
    /// The multiple at which it would have no capacity left by the operational law, 1 / utilization today; none where
    /// its utilization does not tell.
    pub predicted: Option<f64>,
}

/// What breaks first.
#[derive(Debug, Clone, PartialEq)]
pub struct FirstBreak {
    /// The first component that breaks; none where nothing is short of anything.
    pub component: Option<String>,
    /// All that may be, the likeliest first.
    pub suspects: Vec<Suspect>,
    /// The multiple at which they were seen.
    pub seen_at: f64,
    /// More capacity for each of the likeliest.
    pub proofs: Vec<Proof>,
}

impl FirstBreak {
    /// Whether more capacity for it moves the limit, and more for the others does not.
    pub fn is_proven(&self) -> bool {
        let own = |proof: &&Proof| Some(&proof.component) == self.component.as_ref();
        let moves = self.proofs.iter().find(own).is_some_and(|proof| proof.moves == Some(true));
        moves && self.proofs.iter().filter(|proof| !own(proof)).all(|proof| proof.moves != Some(true))
    }
}

impl StressTest<'_> {
    /// The first component that breaks above the limit: the deepest that is short of something, past callers that only
    /// wait for it. `today` is the run at 1x. None where nothing breaks.
    pub fn first_break(&self, today: &RunResult, limit: Limit) -> Option<FirstBreak> {
        let fails = limit.fails?;
        let scenario = &self.loaded.scenario;
        let (mut seen_at, mut found) = (fails, Vec::new());
        for farther in FARTHER {
            let k = fails * farther;
            let Ok(result) = self.run_grown(scenario, k, Some(1), false) else { continue };
            (seen_at, found) = (k, blamed(&result));
            if !found.is_empty() {
                break;
            }
        }
        let today_pressures = pressures(today);
        let predicted = |name: &str| {
            let pressure = today_pressures.iter().find(|(known, _)| known == name)?.1;
            (pressure > 0.0).then(|| 1.0 / pressure)
        };
        let mut suspects = ranked(&found)
            .into_iter()
            .map(|blamed| Suspect {
                component: blamed.component.clone(),
                why: blamed.text.clone(),
                predicted: predicted(&blamed.component),
            })
            .collect::<Vec<_>>();
        // Nothing is short of anything: who is busiest, for the proof to decide.
        let mut busiest: Vec<&(String, f64)> = today_pressures.iter().collect();
        busiest.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (name, pressure) in busiest {
            if suspects.len() < TRIED && !suspects.iter().any(|suspect| suspect.component == *name) {
                let why =
                    format!("`{name}` has {} of its capacity in use today", findings::percent(*pressure));
                suspects.push(Suspect { component: name.clone(), why, predicted: predicted(name) });
            }
        }
        let mut proofs: Vec<Proof> = Vec::new();
        if let Some(passes) = limit.passes {
            let multiple = passes * ABOVE;
            let tried: Vec<&Suspect> = suspects.iter().take(TRIED).collect();
            proofs = tried
                .par_iter()
                .map(|suspect| {
                    let component = suspect.component.clone();
                    let moves = widened(scenario, &component).map(|wider| self.holds(&wider, multiple));
                    Proof { component, multiple, moves }
                })
                .collect();
        }
        // Whom the proof names, if it names one; otherwise who was found.
        let moving: Vec<&Proof> = proofs.iter().filter(|proof| proof.moves == Some(true)).collect();
        let component = match (moving[..].first(), found.is_empty()) {
            (Some(proof), _) => Some(proof.component.clone()),
            (None, false) => suspects.first().map(|suspect| suspect.component.clone()),
            (None, true) => None,
        };
        if let Some(place) =
            suspects.iter().position(|suspect| Some(&suspect.component) == component.as_ref())
        {
            let first = suspects.remove(place);
            suspects.insert(0, first);
        }
        Some(FirstBreak { component, suspects, seen_at, proofs })
    }
}

/// Those that wait for nobody, by how far they are beyond their capacity; then those that may only wait.
fn ranked(found: &[Blamed]) -> Vec<&Blamed> {
    let mut ranked: Vec<&Blamed> = found.iter().collect();
    ranked.sort_by(|a, b| {
        let key = |blamed: &Blamed| blamed.waits_for.is_empty();
        key(b).cmp(&key(a)).then(b.load.total_cmp(&a.load))
    });
    ranked
}

/// The scenario with a fifth more capacity at one component: all that it does takes five sixths of the time, and what it
/// lets through is a fifth more. None for what has no capacity of its own.
pub(super) fn widened(scenario: &Scenario, name: &str) -> Option<Scenario> {
    let mut wider = scenario.clone();
    let component = wider.components.get_mut(name)?;
    match component {
        ComponentConfig::Router(_) | ComponentConfig::Cascade(_) => return None,
        ComponentConfig::ExternalApi(api) => {
            api.requests_per_minute = api.requests_per_minute.map(|limit| {
                u32::try_from(more(limit.get().into()))
                    .ok()
                    .and_then(std::num::NonZeroU32::new)
                    .unwrap_or(limit)
            });
            api.tokens_per_minute =
                api.tokens_per_minute.map(|limit| more(limit.get()).try_into().unwrap_or(limit));
        }
        _ => {}
    }
    let is_flow = matches!(component, ComponentConfig::Flow(_));
    let admission = match component {
        ComponentConfig::Flow(config) => config.admission.as_deref_mut(),
        ComponentConfig::Service(config) => config.admission.as_deref_mut(),
        ComponentConfig::Llm(config) => config.admission.as_deref_mut(),
        ComponentConfig::ModelServer(config) => config.admission.as_deref_mut(),
        ComponentConfig::ExternalApi(config) => config.admission.as_deref_mut(),
        ComponentConfig::Queue(config) => config.admission.as_deref_mut(),
        _ => None,
    };
    if let Some(rate_limit) = admission.and_then(|admission| admission.rate_limit.as_mut()) {
        let faster = |rate: Rate| Rate::from_per_second(rate.per_second() * MORE).unwrap_or(rate);
        rate_limit.rate = faster(rate_limit.rate);
        rate_limit.rates.values_mut().for_each(|rate| *rate = faster(*rate));
        if is_flow {
            return Some(wider);
        }
    } else if is_flow {
        return None;
    }
    let slow = FaultConfig::new(Time::ZERO, name, FaultKind::Slow);
    wider.fault.push(FaultConfig { factor: Some(1.0 / MORE), ..slow });
    Some(wider)
}

fn more(count: u64) -> u64 {
    (count as f64 * MORE).round() as u64
}
