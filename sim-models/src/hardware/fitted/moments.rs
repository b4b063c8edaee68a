//! What the times of a server's requests say about its steps.

use super::linear::least_squares;

/// One request as its client saw it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// When it was sent, in seconds after the first one.
    pub sent_s: f64,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    pub output_tokens: u32,
    /// From sending to the first token, in seconds.
    pub ttft_s: f64,
    /// From sending to the last token, in seconds.
    pub latency_s: f64,
}

impl Observation {
    fn first_token(&self) -> f64 {
        self.sent_s + self.ttft_s
    }

    fn end(&self) -> f64 {
        self.sent_s + self.latency_s
    }

    /// Time for each token after the first, in seconds.
    pub fn tpot_s(&self) -> Option<f64> {
        let steps = self.output_tokens.checked_sub(1).filter(|steps| *steps > 0)?;
        Some((self.latency_s - self.ttft_s) / f64::from(steps))
    }
}

/// Statistics of a run that the parameters of its step times move one by one.
///
/// The time from first to last token of a request is regressed on its steps, on its steps times the mean
/// number of sequences decoding meanwhile, and on the prompt tokens of the requests whose first token came
/// meanwhile. The coefficients estimate a step over an empty batch, what a sequence adds to a step, and what a
/// prompt token adds. They need not be unbiased: the same regression is done on the simulated run, and the two
/// are made to agree (indirect inference, Gouriéroux, Monfort and Renault 1993).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moments {
    /// Seconds of a step over an empty batch.
    pub step_s: f64,
    /// Seconds that a sequence adds to a step; none when the number of sequences hardly varies.
    pub sequence_s: Option<f64>,
    /// Seconds that a prompt token adds to the pass it is in; none when too few prompts came in between.
    pub prompt_token_s: Option<f64>,
    /// Median time to first token of those who came to a busy server, in seconds.
    pub busy_ttft_s: Option<f64>,
    /// Mean time to first token of those who came to an idle one and were alone until then, in seconds.
    pub idle_ttft_s: Option<f64>,
}

/// Fewest requests of a kind from which a figure is taken.
const FEWEST: usize = 10;

/// Who came to an idle server and was alone until the first token. Sent times increase.
pub(super) fn alone(run: &[Observation]) -> Vec<bool> {
    let mut last_end = f64::NEG_INFINITY;
    (0..run.len())
        .map(|i| {
            let idle = run[i].sent_s > last_end;
            last_end = last_end.max(run[i].end());
            idle && run.get(i + 1).is_none_or(|next| next.sent_s > run[i].first_token())
        })
        .collect()
}

