//! What the index on disk holds of those passages only that a reader may see.
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
use tantivy::{DocSet as _, Searcher, SegmentReader, TERMINATED, TantivyError, Term};

use super::rank::{FIELDS, Found, Lists, Occurrences, Place, TEXT};
use crate::analyser;
use crate::catalog::AudienceSet;
use crate::question::Question;

/// The class of a passage that was deleted.
const DELETED: u32 = u32::MAX;

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
        fields: &[Field; FIELDS],
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
    fn of(segment: &SegmentReader, fields: &[Field; FIELDS]) -> tantivy::Result<Self> {
        let columns = segment.fast_fields();
        let (audience_of, passage_of) = (columns.u64("audience")?, columns.u64("passage")?);
        let norms: Vec<_> = fields
            .iter()
            .map(|field| segment.get_fieldnorms_reader(*field))
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
    fields: &'a [Field; FIELDS],
    n_passages: u64,
    /// Of each field, over the permitted passages.
    average_terms: Vec<f32>,
    /// By field and segment.
    lengths: Vec<Vec<FieldNormReader>>,
}

impl<'a> Scorer<'a> {
    pub(super) fn new(
        searcher: &'a Searcher,
        classes: Vec<Arc<SegmentClasses>>,
        allowed: &'a AudienceSet,
        fields: &'a [Field; FIELDS],
    ) -> tantivy::Result<Self> {
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
        let of_field = |field: &Field| -> tantivy::Result<Vec<FieldNormReader>> {
            let segments = searcher.segment_readers().iter();
            segments
                .map(|segment| segment.get_fieldnorms_reader(*field))
                .collect()
        };
        Ok(Self {
            searcher,
            classes,
            allowed,
            fields,
            n_passages,
            average_terms: n_terms.iter().map(average).collect(),
            lengths: fields.iter().map(of_field).collect::<tantivy::Result<_>>()?,
        })
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
    pub(super) fn id(&self, segment: usize, doc: u32) -> u64 {
        self.classes[segment]
            .passages
            .get(doc as usize)
            .copied()
            .unwrap_or(0)
    }

    /// Whether a passage is there and may be seen.
    pub(super) fn admits(&self, segment: usize, doc: u32) -> bool {
        self.classes[segment].admits(doc, self.allowed)
    }
}

impl Lists for Scorer<'_> {
    type Error = TantivyError;

    fn n_passages(&self) -> u64 {
        self.n_passages
    }

    fn average(&self, field: usize) -> f32 {
        self.average_terms[field]
    }

    fn length(&self, field: usize, segment: usize, doc: u32) -> u32 {
        self.lengths[field][segment].fieldnorm(doc)
    }

    fn sizes(&self) -> Vec<usize> {
        self.classes
            .iter()
            .map(|classes| classes.audiences.len())
            .collect()
    }

    fn passage(&self, segment: usize, doc: u32) -> u64 {
        self.id(segment, doc)
    }

    fn occurrences(&self, field: usize, term: &str) -> tantivy::Result<Occurrences> {
        let mut found = Vec::new();
        self.each(self.fields[field], term, |segment, doc, count| {
            found.push((segment, doc, count))
        })?;
        Ok(found)
    }

    fn phrase(&self, phrase: &[analyser::Term]) -> tantivy::Result<Occurrences> {
        self.phrase_in(self.fields[TEXT], phrase)
    }

    fn places(&self, found: &[Found], question: &Question) -> tantivy::Result<Vec<Vec<Place>>> {
        self.places_in(self.fields[TEXT], found, question)
    }
}
