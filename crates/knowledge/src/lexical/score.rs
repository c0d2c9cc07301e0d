//! BM25 over those passages only that a reader may see.
//!
//! What one may not read must not show, not even in the rarity of a word or the average length of passages: so counts
//! are taken over the permitted passages, and every passage's score is summed in the order of the question's terms.
//! The result is what an index without the others would give, to the bit. (Robertson & Zaragoza 2009, eq. 3.15, with
//! the idf of Lucene, which is never negative.)

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tantivy::fieldnorm::FieldNormReader;
use tantivy::index::SegmentId;
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocSet as _, Searcher, SegmentReader, TERMINATED, Term};

use crate::catalog::AudienceSet;
use crate::question::Question;

/// Term saturation and length normalisation, the usual values.
pub(super) const K1: f32 = 1.2;
const B: f32 = 0.75;
/// How many of the best are looked at for how close together the question's words stand in them.
const CLOSENESS_DEPTH: usize = 100;
/// The class of a passage that was deleted.
const DELETED: u32 = u32::MAX;

/// Which of a question's terms a field holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Terms {
    Words,
    Exact,
}

/// A field, what a term in it is worth, and whether finding one there suffices to be a hit.
#[derive(Clone, Copy)]
pub(super) struct Scored {
    pub(super) field: Field,
    pub(super) boost: f32,
    pub(super) is_own: bool,
    pub(super) terms: Terms,
}

/// A passage with its score, and its place in the index.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) segment: usize,
    pub(super) doc: u32,
    pub(super) passage: u64,
    pub(super) score: f32,
}

/// Occurrences of a term or phrase: segment, document, count.
pub(super) type Occurrences = Vec<(usize, u32, u32)>;

/// What a segment holds of each audience; computed once, for all readers.
pub(super) struct SegmentClasses {
    /// The audience of each passage, or [`DELETED`].
    audiences: Vec<u32>,
    passages: Vec<u64>,
    /// By audience: passages, and terms of each scored field.
    totals: HashMap<u32, Totals>,
    n_deleted: u32,
}

#[derive(Clone, Default)]
struct Totals {
    n_passages: u64,
    n_terms: Vec<u64>,
}

/// [`SegmentClasses`] of the segments in use.
#[derive(Default)]
pub(super) struct Classes(Mutex<HashMap<SegmentId, Arc<SegmentClasses>>>);

impl Classes {
    /// Those of a searcher's segments, in their order; what belongs to no segment any more is forgotten.
    pub(super) fn of(
        &self,
        searcher: &Searcher,
        fields: &[Scored],
    ) -> tantivy::Result<Vec<Arc<SegmentClasses>>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::with_capacity(searcher.segment_readers().len());
        for segment in searcher.segment_readers() {
            let id = segment.segment_id();
            let same = known
                .get(&id)
                .filter(|classes| classes.n_deleted == segment.num_deleted_docs());
            let classes = match same {
                Some(classes) => Arc::clone(classes),
                None => Arc::new(SegmentClasses::of(segment, fields)?),
            };
            found.push((id, classes));
        }
        // An older searcher may still be in use elsewhere; it computes its own anew.
        *known = found
            .iter()
            .map(|(id, classes)| (*id, Arc::clone(classes)))
            .collect();
        Ok(found.into_iter().map(|(_, classes)| classes).collect())
    }
}

impl SegmentClasses {
    fn of(segment: &SegmentReader, fields: &[Scored]) -> tantivy::Result<Self> {
        let columns = segment.fast_fields();
        let (audience_of, passage_of) = (columns.u64("audience")?, columns.u64("passage")?);
        let norms: Vec<_> = fields
            .iter()
            .map(|scored| segment.get_fieldnorms_reader(scored.field))
            .collect::<tantivy::Result<_>>()?;
        let n = segment.max_doc();
        let mut classes = Self {
            audiences: Vec::with_capacity(n as usize),
            passages: Vec::with_capacity(n as usize),
            totals: HashMap::new(),
            n_deleted: segment.num_deleted_docs(),
        };
        for doc in 0..n {
            let audience = audience_of
                .first(doc)
                .and_then(|audience| u32::try_from(audience).ok());
            let passage = passage_of.first(doc);
            let alive = segment.alive_bitset().is_none_or(|alive| alive.is_alive(doc));
            classes.passages.push(passage.unwrap_or(0));
            let (Some(audience), true, true) = (audience, passage.is_some(), alive) else {
                classes.audiences.push(DELETED);
                continue;
            };
            classes.audiences.push(audience);
            let totals = classes.totals.entry(audience).or_insert_with(|| Totals {
                n_passages: 0,
                n_terms: vec![0; fields.len()],
            });
            totals.n_passages += 1;
            for (terms, norms) in totals.n_terms.iter_mut().zip(&norms) {
                *terms += u64::from(norms.fieldnorm(doc));
            }
        }
        Ok(classes)
    }
}

