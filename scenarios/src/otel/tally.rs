//! What the visits add up to: how often who calls whom, how long each works, and how long answers are.

use std::collections::{BTreeMap, BTreeSet};

use super::read::Answer;
use super::sessions::Arrival;
use super::visits::{Call, Callee, Visit, Visits};

/// Kinds of requests that are told apart at most, the most frequent ones (assumption: what fits on a screen).
const MOST_CLASSES: usize = 8;
/// Calls of a visit that are compared with one another, at most.
const MOST_PAIRS: usize = 64;

/// A kind of requests: what comes in from outside at an operation of a service.
#[derive(Debug)]
pub(super) struct Class {
    /// The service.
    pub entry: usize,
    /// The operation; none for the rest.
    pub operation: Option<String>,
    pub arrivals: Vec<Arrival>,
    pub prompt_tokens: Vec<f64>,
    pub output_tokens: Vec<f64>,
    /// Seconds from the start to the end of those that did not fail.
    pub latencies: Vec<f64>,
    pub failed: usize,
}

/// How a callee is called by the visits of a service for a class.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub count: usize,
    /// Nanoseconds since the start of the visit.
    pub offsets: Vec<u64>,
    /// Visits that called it more than once, and those of them in which two of the calls overlap.
    pub several: usize,
    pub overlapping: usize,
}

/// What the visits of a service do for a class.
#[derive(Debug, Default)]
pub(super) struct Pattern {
    pub visits: usize,
    pub calls: BTreeMap<Callee, Calls>,
    /// Visits that called both, and those of them in which the calls overlap.
    pub pairs: BTreeMap<(Callee, Callee), (usize, usize)>,
}

/// Answers of a model.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub model: Option<String>,
    /// Seconds, output tokens and seconds to the first of them.
    pub answered: Vec<(f64, Option<u32>, Option<f64>)>,
}

/// What works: a service, or something outside.
#[derive(Debug, Default)]
pub(super) struct Worker {
    pub count: usize,
    /// Seconds of its own work.
    pub seconds: Vec<f64>,
    /// When it began and ended to work.
    pub spells: Vec<(u64, u64)>,
    /// Visits that failed though nothing that they called did.
    pub failed: usize,
    pub answers: Option<Answers>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub classes: Vec<Class>,
    /// By service and class.
    pub patterns: BTreeMap<usize, BTreeMap<usize, Pattern>>,
    pub workers: BTreeMap<Callee, Worker>,
    /// Seconds of network one way, by caller and callee.
    pub network: BTreeMap<(usize, usize), Vec<f64>>,
    /// Calls that are left out because they would close a circle, by caller and callee.
    pub circles: BTreeMap<(usize, usize), usize>,
}

impl Tally {
    pub fn new(visits: &Visits) -> Self {
        let mut tally = Self { circles: circles(visits), ..Self::default() };
        let classes = tally.classify(visits);
        for (root, class) in visits.roots.iter().zip(classes) {
            tally.request(visits, *root, class);
        }
        tally
    }

    fn counts(&self, caller: usize, call: &Call) -> bool {
        match call.callee {
            Callee::Service(service) => !self.circles.contains_key(&(caller, service)),
            Callee::Outside(_) => true,
        }
    }

    /// The class of each root.
    fn classify(&mut self, visits: &Visits) -> Vec<usize> {
        let name = |root: &usize| (visits.all[*root].service, visits.all[*root].operation.as_str());
        let mut counts: BTreeMap<(usize, &str), usize> = BTreeMap::new();
        visits.roots.iter().for_each(|root| *counts.entry(name(root)).or_default() += 1);
        let mut order: Vec<_> = counts.into_iter().collect();
        order.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut places: BTreeMap<(usize, Option<&str>), usize> = BTreeMap::new();
        let kept: BTreeSet<(usize, &str)> = order.iter().take(MOST_CLASSES).map(|(key, _)| *key).collect();
        let mut class_of = |root: &usize| {
            let (entry, operation) = name(root);
            let operation = kept.contains(&(entry, operation)).then_some(operation);
            *places.entry((entry, operation)).or_insert_with(|| {
                self.classes.push(Class {
                    entry,
                    operation: operation.map(str::to_owned),
                    arrivals: Vec::new(),
                    prompt_tokens: Vec::new(),
                    output_tokens: Vec::new(),
                    latencies: Vec::new(),
                    failed: 0,
                });
                self.classes.len() - 1
            })
        };
        visits.roots.iter().map(&mut class_of).collect()
    }

