//! Making vectors of the passages that have none yet, in small durable steps.

use crate::catalog::StoredPassage;
use crate::error::StoreError;
use crate::store::{Store, held};
use crate::types::{Embed, EmbedKind};

/// Passages embedded and committed at a time: little is lost when the process ends in between.
const BATCH: usize = 16;

impl Store {
    /// Embeds up to `limit` passages that have no vector of this embedder yet; returns how many remain. Vectors of
    /// another embedder are replaced.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn embed_pending(&self, embedder: &dyn Embed, limit: usize) -> Result<usize, StoreError> {
        let known = self.shelf().use_embedder(&embedder.id())?;
        let row = known.row;
        let mut done = 0;
        while done < limit {
            let after = self.embedded_up_to(row);
            let batch = self.shelf().without_vector(row, after, BATCH.min(limit - done))?;
            let Some(last) = batch.last().map(|p| p.passage_id) else {
                break;
            };
            let vectors = vectors(embedder, known.dim, &batch);
            self.shelf().put_vectors(known, &vectors)?;
            *held(&self.embedded_up_to) = (row, last);
            done += batch.len();
        }
        self.shelf().without_vector_count(row, self.embedded_up_to(row))
    }

    /// Everything up to this passage has a vector or was tried by this process.
    fn embedded_up_to(&self, row: i64) -> u64 {
        let (embedder, passage) = *held(&self.embedded_up_to);
        if embedder == row { passage } else { 0 }
    }
}

/// Vectors; none for a passage for which the embedder gives no finite vector of its width.
fn vectors(embedder: &dyn Embed, dim: usize, batch: &[StoredPassage]) -> Vec<(u64, Option<Vec<f32>>)> {
    let texts: Vec<String> = batch.iter().map(embedded_text).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut vectors = embedder.embed(EmbedKind::Passage, &texts).into_iter();
    let is_right = |vector: &Vec<f32>| vector.len() == dim && vector.iter().all(|x| x.is_finite());
    let made = batch
        .iter()
        .map(|passage| (passage.passage_id, vectors.next().filter(is_right)));
    made.collect()
}

/// A passage's words with what they stand under.
fn embedded_text(passage: &StoredPassage) -> String {
    let context = if passage.headings.is_empty() {
        &passage.title
    } else {
        &passage.headings
    };
    format!("{context}\n{}", passage.text)
}
