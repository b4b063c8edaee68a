//! What is wrong with a scenario, where, and what would be accepted.

use std::fmt;
use std::ops::Range;

use miette::{
    Diagnostic, LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents,
};

/// Characters of a source line that are shown on each side of the place of an error.
const CONTEXT: usize = 48;
/// Characters of a message or a help text that are shown.
const LONGEST_TEXT: usize = 600;

/// A scenario that cannot be read or simulated.
///
/// Displays as `file:line:column: message`, without position where there is none; the help text and an
/// excerpt of the file are there for [`miette`] reporters.
#[derive(Debug, Clone, thiserror::Error)]
pub struct ScenarioError(Box<Inner>);

#[derive(Debug, Clone, Default)]
struct Inner {
    message: String,
    help: Option<String>,
    name: Option<String>,
    place: Option<Place>,
}

#[derive(Debug, Clone)]
struct Place {
    line: usize,
    column: usize,
    excerpt: Excerpt,
}

impl ScenarioError {
    /// An error without a place.
    pub fn new(message: impl fmt::Display) -> Self {
        Self(Box::new(Inner { message: printable(&message.to_string()), ..Inner::default() }))
    }

    /// Says what would be accepted.
    #[must_use]
    pub fn with_help(mut self, help: impl fmt::Display) -> Self {
        self.0.help = Some(printable(&help.to_string()));
        self
    }

    /// Says in which file it is.
    #[must_use]
    pub fn in_file(mut self, name: impl fmt::Display) -> Self {
        self.0.name = Some(printable(&name.to_string()));
        self
    }

    /// Says where in the file it is: a range of bytes of `text`.
    #[must_use]
    pub fn at(mut self, name: &str, text: &str, span: Range<usize>) -> Self {
        let start = boundary(text, span.start);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count();
        let column = text[line_start..start].chars().count();
        let excerpt = Excerpt::new(&printable(name), text, start..boundary(text, span.end), line);
        self.0.place = Some(Place { line: line + 1, column: column + 1, excerpt });
        self.in_file(name)
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What would be accepted.
    pub fn help_text(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// Name of the file, or `--set`.
    pub fn file(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Line, from 1.
    pub fn line(&self) -> Option<usize> {
        self.0.place.as_ref().map(|place| place.line)
    }

    /// Column in characters, from 1.
    pub fn column(&self) -> Option<usize> {
        self.0.place.as_ref().map(|place| place.column)
    }

    /// Everything on one line: `file:line:column: message (help)`.
    pub fn plain(&self) -> String {
        match self.help_text() {
            Some(help) => format!("{self} ({help})"),
            None => self.to_string(),
        }
    }
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.0.name {
            write!(f, "{name}:")?;
            if let Some(place) = &self.0.place {
                write!(f, "{}:{}:", place.line, place.column)?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl Diagnostic for ScenarioError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help_text().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0.place.as_ref().map(|place| &place.excerpt as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.0.place.as_ref()?.excerpt.span.clone();
        Some(Box::new(std::iter::once(LabeledSpan::new(None, span.start, span.len()))))
    }
}

/// The largest character boundary up to `index`.
fn boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// What a terminal can show: no control characters, not too long.
fn printable(text: &str) -> String {
    let visible = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let mut shown: String = text.chars().take(LONGEST_TEXT).map(visible).collect();
    if text.chars().nth(LONGEST_TEXT).is_some() {
        // Of a list, whole names.
        if let Some(end) = shown.rfind(", ").map(|end| end + 2).or(shown.rfind(' ').map(|end| end + 1)) {
            shown.truncate(end);
        }
        shown.push_str("...");
    }
    shown
}

/// Up to three lines around a place, each cut to what fits.
#[derive(Debug, Clone)]
struct Excerpt {
    name: String,
    text: String,
    span: Range<usize>,
    /// Number of its first line, from 0.
    line: usize,
    /// Characters that are cut off in front of the line with the place.
    cut: usize,
}

impl Excerpt {
    fn new(name: &str, text: &str, span: Range<usize>, line: usize) -> Self {
        let start = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
        let end = text[span.start..].find('\n').map_or(text.len(), |newline| span.start + newline);
        let span = span.start..span.end.clamp(span.start, end);
        let column = text[start..span.start].chars().count();
        let cut = column.saturating_sub(CONTEXT);
        let window =
            |line: &str, length: usize| printable(&line.chars().skip(cut).take(length).collect::<String>());

        let mut shown = String::new();
        let mut first = line;
        if start > 0 {
            let previous = text[..start - 1].lines().next_back().unwrap_or_default();
            shown.push_str(&window(previous, 2 * CONTEXT));
            shown.push('\n');
            first -= 1;
        }
        shown.push_str(&window(&text[start..span.start], usize::MAX));
        let from = shown.len();
        let marked: String = text[span.clone()].chars().take(CONTEXT).collect();
        shown.push_str(&printable(&marked));
        let to = shown.len();
        let rest: String =
            text[span.start + marked.len()..end].trim_end_matches('\r').chars().take(CONTEXT).collect();
        shown.push_str(&printable(&rest));
        if let Some(next) = text[end..].strip_prefix('\n').and_then(|rest| rest.lines().next()) {
            shown.push('\n');
            shown.push_str(&window(next, 2 * CONTEXT));
        }
        Self { name: name.to_owned(), text: shown, span: from..to, line: first, cut }
    }
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        context_lines_before: usize,
        context_lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let contents = self.text.as_str().read_span(span, context_lines_before, context_lines_after)?;
        // Without context the contents begin at the place, and not at the beginning of its line.
        let cut = if context_lines_before == 0 { self.cut } else { 0 };
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            contents.data(),
            *contents.span(),
            contents.line() + self.line,
            contents.column() + cut,
            contents.line_count(),
        )))
    }
}

#[cfg(test)]
mod tests {
    use miette::{GraphicalReportHandler, GraphicalTheme};

