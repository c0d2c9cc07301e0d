//! The tokenizer in GGUF metadata (`tokenizer.ggml.*`).

use tokenizers::AddedToken;
use weights::gguf::Metadata;

use super::{Kind, MAX_TOKENS, OLMOE_PLACEHOLDER, Parts, SpecialIds, TokenizerError, end_ids, pre, within};

/// The numbers of `tokenizer.ggml.token_type`.
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;

/// Reads and checks the metadata.
pub(super) fn parts(metadata: &Metadata) -> Result<Parts, TokenizerError> {
    let model = metadata.text("tokenizer.ggml.model")?;
    if model != "gpt2" {
        return Err(TokenizerError::unsupported(
            "the model",
            model,
            "gpt2 (byte-level BPE)",
        ));
    }
    let pre = pre::by_name(metadata.text("tokenizer.ggml.pre")?)?;
    let tokens = metadata.texts("tokenizer.ggml.tokens")?.to_vec();
    within("the number of tokens", tokens.len(), MAX_TOKENS)?;
    let types = types(metadata, &tokens)?;
    let added = added(&tokens, &types);
    let kinds = types
        .iter()
        .map(|ty| match *ty {
            UNKNOWN | CONTROL => Kind::Special,
            UNUSED => Kind::Unused,
            _ => Kind::Text,
        })
        .collect();
    let id = |key: &str| -> Result<Option<u32>, TokenizerError> {
        let id = metadata.opt_u32(&format!("tokenizer.ggml.{key}_token_id"))?;
        match id {
            Some(id) if id as usize >= tokens.len() => {
                Err(mismatch("the id of a special token", id.into(), &tokens))
            }
            id => Ok(id.map(|id| corrected(id, &tokens))),
        }
    };
    let special = SpecialIds {
        bos: id("bos")?,
        eos: id("eos")?,
        unk: id("unknown")?,
        pad: id("padding")?,
    };
    let ends = end_ids(
        &added,
        [special.eos, id("eot")?, id("eom")?].into_iter().flatten(),
    );
    Ok(Parts {
        kinds,
        merges: merges(metadata)?,
        added,
        normaliser: pre.normaliser,
        pre: pre.split,
        ignore_merges: pre.ignore_merges,
        special,
        end_ids: ends,
        add_bos: adds_bos(metadata)?,
        tokens,
    })
}

/// Whether the begin token belongs in front of raw text: as stated, else as the family's models were trained.
fn adds_bos(metadata: &Metadata) -> Result<bool, TokenizerError> {
    let stated = metadata.opt_bool("tokenizer.ggml.add_bos_token")?;
    // OLMoE was trained without, whatever its files say.
    if metadata.opt_text("general.architecture")? == Some("olmoe") {
        return Ok(false);
    }
    Ok(stated.unwrap_or(pre::is_llama3(metadata.text("tokenizer.ggml.pre")?)))
}

/// The type of each token; all ordinary ones where the file does not tell.
fn types(metadata: &Metadata, tokens: &[String]) -> Result<Vec<i64>, TokenizerError> {
    let types = metadata.opt_integers("tokenizer.ggml.token_type")?;
    let types = types.unwrap_or_else(|| vec![1; tokens.len()]);
    if types.len() != tokens.len() {
        return Err(mismatch(
            "the length of the list of token types",
            types.len() as u64,
            tokens,
        ));
    }
    Ok(types)
}

/// The tokens that are cut out of a text before anything else.
fn added(tokens: &[String], types: &[i64]) -> Vec<(u32, AddedToken)> {
    (0u32..)
        .zip(tokens.iter().zip(types))
        .filter(|(_, (token, ty))| matches!(**ty, UNKNOWN | CONTROL | USER_DEFINED) && !token.is_empty())
        .map(|(id, (token, ty))| {
            let is_special = *ty != USER_DEFINED;
            (id, AddedToken::from(token.as_str(), is_special).normalized(false))
        })
        .collect()
}

/// OLMoE's files that name the placeholder of network addresses mean the end token.
fn corrected(id: u32, tokens: &[String]) -> u32 {
    let wrong = tokens
        .get(id as usize)
        .is_some_and(|token| token == OLMOE_PLACEHOLDER);
    let right = tokens.iter().position(|token| token == "<|endoftext|>");
    match right.and_then(|right| u32::try_from(right).ok()) {
        Some(right) if wrong => right,
        _ => id,
    }
}

fn mismatch(what: &'static str, found: u64, tokens: &[String]) -> TokenizerError {
    TokenizerError::Mismatch {
        what,
        found,
        expected: tokens.len() as u64,
    }
}

/// Each merge is two tokens with a space between; a token may begin with a space, never contain one.
fn merges(metadata: &Metadata) -> Result<Vec<(String, String)>, TokenizerError> {
    let merges = metadata.texts("tokenizer.ggml.merges")?;
    let split = |(rank, merge): (usize, &String)| {
        let first = merge.chars().next().map_or(0, char::len_utf8);
        let space = merge
            .get(first..)
            .and_then(|rest| rest.find(' '))
            .map(|at| at + first);
        match space.map(|at| merge.split_at(at)) {
            Some((left, right)) => Ok((left.to_owned(), right.get(1..).unwrap_or_default().to_owned())),
            None => Err(TokenizerError::Merge { rank }),
        }
    };
    merges.iter().enumerate().map(split).collect()
}
