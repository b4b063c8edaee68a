//! How soon an edit is answered, what a frame costs, and how much memory the app takes.
//!
//! `cargo bench -p tenfold-gui` drives the app without a window, and prints each figure with whether it is within its
//! bound:
//!
//! - `answers`: for every scenario of the library, the time from an edit to the frame with the first, coarse answer, to
//!   the first frame with a finer one, and to that with the whole run; medians and the worst of edits in turn. The worst
//!   are bounded: the first answer, and the finer one.
//! - `frames`: CPU time of the thread that draws, for a frame of the views of every scenario of the library while it is
//!   simulated; the 99th percentile of drawing is bounded.
//! - `large`: both with 100 variants and with a series of 24 hours.
//! - `memory`: the most that the process took, after all of it.
//!
//! Names pick single tables; with `answers` and `frames`, also single scenarios.

#![expect(clippy::disallowed_methods, reason = "it is the time of people that is measured")]

use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use eframe::egui::{Context, Event, Modifiers, RawInput, Rect, pos2, vec2};
use tenfold_gui::{App, Command, Tab};

/// Edits of each scenario.
const EDITS: usize = 5;

/// Within so many milliseconds an edit is answered, coarsely.
const FIRST: f64 = 100.0;

/// Within so many milliseconds the answer is a finer one.
const FINER: f64 = 2_000.0;

/// So many milliseconds the code that draws a frame may take, at the 99th percentile.
const DRAWING: f64 = 8.0;

/// So many MB the process may take.
const MEMORY: f64 = 500.0;

/// The app, drawn without a window.
struct Driven {
    ctx: Context,
    app: App,
    started: Instant,
    /// CPU times of the code that draws.
    drawn: Vec<Duration>,
    /// CPU times of turning what is drawn into triangles.
    tessellated: Vec<Duration>,
    events: Vec<Event>,
    /// Figures that are within their bounds, and those that are not.
    judged: [usize; 2],
}

impl Driven {
    fn new() -> Self {
        let (ctx, started) = (Context::default(), Instant::now());
        let (drawn, tessellated, events) = (Vec::new(), Vec::new(), Vec::new());
        Self { ctx, app: App::default(), started, drawn, tessellated, events, judged: [0; 2] }
    }

    /// Whether a figure is within its bound, in a word.
    fn judge(&mut self, figure: f64, bound: f64) -> &'static str {
        let is_within = figure <= bound;
        self.judged[usize::from(!is_within)] += 1;
        if is_within { "pass" } else { "FAIL" }
    }

    fn frame(&mut self) {
        let input = RawInput {
            screen_rect: Some(Rect::from_min_size(pos2(0.0, 0.0), vec2(1280.0, 800.0))),
            time: Some(self.started.elapsed().as_secs_f64()),
            events: std::mem::take(&mut self.events),
            ..RawInput::default()
        };
        let before = ThreadTime::now();
        let mut output = self.ctx.run_ui(input, |ui| self.app.frame(ui));
        let drawn = before.elapsed();
        output.textures_delta.clear();
        std::hint::black_box(self.ctx.tessellate(output.shapes, output.pixels_per_point));
        self.drawn.push(drawn);
        self.tessellated.push(before.elapsed() - drawn);
    }

    /// Draws some sixty frames a second until something holds.
    fn until(&mut self, holds: impl Fn(&App) -> bool) {
        let from = Instant::now();
        loop {
            self.frame();
            if holds(&self.app) {
                return;
            }
            assert!(from.elapsed() < Duration::from_secs(300), "no answer within five minutes");
            std::thread::sleep(Duration::from_millis(4));
        }
    }

    fn open(&mut self, id: &str) {
        self.app.open_library(id, &self.ctx.clone());
        self.until(|app| app.result().is_some());
    }

    fn does(&mut self, command: Command) {
        self.app.command(command, &self.ctx.clone());
    }
}

