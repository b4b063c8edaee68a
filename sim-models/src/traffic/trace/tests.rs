use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Trace, TraceError> {
    Trace::read(text.as_bytes(), "t", TraceFormat::Auto)
}

fn error(text: &str) -> String {
    read(text).expect_err(text).to_string()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const AZURE: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n\
                     2023-11-16 23:59:59.9000000,374,44\r\n\
                     2023-11-17 00:00:00.0000001,396,109";

const MOONCAKE: &str = r#"{"timestamp": 0, "input_length": 1024, "output_length": 5, "hash_ids": [0, 1]}
{"timestamp": 1500, "input_length": 1025, "output_length": 6, "hash_ids": [0, 1, 2]}

{"timestamp": 1500, "input_length": 10, "output_length": 7}
"#;

const SESSIONS: &str = "arrival_s,prompt_tokens,output_tokens,session_id,prefix_id,shared_prefix_tokens\n";

#[test]
fn turns_of_a_session_know_how_it_opened() {
    let trace = read(&format!(
        "{SESSIONS}0,50,10,s,p,20\n1,7,1,,,\n2,60,5,s,,\n2,40,5,t,,\n3,90,1,s,p,20\n4,45,1,t,,\n"
    ))
    .unwrap();
    assert_eq!(trace.sessions(), ["s", "t"]);
    let of = |record: &TraceRecord| (record.session, record.opening_tokens, record.prefix);
    let turns: Vec<_> = trace.records().iter().map(of).collect();
    let (s, t) = ((Some(0), 50, Some(0)), (Some(1), 40, None));
    assert_eq!(turns, [s, (None, 0, None), s, t, s, t]);
    assert!(
        trace
            .records()
            .iter()
            .filter(|record| record.session == Some(0))
            .all(|s| s.shared_prefix_tokens == 20)
    );
    let hash = |second: &str| {
        read(&format!("{SESSIONS}0,50,10,s,,\n1,60,5,{second},,\n2,70,5,t,,\n")).unwrap().hash()
    };
    assert_ne!(hash("s"), hash("t"));
}

#[test]
fn azure_times_count_from_the_first_row() {
    let trace = read(AZURE).unwrap();
    let rows: Vec<_> =
        trace.records().iter().map(|r| (r.at.as_nanos(), r.prompt_tokens, r.output_tokens)).collect();
    assert_eq!(rows, [(0, 374, 44), (100_000_100, 396, 109)]);
}

#[test]
fn mooncake_keeps_its_prefix_blocks() {
    for bytes in [MOONCAKE.as_bytes().to_vec(), gzip(MOONCAKE.as_bytes())] {
        let trace = Trace::read(&bytes[..], "t", TraceFormat::Auto).unwrap();
        assert_eq!(trace.len(), 3);
        assert_eq!(trace.duration(), SimDuration::from_millis(1500));
        let blocks: Vec<Vec<u64>> = trace.records().iter().map(|r| trace.blocks(r).collect()).collect();
        assert_eq!(blocks, [vec![0, 1], vec![0, 1, 2], vec![]]);
    }
}

#[test]
fn generic_columns_come_in_any_order_and_names_are_numbered() {
    let text = "\u{feff}class,arrival_ms,output_tokens,prompt_tokens,prefix_id,shared_prefix_tokens,tenant\n\
                chat,0.5,10,100,p,40,\n\
                \"a, b\",2,11,100,,,t1\n\
                chat,1e1,12,100,p,100,t2\n";
    let trace = read(text).unwrap();
    assert_eq!(trace.classes(), ["chat", "a, b"]);
    assert_eq!(trace.tenants(), ["t1", "t2"]);
    assert_eq!(trace.prefixes(), ["p"]);
    let r = trace.records();
    assert_eq!([r[0].at, r[1].at, r[2].at].map(SimDuration::as_nanos), [500_000, 2_000_000, 10_000_000]);
    assert_eq!([r[0].class, r[1].class, r[2].class], [Some(0), Some(1), Some(0)]);
    assert_eq!([r[0].tenant, r[1].tenant, r[2].tenant], [None, Some(0), Some(1)]);
    assert_eq!([r[0].prefix, r[1].prefix, r[2].prefix], [Some(0), None, Some(0)]);
    assert_eq!([r[0].shared_prefix_tokens, r[2].shared_prefix_tokens], [40, 100]);
    let trace = read("arrival_s,prompt_tokens,output_tokens,priority\n5,1,1,critical\n").unwrap();
    assert_eq!(
        (trace.duration(), trace.priorities()),
        (SimDuration::from_secs(5), &["critical".to_owned()][..])
    );
}

#[test]
fn errors_name_file_line_column_value_and_what_is_accepted() {
    let generic = "arrival_s,prompt_tokens,output_tokens\n0,1,1\n";
    for (text, parts) in [
        (format!("{AZURE}\n2023-11-17 00:00:01,12x,1"), &["t:4:", "`ContextTokens`", "`12x`", "integer"][..]),
        (format!("{AZURE}\n17/11/2023,12,1"), &["t:4:", "`TIMESTAMP`", "`17/11/2023`", "2023-11-16"]),
        (format!("{AZURE}\n2023-11-16 00:00:00,12,1"), &["t:4:", "before that of the first"]),
        (format!("{AZURE}\n2023-11-17 00:00:01,12"), &["t:4:", "2 columns: expected 3"]),
        (
            format!("{MOONCAKE}{{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 1}}"),
            &["t:5:", "order"],
        ),
        (format!("{MOONCAKE}{{\"timestamp\": -1}}"), &["t:5:", "-1", "expected {\"timestamp\""]),
        (format!("{MOONCAKE}{{\"timestamp\": 2000}}"), &["t:5:", "missing field `input_length`"]),
        (MOONCAKE.replace("10,", "-10,"), &["t:4:", "-10"]),
        (MOONCAKE.replace("[0, 1]", "[0, 1, 2]"), &["t:1:", "`hash_ids`", "3 ids", "at most 2"]),
        (MOONCAKE.replace("1500", "99999999999999999"), &["t:2:", "`timestamp`", "584 years"]),
        (format!("{generic}-1,1,1"), &["t:3:", "`arrival_s`", "`-1`", "12.5"]),
        (format!("{generic}nan,1,1"), &["t:3:", "`nan`"]),
        (format!("{generic}1,4294967296,1"), &["t:3:", "`prompt_tokens`", "4294967295"]),
        (format!("{generic}1,+1,1"), &["t:3:", "`+1`"]),
        (format!("{generic}1,1,"), &["t:3:", "`output_tokens`", "``"]),
        (format!("{generic}1,1,1,1"), &["t:3:", "4 columns: expected 3"]),
        (format!("{generic}1,1,1\n0.9,1,1"), &["t:4:", "order"]),
        (
            "when,prompt_tokens\n".to_owned(),
            &["t:1:", "`when`", "arrival_s, arrival_ms", "TIMESTAMP", "JSON"],
        ),
        ("arrival_s,arrival_s\n".to_owned(), &["t:1:", "twice"]),
        ("arrival_s,arrival_ms,prompt_tokens,output_tokens\n".to_owned(), &["t:1:", "one column of the two"]),
        ("arrival_s,prompt_tokens\n".to_owned(), &["t:1:", "no column `output_tokens`"]),
        ("arrival_s,prompt_tokens,output_tokens,prefix_id\n".to_owned(), &["t:1:", "both columns"]),
        (
            "arrival_s,prompt_tokens,output_tokens,prefix_id,shared_prefix_tokens\n0,5,1,p,6".to_owned(),
            &["t:2:", "`shared_prefix_tokens`", "at most the prompt's 5"],
        ),
        (
            "arrival_s,prompt_tokens,output_tokens,prefix_id,shared_prefix_tokens\n0,5,1,,5".to_owned(),
            &["t:2:", "`prefix_id`"],
        ),
        (
            format!("{SESSIONS}0,50,10,s,p,20\n1,59,1,s,,"),
            &["t:3:", "`prompt_tokens`", "`59`", "at least 60", "session `s`"],
        ),
        (
            format!("{SESSIONS}0,50,10,s,p,20\n1,60,1,t,q,20\n2,60,1,s,q,20"),
            &["t:4:", "`prefix_id`", "`q`", "`p` with 20 shared tokens"],
        ),
    ] {
        let message = error(&text);
        for part in parts {
            assert!(message.contains(part), "`{part}` in `{message}`");
        }
    }
}

#[test]
fn no_record_is_an_error() {
    for text in
        ["", "\n\n", "arrival_s,prompt_tokens,output_tokens\n", "TIMESTAMP,ContextTokens,GeneratedTokens"]
    {
        assert!(matches!(read(text), Err(TraceError::Empty { .. })), "{text}");
    }
    assert!(matches!(Trace::open(Path::new("no/such/file"), TraceFormat::Auto), Err(TraceError::Io { .. })));
}

#[test]
fn a_forced_format_is_not_guessed() {
    let forced = |text: &str, format| Trace::read(text.as_bytes(), "t", format);
    assert!(forced(AZURE, TraceFormat::Azure).is_ok());
    assert!(forced(MOONCAKE, TraceFormat::Mooncake).is_ok());
    assert!(forced(AZURE, TraceFormat::Generic).unwrap_err().to_string().contains("`TIMESTAMP`"));
    assert!(forced(MOONCAKE, TraceFormat::Azure).unwrap_err().to_string().contains("expected `TIMESTAMP"));
    assert!(forced(AZURE, TraceFormat::Mooncake).unwrap_err().to_string().contains("t:1:"));
}

/// A reader without end, and how much was taken from it.
struct Endless(u64);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        buffer.fill(b'{');
        self.0 += buffer.len() as u64;
        Ok(buffer.len())
    }
}

