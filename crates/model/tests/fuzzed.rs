//! The fuzz targets' bodies on seeded mutations of valid texts: the same inputs on every machine.
//!
//! Coverage-guided fuzzing lives in `fuzz/`; this is its floor, run with every test.

#[expect(
    unreachable_pub,
    reason = "public for the fuzz targets, which are crates of their own"
)]
#[path = "../../../fuzz/src/text.rs"]
mod bodies;

use stdx::rng::Rng;

/// Pieces that the parsers treat in ways of their own.
const PIECES: [&str; 20] = [
    "{", "}", "[", "(", ")", "*", "|", "{1,99}", "\"", "\\", "{%", "%}", "{{", "null", "-1", "1e999",
    "\u{0}", "가", "$ref", ".*",
];

/// Copies, cuts, swaps and inserts at a few places; the result is text.
fn mutate(rng: &mut Rng, text: &str) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=rng.below(4) {
        let at = rng.below(chars.len() as u64 + 1) as usize;
        let end = (at + rng.below(24) as usize).min(chars.len());
        match rng.below(5) {
            0 => drop(chars.drain(at..end)),
            1 => {
                let copy = chars[at..end].to_vec();
                let to = rng.below(chars.len() as u64 + 1) as usize;
                chars.splice(to..to, copy);
            }
            2 => chars[at..end].reverse(),
            3 => chars.truncate(at.max(1)),
            _ => drop(chars.splice(at..at, PIECES[rng.below(20) as usize].chars())),
        }
    }
    chars.into_iter().collect()
}

fn run(seed: u64, rounds: u64, valid: &str, body: impl Fn(&[u8])) {
    body(valid.as_bytes());
    let mut rng = Rng::new(seed);
    for _ in 0..rounds {
        body(mutate(&mut rng, valid).as_bytes());
    }
}

/// The character that stands for a byte in byte-level vocabularies (GPT-2's table).
fn char_of_byte(byte: u8) -> char {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if is_printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !is_printable(*byte)).count() as u32;
    char::from_u32(256 + before).expect("a character below the surrogates")
}

#[test]
fn mutated_tokenizers_never_panic() {
    let vocab: serde_json::Map<_, _> = (0..=255u8)
        .map(|byte| (char_of_byte(byte).to_string(), serde_json::json!(byte)))
        .chain([
            ("ab".to_owned(), serde_json::json!(256)),
            ("abc".to_owned(), serde_json::json!(257)),
        ])
        .collect();
    let json = serde_json::json!({
        "added_tokens": [
            {"id": 258, "content": "<|end|>", "special": true, "normalized": false,
             "single_word": false, "lstrip": false, "rstrip": false},
        ],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": [["a", "b"], "ab c"]},
    });
    let json = json.to_string();
    assert!(model::tokenizer::Tokenizer::from_json(&json).is_ok());
    run(1, 3000, &json, bodies::tokenizer_json);
}

#[test]
fn mutated_chat_templates_never_panic() {
    let template = "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '<|user|>\\n' + \
        message['content'] | trim }}{% elif loop.last %}{{ raise_exception('no') }}{% else %}{% set x = message.content[1:] \
        %}{{ x | upper }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}\
        {% macro twice(a) %}{{ a * 2 }}{% endmacro %}{{ twice('ab') }}{{ range(3) | join(',') }}";
    run(2, 4000, template, bodies::chat_template);
}

#[test]
fn mutated_constraints_never_panic() {
    let of_kind = |kind: u8| {
        move |text: &[u8]| {
            let bytes: Vec<u8> = std::iter::once(kind).chain(text.iter().copied()).collect();
            bodies::constraint(&bytes);
        }
    };
    run(
        3,
        400,
        "(19|20)[0-9]{2}-(0[1-9]|1[0-2])( [^a-c]+|가.*)?",
        of_kind(0),
    );
    let grammar = "start: item (\",\" item)*\nitem: NAME \"=\" value | \"(\" start \")\"\nvalue: /[0-9]+/ | \"x\"{1,3}\n\
        NAME: /[a-z]+/\n%ignore / /\n";
    run(4, 400, grammar, of_kind(1));
    let schema = serde_json::json!({
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {
            "a": {"type": "array", "items": {"type": "integer", "minimum": -5, "multipleOf": 3}, "maxItems": 4},
            "b": {"anyOf": [{"type": "string", "pattern": "^x+$"}, {"enum": [1, null, "가"]}]},
            "c": {"$ref": "#/$defs/d"},
        },
        "$defs": {"d": {"type": "string", "format": "date", "maxLength": 20}},
    });
    run(5, 400, &schema.to_string(), of_kind(2));
}

#[test]
fn what_is_kept_of_fuzzing_never_panics() {
    let go_through = |target: &str, body: fn(&[u8])| {
        testkit::kept_corpus(target).iter().for_each(|input| body(input));
    };
    go_through("tokenizer_json", bodies::tokenizer_json);
    go_through("chat_template", bodies::chat_template);
    go_through("constraint", bodies::constraint);
}
