//! The tokenizer in a hub folder's `tokenizer.json`, of the kinds that the supported families use.
//!
//! Of the post-processor only the begin token is read. The decoder is only checked to be byte-level.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::{AddedToken, NormalizerWrapper, PreTokenizerWrapper};

use super::{Kind, MAX_TOKENS, OLMOE_PLACEHOLDER, Parts, SpecialIds, TokenizerError, end_ids};

#[derive(Deserialize)]
struct Json {
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<Value>,
    decoder: Option<Value>,
    #[serde(default)]
    post_processor: Value,
    model: Model,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    vocab: Value,
    #[serde(default)]
    merges: Vec<Merge>,
    dropout: Option<f32>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Text(String),
    Pair(String, String),
}

fn invalid(error: impl ToString) -> TokenizerError {
    TokenizerError::Json {
        reason: error.to_string(),
    }
}

/// Reads and checks the text. The unknown token is not read: byte-level models know every byte.
pub(super) fn parts(text: &str) -> Result<Parts, TokenizerError> {
    let json: Json = serde_json::from_str(text).map_err(invalid)?;
    refuse_unsupported(&json)?;
    let vocab: BTreeMap<String, u32> = serde_json::from_value(json.model.vocab).map_err(invalid)?;
    let (tokens, kinds) = table(&vocab, &json.added_tokens)?;
    let added: Vec<(u32, AddedToken)> = json
        .added_tokens
        .into_iter()
        .map(|added| (added.id, added.token))
        .collect();
    let begin = begin_token(&json.post_processor).filter(|begin| *begin != OLMOE_PLACEHOLDER);
    let is_begin = |token: &&(u32, AddedToken)| Some(token.1.content.as_str()) == begin;
    let bos = added.iter().find(is_begin).map(|(id, _)| *id);
    let merges = json
        .model
        .merges
        .into_iter()
        .enumerate()
        .map(|(rank, merge)| match merge {
            Merge::Pair(left, right) => Ok((left, right)),
            Merge::Text(text) => match text.split_once(' ') {
                Some((left, right)) => Ok((left.to_owned(), right.to_owned())),
                None => Err(TokenizerError::Merge { rank }),
            },
        });
    Ok(Parts {
        tokens,
        kinds,
        merges: merges.collect::<Result<_, _>>()?,
        end_ids: end_ids(&added, []),
        added,
        normaliser: json.normalizer,
        pre: serde_json::from_value::<PreTokenizerWrapper>(json.pre_tokenizer.unwrap_or_default())
            .map_err(invalid)?,
        ignore_merges: json.model.ignore_merges,
        special: SpecialIds {
            bos,
            ..SpecialIds::default()
        },
        add_bos: bos.is_some(),
    })
}

/// The token that a post-processor puts in front of a text.
pub(crate) fn begin_token(post_processor: &Value) -> Option<&str> {
    let steps = post_processor["processors"].as_array();
    let mut all = steps.into_iter().flatten().chain([post_processor]);
    all.find_map(|step| step["single"][0]["SpecialToken"]["id"].as_str())
}

/// Token texts and kinds by id; ids that no token has are unused.
fn table(vocab: &BTreeMap<String, u32>, added: &[Added]) -> Result<(Vec<String>, Vec<Kind>), TokenizerError> {
    let all = vocab
        .iter()
        .map(|(token, id)| (token, *id, Kind::Text))
        .chain(added.iter().map(|added| {
            let kind = if added.token.special {
                Kind::Special
            } else {
                Kind::Text
            };
            (&added.token.content, added.id, kind)
        }));
    let n_tokens = all.clone().map(|(_, id, _)| id as usize + 1).max().unwrap_or(0);
    super::within("the largest token id", n_tokens, MAX_TOKENS)?;
    let mut tokens = vec![String::new(); n_tokens];
    let mut kinds = vec![Kind::Unused; n_tokens];
    // Added tokens come last: their text is literal and their kind counts.
    for (token, id, kind) in all {
        if let (Some(text), Some(slot)) = (tokens.get_mut(id as usize), kinds.get_mut(id as usize)) {
            text.clone_from(token);
            *slot = kind;
        }
    }
    Ok((tokens, kinds))
}

fn refuse_unsupported(json: &Json) -> Result<(), TokenizerError> {
    let bpe = "byte-level BPE";
    let model = &json.model;
    if let Some(kind) = model.kind.as_deref().filter(|kind| *kind != "BPE") {
        return Err(TokenizerError::unsupported("the model", kind, bpe));
    }
    for (what, part) in [
        ("a pre-tokenizer without", &json.pre_tokenizer),
        ("a decoder without", &json.decoder),
    ] {
        if !part.as_ref().is_some_and(|part| mentions_byte_level(part, 0)) {
            return Err(TokenizerError::unsupported(what, "ByteLevel", bpe));
        }
    }
    if model.dropout.is_some_and(|dropout| dropout != 0.0) {
        return Err(TokenizerError::unsupported("the option", "dropout", bpe));
    }
    if model.byte_fallback {
        return Err(TokenizerError::unsupported("the option", "byte_fallback", bpe));
    }
    for (name, option) in [
        ("continuing_subword_prefix", &model.continuing_subword_prefix),
        ("end_of_word_suffix", &model.end_of_word_suffix),
    ] {
        if option.as_ref().is_some_and(|text| !text.is_empty()) {
            return Err(TokenizerError::unsupported("the option", name, bpe));
        }
    }
    Ok(())
}

/// Whether a part, or one of a sequence's parts, is the byte-level one.
fn mentions_byte_level(part: &Value, depth: u32) -> bool {
    if part.get("type").and_then(Value::as_str) == Some("ByteLevel") {
        return true;
    }
    let lists = ["pretokenizers", "decoders"]
        .into_iter()
        .filter_map(|key| part.get(key)?.as_array());
    depth < 4 && lists.flatten().any(|part| mentions_byte_level(part, depth + 1))
}
