//! What the report on quality is made of: texts one after the other, files that failed, questions that were refused.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::read::{audience, json, validity};
use super::standing::audience_row;
use super::write::{to_json, unqueue};
use super::{AudienceSet, Catalog, Origin, QueueEntry};
use crate::access::Audience;
use crate::checksum::Summed;
use crate::error::StoreError;
use crate::types::PageSpan;
use crate::validity::{Date, Validity};

/// A document with its text, as they are streamed.
pub(crate) struct StreamedDocument {
    pub(crate) document_id: String,
    pub(crate) version: String,
    pub(crate) path: String,
    pub(crate) title: String,
    pub(crate) format: String,
    pub(crate) n_pages: Option<u32>,
    /// When its file was last changed, as far as that is known.
    pub(crate) mtime_ns: i64,
    pub(crate) ingested_ms: i64,
    pub(crate) validity: Validity,
    pub(crate) owner: Option<String>,
    pub(crate) text: String,
    pub(crate) pages: Vec<PageSpan>,
}

/// A document with its pages.
pub(crate) struct Paged {
    pub(crate) document_id: String,
    pub(crate) origin: Origin,
    pub(crate) path_bytes: Vec<u8>,
    pub(crate) path: String,
    pub(crate) n_pages: Option<u32>,
    pub(crate) pages: Vec<PageSpan>,
}

/// A file that could not be read.
pub(crate) struct FailureRow {
    pub(crate) origin: Origin,
    pub(crate) path_bytes: Vec<u8>,
    pub(crate) path: String,
    pub(crate) reason: String,
}

/// A question that was refused.
pub(crate) struct RefusalRow {
    pub(crate) day: Option<Date>,
    /// In which groups whoever asked was, as [`crate::Reader::to_stated`] says it.
    pub(crate) groups: String,
    pub(crate) words: Vec<String>,
    pub(crate) question: Option<String>,
    /// Ids of documents that came near.
    pub(crate) nearest: Vec<String>,
}