impl Moments {
    /// The statistics of `run`, in order of sending, taken over the requests for which `counts` is true. `alone`
    /// says who was alone in the measured run, and `like` are that run's statistics: a simulated run is treated
    /// in the same way. None where there are too few requests.
    pub(super) fn of(
        run: &[Observation],
        counts: &[bool],
        alone: &[bool],
        like: Option<&Self>,
    ) -> Option<Self> {
        let mut first_tokens: Vec<(f64, f64)> =
            run.iter().map(|o| (o.first_token(), f64::from(o.prompt_tokens))).collect();
        first_tokens.sort_by(|a, b| a.0.total_cmp(&b.0));
        let sums: Vec<f64> = std::iter::once(0.0)
            .chain(first_tokens.iter().scan(0.0, |sum, (_, tokens)| {
                *sum += tokens;
                Some(*sum)
            }))
            .collect();
        let prompts = |t: f64| sums[first_tokens.partition_point(|(at, _)| *at <= t)];
        let decoding = Decoding::of(run);
        let kept = |i: &usize| counts[*i];
        let rows: Vec<([f64; 3], f64)> = (0..run.len())
            .filter(kept)
            .filter(|i| run[*i].output_tokens > 1 && run[*i].latency_s > run[*i].ttft_s)
            .map(|i| {
                let o = &run[i];
                let steps = f64::from(o.output_tokens - 1);
                let (from, to) = (o.first_token(), o.end());
                let sequences = (decoding.integral(to) - decoding.integral(from)) / (to - from);
                let prompt_tokens = prompts(to) - prompts(from);
                ([steps, steps * sequences, prompt_tokens], to - from)
            })
            .collect();
        if rows.len() < FEWEST {
            return None;
        }
        let spread = |pick: &dyn Fn(&[f64; 3]) -> f64| {
            let mean = rows.iter().map(|(row, _)| pick(row)).sum::<f64>() / rows.len() as f64;
            let square = rows.iter().map(|(row, _)| (pick(row) - mean) * (pick(row) - mean)).sum::<f64>();
            (square / rows.len() as f64).sqrt()
        };
        let varied = spread(&|row| row[1] / row[0]) > 0.25 && rows.len() >= 3 * FEWEST;
        let interrupted = rows.iter().filter(|(row, _)| row[2] > 0.0).count() >= FEWEST
            && spread(&|row| row[2] / row[0]) > 1e-3;
        let terms = like
            .map_or((varied, interrupted), |like| (like.sequence_s.is_some(), like.prompt_token_s.is_some()));
        let (step_s, sequence_s, prompt_token_s) = match terms {
            (true, true) => {
                let [step, sequence, token] = least_squares(&rows)?;
                (step, Some(sequence), Some(token))
            }
            (true, false) => {
                let two: Vec<_> = rows.iter().map(|(row, y)| ([row[0], row[1]], *y)).collect();
                let [step, sequence] = least_squares(&two)?;
                (step, Some(sequence), None)
            }
            (false, true) => {
                let two: Vec<_> = rows.iter().map(|(row, y)| ([row[0], row[2]], *y)).collect();
                let [step, token] = least_squares(&two)?;
                (step, None, Some(token))
            }
            (false, false) => {
                let one: Vec<_> = rows.iter().map(|(row, y)| ([row[0]], *y)).collect();
                (least_squares(&one)?[0], None, None)
            }
        };
        let ttfts = |wanted: bool| -> Vec<f64> {
            (0..run.len()).filter(kept).filter(|i| alone[*i] == wanted).map(|i| run[i].ttft_s).collect()
        };
        let (idle, mut busy) = (ttfts(true), ttfts(false));
        busy.sort_by(f64::total_cmp);
        let idle_ttft_s = (idle.len() >= FEWEST).then(|| idle.iter().sum::<f64>() / idle.len() as f64);
        let busy_ttft_s = (busy.len() >= FEWEST).then(|| busy[busy.len() / 2]);
        Some(Self { step_s, sequence_s, prompt_token_s, busy_ttft_s, idle_ttft_s })
    }

    /// The figures that there are, always in the same order.
    pub(super) fn figures(&self) -> [Option<f64>; 5] {
        [Some(self.step_s), self.sequence_s, self.prompt_token_s, self.busy_ttft_s, self.idle_ttft_s]
    }
}

/// How many sequences were decoding, as an integral over time.
struct Decoding {
    at: Vec<f64>,
    integral: Vec<f64>,
}

impl Decoding {
    fn of(run: &[Observation]) -> Self {
        let mut changes: Vec<(f64, f64)> =
            run.iter().flat_map(|o| [(o.first_token(), 1.0), (o.end(), -1.0)]).collect();
        changes.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut at, mut integral) = (Vec::new(), Vec::new());
        let (mut level, mut sum, mut before) = (0.0, 0.0, 0.0);
        for (time, change) in changes {
            sum += level * (time - before);
            at.push(time);
            integral.push(sum);
            (level, before) = (level + change, time);
        }
        Self { at, integral }
    }

    /// Sequence-seconds up to one of the instants of change.
    fn integral(&self, time: f64) -> f64 {
        let index = self.at.partition_point(|at| *at < time).min(self.at.len() - 1);
        self.integral[index]
    }
}
