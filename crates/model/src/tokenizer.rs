//! Text to token ids and back: byte-level BPE, from GGUF metadata or a `tokenizer.json`.
//!
//! The splitting and merging is the tokenizers library's; this file gives it checked inputs and decodes on its
//! own, byte by byte, so that no half character ever becomes text. Other kinds (SentencePiece, WordPiece) are
//! refused by name. In front of raw text stands the begin token where the file asks for it; what stands in front of a
//! conversation is its template's business.

mod alphabet;
mod export;
mod gguf;
mod json;
mod pre;

#[cfg(test)]
pub(crate) mod tests;

use std::borrow::Cow;
use std::path::Path;
use std::sync::OnceLock;

use thiserror::Error;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};
use weights::gguf::{GgufError, Metadata};

use crate::stream::Utf8Stream;

pub(crate) use alphabet::chars_of_bytes;
pub(crate) use export::Export;
pub(crate) use json::begin_token;

type Inner = TokenizerImpl<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// Largest vocabulary.
pub const MAX_TOKENS: usize = 1 << 22;
/// Most merges.
pub const MAX_MERGES: usize = 1 << 22;
/// Longest `tokenizer.json` in bytes.
pub const MAX_JSON_BYTES: u64 = 256 << 20;

/// Breaks up what looks like a special token in a [shielded](Tokenizer::shield) text: a noncharacter, so no
/// honest text contains it.
const SHIELD: char = '\u{10FFFF}';

/// Token 0 of OLMoE's vocabulary, which several of its files name as begin and end token by mistake.
pub(crate) const OLMOE_PLACEHOLDER: &str = "|||IP_ADDRESS|||";

/// Names of control tokens that end a text or a turn, in the families supported.
const END_NAMES: [&str; 8] = [
    "<|endoftext|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|eot|>",
    "<|end|>",
    "</s>",
];

/// Tokens with a meaning of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpecialIds {
    /// Begins a text.
    pub bos: Option<u32>,
    /// Ends a text.
    pub eos: Option<u32>,
    /// Stands for what is not in the vocabulary.
    pub unk: Option<u32>,
    /// Fills up a batch.
    pub pad: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Part of a text.
    Text,
    /// A marker such as the end of a turn; left out of decoded text on request.
    Special,
    /// Fills up the embedding; means nothing.
    Unused,
}

/// What [`Tokenizer::build`] needs.
struct Parts {
    /// Text of each token, as the file writes it; ids are positions.
    tokens: Vec<String>,
    kinds: Vec<Kind>,
    merges: Merges,
    /// Tokens found as a whole before any splitting; each must be in `tokens` under its id.
    added: Vec<(u32, AddedToken)>,
    normaliser: Option<NormalizerWrapper>,
    pre: PreTokenizerWrapper,
    ignore_merges: bool,
    special: SpecialIds,
    end_ids: Vec<u32>,
    add_bos: bool,
}

/// A byte-level BPE tokenizer.
pub struct Tokenizer {
    inner: Inner,
    /// The same with special tokens switched off; made when first needed.
    plain: OnceLock<Box<Inner>>,
    /// Bytes of all tokens, one after the other, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    kinds: Vec<Kind>,
    /// Texts of the special tokens.
    special_texts: Vec<String>,
    special: SpecialIds,
    end_ids: Vec<u32>,
    add_bos: bool,
}

