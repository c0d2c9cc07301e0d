//! What each segment holds of each audience: its passages, how long they are, and in how many of them a term stands.
//!
//! Computed once and shared by all readers: what one of them may count is the sum over the audiences that admit it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tantivy::columnar::Column;
use tantivy::index::SegmentId;
use tantivy::postings::TermInfo;
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{Searcher, SegmentReader, Term};

use super::score::Scored;
use crate::catalog::AudienceSet;

/// The kind of a passage that was deleted.
const DELETED: u32 = 0;
/// Terms of a segment whose counts are remembered: those asked for since as many others were, and those before them.
const REMEMBERED_MAX: usize = 2_048;

/// What a segment holds of each audience.
pub(super) struct SegmentClasses {
    /// The kind of each passage: a place in `kinds`.
    kind_of: Vec<u32>,
    /// By audience; the first stands for what was deleted.
    kinds: Vec<Kind>,
    passages: Column<u64>,
    n_deleted: u32,
    terms: Mutex<Remembered>,
}

/// Passages of one audience, and terms of each scored field in them.
struct Kind {
    audience: u32,
    n_passages: u64,
    n_terms: Vec<u64>,
}

/// A term of a field in a segment.
pub(super) struct TermHere {
    pub(super) info: TermInfo,
    /// In how many passages of which kinds it stands.
    by_kind: Vec<(u32, u32)>,
}

/// By field and term; `None` where the segment does not have it.
#[derive(Default)]
struct Remembered {
    young: HashMap<Vec<u8>, Option<Arc<TermHere>>>,
    old: HashMap<Vec<u8>, Option<Arc<TermHere>>>,
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
        let (audience_of, passages) = (columns.u64("audience")?, columns.u64("passage")?);
        let norms: Vec<_> = fields
            .iter()
            .map(|scored| segment.get_fieldnorms_reader(scored.field))
            .collect::<tantivy::Result<_>>()?;
        let n = segment.max_doc();
        let mut kind_of = Vec::with_capacity(n as usize);
        let mut kinds = vec![Kind::of(u32::MAX, fields.len())];
        let mut known: HashMap<u32, u32> = HashMap::new();
        for doc in 0..n {
            let audience = audience_of
                .first(doc)
                .and_then(|audience| u32::try_from(audience).ok());
            let alive = segment.alive_bitset().is_none_or(|alive| alive.is_alive(doc));
            let (Some(audience), true, true) = (audience, passages.first(doc).is_some(), alive) else {
                kind_of.push(DELETED);
                continue;
            };
            let kind = *known.entry(audience).or_insert_with(|| {
                kinds.push(Kind::of(audience, fields.len()));
                kinds.len() as u32 - 1
            });
            kind_of.push(kind);
            let kind = &mut kinds[kind as usize];
            kind.n_passages += 1;
            for (terms, norms) in kind.n_terms.iter_mut().zip(&norms) {
                *terms += u64::from(norms.fieldnorm(doc));
            }
        }
        Ok(Self {
            kind_of,
            kinds,
            passages,
            n_deleted: segment.num_deleted_docs(),
            terms: Mutex::default(),
        })
    }

    /// Which kinds these may see.
    pub(super) fn admitted(&self, allowed: &AudienceSet) -> Vec<bool> {
        let mut admitted: Vec<bool> = self.kinds.iter().map(|kind| allowed.has(kind.audience)).collect();
        admitted[DELETED as usize] = false;
        admitted
    }

    /// The kind of a passage.
    pub(super) fn kind_of(&self, doc: u32) -> usize {
        self.kind_of.get(doc as usize).copied().unwrap_or(DELETED) as usize
    }

    /// The id of a passage.
    pub(super) fn passage(&self, doc: u32) -> u64 {
        self.passages.first(doc).unwrap_or(0)
    }

    /// Passages, and terms of each field, of these kinds.
    pub(super) fn totals<'a>(&'a self, admitted: &'a [bool]) -> impl Iterator<Item = (u64, &'a [u64])> {
        let kinds = self.kinds.iter().zip(admitted).filter(|(_, is_in)| **is_in);
        kinds.map(|(kind, _)| (kind.n_passages, kind.n_terms.as_slice()))
    }

    /// Passages that were not deleted, with their audiences.
    pub(super) fn contents(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        let all = self.kind_of.iter().enumerate();
        let alive = all.filter(|(_, kind)| **kind != DELETED);
        alive.map(|(doc, kind)| (self.passage(doc as u32), self.kinds[*kind as usize].audience))
    }

    /// A term of a field, where the segment has it.
    pub(super) fn term(
        &self,
        segment: &SegmentReader,
        field: Field,
        text: &str,
    ) -> tantivy::Result<Option<Arc<TermHere>>> {
        let mut key = field.field_id().to_le_bytes().to_vec();
        key.extend_from_slice(text.as_bytes());
        let remembered = self.remembered(|terms| terms.get(&key));
        if let Some(term) = remembered {
            return Ok(term);
        }
        let index = segment.inverted_index(field)?;
        let info = index.get_term_info(&Term::from_field_text(field, text))?;
        let term = match info {
            Some(info) => Some(Arc::new(TermHere {
                by_kind: self.count(segment, field, &info)?,
                info,
            })),
            None => None,
        };
        self.remembered(|terms| terms.put(key, term.clone()));
        Ok(term)
    }

    fn remembered<T>(&self, work: impl FnOnce(&mut Remembered) -> T) -> T {
        work(&mut self.terms.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// In how many passages of which kinds a term stands.
    fn count(
        &self,
        segment: &SegmentReader,
        field: Field,
        info: &TermInfo,
    ) -> tantivy::Result<Vec<(u32, u32)>> {
        // Where all are of one kind, the dictionary says it.
        if self.kinds.len() == 2 && self.kinds[1].n_passages == self.kind_of.len() as u64 {
            return Ok(vec![(1, info.doc_freq)]);
        }
        let index = segment.inverted_index(field)?;
        let mut postings = index.read_block_postings_from_terminfo(info, IndexRecordOption::Basic)?;
        let mut counts = vec![0_u32; self.kinds.len()];
        while !postings.docs().is_empty() {
            for &doc in postings.docs() {
                counts[self.kind_of(doc)] += 1;
            }
            postings.advance();
        }
        let counted = counts.into_iter().enumerate().skip(1).filter(|(_, n)| *n > 0);
        Ok(counted.map(|(kind, n)| (kind as u32, n)).collect())
    }
}

impl Kind {
    fn of(audience: u32, n_fields: usize) -> Self {
        Self {
            audience,
            n_passages: 0,
            n_terms: vec![0; n_fields],
        }
    }
}

impl TermHere {
    /// In how many passages of these kinds it stands.
    pub(super) fn n_admitted(&self, admitted: &[bool]) -> u64 {
        let seen = self.by_kind.iter().filter(|(kind, _)| admitted[*kind as usize]);
        seen.map(|(_, n)| u64::from(*n)).sum()
    }
}

impl Remembered {
    fn get(&mut self, key: &[u8]) -> Option<Option<Arc<TermHere>>> {
        if let Some(term) = self.young.get(key) {
            return Some(term.clone());
        }
        let (key, term) = self.old.remove_entry(key)?;
        self.put(key, term.clone());
        Some(term)
    }

    fn put(&mut self, key: Vec<u8>, term: Option<Arc<TermHere>>) {
        if self.young.len() >= REMEMBERED_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, term);
    }
}
