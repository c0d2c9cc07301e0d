//! Guessing ahead changes the number of steps and nothing else.

use proptest::prelude::*;

use super::*;

/// A clock by which every step takes as long as any other, so that guessing pays as soon as one guess in thirty
/// is right.
fn even_clock() -> Clock {
    let mut s = 0.0;
    Box::new(move || {
        s += 1.0;
        s
    })
}

fn guessing(model: &Arc<Model>, n_sequences_max: usize) -> Engine {
    let config = EngineConfig {
        n_sequences_max,
        prefill_chunk_tokens: 16,
        ..EngineConfig::default()
    };
    Engine::start_by(Arc::clone(model), &config, even_clock())
}

fn plain(model: &Arc<Model>) -> Engine {
    let config = EngineConfig {
        prompt_lookup: false,
        ..EngineConfig::default()
    };
    Engine::start(Arc::clone(model), config)
}

/// A prompt that says everything twice, and a bit of it once more.
fn quoting(seed: u32, n: u32) -> Vec<u32> {
    let text: Vec<u32> = (0..n).map(|i| (seed * 31 + i * i * 7 + i) % 500).collect();
    let start = &text[..text.len() / 2];
    [&text[..], &text[..], start].concat()
}

#[test]
fn right_guesses_save_steps() {
    let model = tiny_model();
    let engine = guessing(&model, 1);
    let events: Vec<Event> = engine.submit(request(&quoting(3, 12), 300)).unwrap().collect();
    assert_eq!(ids(&events), expected(&model, &quoting(3, 12), 300));
    let stats = engine.stats();
    // Random weights fall into loops: most tokens are guessed.
    assert!(stats.guessed_right_total > 100, "{stats:?}");
    assert!(stats.guessed_right_total <= stats.guessed_total);
    assert_eq!(stats.generation_tokens_total, 300);
    let stats = plain(&model).stats();
    assert_eq!((stats.guessed_total, stats.guessed_right_total), (0, 0));
}

#[test]
fn limits_hold_while_guessing() {
    let model = tiny_model();
    let engine = guessing(&model, 1);
    // The whole context, to its last token.
    let prompt = quoting(5, 40);
    let n = model.context() - prompt.len();
    let events: Vec<Event> = engine.submit(request(&prompt, 1000)).unwrap().collect();
    assert_eq!(ids(&events), expected(&model, &prompt, n));
    let whole = text(&events);
    let stop: String = whole.chars().skip(whole.chars().count() / 2).take(4).collect();
    let stopping = Request {
        stop: vec![stop.clone()],
        ..request(&prompt, 1000)
    };
    let events: Vec<Event> = engine.submit(stopping).unwrap().collect();
    assert_eq!(text(&events), whole[..whole.find(&stop).unwrap()]);
}

#[test]
fn a_constrained_output_is_the_same_with_guesses() {
    let model = tiny_model();
    let constraint = Constraint::Regex("(ab|ba|[0-9]{2},){20,60}".to_owned());
    let constrained = |seed| Request {
        constraint: Some(constraint.clone()),
        sampling: SamplingParams {
            temperature: 0.2,
            seed,
            ..SamplingParams::greedy()
        },
        ..request(&[97, 98, 98, 97, 97, 98], 150)
    };
    let (with, without) = (guessing(&model, 2), plain(&model));
    for seed in 0..4 {
        let expected: Vec<Event> = without.submit(constrained(seed)).unwrap().collect();
        assert_eq!(
            with.submit(constrained(seed)).unwrap().collect::<Vec<_>>(),
            expected
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn outputs_together_with_guesses_are_outputs_alone_without(
        shape in prop::sample::select(vec!["tiny-olmoe", "tiny-llama", "tiny-qwen3moe", "tiny-olmo2"]),
        weights in 0u64..1000,
        texts in prop::collection::vec((0u32..100, 2u32..30), 1..5),
        temperature in prop::sample::select(vec![0.0f32, 0.0, 0.3, 1.0]),
    ) {
        let model = random_model(shape, weights);
        let asked = |&(seed, n): &(u32, u32)| Request {
            sampling: SamplingParams { temperature, seed: u64::from(seed), ..SamplingParams::greedy() },
            ..request(&quoting(seed, n), 60)
        };
        let (with, without) = (guessing(&model, 3), plain(&model));
        let running: Vec<Generation> = texts.iter().map(|t| with.submit(asked(t)).unwrap()).collect();
        for (generation, text) in running.into_iter().zip(&texts) {
            let found: Vec<Event> = generation.collect();
            let expected: Vec<Event> = without.submit(asked(text)).unwrap().collect();
            prop_assert_eq!(found, expected);
        }
    }
}
