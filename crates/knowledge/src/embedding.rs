//! Making vectors of the passages that have none yet, in small durable steps.
//!
//! A passage is short, and what a question names often stands elsewhere in its section: at its beginning, which says what
//! it is about. So three tenths of the stored vector are that of the first passage of its section, and the rest is the
//! passage's own. A page begins where the paper ended, not with what it is about: where there are pages, half is the mean
//! of the passage's own and its neighbours' (those beside it in its section, on its page).
//!
//! The sum is not brought to unit length again: a question's product with it is the mean of its products with what it
//! consists of. (At unit length, passages with unlike neighbours would lie near the middle of everything and be found for
//! everything.)

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::catalog::StoredPassage;
use crate::error::StoreError;
use crate::shelf::Made;
use crate::store::{Store, held};
use crate::types::{Embed, EmbedKind, EmbedderId};

/// Passages embedded and committed at a time: little is lost when the process ends in between.
const BATCH: usize = 16;
/// Passages read at a time on the way back to where a section begins.
const BACK: u64 = 16;
/// What the first passage of its section counts in a passage's vector.
const LEAD_SHARE: f32 = 0.3;
/// What its neighbours and itself count in it where there are pages.
const BESIDE_SHARE: f32 = 0.5;
/// Changes whenever the same passages would get other vectors: those that are stored are then another embedder's.
const RECIPE: u32 = 4;

/// Who makes a store's vectors: the embedder together with how its vectors are put together here.
pub(crate) fn identity(embedder: &dyn Embed) -> EmbedderId {
    let id = embedder.id();
    EmbedderId {
        sha256: format!("{}+{RECIPE}", id.sha256),
        ..id
    }
}

/// Reads the passages with these ids that exist, in no particular order.
pub(crate) type ReadPassages<'a> = dyn FnMut(&[u64]) -> Result<Vec<StoredPassage>, StoreError> + 'a;

/// Own vectors of the passages embedded last: the next batch begins beside them.
#[derive(Default)]
pub(crate) struct OwnVectors {
    embedder: i64,
    /// The last passage, and the first one of its section.
    end: Option<(StoredPassage, StoredPassage)>,
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
            let vectors = self.vectors(embedder, row, &batch, &mut |ids| shelf.stored_passages(ids))?;
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

    /// Vectors of passages in the order of their ids; none for a passage for which the embedder gives no finite vector of
    /// its width.
    pub(crate) fn vectors(
        &self,
        embedder: &dyn Embed,
        row: i64,
        batch: &[StoredPassage],
        read: &mut ReadPassages<'_>,
    ) -> Result<Vec<Made>, StoreError> {
        let mut own = held(&self.own_vectors);
        if own.embedder != row {
            *own = OwnVectors {
                embedder: row,
                ..OwnVectors::default()
            };
        }
        let around = around(own.end.take(), batch, read)?;
        let wanted: BTreeMap<u64, &StoredPassage> = batch
            .iter()
            .chain(around.iter().flatten())
            .map(|passage| (passage.passage_id, passage))
            .collect();
        own.vectors.retain(|id, _| wanted.contains_key(id));
        own.add(embedder, &wanted);
        let made = batch.iter().zip(&around).map(|(passage, around)| {
            let vector_of = |id| own.vectors.get(&id)?.as_deref();
            let around = around.iter().filter_map(|p| vector_of(p.passage_id)).collect();
            let share = if passage.page.is_some() {
                BESIDE_SHARE
            } else {
                LEAD_SHARE
            };
            let vector = vector_of(passage.passage_id).map(|vector| joined(vector, around, share));
            (passage.passage_id, vector)
        });
        let made = made.collect();
        let lead = around.last().and_then(|around| around.first());
        own.end = batch.last().cloned().zip(lead.cloned());
        Ok(made)
    }
}

impl OwnVectors {
    /// Makes those that are wanted and not there.
    fn add(&mut self, embedder: &dyn Embed, wanted: &BTreeMap<u64, &StoredPassage>) {
        let dim = embedder.id().dim;
        let missing: Vec<&StoredPassage> = wanted
            .values()
            .copied()
            .filter(|p| !self.vectors.contains_key(&p.passage_id))
            .collect();
        let texts: Vec<String> = missing.iter().map(|p| embedded_text(p)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let made = embedder.embed(EmbedKind::Passage, &texts);
        for (passage, vector) in missing.iter().zip(made) {
            let is_usable = vector.len() == dim && vector.iter().all(|x| x.is_finite());
            self.vectors
                .insert(passage.passage_id, is_usable.then_some(vector));
        }
    }
}

/// For each passage those that count in its vector beside itself: where there are pages, the passages on both sides and it
/// again; else the first of its section. `end` is where the passages before these ended, with the first of that section.
fn around(
    end: Option<(StoredPassage, StoredPassage)>,
    batch: &[StoredPassage],
    read: &mut ReadPassages<'_>,
) -> Result<Vec<Vec<StoredPassage>>, StoreError> {
    let mut near = read(&ids_beside(batch))?;
    near.sort_by_key(|passage| passage.passage_id);
    let mut all: Vec<Vec<StoredPassage>> = Vec::with_capacity(batch.len());
    for (i, passage) in batch.iter().enumerate() {
        if passage.page.is_some() {
            let beside = near.iter().filter(|other| is_near(passage, other));
            all.push(beside.cloned().collect());
            continue;
        }
        let before = match i.checked_sub(1) {
            Some(i) => all[i].first().map(|lead| (&batch[i], lead)),
            None => end.as_ref().map(|(end, lead)| (end, lead)),
        };
        let lead = match before {
            Some((before, lead)) if follows(before, passage) => lead.clone(),
            _ => lead(passage, read)?,
        };
        all.push(vec![lead]);
    }
    Ok(all)
}

/// The first passage of this one's section.
fn lead(passage: &StoredPassage, read: &mut ReadPassages<'_>) -> Result<StoredPassage, StoreError> {
    let mut first = passage.clone();
    loop {
        let from = first.passage_id.saturating_sub(BACK);
        let ids: Vec<u64> = (from..first.passage_id).collect();
        let mut earlier = read(&ids)?;
        earlier.sort_by_key(|passage| passage.passage_id);
        while let Some(passage) = earlier.pop_if(|passage| follows(passage, &first)) {
            first = passage;
        }
        if first.passage_id > from || from == 0 {
            return Ok(first);
        }
    }
}

/// The passages that have pages, and those on both sides of them.
fn ids_beside(batch: &[StoredPassage]) -> Vec<u64> {
    let with_pages = batch.iter().filter(|p| p.page.is_some());
    let mut ids: Vec<u64> = with_pages.flat_map(|p| beside(p.passage_id)).collect();
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
    beside(passage.passage_id).contains(&other.passage_id) && is_of_section(passage, other)
}

/// Whether `passage` stands right behind `before` in its section.
fn follows(before: &StoredPassage, passage: &StoredPassage) -> bool {
    before.passage_id.checked_add(1) == Some(passage.passage_id) && is_of_section(before, passage)
}

fn is_of_section(one: &StoredPassage, other: &StoredPassage) -> bool {
    one.document_id == other.document_id && one.page == other.page && one.headings == other.headings
}

/// A passage's own vector, and with this share the mean of those around it.
fn joined(own: &[f32], around: Vec<&[f32]>, share: f32) -> Vec<f32> {
    if around.is_empty() {
        return own.to_vec();
    }
    let mut sum: Vec<f32> = own.iter().map(|x| x * (1.0 - share)).collect();
    let share = share / around.len() as f32;
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
