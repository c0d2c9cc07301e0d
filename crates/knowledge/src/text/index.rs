//! Character offsets and byte offsets of one text, each from the other in a few steps.
//!
//! Not a rope: the text does not change.

use std::ops::Range;

/// Every so many characters one byte offset is kept.
const STEP: usize = 64;

/// Byte offsets of every 64th character.
#[derive(Debug, Clone)]
pub struct CharIndex {
    bytes: Vec<usize>,
    n_chars: usize,
}

impl CharIndex {
    /// Indexes a text.
    pub fn new(text: &str) -> Self {
        let mut n_chars = 0;
        let mut bytes = Vec::with_capacity(text.len() / STEP + 1);
        for (at, _) in text.char_indices() {
            if n_chars % STEP == 0 {
                bytes.push(at);
            }
            n_chars += 1;
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
        Self { bytes, n_chars }
    }

    /// Length in characters.
    pub fn n_chars(&self) -> usize {
        self.n_chars
    }

    /// Byte offset of a character of the text that was indexed; beyond its end: its length.
    pub fn byte_of(&self, text: &str, char_at: usize) -> usize {
        if char_at >= self.n_chars {
            return text.len();
        }
        let base = self.bytes[char_at / STEP];
        text[base..]
            .char_indices()
            .nth(char_at % STEP)
            .map_or(text.len(), |(at, _)| base + at)
    }

    /// Number of characters that begin before a byte offset.
    pub fn char_of(&self, text: &str, byte_at: usize) -> usize {
        let block = self
            .bytes
            .partition_point(|base| *base <= byte_at)
            .saturating_sub(1);
        let base = self.bytes[block];
        let within = text[base..]
            .char_indices()
            .take_while(|(at, _)| base + at < byte_at)
            .count();
        block * STEP + within
    }

    /// The characters of a range; cut off at the end of the text.
    pub fn slice<'t>(&self, text: &'t str, range: Range<usize>) -> &'t str {
        let end = self.byte_of(text, range.end);
        let start = self.byte_of(text, range.start).min(end);
        &text[start..end]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_counting_by_hand(text in "[a가é𝄞\\n ]{0,300}") {
            let index = CharIndex::new(&text);
            let offsets: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            prop_assert_eq!(index.n_chars(), offsets.len() - 1);
            for (char_at, byte_at) in offsets.iter().enumerate() {
                prop_assert_eq!(index.byte_of(&text, char_at), *byte_at);
                prop_assert_eq!(index.char_of(&text, *byte_at), char_at);
            }
        }
    }
}
