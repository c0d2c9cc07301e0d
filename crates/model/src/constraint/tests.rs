//! What may follow where, and what is refused.

use stdx::rng::Rng;

use super::*;
use crate::synth::{self, Spec};
use crate::{LoadOptions, Model};

fn model() -> Arc<Model> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    let options = synth::Options {
        dtype: compute::DType::Q8_0.into(),
        seed: 1,
    };
    let spec = Spec::by_name("tiny-llama").unwrap();
    let bytes = synth::synth(&spec, &options, Vec::new(), &mut |_| {}).unwrap();
    stdx::fs::write(&path, bytes).unwrap();
    Model::load(&path, &LoadOptions::default()).unwrap()
}

/// The byte tokens of the synthetic vocabulary that may follow, as text; `$` for its end token.
fn allowed(guide: &Guide) -> String {
    let end = guide.next().contains(511);
    let bytes = (0..=255u8).filter(|byte| guide.next().contains(u32::from(*byte)));
    bytes.map(char::from).chain(end.then_some('$')).collect()
}

fn feed(guide: &mut Guide, text: &str) {
    for byte in text.bytes() {
        guide.accept(u32::from(byte)).unwrap();
    }
}

#[test]
fn the_end_may_follow_only_where_the_grammar_accepts() {
    let model = model();
    let mut guide = model.guide(&Constraint::Regex("a(b|cc)*d?".into())).unwrap();
    assert_eq!(allowed(&guide), "a");
    feed(&mut guide, "a");
    assert_eq!(allowed(&guide), "bcd$");
    feed(&mut guide, "c");
    assert_eq!(allowed(&guide), "c");
    feed(&mut guide, "cb");
    assert_eq!(allowed(&guide), "bcd$");
    assert!(!guide.is_complete());
    feed(&mut guide, "d");
    assert!(guide.is_complete());
    let mut ended = model.guide(&Constraint::Regex("a*".into())).unwrap();
    assert_eq!(allowed(&ended), "a$");
    ended.accept(511).unwrap();
    assert!(ended.is_complete());
}

#[test]
fn the_digits_of_a_number_come_to_an_end_and_those_of_a_text_do_not() {
    let schema = serde_json::json!({"type": "array", "items": {"type": ["number", "string"]}});
    let mut guide = model().guide(&Constraint::JsonSchema(schema)).unwrap();
    feed(&mut guide, "[40.");
    feed(&mut guide, &"0".repeat(19));
    assert!(allowed(&guide).contains('0'));
    feed(&mut guide, "0");
    let then = allowed(&guide);
    assert!(!then.contains(|c: char| c.is_ascii_digit()), "{then}");
    assert!(then.contains(',') && then.contains(']'), "{then}");
    feed(&mut guide, ",\"");
    feed(&mut guide, &"0".repeat(30));
    assert!(allowed(&guide).contains('0'));
}

#[test]
fn numbers_stay_off_an_exclusive_bound_that_is_whole() {
    for (low, high, inside, outside) in [(0.0, 0.5, "0.25", "0"), (-12.5, -12.0, "-12.25", "-12")] {
        let schema = serde_json::json!({"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": high});
        let guide = || model().guide(&Constraint::JsonSchema(schema.clone())).unwrap();
        let mut good = guide();
        feed(&mut good, inside);
        assert!(allowed(&good).contains('$'), "{inside}");
        let mut bad = guide();
        feed(&mut bad, outside);
        assert!(!allowed(&bad).contains('$'), "{outside}");
    }
}

#[test]
fn a_token_that_is_not_allowed_is_an_error_and_not_a_panic() {
    let mut guide = model().guide(&Constraint::Regex("ab".into())).unwrap();
    assert!(matches!(
        guide.accept(u32::from(b'x')),
        Err(ConstraintError::Step { .. })
    ));
    assert!(guide.accept(u32::from(b'a')).is_err(), "it stays broken");
    let mut outside = model().guide(&Constraint::Regex("ab".into())).unwrap();
    assert!(outside.accept(1_000_000).is_err());
}

#[test]
fn only_whole_characters_and_no_special_tokens_come() {
    let mut guide = model().guide(&Constraint::Regex("(?s:.){3}".into())).unwrap();
    assert!(!guide.next().contains(511));
    assert!(!guide.next().contains(0xFF) && !guide.next().contains(0x80));
    feed(&mut guide, "한");
    assert!(guide.next().contains(u32::from(b'x')) && !guide.next().contains(511));
    guide.accept(0xED).unwrap();
    assert!(!guide.next().contains(u32::from(b'x')), "half a character");
}

#[test]
fn white_space_in_json_has_an_end() {
    let mut guide = model().guide(&Constraint::JsonObject).unwrap();
    feed(&mut guide, "{");
    feed(&mut guide, &" ".repeat(20));
    assert_eq!(allowed(&guide), "\"}");
}

