//! The search for the cheapest configuration.

use std::collections::BTreeMap;

use super::bounds::{SURELY, load};
use super::space::Kind;
use super::{Evaluated, Plan};
use crate::language::ScenarioError;

/// Most candidates that are weighed against one another at a time.
const WEIGHED: usize = 400;

/// Configurations with the same demands from which on it pays to measure those first (assumption).
const MANY: usize = 8;

/// Differences of bills below this share are rounding.
const ROUNDING: f64 = 1e-9;

/// Share of what others paid by use that a configuration with the same demands pays at least (assumption: luck and failed
/// requests are worth a few percent).
const SAME_USE: f64 = 0.95;

/// Shares of what a component can do up to which a configuration is first guessed to hold, and from which on to fail
/// (assumption); runs move them.
const GUESSED: (f64, f64) = (0.3, 1.0);

/// How sure a guess may be.
const SURE: f64 = 0.95;

/// Share of a bill that may be paid by use for more of everything to be taken as no cheaper (assumption): more capacity may
/// save calls of somebody else's API, and no more than that.
const LITTLE_USE: f64 = 0.05;

/// How many configurations were not run, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuledOut {
    /// They cannot be built.
    pub unbuildable: u64,
    /// Their bill at rest is beyond the budget.
    pub budget: u64,
    /// By the operational laws a component has less than is asked of it.
    pub law: u64,
    /// They have less than one that failed.
    pub less: u64,
    /// They have no more of what one that failed was short of.
    pub shortage: u64,
    /// They answer wrongly as often as one that had enough of everything.
    pub quality: u64,
    /// They cost more than one that holds.
    pub dearer: u64,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The cheapest configuration that holds; none where none does, or none was found in time.
    pub best: Option<Evaluated>,
    /// All that were run, the cheapest first; of those that were run twice, the full run.
    pub evaluated: Vec<Evaluated>,
    /// How many configurations there are.
    pub points: u64,
    /// Those that were not run.
    pub ruled_out: RuledOut,
    /// Runs, short and full ones.
    pub runs: u64,
    /// Simulated time of them all, in seconds.
    pub simulated_s: f64,
    /// Whether every configuration is accounted for; otherwise the search was stopped.
    pub complete: bool,
}

/// Why a configuration is no longer a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Candidate,
    Unbuildable,
    Budget,
    Law,
    Less,
    Shortage,
    Quality,
    Dearer,
    Run,
}

/// A configuration before it is run.
#[derive(Debug)]
struct Candidate {
    levels: Vec<usize>,
    /// What it costs at least for a month, by what is held.
    usd: f64,
    /// Steps above the least of everything.
    units: usize,
    /// Alike for those that differ in capacity alone.
    group: u64,
    /// Alike for those of which the same is asked.
    demand: u64,
}

/// What is known so far.
struct State {
    /// The axes of capacity.
    capacity: Vec<usize>,
    /// Whether some of them are of pools that scale by themselves, whose bills are not known before they are run.
    scaled: bool,
    /// Whether the least of everything is wanted, and not the least bill.
    fewest: bool,
    candidates: Vec<Candidate>,
    fates: Vec<Fate>,
    /// By demand: what others with it paid by use, as far as that is known.
    demands: BTreeMap<u64, f64>,
    /// The largest share of what a component can do that is asked of it, where it is known.
    loads: Vec<Option<f64>>,
    /// The largest of them that held, and the smallest that did not.
    turns: (f64, f64),
    best: Option<Evaluated>,
}

impl State {
    fn alive(&self) -> impl Iterator<Item = usize> + '_ {
        self.fates.iter().enumerate().filter(|(_, fate)| **fate == Fate::Candidate).map(|(at, _)| at)
    }

    /// Whether one differs from another in capacity alone, and has no more of anything.
    fn has_no_more(&self, one: &Candidate, other: &Candidate) -> bool {
        one.group == other.group && self.capacity.iter().all(|axis| one.levels[*axis] <= other.levels[*axis])
    }

    /// What is to be small: the bill, or the units.
    fn value(&self, one: &Evaluated) -> f64 {
        if self.fewest { self.candidates[one.point as usize].units as f64 } else { one.usd_per_month }
    }

    /// What a candidate costs at least, with what is paid by use for the same demands.
    fn least(&self, at: usize) -> f64 {
        if self.fewest {
            return self.candidates[at].units as f64;
        }
        let candidate = &self.candidates[at];
        candidate.usd + self.demands.get(&candidate.demand).map_or(0.0, |usage| SAME_USE * usage)
    }

    fn is_dearer(&self, at: usize, value: f64, units: usize) -> bool {
        let least = self.least(at);
        least > value * (1.0 + ROUNDING)
            || (least >= value * (1.0 - ROUNDING) && self.candidates[at].units >= units)
    }

    /// How likely a candidate holds: between the loads that held and that did not, the less the more is asked.
    fn chance(&self, at: usize) -> f64 {
        let Some(load) = self.loads[at] else { return 0.5 };
        let (low, high) = (self.turns.0.min(self.turns.1), self.turns.0.max(self.turns.1));
        let share = if high > low {
            ((load - low) / (high - low)).clamp(0.0, 1.0)
        } else {
            f64::from(u8::from(load > low))
        };
        SURE - share * (2.0 * SURE - 1.0)
    }

    /// Gives candidates a fate.
    fn rule_out(&mut self, fate: Fate, which: impl Fn(&Self, usize) -> bool) {
        let gone: Vec<usize> = self.alive().filter(|at| which(self, *at)).collect();
        gone.into_iter().for_each(|at| self.fates[at] = fate);
    }
}

