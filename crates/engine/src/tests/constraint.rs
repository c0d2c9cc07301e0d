//! Outputs that were asked for in a form have it.

use std::ffi::OsStr;

use serde_json::json;

use super::schemas::{KEYWORDS, Schemas, fault};
use super::*;

fn constrained(constraint: Constraint, seed: u64) -> Request {
    Request {
        constraint: Some(constraint),
        ignore_eos: false,
        sampling: SamplingParams {
            temperature: 1.0,
            seed,
            ..SamplingParams::greedy()
        },
        ..request(&[65, 66, 67], 500)
    }
}

fn stop(events: &[Event]) -> StopReason {
    match events.last() {
        Some(Event::Done { stop, .. }) => *stop,
        other => panic!("{other:?}"),
    }
}

/// A thousand when asked for a long run, else fifty.
fn n_schemas() -> u64 {
    let long = std::env::var_os("HANOK_TEST_LONG").is_some_and(|value| value != OsStr::new(""));
    if long { 1000 } else { 50 }
}

#[test]
fn every_output_for_a_random_schema_is_valid() {
    let model = tiny_model();
    let room = model.context() - 10;
    let engine = Engine::start(model, EngineConfig::default());
    let mut schemas = Schemas::new(7);
    let mut running = std::collections::VecDeque::new();
    let mut all = String::new();
    for i in 0..n_schemas() {
        let schema = schemas.next(room);
        all += &schema.to_string();
        let request = constrained(Constraint::JsonSchema(schema.clone()), i);
        running.push_back((
            engine.submit(request).unwrap_or_else(|e| panic!("{e}: {schema}")),
            schema,
        ));
        if running.len() == 8 {
            check(running.pop_front().unwrap());
        }
    }
    running.into_iter().for_each(check);
    for keyword in KEYWORDS {
        assert!(all.contains(&format!("\"{keyword}\"")), "no schema had {keyword}");
    }
}

#[test]
fn choices_share_a_constraint_and_nothing_else() {
    let engine = Engine::start(tiny_model(), EngineConfig::default());
    let request = constrained(Constraint::Regex("[a-z]{3,12}".into()), 0);
    let seeds = [1, 2, 3, 1];
    let choices = engine.submit_choices(&request, &seeds).unwrap();
    let texts: Vec<String> = choices
        .into_iter()
        .map(|choice| text(&choice.collect::<Vec<_>>()))
        .collect();
    for (seed, said) in seeds.into_iter().zip(&texts) {
        let alone = constrained(Constraint::Regex("[a-z]{3,12}".into()), seed);
        let events: Vec<Event> = engine.submit(alone).unwrap().collect();
        assert_eq!(*said, text(&events), "seed {seed}");
    }
    assert_eq!(texts[0], texts[3]);
    assert_ne!(texts[0], texts[1]);
}

#[test]
fn choices_that_do_not_all_fit_the_queue_leave_no_trace() {
    let config = EngineConfig {
        n_queued_max: 6,
        ..EngineConfig::default()
    };
    let engine = Engine::start(tiny_model(), config);
    let refused = engine.submit_choices(&request(&[1, 2], 3), &[1, 2, 3, 4]);
    assert!(matches!(refused, Err(SubmitError::QueueFull { .. })));
    let refused = engine.submit_choices(&constrained(Constraint::Regex("(".into()), 0), &[1, 2]);
    assert!(matches!(refused, Err(SubmitError::Constraint(_))));
    assert_eq!(engine.stats().waiting, 0);
    assert_eq!(
        engine
            .submit_choices(&request(&[1, 2], 3), &[1, 2, 3])
            .unwrap()
            .len(),
        3
    );
}

fn check((generation, schema): (Generation, serde_json::Value)) {
    let events: Vec<Event> = generation.collect();
    let text = text(&events);
    assert_eq!(stop(&events), StopReason::EndOfSequence, "{text} for {schema}");
    let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text} for {schema}"));
    assert_eq!(fault(&schema, &value), None, "{text}");
}

#[test]
fn every_kind_of_constraint_ends_by_itself() {
    let engine = Engine::start(tiny_model(), EngineConfig::default());
    let run = |constraint, seed| {
        let events: Vec<Event> = engine.submit(constrained(constraint, seed)).unwrap().collect();
        assert_eq!(stop(&events), StopReason::EndOfSequence);
        text(&events)
    };
    for seed in 0..5 {
        let date = run(Constraint::Regex(r"(19|20)[0-9]{2}-[01][0-9]".into()), seed);
        assert!(
            date.len() == 7 && (date.starts_with("19") || date.starts_with("20")),
            "{date}"
        );
        let sum = run(
            Constraint::Grammar("start: N (\"+\" N)~1..3\nN: /[0-9]{1,3}/\n".into()),
            seed,
        );
        let terms: Vec<u32> = sum.split('+').map(|n| n.parse().unwrap()).collect();
        assert!((2..=4).contains(&terms.len()), "{sum}");
    }
}

#[test]
fn an_output_cut_off_says_so() {
    let engine = Engine::start(tiny_model(), EngineConfig::default());
    let request = Request {
        max_tokens: 3,
        ..constrained(Constraint::Regex("[a-z]{40}".into()), 1)
    };
    let events: Vec<Event> = engine.submit(request).unwrap().collect();
    assert_eq!(stop(&events), StopReason::Length);
    assert_eq!(ids(&events).len(), 3);
}

#[test]
fn a_constraint_that_cannot_be_used_is_refused_at_once_and_leaves_no_trace() {
    let engine = Engine::start(tiny_model(), EngineConfig::default());
    for constraint in [
        Constraint::Regex("(".into()),
        Constraint::Grammar("begin: \"a\"".into()),
        Constraint::JsonSchema(json!({"type": "strange"})),
    ] {
        let error = engine.submit(constrained(constraint, 0)).unwrap_err();
        assert!(matches!(error, SubmitError::Constraint(_)), "{error}");
    }
    assert_eq!(engine.stats().waiting, 0);
}