impl Tokenizer {
    /// Builds the tokenizer that a GGUF file carries.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self, TokenizerError> {
        Self::build(gguf::parts(metadata)?)
    }

    /// Builds the tokenizer of a hub folder's `tokenizer.json`.
    pub fn from_json_file(path: impl AsRef<Path>) -> Result<Self, TokenizerError> {
        let path = path.as_ref();
        let found = stdx::fs::metadata(path)?.len();
        if found > MAX_JSON_BYTES {
            return Err(TokenizerError::Limit {
                what: "the length of tokenizer.json",
                found,
                limit: MAX_JSON_BYTES,
            });
        }
        Self::from_json(&stdx::fs::read_to_string(path)?)
    }

    /// Builds the tokenizer of the text of a `tokenizer.json`.
    pub fn from_json(text: &str) -> Result<Self, TokenizerError> {
        Self::build(json::parts(text)?)
    }

    fn build(mut parts: Parts) -> Result<Self, TokenizerError> {
        within("the number of tokens", parts.tokens.len(), MAX_TOKENS)?;
        within("the number of merges", parts.merges.len(), MAX_MERGES)?;
        let (bytes, ends) = token_bytes(&parts);
        let special_texts = special_texts(&parts);
        let vocab = vocabulary(&parts);
        check_merges(&vocab, &parts.merges)?;
        let model = BPE::builder()
            .vocab_and_merges(vocab, std::mem::take(&mut parts.merges))
            .ignore_merges(parts.ignore_merges)
            .build()
            .map_err(TokenizerError::library)?;
        let mut inner = Inner::new(model);
        inner
            .with_normalizer(parts.normaliser.take())
            .map_err(TokenizerError::library)?;
        inner.with_pre_tokenizer(Some(parts.pre));
        let added: Vec<AddedToken> = parts.added.iter().map(|(_, token)| token.clone()).collect();
        inner.add_tokens(added).map_err(TokenizerError::library)?;
        for (id, token) in &parts.added {
            if inner.token_to_id(&token.content) != Some(*id) {
                return Err(TokenizerError::AddedToken { id: *id });
            }
        }
        Ok(Self {
            inner,
            plain: OnceLock::new(),
            bytes,
            ends,
            kinds: parts.kinds,
            special_texts,
            special: parts.special,
            end_ids: parts.end_ids,
            add_bos: parts.add_bos,
        })
    }

    /// Token ids of a text. Nothing is added; what the file lists as added tokens is recognised, special ones
    /// included, exactly as the tokenizers library does with `add_special_tokens=False`.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        encode_into(&self.inner, text, &mut ids);
        ids
    }

    /// Token ids of a text in which nothing is special: what looks like a special token is encoded as the
    /// characters it consists of.
    pub fn encode_plain(&self, text: &str) -> Vec<u32> {
        if !self
            .special_texts
            .iter()
            .any(|special| text.contains(special.as_str()))
        {
            return self.encode(text);
        }
        let plain = self.plain.get_or_init(|| {
            let mut inner = self.inner.clone();
            inner.set_encode_special_tokens(true);
            Box::new(inner)
        });
        let mut ids = Vec::new();
        encode_into(plain, text, &mut ids);
        ids
    }

    /// Token ids of a rendered chat prompt: special tokens are recognised, except inside
    /// [shielded](Self::shield) parts.
    pub fn encode_prompt(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        for part in text.split(SHIELD) {
            encode_into(&self.inner, part, &mut ids);
        }
        ids
    }

    /// Token ids of a text that is to be continued as it is: special tokens are recognised, and the begin token stands
    /// first where the file asks for it and the text does not begin with it. Of an empty text there are none.
    pub fn encode_raw(&self, text: &str) -> Vec<u32> {
        let mut ids = self.encode_prompt(text);
        match self.special.bos {
            Some(bos) if self.add_bos && ids.first().is_some_and(|first| *first != bos) => ids.insert(0, bos),
            _ => {}
        }
        ids
    }

    /// Makes a foreign text safe to stand in a chat prompt: what looks like a special token in it will not be
    /// one for [`Self::encode_prompt`], and decodes to the same text. Texts without such are returned as they are.
    pub fn shield<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut shielded = Cow::Borrowed(text);
        if text.contains(SHIELD) {
            shielded = Cow::Owned(text.replace(SHIELD, ""));
        }
        for special in &self.special_texts {
            let mut characters = special.chars();
            let (Some(first), true) = (characters.next(), shielded.contains(special.as_str())) else {
                continue;
            };
            let broken = format!("{first}{SHIELD}{}", characters.as_str());
            shielded = Cow::Owned(shielded.replace(special.as_str(), &broken));
        }
        shielded
    }

    /// A rendered and shielded prompt as people read it, without the marks.
    pub fn unshield(text: &str) -> Cow<'_, str> {
        if text.contains(SHIELD) {
            Cow::Owned(text.replace(SHIELD, ""))
        } else {
            Cow::Borrowed(text)
        }
    }

    /// Text of token ids; bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let mut bytes = Vec::new();
        for id in ids.iter().filter(|id| !(skip_special && self.is_special(**id))) {
            bytes.extend_from_slice(self.token_bytes(*id));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The bytes that a token stands for; empty for ids outside the vocabulary.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let start = match id.checked_sub(1) {
            None => 0,
            Some(previous) => self.ends.get(previous).copied().unwrap_or(self.bytes.len()),
        };
        let end = self.ends.get(id).copied().unwrap_or(start);
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// Number of tokens; ids are below. The embedding may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.ends.len()
    }

    /// Whether the token is a marker rather than text, or means nothing.
    pub fn is_special(&self, id: u32) -> bool {
        self.kinds.get(id as usize).is_none_or(|kind| *kind != Kind::Text)
    }

    /// The id of a token by its literal text ("<|im_end|>").
    pub fn token_id(&self, text: &str) -> Option<u32> {
        self.inner.token_to_id(text)
    }

    /// Tokens with a meaning of their own.
    pub fn special_ids(&self) -> SpecialIds {
        self.special
    }

    /// Tokens that end a text or a turn, sorted. See also [`crate::config::Config::end_ids`].
    pub fn end_ids(&self) -> &[u32] {
        &self.end_ids
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .finish_non_exhaustive()
    }
}