impl Plan<'_> {
    /// The cheapest configuration that holds. Where several cost the same, one with the least of everything.
    ///
    /// # Errors
    /// When a configuration that can be built cannot be run, or what was run cannot be kept.
    pub fn search(&mut self) -> Result<Found, ScenarioError> {
        let mut state = self.start();
        let shortened = self.has_short_runs();
        let mut complete = true;
        while let Some(chosen) = choose(&state) {
            let is_short = shortened && state.chance(chosen) < 0.5;
            let mut one = if is_short { self.evaluate(chosen as u64, false)? } else { None };
            if !self.progress.is_cancelled() && one.as_ref().is_none_or(|one| one.answers_hold) {
                one = self.evaluate(chosen as u64, true)?;
            }
            let Some(one) = one.filter(|_| !self.progress.is_cancelled()) else {
                complete = false;
                break;
            };
            self.learn(&mut state, chosen, &one);
        }
        let count = |fate: Fate| state.fates.iter().filter(|known| **known == fate).count() as u64;
        let ruled_out = RuledOut {
            unbuildable: count(Fate::Unbuildable),
            budget: count(Fate::Budget),
            law: count(Fate::Law),
            less: count(Fate::Less),
            shortage: count(Fate::Shortage),
            quality: count(Fate::Quality),
            dearer: count(Fate::Dearer),
        };
        let mut dearer: Vec<usize> =
            (0..state.fates.len()).filter(|at| state.fates[*at] == Fate::Dearer).collect();
        dearer.sort_by(|a, b| state.least(*a).total_cmp(&state.least(*b)));
        self.dearer = dearer.into_iter().map(|at| at as u64).collect();
        // A plan that was taken up may know of others, run beside its search.
        let searched = |one: &&Evaluated| state.fates[one.point as usize] == Fate::Run;
        let mut evaluated: Vec<Evaluated> = self.known.values().filter(searched).cloned().collect();
        evaluated.retain(|one| one.full || !self.known.contains_key(&(one.point, true)));
        evaluated.sort_by(|a, b| a.usd_per_month.total_cmp(&b.usd_per_month));
        Ok(Found {
            best: state.best,
            evaluated,
            points: self.space.points,
            ruled_out,
            runs: self.runs,
            simulated_s: self.known.values().map(|one| one.simulated_s).sum(),
            complete,
        })
    }

    fn start(&self) -> State {
        let kinds = self.space.kinds.iter().enumerate();
        let capacity: Vec<usize> =
            kinds.filter(|(_, kind)| **kind == Kind::Capacity).map(|(axis, _)| axis).collect();
        let scaled = capacity.iter().any(|axis| self.space.axes[*axis].path.contains(".autoscaler."));
        let budget = self.loaded.scenario.slo.monthly_cost.map(|usd| usd.dollars());
        let mut candidates = Vec::with_capacity(self.rests.len());
        let mut fates = Vec::with_capacity(self.rests.len());
        for (point, rest) in self.rests.iter().enumerate() {
            let levels = self.space.levels(point as u64);
            let usd = rest.as_ref().map_or(0.0, |rest| rest.usd_per_month);
            fates.push(match rest {
                Err(_) => Fate::Unbuildable,
                Ok(_) if budget.is_some_and(|budget| usd > budget * (1.0 + ROUNDING)) => Fate::Budget,
                Ok(_) => Fate::Candidate,
            });
            let units = capacity.iter().map(|axis| levels[*axis]).sum();
            let group = self.space.group(&levels, &[Kind::Capacity]);
            let demand = self.space.group(&levels, &[Kind::Capacity, Kind::Hardware]);
            candidates.push(Candidate { levels, usd, units, group, demand });
        }
        let loads = vec![None; candidates.len()];
        State {
            capacity,
            scaled,
            fewest: self.options.fewest,
            candidates,
            fates,
            demands: BTreeMap::new(),
            loads,
            turns: GUESSED,
            best: None,
        }
    }

    /// Rules out what a run says cannot be the answer.
    fn learn(&self, state: &mut State, chosen: usize, one: &Evaluated) {
        state.fates[chosen] = Fate::Run;
        let own = &state.candidates[chosen];
        let (group, demand, levels, units) = (own.group, own.demand, own.levels.clone(), own.units);
        // What is asked cannot be measured where not all of it is done.
        let usage = state.demands.entry(demand).or_insert(f64::INFINITY);
        *usage = usage.min(if one.demands.is_empty() { 0.0 } else { one.usage_usd_per_month });
        if !one.demands.is_empty() {
            let alike: Vec<usize> =
                state.alive().filter(|at| state.candidates[*at].demand == demand).chain([chosen]).collect();
            for at in alike {
                let (Ok(scenario), Ok(rest)) = (self.space.scenario(at as u64), &self.rests[at]) else {
                    continue;
                };
                state.loads[at] = load(&one.demands, &scenario, rest);
                if at != chosen && state.loads[at].is_some_and(|load| load > SURELY) {
                    state.fates[at] = Fate::Law;
                }
            }
        }
        if let Some(load) = state.loads[chosen] {
            match one.answers_hold {
                true => state.turns.0 = state.turns.0.max(load),
                false => state.turns.1 = state.turns.1.min(load),
            }
        }
        if one.is_wrong {
            state.rule_out(Fate::Quality, |state, at| state.candidates[at].group == group);
        }
        if !one.answers_hold {
            state.rule_out(Fate::Less, |state, at| {
                state.has_no_more(&state.candidates[at], &state.candidates[chosen])
            });
            if let Some(short) = &one.short_of {
                let owners = &self.space.owners;
                let its: Vec<usize> = state
                    .capacity
                    .iter()
                    .copied()
                    .filter(|axis| owners[*axis].as_ref() == Some(short))
                    .collect();
                state.rule_out(Fate::Shortage, |state, at| {
                    let other = &state.candidates[at];
                    other.group == group && its.iter().all(|axis| other.levels[*axis] <= levels[*axis])
                });
            }
        } else if one.holds && one.full {
            let better = |best: &Evaluated| {
                let (own, other) = (state.value(one), state.value(best));
                let tie = (own - other).abs() <= ROUNDING * other;
                let fewer = units < state.candidates[best.point as usize].units;
                if tie { fewer } else { own < other }
            };
            if state.best.as_ref().is_none_or(better) {
                state.best = Some(one.clone());
            }
            if one.usage_usd_per_month <= LITTLE_USE * one.usd_per_month {
                state.rule_out(Fate::Dearer, |state, at| {
                    state.has_no_more(&state.candidates[chosen], &state.candidates[at])
                });
            }
        }
        if let Some(best) = state.best.clone() {
            let value = state.value(&best);
            let best_units = state.candidates[best.point as usize].units;
            state.rule_out(Fate::Dearer, |state, at| state.is_dearer(at, value, best_units));
        }
    }
}

