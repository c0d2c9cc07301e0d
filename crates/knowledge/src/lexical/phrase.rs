//! Where the terms of a phrase stand one behind the other.
//!
//! A phrase is scored like a term: how many permitted passages hold it decides what finding it is worth.

use tantivy::postings::{Postings as _, SegmentPostings};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocSet as _, TERMINATED, Term};

use super::rank::Occurrences;
use super::score::Scorer;
use crate::analyser;

impl Scorer<'_> {
    /// How often a phrase stands in each permitted passage that has it.
    pub(super) fn phrase(&self, field: Field, phrase: &[analyser::Term]) -> tantivy::Result<Occurrences> {
        let mut found = Vec::new();
        for (segment, reader) in self.searcher.segment_readers().iter().enumerate() {
            let index = reader.inverted_index(field)?;
            let mut lists = Vec::with_capacity(phrase.len());
            for term in phrase {
                let text = Term::from_field_text(field, &term.text);
                if let Some(list) = index.read_postings(&text, IndexRecordOption::WithFreqsAndPositions)? {
                    lists.push((list, term.position as u32));
                }
            }
            if lists.len() < phrase.len() {
                continue;
            }
            // The rarest leads: the others are only asked where it stands.
            lists.sort_by_key(|(list, offset)| (list.doc_freq(), *offset));
            each_document(&mut lists, |doc, lists| {
                let count = if self.admits(segment, doc) {
                    count(lists)
                } else {
                    0
                };
                if count > 0 {
                    found.push((segment, doc, count));
                }
            });
        }
        Ok(found)
    }
}

type List = (SegmentPostings, u32);

/// Visits the documents that are in all lists.
fn each_document(lists: &mut [List], mut visit: impl FnMut(u32, &mut [List])) {
    let Some((leader, _)) = lists.first() else { return };
    let mut doc = leader.doc();
    while doc != TERMINATED {
        let behind = lists.iter_mut().find_map(|(list, _)| {
            let at = if list.doc() < doc {
                list.seek(doc)
            } else {
                list.doc()
            };
            (at != doc).then_some(at)
        });
        match behind {
            Some(at) => doc = at,
            None => {
                visit(doc, lists);
                doc = lists[0].0.advance();
            }
        }
    }
}

/// How often the terms stand at their distances in the present document.
fn count(lists: &mut [List]) -> u32 {
    let mut starts: Vec<u32> = Vec::new();
    let mut places = Vec::new();
    for (i, (list, offset)) in lists.iter_mut().enumerate() {
        list.positions(&mut places);
        let here = places.iter().filter_map(|place| place.checked_sub(*offset));
        if i == 0 {
            starts.extend(here);
        } else {
            let here: Vec<u32> = here.collect();
            starts.retain(|start| here.binary_search(start).is_ok());
        }
    }
    starts.len() as u32
}
