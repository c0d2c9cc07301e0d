//! What a generation says depends on its request alone; what it tells about likelihood is the model's own.

use super::*;

fn sampled(prompt: &[u32], seed: u64) -> Request {
    Request {
        sampling: SamplingParams {
            temperature: 1.2,
            top_p: 0.95,
            repetition_penalty: 1.1,
            presence_penalty: 0.3,
            frequency_penalty: 0.2,
            logit_bias: vec![(40, 1.0), (41, -100.0)],
            seed,
            ..SamplingParams::greedy()
        },
        ..request(prompt, 40)
    }
}

#[test]
fn the_same_seed_says_the_same_whatever_runs_beside_it() {
    let model = tiny_model();
    let alone = Engine::start(
        Arc::clone(&model),
        EngineConfig {
            n_sequences_max: 1,
            prompt_lookup: false,
            ..EngineConfig::default()
        },
    );
    let said = |engine: &Engine, seed| {
        let prompt = [seed as u32 + 1, 7, 9];
        engine.submit(sampled(&prompt, seed)).unwrap()
    };
    let expected: Vec<Vec<Event>> = (0..6).map(|seed| said(&alone, seed).collect()).collect();
    assert_ne!(ids(&expected[0]), ids(&expected[1]));
    let config = EngineConfig {
        n_sequences_max: 5,
        prefill_chunk_tokens: 2,
        ..EngineConfig::default()
    };
    let together = Engine::start(model, config);
    let others: Vec<Generation> = (0..3)
        .map(|i| together.submit(sampled(&[i; 60], 99)).unwrap())
        .collect();
    let running: Vec<Generation> = (0..6).map(|seed| said(&together, seed)).collect();
    for (generation, expected) in running.into_iter().zip(expected) {
        assert_eq!(generation.collect::<Vec<Event>>(), expected);
    }
    drop(others);
}

#[test]
fn a_bias_makes_a_token_certain_or_impossible() {
    let engine = Engine::start(tiny_model(), EngineConfig::default());
    let biased = |id: u32, bias: f32| {
        let mut request = request(&[5, 9, 17], 6);
        request.sampling.logit_bias = vec![(id, bias)];
        ids(&engine.submit(request).unwrap().collect::<Vec<_>>())
    };
    assert_eq!(biased(77, 100.0), [77; 6]);
    let first = ids(&engine
        .submit(request(&[5, 9, 17], 6))
        .unwrap()
        .collect::<Vec<_>>())[0];
    assert!(!biased(first, -100.0).contains(&first));
}

#[test]
fn logprobs_are_the_raw_models_own_whatever_the_sampling() {
    let model = tiny_model();
    let engine = Engine::start(Arc::clone(&model), EngineConfig::default());
    let asked = Request {
        n_top_logprobs: Some(3),
        ..sampled(&[5, 9, 17], 4)
    };
    let events: Vec<Event> = engine.submit(asked).unwrap().collect();
    let mut session = Session::new(Arc::clone(&model));
    let mut next = vec![5, 9, 17];
    let mut n_seen = 0;
    for event in &events {
        let Event::Token { id, logprobs, .. } = event else {
            continue;
        };
        let logits = session.forward(&next).unwrap();
        let expected = Logprobs::of(&logits[..model.n_sampleable()], *id, 3);
        let found = logprobs.as_deref().unwrap();
        assert_eq!(found, &expected);
        assert_eq!((found.chosen.id, found.top.len()), (*id, 3));
        next = vec![*id];
        n_seen += 1;
    }
    assert_eq!(n_seen, 40);
    let silent: Vec<Event> = engine.submit(sampled(&[5, 9, 17], 4)).unwrap().collect();
    assert_eq!(ids(&silent), ids(&events));
    assert!(silent.iter().all(|event| !matches!(
        event,
        Event::Token {
            logprobs: Some(_),
            ..
        }
    )));
}

#[test]
fn router_statistics_count_every_choice_of_every_routed_layer() {
    let engine = Engine::start(tiny_model(), EngineConfig::default());
    engine.submit(request(&[5, 9, 17], 1)).unwrap().for_each(drop);
    let router = engine.router_statistics();
    assert_eq!(
        (router.n_experts, router.n_experts_used, router.layers.len()),
        (16, 4, 3)
    );
    for layer in &router.layers {
        assert_eq!(layer.counts.iter().sum::<u64>(), 3 * 4);
        assert!(layer.used_share() > 0.0 && layer.entropy_bits() > 0.0);
    }
    let dense = Engine::start(random_model("tiny-llama", 1), EngineConfig::default());
    assert_eq!(dense.router_statistics(), RouterStatistics::default());
}