    /// Adds a request: the visits that were made for it.
    fn request(&mut self, visits: &Visits, root: usize, class: usize) {
        let (mut prompt, mut output, mut conversation) = (None, None, None);
        let mut stack = vec![root];
        while let Some(index) = stack.pop() {
            let visit = &visits.all[index];
            self.visit(visit, class);
            let mut said = |answer: &Option<Answer>| {
                let Some(answer) = answer else { return };
                let tally = &mut self.classes[class];
                conversation = conversation.take().or_else(|| answer.conversation.clone());
                if let Some(tokens) = answer.input_tokens {
                    tally.prompt_tokens.push(tokens.into());
                    prompt = prompt.max(Some(tokens));
                }
                if let Some(tokens) = answer.output_tokens {
                    tally.output_tokens.push(tokens.into());
                    output = output.max(Some(tokens));
                }
            };
            said(&visit.answer.clone().filter(|_| visit.calls.is_empty()));
            visit.calls.iter().for_each(|call| said(&call.answer));
            let counted = visit.calls.iter().filter(|call| self.counts(visit.service, call));
            stack.extend(counted.filter_map(|call| call.visit));
        }
        let visit = &visits.all[root];
        let tally = &mut self.classes[class];
        tally.arrivals.push(Arrival {
            at: visit.start,
            end: visit.end,
            prompt: prompt.unwrap_or(1).max(1),
            output: output.unwrap_or(1).max(1),
            conversation,
        });
        match visit.failed {
            true => tally.failed += 1,
            false => tally.latencies.push((visit.end - visit.start) as f64 / 1e9),
        }
    }

    fn visit(&mut self, visit: &Visit, class: usize) {
        let own = visit.own(|call| self.counts(visit.service, call));
        let calls: Vec<&Call> = visit.calls.iter().filter(|call| self.counts(visit.service, call)).collect();
        let seconds = own.iter().map(|(from, to)| to - from).sum::<u64>() as f64 / 1e9;
        let worker = self.workers.entry(Callee::Service(visit.service)).or_default();
        let answer = visit.answer.as_ref().filter(|_| visit.calls.is_empty());
        let is_its_own = visit.failed && calls.iter().all(|call| !call.failed);
        worker.add(seconds, own, is_its_own, visit.failed, answer);
        for call in &calls {
            match &call.callee {
                Callee::Service(callee) => {
                    if let Some(network) = call.network {
                        let one_way = network as f64 / 2e9;
                        self.network.entry((visit.service, *callee)).or_default().push(one_way);
                    }
                }
                Callee::Outside(_) => {
                    let seconds = (call.end - call.start) as f64 / 1e9;
                    let worker = self.workers.entry(call.callee.clone()).or_default();
                    worker.add(
                        seconds,
                        vec![(call.start, call.end)],
                        call.failed,
                        call.failed,
                        call.answer.as_ref(),
                    );
                }
            }
        }
        self.patterns.entry(visit.service).or_default().entry(class).or_default().add(visit, &calls);
    }
}

