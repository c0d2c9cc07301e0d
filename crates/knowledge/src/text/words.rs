//! Each word's place on its page, carried from the text as read to the text as stored.
//!
//! The two differ by what normalising does within a block: white space, control characters, composed letters, words
//! that the end of a line had cut. Nothing changes its order, so one walk over both finds every word again.

use unicode_normalization::UnicodeNormalization;

use crate::read::{Block, WordBox};

/// A word, or the part of one that stood on one line, with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WordSpan {
    /// Start in the stored text, in Unicode scalar values.
    pub start: usize,
    /// End (exclusive).
    pub end: usize,
    /// 1-based page.
    pub page: u32,
    /// Where on it.
    pub place: WordBox,
}

/// Adds the words of a block whose stored text is `text`, beginning at the character `start`.
pub(super) fn place(block: &Block, text: &str, start: usize, out: &mut Vec<WordSpan>) {
    let Some(page) = block.page.filter(|_| !block.words.is_empty()) else {
        return;
    };
    let (mut rest, mut at) = (text, start);
    for (word, place) in block.text.split_whitespace().zip(&block.words) {
        let shown = rest.trim_start();
        at += rest[..rest.len() - shown.len()].chars().count();
        let (n_bytes, n_chars) = beginning(shown, word);
        if n_chars > 0 && place.width > 0 {
            out.push(WordSpan {
                start: at,
                end: at + n_chars,
                page,
                place: *place,
            });
        }
        rest = &shown[n_bytes..];
        at += n_chars;
    }
}

/// How much of the beginning of `text` a word as read became: bytes and characters.
fn beginning(text: &str, word: &str) -> (usize, usize) {
    if text.starts_with(word) {
        return (word.len(), word.chars().count());
    }
    let stored: String = word
        .chars()
        .filter(|c| !c.is_control() && *c != '\u{AD}')
        .nfc()
        .collect();
    if text.starts_with(&stored) {
        return (stored.len(), stored.chars().count());
    }
    // The hyphen of a word that was cut is gone; and what composes with a letter of its neighbour has no place.
    let same = text.chars().zip(stored.chars()).take_while(|(a, b)| a == b);
    same.fold((0, 0), |(bytes, chars), (c, _)| (bytes + c.len_utf8(), chars + 1))
}

#[cfg(test)]
mod tests {
    use super::super::normalise;
    use super::*;
    use crate::read::{BlockKind, Format, RawDocument};

    fn placed(text: &str) -> Vec<(String, u16)> {
        let n_words = text.split_whitespace().count() as u16;
        let block = Block {
            kind: BlockKind::Paragraph,
            text: text.to_owned(),
            page: Some(1),
            words: (1..=n_words).map(|n| WordBox::from([n, 1, 1, 1])).collect(),
            under: Vec::new(),
        };
        let document = RawDocument {
            format: Format::Pdf,
            title: None,
            blocks: vec![block],
            n_pages: Some(1),
            page_sizes: vec![[100, 100]],
            without_text: Vec::new(),
            recognised: Vec::new(),
            warnings: Vec::new(),
            properties: Vec::new(),
        };
        let normal = normalise(&document);
        let chars: Vec<char> = normal.text.chars().collect();
        let word = |span: &WordSpan| (chars[span.start..span.end].iter().collect(), span.place.x);
        normal.words.iter().map(word).collect()
    }

    fn numbered(words: &[&str]) -> Vec<(String, u16)> {
        words
            .iter()
            .zip(1..)
            .map(|(word, n)| ((*word).to_owned(), n))
            .collect()
    }

    #[test]
    fn words_keep_their_places_through_wrapping_and_composing() {
        let text = "  Cafe\u{301}  is an exam- \nple \u{7}of \u{1112}\u{1161}\u{11AB}글 soft\u{AD} \nly";
        let expected = ["Café", "is", "an", "exam", "ple", "of", "한글", "soft", "ly"];
        assert_eq!(placed(text), numbered(&expected));
    }

    #[test]
    fn korean_words_that_a_line_cut_have_a_place_on_each_line() {
        // The document's lines end in a space where a word ended, so the first one was cut within a word.
        let text = "계약 기간은 이\n년으로 한다 \n다만 예외가 \n있다";
        let expected = ["계약", "기간은", "이", "년으로", "한다", "다만", "예외가", "있다"];
        assert_eq!(placed(text), numbered(&expected));
    }

    #[test]
    fn one_word_that_is_not_found_costs_no_other() {
        let stored = "one  two three";
        let mut out = Vec::new();
        let block = Block {
            kind: BlockKind::Paragraph,
            text: "one \u{AD} two three".to_owned(),
            page: Some(1),
            words: vec![WordBox::from([1, 1, 1, 1]); 4],
            under: Vec::new(),
        };
        place(&block, stored, 0, &mut out);
        let spans: Vec<_> = out.iter().map(|word| (word.start, word.end)).collect();
        assert_eq!(spans, [(0, 3), (5, 8), (9, 14)]);
    }
}
