//! The `requests` frame: every request by itself.

use std::collections::BTreeMap;

use polars::prelude::DataFrame;
use sim_models::journal::RequestRecord;
use sim_models::meter::tpot;

use super::RunResult;
use super::columns::{
    Frame,
    Kind::{Count, Flag, Real, Text},
    MULTIPLIER, REPLICATION, VARIANT, column,
};
use super::table::{Table, cells};

/// `requests`.
pub const REQUESTS: Frame = Frame {
    name: "requests",
    row: "A request that was born in the measured part of one replication, in the order of births. Only where every request \
          was kept (`tenfold run --requests`, `requests=True` in Python).",
    columns: &[
        VARIANT,
        MULTIPLIER,
        REPLICATION,
        column("request", Count, "", "Its number: the same in every variant that is asked the same"),
        column("source", Text, "", "Its traffic source"),
        column("class", Text, "", "Priority class"),
        column("tenant", Text, "", "Tenant"),
        column("session", Count, "", "Number of the session that it is a turn of; null for none"),
        column("turn", Count, "", "Which turn of it, from 1"),
        column("born_s", Real, "s", "When it was born, after the start of the run"),
        column("prompt_tokens", Count, "tokens", "Length of its prompt"),
        column("output_tokens", Count, "tokens", "Length of a whole answer to it"),
        column("outcome", Text, "", "`ok`, `degraded`, `rejected`, `timed_out`, `failed` or `in_flight`"),
        column("good", Flag, "", "Whether it was answered within every bound of the SLO on a single request"),
        column("latency_s", Real, "s", "From its birth to its end, whatever that was; null in flight"),
        column("ttft_s", Real, "s", "From its birth to its first token; null where none reached the user"),
        column(
            "tpot_s",
            Real,
            "s",
            "Time per output token after the first; of answers of two tokens or more",
        ),
    ],
};

impl RunResult {
    /// The `requests` frame, where every request was kept
    /// ([`RunOptions::journal`](crate::run::RunOptions::journal) and
    /// [`RunOptions::births`](crate::run::RunOptions::births)).
    pub fn requests(&self) -> Option<DataFrame> {
        if !(self.plan.journal && self.plan.births) {
            return None;
        }
        let mut table = Table::new(REQUESTS, self.outputs.iter().map(|output| output.births.len()).sum());
        for (replication, output) in self.numbered() {
            let ended: BTreeMap<u64, &RequestRecord> =
                output.journal.iter().map(|record| (record.key, record)).collect();
            let mut turns: BTreeMap<u64, u64> = BTreeMap::new();
            for birth in &output.births {
                let turn = birth.session.map(|session| {
                    let turn = turns.entry(session).or_default();
                    *turn += 1;
                    *turn
                });
                if birth.at < output.measured_from {
                    continue;
                }
                let end = ended.get(&birth.key);
                let answer = end.filter(|end| end.outcome.is_answer());
                let first_token = end.and_then(|end| end.first_token);
                let since_birth = |at: sim_core::time::SimTime| at.since(birth.at).as_secs_f64();
                let tpot = answer.zip(first_token).and_then(|(end, first_token)| {
                    Some(tpot(first_token, end.ended, birth.output_tokens)?.as_secs_f64())
                });
                table.row(&[
                    &self.keys(),
                    &cells![replication, birth.key, output.components[birth.source].name.as_str()],
                    &cells![output.labels.classes[usize::from(birth.class)].as_str()],
                    &cells![output.labels.tenants[usize::from(birth.tenant)].as_str()],
                    &cells![birth.session, turn, birth.at.as_secs_f64()],
                    &cells![u64::from(birth.prompt_tokens), u64::from(birth.output_tokens)],
                    &cells![end.map_or(IN_FLIGHT, |end| end.outcome.name())],
                    &cells![answer.is_some_and(|end| end.good), end.map(|end| since_birth(end.ended))],
                    &cells![first_token.map(since_birth), tpot],
                ]);
            }
        }
        Some(table.finish())
    }
}