#[test]
fn an_endless_line_ends_at_the_bound() {
    let mut endless = Endless(0);
    let error = Trace::read(&mut endless, "t", TraceFormat::Auto).unwrap_err().to_string();
    assert!(error.contains("t:1: longer than 1048576 bytes"), "{error}");
    assert!(endless.0 < 2 * MAX_LINE as u64);
    // 64 MiB in 64 KiB.
    let bomb = gzip(&vec![b'x'; 64 << 20]);
    assert!(Trace::read(&bomb[..], "t", TraceFormat::Auto).unwrap_err().to_string().contains("longer than"));
}

#[test]
fn broken_bytes_are_errors() {
    let error = Trace::read(&b"arrival_s,prompt_tokens,output_tokens\n0,1,\xff"[..], "t", TraceFormat::Auto);
    assert!(error.unwrap_err().to_string().contains("t:2: not UTF-8 at byte 4"));
    let mut cut = gzip(MOONCAKE.as_bytes());
    cut.truncate(cut.len() / 2);
    assert!(matches!(Trace::read(&cut[..], "t", TraceFormat::Auto), Err(TraceError::Io { .. })));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, rows in "([0-9.,e-]{0,12}\n){0,6}", json in r#"(\{"timestamp":[0-9e.-]{0,5}[}\]\[,"a-z]{0,9}\n){0,4}"#) {
        for format in [TraceFormat::Auto, TraceFormat::Azure, TraceFormat::Mooncake, TraceFormat::Generic] {
            let _ = Trace::read(&bytes[..], "t", format);
            let _ = Trace::read(json.as_bytes(), "t", format);
            let _ = Trace::read(&gzip(&bytes)[..], "t", format);
            for header in ["arrival_s,prompt_tokens,output_tokens\n", "TIMESTAMP,ContextTokens,GeneratedTokens\n"] {
                let mut whole = header.as_bytes().to_vec();
                whole.extend_from_slice(rows.as_bytes());
                let _ = Trace::read(&whole[..], "t", format);
                whole.extend_from_slice(&bytes);
                let _ = Trace::read(&whole[..], "t", format);
            }
        }
    }

    #[test]
    fn scaling_keeps_order_span_and_count(gaps in prop::collection::vec(0u64..5_000, 1..60), k in 1u32..6) {
        let mut text = "arrival_ms,prompt_tokens,output_tokens\n".to_owned();
        let mut at = 0;
        for gap in &gaps {
            at += gap;
            text += &format!("{at},1,1\n");
        }
        let trace = read(&text).unwrap();
        let scaled = trace.scaled(f64::from(k)).unwrap();
        prop_assert_eq!(scaled.len(), gaps.len() * k as usize);
        prop_assert!(scaled.records().is_sorted_by_key(|record| record.at));
        prop_assert_eq!(scaled.duration(), trace.duration());
        prop_assert_eq!(scaled.records()[0].at, trace.records()[0].at);
        prop_assert_eq!(&trace.scaled(1.0).unwrap(), &trace);
    }
}

