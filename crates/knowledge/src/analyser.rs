//! Text to index terms: Hangul and Han as bigrams, Latin words stemmed, numbers and part numbers whole and in parts.
//!
//! The same terms are made of documents and of questions. No dictionary: a particle glued to a noun leaves the
//! noun's own bigrams untouched, so "계약서를" shares 계약 and 약서 with "계약서".

use rust_stemmers::{Algorithm, Stemmer};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};
use unicode_normalization::UnicodeNormalization;

/// Changes whenever the same text may give other terms; an index made with another version is rebuilt.
pub(crate) const ANALYSER_VERSION: u32 = 2;
/// Name of the analyser inside the index.
pub(crate) const ANALYSER_NAME: &str = "hanok";
/// Longer words (encoded data, mostly) are cut to this many bytes.
const TERM_BYTES_MAX: usize = 96;

/// Makes index terms.
#[derive(Clone)]
pub(crate) struct Analyser {
    tokens: Vec<Token>,
}

/// A term with its place: `word` counts maximal runs without white space or punctuation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Term {
    pub(crate) text: String,
    pub(crate) position: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Han, Kana and Hangul: no spaces between what belongs apart, so pairs of characters.
    Hangul,
    Han,
    Word,
    Other,
}

pub(crate) fn class(c: char) -> Class {
    match c {
        '\u{AC00}'..='\u{D7A3}' | '\u{1100}'..='\u{11FF}' | '\u{3131}'..='\u{318E}' => Class::Hangul,
        '\u{3041}'..='\u{3096}' | '\u{30A1}'..='\u{30FA}' | '\u{30FC}' => Class::Han,
        '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' => Class::Han,
        '\u{20000}'..='\u{3134F}' => Class::Han,
        c if c.is_alphanumeric() || is_mark(c) => Class::Word,
        _ => Class::Other,
    }
}

/// Combining marks belong to their letter (Indic vowels, accents without a composed form).
fn is_mark(c: char) -> bool {
    unicode_normalization::char::is_combining_mark(c)
}

/// NFKC (folds full-width forms, ligatures, half-width Kana) and lower case.
pub(crate) fn fold(text: &str) -> Vec<char> {
    text.nfkc().flat_map(char::to_lowercase).collect()
}

impl Analyser {
    pub(crate) fn new() -> Self {
        Self { tokens: Vec::new() }
    }

    /// All terms of `text` in order.
    pub(crate) fn terms(text: &str) -> Vec<Term> {
        Self::terms_of_chars(&fold(text))
    }

    /// A word that is one term: a Latin one as its stem, any other as it is; `None` if nothing is left of it.
    pub(crate) fn whole(word: &str) -> Option<String> {
        let chars: Vec<char> = word.chars().flat_map(char::to_lowercase).collect();
        let text = stem(&chars, &Stemmer::create(Algorithm::English));
        (!text.is_empty()).then_some(text)
    }

    /// All terms of text that [`fold`] has gone over.
    pub(crate) fn terms_of_chars(chars: &[char]) -> Vec<Term> {
        let mut out = Output {
            terms: Vec::with_capacity(chars.len()),
            position: 0,
        };
        let stemmer = Stemmer::create(Algorithm::English);
        let mut i = 0;
        while i < chars.len() {
            let kind = class(chars[i]);
            let end = run_end(chars, i, kind);
            match kind {
                Class::Hangul | Class::Han => out.pairs(&chars[i..end]),
                Class::Word => out.word(&chars[i..end], &stemmer),
                Class::Other => {}
            }
            i = end;
        }
        out.terms
    }
}

/// Where the run that starts at `start` ends. A word run takes in single joiners between its letters and digits.
fn run_end(chars: &[char], start: usize, kind: Class) -> usize {
    let mut end = start + 1;
    while end < chars.len() {
        let joined = kind == Class::Word
            && is_joiner(chars[end])
            && chars.get(end + 1).is_some_and(|&next| class(next) == Class::Word);
        if class(chars[end]) == kind {
            end += 1;
        } else if joined {
            end += 2;
        } else {
            break;
        }
    }
    end
}

fn is_joiner(c: char) -> bool {
    matches!(
        c,
        '.' | '-' | '/' | '_' | ',' | '\'' | '\u{2019}' | '\u{2010}' | '\u{2011}'
    )
}

struct Output {
    terms: Vec<Term>,
    position: usize,
}

impl Output {
    fn push(&mut self, text: String, position: usize) {
        self.terms.push(Term { text, position });
    }

    fn pairs(&mut self, run: &[char]) {
        if let [single] = run {
            self.push(single.to_string(), self.position);
            self.position += 1;
        }
        for pair in run.windows(2) {
            self.push(pair.iter().collect(), self.position);
            self.position += 1;
        }
    }

    /// A run of letters and digits, perhaps with joiners: its parts, and the whole where it holds a digit.
    fn word(&mut self, run: &[char], stemmer: &Stemmer) {
        let run = without_thousands(run);
        let parts: Vec<&[char]> = run
            .split(|&c| is_joiner(c))
            .filter(|part| !part.is_empty())
            .collect();
        if parts.len() > 1 && run.iter().any(char::is_ascii_digit) {
            let whole: String = run.iter().map(|&c| if is_hyphen(c) { '-' } else { c }).collect();
            self.push(cut(whole), self.position);
        }
        for (i, part) in parts.iter().enumerate() {
            // "company's" is "company".
            let is_genitive = i > 0 && i + 1 == parts.len() && *part == ['s'];
            if !is_genitive {
                self.push(stem(part, stemmer), self.position);
                self.position += 1;
            }
        }
    }
}

