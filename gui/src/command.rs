//! Everything that can be asked for: by menu, by key, by the palette, and in tests.

use eframe::egui::{Key, KeyboardShortcut, Modifiers};
use serde::{Deserialize, Serialize};

/// The views of a scenario.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tab {
    /// The architecture, live.
    #[default]
    System,
    /// What was found, in words and figures.
    Findings,
    /// Charts.
    Charts,
    /// Variants side by side.
    Compare,
    /// The 10x stress test.
    Stress,
    /// Many points along axes.
    Sweep,
    /// The cheapest configuration that keeps to the SLO.
    Plan,
    /// The scenario as text.
    Text,
}

impl Tab {
    /// All, from left to right.
    pub const ALL: [Self; 8] = [
        Self::System,
        Self::Findings,
        Self::Charts,
        Self::Compare,
        Self::Stress,
        Self::Sweep,
        Self::Plan,
        Self::Text,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "System",
            Self::Findings => "Findings",
            Self::Charts => "Charts",
            Self::Compare => "Compare",
            Self::Stress => "Stress test",
            Self::Sweep => "Sweep",
            Self::Plan => "Plan",
            Self::Text => "Text",
        }
    }
}

/// A thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Shows the library.
    Start,
    /// Asks for the path of a file.
    Open,
    /// Writes the scenario to its file.
    Save,
    /// Asks for the path of another file.
    SaveAs,
    /// Asks where to write the report.
    ExportReport,
    /// Asks where to write a picture of the window.
    Screenshot,
    /// Closes the window.
    Quit,
    /// One step back.
    Undo,
    /// One step forward.
    Redo,
    /// Runs the scenario once more.
    Run,
    /// Runs all variants side by side.
    RunComparison,
    /// Runs the scenario at loads from 1x to 10x.
    RunCurve,
    /// Runs the stress test.
    RunStress,
    /// Runs the scenario along the axes of the sweep.
    RunSweep,
    /// Looks for the cheapest configuration.
    RunPlan,
    /// Takes on the first pattern that the stress test recommends.
    ApplyRecommended,
    /// Stops what is running.
    Cancel,
    /// More load.
    MoreLoad,
    /// Less load.
    LessLoad,
    /// The scenario's own load.
    OwnLoad,
    /// Asks what to add.
    Add,
    /// Asks what the selected component is to call.
    Connect,
    /// Takes the selected component away.
    Remove,
    /// Asks for the name of a variant to keep what is shown as.
    Keep,
    /// The line that does on a terminal what the view shows.
    Copy,
    /// Plays or pauses the run on the timeline.
    Play,
    /// One window of the run on.
    StepOn,
    /// One window of the run back.
    StepBack,
    /// Plays twice as fast.
    Faster,
    /// Plays half as fast.
    Slower,
    /// The whole architecture is seen.
    Fit,
    /// Shows a view.
    Show(Tab),
    /// Dark or light.
    Theme,
    /// Larger.
    ZoomIn,
    /// Smaller.
    ZoomOut,
    /// The palette of all commands.
    Palette,
    /// The list of keys.
    Keys,
    /// What the simulation leaves out.
    NotModelled,
}

/// The menus, from left to right.
pub const MENUS: [(&str, &[Command]); 6] = [
    (
        "File",
        &[
            Command::Start,
            Command::Open,
            Command::Save,
            Command::SaveAs,
            Command::ExportReport,
            Command::Screenshot,
            Command::Copy,
            Command::Quit,
        ],
    ),
    ("Edit", &[Command::Undo, Command::Redo, Command::Add, Command::Connect, Command::Remove, Command::Keep]),
    (
        "Run",
        &[
            Command::Run,
            Command::RunCurve,
            Command::RunComparison,
            Command::RunStress,
            Command::RunSweep,
            Command::RunPlan,
            Command::ApplyRecommended,
            Command::Cancel,
            Command::MoreLoad,
            Command::LessLoad,
            Command::OwnLoad,
        ],
    ),
    ("Time", &[Command::Play, Command::StepOn, Command::StepBack, Command::Faster, Command::Slower]),
    (
        "View",
        &[
            Command::Show(Tab::System),
            Command::Show(Tab::Findings),
            Command::Show(Tab::Charts),
            Command::Show(Tab::Compare),
            Command::Show(Tab::Stress),
            Command::Show(Tab::Sweep),
            Command::Show(Tab::Plan),
            Command::Show(Tab::Text),
            Command::Fit,
            Command::Theme,
            Command::ZoomIn,
            Command::ZoomOut,
        ],
    ),
    ("Help", &[Command::Palette, Command::Keys, Command::NotModelled]),
];

