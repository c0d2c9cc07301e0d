//! Sources that contradict each other: two documents say the same thing with different figures.
//!
//! Only figures are compared, and only where the question asks for one: a contradiction in words is
//! not something to guess at.

use std::collections::BTreeSet;

use crate::evidence::Evidence;
use crate::sources::SourceSentence;
use crate::words::{Asks, WordKind, content_words, tokens};

/// Both sentences must answer the question at least this well.
const SCORE_MIN: f64 = 0.6;
/// And share this much of their other words (Jaccard).
const SHARED_WORDS_MIN: f64 = 0.5;
/// Sentences looked at.
const COMPARED_MAX: usize = 8;

/// Indices of two sentences that contradict each other on what is asked.
pub(crate) fn find(evidence: &Evidence, sentences: &[SourceSentence], asks: Asks) -> Option<(usize, usize)> {
    if asks != Asks::Number {
        return None;
    }
    let mut best: Vec<usize> = (0..sentences.len())
        .filter(|&i| sentences[i].score >= SCORE_MIN)
        .collect();
    best.sort_by(|&a, &b| sentences[b].score.total_cmp(&sentences[a].score));
    best.truncate(COMPARED_MAX);
    let document = |i: usize| &evidence.candidates[sentences[i].candidate].hit.document_id;
    best.iter().enumerate().find_map(|(k, &a)| {
        best[k + 1..]
            .iter()
            .find(|&&b| document(a) != document(b) && contradict(&sentences[a].text, &sentences[b].text))
            .map(|&b| (a, b))
    })
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