#[test]
fn copies_stay_within_half_the_nearer_gap() {
    let trace =
        read("arrival_s,prompt_tokens,output_tokens\n0,1,1\n10,2,1\n14,3,1\n14,4,1\n100,5,1\n").unwrap();
    let scaled = trace.scaled(50.0).unwrap();
    let times = |prompt: u32| {
        let of = scaled.records().iter().filter(move |record| record.prompt_tokens == prompt);
        of.map(|record| record.at.as_secs_f64()).collect::<Vec<_>>()
    };
    assert!(times(2).iter().all(|at| (8.0..=12.0).contains(at)));
    assert!(times(2).iter().any(|at| *at < 9.0) && times(2).iter().any(|at| *at > 11.0));
    for (prompt, at) in [(1, 0.0), (3, 14.0), (4, 14.0), (5, 100.0)] {
        assert_eq!(times(prompt), [at; 50]);
    }
}

#[test]
fn copies_are_other_users_with_the_same_habits() {
    let scaled = read(MOONCAKE).unwrap().scaled(2.0).unwrap();
    let blocks = |copy: u32, prompt: u32| {
        let mut found = scaled.records().iter().filter(|r| (r.copy, r.prompt_tokens) == (copy, prompt));
        scaled.blocks(found.next().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(blocks(0, 1025), [0, 1, 2]);
    assert_eq!(blocks(1, 1025)[..2], blocks(1, 1024));
    assert!(blocks(1, 1025).iter().all(|id| !blocks(0, 1025).contains(id)));
    // Copies of copies: four populations.
    let twice = scaled.scaled(2.0).unwrap();
    let mut copies: Vec<u32> = twice.records().iter().map(|record| record.copy).collect();
    copies.sort_unstable();
    copies.dedup();
    assert_eq!(copies, [0, 1, 2, 3]);
    assert_eq!(twice.scaled(1.0).unwrap(), twice);
}

#[test]
fn fractions_are_drawn_and_nested() {
    let mut text = "arrival_ms,prompt_tokens,output_tokens\n".to_owned();
    for at in 0..10_000 {
        text += &format!("{at},{at},1\n");
    }
    let trace = read(&text).unwrap();
    let (small, large) = (trace.scaled(0.3).unwrap(), trace.scaled(0.6).unwrap());
    // A binomial number: sd = sqrt(n p (1 - p)).
    for (scaled, mean, sd) in [(&small, 3_000.0, 45.83), (&large, 6_000.0, 48.99)] {
        assert!((scaled.len() as f64 - mean).abs() <= 4.0 * sd, "{}", scaled.len());
    }
    assert!(small.records().iter().all(|record| large.records().contains(record)));
    let more = trace.scaled(2.5).unwrap().len() as f64;
    assert!((more - 25_000.0).abs() <= 4.0 * 50.0, "{more}");
    assert_eq!(trace.scaled(2.5).unwrap(), trace.scaled(2.5).unwrap());
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 2_001.0] {
        assert!(matches!(trace.scaled(bad), Err(TraceError::Scale { .. })), "{bad}");
    }
}

fn real(file: &str) -> Option<Trace> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let shared = std::env::var_os("TENFOLD_SHARED").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    let path = shared.join("data/traces").join(file);
    if !path.exists() {
        eprintln!("skipped: no {} (set TENFOLD_SHARED to the folder of measured data)", path.display());
        return None;
    }
    Some(Trace::open(&path, TraceFormat::Auto).unwrap())
}

