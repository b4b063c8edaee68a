//! Conversations (`gen_ai.conversation.id`) as sessions.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::law::{times, tokens, whole_numbers};

/// Shares from which on conversations are told as sessions: of the requests that name one, and of the later turns whose
/// prompts are as long as all before them (assumptions).
const NAMED: f64 = 0.5;
const WHOLE: f64 = 0.9;

/// A request from outside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arrival {
    /// Nanoseconds since 1970, as `end`.
    pub at: u64,
    pub end: u64,
    pub prompt: u32,
    pub output: u32,
    pub conversation: Option<String>,
}

impl Arrival {
    /// Whether its prompt can have that of another and the answer to it in front.
    fn goes_on(&self, before: &Self) -> bool {
        u64::from(self.prompt) >= u64::from(before.prompt) + u64::from(before.output)
    }
}

/// Requests by conversation, in the order of their times.
fn conversations<'a>(arrivals: impl IntoIterator<Item = &'a Arrival>) -> BTreeMap<&'a str, Vec<&'a Arrival>> {
    let mut conversations: BTreeMap<&str, Vec<&Arrival>> = BTreeMap::new();
    for arrival in arrivals {
        if let Some(name) = &arrival.conversation {
            conversations.entry(name).or_default().push(arrival);
        }
    }
    conversations.values_mut().for_each(|turns| turns.sort());
    conversations
}

/// Conversations whose prompts have all before them in front, each time: their numbers by name.
pub(super) fn whole<'a>(arrivals: impl IntoIterator<Item = &'a Arrival>) -> BTreeMap<&'a str, usize> {
    let is_whole = |turns: &[&Arrival]| turns.windows(2).all(|pair| pair[1].goes_on(pair[0]));
    let several = conversations(arrivals).into_iter().filter(|(_, turns)| turns.len() > 1 && is_whole(turns));
    several.map(|(name, _)| name).zip(0..).collect()
}

/// The sessions of a class.
pub(super) struct Sessions {
    /// When they began, in nanoseconds since 1970.
    pub starts: Vec<u64>,
    /// Lengths of their first prompts, in tokens.
    pub openings: Vec<f64>,
    /// As the scenario says it.
    pub config: Value,
}

impl Sessions {
    /// Those of these requests; none without conversations of several turns.
    ///
    /// # Errors
    /// Why conversations are not told as sessions.
    pub fn of(arrivals: &[Arrival], have_tokens: bool) -> Result<Option<Self>, &'static str> {
        let conversations = conversations(arrivals);
        let pairs: Vec<&[&Arrival]> = conversations.values().flat_map(|turns| turns.windows(2)).collect();
        if pairs.is_empty() {
            return Ok(None);
        }
        let named: usize = conversations.values().map(Vec::len).sum();
        if (named as f64) < NAMED * arrivals.len() as f64 {
            return Err("most of its requests name none");
        }
        let going_on: Vec<_> = pairs.iter().filter(|pair| pair[1].goes_on(pair[0])).collect();
        if have_tokens && (going_on.len() as f64) < WHOLE * pairs.len() as f64 {
            return Err("later prompts are too short to have all before them in front");
        }
        let alone: Vec<[&Arrival; 1]> =
            arrivals.iter().filter(|one| one.conversation.is_none()).map(|one| [one]).collect();
        let all: Vec<&[&Arrival]> =
            conversations.values().map(Vec::as_slice).chain(alone.iter().map(|one| &one[..])).collect();
        let gap = |pair: &&[&Arrival]| pair[1].at.saturating_sub(pair[0].end) as f64 / 1e9;
        let mut config = json!({
            "turns": whole_numbers(all.iter().map(|turns| turns.len()).collect()),
            "think": times(pairs.iter().map(gap).collect()),
        });
        if have_tokens {
            let added = |pair: &&&[&Arrival]| {
                let [before, turn] = [pair[0], pair[1]];
                f64::from(turn.prompt) - f64::from(before.prompt) - f64::from(before.output)
            };
            config["appended_tokens"] = json!(tokens(going_on.iter().map(added).collect()));
        }
        Ok(Some(Self {
            starts: all.iter().map(|turns| turns[0].at).collect(),
            openings: all.iter().map(|turns| turns[0].prompt.into()).collect(),
            config,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(conversation: &str, second: u64, prompt: u32, output: u32) -> Arrival {
        let at = second * 1_000_000_000;
        let conversation = (!conversation.is_empty()).then(|| conversation.to_owned());
        Arrival { at, end: at + 1_500_000_000, prompt, output, conversation }
    }

    #[test]
    fn turns_thoughts_and_what_is_added_are_counted() {
        let arrivals = [
            arrival("a", 10, 100, 20),
            arrival("b", 11, 300, 10),
            arrival("a", 14, 150, 10),
            arrival("", 15, 70, 1),
            arrival("a", 20, 170, 1),
        ];
        let Ok(Some(sessions)) = Sessions::of(&arrivals, true) else { panic!("no sessions") };
        assert_eq!((sessions.starts.len(), sessions.openings), (3, vec![100.0, 300.0, 70.0]));
        let expected = json!({
            "turns": { "mixture": [{ "weight": 2, "of": 1 }, { "weight": 1, "of": 3 }] },
            "think": { "empirical": { "samples": ["2500ms", "4500ms"] } },
            "appended_tokens": { "empirical": { "samples": [10, 30] } },
        });
        assert_eq!(sessions.config, expected);
        let Ok(Some(without)) = Sessions::of(&arrivals, false) else { panic!("no sessions") };
        assert_eq!(without.config.get("appended_tokens"), None);
        assert_eq!(whole(&arrivals), BTreeMap::from([("a", 0)]));
    }

    #[test]
    fn what_is_no_session_is_said() {
        let why = |arrivals: &[Arrival]| Sessions::of(arrivals, true).map(|sessions| sessions.is_some());
        assert_eq!(why(&[arrival("a", 1, 10, 1), arrival("b", 2, 10, 1)]), Ok(false));
        let mut arrivals = vec![arrival("a", 1, 100, 20), arrival("a", 5, 120, 20)];
        assert_eq!(why(&arrivals), Ok(true));
        arrivals[1].prompt = 119;
        assert!(why(&arrivals).is_err_and(|why| why.contains("too short")) && whole(&arrivals).is_empty());
        arrivals[1].prompt = 120;
        arrivals.extend((6..9).map(|second| arrival("", second, 10, 1)));
        assert!(why(&arrivals).is_err_and(|why| why.contains("name none")));
    }
}