fn refusal(constraint: &Constraint) -> String {
    model().guide(constraint).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn what_is_refused_is_refused_with_the_compilers_words() {
    let schema = |schema| Constraint::JsonSchema(schema);
    let cases = [
        (Constraint::Regex("a(b".into()), "unclosed group"),
        (Constraint::Regex("a(?=b)".into()), "look-around"),
        (Constraint::Grammar("begin: \"a\"".into()), "start"),
        (Constraint::Grammar("start: missing".into()), "missing"),
        (Constraint::Grammar(String::new()), ""),
        (schema(json!({"type": "strange"})), "strange"),
        (
            schema(json!({"type": "array", "uniqueItems": true})),
            "uniqueItems",
        ),
        (
            schema(json!({"$ref": "https://example.org/schema"})),
            "example.org",
        ),
        (schema(json!(5)), "a schema is a JSON object"),
        (schema(json!({"enum": []})), ""),
        (
            schema(json!({"type": "string", "minLength": 5, "maxLength": 4})),
            "",
        ),
    ];
    for (constraint, words) in cases {
        let message = refusal(&constraint);
        assert!(message.contains("is not accepted: "), "{constraint:?}: {message}");
        assert!(message.contains(words), "{constraint:?}: {message}");
        assert!(message.chars().count() < 500, "{message}");
    }
}

#[test]
fn hostile_constraints_end_in_a_word() {
    let model = model();
    let n = 2000;
    let chain = |n: usize, body: &dyn Fn(usize) -> String| {
        let rules: String = (0..n).map(|i| format!("{}\n", body(i))).collect();
        Constraint::Grammar(format!("start: R0\n{rules}R{n}: \"z\"\n"))
    };
    let mut deep = json!({"type": "null"});
    for _ in 0..100 {
        deep = json!({"type": "array", "items": deep, "maxItems": 2});
    }
    let schema = Constraint::JsonSchema;
    let hostile = [
        Constraint::Regex(format!("{}a{}", "(".repeat(n), ")".repeat(n))),
        Constraint::Regex(format!("{}a{}", "(".repeat(200), ")*".repeat(200))),
        Constraint::Regex("(a{1000}){1000}".into()),
        Constraint::Regex("((a{1,500}){1,500}){1,500}b".into()),
        Constraint::Regex("(.*a.{200}b.*)".repeat(50)),
        Constraint::Regex("a?".repeat(2000)),
        Constraint::Grammar(format!("start: {}\"a\"{}", "(".repeat(n), ")".repeat(n))),
        Constraint::Grammar("start: start start | \"a\" | \"\"".into()),
        Constraint::Grammar("start: a\na: b\nb: a".into()),
        Constraint::Grammar("start: A\nA: B\nB: A".into()),
        Constraint::Grammar("start: A & B\nA: /(?s:.*)a(?s:.){300}/\nB: /(?s:.*)b(?s:.){299}/".into()),
        Constraint::Grammar("start: A\nA: ~/(?s:.*)a(?s:.){40}b(?s:.*)/".into()),
        Constraint::Grammar(format!("start: {}", "\"a\"? ".repeat(3000))),
        chain(500, &|i| format!("R{i}: (\"a\" R{})*", i + 1)),
        chain(500, &|i| format!("R{i}: \"a\" R{} | \"b\"", i + 1)),
        schema(deep),
        schema(json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}})),
        schema(json!({"type": "integer", "multipleOf": 9_973})),
        schema(json!({"type": "integer", "multipleOf": 9_999_991})),
        schema(json!({"type": "number", "minimum": -1e308, "maximum": 1e308})),
        schema(json!({"type": "number", "minimum": 1e-300, "maximum": 2e-300})),
        schema(json!({"type": "string", "maxLength": 1_000_000_000})),
        schema(json!({"type": "string", "pattern": "a?".repeat(2000)})),
        schema(json!({"x-guidance": 5})),
        schema(json!({"type": "array", "minItems": 1_000_000_000})),
    ];
    for constraint in &hostile {
        // Whatever is accepted goes on for a few tokens within its limits, or says that it cannot.
        if let Ok(mut guide) = model.guide(constraint) {
            for _ in 0..30 {
                let Some(id) = guide.next().first().filter(|_| !guide.is_complete()) else {
                    break;
                };
                if guide.accept(id).is_err() {
                    break;
                }
            }
        }
    }
}

/// A random walk through a guide, as text.
fn walk(guide: &mut Guide, tokenizer: &Tokenizer, rng: &mut Rng) -> String {
    let mut bytes = Vec::new();
    for _ in 0..2000 {
        if guide.is_complete() {
            break;
        }
        let ids: Vec<u32> = (0..tokenizer.vocab_size() as u32)
            .filter(|id| guide.next().contains(*id))
            .collect();
        let id = ids[rng.next_u64() as usize % ids.len()];
        if !tokenizer.end_ids().contains(&id) {
            bytes.extend_from_slice(tokenizer.token_bytes(id));
        }
        guide.accept(id).unwrap();
    }
    assert!(guide.is_complete());
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_large_vocabulary_of_many_bytes_a_token_is_masked_alike() {
    let Some(path) = testkit::need_data("fixtures/olmoe-tokenizer/tokenizer.json") else {
        return;
    };
    let tokenizer = Tokenizer::from_json_file(path).unwrap();
    let ends = tokenizer.end_ids().to_vec();
    let compiler = Compiler::new(&tokenizer, tokenizer.vocab_size(), &ends).unwrap();
    let schema = json!({
        "type": "object", "required": ["name", "sizes"], "additionalProperties": false,
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "sizes": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 500}, "maxItems": 4},
            "open": {"type": "boolean"},
        },
    });
    let mut rng = Rng::new(3);
    for _ in 0..10 {
        let mut guide = compiler.guide(&Constraint::JsonSchema(schema.clone())).unwrap();
        let text = walk(&mut guide, &tokenizer, &mut rng);
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(value["name"].as_str().unwrap().chars().count() <= 12, "{text}");
        let sizes = value["sizes"].as_array().unwrap();
        assert!(
            sizes.len() <= 4 && sizes.iter().all(|n| n.as_u64().unwrap() <= 500),
            "{text}"
        );
        let mut regex = compiler
            .guide(&Constraint::Regex("(yes|no|maybe)!?".into()))
            .unwrap();
        let word = walk(&mut regex, &tokenizer, &mut rng);
        assert!(
            ["yes", "no", "maybe"].contains(&word.trim_end_matches('!')),
            "{word}"
        );
    }
}