#[test]
fn published_traces_are_read_whole() {
    // Counts and sums by a one-line script over the files.
    for (file, records, prompt, output) in [
        ("AzureLLMInferenceTrace_conv.csv", 19_366, 22_361_870, 4_088_665),
        ("AzureLLMInferenceTrace_code.csv", 8_819, 18_059_974, 245_896),
    ] {
        let Some(trace) = real(file) else { continue };
        assert_eq!(trace.len(), records);
        assert_eq!(trace.records().iter().map(|r| u64::from(r.prompt_tokens)).sum::<u64>(), prompt);
        assert_eq!(trace.records().iter().map(|r| u64::from(r.output_tokens)).sum::<u64>(), output);
        assert!((3_400.0..3_600.0).contains(&trace.duration().as_secs_f64()));
    }
    if let Some(trace) = real("AzureLLMInferenceTrace_conv.csv") {
        // 18:15:46.6805900 to 19:14:08.4025270.
        assert_eq!(trace.duration().as_nanos(), 3_501_721_937_000);
    }
    if let Some(trace) = real("mooncake_conversation.jsonl.gz") {
        assert_eq!(trace.len(), 12_031);
        assert_eq!(trace.records().iter().map(|r| trace.blocks(r).len()).sum::<usize>(), 288_500);
        assert_eq!(trace.duration(), SimDuration::from_millis(3_536_999));
    }
}

