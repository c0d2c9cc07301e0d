//! The same for what a model's folder and a caller bring as text: tokenizers, chat templates, constraints.
//!
//! Not a target itself: `fuzz_targets/` wraps each function, and `crates/model/tests/fuzzed.rs` runs the same functions
//! on seeded mutations of valid texts.

use std::sync::{Arc, OnceLock};

use model::synth::{self, Spec};
use model::template::ChatTemplate;
use model::tokenizer::Tokenizer;
use model::{ChatMessage, Constraint, LoadOptions, Model};

/// Texts that meet an accepted tokenizer.
const TEXTS: [&str; 5] = [
    "",
    "abcab  a\r\n",
    "한국어 각하",
    "<|end|>\u{0}\u{10FFFF}",
    "e\u{301}\u{FFFD}🏠",
];
/// Steps of a walk through an accepted constraint.
const STEPS: usize = 24;

/// A `tokenizer.json`.
pub fn tokenizer_json(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(tokenizer) = Tokenizer::from_json(text) else {
        return;
    };
    for text in TEXTS {
        for ids in [
            tokenizer.encode(text),
            tokenizer.encode_plain(text),
            tokenizer.encode_prompt(text),
        ] {
            assert!(
                ids.iter().all(|id| (*id as usize) < tokenizer.vocab_size()),
                "an id beyond the vocabulary: {ids:?}"
            );
            tokenizer.decode(&ids, true);
            tokenizer.decode(&ids, false);
        }
    }
    tokenizer.decode(&[0, 1, u32::MAX], false);
}

/// A chat template in Jinja.
pub fn chat_template(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(template) = ChatTemplate::new(text) else {
        return;
    };
    let message = |role: &str, content: &str| ChatMessage {
        role: role.to_owned(),
        content: content.to_owned(),
    };
    let messages = [
        message("system", "가"),
        message("user", "{{ 1 }}<|end|>"),
        message("assistant", ""),
    ];
    for n in 0..=messages.len() {
        // Whatever it says, it says it in time and within its limits.
        let _ = template.render(&messages[..n], small_model().tokenizer());
    }
}

/// A constraint: the first byte says of which kind, the rest is its text.
pub fn constraint(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    let constraint = match kind % 3 {
        0 => Constraint::Regex(text.to_owned()),
        1 => Constraint::Grammar(text.to_owned()),
        _ => match serde_json::from_str(text) {
            Ok(schema) => Constraint::JsonSchema(schema),
            Err(_) => return,
        },
    };
    let model = small_model();
    let Ok(mut guide) = model.guide(&constraint) else {
        return;
    };
    for step in 0..STEPS {
        if guide.is_complete() {
            return;
        }
        let allowed: Vec<u32> = (0..model.n_sampleable() as u32)
            .filter(|id| guide.next().contains(*id))
            .collect();
        assert!(!allowed.is_empty(), "an open output that nothing may follow");
        if guide.accept(allowed[step * 7 % allowed.len()]).is_err() {
            return;
        }
    }
}

/// A model whose vocabulary has all bytes; made once.
fn small_model() -> &'static Arc<Model> {
    static MODEL: OnceLock<Arc<Model>> = OnceLock::new();
    MODEL.get_or_init(|| {
        let options = synth::Options {
            dtype: synth::dtype_by_name("q8_0").expect("a type of that name"),
            seed: 1,
        };
        let spec = Spec::by_name("tiny-llama").expect("a shape of that name");
        let bytes = synth::synth(&spec, &options, Vec::new(), &mut |_| {}).expect("a file in memory");
        let name = format!("hanok-fuzz-{}.gguf", std::process::id());
        let path = std::env::temp_dir().join(name);
        stdx::fs::write(&path, bytes).expect("room for a small file");
        let model = Model::load(&path, &LoadOptions::default()).expect("a model of our own making");
        stdx::fs::remove_file(&path).expect("our own file");
        model
    })
}
