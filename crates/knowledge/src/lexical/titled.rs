//! Passages by the words of their titles and headings, the last of which may be unfinished.

use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocSet as _, InvertedIndexReader, TERMINATED, Term};

use super::score::Scorer;
use crate::suggest::Typed;

impl Scorer<'_> {
    /// Permitted passages in whose title, or in whose headings, all of this stands: the shortest first, equal ones by
    /// id; at most `limit`.
    pub(super) fn titled(&self, fields: &[Field], typed: &Typed, limit: usize) -> tantivy::Result<Vec<u64>> {
        let mut found: Vec<(u32, u64)> = Vec::new();
        if typed.complete.is_empty() && typed.unfinished.is_empty() {
            return Ok(Vec::new());
        }
        for &field in fields {
            for (segment, reader) in self.searcher.segment_readers().iter().enumerate() {
                let index = reader.inverted_index(field)?;
                let norms = reader.get_fieldnorms_reader(field)?;
                let all_of = typed.complete.iter().map(|term| with_term(&index, field, term));
                let mut lists: Vec<Vec<u32>> = all_of.collect::<tantivy::Result<_>>()?;
                if !typed.unfinished.is_empty() {
                    lists.push(with_any(&index, &typed.unfinished)?);
                }
                let (Some(first), others) = (lists.first(), lists.get(1..).unwrap_or_default()) else {
                    continue;
                };
                let everywhere = |doc: &u32| others.iter().all(|list| list.binary_search(doc).is_ok());
                let docs = first.iter().copied().filter(everywhere);
                let seen = docs.filter(|doc| self.admits(segment, *doc));
                found.extend(seen.map(|doc| (norms.fieldnorm(doc), self.id(segment, doc))));
            }
        }
        found.sort_unstable();
        let mut ids: Vec<u64> = Vec::with_capacity(limit.min(found.len()));
        for (_, passage) in found {
            if ids.len() < limit && !ids.contains(&passage) {
                ids.push(passage);
            }
        }
        Ok(ids)
    }
}

/// Documents with a term, in order.
fn with_term(index: &InvertedIndexReader, field: Field, term: &str) -> tantivy::Result<Vec<u32>> {
    let term = Term::from_field_text(field, term);
    let mut docs = Vec::new();
    if let Some(mut list) = index.read_postings(&term, IndexRecordOption::Basic)? {
        while list.doc() != TERMINATED {
            docs.push(list.doc());
            list.advance();
        }
    }
    Ok(docs)
}

/// Documents with any term of these ranges, in order.
fn with_any(index: &InvertedIndexReader, ranges: &[(String, String)]) -> tantivy::Result<Vec<u32>> {
    let mut docs = Vec::new();
    for (from, to) in ranges {
        let mut terms = index.terms().range().ge(from).lt(to).into_stream()?;
        while terms.advance() {
            let mut list = index.read_postings_from_terminfo(terms.value(), IndexRecordOption::Basic)?;
            while list.doc() != TERMINATED {
                docs.push(list.doc());
                list.advance();
            }
        }
    }
    docs.sort_unstable();
    docs.dedup();
    Ok(docs)
}
