//! The statements of a text: sentences with figures, as a skeleton of words in which the figures are gaps.
//!
//! "A refund takes 5 business days." and "Refunds take 7 business days." have one skeleton. A number that only tells
//! which thing is meant (Article 5, 제5조, the year 2024, A4) is no figure but a word.

use std::collections::HashMap;
use std::ops::Range;

use rust_stemmers::{Algorithm, Stemmer};

use super::sketch::{Hash, mix};
use crate::sentence;
use crate::validity::date_at;

/// Sentences of another length state too little, or too much at once.
const CHARS: std::ops::RangeInclusive<usize> = 10..=300;
/// Figures that a compared sentence may have.
const FIGURES_MAX: usize = 4;
/// Words that carry meaning, at least.
const CONTENT_MIN: usize = 3;
/// Statements that are taken of one document.
const STATEMENTS_MAX: usize = 400;

/// A sentence with figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    /// In characters of the text.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Its words in order with gaps for figures.
    pub(super) skeleton: u64,
    /// Its figures in order.
    pub(super) figures: Vec<u64>,
    /// The words that carry meaning.
    pub(super) content: Vec<u64>,
}

/// Stems of words as they are met: finding one costs more than looking it up, and texts repeat their words.
pub(super) struct Stems {
    stemmer: Stemmer,
    known: HashMap<String, Option<Stem>>,
}

/// The hash of a stem, and whether it carries meaning.
type Stem = (u64, bool);

/// Stems that are remembered.
const STEMS_MAX: usize = 1 << 16;

impl Default for Stems {
    fn default() -> Self {
        Self {
            stemmer: Stemmer::create(Algorithm::English),
            known: HashMap::new(),
        }
    }
}

impl Stems {
    /// `None` for a word of grammar.
    fn of(&mut self, word: &str) -> Option<Stem> {
        if let Some(known) = self.known.get(word) {
            return *known;
        }
        let found = stem(word, &self.stemmer).map(|stem| (Hash::text(&stem), is_content(&stem)));
        if self.known.len() < STEMS_MAX {
            self.known.insert(word.to_owned(), found);
        }
        found
    }
}

/// The statements of a text.
pub(super) fn of_text(text: &str, stems: &mut Stems) -> Vec<Statement> {
    let mut found = Vec::new();
    let mut offset = 0;
    for line in text.split('\n') {
        let n_chars = line.chars().count();
        // A row of a table means nothing without its head, a line of a table of contents nothing at all.
        if line.contains(|c: char| c.is_ascii_digit()) && !line.contains(" | ") && !has_leaders(line) {
            let chars: Vec<char> = line.chars().collect();
            let list = list_numbers(&chars);
            for range in sentence::split(line) {
                let range = without_list_number(&chars, range, &list);
                if CHARS.contains(&range.len()) && found.len() < STATEMENTS_MAX {
                    let (start, end) = (offset + range.start, offset + range.end);
                    found.extend(statement(&chars[range], stems).map(|s| Statement { start, end, ..s }));
                }
            }
        }
        offset += n_chars + 1;
    }
    found
}

/// Dots that lead to the number of a page.
fn has_leaders(line: &str) -> bool {
    [". . .", "....", "· · ·", "……"]
        .iter()
        .any(|leaders| line.contains(leaders))
}

/// A number with which an entry of a list begins, within a line: "Name: 7. Address: 8. Town".
struct ListNumber {
    /// Where its digits begin.
    at: usize,
    value: u32,
    /// Where the text of its entry begins.
    after: usize,
}

/// What looks like numbers of a list.
fn list_numbers(chars: &[char]) -> Vec<ListNumber> {
    const DIGITS_MAX: usize = 3;
    let mut found = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let n = chars[at..].iter().take_while(|c| c.is_ascii_digit()).count();
        if n == 0 {
            at += 1;
            continue;
        }
        let end = at + n;
        let is_alone = at == 0 || chars[at - 1].is_whitespace() || matches!(chars[at - 1], ':' | '(' | '：');
        let is_ended =
            matches!(chars.get(end), Some('.' | ')')) && chars.get(end + 1).is_none_or(|c| c.is_whitespace());
        if is_alone && is_ended && n <= DIGITS_MAX {
            let digits: String = chars[at..end].iter().collect();
            found.extend(digits.parse().map(|value| ListNumber {
                at,
                value,
                after: end + 1,
            }));
        }
        at = end;
    }
    found
}

/// A sentence without the number of the entry that follows it, where sentences are parted behind that number: it says
/// nothing of the sentence. A number that ends a sentence by right has no neighbour in a list, nor an empty label before
/// and another label behind it.
fn without_list_number(chars: &[char], sentence: Range<usize>, list: &[ListNumber]) -> Range<usize> {
    let trimmed = |mut end: usize| {
        while end > sentence.start && chars[end - 1].is_whitespace() {
            end -= 1;
        }
        end
    };
    let end = trimmed(sentence.end);
    let Some(last) = list
        .iter()
        .find(|number| number.after == end && number.at > sentence.start)
    else {
        return sentence;
    };
    let is_listed = list.iter().any(|other| other.value.abs_diff(last.value) == 1);
    let is_label = |c: &char| matches!(c, ':' | '：');
    let is_between_labels =
        chars[..trimmed(last.at)].last().is_some_and(is_label) && chars[last.after..].iter().any(is_label);
    if is_listed || is_between_labels {
        sentence.start..trimmed(last.at)
    } else {
        sentence
    }
}

