//! What outlives the window: how things were looked at, and changes that are not saved yet.
//!
//! Both are files in the user's state directory, written by a thread of their own, complete before they take their
//! name. Changes are kept once a second at most; they are removed when they are saved or given up, so that what is
//! found at a start is what a crash has left. A lock, which ends with the process, tells its files from those of
//! windows that are open.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use eframe::egui::{Context, ThemePreference};
use scenarios::results::write_text;
use serde::{Deserialize, Serialize};

use crate::command::Tab;
use crate::document::Kept;

/// Seconds between two writes of the same file.
const PAUSE: f64 = 1.0;

/// So many scenarios are remembered.
const REMEMBERED: usize = 20;

/// How a scenario was looked at last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Seen {
    /// Its file, or its name in the library.
    pub what: String,
    pub tab: Tab,
    /// The part of the diagram: left, top, right and bottom; all of it for none.
    pub part: Option<[f32; 4]>,
    /// The time that is shown, in seconds; on average for none.
    pub time: Option<f64>,
}

/// How the app is looked at: nothing of it is in a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Layout {
    /// `light`, `dark`, or that of the system.
    pub theme: String,
    pub zoom: f32,
    /// The last scenario first.
    pub seen: Vec<Seen>,
}

impl Default for Layout {
    fn default() -> Self {
        Self { theme: "system".to_owned(), zoom: 1.0, seen: Vec::new() }
    }
}

impl Layout {
    /// Takes over from the window what is the same for all scenarios.
    pub fn observe(&mut self, ctx: &Context) {
        self.zoom = ctx.zoom_factor();
        self.theme = match ctx.options(|options| options.theme_preference) {
            ThemePreference::Light => "light",
            ThemePreference::Dark => "dark",
            ThemePreference::System => "system",
        }
        .to_owned();
    }

    /// Makes the window so.
    pub fn restore(&self, ctx: &Context) {
        ctx.set_zoom_factor(self.zoom.clamp(0.5, 3.0));
        match self.theme.as_str() {
            "light" => ctx.set_theme(ThemePreference::Light),
            "dark" => ctx.set_theme(ThemePreference::Dark),
            _ => {}
        }
    }

    /// How a scenario was looked at.
    pub fn of(&self, what: &str) -> Option<&Seen> {
        self.seen.iter().find(|seen| seen.what == what)
    }

    /// The files among them, those that are still there.
    pub fn files(&self) -> Vec<PathBuf> {
        let of_library = |what: &str| scenarios::library().iter().any(|one| one.id == what);
        let files = self.seen.iter().filter(|seen| !of_library(&seen.what));
        files.map(|seen| PathBuf::from(&seen.what)).filter(|path| path.is_file()).take(8).collect()
    }

    /// Remembers how it is looked at now.
    pub fn remember(&mut self, seen: Seen) {
        self.seen.retain(|known| known.what != seen.what);
        self.seen.insert(0, seen);
        self.seen.truncate(REMEMBERED);
    }
}

/// A file, and what is to stand in it; to be removed for none.
type Task = (PathBuf, Option<String>);

/// Writes files, one after the other, the newest state of each.
#[derive(Debug)]
struct Writer {
    sender: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn new() -> Self {
        let (sender, receiver) = channel::<Task>();
        let thread = std::thread::spawn(move || {
            while let Ok((path, text)) = receiver.recv() {
                // A state directory that cannot be written to costs the convenience, not the work.
                let _ = match text {
                    Some(text) => write_text(&path, &text).map_err(|error| error.to_string()),
                    None => fs::remove_file(&path).map_err(|error| error.to_string()),
                };
            }
        });
        Self { sender: Some(sender), thread: Some(thread) }
    }

    fn send(&self, path: PathBuf, text: Option<String>) {
        // The thread lives as long as the sender.
        let _ = self.sender.as_ref().map(|sender| sender.send((path, text)));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.sender.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[derive(Debug)]
struct Files {
    dir: PathBuf,
    /// Held as long as the window is open.
    _lock: File,
    writer: Writer,
}

impl Files {
    fn unsaved(&self) -> PathBuf {
        self.dir.join(format!("{}.unsaved", std::process::id()))
    }
}

/// Keeps both; without a directory, nothing.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    files: Option<Files>,
    pub layout: Layout,
    written: Layout,
    /// Revision of the scenario that was kept last.
    kept: Option<u64>,
    /// Seconds since the start of the app, of the last writes.
    at: f64,
    /// What crashes have left, and in which files.
    pub left: Vec<(PathBuf, Kept)>,
}

impl Keeper {
    /// Reads what is in a directory, which is made if it is not there.
    pub fn new(dir: &Path) -> Self {
        let lock = dir.join(format!("{}.lock", std::process::id()));
        let opened = fs::create_dir_all(dir).and_then(|()| File::create(&lock));
        let files = opened.ok().filter(|lock| lock.try_lock().is_ok());
        let files = files.map(|lock| Files { dir: dir.to_owned(), _lock: lock, writer: Writer::new() });
        let read = fs::read_to_string(dir.join("layout.json")).unwrap_or_default();
        let layout: Layout = serde_json::from_str(&read).unwrap_or_default();
        Self { files, written: layout.clone(), layout, left: left_behind(dir, &lock), ..Self::default() }
    }

