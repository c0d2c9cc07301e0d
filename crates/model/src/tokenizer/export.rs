//! A `tokenizer.json` as the lists that GGUF files carry, and the name of its splitting.
//!
//! The name is found by comparing the pre-tokenizer with those that the names stand for, not by asking who made the
//! model. Not here: which ids are special (other files of the folder say that).

use serde_json::Value;
use tokenizers::PreTokenizerWrapper;

use super::{Kind, Parts, Tokenizer, TokenizerError, json, pre};

/// The numbers of `tokenizer.ggml.token_type`.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// What GGUF says about a tokenizer.
pub(crate) struct Export {
    /// Text of each token; ids are positions.
    pub(crate) tokens: Vec<String>,
    /// `tokenizer.ggml.token_type` of each token.
    pub(crate) types: Vec<i32>,
    /// Pairs with a space between.
    pub(crate) merges: Vec<String>,
    /// `tokenizer.ggml.pre`.
    pub(crate) pre: &'static str,
    /// The tokenizer itself, to compare with.
    pub(crate) tokenizer: Tokenizer,
}

impl Export {
    /// Reads the text of a `tokenizer.json`.
    pub(crate) fn read(text: &str) -> Result<Self, TokenizerError> {
        let parts = json::parts(text)?;
        let pre = name(&parts)?;
        let mut types: Vec<i32> = parts
            .kinds
            .iter()
            .map(|kind| match kind {
                Kind::Text => NORMAL,
                Kind::Special => CONTROL,
                Kind::Unused => UNUSED,
            })
            .collect();
        for (id, token) in parts.added.iter().filter(|(_, token)| !token.special) {
            if let Some(ty) = types.get_mut(*id as usize).filter(|_| !token.content.is_empty()) {
                *ty = USER_DEFINED;
            }
        }
        let merges = parts
            .merges
            .iter()
            .map(|(left, right)| format!("{left} {right}"))
            .collect();
        let mut export = Self {
            tokens: parts.tokens.clone(),
            types,
            merges,
            pre,
            tokenizer: Tokenizer::build(parts)?,
        };
        let n_tokens = export.tokens.len();
        export.pad(n_tokens);
        Ok(export)
    }

    /// Names tokens that mean nothing, and adds such up to `n_rows`.
    pub(crate) fn pad(&mut self, n_rows: usize) {
        if self.tokens.len() < n_rows {
            self.tokens.resize(n_rows, String::new());
            self.types.resize(n_rows, UNUSED);
        }
        for (id, (token, ty)) in self.tokens.iter_mut().zip(&self.types).enumerate() {
            if *ty == UNUSED {
                *token = format!("[PAD{id}]");
            }
        }
    }
}

/// The name whose splitting, normaliser and treatment of whole words are these.
fn name(parts: &Parts) -> Result<&'static str, TokenizerError> {
    let split = steps(&parts.pre)?;
    let normaliser = serde_json::to_value(&parts.normaliser).map_err(TokenizerError::library_json)?;
    for name in pre::DISTINCT {
        let known = pre::by_name(name)?;
        let same_normaliser =
            serde_json::to_value(&known.normaliser).map_err(TokenizerError::library_json)? == normaliser;
        if same_normaliser && known.ignore_merges == parts.ignore_merges && steps(&known.split)? == split {
            return Ok(name);
        }
    }
    let found = Value::Array(split).to_string();
    Err(TokenizerError::unsupported(
        "the pre-tokenizer",
        &found,
        pre::SUPPORTED,
    ))
}

/// The steps of a pre-tokenizer without what only concerns offsets into the text.
fn steps(pre: &PreTokenizerWrapper) -> Result<Vec<Value>, TokenizerError> {
    let value = serde_json::to_value(pre).map_err(TokenizerError::library_json)?;
    let mut steps = match value.get("pretokenizers").and_then(Value::as_array) {
        Some(steps) => steps.clone(),
        None => vec![value],
    };
    for step in &mut steps {
        if let Some(step) = step.as_object_mut() {
            step.remove("trim_offsets");
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_splitting_is_found_by_what_it_does() {
        for name in pre::DISTINCT {
            let known = pre::by_name(name).unwrap();
            let json = serde_json::json!({
                "normalizer": known.normaliser,
                "pre_tokenizer": known.split,
                "decoder": {"type": "ByteLevel"},
                "added_tokens": [{"id": 3, "content": "<|end|>", "special": true, "normalized": false,
                                  "single_word": false, "lstrip": false, "rstrip": false}],
                "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 5}, "merges": ["a b"],
                          "ignore_merges": known.ignore_merges},
            });
            let mut export = Export::read(&json.to_string()).unwrap();
            assert_eq!(export.pre, name);
            export.pad(8);
            assert_eq!(
                export.tokens,
                ["a", "b", "[PAD2]", "<|end|>", "[PAD4]", "ab", "[PAD6]", "[PAD7]"]
            );
            assert_eq!(export.types, [1, 1, 5, 3, 5, 1, 5, 5]);
            assert_eq!(export.merges, ["a b"]);
        }
    }

    #[test]
    fn the_released_tokenizer_of_olmoe_is_olmo() {
        let Some(path) = testkit::need_data("fixtures/olmoe-tokenizer/tokenizer.json") else {
            return;
        };
        let export = Export::read(&stdx::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!((export.pre, export.tokens.len()), ("olmo", 50_280));
    }

    #[test]
    fn a_splitting_without_a_name_is_refused() {
        let json = r#"{"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true}]},
            "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}"#;
        let error = Export::read(json).err().expect("it has no name").to_string();
        assert!(error.contains("Whitespace"), "{error}");
    }
}
