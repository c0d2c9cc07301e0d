//! BM25 over those passages only that a reader may see.
//!
//! What one may not read must not show, not even in the rarity of a word or the average length of passages: so counts
//! are taken over the permitted passages. The result is what an index without the others would give, to the bit.
//! (Robertson & Zaragoza 2009, eq. 3.15, with the idf of Lucene, which is never negative.)

use std::sync::Arc;

use tantivy::Searcher;
use tantivy::fieldnorm::FieldNormReader;
use tantivy::schema::{Field, IndexRecordOption};

use super::classes::{SegmentClasses, TermHere};
use super::rank::{CLOSENESS_DEPTH, Found, K1, Terms, by_score, half, idf, terms};
use super::skim::{self, Best, Lengths, List, Postings, skim};
use crate::catalog::AudienceSet;
use crate::question::Question;

/// A field, what a term in it is worth, and whether finding one there suffices to be a hit.
#[derive(Clone, Copy)]
pub(super) struct Scored {
    pub(super) field: Field,
    pub(super) boost: f32,
    pub(super) is_own: bool,
    pub(super) terms: Terms,
}

/// A term in a field or a phrase, and what it is worth where it stands.
struct Wanted {
    /// The scored field's number.
    field: usize,
    worth: f32,
    /// By segment.
    places: Vec<Places>,
}

enum Places {
    Nowhere,
    Term(Arc<TermHere>),
    Phrase(Vec<(u32, u32)>),
}

/// One search: the segments, and who may see what in them.
pub(super) struct Scorer<'a> {
    pub(super) searcher: &'a Searcher,
    classes: Vec<Arc<SegmentClasses>>,
    /// By segment and kind of passage: whether it may be seen.
    admitted: Vec<Vec<bool>>,
    fields: &'a [Scored],
    n_passages: u64,
    /// Of each field, over the permitted passages.
    average_terms: Vec<f32>,
}

impl<'a> Scorer<'a> {
    pub(super) fn new(
        searcher: &'a Searcher,
        classes: Vec<Arc<SegmentClasses>>,
        allowed: &AudienceSet,
        fields: &'a [Scored],
    ) -> Self {
        let admitted: Vec<Vec<bool>> = classes.iter().map(|segment| segment.admitted(allowed)).collect();
        let (mut n_passages, mut n_terms) = (0, vec![0_u64; fields.len()]);
        for (segment, admitted) in classes.iter().zip(&admitted) {
            // Sums of whole numbers: their order does not matter.
            for (passages, terms) in segment.totals(admitted) {
                n_passages += passages;
                n_terms.iter_mut().zip(terms).for_each(|(sum, n)| *sum += n);
            }
        }
        let average = |n: &u64| *n as f32 / n_passages.max(1) as f32;
        Self {
            searcher,
            classes,
            admitted,
            fields,
            n_passages,
            average_terms: n_terms.iter().map(average).collect(),
        }
    }

    /// In how many permitted passages a term stands in this field.
    pub(super) fn frequency(&self, field: Field, term: &str) -> tantivy::Result<u64> {
        Ok(self.places_of(field, term)?.1)
    }

    /// Where a term stands in this field, and in how many permitted passages.
    fn places_of(&self, field: Field, term: &str) -> tantivy::Result<(Vec<Places>, u64)> {
        let (mut places, mut n) = (Vec::with_capacity(self.classes.len()), 0);
        let segments = self.searcher.segment_readers().iter().zip(&self.classes);
        for ((segment, classes), admitted) in segments.zip(&self.admitted) {
            let here = classes.term(segment, field, term)?;
            let n_here = here.as_ref().map_or(0, |here| here.n_admitted(admitted));
            n += n_here;
            places.push(match here {
                Some(here) if n_here > 0 => Places::Term(here),
                _ => Places::Nowhere,
            });
        }
        Ok((places, n))
    }

    /// The id of a passage.
    pub(super) fn passage(&self, segment: usize, doc: u32) -> u64 {
        self.classes[segment].passage(doc)
    }

    /// Its number among the scored fields.
    pub(super) fn field_number(&self, field: Field) -> Option<usize> {
        self.fields.iter().position(|scored| scored.field == field)
    }

    /// Whether a passage is there and may be seen.
    pub(super) fn admits(&self, segment: usize, doc: u32) -> bool {
        self.admitted[segment][self.classes[segment].kind_of(doc)]
    }

