//! Answering by quoting alone: the sentences that best cover the question, each cited as it stands.

use crate::evidence::{Evidence, MATCHED_ENOUGH};
use crate::sources::SourceSentence;
use crate::words::content_words;

/// Sentences of an extractive answer at most.
const SENTENCES_MAX: usize = 3;
/// A quoted sentence shorter than this takes the next one with it, unless it tells all that the question names: a bare
/// clause rarely tells enough.
const SHORT_CHARS: usize = 60;
/// A quote ends before it grows longer than this.
const RUN_CHARS_MAX: usize = 420;
/// A further quote must answer at least this share of what the best one does.
const FURTHER_SHARE: f64 = 0.8;

/// Runs of neighbouring sentences (index ranges) to quote, the best first.
pub(crate) fn choose(evidence: &Evidence, sentences: &[SourceSentence]) -> Vec<std::ops::Range<usize>> {
    let mut order: Vec<usize> = (0..sentences.len()).collect();
    // Stable: of equal sentences the one of the better passage, then the earlier one, wins.
    order.sort_by(|&a, &b| sentences[b].score.total_cmp(&sentences[a].score));
    let Some(&best) = order.first() else {
        return Vec::new();
    };
    let threshold = sentences[best].score * FURTHER_SHARE;
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    let mut n_sentences = 0;
    for index in order {
        if n_sentences >= SENTENCES_MAX || sentences[index].score < threshold || sentences[index].score <= 0.0
        {
            break;
        }
        let taken = runs.iter().any(|run| run.contains(&index));
        if taken || repeats(sentences, &runs, index) || !worth_quoting(evidence, sentences, index, best) {
            continue;
        }
        let run = grow(sentences, index, &runs);
        n_sentences += run.len();
        runs.push(run);
    }
    runs
}

/// A quote from another passage must come from one that covers the question about as well. Another row of a table must
/// name everything that the best one names of the question: else it is about something else.
fn worth_quoting(evidence: &Evidence, sentences: &[SourceSentence], index: usize, best: usize) -> bool {
    let coverage = |i: usize| evidence.candidates[sentences[i].candidate].coverage;
    let (other, first) = (&sentences[index], &sentences[best]);
    let names_as_much = other
        .names
        .iter()
        .zip(&first.names)
        .all(|(other, first)| *other || !first);
    let is_about_it = !(other.is_row && first.is_row) || names_as_much;
    index == best || is_about_it && coverage(index) + MATCHED_ENOUGH >= coverage(best)
}

fn repeats(sentences: &[SourceSentence], runs: &[std::ops::Range<usize>], index: usize) -> bool {
    let squeeze = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    let text = squeeze(&sentences[index].text);
    runs.iter()
        .flat_map(Clone::clone)
        .any(|i| squeeze(&sentences[i].text).contains(&text))
}

/// Whether a sentence names all that the question names, and something more: that is then what it says of it. A line
/// without an end, as a heading, says nothing of anything.
fn tells_all(sentence: &SourceSentence) -> bool {
    let n_own = content_words(&sentence.text)
        .iter()
        .filter(|word| !word.light)
        .count();
    let has_end = sentence.text.trim_end().ends_with(['.', '!', '。', '！']);
    has_end && sentence.names.iter().all(|is_named| *is_named) && n_own > sentence.names.len()
}

/// Adds following sentences of the same passage to one that is a heading, ends in a colon, or is short and does not tell
/// all.
fn grow(
    sentences: &[SourceSentence],
    index: usize,
    runs: &[std::ops::Range<usize>],
) -> std::ops::Range<usize> {
    let mut end = index + 1;
    let mut chars = sentences[index].text.chars().count();
    let tells_all = tells_all(&sentences[index]);
    while let Some(next) = sentences.get(end) {
        let last = &sentences[end - 1];
        let is_short = chars < SHORT_CHARS && !last.is_row && !tells_all;
        let open = last.introduces || last.text.trim_end().ends_with([':', '：']) || is_short;
        let fits = chars + next.text.chars().count() <= RUN_CHARS_MAX;
        let free = next.candidate == sentences[index].candidate
            && end - index < SENTENCES_MAX
            && !next.introduces
            && !runs.iter().any(|run| run.contains(&end));
        if !(open && fits && free) {
            break;
        }
        chars += next.text.chars().count();
        end += 1;
    }
    index..end
}
