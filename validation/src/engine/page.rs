//! The report for people: Markdown, and a page with pictures.

use scenarios::report::{Axis, Block, Chart, Drawing, Mark, Picture, Report, Series, Table, Unit};
use scenarios::results::show::seconds;

use super::{Compared, EngineReport, Figure, Pair, Spread, Verdict, batching, cold};

const HOW_FAR: &str = "\
## How far this is a test

No number was fitted to the runs that are predicted. But how it is predicted was decided in part with their errors in view: that \
the host's times are taken from the steps of both stand-ins together, and that the gap between steps is what single requests take \
beyond attention of a sequence *alone*. That attention is timed in batches with the lengths of the workload was decided by a run \
of half a minute with the small model on the same kind of machine, before these.

The processors of the machine that was measured were up to 1.8 times slower in some seconds than in others (`pace_us` of the \
records: the same loop in Python took 224 to 524 us before the runs). Two alike runs at 80% (`chat/load-80`) differ by 4.4% in mean \
time per token for that alone. Half of a step of the small model is Python, an eighth to a third of one of the large: what misses \
its bound misses it by the time of the host ([parts of steps](#parts-of-steps)).
";

fn signed(share: f64) -> String {
    if share.is_finite() { format!("{:+.1}%", 100.0 * share) } else { "-".to_owned() }
}

fn both(pair: Pair<f64>, show: impl Fn(f64) -> String) -> [String; 3] {
    [show(pair.measured), show(pair.predicted), signed(pair.error())]
}

fn number(value: f64) -> String {
    format!("{value:.1}")
}

impl EngineReport {
    fn lead(&self) -> String {
        let m = &self.machine;
        let cut = if self.complete { "" } else { " The suite was cut off: this is what it got to." };
        format!(
            "{} runs of transformers {} continuous batching (torch {}) on {}, predicted from its own operations, its \
             host and single requests.{cut}",
            self.compared.len(),
            m.transformers,
            m.torch,
            m.device
        )
    }

    /// Times of requests, run by run.
    fn times(&self, figure: Figure) -> Table {
        let header = [
            "run",
            "requests",
            "mean",
            "predicted",
            "error",
            "p50",
            "error",
            "p95",
            "error",
            "p99",
            "predicted",
            "error",
        ];
        let mut table =
            Table::new(figure.name(), "measured, predicted, predicted over measured less one", 1, &header);
        for run in &self.compared {
            let Some(Pair { predicted: p, measured: m }) = run.spread(figure) else { continue };
            let error = |of: fn(&Spread) -> f64| signed(of(&p) / of(&m) - 1.0);
            table.row([
                run.run.clone(),
                run.requests.to_string(),
                seconds(m.mean),
                seconds(p.mean),
                error(|s| s.mean),
                seconds(m.p50),
                error(|s| s.p50),
                seconds(m.p95),
                error(|s| s.p95),
                seconds(m.p99),
                seconds(p.p99),
                error(|s| s.p99),
            ]);
        }
        table
    }

    /// What the engine does, run by run.
    fn states(&self) -> Table {
        let header = [
            "run",
            "tokens/s",
            "predicted",
            "error",
            "batch",
            "predicted",
            "error",
            "KV tokens",
            "predicted",
            "error",
            "growth /s",
            "predicted",
            "error",
            "least KV free",
        ];
        let note = "measured and predicted; the queue's growth only beyond saturation";
        let mut table = Table::new("Throughput, batch, KV cache and queue", note, 1, &header);
        let none = || ["-", "-", "-"].map(str::to_owned);
        for run in &self.compared {
            let growth = if run.share.is_some_and(|share| share > 1.0) { Some(run.growth) } else { None };
            let cells = [
                vec![run.run.clone()],
                both(run.tokens_per_second, number).to_vec(),
                run.batch.map_or_else(none, |pair| both(pair, number)).to_vec(),
                run.kv_tokens.map_or_else(none, |pair| both(pair, |v| format!("{v:.0}"))).to_vec(),
                growth.map_or_else(none, |pair| both(pair, number)).to_vec(),
                vec![format!("{:.0}%", 100.0 * run.free_blocks)],
            ];
            table.row(cells.concat());
        }
        table
    }

    /// Engines and the parts of their steps.
    fn engines(&self) -> Table {
        let header = ["engine", "KV tokens", "batch", "tokens", "operations", "host", "gap", "step"];
        let note =
            "the parts of a step that decodes one sequence: the gap is what is left of what was measured";
        let mut table = Table::new("Engines", note, 1, &header);
        for engine in &self.engines {
            let us = |us: f64| seconds(us / 1e6);
            table.row([
                format!("{}/{}", engine.facts.name, engine.mix),
                (engine.facts.cache_blocks * engine.facts.cache_block_size).to_string(),
                engine.facts.batch_requests.to_string(),
                engine.facts.batch_tokens.to_string(),
                us(engine.parts.operations_us),
                us(engine.parts.host_us),
                us(engine.profile.overheads.step_gap_us),
                us(engine.parts.step_us),
            ]);
        }
        table
    }

    /// What the steps that there were take, part by part.
    fn steps(&self) -> Table {
        let header = ["run", "device", "predicted", "error", "host", "predicted", "error"];
        let note = "the batches that there were, on average: forward pass, and inputs and outputs in Python";
        let mut table = Table::new("Parts of steps", note, 1, &header);
        for run in &self.compared {
            let Some([device, host]) = run.steps else { continue };
            let cells = [device, host].map(|pair| both(pair, |us| seconds(us / 1e6)));
            table.row([vec![run.run.clone()], cells.concat()].concat());
        }
        table
    }

    /// What is out of its bounds.
    fn failures(&self) -> Table {
        let header = ["run", "what", "measured", "predicted", "error", "at most"];
        let verdicts = self.verdicts();
        let note = format!("{} of {}", verdicts.iter().filter(|v| !v.passed()).count(), verdicts.len());
        let mut table = Table::new("Out of bounds", &note, 2, &header);
        for v in verdicts.into_iter().filter(|v| !v.passed()) {
            let show = |value: f64| format!("{value:.4}");
            let [measured, predicted, error] = both(v.pair, show);
            table.row([v.run, v.what, measured, predicted, error, format!("{:.1}%", 100.0 * v.bound)]);
        }
        table
    }

    /// Dynamic batching, run by run.
    fn batching(&self) -> Table {
        let header = [
            "run",
            "requests",
            "p50",
            "predicted",
            "error",
            "p99",
            "predicted",
            "error",
            "batch",
            "predicted",
            "",
        ];
        let mut note = String::new();
        let mut table = Table::new("Dynamic batching", "", 1, &header);
        if let Some(report) = &self.batching {
            let (fixed, each) = report.execution_us;
            let bound = 100.0 * batching::BOUND;
            note = format!(
                "an execution takes {fixed:.0} us and {each:.1} us a request; at most {bound:.0}% off"
            );
            for run in &report.compared {
                let Pair { predicted: p, measured: m } = run.latency;
                let pair =
                    |of: fn(&Spread) -> f64| both(Pair { predicted: of(&p), measured: of(&m) }, seconds);
                let verdict = if report.run_passed(run) { "pass" } else { "FAIL" };
                let cells = [
                    vec![run.run.clone(), run.requests.to_string()],
                    pair(|s| s.p50).to_vec(),
                    pair(|s| s.p99).to_vec(),
                    vec![number(run.batch.measured), number(run.batch.predicted), verdict.to_owned()],
                ];
                table.row(cells.concat());
            }
        }
        table.note = note;
        table
    }

    /// Cold starts, stage by stage.
    fn cold(&self) -> Table {
        let header = ["start", "stage", "measured", "predicted", "error", ""];
        let mut table = Table::new("Cold starts", "", 2, &header);
        let Some(report) = &self.cold else { return table };
        table.note =
            format!("predicted from the smaller model; the total at most {:.0}% off", 100.0 * cold::BOUND);
        for start in &report.compared {
            let place = if start.cached { "page cache" } else { "disk" };
            let name = format!("{} from {}, {place}", start.model, start.from);
            for (stage, pair) in &start.stages {
                let [measured, predicted, error] = both(*pair, seconds);
                table.row([name.clone(), (*stage).to_owned(), measured, predicted, error, String::new()]);
            }
            let [measured, predicted, error] = both(start.total(), seconds);
            let verdict = if start.total().error().abs() <= cold::BOUND { "pass" } else { "FAIL" };
            table.row([name, "total".to_owned(), measured, predicted, error, verdict.to_owned()]);
        }
        table
    }

    /// Tables for the terminal.
    pub fn tables(&self) -> Vec<Table> {
        let mut tables = vec![self.engines()];
        tables.extend(Figure::ALL.map(|figure| self.times(figure)));
        tables.extend([self.states(), self.steps(), self.failures(), self.batching(), self.cold()]);
        tables.retain(|table| !table.rows.is_empty());
        tables
    }

    fn parity(&self, figure: Figure) -> Option<Picture> {
        let of = |pick: fn(&Spread) -> f64| -> Vec<(f64, f64)> {
            let spreads = self.compared.iter().filter_map(|run| run.spread(figure));
            spreads.map(|pair| (pick(&pair.measured), pick(&pair.predicted))).collect()
        };
        let quantile =
            |name: &str, pick| Series { name: name.to_owned(), points: of(pick), mark: Mark::Points };
        let mut series = vec![
            quantile("mean", |s| s.mean),
            quantile("p50", |s| s.p50),
            quantile("p95", |s| s.p95),
            quantile("p99", |s| s.p99),
        ];
        let all = series.iter().flat_map(|series| &series.points).flat_map(|(x, y)| [*x, *y]);
        let (least, most) = all.fold((f64::MAX, 0.0_f64), |(least, most), s| (least.min(s), most.max(s)));
        if most <= 0.0 {
            return None;
        }
        let equal = vec![(least, least), (most, most)];
        series.push(Series { name: "equal".into(), points: equal, mark: Mark::Line });
        Picture::new(
            format!("parity-{}", figure.name().to_lowercase().replace(' ', "-")),
            format!("{}: predicted and measured", figure.name()),
            "Each point is a run; on the line both are equal.",
            Drawing::Chart(Chart {
                x: Axis::log("measured", Unit::Seconds),
                y: Axis::log("predicted", Unit::Seconds),
                series,
                references: vec![],
            }),
        )
    }

    fn cdf(run: &Compared, figure: Figure) -> Option<Picture> {
        let pair = run.values.get(&figure)?;
        let line = |name: &str, sorted: &[f64]| {
            let count = sorted.len() as f64;
            // As many points as a picture shows.
            let every = sorted.len().div_ceil(400).max(1);
            let points = sorted.iter().enumerate().filter(|(i, _)| i % every == 0 || i + 1 == sorted.len());
            let points = points.map(|(i, value)| (*value, (i + 1) as f64 / count)).collect();
            Series { name: name.to_owned(), points, mark: Mark::Line }
        };
        let name = run.run.replace('/', "-");
        Picture::new(
            format!("cdf-{}-{name}", figure.name().to_lowercase().replace(' ', "-")),
            format!("{}, {}", run.run, figure.name()),
            "Share of requests at or below a time.",
            Drawing::Chart(Chart {
                x: Axis::log(figure.name(), Unit::Seconds),
                y: Axis::linear("share of requests", Unit::Share),
                series: vec![line("measured", &pair.measured), line("predicted", &pair.predicted)],
                references: vec![],
            }),
        )
    }

    /// A page with tables and pictures.
    pub fn report(&self) -> Report {
        let verdict = |v: Verdict| {
            let text = format!("{}, {}: {}", v.run, v.what, signed(v.pair.error()));
            Block::Verdict {
                pass: Some(v.passed()),
                text: format!("{text} (at most {:.0}%)", 100.0 * v.bound),
            }
        };
        let mut blocks: Vec<Block> = self.verdicts().into_iter().map(verdict).collect();
        blocks.extend(self.tables().into_iter().map(Block::Table));
        blocks.extend(Figure::ALL.into_iter().filter_map(|figure| self.parity(figure)).map(Block::Picture));
        let figures = [Figure::Ttft, Figure::Latency];
        let cdfs = self.compared.iter().flat_map(|run| figures.map(|figure| Self::cdf(run, figure)));
        blocks.extend(cdfs.flatten().map(Block::Picture));
        if !self.missing.is_empty() {
            blocks.push(Block::Heading("Not measured".into()));
            blocks.push(Block::Items(self.missing.clone()));
        }
        Report {
            title: "A serving engine beside its prediction".into(),
            lead: self.lead(),
            blocks,
            provenance: vec![
                ("device".into(), self.machine.device.clone()),
                ("torch".into(), self.machine.torch.clone()),
                ("transformers".into(), self.machine.transformers.clone()),
            ],
        }
    }

    /// What the book has of it, by their places in the book: a page and its pictures. Made again by `cargo run -p
    /// validation --example engine_md`.
    pub fn of_the_book(&self) -> Vec<(&'static str, String)> {
        let shown = |run: &&Compared| run.run == "llama-3.1-8b-graphs/chat/load-80";
        let cdf = self.compared.iter().find(shown).and_then(|run| Self::cdf(run, Figure::Latency));
        let pictures =
            [("pictures/engine-parity.svg", self.parity(Figure::Latency)), ("pictures/engine-cdf.svg", cdf)];
        let drawn = pictures.into_iter().filter_map(|(place, picture)| {
            Some((place, picture?.svg(&format!("{}, torch {}", self.machine.device, self.machine.torch))))
        });
        std::iter::once(("reference/engine.md", self.page_of_the_book())).chain(drawn).collect()
    }

    fn page_of_the_book(&self) -> String {
        let verdicts = self.verdicts();
        let passed = verdicts.iter().filter(|verdict| verdict.passed()).count();
        let text = self.markdown();
        let (title, body) = text.split_once("\n\n").unwrap_or_default();
        format!(
            "{title}\n\nThe records of `validation/engine/records/h200`; [how it is measured and predicted](../serving.md). {passed} of \
             {} bounds are kept; what is not is [listed](#out-of-bounds).\n\n\
             ![time to the end of requests, predicted and measured, mean and quantiles of each run](../pictures/engine-parity.svg)\n\n\
             All requests of one run, Llama 3.1 8B at 80% of its saturation:\n\n\
             ![share of requests that end within a time, measured and predicted](../pictures/engine-cdf.svg)\n\n\
             {body}\n{HOW_FAR}",
            verdicts.len()
        )
    }

    /// The tables as Markdown.
    pub fn markdown(&self) -> String {
        let mut page = format!("# A serving engine beside its prediction\n\n{}\n", self.lead());
        page.extend(self.tables().iter().map(Table::markdown));
        if !self.missing.is_empty() {
            page += "\n## Not measured\n\n";
            page.extend(self.missing.iter().map(|what| format!("- {what}\n")));
        }
        page
    }
}
