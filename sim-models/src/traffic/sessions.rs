//! Users who come back: an arrival begins a session of several requests, its turns.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::distribution::Dist;
use sim_core::random::{KeyedStream, unit};
use sim_core::time::SimDuration;

use super::source::Attribute;
use super::tokens::Tokens;
use crate::error::ConfigError;
use crate::llm::engine::Prefix;
use crate::request::Request;
use crate::slab::{Key, Slab};
use crate::units::{NumberDist, TimeDist};

/// Sessions of several requests, as of users who chat: after each answer the user thinks, then asks again with all that
/// was said before in front. Class, tenant, entity and prefix are the session's, all else is each turn's own. A turn
/// that is not answered is the last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionsConfig {
    /// How many turns a session has, rounded, at least 1.
    pub turns: NumberDist,
    /// From an answer to the session's next turn.
    pub think: TimeDist,
    /// Tokens that each turn after the first adds to the prompt and the answer before it, at least 1. It goes with
    /// `prompt_tokens`, the length of first prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appended_tokens: Option<NumberDist>,
}

/// The most turns of a session: turns and sessions share a number of 64 bits.
const MAX_TURNS: u32 = 1 << 23;
const SESSION_BITS: u32 = 40;

/// Probabilities below it are left out of the mean number of turns.
const NEGLIGIBLE: f64 = 1e-9;
/// The most numbers of turns that it looks at: beyond, only laws without a mean still matter.
const MOST_LOOKS: u32 = 1 << 17;

fn turns_at(law: &Dist, u: f64) -> u32 {
    // The cast rounds down and cuts off at both ends.
    ((law.quantile(u) + 0.5) as u32).clamp(1, MAX_TURNS)
}

/// The session of a turn: the number of its first one.
pub(super) fn session_of(about: u64) -> u64 {
    about & ((1 << SESSION_BITS) - 1)
}

impl SessionsConfig {
    /// Turns of a session on average, if all are answered; none where the law is wrong.
    pub fn mean_turns(&self) -> Option<f64> {
        let law = self.turns.build().ok()?;
        // Of whole numbers from 1 on: the sum of the probabilities to be above each.
        let more_than = |turns: u32| 1.0 - law.cdf((f64::from(turns) + 0.5).next_down());
        let tail = (1..MOST_LOOKS).map(more_than).take_while(|above| *above > NEGLIGIBLE);
        Some(1.0 + tail.sum::<f64>())
    }

    /// The thinking in a session on average, in seconds; none where a law is wrong.
    pub fn mean_thinking_s(&self) -> Option<f64> {
        Some((self.mean_turns()? - 1.0) * self.think.build().ok()?.mean())
    }

    pub(super) fn build(&self, prompt_tokens: Option<&NumberDist>) -> Result<Sessions, ConfigError> {
        let law = |key: &str, law: Result<Dist, String>| law.map_err(|error| ConfigError::new([key], error));
        let appended = match (&self.appended_tokens, prompt_tokens) {
            (None, Some(_)) => {
                let message = "prompts have a length, and nothing says what later turns add to it";
                return Err(ConfigError::new([""; 0], message).help("give `appended_tokens`, such as 80"));
            }
            (Some(_), None) => {
                let message = "tokens are appended to prompts without a length";
                return Err(ConfigError::new(["appended_tokens"], message)
                    .help("give `prompt_tokens` of the traffic, the length of first prompts"));
            }
            (appended, _) => appended.as_ref(),
        };
        let appended =
            appended.map(|own| law("appended_tokens", own.build().map_err(|error| error.to_string())));
        Ok(Sessions {
            turns: self.turns.build_count().map_err(|error| error.within("turns"))?,
            think: law("think", self.think.build().map_err(|error| error.to_string()))?,
            appended: appended.transpose()?.map(Tokens::new),
            waiting: Slab::default(),
        })
    }
}

/// The sessions of a traffic source at work.
#[derive(Debug)]
pub(super) struct Sessions {
    turns: Dist,
    think: Dist,
    appended: Option<Tokens>,
    /// Those whose users think.
    waiting: Slab<SessionState>,
}

/// What a turn has of its session.
#[derive(Debug)]
pub(super) struct SessionState {
    /// Number of the turn among its source's.
    pub(super) about: u64,
    pub(super) class: u8,
    pub(super) tenant: u16,
    pub(super) entity: u64,
    pub(super) prefix: Prefix,
    /// The prompt and the answer before it, in tokens.
    pub(super) tokens: u32,
}

impl Sessions {
    /// What the turns of a session that opens with `prefix` share.
    pub(super) fn open(&self, id: u64, prefix: Prefix, prompt_tokens: u32) -> Prefix {
        match self.appended {
            None => prefix,
            Some(_) => Prefix::Conversation { id, opening: Arc::new(prefix), opening_tokens: prompt_tokens },
        }
    }

    /// A turn, number `about` of its source, was answered: the name of what is said so far, and how long the user
    /// thinks about it; none after the last turn.
    pub(super) fn go_on(
        &mut self,
        about: u64,
        request: &Request,
        attributes: KeyedStream,
    ) -> Option<(Key, SimDuration)> {
        let (session, turn) = (session_of(about), (about >> SESSION_BITS) as u32);
        let turns = turns_at(&self.turns, unit(&mut attributes.draws(session, Attribute::Turns as u32, 0)));
        if turn + 1 >= turns {
            return None;
        }
        let pause = self.think.sample_duration(&mut attributes.draws(about, Attribute::Think as u32, 0));
        let state = SessionState {
            about: about + (1 << SESSION_BITS),
            class: request.class,
            tenant: request.tenant,
            entity: request.entity,
            prefix: request.prefix.clone(),
            tokens: request.prompt_tokens.saturating_add(request.output_tokens),
        };
        Some((self.waiting.insert(state), pause))
    }

    /// The user has thought.
    pub(super) fn take(&mut self, key: Key) -> Option<SessionState> {
        self.waiting.remove(key)
    }

    /// The prompt of a turn that goes on from there; `word` is a random one.
    pub(super) fn prompt_tokens(&mut self, state: &SessionState, word: u64) -> u32 {
        self.appended.as_mut().map_or(0, |law| state.tokens.saturating_add(law.at(word)))
    }
}
