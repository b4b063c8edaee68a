//! The report of a stress test, and its tables.

use super::axis::{Axis, Unit};
use super::chart::{Chart, Mark, Reference, Series};
use super::matrix::{Cell, Matrix};
use super::picture::{Drawing, Picture};
use super::pictures::{Choice, MOST, architecture, bill, bounds, pareto};
use super::table::Table;
use super::{Block, Report, named, provenance_rows};
use crate::language::Loaded;
use crate::results::AverageRow;
use crate::results::findings::pressures;
use crate::results::show::{digits, optional, percent, rate, seconds, usd};
use crate::run::ALL;
use crate::stress::{
    Blast, Diagnosis, Failure, FallbackTest, FirstBreak, Level, Limit, Recommendation, Recovery, StressReport,
};

/// A multiple of the load, such as 3x.
pub fn times(k: f64) -> String {
    if k.fract() == 0.0 { format!("{k}x") } else { format!("{}x", digits(k)) }
}

fn verdict(diagnosis: Option<&Diagnosis>) -> &'static str {
    diagnosis.map_or("-", |diagnosis| if diagnosis.pass { "pass" } else { "FAIL" })
}

fn whole(level: &Level) -> Option<AverageRow> {
    let summary = level.result.as_ref().ok()?.summary_averages();
    summary.into_iter().find(|row| row.keys.iter().all(|key| key == ALL))
}

/// What the test is of.
fn title(loaded: &Loaded) -> String {
    format!("{}: the 10x stress test", named(&loaded.scenario.name, &loaded.variant))
}

/// Pass or fail at each multiple.
fn levels_table(levels: &[Level]) -> Table {
    let header = [
        "load",
        "answers",
        "pipelines",
        "cost",
        "latency p99",
        "errors",
        "good/s",
        "per month",
        "per 1,000 good",
    ];
    let mut table = Table::new("Levels", "against the SLO", 4, &header);
    for level in levels {
        let all = whole(level);
        let mean = |column: &str| all.as_ref().and_then(|row| row.mean(column));
        table.row([
            times(level.multiple),
            verdict(Some(&level.inference)).to_owned(),
            verdict(level.pipeline.as_ref()).to_owned(),
            verdict(level.cost.as_ref()).to_owned(),
            optional(mean("latency_p99_s"), seconds),
            optional(mean("error_rate"), percent),
            optional(mean("goodput_per_s"), rate),
            optional(mean("cost_usd_per_month"), usd),
            optional(mean("cost_usd_per_1k_good"), usd),
        ]);
    }
    table
}

/// Why each multiple passes or fails: the multiple, the diagnostic and the reason.
fn reasons(levels: &[Level]) -> Vec<(String, &'static str, &str)> {
    let mut list = Vec::new();
    for level in levels {
        let parts = [
            ("answers", Some(&level.inference)),
            ("pipelines", level.pipeline.as_ref()),
            ("cost", level.cost.as_ref()),
        ];
        for (name, diagnosis) in parts {
            list.extend(diagnosis.map(|diagnosis| (times(level.multiple), name, diagnosis.text.as_str())));
        }
    }
    list
}

/// Where it breaks, in a sentence.
pub fn limit_words(limit: Limit) -> String {
    match (limit.passes, limit.fails) {
        (Some(passes), Some(fails)) => format!(
            "answers keep to the SLO up to {} today's load, and no longer at {}",
            times(passes),
            times(fails)
        ),
        (Some(passes), None) => format!("answers keep to the SLO even at {} today's load", times(passes)),
        (None, _) => "answers miss the SLO already today".to_owned(),
    }
}

/// What breaks first, and then the proof, sentence by sentence.
pub fn first_words(first: Option<&FirstBreak>) -> (String, Vec<String>) {
    let Some(first) = first else { return ("nothing".to_owned(), Vec::new()) };
    let said = match (&first.component, first.is_proven()) {
        (Some(name), true) => {
            let others = first.proofs.iter().map(|proof| &proof.component).filter(|other| *other != name);
            let others: Vec<String> = others.map(|other| format!("`{other}`")).collect();
            let rest = match others.as_slice() {
                [] => String::new(),
                others => format!(", 20% more of {} does not", others.join(" or ")),
            };
            format!("`{name}`, proven: 20% more of it moves the limit{rest}")
        }
        (Some(name), false) => {
            format!("`{name}`, by what is seen; more capacity there alone does not prove it")
        }
        (None, _) => "no component alone".to_owned(),
    };
    let suspects = first.suspects.iter().map(|suspect| {
        let law = suspect
            .predicted
            .map_or(String::new(), |k| format!("; by today's use it is full at {}", times(k)));
        format!("{}{law}", suspect.why)
    });
    let proofs = first.proofs.iter().map(|proof| {
        let moved = match proof.moves {
            Some(true) => format!("the limit moves beyond {}", times(proof.multiple)),
            Some(false) => "the limit stays".to_owned(),
            None => "it has no capacity of its own".to_owned(),
        };
        format!("+20% for `{}`: {moved}", proof.component)
    });
    (said, suspects.chain(proofs).collect())
}