impl Catalog {
    /// Hands every document of these audiences to `visit`, by path, with its present text; one at a time in memory.
    pub(crate) fn each_document(
        &self,
        allowed: &AudienceSet,
        visit: &mut dyn FnMut(StreamedDocument),
    ) -> Result<(), StoreError> {
        self.read("read all documents", |connection| {
            // One state for all of them, whatever is written meanwhile.
            let snapshot = connection.unchecked_transaction()?;
            let mut ids: Vec<String> = Vec::new();
            let mut query = snapshot.prepare_cached(
                "SELECT audience_id, document_id FROM documents ORDER BY path, document_id",
            )?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                if allowed.has(audience(row, 0)?) {
                    ids.push(row.get(1)?);
                }
            }
            let mut query = snapshot.prepare_cached(
                "SELECT d.document_id, d.version, d.path, d.title, d.format, d.n_pages, d.mtime_ns,
                        d.ingested_ms, a.valid_from, a.valid_until, d.owner, v.pages, v.text
                 FROM documents d JOIN versions v ON v.document_id = d.document_id AND v.version = d.version
                 LEFT JOIN audiences a ON a.audience_id = d.audience_id WHERE d.document_id = ?1",
            )?;
            for id in ids {
                if let Some(document) = query.query_row([id], streamed).optional()? {
                    visit(document);
                }
            }
            Ok(())
        })
    }

    /// The pages of documents of one format and these audiences.
    pub(crate) fn paged(&self, format: &str, allowed: &AudienceSet) -> Result<Vec<Paged>, StoreError> {
        self.read("read the pages of documents", |connection| {
            let mut query = connection.prepare_cached(
                "SELECT d.audience_id, d.document_id, d.origin, d.path_bytes, d.path, d.n_pages, v.pages
                 FROM documents d JOIN versions v ON v.document_id = d.document_id AND v.version = d.version
                 WHERE d.format = ?1",
            )?;
            let mut rows = query.query([format])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                if allowed.has(audience(row, 0)?) {
                    let pages: Vec<(u32, usize, usize)> = json(row, 6)?;
                    found.push(Paged {
                        document_id: row.get(1)?,
                        origin: Origin::from_name(&row.get::<_, String>(2)?),
                        path_bytes: row.get(3)?,
                        path: row.get(4)?,
                        n_pages: row.get(5)?,
                        pages: spans(pages),
                    });
                }
            }
            Ok(found)
        })
    }

    /// Takes a file off the queue and remembers why it failed.
    pub(crate) fn fail(
        &self,
        connection: &mut Connection,
        entry: &QueueEntry,
        path: &str,
        reason: &str,
        readers: &Audience,
    ) -> Result<(), StoreError> {
        self.transact(connection, "record a file that failed", |tx| {
            unqueue(tx, &entry.path_bytes)?;
            let audience = audience_row(tx, readers, Validity::default())?;
            tx.execute(
                "INSERT OR REPLACE INTO failures (path_bytes, origin, path, reason, audience_id, failed_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    entry.path_bytes,
                    entry.origin.name(),
                    path,
                    reason,
                    audience,
                    stdx::clock::unix_ms()
                ],
            )?;
            tx.execute(&Summed::Failures.seal("path_bytes = ?1"), [&entry.path_bytes])
                .map(drop)
        })
    }

    /// Files of these audiences that could not be read, by path. A damaged row is left out: it may name the wrong readers.
    pub(crate) fn failures(&self, allowed: &AudienceSet) -> Result<Vec<FailureRow>, StoreError> {
        self.read("list the files that failed", |connection| {
            let mut query = connection.prepare_cached(&format!(
                "SELECT audience_id, origin, path_bytes, path, reason FROM failures f WHERE {} ORDER BY path",
                Summed::Failures.is_intact("f")
            ))?;
            let mut rows = query.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                if allowed.has(audience(row, 0)?) {
                    found.push(FailureRow {
                        origin: Origin::from_name(&row.get::<_, String>(1)?),
                        path_bytes: row.get(2)?,
                        path: row.get(3)?,
                        reason: row.get(4)?,
                    });
                }
            }
            Ok(found)
        })
    }

    /// Says who may know of a file that failed; nobody needs to any more where there is no audience.
    pub(crate) fn set_failure(
        &self,
        connection: &mut Connection,
        path_bytes: &[u8],
        readers: Option<&Audience>,
    ) -> Result<(), StoreError> {
        self.transact(connection, "change who may know of a failure", |tx| {
            let Some(readers) = readers else {
                return tx
                    .execute("DELETE FROM failures WHERE path_bytes = ?1", [path_bytes])
                    .map(drop);
            };
            let audience = audience_row(tx, readers, Validity::default())?;
            let is_other = format!(
                "path_bytes = ?1 AND audience_id <> ?2 AND {}",
                Summed::Failures.is_intact("failures")
            );
            let n = tx.execute(
                &format!("UPDATE failures SET audience_id = ?2 WHERE {is_other}"),
                params![path_bytes, audience],
            )?;
            if n > 0 {
                tx.execute(&Summed::Failures.seal("path_bytes = ?1"), [path_bytes])?;
            }
            Ok(())
        })
    }

    /// Remembers a refused question and forgets the oldest beyond `kept`.
    pub(crate) fn put_refusal(
        &self,
        connection: &mut Connection,
        refusal: &RefusalRow,
        kept: usize,
    ) -> Result<(), StoreError> {
        self.transact(connection, "record a refused question", |tx| {
            tx.execute(
                "INSERT INTO refusals (day, groups, words, question, nearest) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    refusal.day.map(|day| day.to_string()).unwrap_or_default(),
                    refusal.groups,
                    to_json(&refusal.words)?,
                    refusal.question,
                    to_json(&refusal.nearest)?
                ],
            )?;
            let kept = i64::try_from(kept).unwrap_or(i64::MAX);
            let id = tx.last_insert_rowid();
            tx.execute(&Summed::Refusals.seal("refusal_id = ?1"), [id])?;
            tx.execute(
                "DELETE FROM refusals WHERE refusal_id <= ?1",
                [id.saturating_sub(kept)],
            )
            .map(drop)
        })
    }

    /// Forgets every refused question, or only how they were worded.
    pub(crate) fn forget_refusals(&self, connection: &mut Connection, all: bool) -> Result<(), StoreError> {
        self.transact(connection, "forget refused questions", |tx| {
            if all {
                return tx.execute("DELETE FROM refusals", []).map(drop);
            }
            // One that is damaged is forgotten whole: a new checksum would hide the damage.
            let damaged = format!(
                "DELETE FROM refusals WHERE NOT {}",
                Summed::Refusals.is_intact("refusals")
            );
            tx.execute(&damaged, [])?;
            tx.execute(
                "UPDATE refusals SET question = NULL WHERE question IS NOT NULL",
                [],
            )?;
            tx.execute(&Summed::Refusals.seal("true"), []).map(drop)
        })
    }

    /// Every refused question that is remembered, the oldest first, but for damaged ones.
    pub(crate) fn refusals(&self) -> Result<Vec<RefusalRow>, StoreError> {
        self.read("list the refused questions", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT day, groups, words, question, nearest FROM refusals r WHERE {} ORDER BY refusal_id",
                    Summed::Refusals.is_intact("r")
                ))?
                .query_map([], |row| {
                    Ok(RefusalRow {
                        day: row.get::<_, String>(0)?.parse().ok(),
                        groups: row.get(1)?,
                        words: json(row, 2)?,
                        question: row.get(3)?,
                        nearest: json(row, 4)?,
                    })
                })?
                .collect()
        })
    }
}

fn streamed(row: &Row<'_>) -> rusqlite::Result<StreamedDocument> {
    let pages: Vec<(u32, usize, usize)> = json(row, 11)?;
    Ok(StreamedDocument {
        document_id: row.get(0)?,
        version: row.get(1)?,
        path: row.get(2)?,
        title: row.get(3)?,
        format: row.get(4)?,
        n_pages: row.get(5)?,
        mtime_ns: row.get(6)?,
        ingested_ms: row.get(7)?,
        validity: validity(row, 8)?,
        owner: row.get(10)?,
        pages: spans(pages),
        text: row.get(12)?,
    })
}

fn spans(pages: Vec<(u32, usize, usize)>) -> Vec<PageSpan> {
    pages
        .into_iter()
        .map(|(page, start, end)| PageSpan { page, start, end })
        .collect()
}