/// Counts in windows of 10 s.
fn counts(trace: &Trace) -> Vec<f64> {
    let window = 10_000_000_000;
    let mut counts = vec![0.0; (trace.duration().as_nanos() / window) as usize + 1];
    for record in trace.records() {
        counts[(record.at.as_nanos() / window) as usize] += 1.0;
    }
    counts
}

/// Variance over mean.
fn dispersion(counts: &[f64]) -> f64 {
    let n = counts.len() as f64;
    let mean = counts.iter().sum::<f64>() / n;
    counts.iter().map(|count| (count - mean) * (count - mean)).sum::<f64>() / n / mean
}

#[test]
fn scaled_published_traces_keep_their_bursts() {
    for file in ["AzureLLMInferenceTrace_conv.csv", "AzureLLMInferenceTrace_code.csv"] {
        let Some(trace) = real(file) else { continue };
        let recorded = counts(&trace);
        for k in [3.0, 5.0, 10.0] {
            let scaled = trace.scaled(k).unwrap();
            assert_eq!(scaled.len(), trace.len() * k as usize);
            assert_eq!(scaled.duration(), trace.duration());
            let now = counts(&scaled);
            // Only copies of the requests around a window's edges cross it.
            for (before, after) in recorded.iter().zip(&now) {
                assert!((after - k * before).abs() <= 2.0 * k, "{file}: {before} became {after} at {k}x");
            }
            let ratio = dispersion(&now) / (k * dispersion(&recorded));
            assert!((0.98..=1.02).contains(&ratio), "{file}: index of dispersion times {ratio} at {k}x");
        }
    }
}

#[test]
fn times_since_1970_and_names_that_a_terminal_would_obey_are_refused() {
    for (column, time) in [("arrival_s", "1700000000.5"), ("arrival_ms", "1700000000500")] {
        let text = format!("{column},prompt_tokens,output_tokens\n{time},1,1\n");
        let error = Trace::read(text.as_bytes(), "t.csv", TraceFormat::Auto).unwrap_err().to_string();
        assert!(
            error.starts_with("t.csv:2: the first request arrives 1700000000.5 s after the start"),
            "{error}"
        );
        assert!(error.contains("times from the start of the trace on"), "{error}");
    }
    let late = "arrival_s,prompt_tokens,output_tokens\n0,1,1\n1700000000,1,1\n";
    assert_eq!(Trace::read(late.as_bytes(), "t.csv", TraceFormat::Auto).unwrap().len(), 2);
    let text = "arrival_s,prompt_tokens,output_tokens,class\n0,1,1,a\u{1b}[31m\n";
    let error = Trace::read(text.as_bytes(), "t.csv", TraceFormat::Auto).unwrap_err().to_string();
    assert!(error.contains("`class` is `a\\u{1b}[31m`: expected a name without control"), "{error}");
}
