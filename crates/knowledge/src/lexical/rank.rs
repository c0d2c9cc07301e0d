//! BM25 over permitted passages, wherever the occurrences of terms are looked up.
//!
//! What the index on disk and the tables of PostgreSQL score by, so that with the same counts and lengths both give the
//! same scores, to the bit; and the scoring over whatever answers [`Lists`], which the tables do. (Robertson & Zaragoza
//! 2009, eq. 3.15, with the idf of Lucene, which is never negative.)

use super::closeness;
use super::skim::part;
use crate::analyser;
use crate::question::{Question, Sought};

/// Term saturation and length normalisation, the usual values.
pub(super) const K1: f32 = 1.2;
const B: f32 = 0.75;
/// How many of the best are looked at for how close together the question's words stand in them.
pub(super) const CLOSENESS_DEPTH: usize = 100;
/// More different terms of one question are not looked up: the rarest are kept.
const TERMS_MAX: usize = 256;
/// A short passage is precise to cite but holds few of a question's words; what stands right before and after it on
/// its page tells which of several similar passages is meant. A term there counts this much of one in the passage.
pub(super) const AROUND_BOOST: f32 = 2.0;
/// A term in the title or a heading counts this much of one in the text.
pub(super) const TITLE_BOOST: f32 = 0.1;
pub(super) const HEADING_BOOST: f32 = 0.3;
/// A date, an amount, a clause or a part number that the passage names in whatever spelling: as much as a word, which
/// counts in the passage and in what stands around it.
pub(super) const EXACT_BOOST: f32 = 1.0 + AROUND_BOOST;

/// A morpheme in the text counts this much of a pair of characters: a word of two syllables is both.
pub(super) const MORPHEME_BOOST: f32 = 0.5;

/// The scored fields by number; the first is the one whose terms have places.
pub(crate) const TEXT: usize = 0;
pub(crate) const TITLE: usize = 1;
pub(crate) const HEADINGS: usize = 2;
pub(crate) const AROUND: usize = 3;
pub(crate) const EXACT: usize = 4;
pub(crate) const FIELDS: usize = 5;

/// Which of a question's terms a field holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Terms {
    Words,
    Exact,
    /// Only where an index has them: the tables of PostgreSQL do not.
    Morphemes,
}

/// What a term in a field is worth, and whether finding one there suffices to be a hit: any of the words must stand in
/// the passage, its title or its headings; those around it only add to it.
struct Weighed {
    boost: f32,
    is_own: bool,
    terms: Terms,
}

const WEIGHED: [Weighed; FIELDS] = [
    words(1.0, true),
    words(TITLE_BOOST, true),
    words(HEADING_BOOST, true),
    words(AROUND_BOOST, false),
    Weighed {
        boost: EXACT_BOOST,
        is_own: true,
        terms: Terms::Exact,
    },
];

const fn words(boost: f32, is_own: bool) -> Weighed {
    Weighed {
        boost,
        is_own,
        terms: Terms::Words,
    }
}

/// Occurrences of a term or phrase: segment, document, count.
pub(crate) type Occurrences = Vec<(usize, u32, u32)>;
/// Where a term of the question stands: its place in the passage, its number in the question.
pub(crate) type Place = (u32, usize);

/// A passage with its score, and its place in the index.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Found {
    pub(crate) segment: usize,
    pub(crate) doc: u32,
    pub(crate) passage: u64,
    pub(crate) score: f32,
}

/// Permitted passages by segment and number, and what stands in them.
pub(crate) trait Lists {
    /// Why they cannot be read.
    type Error;
    /// Permitted passages.
    fn n_passages(&self) -> u64;
    /// How long a field is on average, over the permitted passages.
    fn average(&self, field: usize) -> f32;
    /// How long a field of a passage is.
    fn length(&self, field: usize, segment: usize, doc: u32) -> u32;
    /// How many passages each segment has, permitted or not.
    fn sizes(&self) -> Vec<usize>;
    /// The id of a passage.
    fn passage(&self, segment: usize, doc: u32) -> u64;
    /// Each permitted passage with a term in a field.
    fn occurrences(&self, field: usize, term: &str) -> Result<Occurrences, Self::Error>;
    /// Each permitted passage in whose text these terms stand at their distances.
    fn phrase(&self, phrase: &[analyser::Term]) -> Result<Occurrences, Self::Error>;
    /// Where the question's terms stand in each of these passages' texts.
    fn places(&self, found: &[Found], question: &Question) -> Result<Vec<Vec<Place>>, Self::Error>;
}

/// The count at which a term in a field of this length is worth half of what it can be.
pub(super) fn half(length: u32, average: f32) -> f32 {
    K1 * (1.0 - B + B * length as f32 / average)
}

/// That of a passage.
pub(super) fn half_in<L: Lists>(lists: &L, field: usize, segment: usize, doc: u32) -> f32 {
    half(lists.length(field, segment, doc), lists.average(field))
}

