//! Making vectors of the passages that have none yet, in small durable steps.

use crate::catalog::{Passages, StoredPassage};
use crate::dense::encode;
use crate::error::StoreError;
use crate::store::{Store, held};
use crate::types::{Embed, EmbedKind};

/// Passages embedded and committed at a time: little is lost when the process ends in between.
const BATCH: usize = 16;

impl Store {
    /// Embeds up to `limit` passages that have no vector of this embedder yet; returns how many remain.
    ///
    /// # Errors
    /// [`StoreError::OtherEmbedder`] where another one's vectors answer: [`Store::reindex`] puts this one's in their place;
    /// when the store cannot be written.
    pub fn embed_pending(&self, embedder: &dyn Embed, limit: usize) -> Result<usize, StoreError> {
        let id = embedder.id();
        self.check_embedder(embedder)?;
        let source = source_of(embedder);
        let row = match self.catalog.embedder_in_force()? {
            Some(present) if present.id == id && present.source == source => present.row,
            _ => self.write(|store, writer| {
                let connection = writer.connect(&store.catalog)?;
                store.catalog.record_embedder(connection, &id, &source, true)
            })?,
        };
        let mut done = 0;
        while done < limit {
            let after = self.embedded_up_to(row);
            let batch =
                self.catalog
                    .without_vector(Passages::Present, row, after, BATCH.min(limit - done))?;
            let Some(last) = batch.last().map(|p| p.passage_id) else {
                break;
            };
            let vectors = vectors(embedder, id.dim, &batch);
            self.write(|store, writer| {
                store
                    .catalog
                    .put_vectors(writer.connect(&store.catalog)?, row, &vectors)
            })?;
            *held(&self.embedded_up_to) = (row, last);
            done += batch.len();
        }
        self.catalog
            .without_vector_count(Passages::Present, row, self.embedded_up_to(row))
    }

    /// Everything up to this passage has a vector or was tried by this process.
    fn embedded_up_to(&self, row: i64) -> u64 {
        let (embedder, passage) = *held(&self.embedded_up_to);
        if embedder == row { passage } else { 0 }
    }
}

/// Encoded vectors; a passage for which the embedder gives no finite vector of its width is left out.
pub(crate) fn vectors(embedder: &dyn Embed, dim: usize, batch: &[StoredPassage]) -> Vec<(u64, Vec<u8>)> {
    let texts: Vec<String> = batch.iter().map(embedded_text).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let vectors = embedder.embed(EmbedKind::Passage, &texts);
    batch
        .iter()
        .zip(vectors)
        .filter(|(_, vector)| vector.len() == dim && vector.iter().all(|x| x.is_finite()))
        .map(|(passage, vector)| (passage.passage_id, encode(&vector)))
        .collect()
}

/// What an embedder is loaded from, as it is remembered.
pub(crate) fn source_of(embedder: &dyn Embed) -> String {
    embedder
        .source()
        .map(|path| path.display().to_string())
        .unwrap_or_default()
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