fn recommendations_table(list: &[Recommendation], goal: f64) -> Table {
    let note = "each tried alone; those that hold first, then by good answers per added dollar";
    let header = ["pattern", "SLO", "good/s", "per month", "change"];
    let mut table = Table::new(&format!("What helps at {}", times(goal)), note, 2, &header);
    for tried in list {
        let change = match tried.added_usd_per_month {
            added if added.abs() < 1.0 => "no cost".to_owned(),
            added => format!("{}{}", if added > 0.0 { "+" } else { "-" }, usd(added.abs())),
        };
        table.row([
            tried.name.clone(),
            if tried.holds { "pass" } else { "FAIL" }.to_owned(),
            rate(tried.goodput_per_s),
            usd(tried.usd_per_month),
            change,
        ]);
    }
    table
}

/// What to give the command line for a recommendation.
fn to_try(recommendation: &Recommendation) -> String {
    let set = |set: &String| match set.starts_with("--") {
        true => set.clone(),
        false => format!("--set '{}'", set.replace('\'', "'\\''")),
    };
    recommendation.change.iter().map(set).collect::<Vec<_>>().join(" ")
}

fn back(recovery: Recovery) -> String {
    match recovery {
        Recovery::After(after) => seconds(after),
        Recovery::NotWithin(watched) => format!("not in {}", seconds(watched)),
    }
}

/// Under what a component is broken.
const BLAST_NOTE: &str = "each component fails for a tenth of the run, at today's load";

/// Who is hit when a component fails.
pub fn blast_table(blast: &[(String, Vec<Blast>)]) -> Table {
    let header = ["component", "failure", "needed by", "hit", "hit without need", "back after", ""];
    let mut table = Table::new("Blast radius", BLAST_NOTE, 2, &header);
    for (component, ways) in blast {
        for way in ways {
            table.row([
                component.clone(),
                way.failure.name().to_owned(),
                percent(way.needed),
                percent(way.hit),
                optional(way.hit_without_need, percent),
                back(way.recovery),
                if way.passes() { "pass" } else { "FAIL" }.to_owned(),
            ]);
        }
    }
    table
}

/// What each fallback does when it must serve.
pub fn fallbacks_table(tests: &[FallbackTest]) -> Table {
    let note = "all that comes before each in its chain is out of reach for the whole run";
    let header = ["link", "falls back on", "load", "needed", "answered", "good", "before", "p95", "busy", ""];
    let mut table = Table::new("Fallbacks", note, 3, &header);
    for test in tests {
        table.row([
            test.link.clone(),
            test.step.clone(),
            times(test.multiple),
            test.needed.to_string(),
            percent(test.answered),
            percent(test.good),
            percent(test.good_before),
            optional(test.latency_p95_s, seconds),
            optional(test.utilization, percent),
            match test.passes {
                Some(true) => "pass",
                Some(false) => "FAIL",
                None => "refuses",
            }
            .to_owned(),
        ]);
    }
    table
}

/// The levels: what the test is of, the table, and why each passes or fails.
pub fn levels(loaded: &Loaded, levels: &[Level]) -> (String, Table, Vec<String>) {
    let why =
        reasons(levels).into_iter().map(|(multiple, name, text)| format!("{multiple:>5}  {name}: {text}"));
    (title(loaded), levels_table(levels), why.collect())
}

/// What helps at a multiple, and what to try first.
///
/// # Errors
/// That nothing does, in words.
pub fn recommendations(list: &[Recommendation], goal: f64) -> Result<(Table, String), String> {
    match list.first() {
        None => Err(format!("What helps at {}: nothing that was tried", times(goal))),
        Some(best) => Ok((recommendations_table(list, goal), to_try(best))),
    }
}

