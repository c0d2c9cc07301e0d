//! The engine with a tiny synthetic model: events, limits, turns, cancellation.

mod constraint;
mod follow;
mod lookup;
mod sampling;
mod schemas;

use std::time::{Duration, Instant};

use model::synth::{self, Spec};
use model::{LoadOptions, Session, greedy};

use super::*;

/// Longer than any step of the tiny model.
const PATIENCE: Duration = Duration::from_secs(30);

fn tiny_model() -> Arc<Model> {
    random_model("tiny-olmoe", 3)
}

fn random_model(shape: &str, seed: u64) -> Arc<Model> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    let options = synth::Options {
        dtype: synth::dtype_by_name("q8_0").unwrap(),
        seed,
    };
    let spec = Spec::by_name(shape).unwrap();
    let bytes = synth::synth(&spec, &options, Vec::new(), &mut |_| {}).unwrap();
    stdx::fs::write(&path, bytes).unwrap();
    Model::load(
        &path,
        &LoadOptions {
            threads: 1,
            ..LoadOptions::default()
        },
    )
    .unwrap()
}

fn request(prompt: &[u32], max_tokens: usize) -> Request {
    Request {
        prompt: prompt.to_vec(),
        max_tokens,
        sampling: SamplingParams::greedy(),
        stop: Vec::new(),
        ignore_eos: true,
        ..Request::default()
    }
}

/// A partition of the one caller.
fn of(partition: u128) -> Owner {
    Owner { caller: 0, partition }
}

fn ids(events: &[Event]) -> Vec<u32> {
    let id = |event: &Event| {
        if let Event::Token { id, .. } = event {
            Some(*id)
        } else {
            None
        }
    };
    events.iter().filter_map(id).collect()
}

fn text(events: &[Event]) -> String {
    let text = |event: &Event| {
        if let Event::Token { text, .. } = event {
            Some(text.clone())
        } else {
            None
        }
    };
    events.iter().filter_map(text).collect()
}

/// What the model says greedily, without an engine.
fn expected(model: &Arc<Model>, prompt: &[u32], n: usize) -> Vec<u32> {
    let mut session = Session::new(Arc::clone(model));
    let mut next = prompt.to_vec();
    let mut out = Vec::new();
    for _ in 0..n {
        let logits = session.forward(&next).unwrap();
        next = vec![greedy(&logits[..model.n_sampleable()])];
        out.push(next[0]);
    }
    out
}

