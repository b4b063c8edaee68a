//! Conversations that are held on behalf of a request: what each call asks of a model.

use sim_core::random::stable_hash;

use crate::llm::engine::Conversation;
use crate::request::Request;

/// Whether a call is a turn of a conversation, and what was said before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Turn {
    /// Names the conversation among those of the request; 0 for none.
    pub conversation: u32,
    /// Tokens of earlier answers and of what was added to them: the request's prompt has grown by them.
    pub grown: u32,
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

    /// The conversation that it is a turn of: all of the prompt and of the answer belongs to it.
    #[inline]
    pub fn conversation(&self) -> Option<Conversation> {
        let Self { request, turn } = self;
        let id = || stable_hash(&[request.key, turn.conversation.into()].map(u64::to_le_bytes).concat());
        (turn.conversation != 0).then(|| Conversation {
            id: id(),
            opening_tokens: request.prompt_tokens,
            tokens: self.tokens().saturating_add(request.output_tokens),
        })
    }
}