/// Turns generated ids into text as they come, never half a character.
#[derive(Debug, Clone, Default)]
pub struct IncrementalDecoder {
    stream: Utf8Stream,
    skip_special: bool,
}

impl IncrementalDecoder {
    /// Starts; special tokens are left out if `skip_special`.
    pub fn new(skip_special: bool) -> Self {
        Self {
            stream: Utf8Stream::default(),
            skip_special,
        }
    }

    /// Takes the next id and returns the text that is now complete.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        if self.skip_special && tokenizer.is_special(id) {
            return String::new();
        }
        self.stream.push(tokenizer.token_bytes(id))
    }
}

/// Why a tokenizer was refused.
#[derive(Debug, Error)]
pub enum TokenizerError {
    /// The operating system refused.
    #[error(transparent)]
    Fs(#[from] stdx::fs::FsError),
    /// A metadata key is missing or of the wrong type.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// `tokenizer.json` is not the JSON it should be.
    #[error("tokenizer.json is not valid: {reason}; fetch it again")]
    Json {
        /// The parser's words.
        reason: String,
    },
    /// A kind of tokenizer that is not supported.
    #[error("the tokenizer uses {what} `{found}`, which is not supported; supported are {supported}")]
    Unsupported {
        /// Which part.
        what: &'static str,
        /// What the file says.
        found: String,
        /// What would be.
        supported: &'static str,
    },
    /// Too many or too long.
    #[error("{what} is {found}, more than the limit of {limit}; the file is corrupt or hostile")]
    Limit {
        /// What.
        what: &'static str,
        /// What the file says.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A merge of tokens that are not in the vocabulary.
    #[error("merge number {rank} joins or makes a token that is not in the vocabulary; the file is corrupt")]
    Merge {
        /// Position in the list.
        rank: usize,
    },
    /// An added token whose id contradicts its text.
    #[error("the added token with id {id} stands under another id in the vocabulary; the file is corrupt")]
    AddedToken {
        /// The id.
        id: u32,
    },
    /// Two lists that belong together have different lengths, or an id is outside.
    #[error("{what} is {found}, but there are {expected} tokens; the file is corrupt")]
    Mismatch {
        /// What.
        what: &'static str,
        /// What the file says.
        found: u64,
        /// The number of tokens.
        expected: u64,
    },
    /// The tokenizer library refused.
    #[error("the tokenizer cannot be built: {reason}; the file is corrupt")]
    Library {
        /// Its words.
        reason: String,
    },
}

impl TokenizerError {
    fn library(error: tokenizers::Error) -> Self {
        Self::Library {
            reason: error.to_string(),
        }
    }

    fn library_json(error: serde_json::Error) -> Self {
        Self::Library {
            reason: error.to_string(),
        }
    }

    fn unsupported(what: &'static str, found: &str, supported: &'static str) -> Self {
        Self::Unsupported {
            what,
            found: found.chars().take(64).collect(),
            supported,
        }
    }
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<(), TokenizerError> {
    if found > limit {
        return Err(TokenizerError::Limit {
            what,
            found: found as u64,
            limit: limit as u64,
        });
    }
    Ok(())
}

/// Encodes; a text that the library gives up on is halved until it does not.
fn encode_into(inner: &Inner, text: &str, ids: &mut Vec<u32>) {
    if text.is_empty() {
        return;
    }
    if let Ok(encoding) = inner.encode_fast(text, false) {
        ids.extend_from_slice(encoding.get_ids());
        return;
    }
    let middle = text.floor_char_boundary(text.len() / 2);
    let (head, tail) = text.split_at(middle);
    // A single character that fails is left out: there is no token for it.
    if !head.is_empty() {
        encode_into(inner, head, ids);
        encode_into(inner, tail, ids);
    }
}

/// The bytes of every token, one after the other, and where each ends.
fn token_bytes(parts: &Parts) -> (Vec<u8>, Vec<usize>) {
    let mut literal = vec![false; parts.tokens.len()];
    for (id, _) in &parts.added {
        if let Some(flag) = literal.get_mut(*id as usize) {
            *flag = true;
        }
    }
    let alphabet = alphabet::bytes_of_chars();
    let mut bytes = Vec::new();
    let mut ends = Vec::with_capacity(parts.tokens.len());
    for (token, literal) in parts.tokens.iter().zip(literal) {
        let start = bytes.len();
        let mapped = !literal
            && token.chars().all(|character| {
                let byte = alphabet.get(character as usize).copied().flatten();
                bytes.extend(byte);
                byte.is_some()
            });
        if !mapped {
            bytes.truncate(start);
            bytes.extend_from_slice(token.as_bytes());
        }
        ends.push(bytes.len());
    }
    (bytes, ends)
}

/// Texts of the special tokens, the longest first.
fn special_texts(parts: &Parts) -> Vec<String> {
    let mut texts: Vec<String> = parts
        .added
        .iter()
        .filter(|(_, token)| token.special && !token.content.is_empty())
        .map(|(_, token)| token.content.clone())
        .collect();
    texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
    texts
}

/// Token text to id; of two tokens with the same text the first counts.
fn vocabulary(parts: &Parts) -> Vocab {
    let mut vocab = Vocab::with_capacity(parts.tokens.len());
    for (id, (token, kind)) in parts.tokens.iter().zip(&parts.kinds).enumerate() {
        if *kind != Kind::Unused {
            // At most `MAX_TOKENS`, so the id fits.
            vocab.entry(token.clone()).or_insert(id as u32);
        }
    }
    vocab
}

/// The library indexes without looking when a merge makes a token longer than any in the vocabulary.
fn check_merges(vocab: &Vocab, merges: &Merges) -> Result<(), TokenizerError> {
    let mut joined = String::new();
    for (rank, (left, right)) in merges.iter().enumerate() {
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        let known = [left, right, &joined]
            .into_iter()
            .all(|token| vocab.contains_key(token));
        if !known {
            return Err(TokenizerError::Merge { rank });
        }
    }
    Ok(())
}

/// Special tokens whose names mark an end, and those that the file names as such; sorted.
fn end_ids(added: &[(u32, AddedToken)], named: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let by_name = added
        .iter()
        .filter(|(_, token)| token.special && END_NAMES.contains(&token.content.as_str()))
        .map(|(id, _)| *id);
    let mut ids: Vec<u32> = by_name.chain(named).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
