//! What a question that is being typed may become: titles and headings that go on as it begins.
//!
//! Found in the index among permitted passages only, so a heading that one may not read is never offered, and neither
//! the order nor the number of the others tells that it is there.

use std::collections::BTreeMap;

use unicode_normalization::UnicodeNormalization as _;

use crate::analyser::{Class, class, fold};
use crate::error::StoreError;
use crate::view::View;

/// Passages whose titles and headings are looked at.
const PASSAGES_MAX: usize = 256;
/// More are never offered.
pub(crate) const SUGGESTIONS_MAX: usize = 50;
/// A longer beginning is a question already.
const CHARS_MAX: usize = 200;
/// A longer heading is a paragraph in disguise.
const SUGGESTION_CHARS_MAX: usize = 120;
/// So many letters at the end of a Latin word its stem may lack; a stem has at least so many.
const ENDING_CHARS: usize = 4;
const STEM_CHARS_MIN: usize = 3;
/// Syllables of one initial and vowel follow each other: without a final consonant, then with each.
const FINALS: u32 = 28;
const FIRST_SYLLABLE: u32 = 0xAC00;

/// A title or heading, with how many of the passages looked at stand under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// As it is written.
    pub text: String,
    /// Passages under it, among those looked at.
    pub passages: usize,
}

/// What stands typed: complete terms, and the terms that the unfinished word may begin.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Typed {
    pub(crate) complete: Vec<String>,
    /// Each a range of index terms, half open.
    pub(crate) unfinished: Vec<(String, String)>,
}

impl View<'_> {
    /// Titles and headings in which the words of `beginning` stand, the last perhaps unfinished; at most `limit`, those
    /// that begin with it first, then those above the most passages. A Hangul syllable may be half composed.
    ///
    /// # Errors
    /// When the index or the database cannot be read; never because of what is typed.
    pub fn suggest(&self, beginning: &str, limit: usize) -> Result<Vec<Suggestion>, StoreError> {
        let beginning: String = beginning.chars().take(CHARS_MAX).collect();
        let wanted = key(&beginning);
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let passages = self.passages_titled(&Typed::parse(&beginning), PASSAGES_MAX)?;
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for row in passages {
            let mut of_passage: Vec<String> = row.heading_path;
            of_passage.push(row.title);
            of_passage.sort();
            of_passage.dedup();
            for text in of_passage {
                let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                if text.chars().count() <= SUGGESTION_CHARS_MAX && place(&key(&text), &wanted).is_some() {
                    *found.entry(text).or_default() += 1;
                }
            }
        }
        let mut found: Vec<Suggestion> = found
            .into_iter()
            .map(|(text, passages)| Suggestion { text, passages })
            .collect();
        found.sort_by_cached_key(|suggestion| {
            let is_inside = place(&key(&suggestion.text), &wanted) != Some(0);
            (
                is_inside,
                usize::MAX - suggestion.passages,
                suggestion.text.clone(),
            )
        });
        found.truncate(limit.min(SUGGESTIONS_MAX));
        Ok(found)
    }
}

impl Typed {
    fn parse(text: &str) -> Self {
        let mut chars = fold(text);
        let mut typed = Self::default();
        // A lone letter at the end ("계약ㅅ") begins a syllable of which nothing is known.
        while chars.last().is_some_and(|c| is_jamo(*c)) {
            chars.pop();
        }
        let begin = chars
            .iter()
            .rposition(|c| c.is_whitespace())
            .map_or(0, |at| at + 1);
        let (complete, last) = chars.split_at(begin);
        let terms = |chars: &[char]| -> Vec<String> {
            let terms = crate::analyser::Analyser::terms_of_chars(chars).into_iter();
            terms.map(|term| term.text).collect()
        };
        typed.complete = terms(complete);
        match last {
            [] => {}
            [.., a, b] if class(*a) == Class::Hangul && class(*b) == Class::Hangul => {
                let before = terms(&last[..last.len() - 1]).into_iter();
                typed
                    .complete
                    .extend(before.filter(|term| term.chars().count() > 1));
                typed.unfinished = vec![range(&a.to_string(), *b)];
            }
            [.., only] if class(*only) == Class::Hangul => {
                typed.complete.extend(terms(&last[..last.len() - 1]));
                typed.unfinished = vec![range("", *only)];
            }
            word => {
                // The index holds stems: "polici" of "policies".
                let n = word
                    .len()
                    .saturating_sub(ENDING_CHARS)
                    .max(STEM_CHARS_MIN)
                    .min(word.len());
                let from: String = word[..n].iter().collect();
                let to = format!("{from}{}", char::MAX);
                typed.unfinished = vec![(from, to)];
            }
        }
        typed
    }
}

