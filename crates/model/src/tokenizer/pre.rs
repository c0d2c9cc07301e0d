//! How a text is split before merging: one entry for each name that GGUF files use.
//!
//! GGUF carries only a name; the patterns are those of the tokenizers that the names stand for.

use tokenizers::PreTokenizerWrapper;
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{NormalizerWrapper, SplitDelimiterBehavior};

use super::TokenizerError;

/// Digits in groups of up to three (cl100k and Llama 3).
const GROUPED_DIGITS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same with single digits (Qwen).
const SINGLE_DIGITS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Names accepted in `tokenizer.ggml.pre`.
pub(super) const SUPPORTED: &str =
    "gpt-2, olmo, smollm, starcoder, refact, command-r, llama-bpe, dbrx and qwen2";

/// What a name stands for.
pub(super) struct Pre {
    pub(super) split: PreTokenizerWrapper,
    pub(super) normaliser: Option<NormalizerWrapper>,
    /// Words that are tokens as a whole skip the merges.
    pub(super) ignore_merges: bool,
}

/// The names tried for a tokenizer that comes without one; each stands for something else.
pub(super) const DISTINCT: [&str; 6] = ["gpt-2", "olmo", "smollm", "llama-bpe", "dbrx", "qwen2"];

/// The splitting that a GGUF file names.
pub(super) fn by_name(name: &str) -> Result<Pre, TokenizerError> {
    let nfc = Some(NormalizerWrapper::NFC(NFC));
    let (split, normaliser, ignore_merges) = match name {
        "gpt-2" | "gpt2" => (byte_level(true), None, false),
        "olmo" => (byte_level(true), nfc, false),
        "smollm" | "starcoder" | "refact" | "command-r" => {
            (sequence(Digits::new(true).into(), true), None, false)
        }
        name if is_llama3(name) => (pattern(GROUPED_DIGITS)?, None, true),
        "dbrx" => (pattern(GROUPED_DIGITS)?, None, false),
        "qwen2" | "deepseek-r1-qwen" => (pattern(SINGLE_DIGITS)?, nfc, false),
        other => return Err(TokenizerError::unsupported("the pre-tokenizer", other, SUPPORTED)),
    };
    Ok(Pre {
        split,
        normaliser,
        ignore_merges,
    })
}

/// The names of Llama 3's splitting. Its early files do not say that raw text begins with the begin token.
pub(super) fn is_llama3(name: &str) -> bool {
    matches!(name, "llama-bpe" | "llama3" | "llama-v3")
}

/// The byte-level step, with or without GPT-2's own splitting.
fn byte_level(use_regex: bool) -> PreTokenizerWrapper {
    ByteLevel::new(false, true, use_regex).into()
}

fn sequence(first: PreTokenizerWrapper, use_regex: bool) -> PreTokenizerWrapper {
    Sequence::new(vec![first, byte_level(use_regex)]).into()
}

fn pattern(regex: &str) -> Result<PreTokenizerWrapper, TokenizerError> {
    let split = Split::new(
        SplitPattern::Regex(regex.to_owned()),
        SplitDelimiterBehavior::Isolated,
        false,
    )
    .map_err(TokenizerError::library)?;
    Ok(sequence(split.into(), false))
}