    use super::*;

    fn render(error: &ScenarioError) -> String {
        let mut report = String::new();
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100);
        handler.render_report(&mut report, error).unwrap();
        report
    }

    #[test]
    fn a_report_shows_the_line_and_its_number() {
        let text = "a = 1\nb = 2\nsome = \"thing\"\nc = 3\n";
        let start = text.find("\"thing").unwrap();
        let error = ScenarioError::new("not that").with_help("this").at("x.toml", text, start..start + 7);
        assert_eq!(error.to_string(), "x.toml:3:8: not that");
        assert_eq!(error.plain(), "x.toml:3:8: not that (this)");
        let report = render(&error);
        for part in [
            "[x.toml:3:8]",
            "2 \u{2502} b = 2",
            "3 \u{2502} some = \"thing\"",
            "4 \u{2502} c = 3",
            "help: this",
        ] {
            assert!(report.contains(part), "{part} in\n{report}");
        }
    }

    #[test]
    fn a_report_fits_one_screen() {
        let line = format!("x = \"{}{}\"", "long ".repeat(50_000), "\u{1b}[31m\u{e9}".repeat(50_000));
        let text = format!("{line}\n{line}\n{line}");
        for (start, length) in
            [(line.len() * 3 / 2, 5), (line.len() + 1, line.len()), (0, text.len()), (text.len(), 0)]
        {
            let message = "m".repeat(10_000);
            let error = ScenarioError::new(message).at("x.toml", &text, start..start + length);
            let report = render(&error);
            assert!(report.lines().count() <= 24, "{report}");
            assert!(report.lines().all(|line| line.chars().count() < 160), "{report}");
            assert!(!report.contains('\u{1b}'));
        }
        let start = line.len() + 1 + 100_000;
        let error = ScenarioError::new("m").at("x.toml", &text, start..start + 4);
        assert_eq!((error.line(), error.column()), (Some(2), Some(100_001)));
        assert!(render(&error).contains("[x.toml:2:100001]"), "{}", render(&error));
    }

    #[test]
    fn places_at_the_edge_do_not_panic() {
        for text in ["", "\n", "\r\n", "\u{e9}", "a\r\nb"] {
            for start in 0..text.len() + 2 {
                for end in start..text.len() + 2 {
                    render(&ScenarioError::new("m").at("x", text, start..end));
                }
            }
        }
    }
}