impl Command {
    /// All of them, in the order of the menus.
    pub fn all() -> impl Iterator<Item = Self> {
        MENUS.iter().flat_map(|(_, commands)| commands.iter().copied())
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "Library",
            Self::Open => "Open\u{2026}",
            Self::Save => "Save",
            Self::SaveAs => "Save as\u{2026}",
            Self::ExportReport => "Export report\u{2026}",
            Self::Screenshot => "Screenshot\u{2026}",
            Self::Quit => "Quit",
            Self::Undo => "Undo",
            Self::Redo => "Redo",
            Self::Run => "Run again",
            Self::RunCurve => "Latency against load",
            Self::RunComparison => "Compare variants",
            Self::RunStress => "Run the stress test",
            Self::RunSweep => "Run the sweep",
            Self::RunPlan => "Find the cheapest",
            Self::ApplyRecommended => "Apply the recommended pattern",
            Self::Cancel => "Stop",
            Self::MoreLoad => "More load",
            Self::LessLoad => "Less load",
            Self::OwnLoad => "Load as written",
            Self::Add => "Add a component\u{2026}",
            Self::Connect => "Connect to\u{2026}",
            Self::Remove => "Remove",
            Self::Keep => "Keep as a variant\u{2026}",
            Self::Copy => "Copy the command",
            Self::Play => "Play or pause",
            Self::StepOn => "Step forward",
            Self::StepBack => "Step back",
            Self::Faster => "Play faster",
            Self::Slower => "Play slower",
            Self::Fit => "See all of the system",
            Self::Show(Tab::System) => "Show the system",
            Self::Show(Tab::Findings) => "Show the findings",
            Self::Show(Tab::Charts) => "Show the charts",
            Self::Show(Tab::Compare) => "Show the comparison",
            Self::Show(Tab::Stress) => "Show the stress test",
            Self::Show(Tab::Sweep) => "Show the sweep",
            Self::Show(Tab::Plan) => "Show the plan",
            Self::Show(Tab::Text) => "Show the text",
            Self::Theme => "Light or dark",
            Self::ZoomIn => "Larger",
            Self::ZoomOut => "Smaller",
            Self::Palette => "All commands\u{2026}",
            Self::Keys => "Keys\u{2026}",
            Self::NotModelled => "What is not modelled\u{2026}",
        }
    }

    /// Whether its keys edit a text, or move in it, while one is typed.
    pub fn edits_text(self) -> bool {
        matches!(
            self,
            Self::Undo
                | Self::Redo
                | Self::Remove
                | Self::Copy
                | Self::StepOn
                | Self::StepBack
                | Self::MoreLoad
                | Self::LessLoad
                | Self::Faster
                | Self::Slower
        )
    }

    /// The keys for it.
    pub fn shortcut(self) -> KeyboardShortcut {
        let command = |key| KeyboardShortcut::new(Modifiers::COMMAND, key);
        let shifted = |key| KeyboardShortcut::new(Modifiers::COMMAND | Modifiers::SHIFT, key);
        let plain = |key| KeyboardShortcut::new(Modifiers::NONE, key);
        match self {
            Self::Start => command(Key::N),
            Self::Open => command(Key::O),
            Self::Save => command(Key::S),
            Self::SaveAs => shifted(Key::S),
            Self::ExportReport => command(Key::E),
            Self::Screenshot => plain(Key::F12),
            Self::Quit => command(Key::Q),
            Self::Undo => command(Key::Z),
            Self::Redo => shifted(Key::Z),
            Self::Run => plain(Key::F5),
            Self::RunCurve => shifted(Key::L),
            Self::RunComparison => plain(Key::F6),
            Self::RunStress => plain(Key::F7),
            Self::ApplyRecommended => shifted(Key::R),
            Self::Cancel => plain(Key::F8),
            Self::RunSweep => plain(Key::F10),
            Self::RunPlan => plain(Key::F11),
            Self::MoreLoad => command(Key::ArrowUp),
            Self::LessLoad => command(Key::ArrowDown),
            Self::OwnLoad => command(Key::Num0),
            Self::Add => command(Key::I),
            Self::Connect => command(Key::L),
            Self::Remove => command(Key::Delete),
            Self::Keep => command(Key::K),
            Self::Copy => shifted(Key::C),
            Self::Play => plain(Key::F9),
            Self::StepOn => command(Key::ArrowRight),
            Self::StepBack => command(Key::ArrowLeft),
            Self::Faster => shifted(Key::ArrowUp),
            Self::Slower => shifted(Key::ArrowDown),
            Self::Fit => command(Key::F),
            Self::Show(Tab::System) => command(Key::Num1),
            Self::Show(Tab::Findings) => command(Key::Num2),
            Self::Show(Tab::Charts) => command(Key::Num3),
            Self::Show(Tab::Compare) => command(Key::Num4),
            Self::Show(Tab::Stress) => command(Key::Num5),
            Self::Show(Tab::Sweep) => command(Key::Num6),
            Self::Show(Tab::Plan) => command(Key::Num7),
            Self::Show(Tab::Text) => command(Key::Num8),
            Self::Theme => command(Key::D),
            Self::ZoomIn => command(Key::Plus),
            Self::ZoomOut => command(Key::Minus),
            Self::Palette => command(Key::P),
            Self::Keys => plain(Key::F1),
            Self::NotModelled => shifted(Key::F1),
        }
    }
}

#[cfg(test)]
mod tests {
    use eframe::egui::ModifierNames;

    use super::*;

    #[test]
    fn every_command_has_a_name_and_keys_of_its_own() {
        let all: Vec<Command> = Command::all().collect();
        for (place, command) in all.iter().enumerate() {
            for other in &all[..place] {
                assert_ne!(command.shortcut(), other.shortcut(), "{command:?} and {other:?}");
                assert_ne!(command.name(), other.name());
            }
        }
    }

    #[test]
    fn the_book_has_the_keys_of_every_command() {
        let book = include_str!("../../docs/src/app.md");
        let (_, table) = book.split_once("| command | keys |").expect("a table of keys");
        let table = table.split("\n\n").next().unwrap_or_default();
        let mut told: Vec<&str> = table.split('`').skip(1).step_by(2).collect();
        let keys = |command: Command| command.shortcut().format(&ModifierNames::NAMES, false);
        let mut keys: Vec<String> = Command::all().map(keys).collect();
        told.sort_unstable();
        keys.sort_unstable();
        assert_eq!(told, keys);
    }
}