/// A value that a slider would move: the rate of the first traffic source, or the seed where it has none.
fn slider(app: &App) -> (String, Box<dyn Fn(f64) -> String>) {
    let scenario = &app.document().expect("a scenario is open").loaded.scenario;
    let text: toml::Table = scenario.to_toml().parse().expect("canonical");
    let traffic = text["traffic"].as_table().expect("a table");
    let (name, first) = traffic.iter().next().expect("some traffic");
    let rate = first["arrivals"].get("rate").and_then(toml::Value::as_str);
    let parts = rate.and_then(|rate| rate.split_once('/'));
    match parts.and_then(|(number, unit)| Some((number.parse::<f64>().ok()?, unit.to_owned()))) {
        Some((number, unit)) => {
            let value = move |factor: f64| format!("\"{}/{unit}\"", number * factor);
            (format!("traffic.{name}.arrivals.rate"), Box::new(value))
        }
        None => ("run.seed".to_owned(), Box::new(|factor| ((factor * 1000.0) as u64).to_string())),
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The value that this share of all does not exceed.
fn quantile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    times
        .get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1)))
        .map_or(0.0, |t| ms(*t))
}

/// Whether a scenario is one of those that were asked for; all are without any.
fn is_picked(id: &str, picked: &[String]) -> bool {
    picked.is_empty() || picked.iter().any(|name| name == id)
}

fn answers(driven: &mut Driven, picked: &[String]) {
    head_of_answers();
    for one in scenarios::library().iter().filter(|one| is_picked(one.id, picked)) {
        driven.open(one.id);
        answer(driven, one.id);
    }
}

fn head_of_answers() {
    println!(
        "edit to answer on screen, ms: median (worst) of {EDITS} edits; at worst {FIRST:.0} to the first, {FINER:.0} to a \
         finer one"
    );
    println!("{:<20} {:>18}      {:>18}      {:>20}  edited", "scenario", "first", "finer", "whole");
}

/// Edits what is open, and waits for the answers.
fn answer(driven: &mut Driven, name: &str) {
    let (path, value) = slider(&driven.app);
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for edit in 1..=EDITS {
        let from = Instant::now();
        driven.app.set(&path, &value(1.0 + 0.01 * edit as f64), &driven.ctx.clone());
        driven.until(|app| app.answer().is_some());
        let first = from.elapsed();
        let simulated =
            |app: &App| app.answer().map_or(0.0, |run| run.provenance.duration_s * run.outputs.len() as f64);
        let coarse = simulated(&driven.app);
        driven.until(|app| app.result().is_some() || simulated(app) > coarse);
        let finer = from.elapsed();
        driven.until(|app| app.result().is_some());
        for (times, time) in times.iter_mut().zip([first, finer, from.elapsed()]) {
            times.push(time);
        }
    }
    let [first, finer, whole] = times.each_mut().map(|times| (quantile(times, 0.5), quantile(times, 1.0)));
    let said = |(median, worst): (f64, f64)| format!("{median:.0} ({worst:.0})");
    let [is_first, is_finer] =
        [(first, FIRST), (finer, FINER)].map(|((_, worst), bound)| driven.judge(worst, bound));
    println!(
        "{name:<20} {:>18} {is_first} {:>18} {is_finer} {:>20}  {path}",
        said(first),
        said(finer),
        said(whole)
    );
}

fn head_of_frames() {
    println!(
        "CPU time of a frame while simulating, ms; at most {DRAWING:.0} at the 99th percentile of drawing"
    );
}

fn table_of_frames(driven: &mut Driven, what: &str) {
    let p99 = quantile(&mut driven.drawn, 0.99);
    let is_within = driven.judge(p99, DRAWING);
    println!(
        "{what:<32} {:>6} frames  drawing p50 {:>6.2} p99 {p99:>6.2} {is_within}  tessellation p50 {:>6.2} p99 {:>6.2}",
        driven.drawn.len(),
        quantile(&mut driven.drawn, 0.5),
        quantile(&mut driven.tessellated, 0.5),
        quantile(&mut driven.tessellated, 0.99),
    );
    driven.drawn.clear();
    driven.tessellated.clear();
}

