//! Every request by itself: when it was born, how it ended, and which components it reached.
//!
//! Kept only where a plan asks for it ([`RunPlan::journal`](crate::system::RunPlan::journal)): 64 bytes a request. What
//! was asked for, as a trace would say it, is kept where a plan asks for that
//! ([`RunPlan::births`](crate::system::RunPlan::births)).

use sim_core::time::SimTime;

use crate::component::ComponentId;
use crate::llm::engine::Prefix;
use crate::request::{Outcome, Request};

/// A set of components: the first 64 of a system, traffic sources before all others. Those beyond are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reached(u64);

impl Reached {
    pub(crate) fn add(&mut self, component: ComponentId) {
        self.0 |= 1u64.checked_shl(component.index() as u32).unwrap_or(0);
    }

    /// Whether the component of that number, as in [`RunOutput::components`](crate::system::RunOutput::components), is
    /// in it.
    pub fn contains(self, index: usize) -> bool {
        u32::try_from(index).ok().and_then(|index| self.0.checked_shr(index)).unwrap_or(0) & 1 == 1
    }
}

/// A request that was born in the measured part of a run and has ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RequestRecord {
    /// Its number in all keyed draws: the same in every compared variant.
    pub key: u64,
    /// Its class: index into [`crate::context::Labels::classes`].
    pub class: u8,
    /// Its tenant: index into [`crate::context::Labels::tenants`].
    pub tenant: u16,
    /// When it was born.
    pub born: SimTime,
    /// When its first token reached the user.
    pub first_token: Option<SimTime>,
    /// When it ended.
    pub ended: SimTime,
    /// How.
    pub outcome: Outcome,
    /// Whether it kept to every bound of the SLO.
    pub good: bool,
    /// The components that its calls reached, until it ended.
    pub reached: Reached,
}

impl RequestRecord {
    pub(crate) fn new(request: &Request, ended: SimTime, outcome: Outcome, good: bool) -> Self {
        Self {
            key: request.key,
            class: request.class,
            tenant: request.tenant,
            born: request.born,
            first_token: request.first_token,
            ended,
            outcome,
            good,
            reached: request.reached,
        }
    }
}

/// A request when it was born.
#[derive(Debug, Clone, PartialEq)]
pub struct Birth {
    /// Its number in all keyed draws.
    pub key: u64,
    /// Its traffic source, as in [`RunOutput::components`](crate::system::RunOutput::components).
    pub source: usize,
    /// When it was born.
    pub at: SimTime,
    /// Its class: index into [`crate::context::Labels::classes`].
    pub class: u8,
    /// Its tenant: index into [`crate::context::Labels::tenants`].
    pub tenant: u16,
    /// Prompt length in tokens.
    pub prompt_tokens: u32,
    /// Answer length in tokens.
    pub output_tokens: u32,
    /// What its prompt shares with others.
    pub prefix: Prefix,
    /// Names the session that it is a turn of.
    pub session: Option<u64>,
}

impl Birth {
    pub(crate) fn new(source: ComponentId, request: &Request) -> Self {
        Self {
            key: request.key,
            source: source.index(),
            at: request.born,
            class: request.class,
            tenant: request.tenant,
            prompt_tokens: request.prompt_tokens,
            output_tokens: request.output_tokens,
            prefix: request.prefix.clone(),
            session: request.session,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_four_components_are_told_apart() {
        let mut reached = Reached::default();
        for index in [0, 5, 63, 64, 200] {
            reached.add(ComponentId(index));
        }
        let found: Vec<usize> = (0..300).filter(|index| reached.contains(*index)).collect();
        assert_eq!(found, [0, 5, 63]);
    }
}
