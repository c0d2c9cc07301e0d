//! Which pages of a document have no text, and which texts were recognised in pictures.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::read::json;
use super::write::to_json;
use super::{Catalog, Origin, QueueEntry};
use crate::error::StoreError;
use crate::prepare::Prepared;
use crate::types::DocumentInfo;

/// Writes the notes of a version in place of earlier ones; none where there is nothing to say.
pub(super) fn put(
    tx: &Transaction<'_>,
    (id, version): (&str, &str),
    prepared: &Prepared,
) -> rusqlite::Result<()> {
    tx.execute(
        "DELETE FROM page_notes WHERE document_id = ?1 AND version = ?2",
        params![id, version],
    )?;
    if prepared.without_text.is_empty() && prepared.recognised.is_empty() {
        return Ok(());
    }
    let (without_text, recognised) = (to_json(&prepared.without_text)?, to_json(&prepared.recognised)?);
    tx.execute(
        "INSERT INTO page_notes (document_id, version, without_text, recognised) VALUES (?1, ?2, ?3, ?4)",
        params![id, version, without_text, recognised],
    )
    .map(drop)
}

/// Adds to a document what is noted of its version.
pub(super) fn add(connection: &Connection, info: &mut DocumentInfo) -> rusqlite::Result<()> {
    let sql = "SELECT without_text, recognised FROM page_notes WHERE document_id = ?1 AND version = ?2";
    let noted = |row: &Row<'_>| Ok((json(row, 0)?, json(row, 1)?));
    let found = connection
        .prepare_cached(sql)?
        .query_row(params![info.document_id, info.version], noted)
        .optional()?;
    if let Some((without_text, recognised)) = found {
        info.without_text = without_text;
        info.recognised = recognised;
    }
    Ok(())
}

impl Catalog {
    /// Queues documents with pages without text, so that these are recognised; returns how many there are.
    pub(crate) fn queue_for_recognition(&self, connection: &mut Connection) -> Result<usize, StoreError> {
        let found: Vec<(String, QueueEntry)> = self.read("look for pages without text", |connection| {
            let mut query = connection.prepare_cached(
                "SELECT d.document_id, d.path_bytes, d.origin, d.file_bytes
                 FROM page_notes n JOIN documents d ON d.document_id = n.document_id AND d.version = n.version
                 WHERE n.without_text <> '[]' AND n.recognised = '[]' AND d.cutter > 0",
            )?;
            let rows = query.query_map([], |row| {
                let entry = QueueEntry {
                    path_bytes: row.get(1)?,
                    origin: Origin::from_name(&row.get::<_, String>(2)?),
                    file_bytes: u64::try_from(row.get::<_, i64>(3)?).unwrap_or(0),
                };
                Ok((row.get(0)?, entry))
            })?;
            rows.collect()
        })?;
        if found.is_empty() {
            return Ok(0);
        }
        let (ids, entries): (Vec<String>, Vec<QueueEntry>) = found.into_iter().unzip();
        self.transact(connection, "queue pages without text", |tx| {
            for id in &ids {
                tx.execute("UPDATE documents SET cutter = 0 WHERE document_id = ?1", [id])?;
            }
            Ok(())
        })?;
        self.enqueue(connection, &entries)?;
        Ok(ids.len())
    }
}