fn is_jamo(c: char) -> bool {
    matches!(c, '\u{1100}'..='\u{11FF}' | '\u{3131}'..='\u{318E}')
}

/// The terms of a syllable that may still be growing: its final consonant may change, or become the next one's first.
fn range(before: &str, syllable: char) -> (String, String) {
    let code = u32::from(syllable);
    let open = code - code.saturating_sub(FIRST_SYLLABLE) % FINALS;
    let term = |code| format!("{before}{}", char::from_u32(code).unwrap_or(char::MAX));
    (term(open), term(open + FINALS))
}

/// A text as its letters are typed: a syllable taken apart, final consonants like initial ones.
fn key(text: &str) -> String {
    let folded: String = fold(text).into_iter().collect();
    let mut key = String::with_capacity(folded.len());
    for c in folded.nfd() {
        match u32::from(c) {
            code @ 0x11A8..=0x11C2 => key.push_str(FINAL_LETTERS[(code - 0x11A8) as usize]),
            _ if c.is_whitespace() => key.push(' '),
            _ if c.is_alphanumeric() || unicode_normalization::char::is_combining_mark(c) => key.push(c),
            _ => {}
        }
    }
    key.trim_start().to_owned()
}

/// Initial consonants that make up each final one, in the order of Unicode.
const FINAL_LETTERS: [&str; 27] = [
    "\u{1100}",
    "\u{1101}",
    "\u{1100}\u{1109}",
    "\u{1102}",
    "\u{1102}\u{110C}",
    "\u{1102}\u{1112}",
    "\u{1103}",
    "\u{1105}",
    "\u{1105}\u{1100}",
    "\u{1105}\u{1106}",
    "\u{1105}\u{1107}",
    "\u{1105}\u{1109}",
    "\u{1105}\u{1110}",
    "\u{1105}\u{1111}",
    "\u{1105}\u{1112}",
    "\u{1106}",
    "\u{1107}",
    "\u{1107}\u{1109}",
    "\u{1109}",
    "\u{110A}",
    "\u{110B}",
    "\u{110C}",
    "\u{110E}",
    "\u{110F}",
    "\u{1110}",
    "\u{1111}",
    "\u{1112}",
];

/// Where `wanted` stands at the beginning of a word of `text`.
fn place(text: &str, wanted: &str) -> Option<usize> {
    let begins = text
        .char_indices()
        .filter(|(at, _)| *at == 0 || text[..*at].ends_with(' '));
    begins
        .map(|(at, _)| at)
        .find(|at| text[*at..].starts_with(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_composed_syllables_match_what_they_may_become() {
        for typed in ["ㄱ", "계", "계야", "계약", "계약ㅅ", "계약서"] {
            assert_eq!(place(&key("계약서의 해지"), &key(typed)), Some(0), "{typed}");
        }
        // "각" on the way to "가격".
        assert_eq!(place(&key("가격표"), &key("각")), Some(0));
        assert_eq!(place(&key("계약 해지"), &key("해")), Some(key("계약 ").len()));
        assert_eq!(place(&key("계약 해지"), &key("약")), None);
        assert_eq!(place(&key("Annual Leave"), &key("LEA")), Some(7));
    }

    #[test]
    fn what_is_typed_is_looked_up_in_ranges_of_terms() {
        let range = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(Typed::parse("계야").unfinished, [range("계야", "계얘")]);
        assert_eq!(Typed::parse("계약").unfinished, [range("계야", "계얘")]);
        assert_eq!(
            Typed::parse("policies").unfinished,
            [range("poli", "poli\u{10FFFF}")]
        );
        let typed = Typed::parse("annual lea");
        assert_eq!(typed.complete, ["annual"]);
        assert_eq!(typed.unfinished, [range("lea", "lea\u{10FFFF}")]);
        assert_eq!(Typed::parse("계약서 해").complete, ["계약", "약서"]);
        assert_eq!(Typed::parse("ㄱ"), Typed::default());
    }
}
