//! Stored vectors of some passages.

use rusqlite::params;

use super::Catalog;
use super::write::as_i64;
use crate::checksum::Summed;
use crate::error::StoreError;

impl Catalog {
    /// The vectors of an embedder for these passages, as they are stored; those that are missing or damaged are left out.
    pub(crate) fn vectors(&self, embedder: i64, passages: &[u64]) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.read("read vectors", |connection| {
            // One transaction instead of one for each.
            let transaction = connection.unchecked_transaction()?;
            let mut query = transaction.prepare_cached(&format!(
                "SELECT v.data FROM vectors v WHERE v.passage_id = ?1 AND v.embedder_id = ?2 AND {}",
                Summed::Vectors.is_intact("v")
            ))?;
            let mut found = Vec::with_capacity(passages.len());
            for &passage in passages {
                let mut rows = query.query(params![as_i64(passage), embedder])?;
                if let Some(row) = rows.next()? {
                    found.push((passage, row.get(0)?));
                }
            }
            Ok(found)
        })
    }
}
