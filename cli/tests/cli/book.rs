//! The book in `docs/`: every command in it runs and says what is shown, every scenario checks, and what it points
//! at is there.
//!
//! Marks of fenced blocks, behind the language:
//! - `console`: lines that begin with `$ tenfold` are run in a directory of the page's own, in which `scenarios/library`
//!   lies, too. They end with exit code 0, or that of `exit=N`. Every other line must be in the output of the
//!   command above it but for spaces, in this order; `...` stands for lines that are left out. With `varies` the output depends on
//!   the machine and is not looked at.
//! - `console not-run=REASON`: not run.
//! - `toml file=NAME`: a scenario, written to the page's directory and checked; `csv file=NAME` and the like: a file
//!   that commands need.
//! - `toml part=NAME`: what is added to the end of that file, and checked with it.
//! - `toml`: a piece of a scenario; it is TOML.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::{Scratch, text};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Blocks that no test runs; a new one needs a good reason.
const NOT_RUN: &[&str] = &["needs-redis", "needs-a-desktop"];

/// A fenced block of a page.
struct Block {
    page: PathBuf,
    line: usize,
    marks: Vec<String>,
    text: String,
}

impl Block {
    fn is(&self, language: &str) -> bool {
        self.marks.first().is_some_and(|first| first == language)
    }

    fn mark(&self, key: &str) -> Option<&str> {
        self.marks.iter().find_map(|mark| mark.strip_prefix(key)?.strip_prefix('='))
    }

    fn place(&self) -> String {
        format!("{}:{}", self.page.display(), self.line)
    }

    /// The commands, each with what is shown of its output.
    fn commands(&self) -> Vec<(String, Vec<&str>)> {
        let mut commands: Vec<(String, Vec<&str>)> = Vec::new();
        let mut goes_on = false;
        for line in self.text.lines() {
            let (line, more) = line.strip_suffix('\\').map_or((line, false), |line| (line, true));
            match (line.strip_prefix("$ tenfold"), commands.last_mut()) {
                (_, Some((command, _))) if goes_on => command.push_str(line),
                (Some(arguments), _) => commands.push((arguments.to_owned(), Vec::new())),
                (None, Some((_, shown))) => shown.push(line),
                (None, None) => panic!("{}: a line before the first `$ tenfold`", self.place()),
            }
            goes_on = more;
        }
        commands
    }
}

fn pages_in(dir: &Path, pages: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            pages_in(&path, pages);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            pages.push(path);
        }
    }
    pages.sort();
}

fn pages() -> Vec<(PathBuf, String)> {
    let mut pages = Vec::new();
    pages_in(&Path::new(ROOT).join("docs/src"), &mut pages);
    assert!(pages.len() > 30, "{pages:?}");
    pages
        .into_iter()
        .map(|page| {
            let text = fs::read_to_string(&page).expect("readable");
            (page, text)
        })
        .collect()
}

fn blocks(page: &Path, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (at, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), open.as_mut()) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(info), None) => {
                let marks = info.split_whitespace().map(str::to_owned).collect();
                open = Some(Block { page: page.to_owned(), line: at + 1, marks, text: String::new() });
            }
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{}: a block is not closed", page.display());
    blocks
}

