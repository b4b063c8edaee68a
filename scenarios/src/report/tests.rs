//! Whether reports are well-formed, safe and legible, of systems with names that are none of these.

use std::sync::OnceLock;

use roxmltree::Document;

use super::diagram::Node as Part;
use super::*;
use crate::compare::{candidates, compare};
use crate::run::{RunOptions, RunProgress};
use crate::stress::{StressOptions, StressReport, StressTest};
use crate::sweep::{Sweep, SweepOptions, SweepProgress};

const NAME: &str = "Ten <script>alert(1)</script> & \"more\" 'of' it]]>";

/// A system with two pools, of which one is too small at three times the load.
fn scenario() -> String {
    format!(
        r#"
        name = {name}
        description = {name}
        [run]
        duration = "60s"
        warmup = "5s"
        replications = 2
        windows = 30
        [slo]
        latency = {{ p99 = "2s" }}
        error_rate = 0.01
        monthly_cost = "$5k"
        [traffic.web]
        arrivals = {{ process = "poisson", rate = "10/s" }}
        entry = "edge"
        priority = {{ critical = 0.3, "<b>bulk</b>" = 0.7 }}
        [components.edge]
        kind = "flow"
        steps = ["features", "db"]
        [components.features]
        kind = "service"
        service_time = {{ constant = "5ms" }}
        servers = 4
        price_per_hour = "$0.40/h"
        [components.db]
        kind = "service"
        service_time = {{ exponential = {{ mean = "80ms" }} }}
        servers = 2
        price_per_hour = "$1/h"
        [components.spare]
        kind = "service"
        service_time = {{ constant = "1s" }}
        servers = 1
        [links."edge -> db"]
        timeout = "1s"
        fallback = ["spare"]
        [[variant]]
        name = {name}
        set = {{ "components.db.servers" = 4 }}
        [[fault]]
        at = "30s"
        target = "features"
        kind = "crash"
        repair = "2s"
        "#,
        name = serde_json::to_string(NAME).unwrap()
    )
}

fn loaded() -> crate::Loaded {
    crate::parse(&scenario(), "hostile.toml", ".".as_ref(), &[]).unwrap()
}

/// A report of every experiment; made once, for they take seconds.
fn reports() -> &'static [(&'static str, Report)] {
    static REPORTS: OnceLock<Vec<(&str, Report)>> = OnceLock::new();
    REPORTS.get_or_init(|| {
        let (loaded, options, progress) = (loaded(), RunOptions::default(), RunProgress::new());
        let run = crate::run(&loaded, &options, &progress).unwrap().report();
        let both = candidates(std::slice::from_ref(&loaded), &[], None).unwrap();
        let compared = compare(&both, &options, &progress).unwrap().report();
        let stress = StressOptions { multipliers: vec![1.0, 3.0], ..StressOptions::default() };
        let test = StressTest::new(&loaded, stress, &progress).unwrap();
        let levels = test.levels().unwrap();
        let limit = test.limit(&levels);
        let first = test.first_break(levels[0].result.as_ref().unwrap(), limit);
        let recommendations =
            first.as_ref().map(|first| test.recommendations(first, limit)).unwrap_or_default();
        let tried = test.tried();
        assert!(tried.len() > 3, "the limit was found without looking: {limit:?}");
        let found = StressReport {
            levels,
            limit: Some(limit),
            tried,
            first,
            recommendations,
            blast: test.blast_radius(1.0),
            fallbacks: test.fallbacks(&[1.0]),
        };
        let dir = tempfile::tempdir().unwrap();
        let axes = ["components.db.servers=1,2,4", "scale=1,2", "components.db.discipline=fifo,lifo"];
        let sweep = SweepOptions { axes: axes.map(str::to_owned).to_vec(), ..SweepOptions::default() };
        let sweep = Sweep::new(&loaded, sweep).unwrap();
        sweep.run(dir.path(), &SweepProgress::new()).unwrap();
        let two = tempfile::tempdir().unwrap();
        let axes = ["components.db.servers=1,2,4", "scale=1,2"].map(str::to_owned).to_vec();
        let over_two = Sweep::new(&loaded, SweepOptions { axes, ..SweepOptions::default() }).unwrap();
        over_two.run(two.path(), &SweepProgress::new()).unwrap();
        vec![
            ("over two", over_two.report(two.path()).unwrap()),
            ("run", run),
            ("compare", compared),
            ("stress", found.report(&loaded)),
            ("sweep", sweep.report(dir.path()).unwrap()),
        ]
    })
}