/// The best passages, best first, equal ones by id.
pub(crate) fn best<L: Lists>(
    lists: &L,
    question: Question,
    limit: usize,
) -> Result<Vec<(u64, f32)>, L::Error> {
    let question = Question {
        terms: rarest(question.terms, |term| {
            Ok(lists.occurrences(TEXT, term)?.len() as u64)
        })?,
        ..question
    };
    let limit = limit.max(1);
    let mut sums = Sums::new(lists.sizes());
    let mut idf_of_words = vec![0.0; question.terms.len()];
    for (field, weighed) in WEIGHED.iter().enumerate() {
        let half = |segment, doc| half_in(lists, field, segment, doc);
        for (i, (term, weight)) in terms(&question, weighed.terms).enumerate() {
            let found = lists.occurrences(field, term)?;
            let idf = idf(lists.n_passages(), found.len() as u64);
            if field == TEXT {
                idf_of_words[i] = idf * weight;
            }
            sums.add(&found, idf * weight * weighed.boost, half, weighed.is_own);
        }
        if field == TEXT {
            for phrase in &question.phrases {
                let found = lists.phrase(phrase)?;
                let worth = idf(lists.n_passages(), found.len() as u64) * phrase.len() as f32;
                sums.add(&found, worth, half, true);
            }
        }
    }
    let mut best = sums.best(lists, limit.max(CLOSENESS_DEPTH));
    let n_close = best.len().min(CLOSENESS_DEPTH);
    closeness::add(&mut best[..n_close], lists, &question, &idf_of_words)?;
    best[..n_close].sort_unstable_by(by_score);
    best.truncate(limit);
    Ok(best
        .into_iter()
        .map(|found| (found.passage, found.score))
        .collect())
}

/// The question's terms; of too many the rarest that occur at all.
pub(super) fn rarest<E>(
    terms: Vec<Sought>,
    frequency: impl Fn(&str) -> Result<u64, E>,
) -> Result<Vec<Sought>, E> {
    if terms.len() <= TERMS_MAX {
        return Ok(terms);
    }
    let mut counted = Vec::with_capacity(terms.len());
    for term in terms {
        counted.push((frequency(&term.text)?, term));
    }
    counted.sort_by(|(n, a), (m, b)| (*n == 0, n, &a.text).cmp(&(*m == 0, m, &b.text)));
    counted.truncate(TERMS_MAX);
    Ok(counted.into_iter().map(|(_, term)| term).collect())
}

/// A question's terms of a field, with their weights.
pub(super) fn terms(question: &Question, which: Terms) -> Box<dyn Iterator<Item = (&str, f32)> + '_> {
    match which {
        Terms::Words => Box::new(question.terms.iter().map(|t| (t.text.as_str(), t.weight))),
        Terms::Exact => Box::new(question.exact.iter().map(|(t, w)| (t.as_str(), *w))),
        Terms::Morphemes => Box::new(question.morphemes.iter().map(|(t, w)| (t.as_str(), *w))),
    }
}

/// What finding a term is worth that stands in so many passages of all.
pub(super) fn idf(n_passages: u64, n_with: u64) -> f32 {
    let (all, with) = (n_passages as f32, n_with as f32);
    (1.0 + (all - with + 0.5) / (with + 0.5)).ln()
}

pub(super) fn by_score(a: &Found, b: &Found) -> std::cmp::Ordering {
    b.score.total_cmp(&a.score).then(a.passage.cmp(&b.passage))
}

/// The scores of all passages while they are summed up, in the parts that [`super::skim`] adds: the order does not matter.
struct Sums {
    scores: Vec<Vec<f64>>,
    is_hit: Vec<Vec<bool>>,
}

impl Sums {
    fn new(sizes: Vec<usize>) -> Self {
        Self {
            scores: sizes.iter().map(|&n| vec![0.0; n]).collect(),
            is_hit: sizes.iter().map(|&n| vec![false; n]).collect(),
        }
    }

    fn add(&mut self, found: &Occurrences, worth: f32, half: impl Fn(usize, u32) -> f32, is_own: bool) {
        let worth = worth * (1.0 + K1);
        for &(segment, doc, count) in found {
            self.scores[segment][doc as usize] += part(worth, count, half(segment, doc));
            self.is_hit[segment][doc as usize] |= is_own;
        }
    }

    fn best<L: Lists>(&self, lists: &L, limit: usize) -> Vec<Found> {
        let mut best = Vec::with_capacity(limit * 2);
        for (segment, (scores, is_hit)) in self.scores.iter().zip(&self.is_hit).enumerate() {
            for (doc, score) in scores.iter().enumerate().filter(|(doc, _)| is_hit[*doc]) {
                best.push(Found {
                    segment,
                    doc: doc as u32,
                    passage: lists.passage(segment, doc as u32),
                    score: *score as f32,
                });
            }
        }
        if best.len() > limit {
            best.select_nth_unstable_by(limit, by_score);
            best.truncate(limit);
        }
        best.sort_unstable_by(by_score);
        best
    }
}
