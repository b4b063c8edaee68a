//! Random commands, keys and mouse: neither panics nor grows.

use std::alloc::System;
use std::time::Duration;

use cap::Cap;
use eframe::egui::{self, Context, Event, Key, Modifiers, PointerButton, RawInput, Rect, pos2, vec2};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use tenfold_gui::{App, Command};

/// Counts what is in use: what an allocator keeps aside for its threads is no leak.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// What the app may take of the machine's memory at any time.
const RESIDENT_MB: f64 = 500.0;

/// What is held between the largest results may grow by so much (assumption: files opened, values typed, letters drawn).
const GROWTH_MB: f64 = 20.0;

fn resident_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()? * 1024.0 / 1e6)
}

fn any<T: Copy>(random: &mut Xoshiro256PlusPlus, all: &[T]) -> T {
    all[random.random_range(0..all.len())]
}

fn events(random: &mut Xoshiro256PlusPlus) -> Vec<Event> {
    let pos = pos2(random.random_range(0.0..1280.0), random.random_range(0.0..800.0));
    let modifiers = Modifiers::NONE;
    let key = |key, pressed| Event::Key { key, physical_key: None, pressed, repeat: false, modifiers };
    let button = |pressed, button| Event::PointerButton { pos, button, pressed, modifiers };
    match random.random_range(0..10) {
        0..5 => {
            let which = if random.random_range(0..6) == 0 {
                PointerButton::Secondary
            } else {
                PointerButton::Primary
            };
            vec![Event::PointerMoved(pos), button(true, which), button(false, which)]
        }
        5 => vec![
            button(true, PointerButton::Primary),
            Event::PointerMoved(pos + vec2(40.0, 25.0)),
            button(false, PointerButton::Primary),
        ],
        6 => vec![Event::MouseWheel {
            unit: egui::MouseWheelUnit::Point,
            delta: vec2(0.0, random.random_range(-300.0..300.0)),
            phase: egui::TouchPhase::Move,
            source: egui::MouseWheelSource::Unknown,
            modifiers,
        }],
        7 => vec![Event::Text(any(random, &["3", "0.5", "\"9/s\"", "x", "-1", "\u{e9}"]).to_owned())],
        _ => {
            let pressed = any(
                random,
                &[Key::Tab, Key::Enter, Key::Escape, Key::ArrowDown, Key::ArrowRight, Key::Space],
            );
            vec![key(pressed, true), key(pressed, false)]
        }
    }
}

fn soak(length: Duration, seed: u64) {
    // What is written by chance is written here.
    let dir = tempfile::tempdir().unwrap();
    std::env::set_current_dir(dir.path()).unwrap();
    let (ctx, mut app) = (Context::default(), App::default());
    ctx.enable_accesskit();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let commands: Vec<Command> = Command::all().filter(|command| !matches!(command, Command::Quit)).collect();
    let ids: Vec<&str> = scenarios::library().iter().map(|one| one.id).collect();
    #[expect(clippy::disallowed_methods, reason = "how long it has lasted, not simulated time")]
    let started = std::time::Instant::now();
    // The least that is in use in each tenth: between two results.
    let (mut least, mut frames) = ([f64::INFINITY; 10], 0_u64);
    while started.elapsed() < length {
        frames += 1;
        match random.random_range(0..60) {
            0 => app.open_library(any(&mut random, &ids), &ctx),
            1..6 => app.command(any(&mut random, &commands), &ctx),
            6 => app.set("run.seed", &random.random_range(0..1000_u32).to_string(), &ctx),
            _ => {}
        }
        let input = RawInput {
            screen_rect: Some(Rect::from_min_size(pos2(0.0, 0.0), vec2(1280.0, 800.0))),
            time: Some(frames as f64 / 60.0),
            events: events(&mut random),
            ..RawInput::default()
        };
        let mut output = ctx.run_ui(input, |ui| app.frame(ui));
        output.textures_delta.clear();
        std::hint::black_box(ctx.tessellate(output.shapes, output.pixels_per_point));
        assert!(
            !app.dialog().is_some_and(|said| said.contains("invariant")),
            "seed {seed}: {:?}",
            app.dialog()
        );
        let tenth = (started.elapsed().as_secs_f64() / length.as_secs_f64() * 10.0) as usize;
        let now = &mut least[tenth.min(9)];
        *now = now.min(MEMORY.allocated() as f64 / 1e6);
    }
    println!(
        "{frames} frames; least in use by tenths, MB: {least:.0?}; resident at the end: {:?} MB",
        resident_mb()
    );
    assert!(frames > 20, "{frames} frames");
    // A short one has not opened every scenario by then.
    if length > Duration::from_secs(300) {
        let [_, early, .., late] = least;
        assert!(late < early + GROWTH_MB, "grew from {early:.0} MB to {late:.0} MB");
        assert!(resident_mb().is_none_or(|resident| resident < RESIDENT_MB), "{:?} MB", resident_mb());
    }
}

#[test]
fn ten_seconds_of_random_input() {
    soak(Duration::from_secs(10), 1);
}

/// `TENFOLD_SOAK_SECONDS`, by default ten minutes; `TENFOLD_SOAK_SEED`, by default 2.
#[test]
#[ignore = "takes ten minutes"]
fn soak_of_random_input() {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: a number")))
    };
    soak(Duration::from_secs(number("TENFOLD_SOAK_SECONDS", 600)), number("TENFOLD_SOAK_SEED", 2));
}