    /// Once a frame: writes what has changed. `unsaved` is the scenario with its revision, if there are changes.
    pub fn keep(&mut self, now: f64, unsaved: Option<(u64, &dyn Fn() -> Kept)>) {
        let Some(files) = &self.files else { return };
        let revision = unsaved.map(|(revision, _)| revision);
        let changed = revision != self.kept;
        // What is saved or given up is removed at once.
        if !(changed && revision.is_none())
            && (now < self.at + PAUSE || !(changed || self.layout != self.written))
        {
            return;
        }
        self.at = now;
        if changed {
            let text = unsaved.and_then(|(_, kept)| serde_json::to_string_pretty(&kept()).ok());
            files.writer.send(files.unsaved(), text);
            self.kept = revision;
        }
        if self.layout != self.written {
            let text = serde_json::to_string_pretty(&self.layout).ok();
            files.writer.send(files.dir.join("layout.json"), text);
            self.written = self.layout.clone();
        }
    }

    /// Whether something waits to be written.
    pub fn is_behind(&self, revision: Option<u64>) -> bool {
        self.files.is_some() && (self.kept != revision || self.layout != self.written)
    }

    /// The last of what crashes have left is done with.
    pub fn forget(&mut self) {
        if let (Some((path, _)), Some(files)) = (self.left.pop(), &self.files) {
            files.writer.send(path.with_extension("lock"), None);
            files.writer.send(path, None);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let Some(files) = &self.files else { return };
        if std::thread::panicking() {
            return;
        }
        // Closed in good order: what is unsaved was given up.
        if self.kept.is_some() {
            files.writer.send(files.unsaved(), None);
        }
        if self.layout != self.written {
            let text = serde_json::to_string_pretty(&self.layout).ok();
            files.writer.send(files.dir.join("layout.json"), text);
        }
        files.writer.send(files.dir.join(format!("{}.lock", std::process::id())), None);
    }
}

/// Changes whose window is gone. Locks without changes are removed on the way.
fn left_behind(dir: &Path, own: &Path) -> Vec<(PathBuf, Kept)> {
    let mut all = Vec::new();
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    for lock in paths.iter().filter(|path| path.extension().is_some_and(|ending| ending == "lock")) {
        let unsaved = lock.with_extension("unsaved");
        let is_open = lock != own && File::open(lock).is_ok_and(|file| file.try_lock().is_err());
        if is_open {
            continue;
        }
        let kept = fs::read_to_string(&unsaved).ok().and_then(|text| serde_json::from_str(&text).ok());
        match kept {
            Some(kept) => all.push((unsaved, kept)),
            None if lock != own => _ = fs::remove_file(lock),
            None => {}
        }
    }
    all
}

/// Where the user's programs keep their state; none where the system does not say.
pub fn state_dir() -> Option<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = if cfg!(target_os = "windows") {
        from("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        from("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        // The XDG base directory specification.
        from("XDG_STATE_HOME").or_else(|| Some(from("HOME")?.join(".local/state")))
    };
    dir.map(|dir| dir.join("tenfold"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;

    #[test]
    fn what_was_seen_is_remembered_the_last_first() {
        let mut layout = Layout::default();
        for number in 0..30 {
            layout.remember(Seen { what: number.to_string(), ..Seen::default() });
        }
        layout.remember(Seen { what: "20".to_owned(), time: Some(3.0), ..Seen::default() });
        assert_eq!((layout.seen.len(), layout.seen[0].what.as_str()), (REMEMBERED, "20"));
        assert_eq!(layout.of("20").unwrap().time, Some(3.0));
        assert_eq!(layout.of("3"), None);
        let text = serde_json::to_string(&layout).unwrap();
        assert_eq!(serde_json::from_str::<Layout>(&text).unwrap(), layout);
    }

    #[test]
    fn changes_outlive_a_crash_and_not_an_end_in_good_order() {
        let dir = tempfile::tempdir().unwrap();
        let mut document = Document::library("queueing-basics").unwrap();
        document.set("run.seed", "77", false).unwrap();
        let (hash, revision) = (document.hash(), document.revision());

        let mut keeper = Keeper::new(dir.path());
        assert!(keeper.left.is_empty());
        keeper.keep(5.0, Some((revision, &|| document.kept())));
        keeper.layout.zoom = 1.5;
        keeper.keep(5.5, Some((revision, &|| document.kept())));
        assert!(keeper.is_behind(Some(revision)), "not twice a second");
        drop(keeper);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "only the layout stays");

        let keeper = Keeper::new(dir.path());
        assert_eq!(keeper.layout.zoom, 1.5);
        drop(keeper);
        // As a process that is gone would have left it.
        fs::write(dir.path().join("1.lock"), "").unwrap();
        fs::write(dir.path().join("1.unsaved"), serde_json::to_string(&document.kept()).unwrap()).unwrap();
        fs::write(dir.path().join("2.lock"), "").unwrap();
        fs::write(dir.path().join("3.lock"), "").unwrap();
        fs::write(dir.path().join("3.unsaved"), "{ broken").unwrap();
        // As one that is open.
        let open = File::create(dir.path().join("4.lock")).unwrap();
        open.lock().unwrap();
        fs::write(dir.path().join("4.unsaved"), serde_json::to_string(&document.kept()).unwrap()).unwrap();
        let mut keeper = Keeper::new(dir.path());
        let [(_, kept)] = &keeper.left[..] else { panic!("{:?}", keeper.left) };
        let again = Document::restore(kept.clone()).unwrap();
        assert_eq!((again.hash(), again.is_unsaved(), again.edits()), (hash, true, document.edits()));
        keeper.forget();
        drop(keeper);
        assert!(!dir.path().join("1.unsaved").exists() && dir.path().join("4.unsaved").exists());
    }
}
