//! How sequences end, or never begin.

use super::*;

#[test]
fn an_abort_between_steps_frees_at_once() {
    let mut engine = engine(4, 16, |_| {});
    let first = engine.submit(&request(1, 7, 3)).unwrap();
    let second = engine.submit(&request(2, 7, 3)).unwrap();
    let third = engine.submit(&request(3, 7, 3)).unwrap();
    step(&mut engine);
    assert!(engine.abort(third) && !engine.abort(third));
    assert!(engine.abort(first) && !engine.abort(first));
    engine.check();
    let state = engine.observe();
    assert_eq!((state.running, state.waiting, state.used_blocks, state.total_blocks), (1, 0, 2, 4));
    let reused = engine.submit(&request(4, 7, 3)).unwrap();
    assert!(!engine.abort(first) && !engine.abort(third) && reused != first && reused != third);
    assert_eq!(step(&mut engine), row([2, 8, 8, 49], [2, 0, 4, 0], &[2, 4], &[]));
    assert!(engine.abort(second) && engine.abort(reused));
    expect_idle(&mut engine);
}

#[test]
fn an_abort_in_mid_step_silences_at_once_and_frees_at_the_end() {
    let mut engine = engine(4, 16, |_| {});
    let first = engine.submit(&request(1, 7, 1)).unwrap();
    engine.submit(&request(2, 7, 3)).unwrap();
    engine.begin_step().unwrap();
    assert!(engine.abort(first) && !engine.abort(first));
    let third = engine.submit(&request(3, 7, 3)).unwrap();
    assert!(engine.abort(third), "who waits is not in the step");
    let state = engine.observe();
    assert_eq!((state.running, state.waiting, state.used_blocks, state.stepping), (2, 0, 4, true));
    let output = finish(&mut engine);
    let keys: Vec<u64> = output.emissions.iter().map(|emission| emission.key).collect();
    assert_eq!((keys, output.finished), (vec![2], vec![]));
    assert_eq!((engine.observe().running, engine.observe().used_blocks), (1, 2));
}

#[test]
fn a_crash_ends_everything_and_empties_the_cache() {
    let mut engine = engine(8, 16, |config| {
        config.enable_prefix_caching = true;
        config.max_num_seqs = 2;
    });
    engine.submit(&shared(1, 8, 7, 8)).unwrap();
    step(&mut engine);
    let mut ids = vec![];
    for key in [5, 4, 3] {
        ids.push(engine.submit(&request(key, 7, 3)).unwrap());
    }
    engine.begin_step().unwrap();
    assert!(engine.abort(ids[1]));
    assert_eq!(engine.crash(), [5, 3]);
    engine.check();
    assert!(ids.iter().all(|id| !engine.abort(*id)));
    expect_idle(&mut engine);
    engine.submit(&shared(1, 9, 7, 8)).unwrap();
    assert_eq!(engine.begin_step().unwrap().prefix_hit_tokens, 0);
}

#[test]
fn what_can_never_be_served_is_rejected() {
    let mut engine = engine(4, 16, |config| config.max_model_len = Some(10));
    let zero = |parameter| Err(Rejection::Zero { parameter });
    assert_eq!(engine.submit(&request(1, 0, 1)), zero("prompt_tokens"));
    assert_eq!(engine.submit(&request(1, 1, 0)), zero("output_tokens"));
    let long = engine.submit(&request(1, 8, 3));
    assert_eq!(long, Err(Rejection::ExceedsModel { tokens: 11, max_model_len: 10 }));
    assert_eq!(
        long.unwrap_err().to_string(),
        "prompt_tokens + output_tokens is 11: expected at most max_model_len, 10 tokens"
    );
    let longest = engine.submit(&request(1, u32::MAX, u32::MAX));
    assert_eq!(longest, Err(Rejection::ExceedsModel { tokens: 2 * u64::from(u32::MAX), max_model_len: 10 }));
    assert!(engine.submit(&request(1, 8, 2)).is_ok());
}

#[test]
fn settings_are_checked() {
    let error = |change: fn(&mut EngineConfig)| {
        let mut config = EngineConfig::new(100);
        change(&mut config);
        Engine::new(config, None).map(|_| ()).unwrap_err().to_string()
    };
    assert!(Engine::new(EngineConfig::new(2), None).is_ok());
    assert_eq!(error(|c| c.block_size = 0), "block_size is 0: expected at least 1");
    assert_eq!(error(|c| c.max_model_len = Some(0)), "max_model_len is 0: expected at least 1");
    assert!(error(|c| c.num_blocks = 1).starts_with("num_blocks is 1: expected at least 2"));
    assert_eq!(
        error(|c| c.max_num_seqs = 4096),
        "max_num_batched_tokens is 2048: expected at least max_num_seqs, 4096"
    );
    assert!(error(|c| c.max_num_batched_tokens = u32::MAX).contains("expected at most 1073741824"));
    assert!(error(|c| c.num_blocks = u32::MAX).contains("a KV cache of 68719476704 tokens"));
}
