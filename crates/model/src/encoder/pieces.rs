//! Text to SentencePiece ids, as multilingual-e5's unigram tokenizer does it (Kudo 2018).
//!
//! NFC, the file's rule for each character, words with U+2581 in front, the best segmentation by the pieces'
//! scores, `<s>` before and `</s>` after. Not a general SentencePiece: no sampling, no byte fallback.

use std::collections::BTreeMap;

use tokenizers::Model as _;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::{NormalizedString, Normalizer as _};
use weights::e5s1::E5s1;

/// SentencePiece's visible space.
const SPACE: char = '\u{2581}';
/// Characters of one word that are segmented at once: bounds the time for a text without spaces.
const WORD_CHARS_MAX: usize = 4096;

/// The tokenizer of a text encoder.
pub(super) struct PieceTokenizer {
    unigram: Unigram,
    rules: BTreeMap<char, String>,
    bos: u32,
    eos: u32,
    unk: u32,
}

impl PieceTokenizer {
    /// Takes pieces, scores and rules from the file.
    ///
    /// # Errors
    /// A sentence, when the pieces contradict themselves.
    pub(super) fn new(file: &E5s1) -> Result<Self, String> {
        let (header, pieces) = (file.header(), file.pieces());
        let control = [header.bos, header.eos, header.pad, header.unk];
        let mut vocabulary = Vec::with_capacity(pieces.len());
        for id in 0..pieces.len() {
            let bytes = pieces.bytes(id).unwrap_or_default();
            let text = std::str::from_utf8(bytes).map_err(|_| format!("piece {id} is not UTF-8"))?;
            let is_control = control.iter().any(|&c| c as usize == id);
            // Text that spells a control piece is only text: its entry is one that no text contains.
            let text = if is_control || text.is_empty() {
                format!("\u{10FFFF}{id}")
            } else {
                text.to_owned()
            };
            vocabulary.push((text, f64::from(pieces.score(id).unwrap_or(0.0))));
        }
        let unigram =
            Unigram::from(vocabulary, Some(header.unk as usize), false).map_err(|e| e.to_string())?;
        Ok(Self {
            unigram,
            rules: file.normaliser().clone(),
            bos: header.bos,
            eos: header.eos,
            unk: header.unk,
        })
    }

    /// Ids of a text, at most `n_max` (at least 2): what does not fit is cut off before `</s>`.
    pub(super) fn encode(&self, text: &str, n_max: usize) -> Vec<u32> {
        let mut ids = vec![self.bos];
        let n_text_max = n_max.saturating_sub(1);
        for word in self.normalise(text).split_whitespace() {
            if ids.len() >= n_text_max {
                break;
            }
            self.encode_word(word, &mut ids);
        }
        ids.truncate(n_text_max);
        ids.push(self.eos);
        ids
    }

    fn normalise(&self, text: &str) -> String {
        let mut composed = NormalizedString::from(text);
        // NFC cannot fail; were it to, the text as it stands is the best there is.
        let _ = NFC.normalize(&mut composed);
        let mut out = String::with_capacity(text.len());
        for character in composed.get().chars() {
            match self.rules.get(&character) {
                Some(replacement) => out.push_str(replacement),
                None => out.push(character),
            }
        }
        out
    }

    fn encode_word(&self, word: &str, ids: &mut Vec<u32>) {
        let mut marked = String::with_capacity(word.len() + SPACE.len_utf8());
        marked.push(SPACE);
        marked.extend(word.chars().take(WORD_CHARS_MAX));
        match self.unigram.tokenize(&marked) {
            Ok(tokens) => ids.extend(tokens.iter().map(|token| token.id)),
            Err(_) => ids.push(self.unk),
        }
    }
}