impl Worker {
    fn add(
        &mut self,
        seconds: f64,
        spells: Vec<(u64, u64)>,
        is_its_own: bool,
        failed: bool,
        answer: Option<&Answer>,
    ) {
        self.count += 1;
        self.failed += usize::from(is_its_own);
        self.spells.extend(spells.into_iter().filter(|(from, to)| from < to));
        if let Some(answer) = answer {
            let answers = self.answers.get_or_insert_default();
            answers.model = answers.model.take().or_else(|| answer.model.clone());
            if !failed {
                answers.answered.push((seconds, answer.output_tokens, answer.ttft_s));
            }
        }
        if !failed {
            self.seconds.push(seconds);
        }
    }

    /// The most that it worked on at once.
    pub fn peak(&self) -> usize {
        let mut turns: Vec<(u64, bool)> =
            self.spells.iter().flat_map(|(from, to)| [(*from, true), (*to, false)]).collect();
        // Ends come before starts at the same time.
        turns.sort_unstable();
        let (mut now, mut most) = (0_usize, 1);
        for (_, begins) in turns {
            now = if begins { now + 1 } else { now - 1 };
            most = most.max(now);
        }
        most
    }
}

impl Pattern {
    fn add(&mut self, visit: &Visit, calls: &[&Call]) {
        self.visits += 1;
        let mut seen: BTreeMap<&Callee, Vec<(u64, u64)>> = BTreeMap::new();
        for call in calls {
            let stats = self.calls.entry(call.callee.clone()).or_default();
            stats.count += 1;
            stats.offsets.push(call.start.saturating_sub(visit.start));
            let times = seen.entry(&call.callee).or_default();
            if times.len() < MOST_PAIRS {
                times.push((call.start, call.end));
            }
        }
        let overlap =
            |a: &[(u64, u64)], b: &[(u64, u64)]| a.iter().any(|a| b.iter().any(|b| a.0 < b.1 && b.0 < a.1));
        for (callee, times) in seen.iter().filter(|(_, times)| times.len() > 1) {
            let stats = self.calls.entry((*callee).clone()).or_default();
            stats.several += 1;
            stats.overlapping += usize::from(times.windows(2).any(|pair| overlap(&pair[..1], &pair[1..])));
        }
        let seen: Vec<_> = seen.into_iter().take(MOST_PAIRS).collect();
        for (index, (a, a_times)) in seen.iter().enumerate() {
            for (b, b_times) in &seen[index + 1..] {
                let pair = self.pairs.entry(((*a).clone(), (*b).clone())).or_default();
                pair.0 += 1;
                pair.1 += usize::from(overlap(a_times, b_times));
            }
        }
    }

    /// Whether two callees are mostly called at the same time.
    pub fn is_parallel(&self, a: &Callee, b: &Callee) -> bool {
        let key = if a < b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) };
        self.pairs.get(&key).is_some_and(|(both, overlapping)| 2 * overlapping > *both)
    }
}

/// The calls between services that close a circle, the rarest ones: a scenario has none.
fn circles(visits: &Visits) -> BTreeMap<(usize, usize), usize> {
    let mut counts: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for visit in &visits.all {
        for call in &visit.calls {
            if let Callee::Service(callee) = call.callee {
                *counts.entry((visit.service, callee)).or_default() += 1;
            }
        }
    }
    let mut order: Vec<_> = counts.into_iter().collect();
    order.sort_by_key(|(edge, count)| (std::cmp::Reverse(*count), *edge));
    let (mut kept, mut closing): (BTreeMap<usize, Vec<usize>>, BTreeMap<_, _>) = Default::default();
    for ((from, to), count) in order {
        match reaches(&kept, to, from) {
            true => _ = closing.insert((from, to), count),
            false => kept.entry(from).or_default().push(to),
        }
    }
    closing
}

fn reaches(edges: &BTreeMap<usize, Vec<usize>>, from: usize, to: usize) -> bool {
    let (mut stack, mut seen) = (vec![from], BTreeSet::new());
    while let Some(place) = stack.pop() {
        if place == to {
            return true;
        }
        if seen.insert(place) {
            stack.extend(edges.get(&place).into_iter().flatten());
        }
    }
    false
}
