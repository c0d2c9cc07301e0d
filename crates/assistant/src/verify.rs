//! Checking what the model wrote: a sentence stands only if the documents say it.
//!
//! For each sentence the best-matching run of one or two source sentences is sought. It must contain
//! nearly all content words of the sentence, every number and every name in it, agree in negation, and
//! speak of what was asked. The run is then the quote. This is a check of words, not of meaning: it is
//! built to reject, and what it rejects is not shown.

use std::ops::Range;

use knowledge::{StoreStatus, View};

use crate::evidence::{Evidence, Sought, weigh, weighted_share};
use crate::sources::SourceSentence;
use crate::words::{WordKind, content_words};

/// Weighted share of a written sentence's words that its source must contain.
const SUPPORT_MIN: f64 = 0.8;
/// How far below the best quotable sentence a source may lie on the question: further, and quoting answers better.
const SCORE_SLACK: f64 = 0.08;
/// Written sentences with fewer content words than this tell nothing that could be checked.
const WORDS_MIN: usize = 2;
/// Source sentences one written sentence may draw on, neighbours in one passage.
const RUN_MAX: usize = 2;

/// The run of source sentences that carries `written`, if any.
pub(crate) fn support(
    view: &View<'_>,
    status: &StoreStatus,
    evidence: &Evidence,
    sentences: &[SourceSentence],
    written: &str,
) -> Option<Range<usize>> {
    let words = content_words(written);
    if words.len() < WORDS_MIN || !is_sentence(written) || repeats_question(&words, evidence) {
        return None;
    }
    let sought = weigh(view, status, &words, &[]).ok()?;
    let best_score = sentences.iter().map(|s| s.score).fold(0.0, f64::max);
    let mut best: Option<(f64, Range<usize>)> = None;
    for start in 0..sentences.len() {
        for end in start + 1..=(start + RUN_MAX).min(sentences.len()) {
            let run = &sentences[start..end];
            if run.iter().any(|s| s.candidate != run[0].candidate) {
                break;
            }
            let on_question = run.iter().map(|s| s.score).fold(0.0, f64::max);
            let share = share_of(run, &sought);
            let longer_is_better = best.as_ref().is_none_or(|(b, _)| share > b + 1e-9);
            if share >= SUPPORT_MIN
                && on_question + SCORE_SLACK >= best_score
                && longer_is_better
                && names_and_numbers_hold(run, &sought)
                && negated(written) == run.iter().any(|s| negated(&s.text))
            {
                best = Some((share, start..end));
            }
        }
    }
    best.map(|(_, run)| run)
}

/// Headings and fragments are not answers.
fn is_sentence(text: &str) -> bool {
    text.trim_end_matches(['"', '”', '’', ')', '\''])
        .ends_with(['.', '!', '。', '！'])
}

/// A sentence that only says the question again carries no answer.
fn repeats_question(words: &[crate::words::Word], evidence: &Evidence) -> bool {
    let asked = |text: &str| {
        evidence
            .sought
            .iter()
            .any(|s| s.word.text.eq_ignore_ascii_case(text))
    };
    words.iter().all(|w| w.light || asked(&w.text))
}

fn degree(run: &[SourceSentence], sought: &Sought) -> f64 {
    run.iter()
        .map(|s| s.haystack.contains(sought))
        .fold(0.0, f64::max)
}

fn share_of(run: &[SourceSentence], sought: &[Sought]) -> f64 {
    let degrees: Vec<f64> = sought.iter().map(|s| degree(run, s)).collect();
    weighted_share(sought, &degrees)
}

/// Numbers and capitalised words must stand in the source as they are.
fn names_and_numbers_hold(run: &[SourceSentence], sought: &[Sought]) -> bool {
    sought.iter().enumerate().all(|(position, s)| {
        let name =
            position > 0 && s.word.kind == WordKind::Other && s.word.text.starts_with(char::is_uppercase);
        let exact = s.word.kind == WordKind::Number || name;
        !exact || degree(run, s) >= 1.0
    })
}

/// Whether a sentence denies something.
fn negated(text: &str) -> bool {
    const ENGLISH: &[&str] = &[
        "not", "no", "never", "cannot", "without", "neither", "nor", "none",
    ];
    const KOREAN: &[&str] = &["않", "없", "못", "아니", "아닙", "안 ", "불가", "금지"];
    let lower = text.to_lowercase();
    lower.contains("n't")
        || lower.contains("n’t")
        || lower
            .split(|c: char| !c.is_alphanumeric())
            .any(|w| ENGLISH.contains(&w))
        || KOREAN.iter().any(|cue| lower.contains(cue))
}

#[cfg(test)]
mod tests {
    use super::negated;

    #[test]
    fn denial_is_seen_in_both_languages() {
        for text in [
            "It is not possible.",
            "You can't.",
            "환불되지 않습니다.",
            "수수료가 없습니다.",
        ] {
            assert!(negated(text), "{text}");
        }
        for text in ["It is possible.", "Note the date.", "환불됩니다."] {
            assert!(!negated(text), "{text}");
        }
    }
}
