//! How close together a question's words stand in a passage.
//!
//! Of two passages with the same words the one that has them in one sentence answers rather than the one that has
//! them strewn about. (Büttcher, Clarke and Lushman, SIGIR 2006: each occurrence gives to its neighbour among the
//! question's terms what it is worth by itself, divided by the square of the distance.) Needs no counts beyond those
//! of the terms, so nothing but permitted passages has a part in it.

use tantivy::postings::Postings as _;
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocSet as _, Term};

use super::rank::{Found, K1, Lists, Place, TEXT, half_in};
use super::score::{Norms, Scorer};
use crate::question::Question;

/// Adds to each of these passages' scores what the closeness of the question's words is worth.
pub(super) fn add<L: Lists>(
    found: &mut [Found],
    lists: &L,
    question: &Question,
    idf: &[f32],
) -> Result<(), L::Error> {
    let places = lists.places(found, question)?;
    for (found, mut places) in found.iter_mut().zip(places) {
        places.sort_unstable();
        let half = half_in(lists, TEXT, found.segment, found.doc);
        found.score += worth(&places, question, idf, half);
    }
    Ok(())
}

impl Scorer<'_> {
    /// Adds to each of these passages' scores what the closeness of the question's words is worth.
    pub(super) fn add_closeness(
        &self,
        found: &mut [Found],
        question: &Question,
        idf: &[f32],
        text: Field,
    ) -> tantivy::Result<()> {
        let places = self.places(found, question, text)?;
        let Some(at) = self.field_number(text) else {
            return Ok(());
        };
        let norms = Norms::new(self, at)?;
        for (found, mut places) in found.iter_mut().zip(places) {
            places.sort_unstable();
            let half = norms.half(found.segment, found.doc);
            found.score += worth(&places, question, idf, half);
        }
        Ok(())
    }

    /// The places of the question's terms in each passage.
    fn places(&self, found: &[Found], question: &Question, text: Field) -> tantivy::Result<Vec<Vec<Place>>> {
        let mut places: Vec<Vec<Place>> = vec![Vec::new(); found.len()];
        // By segment and document: each list is read forwards once.
        let mut order: Vec<usize> = (0..found.len()).collect();
        order.sort_unstable_by_key(|&i| (found[i].segment, found[i].doc));
        let mut buffer = Vec::new();
        for of_segment in order.chunk_by(|&a, &b| found[a].segment == found[b].segment) {
            let reader = self.searcher.segment_reader(found[of_segment[0]].segment as u32);
            let index = reader.inverted_index(text)?;
            for (number, term) in question.terms.iter().enumerate() {
                let term = Term::from_field_text(text, &term.text);
                let option = IndexRecordOption::WithFreqsAndPositions;
                let Some(mut list) = index.read_postings(&term, option)? else {
                    continue;
                };
                for &i in of_segment {
                    let doc = found[i].doc;
                    if list.doc() < doc {
                        list.seek(doc);
                    }
                    if list.doc() == doc {
                        list.positions(&mut buffer);
                        places[i].extend(buffer.iter().map(|place| (*place, number)));
                    }
                }
            }
        }
        Ok(places)
    }
}

/// What the closeness in one passage is worth; `places` in order.
fn worth(places: &[Place], question: &Question, idf: &[f32], half: f32) -> f32 {
    let mut near = vec![0.0_f32; question.terms.len()];
    for pair in places.windows(2) {
        let ((a_at, a), (b_at, b)) = (pair[0], pair[1]);
        let is_apart = question.terms[a].word != question.terms[b].word;
        if a != b && b_at > a_at && is_apart {
            let distance = (b_at - a_at) as f32;
            near[a] += idf[b] / (distance * distance);
            near[b] += idf[a] / (distance * distance);
        }
    }
    let of_term = |(near, idf): (&f32, &f32)| idf.min(1.0) * near * (1.0 + K1) / (near + half);
    near.iter().zip(idf).map(of_term).sum()
}