impl SegmentClasses {
    /// Whether a passage is there and these may see it.
    fn admits(&self, doc: u32, allowed: &AudienceSet) -> bool {
        let audience = self.audiences.get(doc as usize).copied().unwrap_or(DELETED);
        audience != DELETED && allowed.has(audience)
    }

    /// Passages that were not deleted, with their audiences.
    pub(super) fn contents(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        let all = self.passages.iter().copied().zip(self.audiences.iter().copied());
        all.filter(|(_, audience)| *audience != DELETED)
    }
}

/// One search: the segments, and who may see what in them.
pub(super) struct Scorer<'a> {
    pub(super) searcher: &'a Searcher,
    classes: Vec<Arc<SegmentClasses>>,
    allowed: &'a AudienceSet,
    fields: &'a [Scored],
    n_passages: u64,
    /// Of each field, over the permitted passages.
    average_terms: Vec<f32>,
}

impl<'a> Scorer<'a> {
    pub(super) fn new(
        searcher: &'a Searcher,
        classes: Vec<Arc<SegmentClasses>>,
        allowed: &'a AudienceSet,
        fields: &'a [Scored],
    ) -> Self {
        let (mut n_passages, mut n_terms) = (0, vec![0_u64; fields.len()]);
        for segment in &classes {
            // Sums of whole numbers: their order does not matter.
            for (_, totals) in segment
                .totals
                .iter()
                .filter(|(audience, _)| allowed.has(**audience))
            {
                n_passages += totals.n_passages;
                n_terms
                    .iter_mut()
                    .zip(&totals.n_terms)
                    .for_each(|(sum, n)| *sum += n);
            }
        }
        let average = |n: &u64| *n as f32 / n_passages.max(1) as f32;
        Self {
            searcher,
            classes,
            allowed,
            fields,
            n_passages,
            average_terms: n_terms.iter().map(average).collect(),
        }
    }

    /// In how many permitted passages a term stands in this field.
    pub(super) fn frequency(&self, field: Field, term: &str) -> tantivy::Result<u64> {
        let mut n = 0;
        self.each(field, term, |_, _, _| n += 1)?;
        Ok(n)
    }

    /// Calls `visit` with segment, document and count for each permitted passage with the term.
    fn each(&self, field: Field, term: &str, mut visit: impl FnMut(usize, u32, u32)) -> tantivy::Result<()> {
        let term = Term::from_field_text(field, term);
        for (i, (segment, classes)) in self
            .searcher
            .segment_readers()
            .iter()
            .zip(&self.classes)
            .enumerate()
        {
            let index = segment.inverted_index(field)?;
            let Some(mut postings) = index.read_postings(&term, IndexRecordOption::WithFreqs)? else {
                continue;
            };
            loop {
                let doc = postings.doc();
                if doc == TERMINATED {
                    break;
                }
                if classes.admits(doc, self.allowed) {
                    visit(i, doc, tantivy::postings::Postings::term_freq(&postings));
                }
                postings.advance();
            }
        }
        Ok(())
    }

    /// The id of a passage.
    pub(super) fn passage(&self, segment: usize, doc: u32) -> u64 {
        self.classes[segment]
            .passages
            .get(doc as usize)
            .copied()
            .unwrap_or(0)
    }

    /// Its number among the scored fields.
    pub(super) fn field_number(&self, field: Field) -> Option<usize> {
        self.fields.iter().position(|scored| scored.field == field)
    }

    /// Whether a passage is there and may be seen.
    pub(super) fn admits(&self, segment: usize, doc: u32) -> bool {
        self.classes[segment].admits(doc, self.allowed)
    }

