//! BM25 over those passages only that a reader may see.
//!
//! What one may not read must not show, not even in the rarity of a word or the average length of passages: so counts
//! are taken over the permitted passages, and every passage's score is summed in the order of the question's terms.
//! The result is what an index without the others would give, to the bit. (Robertson & Zaragoza 2009, eq. 3.15, with
//! the idf of Lucene, which is never negative.)

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tantivy::index::SegmentId;
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocSet as _, Searcher, SegmentReader, TERMINATED, Term};

use crate::catalog::AudienceSet;

/// Term saturation and length normalisation, the usual values.
const K1: f32 = 1.2;
const B: f32 = 0.75;
/// The class of a passage that was deleted.
const DELETED: u32 = u32::MAX;

/// A field, what a term in it is worth, and whether finding one there suffices to be a hit.
#[derive(Clone, Copy)]
pub(super) struct Scored {
    pub(super) field: Field,
    pub(super) boost: f32,
    pub(super) is_own: bool,
}

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
    /// Passages that were not deleted, with their audiences.
    pub(super) fn contents(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        let all = self.passages.iter().copied().zip(self.audiences.iter().copied());
        all.filter(|(_, audience)| *audience != DELETED)
    }
}

/// One search: the segments, and who may see what in them.
pub(super) struct Scorer<'a> {
    searcher: &'a Searcher,
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
                let audience = classes.audiences.get(doc as usize).copied().unwrap_or(DELETED);
                if audience != DELETED && self.allowed.has(audience) {
                    visit(i, doc, tantivy::postings::Postings::term_freq(&postings));
                }
                postings.advance();
            }
        }
        Ok(())
    }

    /// The best passages for weighted terms, best first, equal ones by id.
    pub(super) fn best(&self, terms: &[(&str, f32)], limit: usize) -> tantivy::Result<Vec<(u64, f32)>> {
        let mut scores: Vec<Vec<f32>> = self
            .classes
            .iter()
            .map(|classes| vec![0.0; classes.audiences.len()])
            .collect();
        let mut is_hit: Vec<Vec<bool>> = scores.iter().map(|scores| vec![false; scores.len()]).collect();
        let mut found: Vec<(usize, u32, u32)> = Vec::new();
        for (scored, average) in self.fields.iter().zip(&self.average_terms) {
            let segments = self.searcher.segment_readers().iter();
            let norms: Vec<_> = segments
                .map(|segment| segment.get_fieldnorms_reader(scored.field))
                .collect::<tantivy::Result<_>>()?;
            for (term, weight) in terms {
                found.clear();
                self.each(scored.field, term, |segment, doc, count| {
                    found.push((segment, doc, count));
                })?;
                let worth = self.idf(found.len() as u64) * (1.0 + K1) * weight * scored.boost;
                for &(segment, doc, count) in &found {
                    let length = norms[segment].fieldnorm(doc) as f32;
                    let count = count as f32;
                    let saturated = count / (count + K1 * (1.0 - B + B * length / average));
                    scores[segment][doc as usize] += worth * saturated;
                    is_hit[segment][doc as usize] |= scored.is_own;
                }
            }
        }
        let mut best = Vec::with_capacity(limit * 2);
        for ((classes, scores), is_hit) in self.classes.iter().zip(&scores).zip(&is_hit) {
            for ((passage, score), is_hit) in classes.passages.iter().zip(scores).zip(is_hit) {
                if *is_hit {
                    best.push((*passage, *score));
                }
            }
        }
        let order = |a: &(u64, f32), b: &(u64, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if best.len() > limit {
            best.select_nth_unstable_by(limit, order);
            best.truncate(limit);
        }
        best.sort_unstable_by(order);
        Ok(best)
    }

    fn idf(&self, n_with: u64) -> f32 {
        let (all, with) = (self.n_passages as f32, n_with as f32);
        (1.0 + (all - with + 0.5) / (with + 0.5)).ln()
    }
}
