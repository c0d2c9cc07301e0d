//! Documents whose files were moved.

use rusqlite::{Connection, OptionalExtension, params};

use super::read::get_usize;
use super::standing::set_standing;
use super::write::{as_i64, mark};
use super::{Catalog, Moved, Origin, QueueEntry};
use crate::checksum::Summed;
use crate::error::StoreError;

/// A document whose file is gone.
pub(crate) struct Gone {
    pub(crate) document_id: String,
    pub(crate) origin: Origin,
    pub(crate) path_bytes: Vec<u8>,
    pub(crate) version: String,
    pub(crate) bytes: u64,
}

/// Where a document's file is now, and how the document stands there.
pub(crate) struct MovedTo<'a> {
    pub(crate) entry: &'a QueueEntry,
    /// For people.
    pub(crate) shown: String,
    pub(crate) standing: Moved,
}

impl Catalog {
    /// What is known of the file of a document, if its row is as it was written.
    pub(crate) fn gone(&self, document_id: &str) -> Result<Option<Gone>, StoreError> {
        self.read("look up a document", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT document_id, origin, path_bytes, version, file_bytes FROM documents d
                     WHERE document_id = ?1 AND {}",
                    Summed::Documents.is_intact("d")
                ))?
                .query_row([document_id], |row| {
                    Ok(Gone {
                        document_id: row.get(0)?,
                        origin: Origin::from_name(&row.get::<_, String>(1)?),
                        path_bytes: row.get(2)?,
                        version: row.get(3)?,
                        bytes: get_usize(row, 4)? as u64,
                    })
                })
                .optional()
        })
    }

    /// How many documents have these bytes.
    pub(crate) fn n_of_version(&self, version: &str) -> Result<usize, StoreError> {
        self.read("count documents of a version", |connection| {
            connection
                .prepare_cached("SELECT count(*) FROM documents WHERE version = ?1")?
                .query_row([version], |row| get_usize(row, 0))
        })
    }

    /// Whether there is a document of that id.
    pub(crate) fn has_document(&self, document_id: &str) -> Result<bool, StoreError> {
        self.read("look up a document", |connection| {
            connection
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM documents WHERE document_id = ?1)")?
                .query_row([document_id], |row| row.get(0))
        })
    }

    /// Lets a document follow its file to another place, where it is queued to be read again; returns its mark.
    pub(crate) fn move_document(
        &self,
        connection: &mut Connection,
        to: &MovedTo<'_>,
    ) -> Result<i64, StoreError> {
        let (id, entry) = (&to.standing.document_id, to.entry);
        self.transact(connection, "let a document follow its file", |tx| {
            // Its passages count as cut by nobody, so that it is read though its bytes are known.
            tx.execute(
                "UPDATE documents SET path = ?2, path_bytes = ?3, cutter = -1 WHERE document_id = ?1",
                params![id, to.shown, entry.path_bytes],
            )?;
            set_standing(tx, &to.standing)?;
            tx.execute(
                "INSERT OR IGNORE INTO queue (path_bytes, origin, file_bytes) VALUES (?1, ?2, ?3)",
                params![entry.path_bytes, entry.origin.name(), as_i64(entry.file_bytes)],
            )?;
            mark(tx, id)
        })
    }
}
