use super::*;

/// A small run: `lines` after the device.
fn text(lines: &[&str]) -> String {
    let device = Device {
        format: RAW_FORMAT,
        program: "0.1.0".into(),
        suite: "quick".into(),
        started: 0,
        name: "NVIDIA H200".into(),
        compute_capability: "9.0".into(),
        multiprocessors: 132,
        l2_bytes: 60 << 20,
        memory_bytes: 150_754_820_096,
        sm_clock_mhz: 1980.0,
        memory_clock_mhz: 3201.0,
        power_limit_watts: Some(700.0),
        driver: None,
        cuda: "13.0".into(),
        nvrtc: "13.0".into(),
        cublaslt: "13.1.0".into(),
        host_cpus: 16,
    };
    let first = serde_json::to_string(&Line::Device(device)).unwrap();
    std::iter::once(first.as_str()).chain(lines.iter().copied()).map(|line| format!("{line}\n")).collect()
}

const LAUNCH: &str =
    r#"{"kind":"latency","what":"launch","bytes":0,"time":{"us":2.0,"least":1.9,"most":2.4,"repeats":9}}"#;
const END: &str = r#"{"kind":"end","seconds":1.0}"#;

#[test]
fn a_run_is_read_whole_and_a_cut_one_as_far_as_it_goes() {
    let folder = std::env::temp_dir().join(format!("tenfold-raw-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("raw.jsonl");
    std::fs::write(&path, text(&[LAUNCH, END])).unwrap();
    let raw = Raw::open(&path).unwrap();
    assert!(raw.complete && raw.lines.len() == 1 && raw.device.multiprocessors == 132);
    let whole = text(&[LAUNCH, LAUNCH]);
    let cut = &whole[..whole.len() - 20];
    std::fs::write(&path, cut).unwrap();
    let raw = Raw::open(&path).unwrap();
    assert!(!raw.complete && raw.lines.len() == 1);
    // The same, packed, and then cut again.
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packer, whole.as_bytes()).unwrap();
    let packed = packer.finish().unwrap();
    std::fs::write(&path, &packed).unwrap();
    assert_eq!(Raw::open(&path).unwrap().lines.len(), 2);
    std::fs::write(&path, &packed[..packed.len() - 12]).unwrap();
    assert!(!Raw::open(&path).unwrap().complete);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_is_no_run_is_refused_with_its_line() {
    let refused = |text: &str, line: Option<usize>, word: &str| {
        let (at, message) = Raw::parse(text.as_bytes(), false).unwrap_err();
        assert_eq!(at, line, "{message}");
        assert!(message.contains(word), "{message}");
    };
    refused("", None, "empty");
    refused(
        "not json\n",
        Some(1),
        "not JSON from character 2 on: expected a whole JSON line that tenfold-microbench wrote",
    );
    // Cut in the middle, with more behind it: no end of an interrupted run.
    refused(
        &text(&[&LAUNCH[..LAUNCH.len() - 9], END]),
        Some(2),
        "the line is cut off: expected a whole JSON line",
    );
    refused(&format!("{LAUNCH}\n"), Some(1), "the device first");
    refused(&text(&["{}", LAUNCH]), Some(2), "kind");
    refused(&text(&[&LAUNCH.replace("2.0", "-2.0")]), Some(2), "-2 us");
    refused(&text(&[END, LAUNCH]), Some(3), "after the end");
    refused(&text(&[text(&[]).trim()]), Some(2), "a second device");
    refused(&text(&[]).replace("\"format\":1", "\"format\":9"), Some(1), "format 9");
    refused(&text(&[&LAUNCH.replace("launch", "lunch\",\"more\":\"x")]), Some(2), "more");
}

#[test]
fn a_pass_is_the_sum_of_its_sequences() {
    let shape = PassShape { decode: vec![100, 7], prefill: vec![(50, 30)] };
    let pass = shape.pass();
    assert_eq!((pass.sequences, pass.new_tokens, pass.decode_context), (3, 32, 107));
    assert_eq!(pass.prefill_work, 30 * 130);
}
