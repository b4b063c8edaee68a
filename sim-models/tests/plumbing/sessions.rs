//! Users who come back: how many turns they ask, when, and what of it is the session's.

use std::collections::BTreeMap;

use sim_models::journal::Birth;
use sim_models::llm::engine::Prefix;

use super::*;

/// A session each minute: 4 turns, 10 s of thought, 2 s to answer, prompts of 100 tokens, then 50 more each, answers of
/// 20.
fn chat() -> String {
    "[traffic.web]\narrivals = { process = \"deterministic\", rate = \"1/min\" }\nentry = \"edge\"\n\
     prompt_tokens = 100\noutput_tokens = 20\n\
     sessions = { turns = 4, think = \"10s\", appended_tokens = 50 }\n"
        .to_owned()
        + &service("edge", "service_time = \"2s\"")
}

fn births(text: &str, seconds: u64) -> RunOutput {
    let duration = SimDuration::from_secs(seconds);
    simulate_with(text, &RunPlan { duration, births: true, ..ten_seconds() })
}

/// Births by session, in the order of their turns.
fn by_session(output: &RunOutput) -> BTreeMap<u64, Vec<&Birth>> {
    let mut sessions: BTreeMap<u64, Vec<&Birth>> = BTreeMap::new();
    for birth in &output.births {
        let Prefix::Conversation { id, .. } = birth.prefix else { panic!("{birth:?}") };
        sessions.entry(id).or_default().push(birth);
    }
    sessions
}

#[test]
fn turns_come_when_users_have_thought_with_all_before_in_front() {
    let output = births(&chat(), 600);
    // The first comes after a minute, and of the one at 600 s only the first turn is in time.
    assert_eq!((output.conservation.born, output.conservation.in_flight), (9 * 4 + 1, 0));
    let sessions = by_session(&output);
    assert_eq!(sessions.len(), 10);
    for session in sessions.values().take(9) {
        let start = session[0].at.as_secs_f64();
        let asked: Vec<_> = session
            .iter()
            .map(|turn| (turn.at.as_secs_f64() - start, turn.prompt_tokens, turn.output_tokens))
            .collect();
        assert_eq!(asked, [(0.0, 100, 20), (12.0, 170, 20), (24.0, 240, 20), (36.0, 310, 20)]);
    }
}

#[test]
fn numbers_of_turns_follow_their_law() {
    // 1 to 5 turns, the ends half as often as the others.
    let text = chat().replace("turns = 4", "turns = { uniform = { min = 1, max = 5 } }");
    let output = births(&text.replace("1/min", "1/s"), 4_000);
    let mut counts = [0.0_f64; 6];
    let sessions = by_session(&output);
    // All that can have ended.
    let ended = sessions.values().filter(|turns| turns[0].at.as_secs_f64() < 3_900.0);
    ended.for_each(|turns| counts[turns.len()] += 1.0 / 3_900.0);
    for (turns, expected) in [0.0, 0.125, 0.25, 0.25, 0.25, 0.125].into_iter().enumerate() {
        assert!((counts[turns] - expected).abs() < 0.025, "{turns} turns: {}", counts[turns]);
    }
}

#[test]
fn a_turn_without_an_answer_is_the_last() {
    let rare = births(&chat().replace("service_time", "error_rate = 0.5\nservice_time"), 60_000);
    let sessions = by_session(&rare);
    // 1 + 1/2 + 1/4 + 1/8 turns.
    let mean = rare.conservation.born as f64 / sessions.len() as f64;
    assert!((mean - 1.875).abs() < 0.1, "{mean}");
    let gave_up = chat().replace("entry", "deadline = \"1s\"\nentry");
    let output = births(&gave_up, 600);
    assert_eq!(output.conservation.born, 10);
    assert_all(&output, Outcome::TimedOut);
}

#[test]
fn users_of_a_closed_loop_think_between_sessions() {
    let closed = chat().replace(
        "process = \"deterministic\", rate = \"1/min\"",
        "process = \"closed_loop\", users = 5, think = \"22s\"",
    );
    // 22 + 4 * 2 + 3 * 10 = 60 s a session.
    let output = births(&closed, 6_000);
    assert_eq!(output.conservation.born, 5 * 100 * 4);
    assert_eq!(by_session(&output).len(), 5 * 100);
}

/// What tells a turn from others, but for its time.
fn asked(output: &RunOutput) -> BTreeMap<u64, (u8, u16, u32, u32, Prefix)> {
    let of = |birth: &Birth| {
        let Birth { key, class, tenant, prompt_tokens, output_tokens, ref prefix, .. } = *birth;
        (key, (class, tenant, prompt_tokens, output_tokens, prefix.clone()))
    };
    output.births.iter().map(of).collect()
}

#[test]
fn a_session_asks_the_same_of_every_system() {
    let text = chat()
        .replace("1/min", "1/s")
        .replace("prompt_tokens = 100", "prompt_tokens = { lognormal = { mean = 300, cv = 1 } }")
        .replace("output_tokens = 20", "output_tokens = { exponential = { mean = 40 } }")
        .replace("appended_tokens = 50", "appended_tokens = { exponential = { mean = 50 } }")
        .replace("turns = 4", "turns = { exponential = { mean = 4 } }")
        .replace(
            "entry",
            "priority = { high = 0.3, low = 0.7 }\ntenants = { a = 0.5, b = 0.5 }\n\
             prefixes = { count = 9, tokens = 64 }\nentry",
        );
    let (slow, fast) = (births(&text, 500), births(&text.replace("2s", "20ms"), 500));
    let (slow_asked, fast_asked) = (asked(&slow), asked(&fast));
    assert!(slow_asked.len() > 1_000 && fast_asked.len() > slow_asked.len());
    for (key, turn) in &slow_asked {
        assert_eq!(fast_asked.get(key), Some(turn));
    }
    for turns in by_session(&slow).values() {
        let [first, rest @ ..] = turns.as_slice() else { panic!("no turns") };
        let mut before = first;
        for turn in rest {
            assert_eq!((turn.class, turn.tenant, &turn.prefix), (first.class, first.tenant, &first.prefix));
            assert!(turn.prompt_tokens > before.prompt_tokens + before.output_tokens);
            before = turn;
        }
    }
}

#[test]
fn without_prompts_turns_share_nothing() {
    let text = chat().replace("prompt_tokens = 100\n", "").replace(", appended_tokens = 50", "");
    let output = births(&text, 600);
    assert_eq!(output.conservation.born, 37);
    assert!(output.births.iter().all(|birth| birth.prefix == Prefix::None && birth.prompt_tokens == 0));
}

#[test]
fn mistakes_are_told() {
    let check = |text: &str, path: &[&str], message: &str| {
        let error = refusal(text);
        assert_eq!(error.path, [&["traffic", "web", "sessions"], path].concat(), "{error}");
        assert!(error.message.contains(message) && error.help.is_some(), "{error}");
    };
    check(&chat().replace(", appended_tokens = 50", ""), &[], "nothing says what later turns add");
    check(&chat().replace("turns = 4", "turns = 0"), &["turns"], "0 is no count");
    check(&chat().replace("prompt_tokens = 100\n", ""), &["appended_tokens"], "without a length");
}