#[test]
fn each_experiment_has_its_pictures() {
    for (name, least) in [
        (
            "run",
            &["architecture", "latency-cdf", "rates", "latency-series", "queues", "utilization", "cost"][..],
        ),
        ("compare", &["latency-p99", "latency-cdf", "latency-series", "in-flight", "cost", "cost-latency"]),
        (
            "stress",
            &[
                "latency-load",
                "goodput-load",
                "use-load",
                "architecture-goal",
                "cost-load",
                "blast-radius",
                "what-helps",
            ],
        ),
        ("sweep", &["pareto", "tornado", "axis-1"]),
        ("over two", &["heat-map", "pareto"]),
    ] {
        let (_, report) = reports().iter().find(|(known, _)| *known == name).unwrap();
        let names: Vec<&str> = report.pictures().map(|picture| picture.name.as_str()).collect();
        for picture in least {
            assert!(names.contains(picture), "{picture} of {name}: {names:?}");
        }
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names.len(), "{names:?}");
        let ending =
            |name: &&str| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        assert!(names.iter().all(ending), "{names:?}");
    }
}

#[test]
fn a_run_tells_what_happened_and_the_figures_of_its_series() {
    let (_, run) = reports().iter().find(|(name, _)| *name == "run").unwrap();
    let items: Vec<&String> = run
        .blocks
        .iter()
        .filter_map(|block| match block {
            Block::Items(items) => Some(items),
            _ => None,
        })
        .flatten()
        .collect();
    assert!(items.iter().any(|item| *item == "fault: crash of features at 30.0 s."), "{items:?}");
    let measured = run.blocks.iter().find_map(|block| match block {
        Block::Table(table) if table.title.starts_with("Over time, from 5") => Some(table),
        _ => None,
    });
    assert!(measured.unwrap().rows.iter().any(|row| row[..2] == ["Latency", "p99"]), "{measured:?}");
}

#[test]
fn two_axes_are_a_heat_map_with_the_shortest_at_its_cool_end() {
    let (_, report) = reports().iter().find(|(name, _)| *name == "over two").unwrap();
    let matrix = report.pictures().find_map(|picture| match &picture.drawing {
        Drawing::Matrix(matrix) => Some(matrix),
        _ => None,
    });
    let matrix = matrix.unwrap();
    assert_eq!((matrix.columns.len(), matrix.rows.len()), (2, 3));
    let cell = |row: usize, column: usize| matrix.rows[row].1[column].as_ref().unwrap();
    // One server at 2x gives none: that is said.
    assert_eq!((cell(0, 1).heat, cell(0, 1).lines[0].as_str()), (None, "no figure"));
    let heats: Vec<f64> =
        (0..3).flat_map(|row| [cell(row, 0), cell(row, 1)]).filter_map(|cell| cell.heat).collect();
    assert_eq!(heats.len(), 5);
    assert!(cell(2, 0).heat < cell(0, 0).heat, "four servers, one: {matrix:?}");
    assert_eq!(heats.iter().copied().fold(1.0, f64::min), 0.0);
    assert_eq!(heats.iter().copied().fold(0.0, f64::max), 1.0);
}

