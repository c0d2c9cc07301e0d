//! The sentences of the found passages: what can be quoted, and how well each answers the question.

use std::ops::Range;

use knowledge::{View, sentence};

use crate::Citation;
use crate::evidence::{Candidate, Evidence, Haystack, MATCHED_MIN, weighted_share};
use crate::words::Asks;

/// A heading above a sentence speaks for it, but less than its own words do.
const CONTEXT_SHARE: f64 = 0.6;
/// So does the sentence before it.
const PREVIOUS_SHARE: f64 = 0.4;
/// A sentence with a number, where a number is asked for, and one without.
const NUMBER_BONUS: f64 = 0.1;
const NO_NUMBER_FACTOR: f64 = 0.8;
/// Headings and questions introduce an answer; they are not one.
const NOT_AN_ANSWER_FACTOR: f64 = 0.4;

/// Between the cells of a row.
const CELL_GAP: &str = " | ";

/// A sentence of a found passage.
#[derive(Debug)]
pub(crate) struct SourceSentence {
    /// Index of the passage in [`Evidence::candidates`].
    pub(crate) candidate: usize,
    /// Characters of the document's stored text.
    pub(crate) span: Range<usize>,
    /// Those characters.
    pub(crate) text: String,
    /// Prepared for matching.
    pub(crate) haystack: Haystack,
    /// How well it answers the question, about 0 to 1.
    pub(crate) score: f64,
    /// A heading or a question.
    pub(crate) introduces: bool,
    /// A row of a table: it says what it says without those beside it.
    pub(crate) is_row: bool,
    /// Which words of the question stand in it.
    pub(crate) names: Vec<bool>,
}

/// Splits the passages worth quoting into sentences and scores each.
pub(crate) fn sentences(view: &View<'_>, evidence: &Evidence, asks: Asks) -> Vec<SourceSentence> {
    let mut all = Vec::new();
    for (index, candidate) in evidence.candidates.iter().enumerate() {
        let first = all.len();
        split(view, index, candidate, &mut all);
        score(&mut all[first..], candidate, evidence, asks);
    }
    all
}

fn split(view: &View<'_>, index: usize, candidate: &Candidate, all: &mut Vec<SourceSentence>) {
    let chars: Vec<char> = candidate.hit.text.chars().collect();
    for range in sentence::split(&candidate.hit.text) {
        let range = trim(&chars, range);
        if range.is_empty() {
            continue;
        }
        let text: String = chars[range.clone()].iter().collect();
        let introduces = introduces(&text, candidate);
        all.push(SourceSentence {
            candidate: index,
            span: candidate.hit.start + range.start..candidate.hit.start + range.end,
            haystack: Haystack::of(view, &text),
            is_row: text.contains(CELL_GAP),
            names: Vec::new(),
            text,
            score: 0.0,
            introduces,
        });
    }
}

fn trim(chars: &[char], range: Range<usize>) -> Range<usize> {
    let mut range = range.start..range.end.min(chars.len());
    while range.start < range.end && chars[range.start].is_whitespace() {
        range.start += 1;
    }
    while range.start < range.end && chars[range.end - 1].is_whitespace() {
        range.end -= 1;
    }
    range
}

fn introduces(text: &str, candidate: &Candidate) -> bool {
    let bare = text.trim_start_matches(['#', ' ', '*']).trim();
    bare.ends_with('?')
        || bare == candidate.hit.title
        || candidate
            .hit
            .heading_path
            .iter()
            .any(|heading| heading.trim() == bare)
}

/// A line of a table of contents: dot leaders, then a page number.
fn is_contents_line(text: &str) -> bool {
    text.contains(". . .") || text.contains("....") || text.contains("· · ·") || text.contains("……")
}

fn score(sentences: &mut [SourceSentence], candidate: &Candidate, evidence: &Evidence, asks: Asks) {
    let mut previous: Vec<f64> = vec![0.0; evidence.sought.len()];
    for sentence in sentences {
        let own: Vec<f64> = evidence
            .sought
            .iter()
            .map(|s| sentence.haystack.contains(s))
            .collect();
        let previous_share = if sentence.is_row { 0.0 } else { PREVIOUS_SHARE };
        let degrees: Vec<f64> = own
            .iter()
            .zip(&evidence.sought)
            .zip(&previous)
            .map(|((own, sought), before)| {
                own.max(CONTEXT_SHARE * candidate.context.contains(sought))
                    .max(previous_share * before)
            })
            .collect();
        let mut score = weighted_share(&evidence.sought, &degrees);
        if asks == Asks::Number {
            let has_number = sentence.text.chars().any(|c| c.is_ascii_digit());
            score = if has_number {
                score + NUMBER_BONUS
            } else {
                score * NO_NUMBER_FACTOR
            };
        }
        if sentence.introduces {
            score *= NOT_AN_ANSWER_FACTOR;
        }
        if is_contents_line(&sentence.text) {
            score = 0.0;
        }
        // A passage that leaves the question's subject out cannot lend its sentences more weight than it has.
        sentence.score = score * (0.5 + 0.5 * candidate.coverage);
        sentence.names = own.iter().map(|degree| *degree >= MATCHED_MIN).collect();
        previous = own;
    }
}

/// The citation of sentences `first..=last`, which must belong to one passage.
pub(crate) fn cite(view: &View<'_>, evidence: &Evidence, run: &[SourceSentence]) -> Option<Citation> {
    let (first, last) = (run.first()?, run.last()?);
    let candidate = &evidence.candidates[first.candidate];
    let hit = &candidate.hit;
    let (start, end) = (first.span.start, last.span.end);
    let quote: String = hit
        .text
        .chars()
        .skip(start - hit.start)
        .take(end.saturating_sub(start))
        .collect();
    // The last word has the store: what it holds at this span of this version, character for character.
    let document = view.document(&hit.document_id, Some(&hit.version)).ok()??;
    let stored = document.text.chars().skip(start).take(end.saturating_sub(start));
    if quote.is_empty() || !stored.eq(quote.chars()) {
        return None;
    }
    let page = document
        .pages
        .iter()
        .find(|p| (p.start..p.end).contains(&start))
        .map(|p| p.page);
    Some(Citation {
        document_id: hit.document_id.clone(),
        version: hit.version.clone(),
        path: hit.path.clone(),
        title: hit.title.clone(),
        page: page.or(hit.page),
        start,
        end,
        quote,
        validity: hit.validity,
        holds: hit.holds,
    })
}