fn is_hyphen(c: char) -> bool {
    matches!(c, '\u{2010}' | '\u{2011}')
}

/// Drops the commas of "1,000,000"; others stay and separate.
fn without_thousands(run: &[char]) -> Vec<char> {
    let digits = |range: &[char]| range.iter().all(char::is_ascii_digit);
    let is_thousands = |i: usize| {
        i > 0
            && run[i - 1].is_ascii_digit()
            && run.len() >= i + 4
            && digits(&run[i + 1..i + 4])
            && !run.get(i + 4).is_some_and(char::is_ascii_digit)
    };
    (0..run.len())
        .filter(|&i| run[i] != ',' || !is_thousands(i))
        .map(|i| run[i])
        .collect()
}

fn stem(part: &[char], stemmer: &Stemmer) -> String {
    let text: String = part.iter().collect();
    if text.bytes().all(|b| b.is_ascii_lowercase()) {
        cut(stemmer.stem(&text).into_owned())
    } else {
        cut(text)
    }
}

fn cut(mut text: String) -> String {
    if text.len() > TERM_BYTES_MAX {
        let end = (0..=TERM_BYTES_MAX)
            .rev()
            .find(|&i| text.is_char_boundary(i))
            .unwrap_or(0);
        text.truncate(end);
    }
    text
}

impl Tokenizer for Analyser {
    type TokenStream<'a> = Tokens<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Tokens<'a> {
        // Offsets into the text are not indexed: a hit's characters come from the catalog.
        self.tokens.clear();
        self.tokens
            .extend(Self::terms(text).into_iter().map(|term| Token {
                offset_from: 0,
                offset_to: 0,
                position: term.position,
                text: term.text,
                position_length: 1,
            }));
        Tokens::new(&mut self.tokens)
    }
}

/// The terms as the index takes them.
pub(crate) struct Tokens<'a> {
    tokens: &'a mut [Token],
    next: usize,
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(tokens: &'a mut [Token]) -> Self {
        Self { tokens, next: 0 }
    }
}

impl TokenStream for Tokens<'_> {
    fn advance(&mut self) -> bool {
        self.next += 1;
        self.next <= self.tokens.len()
    }

    fn token(&self) -> &Token {
        &self.tokens[self.next - 1]
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.tokens[self.next - 1]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn terms(text: &str) -> Vec<String> {
        Analyser::terms(text).into_iter().map(|t| t.text).collect()
    }

    #[test]
    fn a_particle_leaves_the_bigrams_of_its_noun() {
        assert_eq!(terms("계약서를"), ["계약", "약서", "서를"]);
        assert_eq!(terms("계약서"), ["계약", "약서"]);
        assert_eq!(terms("제3조"), ["제", "3", "조"]);
    }

    #[test]
    fn composed_decomposed_and_full_width_text_are_the_same() {
        let composed = "한국어 ABC 123";
        let decomposed: String = composed.nfd().collect();
        assert_eq!(terms(&decomposed), terms(composed));
        assert_eq!(terms("ＡＢＣ　１２３"), terms("abc 123"));
        assert_eq!(terms("ｶﾀｶﾅ"), terms("カタカナ"));
    }

    #[test]
    fn numbers_and_part_numbers_are_kept_whole_and_in_parts() {
        assert_eq!(terms("v1.2.3"), ["v1.2.3", "v1", "2", "3"]);
        assert_eq!(terms("AB-1234"), ["ab-1234", "ab", "1234"]);
        assert_eq!(terms("1,000억"), ["1000", "억"]);
        assert_eq!(terms("2024-01-31."), ["2024-01-31", "2024", "01", "31"]);
        assert_eq!(terms("1,2,3"), ["1,2,3", "1", "2", "3"]);
    }

    #[test]
    fn latin_words_are_stemmed_and_mixed_ones_are_not() {
        assert_eq!(terms("Running contracts"), ["run", "contract"]);
        assert_eq!(
            terms("the company's well-known rules"),
            ["the", "compani", "well", "known", "rule"]
        );
        assert_eq!(terms("B2B커머스"), ["b2b", "커머", "머스"]);
        assert_eq!(terms("naïve"), ["naïve"]);
    }

    #[test]
    fn the_whole_and_its_first_part_share_a_position() {
        let positions: Vec<usize> = Analyser::terms("ab-12 가나다")
            .iter()
            .map(|t| t.position)
            .collect();
        assert_eq!(positions, [0, 0, 1, 2, 3]);
    }

    proptest! {
        #[test]
        fn any_text_gives_short_terms_in_rising_positions(text in "\\PC{0,200}") {
            let terms = Analyser::terms(&text);
            prop_assert!(terms.windows(2).all(|w| w[0].position <= w[1].position));
            prop_assert!(terms.iter().all(|t| !t.text.is_empty() && t.text.len() <= TERM_BYTES_MAX));
        }
    }
}
