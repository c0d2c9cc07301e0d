//! The evidence gate: does any passage speak of what the question asks about?
//!
//! No cosine and no BM25 score separates answerable questions from others. What does, and what a
//! reader can follow, is coverage: the share of the question's content words, weighted by how rare
//! they are in these documents, that one passage (with its title and headings) contains.
//! Short questions must be covered well; a long one is carried by the number of words it shares.

use std::collections::{BTreeMap, BTreeSet};

use knowledge::{Hit, StoreError, StoreStatus, View};
use unicode_normalization::UnicodeNormalization as _;

use crate::words::{Word, WordKind};

/// Weight of a word that belongs to the asking, relative to a content word of the same rarity.
const LIGHT_WEIGHT: f64 = 0.3;
/// Weight of a word that every passage contains: in a small house most words are common, and they still count.
const COMMON_WEIGHT: f64 = 0.5;
/// Weight of a word taken over from the previous question, relative to its own.
const HISTORY_WEIGHT: f64 = 0.5;
/// A Hangul word of which less than this share of syllable pairs is present does not count as present.
const PARTIAL_MIN: f64 = 0.5;
/// What a Hangul word is worth whose syllable pairs are all there, but not in one piece.
const SCATTERED_SHARE: f64 = 0.8;
/// A word counts as matched from this degree on.
pub(crate) const MATCHED_MIN: f64 = 0.5;
/// A passage this much below the best one may still be quoted beside it.
pub(crate) const MATCHED_ENOUGH: f64 = 0.25;
/// Between "just enough" and this much more coverage the answer is only partial.
const HEDGE_BAND: f64 = 0.12;
/// What both indexes agreeing on the best passage is worth in coverage.
const AGREEMENT_BONUS: f64 = 0.08;

/// A question's word with its weight and the index terms that stand for it.
#[derive(Debug, Clone)]
pub(crate) struct Sought {
    pub(crate) word: Word,
    /// Inverse document frequency, lowered for light words.
    pub(crate) weight: f64,
    terms: Vec<String>,
}

/// A text prepared for matching words against it.
#[derive(Debug, Default)]
pub(crate) struct Haystack {
    terms: BTreeSet<String>,
    /// Without white space: Korean compounds are written with and without.
    squeezed: String,
}

impl Haystack {
    pub(crate) fn of(view: &View<'_>, text: &str) -> Self {
        let mut haystack = Self::default();
        haystack.add(view, text);
        haystack
    }

    pub(crate) fn add(&mut self, view: &View<'_>, text: &str) {
        self.terms.extend(view.terms(text));
        self.squeezed.extend(text.nfc().filter(|c| !c.is_whitespace()));
        // A border, so that no word is found across two texts.
        self.squeezed.push('\n');
    }

    /// How far `sought` is present, 0 to 1.
    pub(crate) fn contains(&self, sought: &Sought) -> f64 {
        if sought.terms.is_empty() {
            return 0.0;
        }
        if sought.word.kind == WordKind::Hangul {
            if self.squeezed.contains(&sought.word.text) {
                return 1.0;
            }
            if sought.word.text.chars().count() < 3 {
                return 0.0;
            }
        }
        let found = sought
            .terms
            .iter()
            .filter(|term| self.terms.contains(*term))
            .count();
        let share = found as f64 / sought.terms.len() as f64;
        match sought.word.kind {
            WordKind::Hangul if share >= PARTIAL_MIN => share * SCATTERED_SHARE,
            WordKind::Hangul => 0.0,
            // "AB-1234" must be there as a whole, not only its "ab".
            WordKind::Number | WordKind::Other => f64::from(u8::from(found == sought.terms.len())),
        }
    }
}