    /// The best passages, best first, equal ones by id. `text` is the field whose terms have places.
    pub(super) fn best(
        &self,
        question: &Question,
        text: Field,
        limit: usize,
    ) -> tantivy::Result<Vec<(u64, f32)>> {
        let (mut best, idf_of_words) =
            self.ranked(question, text, limit.max(CLOSENESS_DEPTH), skim::WINDOW)?;
        let n_close = best.len().min(CLOSENESS_DEPTH);
        self.add_closeness(&mut best[..n_close], question, &idf_of_words, text)?;
        best[..n_close].sort_unstable_by(by_score);
        best.truncate(limit);
        Ok(best
            .into_iter()
            .map(|found| (found.passage, found.score))
            .collect())
    }

    /// The best passages by BM25 alone, and what each of the question's words is worth.
    fn ranked(
        &self,
        question: &Question,
        text: Field,
        limit: usize,
        window: u32,
    ) -> tantivy::Result<(Vec<Found>, Vec<f32>)> {
        let (wanted, idf_of_words) = self.wanted(question, text)?;
        let halves: Vec<[f32; 256]> = self
            .average_terms
            .iter()
            .map(|average| halves(*average))
            .collect();
        let mut best = Best::new(limit);
        for (i, segment) in self.searcher.segment_readers().iter().enumerate() {
            let mut lengths = Vec::with_capacity(self.fields.len());
            for (scored, halves) in self.fields.iter().zip(&halves) {
                let norms = segment.get_fieldnorms_reader(scored.field)?;
                lengths.push(Lengths { norms, halves });
            }
            let mut lists = Vec::with_capacity(wanted.len());
            for wanted in &wanted {
                let scored = self.fields[wanted.field];
                let postings = match &wanted.places[i] {
                    Places::Nowhere => continue,
                    Places::Phrase(found) => Postings::Phrase(found),
                    Places::Term(here) => {
                        let index = segment.inverted_index(scored.field)?;
                        let counted = IndexRecordOption::WithFreqs;
                        let postings = index.read_block_postings_from_terminfo(&here.info, counted)?;
                        Postings::Term(Box::new(postings))
                    }
                };
                lists.push(List::new(
                    postings,
                    &lengths[wanted.field],
                    wanted.worth,
                    scored.is_own,
                ));
            }
            let place = (i, segment.max_doc(), window);
            skim(lists, &self.classes[i], &self.admitted[i], place, &mut best);
        }
        Ok((best.into_sorted(), idf_of_words))
    }

    /// Everything that is looked for, and what each of the question's words is worth.
    fn wanted(&self, question: &Question, text: Field) -> tantivy::Result<(Vec<Wanted>, Vec<f32>)> {
        let mut idf_of_words = vec![0.0; question.terms.len()];
        let mut all = Vec::new();
        for (field, scored) in self.fields.iter().enumerate() {
            let mut want = |worth: f32, places| {
                all.push(Wanted {
                    field,
                    worth: worth * (1.0 + K1),
                    places,
                });
            };
            for (i, (term, weight)) in terms(question, scored.terms).enumerate() {
                let (places, n) = self.places_of(scored.field, term)?;
                let idf = self.idf(n);
                if scored.field == text {
                    idf_of_words[i] = idf * weight;
                }
                want(idf * weight * scored.boost, places);
            }
            let phrases = question.phrases.iter().filter(|_| scored.field == text);
            for phrase in phrases {
                let found = self.phrase(text, phrase)?;
                let worth = self.idf(found.len() as u64) * phrase.len() as f32;
                let mut places: Vec<Vec<(u32, u32)>> = vec![Vec::new(); self.classes.len()];
                for (segment, doc, count) in found {
                    places[segment].push((doc, count));
                }
                want(worth, places.into_iter().map(Places::Phrase).collect());
            }
        }
        Ok((all, idf_of_words))
    }

    pub(super) fn idf(&self, n_with: u64) -> f32 {
        idf(self.n_passages, n_with)
    }
}

/// The count at which a term is worth half of what it can be, for every length that the index tells apart.
fn halves(average: f32) -> [f32; 256] {
    std::array::from_fn(|id| half(FieldNormReader::id_to_fieldnorm(id as u8), average))
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
        half(self.readers[segment].fieldnorm(doc), self.average)
    }
}

#[cfg(test)]
mod tests;
