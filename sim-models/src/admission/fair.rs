//! Start-time fair queueing (P. Goyal, H. M. Vin, H. Cheng, "Start-time fair queuing: a scheduling algorithm
//! for integrated services packet switching networks", SIGCOMM 1996).
//!
//! A call of a flow starts, in virtual time, when the one before it of its flow ends, or now if that is
//! later; it ends `cost / weight` after that. The call with the earliest start is served. Virtual time is the
//! start of the call that was last taken into service; when a busy period ends it is the latest end of all
//! that were served. A call gets its start when it comes to the head of its flow, which is the same and
//! charges nothing for calls that leave the line unserved.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::guarded::Entry;
use crate::context::Labels;
use crate::error::ConfigError;

/// Who gets a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// Tenants.
    #[default]
    Tenant,
    /// Classes.
    Class,
}

impl Party {
    /// The names of all of them.
    pub(super) fn names(self, labels: &Labels) -> &[String] {
        match self {
            Self::Tenant => &labels.tenants,
            Self::Class => &labels.classes,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Class => "class",
        }
    }

    /// What each of them has, by a table of names; those it does not name have `other`.
    pub(super) fn resolve<T: Copy>(
        self,
        table: &IndexMap<String, T>,
        other: T,
        labels: &Labels,
    ) -> Result<Vec<T>, ConfigError> {
        let names = self.names(labels);
        if let Some(unknown) = table.keys().find(|name| !names.contains(name)) {
            return Err(ConfigError::new([unknown], format!("unknown {} `{unknown}`", self.name()))
                .help(format!("expected one of {}", names.join(", "))));
        }
        Ok(names.iter().map(|name| table.get(name).copied().unwrap_or(other)).collect())
    }
}

/// Weighted fair queueing: parties that always have calls waiting get shares of the service in proportion to
/// their weights, whatever the others send.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FairConfig {
    /// Whose calls are kept apart. Default: tenant.
    pub by: Party,
    /// Weights by name. Default: 1 each.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub weights: IndexMap<String, f64>,
}

impl FairConfig {
    /// The weight of every party.
    pub(super) fn resolve(&self, labels: &Labels) -> Result<Vec<f64>, ConfigError> {
        if let Some((name, weight)) =
            self.weights.iter().find(|(_, weight)| !(weight.is_finite() && **weight > 0.0))
        {
            return Err(ConfigError::new(["weights", name], format!("the weight of `{name}` is {weight}"))
                .help("expected a number above 0, such as 2"));
        }
        self.by.resolve(&self.weights, 1.0, labels).map_err(|error| error.within("weights"))
    }
}

#[derive(Debug)]
struct Flow {
    weight: f64,
    /// By number.
    calls: BTreeMap<u64, Entry>,
    /// Start of the call at its head.
    start: u64,
    /// End of the last call served.
    finish: u64,
}

/// A line with a flow for every party.
#[derive(Debug)]
pub(super) struct Fair {
    flows: Vec<Flow>,
    /// Start and number of the first call of every flow that has one.
    heads: BTreeSet<(u64, u64, u16)>,
    virtual_time: u64,
    /// The latest end of all that were served.
    last_finish: u64,
    len: usize,
}

impl Fair {
    pub(super) fn new(weights: &[f64]) -> Self {
        let flow = |weight: &f64| Flow { weight: *weight, calls: BTreeMap::new(), start: 0, finish: 0 };
        Self {
            flows: weights.iter().map(flow).collect(),
            heads: BTreeSet::new(),
            virtual_time: 0,
            last_finish: 0,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, entry: Entry) {
        let (number, group) = (entry.number, entry.group);
        let flow = &mut self.flows[usize::from(group)];
        if flow.calls.is_empty() {
            flow.start = self.virtual_time.max(flow.finish);
            self.heads.insert((flow.start, number, group));
        }
        flow.calls.insert(number, entry);
        self.len += 1;
    }

    /// Takes out the next call to be served. Whether it is served is for [`Fair::served`] to say.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let (_, number, group) = *self.heads.first()?;
        self.remove(number, group)
    }

    /// A call that was taken out is served.
    pub(super) fn served(&mut self, entry: &Entry) {
        let flow = &mut self.flows[usize::from(entry.group)];
        let head = flow.calls.first_key_value().map(|(number, _)| *number);
        if let Some(number) = head {
            self.heads.remove(&(flow.start, number, entry.group));
        }
        self.virtual_time = flow.start;
        // At least a nanosecond, so that calls without a cost take turns too.
        let takes = (entry.cost as f64 / flow.weight).round().max(1.0) as u64;
        flow.finish = flow.start.saturating_add(takes);
        self.last_finish = self.last_finish.max(flow.finish);
        if let Some(number) = head {
            flow.start = flow.finish;
            self.heads.insert((flow.start, number, entry.group));
        }
    }

    /// Nothing waits and nothing is in service.
    pub(super) fn idle(&mut self) {
        self.virtual_time = self.last_finish;
    }

    pub(super) fn remove(&mut self, number: u64, group: u16) -> Option<Entry> {
        let flow = &mut self.flows[usize::from(group)];
        let entry = flow.calls.remove(&number)?;
        self.len -= 1;
        if self.heads.remove(&(flow.start, number, group))
            && let Some((next, _)) = flow.calls.first_key_value()
        {
            self.heads.insert((flow.start, *next, group));
        }
        Some(entry)
    }

    /// Who is to make room for a call of `group`: the newest of the flow that is the longest for its weight
    /// (the longest queue is the one to drop from: P. E. McKenney, "Stochastic fairness queueing", INFOCOM
    /// 1990); none if that is the flow of the call itself.
    pub(super) fn victim(&self, group: u16) -> Option<(u64, u16)> {
        let length = |flow: &Flow, more: usize| (flow.calls.len() + more) as f64 / flow.weight;
        let mut longest = (length(&self.flows[usize::from(group)], 1), None);
        for (index, flow) in self.flows.iter().enumerate().filter(|(index, _)| *index != usize::from(group)) {
            if let Some((number, _)) = flow.calls.last_key_value()
                && length(flow, 0) > longest.0
            {
                longest = (length(flow, 0), Some((*number, index as u16)));
            }
        }
        longest.1
    }

    pub(super) fn drain(&mut self) -> Vec<Entry> {
        self.heads.clear();
        self.len = 0;
        self.flows.iter_mut().flat_map(|flow| std::mem::take(&mut flow.calls).into_values()).collect()
    }
}
