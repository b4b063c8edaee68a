//! A report as one page of HTML that asks for nothing from elsewhere.

use std::fmt::Write as _;

use super::color::dark_sheet;
use super::picture::SVG_SHEET;
use super::table::Table;
use super::{Block, Report};

/// Text as HTML and XML show it.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // XML has no other control characters.
            '\t' | '\n' => safe.push(letter),
            control if control.is_control() => safe.push('\u{fffd}'),
            letter => safe.push(letter),
        }
    }
    safe
}

/// Text with `code` between backticks, as findings are written.
fn rich(text: &str) -> String {
    let mut html = String::new();
    let parts: Vec<&str> = text.split('`').collect();
    // A backtick without its other one is itself.
    let pairs = parts.len() % 2 == 1;
    for (number, part) in parts.iter().enumerate() {
        match (pairs, number % 2) {
            (true, 1) => {
                let _ = write!(html, "<code>{}</code>", escape(part));
            }
            (false, _) if number > 0 => {
                html.push('`');
                html.push_str(&escape(part));
            }
            _ => html.push_str(&escape(part)),
        }
    }
    html
}

const SHEET: &str = "
:root{color-scheme:light dark;--paper:#fefefe;--ink:#1b1f24;--muted:#57606a;--line:#dde2e8;--shade:#f0f3f6;--good:#005a8f;--bad:#a84300}
@media (prefers-color-scheme:dark){:root{--paper:#12161b;--ink:#e6edf3;--muted:#a5afba;--line:#343b43;--shade:#1e242b;--good:#5db3e8;--bad:#ff8a3d}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,\"Segoe UI\",Roboto,\"Liberation Sans\",sans-serif}
main{max-width:980px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:1.7rem;line-height:1.25;margin:0 0 .2em}
h2{font-size:1.2rem;margin:2em 0 .5em;padding-top:.7em;border-top:1px solid var(--line)}
p{margin:.4em 0 .8em}
.lead{color:var(--muted)}
.verdict{font-size:1.15rem;font-weight:600;margin:1em 0;padding:.6em .9em;background:var(--shade);border-left:6px solid var(--muted)}
.verdict.pass{border-color:var(--good)}.verdict.fail{border-color:var(--bad)}
ul{margin:.3em 0 1em;padding-left:1.3em}li{margin:.25em 0}
code{font:.92em ui-monospace,SFMono-Regular,Menlo,Consolas,\"Liberation Mono\",monospace;background:var(--shade);padding:.08em .3em;border-radius:3px;overflow-wrap:anywhere}
.scroll{overflow-x:auto;margin:.4em 0 1.2em}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums;min-width:50%}
caption{text-align:left;font-weight:600;padding:.3em 0;white-space:nowrap}caption span{font-weight:400;color:var(--muted)}
th,td{padding:.28em .7em;text-align:right;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--muted);white-space:nowrap}
td{white-space:nowrap}td.wide{white-space:normal;min-width:18em;overflow-wrap:anywhere}
th.text,td.text{text-align:left}
td.FAIL{color:var(--bad);font-weight:700}td.pass{color:var(--good);font-weight:600}
figure{margin:1em 0 1.6em}
figure h3{font-size:1rem;margin:0 0 .3em}
figcaption{color:var(--muted);font-size:.9rem;margin-top:.3em}
svg.plot{display:block;max-width:100%;height:auto}
footer{margin-top:3em;padding-top:.7em;border-top:1px solid var(--line);color:var(--muted);font-size:.85rem;overflow-wrap:anywhere}
footer table{font-size:.82rem}footer td{white-space:normal;overflow-wrap:anywhere}
@page{margin:14mm}
@media print{
:root{--paper:#fff;--ink:#000;--muted:#444;--line:#bbb;--shade:#f3f3f3;--good:#005a8f;--bad:#a84300}
body{font-size:10.5pt}main{max-width:none;padding:0}h2{break-after:avoid}
figure,tr,.verdict{break-inside:avoid}.scroll{overflow:visible}table{font-size:7.5pt;max-width:100%}th,td{padding:.2em .45em;white-space:normal}
}
";

/// The page.
pub(super) fn page(report: &Report) -> String {
    let title = escape(&report.title.replace('`', ""));
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{title}</title>\n\
         <style>{SHEET}{SVG_SHEET}@media screen and (prefers-color-scheme:dark){{{}}}</style>\n</head>\n<body>\n<main>\n\
         <h1>{}</h1>\n<p class=\"lead\">{}</p>\n",
        dark_sheet(),
        rich(&report.title),
        rich(&report.lead)
    );
    for block in &report.blocks {
        render(&mut html, block);
    }
    html.push_str("<footer>\n<h2>Where this comes from</h2>\n<table>\n");
    for (name, value) in &report.provenance {
        let _ = writeln!(
            html,
            "<tr><th class=\"text\" scope=\"row\">{}</th><td class=\"text\">{}</td></tr>",
            escape(name),
            escape(value)
        );
    }
    html.push_str("</table>\n</footer>\n</main>\n</body>\n</html>\n");
    html
}

fn render(html: &mut String, block: &Block) {
    match block {
        Block::Heading(text) => {
            let _ = writeln!(html, "<h2>{}</h2>", rich(text));
        }
        Block::Text(text) => {
            let _ = writeln!(html, "<p>{}</p>", rich(text));
        }
        Block::Items(items) => {
            html.push_str("<ul>\n");
            for item in items {
                let _ = writeln!(html, "<li>{}</li>", rich(item));
            }
            html.push_str("</ul>\n");
        }
        Block::Verdict { pass, text } => {
            let class = match pass {
                Some(true) => " pass",
                Some(false) => " fail",
                None => "",
            };
            let _ = writeln!(html, "<p class=\"verdict{class}\">{}</p>", rich(text));
        }
        Block::Table(rows) => table(html, rows),
        Block::Picture(picture) => {
            let _ = writeln!(
                html,
                "<figure>\n<h3>{}</h3>\n<div class=\"scroll\">\n{}</div>\n<figcaption>{}</figcaption>\n</figure>",
                rich(&picture.title),
                picture.inline_svg(),
                rich(&picture.caption)
            );
        }
    }
}

/// Letters from which text may be broken into lines.
const WIDE: usize = 44;

fn table(html: &mut String, table: &Table) {
    let note =
        if table.note.is_empty() { String::new() } else { format!(" <span>({})</span>", rich(&table.note)) };
    let _ = writeln!(
        html,
        "<div class=\"scroll\"><table>\n<caption>{}{note}</caption>\n<thead><tr>",
        escape(&table.title)
    );
    for (column, name) in table.header.iter().enumerate() {
        let class = if table.is_text(column) { " class=\"text\"" } else { "" };
        let _ = write!(html, "<th scope=\"col\"{class}>{}</th>", escape(name));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        html.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let mut classes = Vec::new();
            if table.is_text(column) {
                classes.push("text");
            }
            if cell.chars().count() > WIDE {
                classes.push("wide");
            }
            if cell == "FAIL" || cell == "pass" {
                classes.push(cell);
            }
            let class =
                if classes.is_empty() { String::new() } else { format!(" class=\"{}\"", classes.join(" ")) };
            let _ = write!(html, "<td{class}>{}</td>", rich(cell));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table></div>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(
            escape("<script>\"a\" & 'b'\u{1}"),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;\u{fffd}"
        );
        assert_eq!(rich("`a<b>` is `c`"), "<code>a&lt;b&gt;</code> is <code>c</code>");
        assert_eq!(rich("one ` alone"), "one ` alone");
    }
}