/// The candidate whose run is expected to rule out most; where nothing is known yet of what is asked of many, one with
/// nearly the most of everything.
fn choose(state: &State) -> Option<usize> {
    let mut alive: Vec<(f64, usize)> = state.alive().map(|at| (state.least(at), at)).collect();
    alive.sort_by(|a, b| {
        a.0.total_cmp(&b.0).then(state.candidates[a.1].units.cmp(&state.candidates[b.1].units))
    });
    let alive: Vec<usize> = alive.into_iter().map(|(_, at)| at).collect();
    let stride = alive.len().div_ceil(WEIGHED).max(1);
    let score = |place: usize| {
        let own = &state.candidates[alive[place]];
        let others = || alive.iter().map(|at| &state.candidates[*at]);
        let if_fails = others().filter(|other| state.has_no_more(other, own)).count();
        let if_holds = match state.scaled {
            false => alive.len() - place,
            true => others().filter(|other| state.has_no_more(own, other)).count(),
        };
        let chance = state.chance(alive[place]);
        chance * if_holds as f64 + (1.0 - chance) * if_fails as f64
    };
    let mut chosen = (0..alive.len()).step_by(stride).map(|place| (score(place), place));
    let first = chosen.next()?;
    // Of equals the cheapest.
    let (_, chosen) = chosen.fold(first, |best, other| if other.0 > best.0 { other } else { best });
    let chosen = alive[chosen];
    let own = &state.candidates[chosen];
    let alike = |at: &&usize| state.candidates[**at].demand == own.demand;
    if state.capacity.is_empty()
        || state.demands.contains_key(&own.demand)
        || alive.iter().filter(alike).count() < MANY
    {
        return Some(chosen);
    }
    let group: Vec<usize> = alive.into_iter().filter(|at| state.candidates[*at].group == own.group).collect();
    let most =
        |axis: &usize| group.iter().map(|at| state.candidates[*at].levels[*axis]).max().unwrap_or(0).max(1);
    let most: Vec<usize> = state.capacity.iter().map(most).collect();
    // In thousandths of the most that there may be.
    let scarcest = |at: usize| {
        let levels = state
            .capacity
            .iter()
            .zip(&most)
            .map(|(axis, most)| 1000 * state.candidates[at].levels[*axis] / most);
        levels.min().unwrap_or(0)
    };
    group.into_iter().max_by_key(|at| (scarcest(*at), state.candidates[*at].units))
}
