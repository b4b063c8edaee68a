//! Work in the background: one job of a kind at a time, the newest wins.

mod steps;

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use eframe::egui;
use scenarios::compare::{candidates, compare};
use scenarios::report::Report;
use scenarios::run::{RunOptions, RunProgress};
use scenarios::stress::{Recommendation, StressOptions, StressReport, StressTest};
use scenarios::{Loaded, ScenarioError};

use crate::document::Document;
use crate::shown::Shown;

/// What is worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Run,
    Compare,
    Stress,
}

/// What has come of it.
#[derive(Debug)]
pub(crate) enum News {
    Run(Arc<Shown>),
    Compare(Arc<Report>),
    Stress(Arc<Stressed>),
    Failed(String),
}

/// What is known of a stress test.
#[derive(Debug)]
pub(crate) struct Stressed {
    pub report: Report,
    pub recommendations: Vec<Recommendation>,
    /// What is being looked at; none when all is known.
    pub doing: Option<&'static str>,
}

#[derive(Debug)]
struct Job {
    number: u64,
    progress: Arc<RunProgress>,
    /// Hash of what it is of.
    of: u64,
}

/// What a job tells: its kind and number, what has come, and whether that was all.
type Told = (Kind, u64, Option<News>);

/// All background work.
#[derive(Debug)]
pub(crate) struct Jobs {
    sender: Sender<Told>,
    receiver: Receiver<Told>,
    running: BTreeMap<Kind, Job>,
    next: u64,
}

impl Default for Jobs {
    fn default() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver, running: BTreeMap::new(), next: 0 }
    }
}

/// The way of a job to tell what it has found.
struct Tell {
    kind: Kind,
    number: u64,
    sender: Sender<Told>,
    ctx: egui::Context,
}

impl Tell {
    fn news(&self, news: News) {
        // Nobody listens any more when the window is closed.
        let _ = self.sender.send((self.kind, self.number, Some(news)));
        self.ctx.request_repaint();
    }
}

impl Drop for Tell {
    fn drop(&mut self) {
        let _ = self.sender.send((self.kind, self.number, None));
        self.ctx.request_repaint();
    }
}

impl Jobs {
    /// Begins a job; an older one of its kind is stopped.
    pub fn start(&mut self, kind: Kind, document: &Document, ctx: &egui::Context) {
        self.cancel(kind);
        self.next += 1;
        let (number, progress) = (self.next, Arc::new(RunProgress::new()));
        self.running.insert(kind, Job { number, progress: Arc::clone(&progress), of: document.hash() });
        let tell = Tell { kind, number, sender: self.sender.clone(), ctx: ctx.clone() };
        let loaded = document.loaded.clone();
        std::thread::spawn(move || {
            let work = || match kind {
                Kind::Run => run(&loaded, &progress, &tell),
                Kind::Compare => compared(&loaded, &progress, &tell),
                Kind::Stress => stress(&loaded, &progress, &tell),
            };
            match catch_unwind(AssertUnwindSafe(work)) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tell.news(News::Failed(words(&error))),
                Err(panic) => tell.news(News::Failed(bug(&*panic))),
            }
        });
    }

    pub fn cancel(&mut self, kind: Kind) {
        if let Some(job) = self.running.remove(&kind) {
            job.progress.cancel();
        }
    }

    pub fn cancel_all(&mut self) {
        for kind in [Kind::Run, Kind::Compare, Kind::Stress] {
            self.cancel(kind);
        }
    }

    /// How far a job is, from 0 to 1; none where none is running.
    pub fn fraction(&self, kind: Kind) -> Option<f64> {
        self.running.get(&kind).map(|job| job.progress.fraction())
    }

    pub fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// Whether a job of a kind is at work on the scenario with this hash.
    pub fn is_running_on(&self, kind: Kind, hash: u64) -> bool {
        self.running.get(&kind).is_some_and(|job| job.of == hash)
    }

    /// What has come since the last time; what is out of date is left out.
    pub fn news(&mut self) -> Vec<(Kind, News)> {
        let mut all = Vec::new();
        while let Ok((kind, number, news)) = self.receiver.try_recv() {
            if self.running.get(&kind).is_none_or(|job| job.number != number) {
                continue;
            }
            match news {
                Some(news) => all.push((kind, news)),
                None => _ = self.running.remove(&kind),
            }
        }
        all
    }
}

/// An error as people read it: what, the lines of the file that it is about, and what would be accepted.
pub(crate) fn words(error: &ScenarioError) -> String {
    let handler = miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::none()).with_width(76);
    let mut text = String::new();
    match handler.render_report(&mut text, error) {
        Ok(()) => text.trim_end().to_owned(),
        Err(_) => error.to_string(),
    }
}

fn bug(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    format!("the simulator broke an invariant of its own, please report it: {said}")
}

fn run(loaded: &Loaded, progress: &RunProgress, tell: &Tell) -> Result<(), ScenarioError> {
    steps::run(loaded, progress, |result, coarse| {
        tell.news(News::Run(Arc::new(Shown::new(result, coarse))));
    })
}

fn compared(loaded: &Loaded, progress: &RunProgress, tell: &Tell) -> Result<(), ScenarioError> {
    let all = candidates(std::slice::from_ref(loaded), &[], None)?;
    let comparison = compare(&all, &RunOptions::default(), progress)?;
    if !progress.is_cancelled() {
        tell.news(News::Compare(Arc::new(comparison.report())));
    }
    Ok(())
}

fn stress(loaded: &Loaded, progress: &RunProgress, tell: &Tell) -> Result<(), ScenarioError> {
    let test = StressTest::new(loaded, StressOptions::default(), progress)?;
    let mut report = StressReport { levels: test.levels()?, ..StressReport::default() };
    let now = |report: &StressReport, doing: Option<&'static str>| {
        if !progress.is_cancelled() {
            let recommendations = report.recommendations.clone();
            let report = report.report(loaded);
            tell.news(News::Stress(Arc::new(Stressed { report, recommendations, doing })));
        }
    };
    now(&report, Some("looking for the largest multiple that passes"));
    let limit = test.limit(&report.levels);
    (report.limit, report.tried) = (Some(limit), test.tried());
    now(&report, Some("looking for what breaks first, and proving it"));
    let today = report.levels[0].result.clone().ok();
    report.first = today.and_then(|today| test.first_break(&today, limit));
    now(&report, Some("trying what may help"));
    if let Some(first) = report.first.clone() {
        report.recommendations = test.recommendations(&first, limit);
        now(&report, Some("letting each component fail"));
    }
    report.blast = test.blast_radius(1.0);
    now(&report, None);
    Ok(())
}