/// Waits until the counters say what is awaited.
fn wait_for(engine: &Engine, awaited: impl Fn(EngineStats) -> bool) {
    let start = Instant::now();
    while !awaited(engine.stats()) {
        assert!(start.elapsed() < PATIENCE, "{:?}", engine.stats());
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn events_come_in_order_and_tokens_are_the_models_own() {
    let model = tiny_model();
    let engine = Engine::start(Arc::clone(&model), EngineConfig::default());
    let events: Vec<Event> = engine.submit(request(&[5, 9, 17], 12)).unwrap().collect();
    assert_eq!(
        events[0],
        Event::Prefilled {
            prompt_tokens: 3,
            cached_tokens: 0
        }
    );
    assert_eq!(ids(&events), expected(&model, &[5, 9, 17], 12));
    assert_eq!(
        events.last(),
        Some(&Event::Done {
            stop: StopReason::Length,
            completion_tokens: 12
        })
    );
    assert_eq!(events.len(), 14);
    let stats = engine.stats();
    assert_eq!(
        (
            stats.prompt_tokens_total,
            stats.generation_tokens_total,
            stats.finished_total
        ),
        (3, 12, 1)
    );
}

#[test]
fn sequences_together_say_what_they_would_say_alone() {
    let model = tiny_model();
    let config = EngineConfig {
        n_sequences_max: 3,
        prefill_chunk_tokens: 7,
        ..EngineConfig::default()
    };
    let engine = Engine::start(Arc::clone(&model), config);
    let prompts: Vec<Vec<u32>> = (1..8u32)
        .map(|i| (0..i * 5).map(|j| (i * 31 + j * 7) % 500).collect())
        .collect();
    let running: Vec<Generation> = prompts
        .iter()
        .map(|prompt| engine.submit(request(prompt, 9)).unwrap())
        .collect();
    for (generation, prompt) in running.into_iter().zip(&prompts) {
        let events: Vec<Event> = generation.collect();
        assert_eq!(ids(&events), expected(&model, prompt, 9));
    }
    wait_for(&engine, |stats| stats.running == 0);
}

#[test]
fn prompts_that_cannot_run_are_refused() {
    let model = tiny_model();
    let engine = Engine::start(Arc::clone(&model), EngineConfig::default());
    assert!(matches!(engine.submit(request(&[], 1)), Err(SubmitError::Empty)));
    let context = model.context();
    let long = vec![1; context];
    let error = engine.submit(request(&long, 1)).unwrap_err();
    assert!(matches!(error, SubmitError::TooLong { prompt_tokens, .. } if prompt_tokens == context));
}

#[test]
fn the_end_of_the_context_ends_a_generation() {
    let model = tiny_model();
    let engine = Engine::start(Arc::clone(&model), EngineConfig::default());
    let prompt = vec![3; model.context() - 4];
    let events: Vec<Event> = engine.submit(request(&prompt, 100)).unwrap().collect();
    assert_eq!(
        events.last(),
        Some(&Event::Done {
            stop: StopReason::Length,
            completion_tokens: 4
        })
    );
}

#[test]
fn no_tokens_asked_for_are_no_tokens() {
    let engine = Engine::start(tiny_model(), EngineConfig::default());
    let events: Vec<Event> = engine.submit(request(&[1, 2], 0)).unwrap().collect();
    let done = Event::Done {
        stop: StopReason::Length,
        completion_tokens: 0,
    };
    let prefilled = Event::Prefilled {
        prompt_tokens: 2,
        cached_tokens: 0,
    };
    assert_eq!(events, [prefilled, done]);
}

#[test]
fn a_stop_text_ends_the_output_before_itself() {
    let engine = Engine::start(tiny_model(), EngineConfig::default());
    let whole: Vec<Event> = engine.submit(request(&[5, 9, 17], 40)).unwrap().collect();
    let whole = text(&whole);
    let stop: String = whole.chars().skip(6).take(3).collect();
    assert_eq!(stop.chars().count(), 3, "the model says too little: {whole:?}");
    let stopping = Request {
        stop: vec![stop.clone()],
        ..request(&[5, 9, 17], 40)
    };
    let events: Vec<Event> = engine.submit(stopping).unwrap().collect();
    assert_eq!(text(&events), whole[..whole.find(&stop).unwrap()]);
    assert!(matches!(
        events.last(),
        Some(Event::Done {
            stop: StopReason::StopText,
            ..
        })
    ));
}

#[test]
fn an_end_token_ends_a_generation_unless_it_is_ignored() {
    let model = tiny_model();
    let engine = Engine::start(Arc::clone(&model), EngineConfig::default());
    // A hot sampler draws the end token sooner or later.
    let hot = |seed, ignore_eos| Request {
        sampling: SamplingParams {
            temperature: 5.0,
            seed,
            ..SamplingParams::greedy()
        },
        ignore_eos,
        ..request(&[1], 500)
    };
    let run = |request| engine.submit(request).unwrap().collect::<Vec<Event>>();
    let ended = |events: &Vec<Event>| {
        matches!(
            events.last(),
            Some(Event::Done {
                stop: StopReason::EndOfSequence,
                ..
            })
        )
    };
    let (seed, events) = (0..20)
        .map(|seed| (seed, run(hot(seed, false))))
        .find(|(_, events)| ended(events))
        .expect("ten thousand hot draws among 512 tokens meet the end token");
    let early = ids(&events);
    assert!(model.is_end_of_sequence(*early.last().unwrap()));
    let full = ids(&run(hot(seed, true)));
    assert_eq!(full.len(), 500);
    assert_eq!(full[..early.len()], early);
}

#[test]
fn a_dropped_generation_frees_its_place() {
    let config = EngineConfig {
        n_sequences_max: 1,
        ..EngineConfig::default()
    };
    let engine = Engine::start(tiny_model(), config);
    let mut endless = engine.submit(request(&[1], 400)).unwrap();
    assert!(matches!(endless.next(), Some(Event::Prefilled { .. })));
    let waiting = engine.submit(request(&[2], 400)).unwrap();
    drop(waiting);
    drop(endless);
    wait_for(&engine, |stats| {
        stats.cancelled_total == 2 && stats.running == 0 && stats.waiting == 0
    });
    assert_eq!(
        ids(&engine.submit(request(&[3], 2)).unwrap().collect::<Vec<_>>()).len(),
        2
    );
}

#[test]
fn a_full_queue_refuses_and_later_takes_again() {
    let config = EngineConfig {
        n_sequences_max: 1,
        n_queued_max: 4,
        ..EngineConfig::default()
    };
    let engine = Engine::start(tiny_model(), config);
    let running = engine.submit(request(&[1], 500)).unwrap();
    wait_for(&engine, |stats| stats.running == 1);
    let queued: Vec<Generation> = (0..2).map(|_| engine.submit(request(&[2], 1)).unwrap()).collect();
    let full = NoPlace { own: 2, taken: 2 };
    assert!(matches!(
        engine.submit(request(&[2], 1)),
        Err(SubmitError::QueueFull(refused)) if refused == full
    ));
    drop(running);
    for generation in queued {
        assert_eq!(ids(&generation.collect::<Vec<_>>()).len(), 1);
    }
    assert!(engine.submit(request(&[2], 1)).is_ok());
}

#[test]
fn who_floods_the_queue_under_many_names_keeps_nobody_out() {
    let config = EngineConfig {
        n_sequences_max: 1,
        n_queued_max: 16,
        ..EngineConfig::default()
    };
    let engine = Engine::start(tiny_model(), config);
    let by = |caller, partition| Request {
        owner: Owner { caller, partition },
        ..request(&[2], 1)
    };
    let running = engine.submit(request(&[1], 500)).unwrap();
    wait_for(&engine, |stats| stats.running == 1);
    let flood: Vec<Generation> = (0..100).map_while(|i| engine.submit(by(1, i)).ok()).collect();
    assert_eq!((flood.len(), engine.stats().waiting), (8, 8));
    // All choices of a request, or none.
    assert!(engine.submit_choices(&by(2, 0), &[1; 5]).is_err());
    assert_eq!(engine.stats().waiting, 8);
    let others = engine.submit_choices(&by(2, 0), &[1; 3]).unwrap();
    drop(running);
    for generation in others {
        assert_eq!(ids(&generation.collect::<Vec<_>>()).len(), 1);
    }
    drop(flood);
    wait_for(&engine, |stats| stats.waiting == 0);
}

#[test]
fn a_bad_request_fails_alone() {
    let model = tiny_model();
    let config = EngineConfig {
        n_sequences_max: 4,
        ..EngineConfig::default()
    };
    let engine = Engine::start(Arc::clone(&model), config);
    let good = engine.submit(request(&[4, 5], 50)).unwrap();
    let bad = engine.submit(request(&[4, 1_000_000], 5)).unwrap();
    let events: Vec<Event> = bad.collect();
    assert!(
        matches!(&events[..], [Event::Failed { reason }] if reason.contains("1000000")),
        "{events:?}"
    );
    assert_eq!(ids(&good.collect::<Vec<_>>()), expected(&model, &[4, 5], 50));
}

#[test]
fn the_last_handle_gone_the_accepted_generations_still_end() {
    let engine = Engine::start(tiny_model(), EngineConfig::default());
    let mut generation = engine.submit(request(&[8], 6)).unwrap();
    drop(engine);
    let mut n_tokens = 0;
    loop {
        match generation.next_timeout(PATIENCE) {
            Next::Event(Event::Token { .. }) => n_tokens += 1,
            Next::Event(_) => {}
            Next::Ended => break,
            Next::Waiting => panic!("the engine has stopped without a word"),
        }
    }
    assert_eq!(n_tokens, 6);
}

#[test]
fn nobody_waits_for_a_long_prompt() {
    let config = EngineConfig {
        n_sequences_max: 2,
        prefill_chunk_tokens: 4,
        ..EngineConfig::default()
    };
    let engine = Engine::start(tiny_model(), config);
    let mut long = engine.submit(request(&vec![6; 500], 1)).unwrap();
    let short: Vec<Event> = engine.submit(request(&[1], 5)).unwrap().collect();
    assert_eq!(ids(&short).len(), 5);
    // The short one is done while the long one is still being read.
    assert_eq!(long.next_timeout(Duration::ZERO), Next::Waiting);
}

/// Tokens of a prompt that were in memory.
fn cached(events: &[Event]) -> usize {
    let Some(Event::Prefilled { cached_tokens, .. }) = events.first() else {
        panic!("{events:?}");
    };
    *cached_tokens
}

#[test]
fn a_prompt_that_begins_alike_is_not_processed_again_and_says_the_same() {
    let model = tiny_model();
    // Wrong guesses are computed, too, which would blur the counts below.
    let config = EngineConfig {
        prompt_lookup: false,
        ..EngineConfig::default()
    };
    let engine = Engine::start(Arc::clone(&model), config);
    let beginning: Vec<u32> = (0..150u32).map(|i| i * 7 % 500).collect();
    let run = |end: &[u32], partition| {
        let prompt = [&beginning[..], end].concat();
        let request = Request {
            owner: of(partition),
            ..request(&prompt, 80)
        };
        let events: Vec<Event> = engine.submit(request).unwrap().collect();
        assert_eq!(ids(&events), expected(&model, &prompt, 80));
        cached(&events)
    };
    assert_eq!(run(&[1, 2], 0), 0);
    assert_eq!(run(&[3], 0), 128);
    assert_eq!(run(&[3], 1), 0, "another partition's blocks are not seen");
    assert_eq!(run(&[3], 1), 128);
    // The answer is in memory, too, so that a conversation goes on from there.
    let said = expected(&model, &[&beginning[..], &[3]].concat(), 80);
    assert_eq!(run(&[&[3], &said[..60]].concat(), 0), 192);
    let stats = engine.stats();
    assert_eq!(stats.cached_tokens_total, 128 + 128 + 192);
    assert_eq!(stats.prompt_tokens_total, 152 + 23 + 151 + 23 + 19);
    let computed: u64 = model.router_statistics().layer(0).iter().sum();
    // `expected` computes every prompt whole, the engine only what was not in memory.
    let whole = 152 + 151 * 4 + 211;
    assert_eq!(computed, 4 * (stats.prompt_tokens_total + whole + 11 * 79));
}

#[test]
fn a_prompt_in_memory_to_its_end_still_computes_its_last_token() {
    let model = tiny_model();
    let engine = Engine::start(Arc::clone(&model), EngineConfig::default());
    let prompt: Vec<u32> = (0..128u32).map(|i| i * 3 % 500).collect();
    for want in [0, 64, 64] {
        let events: Vec<Event> = engine.submit(request(&prompt, 5)).unwrap().collect();
        assert_eq!(
            (cached(&events), ids(&events)),
            (want, expected(&model, &prompt, 5))
        );
    }
}

#[test]
fn without_memory_for_it_nothing_is_kept() {
    let model = tiny_model();
    let config = EngineConfig {
        prefix_cache_bytes: Some(0),
        ..EngineConfig::default()
    };
    let engine = Engine::start(model, config);
    for _ in 0..2 {
        let events: Vec<Event> = engine.submit(request(&[9; 200], 1)).unwrap().collect();
        assert_eq!(cached(&events), 0);
    }
}

#[test]
fn a_long_prompt_comes_along_in_small_pieces_while_somebody_waits() {
    let model = tiny_model();
    // Every step seems to take much longer than the one before, so that pieces shrink or stay as small as at first.
    let n_calls = Arc::new(AtomicUsize::new(0));
    let calls = Arc::clone(&n_calls);
    let clock: Clock = Box::new(move || 4f64.powi(calls.fetch_add(1, Ordering::AcqRel) as i32));
    let config = EngineConfig {
        prompt_lookup: false,
        ..EngineConfig::default()
    };
    let engine = Engine::start_by(Arc::clone(&model), &config, clock);
    let long: Vec<u32> = (0..500u32).map(|i| i * 3 % 500).collect();
    let running =
        [(&[1u32, 2][..], 12), (&long, 1)].map(|(prompt, n)| engine.submit(request(prompt, n)).unwrap());
    for (generation, (prompt, n)) in running.into_iter().zip([(&[1u32, 2][..], 12), (&long, 1)]) {
        assert_eq!(ids(&generation.collect::<Vec<_>>()), expected(&model, prompt, n));
    }
    // In pieces of 128 it would be through before the other has its twelve tokens.
    let n_steps = n_calls.load(Ordering::Acquire) / 2;
    assert!(n_steps >= 14, "{n_steps} steps");
}

#[test]
fn a_prompt_is_found_on_the_disk_after_a_restart_by_its_own_partition() {
    let model = tiny_model();
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let config = EngineConfig {
            spill: Some(SpillConfig {
                folder: folder.path().to_owned(),
                bytes_max: 1 << 30,
            }),
            prompt_lookup: false,
            ..EngineConfig::default()
        };
        Engine::start(Arc::clone(&model), config)
    };
    let prompt: Vec<u32> = (0..200u32).map(|i| i * 7 % 500).collect();
    let run = |engine: &Engine, prompt: &[u32], partition| {
        let request = Request {
            owner: of(partition),
            ..request(prompt, 5)
        };
        let events: Vec<Event> = engine.submit(request).unwrap().collect();
        assert_eq!(ids(&events), expected(&model, prompt, 5));
        cached(&events)
    };
    let engine = start();
    assert_eq!(run(&engine, &prompt, 1), 0);
    drop(engine);
    // The thread writes what is left before it ends; the files are all there when a new engine has started.
    let n_files = || {
        let files = stdx::fs::read_dir(folder.path()).unwrap_or_default();
        let whole = files
            .iter()
            .filter(|file| file.extension().is_some_and(|e| e == "kv"));
        whole.count()
    };
    for _ in 0..5000 {
        if n_files() == 3 {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(n_files(), 3);
    let engine = start();
    assert_eq!(run(&engine, &prompt, 2), 0, "another partition's");
    assert_eq!(run(&engine, &[&prompt[..150], &[3; 20]].concat(), 1), 128);
    assert_eq!(run(&engine, &prompt, 1), 192);
    assert_eq!(engine.stats().cached_tokens_total, 320);
}

#[test]
fn a_small_cache_forgets_and_everybody_still_says_what_he_would_alone() {
    let model = tiny_model();
    let config = EngineConfig {
        n_sequences_max: 3,
        prefill_chunk_tokens: 50,
        prefix_cache_bytes: Some(model.new_cache().block_bytes() * 4),
        ..EngineConfig::default()
    };
    let engine = Engine::start(Arc::clone(&model), config);
    let prompts: Vec<Vec<u32>> = (0..12u32)
        .map(|i| {
            (0..90 + i * 13)
                .map(|j| {
                    if j < 70 {
                        j * (i % 3 + 1) % 500
                    } else {
                        (i * 31 + j) % 500
                    }
                })
                .collect()
        })
        .collect();
    let running: Vec<Generation> = prompts
        .iter()
        .enumerate()
        .map(|(i, prompt)| {
            let request = Request {
                owner: of(i as u128 % 2),
                ..request(prompt, 4)
            };
            engine.submit(request).unwrap()
        })
        .collect();
    for (generation, prompt) in running.into_iter().zip(&prompts) {
        assert_eq!(ids(&generation.collect::<Vec<_>>()), expected(&model, prompt, 4));
    }
}
