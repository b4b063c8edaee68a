//! Conversations that are held on behalf of a request: what each call asks of a model.

use std::borrow::Cow;
use std::sync::Arc;

use sim_core::random::stable_hash;

use crate::llm::engine::Prefix;
use crate::request::Request;

/// Whether a call is a turn of a conversation, and what was said before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Turn {
    /// Names the conversation among those of the request; 0 for none.
    pub conversation: u32,
    /// Tokens of earlier answers and of what was added to them: the request's prompt has grown by them.
    pub grown: u32,
    /// Length of the answer in tokens, where it is not the request's own; otherwise 0.
    pub answer: u32,
}

/// What a call asks of a model.
#[derive(Debug, Clone, Copy)]
pub struct Prompt<'a> {
    /// The request.
    pub request: &'a Request,
    /// The turn that the call is.
    pub turn: Turn,
}

impl<'a> From<&'a Request> for Prompt<'a> {
    fn from(request: &'a Request) -> Self {
        Self { request, turn: Turn::default() }
    }
}

impl Prompt<'_> {
    /// Its length in tokens: that of the request's prompt, and what the conversation has grown by.
    #[inline]
    pub fn tokens(&self) -> u32 {
        self.request.prompt_tokens.saturating_add(self.turn.grown)
    }

    /// Length of the answer to it, in tokens.
    #[inline]
    pub fn output_tokens(&self) -> u32 {
        if self.turn.answer == 0 { self.request.output_tokens } else { self.turn.answer }
    }

    /// Its answer with it, in tokens.
    pub(crate) fn tokens_with_answer(&self) -> u32 {
        self.tokens().saturating_add(self.output_tokens())
    }

    /// What it shares with others: that of the request, which in a conversation on behalf of it is the opening.
    #[inline]
    pub fn prefix(&self) -> Cow<'_, Prefix> {
        let Self { request, turn } = self;
        if turn.conversation == 0 {
            return Cow::Borrowed(&request.prefix);
        }
        Cow::Owned(Prefix::Conversation {
            id: stable_hash(&[request.key, turn.conversation.into()].map(u64::to_le_bytes).concat()),
            opening: Arc::new(request.prefix.clone()),
            opening_tokens: request.prompt_tokens,
        })
    }
}
