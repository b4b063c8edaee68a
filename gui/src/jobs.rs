//! Work in the background: one job of a kind at a time, the newest wins.

mod explore;
mod steps;

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use eframe::egui;
use scenarios::compare::{candidates, compare};
use scenarios::report::{Block, Report};
use scenarios::run::{RunOptions, RunProgress};
use scenarios::stress::{Recommendation, StressOptions, StressReport, StressTest};
use scenarios::sweep::SweepProgress;
use scenarios::{Loaded, ScenarioError};

use crate::document::Document;
use crate::shown::Shown;
pub(crate) use explore::{Explored, Question};

/// What is worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Run,
    Curve,
    Compare,
    Stress,
    Sweep,
    Plan,
}

impl Kind {
    pub const ALL: [Self; 6] = [Self::Run, Self::Curve, Self::Compare, Self::Stress, Self::Sweep, Self::Plan];

    /// What is shown beside its progress.
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Curve => "latency against load",
            Self::Compare => "comparison",
            Self::Stress => "stress test",
            Self::Sweep => "sweep",
            Self::Plan => "plan",
        }
    }
}

/// What is asked for, with what goes with it.
#[derive(Debug, Clone)]
pub(crate) enum Task {
    Run,
    /// At loads from 1x to 10x.
    Curve,
    /// Against the variant of that name.
    Compare(String),
    Stress,
    /// Along axes, as `tenfold sweep` takes them.
    Sweep(Vec<String>),
    Plan(Question),
}

impl Task {
    fn kind(&self) -> Kind {
        match self {
            Self::Run => Kind::Run,
            Self::Curve => Kind::Curve,
            Self::Compare(_) => Kind::Compare,
            Self::Stress => Kind::Stress,
            Self::Sweep(_) => Kind::Sweep,
            Self::Plan(_) => Kind::Plan,
        }
    }
}

/// What a result is of: the hash of the scenario, and the load.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Of {
    pub hash: u64,
    pub load: f64,
}

/// What has come of it.
#[derive(Debug)]
pub(crate) enum News {
    Run(Arc<Shown>),
    Curve(Vec<Block>),
    Compare(Arc<Report>),
    Stress(Arc<Stressed>),
    Explored(Arc<Explored>),
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
    /// Of the coarse answers before a run, which are not a part of it.
    coarse: Arc<RunProgress>,
    /// Of a sweep, which counts points.
    points: Arc<SweepProgress>,
    of: Of,
}

impl Job {
    fn cancel(&self) {
        self.progress.cancel();
        self.coarse.cancel();
        self.points.stop();
    }

    fn fraction(&self) -> f64 {
        match self.points.total() {
            0 => self.progress.fraction(),
            total => self.points.done() as f64 / total as f64,
        }
    }
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
    /// Begins a job at a load; an older one of its kind is stopped.
    pub fn start(&mut self, task: Task, document: &Document, load: f64, ctx: &egui::Context) {
        let kind = task.kind();
        self.cancel(kind);
        self.next += 1;
        let (number, progress) = (self.next, Arc::new(RunProgress::new()));
        let coarse = Arc::new(RunProgress::new());
        let points = Arc::new(SweepProgress::new());
        let of = Of { hash: document.hash(), load };
        let job = Job {
            number,
            progress: Arc::clone(&progress),
            coarse: Arc::clone(&coarse),
            points: Arc::clone(&points),
            of,
        };
        self.running.insert(kind, job);
        let tell = Tell { kind, number, sender: self.sender.clone(), ctx: ctx.clone() };
        let loaded = match &task {
            Task::Compare(_) => document.whole(),
            _ => Ok(document.loaded.clone()),
        };
        std::thread::spawn(move || {
            let options = RunOptions { scale: load, ..RunOptions::default() };
            let work = || {
                let loaded = loaded?;
                match task {
                    Task::Run => run(&loaded, &options, [&coarse, &progress], &tell),
                    Task::Curve => curve(&loaded, &progress, &tell),
                    Task::Compare(baseline) => compared(&loaded, &baseline, &options, &progress, &tell),
                    Task::Stress => stress(&loaded, &progress, &tell),
                    Task::Sweep(axes) => explore::sweep(&loaded, axes, options, &points, &tell),
                    Task::Plan(question) => explore::plan(&loaded, &question, options, &progress, &tell),
                }
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
            job.cancel();
        }
    }

    pub fn cancel_all(&mut self) {
        for kind in Kind::ALL {
            self.cancel(kind);
        }
    }

    /// How far a job is, from 0 to 1; none where none is running.
    pub fn fraction(&self, kind: Kind) -> Option<f64> {
        self.running.get(&kind).map(Job::fraction)
    }

    pub fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// Whether a job of a kind is at work on the scenario with this hash, at this load.
    pub fn is_running_on(&self, kind: Kind, of: Of) -> bool {
        self.running.get(&kind).is_some_and(|job| job.of == of)
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

fn run(
    loaded: &Loaded,
    options: &RunOptions,
    progress: [&RunProgress; 2],
    tell: &Tell,
) -> Result<(), ScenarioError> {
    steps::run(loaded, options, progress, |result, coarse| {
        tell.news(News::Run(Arc::new(Shown::new(result, coarse))));
    })
}

/// The loads of the curves, from the scenario's own on: `tenfold stress --levels-only` takes the same.
pub(crate) const CURVE: [f64; 9] = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];

fn curve(loaded: &Loaded, progress: &RunProgress, tell: &Tell) -> Result<(), ScenarioError> {
    let options = StressOptions { multipliers: CURVE.to_vec(), ..StressOptions::default() };
    let levels = StressTest::new(loaded, options, progress)?.levels()?;
    if !progress.is_cancelled() {
        let report = StressReport { levels, ..StressReport::default() };
        tell.news(News::Curve(report.against_load(loaded).into_iter().map(Block::Picture).collect()));
    }
    Ok(())
}

fn compared(
    loaded: &Loaded,
    baseline: &str,
    options: &RunOptions,
    progress: &RunProgress,
    tell: &Tell,
) -> Result<(), ScenarioError> {
    let all = candidates(std::slice::from_ref(loaded), &[], Some(baseline))?;
    let comparison = compare(&all, options, progress)?;
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
