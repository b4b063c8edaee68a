use super::*;

#[derive(Debug, serde::Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<TimeDist>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens: Option<NumberDist>,
}

fn read(text: &str) -> Result<File, toml::de::Error> {
    toml::from_str(text)
}

const ALL: [&str; 15] = [
    r#"time = "2ms""#,
    "tokens = 512",
    "tokens = 0.5",
    r#"time = { constant = "2ms" }"#,
    r#"time = { uniform = { min = "2ms", max = "3ms" } }"#,
    r#"time = { exponential = { mean = "2ms", max = "10ms" } }"#,
    r#"time = { normal = { mean = "2ms", sd = "1ms" } }"#,
    r#"time = { lognormal = { p50 = "1ms", p99 = "5ms" } }"#,
    "tokens = { lognormal = { mean = 512, cv = 1.2, min = 4, max = 2048 } }",
    "tokens = { gamma = { mean = 3, cv = 0.5 } }\ntime = { erlang = { mean = \"2ms\", k = 3 } }",
    "tokens = { weibull = { shape = 0.7, scale = 3 } }",
    "tokens = { pareto = { shape = 1.5, scale = 3 } }",
    "tokens = { hyperexponential = { mean = 3, cv = 2.5 } }",
    "tokens = { empirical = { samples = [1, 2.5, 3] } }\ntime = { empirical = { quantiles = [[0, \"0s\"], [1, \"1s\"]] } }",
    r#"time = { mixture = [{ weight = 0.9, of = "1ms" }, { weight = 0.1, of = { exponential = { mean = "1s" } } }] }"#,
];

#[test]
fn every_law_is_read_and_the_canonical_form_round_trips() {
    for text in ALL {
        let file = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let canonical = toml::to_string(&file).unwrap();
        let again = read(&canonical).unwrap_or_else(|error| panic!("{canonical}: {error}"));
        assert_eq!((&again.time, &again.tokens), (&file.time, &file.tokens));
        assert_eq!(toml::to_string(&again).unwrap(), canonical);
        let json = serde_json::to_string(&file).unwrap();
        let again: File = serde_json::from_str(&json).unwrap();
        assert_eq!((again.time, again.tokens), (file.time, file.tokens));
    }
}

#[test]
fn a_law_of_twice_the_parameters_is_that_of_twice_the_values() {
    for text in ALL {
        let File { time, tokens } = read(text).unwrap();
        let twice = |value: Number| Number::new(2.0 * value.get()).unwrap();
        let slower = |value: Time| Time::new(value.get().saturating_add(value.get()));
        let pairs = [
            time.map(|law| (law.build().unwrap(), law.map(&slower).build().unwrap())),
            tokens.map(|law| (law.build().unwrap(), law.map(&twice).build().unwrap())),
        ];
        for (law, twice) in pairs.into_iter().flatten() {
            for u in [0.01, 0.3, 0.5, 0.9, 0.999] {
                let (once, double) = (law.quantile(u), twice.quantile(u));
                assert!((double - 2.0 * once).abs() <= 1e-9 * once, "{text} at {u}: {once} and {double}");
            }
        }
    }
}

