//! What each replica's prefix cache was sent, as far as the pool's front remembers.

use std::collections::BTreeMap;

use super::hashing::hash_of;
use crate::llm::engine::Prefix;
use crate::turn::Prompt;

/// Tells the names of conversations from those of texts.
const CONVERSATION: u64 = 1;

/// The pieces of a prompt that others may share: their names and lengths in tokens, from the start.
pub(super) fn pieces(prompt: &Prompt) -> Vec<(u64, u32)> {
    let mut pieces = Vec::new();
    add_pieces(&prompt.prefix(), prompt.tokens_with_answer(), &mut pieces);
    pieces
}

/// The pieces of the first `tokens` tokens of a conversation; of another text all that it shares.
fn add_pieces(prefix: &Prefix, tokens: u32, pieces: &mut Vec<(u64, u32)>) {
    match prefix {
        Prefix::None => {}
        Prefix::Shared { id, tokens } => pieces.push((*id, *tokens)),
        Prefix::Blocks { ids, block_tokens } => {
            // Prompts agree as far as all their blocks do: a block's name tells all before it.
            let mut name = 0;
            pieces.extend(ids.iter().map(|id| {
                name = hash_of(&[name, *id]);
                (name, *block_tokens)
            }));
        }
        Prefix::Conversation { id, opening, opening_tokens } => {
            add_pieces(opening, *opening_tokens, pieces);
            let mut left = *opening_tokens;
            let is_blocks = matches!(**opening, Prefix::Blocks { .. });
            // A block that the first prompt does not fill is the conversation's.
            pieces.retain_mut(|(_, piece)| {
                let is_whole = *piece <= left;
                *piece = (*piece).min(left);
                left -= if is_whole || !is_blocks { *piece } else { 0 };
                is_whole || !is_blocks
            });
            // A text may have the same id.
            pieces.push((hash_of(&[*id, CONVERSATION]), tokens.saturating_sub(opening_tokens - left)));
        }
    }
}

/// What one replica was sent, the least recently used forgotten first.
#[derive(Debug)]
pub(super) struct Sent {
    /// Tokens of a piece, and when it was used last.
    pieces: BTreeMap<u64, (u32, u64)>,
    by_use: BTreeMap<u64, u64>,
    uses: u64,
    tokens: u64,
    /// The most tokens that are remembered.
    room: u64,
}

impl Sent {
    pub(super) fn new(room: u64) -> Self {
        Self { pieces: BTreeMap::new(), by_use: BTreeMap::new(), uses: 0, tokens: 0, room }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.room);
    }

    /// How many of the first tokens it was sent before.
    pub(super) fn matched(&self, pieces: &[(u64, u32)], prompt_tokens: u32) -> u32 {
        let mut matched = 0u32;
        for (name, tokens) in pieces {
            let Some((sent, _)) = self.pieces.get(name) else { break };
            matched = matched.saturating_add(*sent.min(tokens));
            if sent < tokens {
                break;
            }
        }
        matched.min(prompt_tokens)
    }

    /// It is sent these.
    pub(super) fn record(&mut self, pieces: &[(u64, u32)]) {
        for (name, tokens) in pieces {
            let (sent, used) = self.pieces.get(name).copied().unwrap_or((0, u64::MAX));
            self.by_use.remove(&used);
            let tokens = sent.max(*tokens);
            self.tokens += u64::from(tokens - sent);
            self.pieces.insert(*name, (tokens, self.uses));
            self.by_use.insert(self.uses, *name);
            self.uses += 1;
        }
        while self.tokens > self.room {
            let Some((_, name)) = self.by_use.pop_first() else { return };
            if let Some((tokens, _)) = self.pieces.remove(&name) {
                self.tokens -= u64::from(tokens);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_end_at_the_first_piece_that_is_missing() {
        let mut sent = Sent::new(1000);
        sent.record(&[(1, 100), (2, 100)]);
        assert_eq!(sent.matched(&[(1, 100), (2, 100), (3, 100)], 300), 200);
        assert_eq!(sent.matched(&[(1, 100), (3, 100), (2, 100)], 300), 100);
        assert_eq!(sent.matched(&[(2, 100)], 60), 60);
        assert_eq!(sent.matched(&[], 60), 0);
        // A text that grows.
        sent.record(&[(1, 250)]);
        assert_eq!((sent.matched(&[(1, 400)], 500), sent.tokens), (250, 350));
    }

    #[test]
    fn what_is_not_used_is_forgotten() {
        let mut sent = Sent::new(250);
        sent.record(&[(1, 100)]);
        sent.record(&[(2, 100)]);
        sent.record(&[(1, 100)]);
        sent.record(&[(3, 100)]);
        let matched = [1, 2, 3].map(|piece| sent.matched(&[(piece, 100)], 100));
        assert_eq!((matched, sent.tokens), ([100, 0, 100], 200));
        assert_eq!((sent.pieces.len(), sent.by_use.len()), (2, 2));
        sent.clear();
        assert_eq!((sent.matched(&[(1, 100)], 100), sent.tokens, sent.room), (0, 0, 250));
    }
}