/// The words of a command line, as a shell takes them. What a shell would take for more than words is not for the book.
fn words(line: &str) -> Vec<String> {
    let plain = line.split('\'').step_by(2).collect::<String>();
    assert!(!plain.contains(['$', '\\', '`', '|', '>', '&', ';', '*']), "more than words:{line}");
    let mut words = Vec::new();
    let (mut word, mut begun, mut quote) = (String::new(), false, None);
    for letter in line.chars() {
        match quote {
            Some(end) if letter == end => quote = None,
            Some(_) => word.push(letter),
            None if letter == '"' || letter == '\'' => (quote, begun) = (Some(letter), true),
            None if letter.is_whitespace() => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            None => {
                word.push(letter);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

/// Runs what a page says, in its order. What is wrong with it.
fn run_page(page: &Path, text: &str) -> Vec<String> {
    let scratch = Scratch::new();
    let library = scratch.path("scenarios/library");
    fs::create_dir_all(&library).expect("writable");
    for scenario in fs::read_dir(Path::new(ROOT).join("scenarios/library")).expect("the library") {
        let from = scenario.expect("readable").path();
        fs::copy(&from, library.join(from.file_name().expect("a file"))).expect("writable");
    }
    let mut wrong = Vec::new();
    for block in blocks(page, text) {
        if block.is("toml") {
            wrong.extend(check_toml(&scratch, &block));
        } else if let Some(name) = block.mark("file") {
            scratch.write(name, &block.text);
        } else if block.is("console") && block.mark("not-run").is_none() {
            wrong.extend(run_commands(&scratch, &block));
        }
    }
    wrong
}

fn check_toml(scratch: &Scratch, block: &Block) -> Option<String> {
    if let Err(error) = block.text.parse::<toml::Table>() {
        return Some(format!("{}: {error}", block.place()));
    }
    let name = block.mark("file").or_else(|| block.mark("part"))?;
    let before = match block.mark("part") {
        Some(name) => fs::read_to_string(scratch.path(name)).expect("a file above this part"),
        None => String::new(),
    };
    scratch.write(name, &format!("{before}{}", block.text));
    let output = scratch.tenfold(&["check", name]);
    (!output.status.success()).then(|| format!("{}: {}", block.place(), text(&output.stderr)))
}

fn run_commands(scratch: &Scratch, block: &Block) -> Vec<String> {
    let expected = block.mark("exit").map_or(0, |code| code.parse().expect("an exit code"));
    let mut wrong = Vec::new();
    for (command, shown) in block.commands() {
        let arguments = words(&command);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = scratch.tenfold(&arguments);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        let place = format!("{}: tenfold{command}", block.place());
        if output.status.code() != Some(expected) {
            wrong.push(format!("{place}: exit code {:?}\n{said}", output.status.code()));
        }
        if block.marks.iter().any(|mark| mark == "varies") {
            continue;
        }
        let mut rest = said.lines();
        let is_said = |line: &&str| !line.trim().is_empty() && line.trim() != "...";
        for line in shown.into_iter().filter(is_said) {
            if !rest.any(|own| own.split_whitespace().eq(line.split_whitespace())) {
                wrong.push(format!("{place}: says no `{line}` (any more, or not in this order)\n{said}"));
                break;
            }
        }
    }
    wrong
}

#[test]
fn every_command_runs_and_says_what_is_shown() {
    let pages = pages();
    let commands: usize = pages
        .iter()
        .flat_map(|(page, text)| blocks(page, text))
        .filter(|block| block.is("console") && block.mark("not-run").is_none())
        .map(|block| block.commands().len())
        .sum();
    assert!(commands > 60, "only {commands} commands");
    let (next, wrong) = (Mutex::new(pages.iter()), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((page, text)) = { next.lock().expect("no panic").next() } {
                    let found = run_page(page, text);
                    wrong.lock().expect("no panic").extend(found);
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    assert!(wrong.is_empty(), "{} mistakes:\n\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn no_command_is_left_out_but_for_a_reason() {
    for (page, text) in pages() {
        for block in blocks(&page, &text) {
            if let Some(reason) = block.mark("not-run") {
                assert!(NOT_RUN.contains(&reason), "{}: {reason}", block.place());
            }
            let hides = block.text.lines().any(|line| line.trim_start_matches("$ ").starts_with("tenfold "));
            assert!(!hides || block.is("console"), "{}: a command outside of `console`", block.place());
        }
    }
}

#[test]
fn every_page_is_in_the_summary() {
    let summary = fs::read_to_string(Path::new(ROOT).join("docs/src/SUMMARY.md")).expect("a summary");
    let src = Path::new(ROOT).join("docs/src");
    for (page, _) in pages() {
        let name = page.strip_prefix(&src).expect("below src").display().to_string();
        assert!(
            name == "SUMMARY.md" || summary.contains(&format!("({name})")),
            "{name} is not in SUMMARY.md"
        );
    }
}

#[test]
fn what_pages_point_at_is_there() {
    for (page, text) in pages() {
        let dir = page.parent().expect("in a directory");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains(':') {
                continue;
            }
            let there = fs::read(dir.join(target));
            let there = there.unwrap_or_else(|error| panic!("{}: no {link}: {error}", page.display()));
            // A picture is no text, and has no sections.
            let there = String::from_utf8_lossy(&there);
            // Sections of the generated page have anchors of their own.
            if let Some((_, id)) = link.split_once("scenario.md#") {
                assert!(there.contains(&format!("<a id=\"{id}\">")), "{}: no {link}", page.display());
            }
        }
        for code in text.split('`').skip(1).step_by(2) {
            let Some((file, name)) = code.split_once(".rs::") else { continue };
            let source = fs::read_to_string(Path::new(ROOT).join(format!("{file}.rs"))).unwrap_or_default();
            assert!(source.contains(&format!("fn {name}(")), "{}: no test {code}", page.display());
        }
    }
}