/// What a title, or a name, is about.
pub(super) fn subjects(title: &str) -> Vec<u64> {
    let stemmer = Stemmer::create(Algorithm::English);
    let chars: Vec<char> = title.chars().collect();
    let tokens = tokens(&chars).into_iter().filter_map(|token| match token {
        Token::Word(word) => {
            stem(&word, &stemmer).filter(|stem| is_content(stem) && !GENERIC.contains(&stem.as_str()))
        }
        Token::Figure { .. } => None,
    });
    tokens.map(|stem| Hash::text(&stem)).collect()
}

/// Words of titles that name a kind of document and no subject; stemmed.
const GENERIC: [&str; 22] = [
    "polici",
    "guid",
    "guidelin",
    "rule",
    "manual",
    "handbook",
    "document",
    "regul",
    "procedur",
    "note",
    "faq",
    "overview",
    "규정",
    "지침",
    "안내",
    "규칙",
    "매뉴얼",
    "내규",
    "기준",
    "정책",
    "안내서",
    "세칙",
];

enum Token {
    Word(String),
    Figure { value: String, year: bool },
}

fn statement(chars: &[char], stems: &mut Stems) -> Option<Statement> {
    // A question states nothing.
    if matches!(chars.last(), Some('?' | '？')) {
        return None;
    }
    let mut tokens = tokens(chars);
    // "3. Refunds take …": the number of the paragraph.
    if matches!(tokens.first(), Some(Token::Figure { .. })) && is_enumerated(chars) {
        tokens.remove(0);
    }
    let mut out = Statement {
        start: 0,
        end: 0,
        skeleton: 0x5EED,
        figures: Vec::new(),
        content: Vec::new(),
    };
    for (i, token) in tokens.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|i| tokens.get(i));
        match token {
            Token::Figure { value, year } if !is_reference(before, tokens.get(i + 1), *year) => {
                out.figures.push(Hash::text(value));
                out.word(GAP);
            }
            Token::Figure { value, .. } => out.word(Hash::text(value)),
            Token::Word(word) => {
                if let Some((hash, is_content)) = stems.of(word) {
                    out.word(hash);
                    if is_content {
                        out.content.push(hash);
                    }
                }
            }
        }
    }
    out.content.sort_unstable();
    out.content.dedup();
    let fits = (1..=FIGURES_MAX).contains(&out.figures.len()) && out.content.len() >= CONTENT_MIN;
    fits.then_some(out)
}

/// Stands for a figure.
const GAP: u64 = 0x6A70;

impl Statement {
    fn word(&mut self, hash: u64) {
        self.skeleton = mix(self.skeleton.rotate_left(5) ^ hash);
    }
}

/// "3. ", "3) ", "(3) " at the beginning.
fn is_enumerated(chars: &[char]) -> bool {
    let inner = chars.strip_prefix(&['(']).unwrap_or(chars);
    let digits = inner.iter().take_while(|c| c.is_ascii_digit()).count();
    digits > 0
        && matches!(inner.get(digits), Some('.' | ')'))
        && inner.get(digits + 1).is_some_and(|c| c.is_whitespace())
}

/// Runs of letters of one script, and figures.
fn tokens(chars: &[char]) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        if c.is_ascii_digit() {
            let end = figure(chars, at, &mut tokens);
            at = end.max(at + 1);
        } else if c.is_alphabetic() {
            let date = date_at(&chars[at..]).filter(|_| at == 0 || !chars[at - 1].is_alphanumeric());
            if let Some((date, length)) = date {
                tokens.push(Token::Figure {
                    value: date.to_string(),
                    year: false,
                });
                at += length;
                continue;
            }
            let kind = is_hangul(c);
            let is_same = |c: &char| c.is_alphabetic() && is_hangul(*c) == kind || *c == '\'' && !kind;
            let mut end = at + chars[at..].iter().take_while(|c| is_same(c)).count();
            // "A4", "COVID-19", "v2": a name.
            if !kind {
                let rest = &chars[end..];
                let joint = usize::from(matches!(rest, ['-', c, ..] if c.is_ascii_digit()));
                end += match rest[joint..]
                    .iter()
                    .take_while(|c| c.is_ascii_alphanumeric())
                    .count()
                {
                    0 => 0,
                    n => joint + n,
                };
            }
            tokens.push(Token::Word(lower(&chars[at..end])));
            at = end;
        } else {
            if matches!(c, '%' | '€' | '$' | '£' | '₩' | '℃' | '°') {
                tokens.push(Token::Word(c.to_string()));
            }
            at += 1;
        }
    }
    tokens
}

