//! What a text names exactly: dates, amounts, percentages, clauses, part numbers; each under one name however written.
//!
//! "2024-03-01", "2024년 3월 1일" and "1 March 2024" become the same index term; two different dates never do. What
//! can be read in two ways ("03/04/2024") gets no such term: it is still found by its characters.

mod amount;
mod clause;
mod cursor;
mod date;
mod number;
mod part;

use std::ops::Range;

use crate::analyser::fold;
use clause::Clause;
use cursor::Cursor;
use date::Date;
use number::Decimal;

/// What the wider forms of a question's clause (its article) are worth beside the clause itself.
const WIDER_WEIGHT: f32 = 0.5;
/// ① to ⑳ begin paragraphs in Korean statutes and contracts. Folding makes plain digits of them, so they are put
/// aside first: from here on, in an area of Unicode that folding leaves alone.
const MARK_FIRST: u32 = 0xF_0000;
const CIRCLED: std::ops::RangeInclusive<char> = '\u{2460}'..='\u{2473}';

/// Something named exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    Date(Date),
    Amount(&'static str, Decimal),
    Number(Decimal),
    Percent(Decimal),
    Points(Decimal),
    Clause(Clause),
    /// A number within a document's own numbering: "4.2.1".
    Section(String),
    Part(String),
    /// The mark that begins a paragraph of an article.
    Paragraph(u32),
}

/// The article that the text at some place belongs to; carried from passage to passage of a document.
#[derive(Debug, Clone, Default)]
pub(crate) struct Article(Option<Clause>);

impl Article {
    /// The index terms of a passage: what it names, each also in its wider forms, so that "2024년 3월" finds a day in
    /// it. `headings` stand above it.
    pub(crate) fn terms_of_passage(&mut self, headings: &[&str], text: &str) -> Vec<String> {
        let mut terms = Vec::new();
        for heading in headings {
            self.read(heading, &mut terms);
        }
        self.read(text, &mut terms);
        terms
    }

    fn read(&mut self, text: &str, terms: &mut Vec<String>) {
        let chars = prepare(text);
        scan(&chars, |span, named| {
            let is_first = begins_line(&chars, span.start);
            match named {
                Named::Clause(clause) if is_first && clause.is_article() => {
                    self.0 = Some(clause.article());
                    terms.extend(clause.terms());
                }
                Named::Paragraph(n) if is_first => {
                    let whole = self.0.as_ref().map_or_else(Clause::default, Clause::article);
                    // The article itself was named where it began.
                    terms.extend(whole.with_paragraph(n).terms().pop());
                    terms.extend(Clause::default().with_paragraph(n).terms().pop());
                }
                Named::Paragraph(_) => {}
                other => {
                    terms.extend(other.wider());
                    terms.push(other.term());
                }
            }
        });
    }
}

/// The index terms of a question with their weights: each thing as exactly as it is named.
pub(crate) fn terms_of_question(text: &str) -> Vec<(String, f32)> {
    let chars = prepare(text);
    let mut terms = Vec::new();
    scan(&chars, |_, named| match named {
        Named::Clause(clause) => {
            let mut all = clause.terms();
            terms.extend(all.pop().map(|term| (term, 1.0)));
            terms.extend(all.into_iter().map(|term| (term, WIDER_WEIGHT)));
        }
        Named::Paragraph(n) => {
            let clause = Clause::default().with_paragraph(n);
            terms.extend(clause.terms().into_iter().map(|term| (term, 1.0)));
        }
        other => terms.push((other.term(), 1.0)),
    });
    terms
}

/// Where clauses are named in text that [`fold`] has gone over.
pub(crate) fn clauses_in(chars: &[char]) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    scan(chars, |span, named| {
        if matches!(named, Named::Clause(_)) {
            spans.push(span);
        }
    });
    spans
}

impl Named {
    fn term(&self) -> String {
        match self {
            Self::Date(date) => date.term(),
            Self::Amount(currency, value) => format!("{currency}:{value}"),
            Self::Number(value) => format!("n:{value}"),
            Self::Percent(value) => format!("%:{value}"),
            Self::Points(value) => format!("%p:{value}"),
            Self::Clause(clause) => clause.terms().pop().unwrap_or_default(),
            Self::Section(path) => format!("s:{path}"),
            Self::Part(name) => format!("p:{name}"),
            Self::Paragraph(n) => format!("c:항{n}"),
        }
    }

    /// Less exact names for the same.
    fn wider(&self) -> Vec<String> {
        match self {
            Self::Date(date) => date.wider(),
            Self::Amount(_, value) => vec![Self::Number(*value).term()],
            Self::Clause(clause) => {
                let mut terms = clause.terms();
                terms.pop();
                terms
            }
            _ => Vec::new(),
        }
    }
}

fn prepare(text: &str) -> Vec<char> {
    if !text.contains(|c| CIRCLED.contains(&c)) {
        return fold(text);
    }
    let mark = |c: char| {
        let n = u32::from(c) - u32::from(*CIRCLED.start()) + 1;
        char::from_u32(MARK_FIRST + n).unwrap_or(c)
    };
    let marked: String = text
        .chars()
        .map(|c| if CIRCLED.contains(&c) { mark(c) } else { c })
        .collect();
    fold(&marked)
}

/// Finds what is named, from left to right, each character in one thing at most.
fn scan(chars: &[char], mut visit: impl FnMut(Range<usize>, Named)) {
    let mut at = Cursor::new(chars);
    while let Some(c) = at.peek() {
        match name_at(at, c) {
            Some((named, after)) => {
                visit(at.place()..after.place(), named);
                at = after;
            }
            None => at = at.skip_word(),
        }
    }
}

fn name_at<'a>(at: Cursor<'a>, c: char) -> Option<(Named, Cursor<'a>)> {
    let mark = u32::from(c).wrapping_sub(MARK_FIRST);
    if (1..=20).contains(&mark) {
        return Some((Named::Paragraph(mark), at.next()));
    }
    if c.is_whitespace() {
        return None;
    }
    date::read(at)
        .map(|(date, after)| (Named::Date(date), after))
        .or_else(|| clause::read(at))
        .or_else(|| amount::read(at))
        .or_else(|| part::read(at))
}

fn begins_line(chars: &[char], at: usize) -> bool {
    let before = chars[..at].iter().rev();
    let mut before = before.skip_while(|c| matches!(c, ' ' | '\t' | '#' | '*' | '-'));
    before.next().is_none_or(|c| *c == '\n')
}

#[cfg(test)]
mod tests;