#[test]
fn pages_ask_for_nothing_and_run_nothing() {
    for (name, report) in reports() {
        let html = report.html();
        let page = html.to_lowercase();
        for bad in ["<script", "<b>", "javascript:", "src=", "url(", "@import", "nan", "infinity"] {
            let found = page.match_indices(bad).find(|(at, _)| {
                // `nan` within a word such as `tenant` is none.
                !(bad == "nan" && page[..*at].ends_with(|c: char| c.is_alphabetic()))
            });
            assert!(
                found.is_none(),
                "`{bad}` in {name}: {:?}",
                found.map(|(at, _)| &page[at.saturating_sub(60)..at + 20])
            );
        }
        let outside = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!outside.contains("http://") && !outside.contains("https://"), "{name}");
        assert!(html.contains("Ten &lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;more&quot;"), "{name}");
        for word in [
            "prefers-color-scheme",
            "@media print",
            "Content-Security-Policy",
            "scenario hash",
            "seed",
            "fingerprint",
        ] {
            let of_many = ["sweep", "over two"].contains(name);
            assert!(html.contains(word) || of_many && word == "fingerprint", "{word} in {name}");
        }
        // All but the head is XML, too: every element is closed.
        let body = html.split_once("<body>").unwrap().1.split_once("</body>").unwrap().0;
        Document::parse(body.trim()).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

struct Lettered {
    text: String,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

/// Where the texts of an SVG are, if a letter is half as wide as it is high.
fn texts(document: &Document) -> Vec<Lettered> {
    let number = |node: &roxmltree::Node, name: &str| node.attribute(name).unwrap().parse::<f64>().unwrap();
    let nodes = document.descendants().filter(|node| node.has_tag_name("text"));
    nodes
        .map(|node| {
            let text = node.text().unwrap_or_default().trim().to_owned();
            let (x, y, size) = (number(&node, "x"), number(&node, "y"), number(&node, "font-size"));
            let width = 0.5 * size * text.chars().count() as f64;
            let left = match node.attribute("text-anchor").unwrap() {
                "start" => x,
                "end" => x - width,
                _ => x - width / 2.0,
            };
            Lettered { text, left, right: left + width, top: y - 0.4 * size, bottom: y + 0.4 * size }
        })
        .collect()
}

fn check_svg(name: &str, picture: &Picture) {
    let svg = picture.svg("seed: 1");
    let what = format!("{} of {name}", picture.name);
    let document = Document::parse(&svg).unwrap_or_else(|error| panic!("{what}: {error}"));
    let root = document.root_element();
    assert!(root.has_tag_name(("http://www.w3.org/2000/svg", "svg")));
    for tag in ["title", "desc"] {
        let node = root.children().find(|node| node.has_tag_name(("http://www.w3.org/2000/svg", tag)));
        assert!(node.is_some_and(|node| !node.text().unwrap_or_default().is_empty()), "{tag} of {what}");
    }
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        for attribute in node.attributes() {
            let value = attribute.value();
            assert!(
                !value.contains("NaN") && !value.contains("inf"),
                "{}=\"{value}\" in {what}",
                attribute.name()
            );
        }
    }
    let view: Vec<f64> = root.attribute("viewBox").unwrap().split(' ').map(|n| n.parse().unwrap()).collect();
    let texts = texts(&document);
    assert!(!texts.is_empty());
    for (number, text) in texts.iter().enumerate() {
        let inside = text.left >= -1.0
            && text.right <= view[2] + 1.0
            && text.top >= -1.0
            && text.bottom <= view[3] + 1.0;
        assert!(inside, "`{}` leaves {what}", text.text);
        for other in &texts[number + 1..] {
            let apart = text.right <= other.left
                || other.right <= text.left
                || text.bottom <= other.top
                || other.bottom <= text.top;
            assert!(apart, "`{}` and `{}` overlap in {what}", text.text, other.text);
        }
    }
}

#[test]
fn pictures_are_well_formed_and_nothing_overlaps() {
    for (name, report) in reports() {
        for picture in report.pictures() {
            check_svg(name, picture);
        }
    }
}

#[test]
fn bitmaps_are_pngs_that_say_where_they_come_from() {
    let (_, report) = &reports()[0];
    let picture = report.pictures().next().unwrap();
    let file = picture.png("seed: 1; scenario: \u{e9}t\u{e9}");
    let decoder = png::Decoder::new(std::io::Cursor::new(&file));
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    // There is something to be seen on the ground.
    assert!(pixels.chunks(3).any(|pixel| pixel != pixels[..3].to_vec()));
    let text = reader.info().utf8_text.iter().find(|text| text.keyword == "Description").unwrap();
    assert_eq!(text.get_text().unwrap(), "seed: 1; scenario: \u{e9}t\u{e9}");
}

#[test]
fn pictures_of_any_values_are_legible() {
    let long =
        "a name that is longer than all the room that there may be for it in any box of a picture ".repeat(3);
    let spans = vec![
        Span { name: long.clone(), low: 3.0, high: 1.0, mark: None },
        Span { name: "price of <b>GPUs</b>".to_owned(), low: 1.9, high: 2.1, mark: None },
        Span { name: "none".to_owned(), low: f64::NAN, high: 1.0, mark: None },
    ];
    let ends = ["at half".to_owned(), "at twice".to_owned()];
    let axis = Axis::linear("bill", Unit::Usd);
    let tornado =
        tornado("tornado", "What matters", axis, Some(("today".to_owned(), 2.0)), ends, spans).unwrap();
    assert!(tornado.caption.contains(&long));
    check_svg("plain data", &tornado);
    let point = |i: u32| Choice {
        name: format!("choice {i}"),
        cost: f64::from(i * 7919 % 101),
        figure: f64::from(i * 104_729 % 97),
        pass: [Some(true), Some(false), None][i as usize % 3],
    };
    let choices: Vec<Choice> = (0..400).map(point).collect();
    let cost = Axis::linear("cost", Unit::Usd);
    let figure = Axis::log("latency", Unit::Seconds);
    check_svg(
        "plain data",
        &pareto("pareto", "Choices", cost.clone(), figure.clone(), &choices, false).unwrap(),
    );
    assert!(pareto("pareto", "None", cost, figure, &[], false).is_none());
    let node = |i: usize| Part {
        name: format!("{i} {long}"),
        kind: "llm".to_owned(),
        utilization: Some(0.1 * i as f64),
        bottleneck: i == 4,
    };
    let links = vec![
        (0, 1, false),
        (1, 2, false),
        (1, 3, true),
        (2, 4, false),
        (4, 1, false),
        (3, 3, false),
        (0, 4, false),
    ];
    let diagram = Diagram { nodes: (0..5).map(node).collect(), links };
    check_svg("plain data", &Picture::new("a", "A", "B", Drawing::Diagram(diagram)).unwrap());
    let names: Vec<String> = (0..12).map(|i| format!("part {i}")).collect();
    let bars = vec![(long.clone(), (0..12).map(f64::from).collect()), ("none".to_owned(), vec![0.0; 12])];
    let stack = Stack::new(Axis::linear("cost", Unit::Usd), names, bars);
    assert_eq!((stack.parts.len(), stack.parts.last().unwrap().as_str()), (7, "5 others"));
    check_svg("plain data", &Picture::new("b", "B", "C", Drawing::Stack(stack)).unwrap());
    let series = |i: usize, y: f64| Series {
        name: format!("series {i}"),
        points: vec![(0.0, y), (1.0, f64::NAN), (2.0, y)],
        mark: Mark::Both,
    };
    for y in [0.0, 1e-9, 1e12, f64::INFINITY] {
        let chart = Chart {
            x: Axis::linear("time", Unit::Seconds),
            y: Axis::linear("value", Unit::Number("1/s")),
            series: (0..7).map(|i| series(i, y)).collect(),
            references: vec![Reference { name: long.clone(), at: 1e15, vertical: false }],
        };
        let picture = Picture::new("c", "C", "D", Drawing::Chart(chart));
        assert_eq!(picture.is_some(), y.is_finite());
        picture.iter().for_each(|picture| check_svg("plain data", picture));
    }
}

#[test]
fn files_take_their_names_when_they_are_complete() {
    let dir = tempfile::tempdir().unwrap();
    let (_, report) = &reports()[1];
    let page = dir.path().join("report.html");
    check_file(&page).unwrap();
    report.write_html(&page).unwrap();
    let files = report.write_pictures(&dir.path().join("plots")).unwrap();
    assert_eq!(files.len(), 2 * report.pictures().count());
    let left: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(check_file(dir.path()).is_err());
}

#[test]
fn a_run_that_was_stopped_before_its_first_replication_is_not_one_without_an_slo() {
    let text = "name = \"x\"\nrun = { duration = \"10s\" }\nslo = { error_rate = 0.1 }\n[traffic.web]\nentry = \"db\"\n\
                arrivals = { process = \"poisson\", rate = \"10/s\" }\n\
                [components.db]\nkind = \"service\"\nservice_time = \"1ms\"\n";
    let loaded = crate::parse(text, "x.toml", ".".as_ref(), &[]).unwrap();
    let progress = crate::run::RunProgress::new();
    progress.cancel();
    let result = crate::run(&loaded, &crate::run::RunOptions::default(), &progress).unwrap();
    assert_eq!((result.passed(), result.outputs.len()), (None, 0));
    let html = result.report().html();
    assert!(html.contains("the SLO is not judged") && !html.contains("has no SLO"), "{html}");
}
