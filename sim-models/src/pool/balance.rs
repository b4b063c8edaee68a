//! A balancer at work.

use rand::Rng;
use sim_core::random::KeyedDraws;

use super::affinity::{Sent, pieces};
use super::balancer::{Balancer, ConsistentHash, HashAlgorithm, HashKey, PrefixAware};
use super::hashing::{Circle, hash_of};
use crate::llm::engine::Prefix;
use crate::turn::Prompt;

/// Calls in a replica, as last read.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Signal {
    pub(crate) waiting: u64,
    pub(crate) running: u64,
    /// Share of its KV cache in use, if it has one.
    pub(crate) kv_usage: f64,
}

/// The replicas that may be picked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidates<'a> {
    /// In order.
    pub(super) list: &'a [u32],
    /// Changes with the list.
    version: u64,
    /// Which of the turns is gone by: there is one of all replicas, and one of each zone.
    turn: usize,
}

impl<'a> Candidates<'a> {
    pub(super) fn anywhere(list: &'a [u32], version: u64) -> Self {
        Self { list, version, turn: 0 }
    }

    /// Those in a zone.
    pub(super) fn within(list: &'a [u32], version: u64, zone: u16) -> Self {
        Self { list, version, turn: 1 + usize::from(zone) }
    }

    fn has(&self, replica: u32) -> bool {
        self.list.binary_search(&replica).is_ok()
    }
}

#[derive(Debug)]
pub(super) struct Balance {
    balancer: Balancer,
    /// Whose turn it is.
    next: Vec<u32>,
    /// Signals of the replicas as last read.
    pub(super) signals: Vec<Signal>,
    /// What each replica's prefix cache was sent, for `prefix_aware`.
    pub(super) sent: Vec<Sent>,
    circle: Option<Circle>,
    /// Of the candidates that the circle was made for.
    circle_version: u64,
}

impl Balance {
    /// `prefix_room` is the number of tokens that the prefix cache of a replica holds.
    pub(super) fn new(balancer: Balancer, replicas: u32, prefix_room: u64) -> Self {
        let sent = match balancer {
            Balancer::PrefixAware(_) => (0..replicas).map(|_| Sent::new(prefix_room)).collect(),
            _ => Vec::new(),
        };
        let circle = match &balancer {
            Balancer::ConsistentHash(ConsistentHash {
                algorithm: HashAlgorithm::RingHash,
                minimum_ring_size,
                ..
            }) => Some(Circle::ring(replicas, *minimum_ring_size)),
            _ => None,
        };
        let signals = vec![Signal::default(); replicas as usize];
        Self { balancer, next: vec![0], signals, sent, circle, circle_version: 0 }
    }

    pub(super) fn is_consistent_hash(&self) -> bool {
        matches!(self.balancer, Balancer::ConsistentHash(_))
    }

    /// One of the candidates, not `avoid` if there is another; none without candidates. `active` are the
    /// calls in each replica.
    pub(super) fn pick(
        &mut self,
        candidates: Candidates,
        active: &[u32],
        prompt: Prompt,
        draws: KeyedDraws,
        avoid: Option<u32>,
    ) -> Option<u32> {
        self.refresh(candidates);
        match avoid {
            Some(avoid) if candidates.has(avoid) && candidates.list.len() > 1 => {
                let rest: Vec<u32> = candidates.list.iter().copied().filter(|r| *r != avoid).collect();
                self.choose(Candidates { list: &rest, ..candidates }, active, prompt, draws)
            }
            _ => self.choose(candidates, active, prompt, draws),
        }
    }

    /// Makes the Maglev table anew where the candidates have changed.
    fn refresh(&mut self, candidates: Candidates) {
        if let Balancer::ConsistentHash(ConsistentHash {
            algorithm: HashAlgorithm::Maglev, table_size, ..
        }) = self.balancer
            && (self.circle.is_none() || self.circle_version != candidates.version)
        {
            self.circle = Some(Circle::maglev(candidates.list, table_size));
            self.circle_version = candidates.version;
        }
    }