    /// The best passages, best first, equal ones by id. `text` is the field whose terms have places.
    pub(super) fn best(
        &self,
        question: &Question,
        text: Field,
        limit: usize,
    ) -> tantivy::Result<Vec<(u64, f32)>> {
        let mut sums = Sums::new(&self.classes);
        let mut idf_of_words = vec![0.0; question.terms.len()];
        for (at, scored) in self.fields.iter().enumerate() {
            let norms = Norms::new(self, at)?;
            let terms: Vec<(&str, f32)> = match scored.terms {
                Terms::Words => question
                    .terms
                    .iter()
                    .map(|t| (t.text.as_str(), t.weight))
                    .collect(),
                Terms::Exact => question.exact.iter().map(|(t, w)| (t.as_str(), *w)).collect(),
            };
            for (i, (term, weight)) in terms.into_iter().enumerate() {
                let mut found = Vec::new();
                self.each(scored.field, term, |segment, doc, count| {
                    found.push((segment, doc, count))
                })?;
                let idf = self.idf(found.len() as u64);
                if scored.field == text {
                    idf_of_words[i] = idf * weight;
                }
                sums.add(&found, idf * weight * scored.boost, &norms, scored.is_own);
            }
            if scored.field == text {
                for phrase in &question.phrases {
                    let found = self.phrase(text, phrase)?;
                    let worth = self.idf(found.len() as u64) * phrase.len() as f32;
                    sums.add(&found, worth, &norms, true);
                }
            }
        }
        let mut best = sums.best(&self.classes, limit.max(CLOSENESS_DEPTH));
        let n_close = best.len().min(CLOSENESS_DEPTH);
        self.add_closeness(&mut best[..n_close], question, &idf_of_words, text)?;
        best[..n_close].sort_unstable_by(by_score);
        best.truncate(limit);
        Ok(best
            .into_iter()
            .map(|found| (found.passage, found.score))
            .collect())
    }

    pub(super) fn idf(&self, n_with: u64) -> f32 {
        let (all, with) = (self.n_passages as f32, n_with as f32);
        (1.0 + (all - with + 0.5) / (with + 0.5)).ln()
    }
}

fn by_score(a: &Found, b: &Found) -> std::cmp::Ordering {
    b.score.total_cmp(&a.score).then(a.passage.cmp(&b.passage))
}

/// How long a field is in each passage, relative to the average.
pub(super) struct Norms {
    readers: Vec<FieldNormReader>,
    average: f32,
}

impl Norms {
    /// Those of the scorer's field number `at`.
    pub(super) fn new(scorer: &Scorer<'_>, at: usize) -> tantivy::Result<Self> {
        let field = scorer.fields[at].field;
        let segments = scorer.searcher.segment_readers().iter();
        Ok(Self {
            readers: segments
                .map(|segment| segment.get_fieldnorms_reader(field))
                .collect::<tantivy::Result<_>>()?,
            average: scorer.average_terms[at],
        })
    }

    /// The count at which a term is worth half of what it can be.
    pub(super) fn half(&self, segment: usize, doc: u32) -> f32 {
        let length = self.readers[segment].fieldnorm(doc) as f32;
        K1 * (1.0 - B + B * length / self.average)
    }
}

/// The scores of all passages while they are summed up.
struct Sums {
    scores: Vec<Vec<f32>>,
    is_hit: Vec<Vec<bool>>,
}

impl Sums {
    fn new(classes: &[Arc<SegmentClasses>]) -> Self {
        let lengths = classes.iter().map(|classes| classes.audiences.len());
        Self {
            scores: lengths.clone().map(|n| vec![0.0; n]).collect(),
            is_hit: lengths.map(|n| vec![false; n]).collect(),
        }
    }

    fn add(&mut self, found: &Occurrences, worth: f32, norms: &Norms, is_own: bool) {
        let worth = worth * (1.0 + K1);
        for &(segment, doc, count) in found {
            let count = count as f32;
            let saturated = count / (count + norms.half(segment, doc));
            self.scores[segment][doc as usize] += worth * saturated;
            self.is_hit[segment][doc as usize] |= is_own;
        }
    }

    fn best(&self, classes: &[Arc<SegmentClasses>], limit: usize) -> Vec<Found> {
        let mut best = Vec::with_capacity(limit * 2);
        let segments = classes.iter().zip(&self.scores).zip(&self.is_hit);
        for (segment, ((classes, scores), is_hit)) in segments.enumerate() {
            for (doc, score) in scores.iter().enumerate().filter(|(doc, _)| is_hit[*doc]) {
                best.push(Found {
                    segment,
                    doc: doc as u32,
                    passage: classes.passages[doc],
                    score: *score,
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