/// What the outcome of a request is called that has not ended.
pub(super) const IN_FLIGHT: &str = "in_flight";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::RunResult;
    use crate::run::{RunOptions, RunProgress};

    const TEXT: &str = r#"
        name = "Sessions of a bounded queue"
        run = { duration = "10m", warmup = "1m", replications = 2 }
        slo = { latency = { p99 = "20s" }, ttft = { p99 = "2s" } }
        [traffic.web]
        arrivals = { process = "poisson", rate = "0.5/s" }
        entry = "llm"
        priority = { chat = 0.7, batch = 0.3 }
        deadline = "12s"
        prompt_tokens = { uniform = { min = 100, max = 1000 } }
        output_tokens = { uniform = { min = 1, max = 400 } }
        sessions = { turns = 3, think = "10s", appended_tokens = 50 }
        [traffic.cron]
        arrivals = { process = "deterministic", rate = "6/min" }
        entry = "llm"
        prompt_tokens = 5000
        output_tokens = 1
        [components.llm]
        kind = "llm"
        model = "llama-3.1-8b"
        gpu = "l4"
        precision = "fp8"
        queue_cap = 3
        max_num_seqs = 12
    "#;

    fn run(keep: bool) -> RunResult {
        let loaded = crate::parse(TEXT, "test.toml", ".".as_ref(), &[]).unwrap();
        let options = RunOptions::default().keeping_requests(keep);
        crate::run(&loaded, &options, &RunProgress::new()).unwrap()
    }

    /// The mean of a column over rows of one replication, and how many of them are not null.
    fn mean(frame: &DataFrame, column: &str, replication: u64, take: impl Fn(usize) -> bool) -> (f64, usize) {
        let replications = frame.column("replication").unwrap().u64().unwrap();
        let values = frame.column(column).unwrap().f64().unwrap();
        let taken =
            (0..frame.height()).filter(|row| replications.get(*row) == Some(replication) && take(*row));
        let taken: Vec<f64> = taken.filter_map(|row| values.get(row)).collect();
        (taken.iter().sum::<f64>() / taken.len() as f64, taken.len())
    }

    #[test]
    fn rows_add_up_to_the_figures_of_the_run() {
        let result = run(true);
        let frame = result.requests().unwrap();
        let outcomes = frame.column("outcome").unwrap().str().unwrap();
        let good = frame.column("good").unwrap().bool().unwrap();
        let replications = frame.column("replication").unwrap().u64().unwrap();
        for (replication, output) in result.numbered() {
            let all = crate::results::metrics::requests(output, None, None);
            let count = |outcome: &str| {
                let rows = outcomes.iter().zip(replications.iter());
                rows.filter(|row| *row == (Some(outcome), Some(replication))).count() as u64
            };
            let ended = ["ok", "degraded", "rejected", "timed_out", "failed"].map(count);
            assert_eq!(ended, all.outcomes);
            assert!(ended[0] > 250 && ended[2] > 5 && ended[3] > 50, "{ended:?}");
            assert_eq!(count(IN_FLIGHT), crate::results::metrics::in_flight(&all));
            let is_answer = |row: usize| outcomes.get(row) == Some("ok");
            let is_good = |row: usize| good.get(row) == Some(true);
            assert_eq!(mean(&frame, "latency_s", replication, is_good).1 as u64, all.good);
            for (column, histogram) in
                [("latency_s", &all.latency), ("ttft_s", &all.ttft), ("tpot_s", &all.tpot)]
            {
                let (mean, count) = mean(&frame, column, replication, is_answer);
                assert_eq!(count as u64, histogram.count(), "{column}");
                let exact = histogram.mean().unwrap() / 1e9;
                assert!((mean / exact - 1.0).abs() < 1e-9, "{column}: {mean} and {exact}");
            }
        }
    }

    #[test]
    fn turns_are_told_apart_and_requests_without_a_session_have_none() {
        let result = run(true);
        let frame = result.requests().unwrap();
        let column = |name: &str| frame.column(name).unwrap().u64().unwrap().clone();
        let (sessions, turns, prompts) = (column("session"), column("turn"), column("prompt_tokens"));
        let sources = frame.column("source").unwrap().str().unwrap();
        let mut last: BTreeMap<(u64, u64), (u64, u64)> = BTreeMap::new();
        let mut counts = [0; 4];
        for row in 0..frame.height() {
            let Some(session) = sessions.get(row) else {
                assert_eq!((sources.get(row), turns.get(row)), (Some("cron"), None));
                continue;
            };
            let (turn, prompt) = (turns.get(row).unwrap(), prompts.get(row).unwrap());
            counts[turn as usize] += 1;
            let key = (column("replication").get(row).unwrap(), session);
            if let Some((before, shorter)) = last.insert(key, (turn, prompt)) {
                assert!(turn == before + 1 && prompt > shorter + 50);
            }
        }
        assert!(counts[1] > counts[2] && counts[2] > counts[3] && counts[3] > 100, "{counts:?}");
    }

    #[test]
    fn it_is_there_only_where_requests_are_kept() {
        let (kept, plain) = (run(true), run(false));
        assert!(plain.requests().is_none());
        let names =
            |result: &RunResult| result.frames().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(&kept), [names(&plain), vec!["requests"]].concat());
        assert_eq!(kept.provenance, plain.provenance);
    }
}