/// Weighs the words of a question by their rarity in the store.
pub(crate) fn weigh(
    view: &View<'_>,
    status: &StoreStatus,
    words: &[Word],
    from_history: &[Word],
) -> Result<Vec<Sought>, StoreError> {
    let n = status.passages as f64;
    let mut sought = Vec::with_capacity(words.len() + from_history.len());
    let own = words.iter().map(|w| (w, 1.0));
    let inherited = from_history
        .iter()
        .filter(|w| !words.contains(w))
        .map(|w| (w, HISTORY_WEIGHT));
    for (word, factor) in own.chain(inherited) {
        let terms = view.terms(&word.text);
        let mut rarest = 0.0_f64;
        for term in &terms {
            let frequency = view.passage_frequency(term)? as f64;
            rarest = rarest.max((1.0 + (n - frequency + 0.5).max(0.0) / (frequency + 0.5)).ln());
        }
        let weight = (rarest + COMMON_WEIGHT) * factor * if word.light { LIGHT_WEIGHT } else { 1.0 };
        sought.push(Sought {
            word: word.clone(),
            weight,
            terms,
        });
    }
    Ok(sought)
}

/// A passage with what it covers of the question.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) hit: Hit,
    /// Weighted share of the question's words that the passage, its title and headings contain.
    pub(crate) coverage: f64,
    /// The same for its title and headings alone.
    pub(crate) context: Haystack,
    matched: usize,
}

/// What the gate found.
#[derive(Debug)]
pub(crate) struct Evidence {
    /// The passages in the order of their worth: coverage first, then rank.
    pub(crate) candidates: Vec<Candidate>,
    /// The question's words.
    pub(crate) sought: Vec<Sought>,
    /// What may be answered.
    pub(crate) verdict: Verdict,
    /// Words of the question that the best passage lacks, the rarest first.
    pub(crate) missing: Vec<String>,
}

/// Whether there is enough to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Enough,
    Partial,
    NotEnough,
}

/// Judges the hits.
pub(crate) fn judge(view: &View<'_>, sought: Vec<Sought>, hits: Vec<Hit>) -> Evidence {
    let agreed = agreed_passage(&hits);
    let mut candidates: Vec<Candidate> = hits
        .into_iter()
        .map(|hit| candidate(view, &sought, hit))
        .collect();
    // The sort is stable: equal coverage keeps the order of the search.
    candidates.sort_by(|a, b| b.rank_key().total_cmp(&a.rank_key()));
    let (verdict, missing) = match candidates.first() {
        None => (Verdict::NotEnough, Vec::new()),
        Some(best) => {
            let bonus = if agreed == Some(best.hit.passage_id) {
                AGREEMENT_BONUS
            } else {
                0.0
            };
            (
                verdict(&sought, best.coverage + bonus, best.matched),
                missing(view, &sought, best),
            )
        }
    };
    Evidence {
        candidates,
        sought,
        verdict,
        missing,
    }
}

impl Evidence {
    /// Adds what stands right before and after the best passage in its section: an answer may go on there. It comes
    /// behind the passages that cover the question as well as the best one, and before those that cover less.
    pub(crate) fn add_neighbours(&mut self, view: &View<'_>) -> Result<(), StoreError> {
        let Some(best) = self.candidates.first() else {
            return Ok(());
        };
        let beside = view.neighbours(best.hit.passage_id)?;
        let key = best.rank_key();
        let mut at = self.candidates.iter().take_while(|c| c.rank_key() >= key).count();
        // What follows goes on with the subject; what stands before only leads to it.
        for hit in [beside.after, beside.before].into_iter().flatten() {
            let is_known = |c: &Candidate| c.hit.passage_id == hit.passage_id;
            if !self.candidates.iter().any(is_known) {
                self.candidates.insert(at, candidate(view, &self.sought, hit));
                at += 1;
            }
        }
        Ok(())
    }
}

impl Candidate {
    /// Coverage in steps, so that small differences leave the order to the search.
    fn rank_key(&self) -> f64 {
        const STEP: f64 = 0.1;
        (self.coverage / STEP).floor()
    }
}

fn candidate(view: &View<'_>, sought: &[Sought], hit: Hit) -> Candidate {
    let mut context = Haystack::of(view, &hit.title);
    for heading in &hit.heading_path {
        context.add(view, heading);
    }
    let body = Haystack::of(view, &hit.text);
    let degrees: Vec<f64> = sought
        .iter()
        .map(|s| body.contains(s).max(context.contains(s)))
        .collect();
    let coverage = weighted_share(sought, &degrees);
    let matched = sought
        .iter()
        .zip(&degrees)
        .filter(|(s, d)| !s.word.light && **d >= MATCHED_MIN)
        .count();
    Candidate {
        hit,
        coverage,
        context,
        matched,
    }
}

