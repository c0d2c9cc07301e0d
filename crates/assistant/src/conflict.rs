//! Sources that contradict each other: two documents say the same thing with different figures.
//!
//! Only figures are compared, and only where the question asks for one or the documents are editions of one another: a
//! contradiction in words is not something to guess at. Of two editions the newer counts, and that is said.

use std::collections::BTreeSet;

use knowledge::Hit;
use knowledge::edition::{Edition, Newer};

use crate::evidence::Evidence;
use crate::sources::SourceSentence;
use crate::words::{Asks, WordKind, content_words, tokens};

/// Both sentences must answer the question at least this well.
const SCORE_MIN: f64 = 0.6;
/// And share this much of their other words (Jaccard).
const SHARED_WORDS_MIN: f64 = 0.5;
/// Sentences looked at.
const COMPARED_MAX: usize = 8;

/// Two sentences that contradict each other on what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// Index of the one that answers better, or that leads.
    pub(crate) first: usize,
    /// Index of the other one.
    pub(crate) second: usize,
    /// Why the document of the first leads, if it does.
    pub(crate) lead: Option<Lead>,
}

/// Why one edition of a document leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lead {
    /// It is newer.
    Newer(Newer),
    /// The question names it.
    Asked,
}

/// The first contradiction among the sentences that answer best.
pub(crate) fn find(
    evidence: &Evidence,
    sentences: &[SourceSentence],
    asks: Asks,
    question: &str,
) -> Option<Conflict> {
    let mut best: Vec<usize> = (0..sentences.len())
        .filter(|&i| sentences[i].score >= SCORE_MIN)
        .collect();
    best.sort_by(|&a, &b| sentences[b].score.total_cmp(&sentences[a].score));
    best.truncate(COMPARED_MAX);
    let hit = |i: usize| &evidence.candidates[sentences[i].candidate].hit;
    for (k, &a) in best.iter().enumerate() {
        for &b in &best[k + 1..] {
            let is_one = hit(a).document_id == hit(b).document_id;
            if is_one || !contradict(&sentences[a].text, &sentences[b].text) {
                continue;
            }
            let conflict = |first, second, lead| Conflict { first, second, lead };
            if let Some(why) = lead(hit(a), hit(b), question) {
                return Some(conflict(a, b, Some(why)));
            }
            if let Some(why) = lead(hit(b), hit(a), question) {
                return Some(conflict(b, a, Some(why)));
            }
            if asks == Asks::Number {
                return Some(conflict(a, b, None));
            }
        }
    }
    None
}

/// Why a document leads over another edition of it: the question names it alone, or it is newer and not out of force.
fn lead(new: &Hit, old: &Hit, question: &str) -> Option<Lead> {
    let (edition, other) = (Edition::from(new), Edition::from(old));
    let newer = edition.newer_than(&other);
    let are_editions = newer.is_some() || other.newer_than(&edition).is_some();
    match (edition.is_named_in(question), other.is_named_in(question)) {
        (true, false) if are_editions => Some(Lead::Asked),
        (false, true) => None,
        _ => newer.filter(|_| new.holds || !old.holds).map(Lead::Newer),
    }
}

/// Whether two sentences share their words but not their figures.
fn contradict(a: &str, b: &str) -> bool {
    let (figures_a, figures_b) = (figures(a), figures(b));
    if figures_a.is_empty() || figures_b.is_empty() || !figures_a.is_disjoint(&figures_b) {
        return false;
    }
    let (words_a, words_b) = (words(a), words(b));
    let shared = words_a.intersection(&words_b).count();
    let all = words_a.union(&words_b).count();
    all > 0 && shared as f64 / all as f64 >= SHARED_WORDS_MIN
}

fn figures(text: &str) -> BTreeSet<String> {
    tokens(text)
        .into_iter()
        .filter(|t| t.starts_with(char::is_numeric))
        .map(|t| t.replace(',', ""))
        .collect()
}

fn words(text: &str) -> BTreeSet<String> {
    content_words(text)
        .into_iter()
        .filter(|w| w.kind != WordKind::Number)
        .map(|w| w.text.to_lowercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::contradict;

    #[test]
    fn the_same_words_with_other_figures_contradict() {
        assert!(contradict(
            "A refund takes 5 business days.",
            "A refund takes 7 business days."
        ));
        assert!(contradict(
            "환불은 5일 이내에 처리됩니다.",
            "환불은 7일 이내에 처리됩니다."
        ));
    }

    #[test]
    fn agreement_and_other_subjects_do_not() {
        assert!(!contradict(
            "A refund takes 5 business days.",
            "A refund takes 5 business days."
        ));
        assert!(!contradict(
            "A refund takes 5 business days.",
            "The office has 7 parking places."
        ));
        assert!(!contradict(
            "A refund takes up to a week.",
            "A refund takes 7 business days."
        ));
        assert!(!contradict("The limit is 1,000 won.", "The limit is 1000 won."));
    }
}