/// Draws a view again and again while the scenario is simulated anew, the pointer moving over it.
fn drawn(driven: &mut Driven, tab: Tab, what: &str) {
    driven.does(Command::Show(tab));
    driven.frame();
    driven.drawn.clear();
    driven.tessellated.clear();
    for number in 0..300_u16 {
        if !driven.app.is_busy() {
            driven.does(Command::Run);
        }
        let at = pos2(f32::from(number % 60) * 20.0, 100.0 + f32::from(number % 37) * 18.0);
        driven.events.push(Event::PointerMoved(at));
        driven.events.push(Event::MouseWheel {
            unit: eframe::egui::MouseWheelUnit::Point,
            delta: vec2(0.0, if number < 150 { -40.0 } else { 40.0 }),
            phase: eframe::egui::TouchPhase::Move,
            source: eframe::egui::MouseWheelSource::Unknown,
            modifiers: Modifiers::NONE,
        });
        driven.frame();
        std::thread::sleep(Duration::from_millis(2));
    }
    table_of_frames(driven, what);
}

/// Every view of the largest scenario, and those of a run of the others.
fn frames(driven: &mut Driven, picked: &[String]) {
    head_of_frames();
    for one in scenarios::library().iter().filter(|one| is_picked(one.id, picked)) {
        driven.open(one.id);
        let mut tabs = vec![Tab::System, Tab::Findings, Tab::Charts];
        if one.id == "ten-times" {
            tabs = Tab::ALL.to_vec();
            driven.does(Command::RunComparison);
            driven.until(|app| !app.is_busy());
        }
        for tab in tabs {
            drawn(driven, tab, &format!("{}, {}", one.id, tab.name()));
        }
    }
}

/// A shop with 100 variants, or one that runs for a day.
fn shop(variants: usize, duration: &str) -> String {
    let mut text = format!(
        "name = \"Shop\"\n[run]\nduration = \"{duration}\"\nreplications = 2\nwindows = 1440\n\
         [slo]\nlatency = {{ p95 = \"400ms\" }}\n\
         [traffic.web]\narrivals = {{ process = \"poisson\", rate = \"8/s\" }}\nentry = \"db\"\n\
         [components.db]\nkind = \"service\"\nservers = 2\nservice_time = {{ exponential = {{ mean = \"100ms\" }} }}\n"
    );
    for number in 1..=variants {
        text += &format!(
            "[[variant]]\nname = \"servers-{number}\"\nset = {{ \"components.db.servers\" = {number} }}\n"
        );
    }
    text
}

fn large(driven: &mut Driven) {
    let path = std::env::temp_dir().join(format!("tenfold-bench-{}.toml", std::process::id()));
    for (what, text, tabs) in [
        ("100 variants", shop(100, "60s"), &[Tab::System, Tab::Compare][..]),
        ("24 hours", shop(0, "24h"), &[Tab::System, Tab::Charts]),
    ] {
        std::fs::write(&path, text).expect("a temporary file");
        driven.app.open(&path, &driven.ctx.clone());
        driven.until(|app| app.result().is_some());
        head_of_answers();
        answer(driven, what);
        driven.does(Command::RunComparison);
        driven.until(|app| !app.is_busy());
        head_of_frames();
        for tab in tabs {
            drawn(driven, *tab, &format!("{what}, {}", tab.name()));
        }
    }
    std::fs::remove_file(&path).expect("written above");
}

/// Peak resident memory of this process so far; none where the system does not say.
fn memory(driven: &mut Driven) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
    match peak {
        Some(kib) => {
            let mb = kib * 1024.0 / 1e6;
            println!("peak memory: {mb:.0} MB, at most {MEMORY:.0} {}", driven.judge(mb, MEMORY));
        }
        None => println!("peak memory: unknown on this system"),
    }
}

fn main() {
    let names: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    let (tables, picked): (Vec<String>, Vec<String>) = names
        .into_iter()
        .partition(|name| matches!(name.as_str(), "answers" | "frames" | "large" | "memory"));
    let wanted = |name: &str| tables.is_empty() || tables.iter().any(|table| table == name);
    let mut driven = Driven::new();
    driven.frame();
    if wanted("answers") {
        answers(&mut driven, &picked);
    }
    if wanted("frames") {
        frames(&mut driven, &picked);
    }
    if wanted("large") {
        large(&mut driven);
    }
    memory(&mut driven);
    match driven.judged {
        [all, 0] => println!("all {all} figures are within their bounds"),
        [within, beyond] => println!("FAIL: {beyond} of {} figures are beyond their bounds", within + beyond),
    }
}