    fn choose(
        &mut self,
        candidates: Candidates,
        active: &[u32],
        prompt: Prompt,
        mut draws: KeyedDraws,
    ) -> Option<u32> {
        let list = candidates.list;
        let first = *list.first()?;
        let calls = |replica: u32| active[replica as usize];
        Some(match self.balancer {
            Balancer::RoundRobin => {
                if self.next.len() <= candidates.turn {
                    self.next.resize(candidates.turn + 1, 0);
                }
                let next = &mut self.next[candidates.turn];
                let turn = list.partition_point(|replica| replica < next);
                let picked = list.get(turn).copied().unwrap_or(first);
                *next = picked + 1;
                picked
            }
            Balancer::Random => list[below(list.len(), &mut draws)],
            Balancer::LeastRequest(parameters) => {
                let mut best = list[below(list.len(), &mut draws)];
                for _ in 1..parameters.choice_count {
                    let other = list[below(list.len(), &mut draws)];
                    if calls(other) < calls(best) {
                        best = other;
                    }
                }
                best
            }
            Balancer::PowerOfTwo if list.len() > 1 => {
                let place = below(list.len(), &mut draws);
                let other = below(list.len() - 1, &mut draws);
                let (one, other) = (list[place], list[other + usize::from(other >= place)]);
                if calls(other) < calls(one) { other } else { one }
            }
            Balancer::PowerOfTwo => first,
            Balancer::JoinShortestQueue => least(list, calls, &mut draws),
            Balancer::ConsistentHash(parameters) => {
                return self.hashed(parameters, candidates, active, prompt, draws);
            }
            Balancer::PrefixAware(parameters) => {
                self.nearest_cache(parameters, list, active, prompt, &mut draws)
            }
            Balancer::VllmDataParallel(_) => {
                let score = |replica: &u32| {
                    let Signal { waiting, running, .. } = self.signals[*replica as usize];
                    4 * waiting + running
                };
                let picked = list.iter().copied().min_by_key(score).unwrap_or(first);
                self.signals[picked as usize].waiting += 1;
                picked
            }
        })
    }

    fn hashed(
        &mut self,
        parameters: ConsistentHash,
        candidates: Candidates,
        active: &[u32],
        prompt: Prompt,
        mut draws: KeyedDraws,
    ) -> Option<u32> {
        let request = prompt.request;
        let hash = match parameters.key {
            HashKey::Prefix => match &*prompt.prefix() {
                // The turns of a conversation belong together, and those of one within another, too.
                Prefix::Conversation { id, opening, .. } => match **opening {
                    Prefix::Conversation { id, .. } => hash_of(&[id]),
                    _ => hash_of(&[*id]),
                },
                Prefix::Shared { id, .. } => hash_of(&[*id]),
                Prefix::Blocks { ids, .. } if !ids.is_empty() => hash_of(&[ids[0]]),
                Prefix::Blocks { .. } | Prefix::None => draws.next_u64(),
            },
            HashKey::Tenant => hash_of(&[request.tenant.into()]),
            HashKey::Entity => hash_of(&[request.entity]),
        };
        let bound = parameters.load_factor.map_or(u64::MAX, |factor| {
            let calls: u64 = candidates.list.iter().map(|r| u64::from(active[*r as usize])).sum();
            (factor * (calls + 1) as f64 / candidates.list.len() as f64).ceil() as u64
        });
        let will_do = |replica| candidates.has(replica) && u64::from(active[replica as usize]) < bound;
        self.circle.as_ref()?.find(hash, will_do)
    }

    fn nearest_cache(
        &mut self,
        PrefixAware { beta, scrape_period }: PrefixAware,
        list: &[u32],
        active: &[u32],
        prompt: Prompt,
        draws: &mut KeyedDraws,
    ) -> u32 {
        let load = |replica: u32| match (scrape_period.get().is_zero(), self.signals[replica as usize]) {
            (true, _) => f64::from(active[replica as usize]),
            (false, Signal { waiting, running, .. }) => (waiting + running) as f64,
        };
        let mean = list.iter().map(|replica| load(*replica)).sum::<f64>() / list.len() as f64;
        let pieces = pieces(&prompt);
        let prompt = prompt.tokens().max(1);
        let loss = |replica: u32| {
            let matched = f64::from(self.sent[replica as usize].matched(&pieces, prompt)) / f64::from(prompt);
            beta * (load(replica) - mean) / mean.max(1.0) - matched
        };
        let picked = least(list, loss, draws);
        self.sent[picked as usize].record(&pieces);
        picked
    }
}

/// A number below `count`, all alike (Lemire, "Fast random integer generation in an interval", 2019,
/// without the rejection: off by less than 2^-40 for any number of replicas).
fn below(count: usize, draws: &mut KeyedDraws) -> usize {
    ((u128::from(draws.next_u64()) * count as u128) >> 64) as usize
}

/// The replica with the least score; equals are drawn among.
fn least<S: PartialOrd + Copy>(list: &[u32], score: impl Fn(u32) -> S, draws: &mut KeyedDraws) -> u32 {
    let (mut best, mut least, mut equals) = (list[0], score(list[0]), 1);
    for replica in &list[1..] {
        let score = score(*replica);
        if score < least {
            (best, least, equals) = (*replica, score, 1);
        } else if score == least {
            equals += 1;
            if below(equals, draws) == 0 {
                best = *replica;
            }
        }
    }
    best
}