#[test]
fn errors_point_at_the_place_and_say_what_is_accepted() {
    for (text, at, message) in [
        ("time = 2", "2", "no unit"),
        (r#"tokens = "many""#, r#""many""#, "a number from 0"),
        (r#"time = { exponential = { mean = "2 parsecs" } }"#, r#""2 parsecs""#, "unknown unit"),
        ("time = { exponential = { mean = 7 } }", "7", "such as \"250ms\""),
        (r#"time = { exponentail = { mean = "2s" } }"#, "exponentail", "`exponential`"),
        (r#"time = { exponential = { mean = "2s", sd = "1s" } }"#, "sd", "unknown field `sd`"),
        (r#"time = { gamma = { mean = "2s" } }"#, r#"{ mean = "2s" }"#, "missing field `cv`"),
        ("tokens = true", "true", "a number such as 512 or a distribution"),
        ("tokens = -4", "-4", "negative"),
        (r#"time = { exponential = { mean = "0s" } }"#, r#"{ exponential = { mean = "0s" } }"#, "above 0"),
        (
            r#"time = { uniform = { min = "2s", max = "1s" } }"#,
            r#"{ uniform = { min = "2s", max = "1s" } }"#,
            "`max` is 1",
        ),
        (
            "tokens = { lognormal = { mean = 3, p99 = 9 } }",
            "{ lognormal = { mean = 3, p99 = 9 } }",
            "either `mean` and",
        ),
        ("tokens = { gamma = { mean = 3, cv = nan } }", "{ gamma = { mean = 3, cv = nan } }", "cv is NaN"),
        ("tokens = { empirical = {} }", "{ empirical = {} }", "either `samples` or"),
        ("tokens = { mixture = [] }", "{ mixture = [] }", "at least"),
    ] {
        let error = read(text).unwrap_err();
        let span = error.span().unwrap_or_else(|| panic!("{text}: no span: {error}"));
        assert_eq!(&text[span], at, "{text}: {error}");
        assert!(error.message().contains(message), "{text}: {error}");
    }
    let two = r#"time = { constant = "2s", exponential = { mean = "2s" } }"#;
    assert!(read(two).unwrap_err().message().contains("one law only: `exponential`"));
    assert!(read("time = {}").is_err());
}

#[test]
fn distributions_are_built_as_asked_for() {
    let time = |text: &str| read(&format!("time = {text}")).unwrap().time.unwrap().build().unwrap();
    let tokens = |text: &str| read(&format!("tokens = {text}")).unwrap().tokens.unwrap().build().unwrap();
    for (dist, mean, cv) in [
        (time(r#""2ms""#), 0.002, 0.0),
        (tokens("{ constant = 512 }"), 512.0, 0.0),
        (time(r#"{ uniform = { min = "1s", max = "3s" } }"#), 2.0, 1.0 / 12f64.sqrt()),
        (time(r#"{ exponential = { mean = "2ms" } }"#), 0.002, 1.0),
        (time(r#"{ normal = { mean = "10s", sd = "1s" } }"#), 10.0, 0.1),
        (tokens("{ lognormal = { mean = 512, cv = 1.2 } }"), 512.0, 1.2),
        (tokens("{ gamma = { mean = 3, cv = 0.5 } }"), 3.0, 0.5),
        (time(r#"{ erlang = { mean = "2ms", k = 4 } }"#), 0.002, 0.5),
        (tokens("{ weibull = { shape = 1, scale = 3 } }"), 3.0, 1.0),
        // Mean a s / (a - 1), variance a s^2 / ((a - 1)^2 (a - 2)).
        (tokens("{ pareto = { shape = 3, scale = 2 } }"), 3.0, 1.0 / 3f64.sqrt()),
        (tokens("{ hyperexponential = { mean = 3, cv = 2.5 } }"), 3.0, 2.5),
        (tokens("{ empirical = { quantiles = [[0, 1], [1, 3]] } }"), 2.0, 0.5 / 3f64.sqrt()),
        (tokens("{ mixture = [{ weight = 1, of = 1 }, { weight = 3, of = 5 }] }"), 4.0, 0.75f64.sqrt() / 2.0),
    ] {
        let found = dist.variance().sqrt() / dist.mean();
        assert!((dist.mean() / mean - 1.0).abs() < 1e-9 && (found - cv).abs() < 1e-9, "{dist:?}");
    }
    let clipped = tokens("{ lognormal = { mean = 512, cv = 1.2, min = 4, max = 2048 } }");
    assert_eq!((clipped.quantile(0.0), clipped.quantile(1.0)), (4.0, 2048.0));
    let percentiles = time(r#"{ lognormal = { p50 = "1ms", p99 = "5ms" } }"#);
    assert!((percentiles.quantile(0.5) - 0.001).abs() < 1e-12);
    assert!((percentiles.quantile(0.99) - 0.005).abs() < 1e-12);
    assert_eq!(tokens("{ pareto = { shape = 0.5, scale = 2, max = 100 } }").quantile(1.0), 100.0);
    let samples = tokens("{ empirical = { samples = [4, 1, 2] } }");
    assert_eq!((samples.quantile(0.0), samples.quantile(1.0)), (1.0, 4.0));
}

#[test]
fn the_schema_offers_constants_and_laws() {
    let schema = serde_json::to_string(&schemars::schema_for!(TimeDist)).unwrap();
    for part in ["\"Time\"", "lognormal", "hyperexponential", "mixture", "(ns|us|ms|s|m|min|h|d)"] {
        assert!(schema.contains(part), "{part} in {schema}");
    }
}