/// Weighted share of `sought` present to `degrees`.
pub(crate) fn weighted_share(sought: &[Sought], degrees: &[f64]) -> f64 {
    let total: f64 = sought.iter().map(|s| s.weight).sum();
    let present: f64 = sought.iter().zip(degrees).map(|(s, d)| s.weight * d).sum();
    if total > 0.0 { present / total } else { 0.0 }
}

/// The passage that leads both by words and by vector.
fn agreed_passage(hits: &[Hit]) -> Option<u64> {
    let leader = |score: fn(&Hit) -> Option<f64>| {
        hits.iter()
            .filter_map(|h| score(h).map(|s| (s, h.passage_id)))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, id)| id)
    };
    let lexical = leader(|h| h.lexical_score)?;
    (Some(lexical) == leader(|h| h.dense_score)).then_some(lexical)
}

/// Coverage a question needs, by how many of its content words one passage shares with it.
///
/// One shared word says little: only a question of nothing else is answered by it. From four on,
/// the rest of a long question may be worded differently.
fn coverage_needed(matched: usize) -> f64 {
    match matched {
        0 => f64::INFINITY,
        1 => 0.75,
        2 => 0.60,
        3 => 0.50,
        _ => 0.36,
    }
}

fn verdict(sought: &[Sought], coverage: f64, matched: usize) -> Verdict {
    let subject = sought.iter().filter(|s| !s.word.light).count();
    // A question of light words only ("사용 방법은?") is judged by them.
    let matched = if subject == 0 && coverage > 0.0 {
        1
    } else {
        matched
    };
    let needed = coverage_needed(matched);
    if coverage < needed {
        Verdict::NotEnough
    } else if coverage < needed + HEDGE_BAND && coverage < 0.95 {
        Verdict::Partial
    } else {
        Verdict::Enough
    }
}

fn missing(view: &View<'_>, sought: &[Sought], best: &Candidate) -> Vec<String> {
    let body = Haystack::of(view, &best.hit.text);
    let mut missing: Vec<(&Sought, f64)> = sought
        .iter()
        .filter(|s| !s.word.light && body.contains(s).max(best.context.contains(s)) < MATCHED_MIN)
        .map(|s| (s, s.weight))
        .collect();
    missing.sort_by(|a, b| b.1.total_cmp(&a.1));
    missing.into_iter().map(|(s, _)| s.word.text.clone()).collect()
}

/// The documents that came nearest, each once, for a refusal.
pub(crate) fn nearest(candidates: &[Candidate], n: usize) -> Vec<crate::NearDocument> {
    const COVERAGE_MIN: f64 = 0.2;
    let mut seen = BTreeMap::new();
    for candidate in candidates.iter().filter(|c| c.coverage >= COVERAGE_MIN) {
        let order = seen.len();
        seen.entry(&candidate.hit.document_id)
            .or_insert((order, &candidate.hit.title));
    }
    let mut nearest: Vec<_> = seen.into_iter().collect();
    nearest.sort_by_key(|(_, (order, _))| *order);
    nearest
        .into_iter()
        .take(n)
        .map(|(id, (_, title))| crate::NearDocument {
            document_id: id.clone(),
            title: title.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shared_word_of_three_is_not_enough_but_four_of_nine_are() {
        let sought = |n: usize| -> Vec<Sought> {
            (0..n)
                .map(|i| Sought {
                    word: Word {
                        text: format!("w{i}"),
                        kind: WordKind::Other,
                        light: false,
                    },
                    weight: 1.0,
                    terms: vec![format!("w{i}")],
                })
                .collect()
        };
        assert_eq!(verdict(&sought(3), 0.33, 1), Verdict::NotEnough);
        assert_eq!(verdict(&sought(2), 0.5, 1), Verdict::NotEnough);
        assert_eq!(verdict(&sought(1), 1.0, 1), Verdict::Enough);
        assert_eq!(verdict(&sought(9), 0.44, 4), Verdict::Partial);
        assert_eq!(verdict(&sought(5), 0.8, 4), Verdict::Enough);
        assert_eq!(verdict(&sought(4), 0.0, 0), Verdict::NotEnough);
    }
}