/// Points on a curve of load: the levels, and what was tried between them.
fn curve(report: &StressReport, column: &str) -> Vec<(f64, f64)> {
    let levels = report.levels.iter().filter_map(|level| Some((level.multiple, whole(level)?.mean(column)?)));
    let tried = report.tried.iter().filter_map(|tried| Some((tried.multiple, tried.all.mean(column)?)));
    let mut points: Vec<(f64, f64)> = levels.collect();
    // Where both are, the level has more replications.
    let known: Vec<f64> = points.iter().map(|(multiple, _)| *multiple).collect();
    points.extend(tried.filter(|(multiple, _)| !known.contains(multiple)));
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// Points below which a curve has no knee that could be told.
const CURVE: usize = 5;

/// The knee of a rising curve: where it is farthest below the line between its ends (Satopaa et al., "Finding a
/// Kneedle in a Haystack", 2011), on axes of equal ratios. None where it does not even double, or never bends by a
/// tenth.
fn knee(points: &[(f64, f64)]) -> Option<f64> {
    let logs: Vec<(f64, f64)> = points
        .iter()
        .filter(|(x, y)| *x > 0.0 && *y > 0.0)
        .map(|(x, y)| (libm::log(*x), libm::log(*y)))
        .collect();
    let (first, last) = (logs.first()?, logs.last()?);
    let (width, height) = (last.0 - first.0, last.1 - first.1);
    if logs.len() < CURVE || width <= 0.0 || height < libm::log(2.0) {
        return None;
    }
    let below = |(x, y): &(f64, f64)| (x - first.0) / width - (y - first.1) / height;
    let farthest = logs.iter().max_by(|a, b| below(a).total_cmp(&below(b)))?;
    (below(farthest) > 0.1).then(|| libm::exp(farthest.0))
}

fn load_pictures(loaded: &Loaded, report: &StressReport) -> [Option<Picture>; 5] {
    let slo = &loaded.scenario.slo;
    let most = curve(report, "born").last().map_or(1.0, |(multiple, _)| *multiple);
    let load = || Axis::log("load, by today's", Unit::Times).reaching(most);
    let line = |name: &str, column: &str| Series {
        name: name.to_owned(),
        points: curve(report, column),
        mark: Mark::Both,
    };
    // What even the largest multiple passes has no limit that could be drawn.
    let limit = report.limit.filter(|limit| limit.fails.is_some()).and_then(|limit| limit.passes);
    let verticals = |knee: Option<f64>| -> Vec<Reference> {
        let mark = |name: &str, at: Option<f64>| {
            at.map(|at| Reference { name: name.to_owned(), at, vertical: true })
        };
        mark("limit", limit).into_iter().chain(mark("knee of p99", knee)).collect()
    };
    let times = |name: &str, what: &str, columns: [(&str, &str); 3], bounds: Vec<Reference>| {
        let knee = knee(&curve(report, columns[2].1)).filter(|_| name == "latency-load");
        let mut references = bounds;
        references.extend(verticals(knee));
        let series = columns.iter().map(|(name, column)| line(name, column)).filter(|s| !s.points.is_empty());
        let chart =
            Chart { x: load(), y: Axis::log(what, Unit::Seconds), series: series.collect(), references };
        let caption = format!(
            "The {what} of answered requests at each load that was run. Right of the limit answers miss the SLO; what is \
             not answered has no latency here."
        );
        let what = format!("{}{}", what[..1].to_uppercase(), &what[1..]);
        Picture::new(name, format!("{what} against load"), caption, Drawing::Chart(chart))
    };
    let shares = Chart {
        x: load(),
        y: Axis::linear("share of requests", Unit::Share),
        series: vec![line("good: within the SLO", "slo_attainment"), line("errors", "error_rate")],
        references: verticals(None),
    };
    let goodput = Chart {
        x: load(),
        y: Axis::linear("answers a second", Unit::Number("1/s")),
        series: vec![line("answered", "throughput_per_s"), line("of them good", "goodput_per_s")],
        references: verticals(None),
    };
    let mut used: Vec<Series> = Vec::new();
    for level in &report.levels {
        let Ok(result) = &level.result else { continue };
        for (name, share) in pressures(result) {
            match used.iter_mut().find(|series| series.name == name) {
                Some(series) => series.points.push((level.multiple, share)),
                None => used.push(Series { name, points: vec![(level.multiple, share)], mark: Mark::Both }),
            }
        }
    }
    let highest = |series: &Series| series.points.iter().map(|(_, share)| *share).fold(0.0, f64::max);
    used.sort_by(|a, b| highest(b).total_cmp(&highest(a)));
    used.truncate(MOST);
    let used = Chart {
        x: load(),
        y: Axis::linear("in use", Unit::Share),
        series: used,
        references: verticals(None),
    };
    [
        times(
            "latency-load",
            "latency",
            [("p50", "latency_p50_s"), ("p95", "latency_p95_s"), ("p99", "latency_p99_s")],
            bounds("", slo.latency, false),
        ),
        times(
            "ttft-load",
            "time to first token",
            [("p50", "ttft_p50_s"), ("p95", "ttft_p95_s"), ("p99", "ttft_p99_s")],
            bounds("TTFT ", slo.ttft, false),
        ),
        Picture::new(
            "goodput-load",
            "Answers against load",
            "Answers a second, and those of them that keep to the SLO. Where the second line leaves the first, more load \
             gives less.",
            Drawing::Chart(goodput),
        ),
        Picture::new(
            "shares-load",
            "Good and lost requests against load",
            "Share of the requests that ended which were answered within the SLO, and which got no answer.",
            Drawing::Chart(shares),
        ),
        Picture::new(
            "use-load",
            "What is in use against load",
            "Share in use of what each component is shortest of (servers, batch, KV memory), the busiest first.",
            Drawing::Chart(used),
        ),
    ]
}

fn blast_matrix(blast: &[(String, Vec<Blast>)]) -> Option<Picture> {
    let cell = |blast: &Blast| Cell {
        pass: Some(blast.passes()),
        heat: None,
        lines: vec![
            format!("{} of all requests hit", percent(blast.hit)),
            match blast.hit_without_need {
                Some(share) => format!("{} of those without need", percent(share)),
                None => "all needed it".to_owned(),
            },
            match blast.recovery {
                Recovery::After(0.0) => "back at once".to_owned(),
                Recovery::After(after) => format!("back after {}", seconds(after)),
                Recovery::NotWithin(watched) => format!("not back in {}", seconds(watched)),
            },
        ],
    };
    let rows = blast.iter().map(|(component, ways)| {
        let cells = Failure::ALL.map(|failure| ways.iter().find(|way| way.failure == failure).map(cell));
        (component.clone(), cells.to_vec())
    });
    let matrix = Matrix {
        across: String::new(),
        down: String::new(),
        without: "cannot fail so".to_owned(),
        columns: Failure::ALL.map(|failure| failure.name().to_owned()).to_vec(),
        rows: rows.collect(),
    };
    let caption = format!(
        "Who is hit when {BLAST_NOTE}. It passes where at most 1% of the requests that did not need the component are \
         hit, and the system comes back after the repair."
    );
    Picture::new("blast-radius", "Blast radius", caption, Drawing::Matrix(matrix))
}

impl StressReport {
    /// Latency, answers and what is in use against the load, with the bounds of the SLO, the limit and the knee as far
    /// as they are known.
    pub fn against_load(&self, loaded: &Loaded) -> Vec<Picture> {
        load_pictures(loaded, self).into_iter().flatten().collect()
    }

    /// The test for people: how far the system goes, what breaks first, what helps, pictures, tables.
    pub fn report(&self, loaded: &Loaded) -> Report {
        let provenance = match self.levels.first().map(|level| &level.result) {
            Some(Ok(today)) => provenance_rows(&today.provenance),
            _ => Vec::new(),
        };
        let multiples: Vec<String> = self.levels.iter().map(|level| times(level.multiple)).collect();
        let mut report = Report {
            title: title(loaded),
            lead: format!("Run at {} today's load", multiples.join(", ")),
            blocks: Vec::new(),
            provenance,
        };
        for level in self.levels.iter().skip(1) {
            let Ok(result) = &level.result else { continue };
            let name = format!("fingerprints at {}", times(level.multiple));
            report.provenance.push((name, result.provenance.fingerprints.join(" ")));
        }
        report.blocks.extend(loaded.scenario.description.clone().map(Block::Text));
        let passed = self.levels.iter().all(Level::passes);
        let failing: Vec<String> =
            self.levels.iter().filter(|level| !level.passes()).map(|level| times(level.multiple)).collect();
        let mut text = match failing.as_slice() {
            [] => format!("It passes at {}.", multiples.join(", ")),
            failing => format!("It fails at {}.", failing.join(", ")),
        };
        if let Some(limit) = self.limit {
            let words = limit_words(limit);
            text.push_str(&format!(" {}{}.", words[..1].to_uppercase(), &words[1..]));
            let (first, _) = first_words(self.first.as_ref());
            text.push_str(&format!(" First to break: {first}."));
        }
        report.blocks.push(Block::Verdict { pass: Some(passed), text });
        report.blocks.push(Block::Table(levels_table(&self.levels)));
        let why = reasons(&self.levels);
        let why = why.into_iter().map(|(multiple, name, text)| format!("{multiple}, {name}: {text}"));
        report.blocks.push(Block::Items(why.collect()));
        report.blocks.push(Block::Heading("Against load".to_owned()));
        report.blocks.extend(self.against_load(loaded).into_iter().map(Block::Picture));
        self.architectures(&mut report);
        if let Some(first) = &self.first {
            report.blocks.push(Block::Heading("What breaks first".to_owned()));
            let (said, proof) = first_words(Some(first));
            report.blocks.push(Block::Text(format!("First to break: {said}.")));
            report.blocks.push(Block::Items(proof));
        }
        self.help(&mut report);
        report.blocks.push(Block::Heading("What it costs".to_owned()));
        let results =
            self.levels.iter().filter_map(|level| Some((times(level.multiple), level.result.as_ref().ok()?)));
        report.picture(bill("cost-load", "Cost by component at each load", results));
        if !self.blast.is_empty() {
            report.blocks.push(Block::Heading("Who is hit when a component fails".to_owned()));
            report.picture(blast_matrix(&self.blast));
            report.blocks.push(Block::Table(blast_table(&self.blast)));
        }
        if !self.fallbacks.is_empty() {
            report.blocks.push(Block::Heading("What stands in when something is out of reach".to_owned()));
            report.blocks.push(Block::Table(fallbacks_table(&self.fallbacks)));
        }
        report
    }

    /// The system today and at the largest multiple.
    fn architectures(&self, report: &mut Report) {
        report.blocks.push(Block::Heading("The system".to_owned()));
        let runs: Vec<_> = self
            .levels
            .iter()
            .filter_map(|level| Some((level.multiple, level.result.as_ref().ok()?)))
            .collect();
        for (number, (multiple, result)) in runs.iter().enumerate() {
            if number == 0 || number + 1 == runs.len() {
                let name = format!("architecture-{}", if number == 0 { "today" } else { "goal" });
                let title = format!("Who calls whom, and how busy they are at {}", times(*multiple));
                report.picture(architecture(&name, &title, result));
            }
        }
    }

    fn help(&self, report: &mut Report) {
        let (Some(best), Some(goal)) = (self.recommendations.first(), self.levels.last()) else { return };
        report.blocks.push(Block::Heading("What helps".to_owned()));
        report.blocks.push(Block::Table(recommendations_table(&self.recommendations, goal.multiple)));
        report.blocks.push(Block::Text(format!("To try the first: `{}`", to_try(best))));
        let choices: Vec<Choice> = self
            .recommendations
            .iter()
            .map(|tried| Choice {
                name: tried.name.clone(),
                cost: tried.usd_per_month,
                figure: tried.goodput_per_s,
                pass: Some(tried.holds),
            })
            .collect();
        let title = format!("What helps at {}, by cost", times(goal.multiple));
        let cost = Axis::linear("bill for a month", Unit::Usd);
        let good = Axis::linear("good answers a second", Unit::Number("1/s"));
        report.picture(pareto("what-helps", &title, cost, good, &choices, true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_knee_is_where_latency_begins_to_rise() {
        // M/M/1 at a tenth of its capacity and up to 9.9 times that: 1 / (1 - rho).
        let loads = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 9.5, 9.9];
        let points: Vec<(f64, f64)> = loads.iter().map(|k| (*k, 1.0 / (1.0 - k / 10.0))).collect();
        let found = knee(&points).unwrap();
        assert!((6.0..=9.0).contains(&found), "{found}");
        let straight: Vec<(f64, f64)> = loads.iter().map(|k| (*k, *k)).collect();
        assert_eq!(knee(&straight), None);
        assert_eq!(knee(&points[..3]), None);
    }
}
