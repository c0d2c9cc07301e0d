//! Making vectors of the passages that have none yet, in small durable steps.
//!
//! A passage is short, and what a question names often stands right before or after it. So the stored vector is half the
//! passage's own and half the mean of its own and its neighbours' (those beside it in its section, on its page). It is
//! not brought to unit length again: a question's product with it is the mean of the cosines that it consists of. (At
//! unit length, passages with unlike neighbours would lie near the middle of everything and be found for everything.)

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::catalog::StoredPassage;
use crate::error::StoreError;
use crate::shelf::Made;
use crate::store::{Store, held};
use crate::types::{Embed, EmbedKind, EmbedderId};

/// Passages embedded and committed at a time: little is lost when the process ends in between.
const BATCH: usize = 16;
/// What a passage's neighbourhood counts in its vector.
const AROUND_SHARE: f32 = 0.5;
/// Changes whenever the same passages would get other vectors: those that are stored are then another embedder's.
const RECIPE: u32 = 2;

/// Who makes a store's vectors: the embedder together with how its vectors are put together here.
pub(crate) fn identity(embedder: &dyn Embed) -> EmbedderId {
    let id = embedder.id();
    EmbedderId {
        sha256: format!("{}+{RECIPE}", id.sha256),
        ..id
    }
}

/// Own vectors of the passages embedded last: the next batch begins beside them.
#[derive(Default)]
pub(crate) struct OwnVectors {
    embedder: i64,
    /// By passage; `None` where the embedder gave none that can be used.
    vectors: BTreeMap<u64, Option<Vec<f32>>>,
}

impl Store {
    /// Embeds up to `limit` passages that have no vector of this embedder yet; returns how many remain.
    ///
    /// # Errors
    /// [`StoreError::OtherEmbedder`] where another one's vectors answer: [`Store::reindex`] puts this one's in their place
    /// (in PostgreSQL this does it, passage by passage); when the store cannot be written.
    pub fn embed_pending(&self, embedder: &dyn Embed, limit: usize) -> Result<usize, StoreError> {
        self.check_embedder(embedder)?;
        let shelf = self.shelf();
        let known = shelf.use_embedder(&identity(embedder), &source_of(embedder))?;
        let row = known.row;
        let mut done = 0;
        while done < limit {
            let after = self.embedded_up_to(row);
            let batch = shelf.without_vector(row, after, BATCH.min(limit - done))?;
            let Some(last) = batch.last().map(|p| p.passage_id) else {
                // What is still counted is damaged.
                return Ok(0);
            };
            let near = shelf.stored_passages(&ids_beside(&batch))?;
            let vectors = self.vectors(embedder, row, &batch, near);
            shelf.put_vectors(known, &vectors)?;
            *held(&self.embedded_up_to) = (row, last);
            done += batch.len();
        }
        shelf.without_vector_count(row, self.embedded_up_to(row))
    }

    /// Everything up to this passage has a vector or was tried by this process.
    fn embedded_up_to(&self, row: i64) -> u64 {
        let (embedder, passage) = *held(&self.embedded_up_to);
        if embedder == row { passage } else { 0 }
    }

    /// Vectors, made with the passages `near` by [`ids_beside`]; none for a passage for which the embedder gives no finite
    /// vector of its width.
    pub(crate) fn vectors(
        &self,
        embedder: &dyn Embed,
        row: i64,
        batch: &[StoredPassage],
        near: Vec<StoredPassage>,
    ) -> Vec<Made> {
        let dim = embedder.id().dim;
        let mut near: BTreeMap<u64, StoredPassage> = near.into_iter().map(|p| (p.passage_id, p)).collect();
        near.retain(|_, passage| batch.iter().any(|p| is_near(p, passage)));
        let mut own = held(&self.own_vectors);
        if own.embedder != row {
            *own = OwnVectors {
                embedder: row,
                ..OwnVectors::default()
            };
        }
        own.vectors.retain(|id, _| near.contains_key(id));
        let missing: Vec<&StoredPassage> = near
            .values()
            .filter(|p| !own.vectors.contains_key(&p.passage_id))
            .collect();
        let texts: Vec<String> = missing.iter().map(|p| embedded_text(p)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let made = embedder.embed(EmbedKind::Passage, &texts);
        for (passage, vector) in missing.iter().zip(made) {
            let is_usable = vector.len() == dim && vector.iter().all(|x| x.is_finite());
            own.vectors
                .insert(passage.passage_id, is_usable.then_some(vector));
        }
        let vectors = batch.iter().map(|passage| {
            let vector_of = |id| own.vectors.get(&id)?.as_deref();
            let around = beside(passage.passage_id)
                .filter(|id| near.get(id).is_some_and(|other| is_near(passage, other)))
                .filter_map(vector_of)
                .collect();
            let vector = vector_of(passage.passage_id).map(|vector| joined(vector, around));
            (passage.passage_id, vector)
        });
        vectors.collect()
    }
}

/// The passages whose own vectors those of `batch` are made of.
pub(crate) fn ids_beside(batch: &[StoredPassage]) -> Vec<u64> {
    let mut ids: Vec<u64> = batch.iter().flat_map(|p| beside(p.passage_id)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// What an embedder is loaded from, as it is remembered.
pub(crate) fn source_of(embedder: &dyn Embed) -> String {
    embedder
        .source()
        .map(|path| path.display().to_string())
        .unwrap_or_default()
}

/// A passage and those that may stand beside it: the passages of a document are numbered one after another.
fn beside(passage: u64) -> RangeInclusive<u64> {
    passage.saturating_sub(1)..=passage.saturating_add(1)
}

/// Whether `other` is `passage` or stands beside it in its section, on its page.
fn is_near(passage: &StoredPassage, other: &StoredPassage) -> bool {
    beside(passage.passage_id).contains(&other.passage_id)
        && other.document_id == passage.document_id
        && other.page == passage.page
        && other.headings == passage.headings
}

/// A passage's own vector and the mean of those around it, its own among them.
fn joined(own: &[f32], around: Vec<&[f32]>) -> Vec<f32> {
    let share = AROUND_SHARE / around.len().max(1) as f32;
    let mut sum: Vec<f32> = own.iter().map(|x| x * (1.0 - AROUND_SHARE)).collect();
    for vector in around {
        sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += x * share);
    }
    sum
}

/// A passage's words under their headings. Not the title: where a document has no headings it is a file's name as often as
/// not, which draws the vector away from what the passage says.
fn embedded_text(passage: &StoredPassage) -> String {
    if passage.headings.is_empty() {
        passage.text.clone()
    } else {
        format!("{}\n{}", passage.headings, passage.text)
    }
}