/// Lower case. ASCII and Hangul, which is nearly everything, do without a look at the tables.
fn lower(chars: &[char]) -> String {
    let mut text = String::with_capacity(chars.len());
    for &c in chars {
        match c {
            _ if c.is_ascii() => text.push(c.to_ascii_lowercase()),
            _ if is_hangul(c) => text.push(c),
            _ => text.extend(c.to_lowercase()),
        }
    }
    text
}

/// A figure that begins at `at`; returns where it ends. "1,000", "3.5", "10:30", "2024. 3. 1.", "2nd" (a word).
fn figure(chars: &[char], at: usize, tokens: &mut Vec<Token>) -> usize {
    if let Some((date, length)) = date_at(&chars[at..]) {
        tokens.push(Token::Figure {
            value: date.to_string(),
            year: false,
        });
        return at + length;
    }
    let mut end = at;
    while end < chars.len() {
        let joined = matches!(chars[end], ',' | '.' | ':' | '-' | '/')
            && chars.get(end + 1).is_some_and(char::is_ascii_digit);
        match chars[end].is_ascii_digit() {
            true => end += 1,
            false if joined => end += 2,
            false => break,
        }
    }
    let value: String = chars[at..end].iter().filter(|c| **c != ',').collect();
    let after: String = chars[end..].iter().take(2).collect();
    if ["st", "nd", "rd", "th"].contains(&after.to_lowercase().as_str()) {
        tokens.push(Token::Word(format!("{value}{after}")));
        return end + 2;
    }
    let year = value.len() == 4 && value.parse().is_ok_and(|year: u32| (1900..2100).contains(&year));
    tokens.push(Token::Figure { value, year });
    end
}

/// Whether a number only tells which thing is meant.
fn is_reference(before: Option<&Token>, after: Option<&Token>, year: bool) -> bool {
    const BEFORE: [&str; 29] = [
        "article",
        "articles",
        "section",
        "sections",
        "chapter",
        "clause",
        "paragraph",
        "no",
        "number",
        "page",
        "pages",
        "table",
        "figure",
        "fig",
        "annex",
        "appendix",
        "step",
        "part",
        "item",
        "version",
        "room",
        "building",
        "floor",
        "level",
        "question",
        "example",
        "note",
        "line",
        "제",
    ];
    const AFTER: [&str; 19] = [
        "조", "항", "호", "장", "절", "편", "관", "차", "번", "쪽", "면", "판", "층", "동", "단계", "부",
        "년도", "호실", "학기",
    ];
    const YEARS: [&str; 1] = ["년"];
    let starts = |token: Option<&Token>, words: &[&str]| match token {
        Some(Token::Word(word)) => words.iter().any(|known| {
            word.strip_prefix(known)
                .is_some_and(|rest| rest.is_empty() || is_particle(rest))
        }),
        _ => false,
    };
    let named = matches!(before, Some(Token::Word(word)) if BEFORE.contains(&word.as_str()));
    let unit = matches!(after, Some(Token::Word(word)) if is_hangul(word.chars().next().unwrap_or(' ')));
    named || starts(after, &AFTER) || year && (!unit || starts(after, &YEARS))
}

fn is_hangul(c: char) -> bool {
    ('가'..='힣').contains(&c)
}

/// Particles, the longer ones first.
const PARTICLES: [&str; 26] = [
    "에게서",
    "으로서",
    "으로써",
    "이라고",
    "에서는",
    "에서",
    "에게",
    "까지",
    "부터",
    "으로",
    "라고",
    "이며",
    "이고",
    "에는",
    "은",
    "는",
    "이",
    "가",
    "을",
    "를",
    "에",
    "의",
    "로",
    "와",
    "과",
    "도",
];

fn is_particle(text: &str) -> bool {
    PARTICLES.contains(&text)
}

/// The part of a word that carries its meaning; `None` for words of grammar.
fn stem(word: &str, stemmer: &Stemmer) -> Option<String> {
    const GRAMMAR: [&str; 30] = [
        "a", "an", "the", "is", "are", "be", "been", "was", "were", "of", "to", "in", "on", "at", "by",
        "for", "with", "and", "or", "that", "this", "it", "its", "will", "shall", "as", "from", "which",
        "has", "have",
    ];
    if !word.starts_with(is_hangul) {
        return (!GRAMMAR.contains(&word)).then(|| stemmer.stem(word).into_owned());
    }
    let n = word.chars().count();
    let first = |n: usize| word.chars().take(n).collect::<String>();
    // "처리됩니다" and "처리한다" are both 처리; a sentence's verb is named by its beginning.
    if n > 2 && word.ends_with(['다', '요', '며', '고']) {
        return Some(first(2));
    }
    let ending = PARTICLES
        .iter()
        .find(|ending| word.ends_with(**ending) && n > ending.chars().count() + 1);
    Some(match ending {
        Some(ending) => first(n - ending.chars().count()),
        None => word.to_owned(),
    })
}

fn is_content(stem: &str) -> bool {
    let n = stem.chars().count();
    if stem.starts_with(is_hangul) {
        n >= 2
    } else {
        n >= 3
    }
}
