//! Writing to the catalog: one transaction for each document, so that a crash leaves it whole or absent.

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::reindex::{drop_next, note_gone};
use super::standing::{Standing, audience_row};
use super::{Catalog, Origin, Passages, Stat};
use crate::access::Audience;
use crate::boxes;
use crate::checksum::Summed;
use crate::error::StoreError;
use crate::prepare::{Prepared, PreparedPassage};
use crate::shelf::NextShelved;
use crate::text::blocks;
use crate::types::EmbedderId;
use crate::validity::Ruled;

/// A document ready to be written.
pub(crate) struct NewDocument<'a> {
    pub(crate) document_id: &'a str,
    pub(crate) origin: Origin,
    /// For people.
    pub(crate) path: &'a str,
    /// For the operating system; an upload's name.
    pub(crate) path_bytes: &'a [u8],
    pub(crate) version: &'a str,
    pub(crate) stat: Stat,
    pub(crate) audience: &'a Audience,
    /// What the keeper's rules say of it.
    pub(crate) ruled: &'a Ruled,
    pub(crate) now_ms: i64,
}

/// A file waiting to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueueEntry {
    pub(crate) path_bytes: Vec<u8>,
    pub(crate) origin: Origin,
    pub(crate) file_bytes: u64,
}

/// Documents whose index entries are on their way: ids with the sequence number of the change.
pub(crate) type Marks = Vec<(String, i64)>;

impl Catalog {
    pub(super) fn transact<T>(
        &self,
        connection: &mut Connection,
        doing: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let fail = |error| StoreError::database(doing, self.path(), error);
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(fail)?;
        let value = work(&transaction).map_err(fail)?;
        transaction.commit().map_err(fail)?;
        Ok(value)
    }

    /// Records files to read; those already queued keep their place.
    pub(crate) fn enqueue(
        &self,
        connection: &mut Connection,
        entries: &[QueueEntry],
    ) -> Result<(), StoreError> {
        self.transact(connection, "queue files", |tx| {
            let mut insert = tx.prepare_cached(
                "INSERT INTO queue (path_bytes, origin, file_bytes) VALUES (?1, ?2, ?3)
                 ON CONFLICT (path_bytes) DO UPDATE SET file_bytes = excluded.file_bytes",
            )?;
            for entry in entries {
                insert.execute(params![
                    entry.path_bytes,
                    entry.origin.name(),
                    as_i64(entry.file_bytes)
                ])?;
            }
            Ok(())
        })
    }

    /// Remembers folders that are to be kept in step; returns how many are new.
    pub(crate) fn put_folders(
        &self,
        connection: &mut Connection,
        folders: &[&[u8]],
    ) -> Result<usize, StoreError> {
        self.transact(connection, "remember folders", |tx| {
            let mut insert = tx.prepare_cached("INSERT OR IGNORE INTO folders (path_bytes) VALUES (?1)")?;
            folders.iter().map(|folder| insert.execute([folder])).sum()
        })
    }

    /// Forgets a folder; whether it was remembered.
    pub(crate) fn drop_folder(&self, connection: &mut Connection, folder: &[u8]) -> Result<bool, StoreError> {
        self.transact(connection, "forget a folder", |tx| {
            let n = tx.execute("DELETE FROM folders WHERE path_bytes = ?1", [folder])?;
            Ok(n > 0)
        })
    }

    /// Records that a file's bytes are the ones already stored.
    pub(crate) fn touch(&self, connection: &mut Connection, new: &NewDocument<'_>) -> Result<(), StoreError> {
        self.transact(connection, "record an unchanged file", |tx| {
            tx.execute(
                "UPDATE documents SET mtime_ns = ?2, ctime_ns = ?3, device = ?4 WHERE document_id = ?1",
                params![
                    new.document_id,
                    new.stat.mtime_ns,
                    new.stat.ctime_ns,
                    new.stat.device.cast_signed()
                ],
            )?;
            unqueue(tx, new.path_bytes)
        })
    }

    /// Writes a document, its version, pages and passages, takes it off the queue and marks it for the index.
    pub(crate) fn put(
        &self,
        connection: &mut Connection,
        new: &NewDocument<'_>,
        prepared: &Prepared,
    ) -> Result<i64, StoreError> {
        self.transact(connection, "write a document", |tx| put_whole(tx, new, prepared))
    }

    /// Writes all these documents or none; returns their marks.
    pub(crate) fn put_all(
        &self,
        connection: &mut Connection,
        next: &mut NextShelved<'_>,
    ) -> Result<Marks, StoreError> {
        let mut failed = None;
        let written = self.transact(connection, "write documents", |tx| {
            let mut marks = Marks::new();
            loop {
                match next() {
                    Ok(Some(shelved)) => {
                        let seq = put_whole(tx, &shelved.new_document(), &shelved.prepared)?;
                        marks.push((shelved.document_id, seq));
                    }
                    Ok(None) => return Ok(marks),
                    Err(error) => {
                        failed = Some(error);
                        // Whatever was written goes with the transaction.
                        return Err(rusqlite::Error::QueryReturnedNoRows);
                    }
                }
            }
        });
        match failed {
            Some(error) => Err(error),
            None => written,
        }
    }

    /// Erases documents with all their versions; returns the marks of those that were there.
    pub(crate) fn erase(&self, connection: &mut Connection, ids: &[String]) -> Result<Marks, StoreError> {
        self.transact(connection, "remove documents", |tx| {
            let mut marks = Marks::new();
            for id in ids {
                if tx.execute("DELETE FROM documents WHERE document_id = ?1", [id])? > 0 {
                    tx.execute("DELETE FROM versions WHERE document_id = ?1", [id])?;
                    tx.execute("DELETE FROM page_words WHERE document_id = ?1", [id])?;
                    tx.execute("DELETE FROM page_notes WHERE document_id = ?1", [id])?;
                    tx.execute("UPDATE meta SET value = value - 1 WHERE key = 'documents'", [])?;
                    drop_passages(tx, id)?;
                    drop_next(tx, id)?;
                    let seq = mark(tx, id)?;
                    note_gone(tx, id, seq)?;
                    marks.push((id.clone(), seq));
                }
            }
            Ok(marks)
        })
    }

    /// Clears marks whose index entries are safe on disk; a document changed again meanwhile keeps its mark.
    pub(crate) fn clear_marks(
        &self,
        connection: &mut Connection,
        marks: &[(String, i64)],
    ) -> Result<(), StoreError> {
        self.transact(connection, "clear index marks", |tx| {
            let mut delete =
                tx.prepare_cached("DELETE FROM index_pending WHERE document_id = ?1 AND seq = ?2")?;
            for (id, seq) in marks {
                delete.execute(params![id, seq])?;
            }
            Ok(())
        })
    }

    /// The row of an embedder, with what it is loaded from; of one that becomes the `present` one if that is said.
    pub(crate) fn record_embedder(
        &self,
        connection: &mut Connection,
        id: &EmbedderId,
        source: &str,
        present: bool,
    ) -> Result<i64, StoreError> {
        self.transact(connection, "record the embedder", |tx| {
            tx.execute(
                "INSERT INTO embedders (name, sha256, dim, source) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (sha256, dim) DO UPDATE SET name = excluded.name, source = excluded.source",
                params![id.name, id.sha256, as_i64(id.dim as u64), source],
            )?;
            let row: i64 = tx.query_row(
                "SELECT embedder_id FROM embedders WHERE sha256 = ?1 AND dim = ?2",
                params![id.sha256, as_i64(id.dim as u64)],
                |row| row.get(0),
            )?;
            if present {
                tx.execute("UPDATE meta SET value = ?1 WHERE key = 'embedder'", [row])?;
            }
            Ok(row)
        })
    }

    /// Queues documents to be read again, whatever is stored of them; returns how many there were.
    pub(crate) fn requeue(&self, connection: &mut Connection, ids: &[String]) -> Result<usize, StoreError> {
        self.transact(connection, "queue damaged documents", |tx| {
            let mut n = 0;
            for id in ids {
                n += tx.execute(
                    "INSERT OR IGNORE INTO queue (path_bytes, origin, file_bytes)
                     SELECT path_bytes, origin, file_bytes FROM documents WHERE document_id = ?1",
                    [id],
                )?;
                // No passages were ever cut by this one: so they are cut anew.
                tx.execute("UPDATE documents SET cutter = -1 WHERE document_id = ?1", [id])?;
            }
            Ok(n)
        })
    }

    /// Forgets damaged rows of what is only remembered: files that failed or were set aside, questions that were refused.
    pub(crate) fn drop_damaged(&self, connection: &mut Connection) -> Result<(), StoreError> {
        self.transact(connection, "drop damaged rows", |tx| {
            for summed in Summed::ONLY_REMEMBERED {
                let table = summed.table();
                tx.execute(
                    &format!("DELETE FROM {table} WHERE NOT {}", summed.is_intact(table)),
                    [],
                )?;
            }
            Ok(())
        })
    }

    /// Drops vectors that are damaged or belong to nothing; they are made again in time.
    pub(crate) fn drop_bad_vectors(&self, connection: &mut Connection) -> Result<(), StoreError> {
        self.transact(connection, "drop damaged vectors", |tx| {
            tx.execute(
                &format!(
                    "DELETE FROM vectors WHERE vector_id IN (SELECT v.vector_id {})",
                    bad_vectors()
                ),
                [],
            )?;
            tx.execute(
                "UPDATE meta SET value = value + 1 WHERE key = 'passages_removed'",
                [],
            )
            .map(drop)
        })
    }

    /// Stores vectors of passages that still exist, beside those of other embedders.
    pub(crate) fn put_vectors(
        &self,
        connection: &mut Connection,
        embedder: i64,
        vectors: &[(u64, Vec<u8>)],
    ) -> Result<(), StoreError> {
        self.transact(connection, "write vectors", |tx| {
            let mut insert = tx.prepare_cached(
                "INSERT OR REPLACE INTO vectors (passage_id, embedder_id, data, sum)
                 SELECT ?1, ?2, ?3, row_sum(?1, ?2, ?3) WHERE EXISTS (SELECT 1 FROM passages WHERE passage_id = ?1)
                     OR EXISTS (SELECT 1 FROM next_passages WHERE passage_id = ?1)",
            )?;
            for (passage, data) in vectors {
                insert.execute(params![as_i64(*passage), embedder, data])?;
            }
            Ok(())
        })
    }
}

/// Takes a file off the queue; what is said of its failure holds no more.
pub(super) fn unqueue(tx: &Transaction<'_>, path_bytes: &[u8]) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM failures WHERE path_bytes = ?1")?
        .execute([path_bytes])?;
    tx.prepare_cached("DELETE FROM queue WHERE path_bytes = ?1")?
        .execute([path_bytes])
        .map(drop)
}

/// Marks a document's index entries as not yet safe; the number orders changes.
pub(super) fn mark(tx: &Transaction<'_>, document_id: &str) -> rusqlite::Result<i64> {
    tx.execute("UPDATE meta SET value = value + 1 WHERE key = 'index_seq'", [])?;
    let seq = tx.query_row("SELECT value FROM meta WHERE key = 'index_seq'", [], |row| {
        row.get(0)
    })?;
    tx.execute(
        "INSERT OR REPLACE INTO index_pending (document_id, seq) VALUES (?1, ?2)",
        params![document_id, seq],
    )?;
    tx.execute(
        "UPDATE documents SET changed = ?2 WHERE document_id = ?1",
        params![document_id, seq],
    )?;
    Ok(seq)
}

/// Writes a document with all that belongs to it; returns its mark.
fn put_whole(tx: &Transaction<'_>, new: &NewDocument<'_>, prepared: &Prepared) -> rusqlite::Result<i64> {
    put_document(tx, new, prepared)?;
    put_version(tx, new, prepared)?;
    put_page_words(tx, new, prepared)?;
    super::notes::put(tx, (new.document_id, new.version), prepared)?;
    // Passages that stay as they were keep their ids, and with them their vectors.
    if !has_passages(tx, Passages::Present, new.document_id, &prepared.passages)? {
        drop_passages(tx, new.document_id)?;
        put_passages(tx, Passages::Present, new.document_id, &prepared.passages)?;
    }
    tx.prepare_cached("DELETE FROM set_aside WHERE path_bytes = ?1")?
        .execute([new.path_bytes])?;
    unqueue(tx, new.path_bytes)?;
    mark(tx, new.document_id)
}

fn put_document(tx: &Transaction<'_>, new: &NewDocument<'_>, prepared: &Prepared) -> rusqlite::Result<()> {
    let standing = Standing::of(new.audience, new.ruled, &prepared.stated);
    let audience = audience_row(tx, &standing.audience, standing.validity)?;
    let is_new = !tx
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM documents WHERE document_id = ?1)")?
        .query_row([new.document_id], |row| row.get::<_, bool>(0))?;
    if is_new {
        tx.execute("UPDATE meta SET value = value + 1 WHERE key = 'documents'", [])?;
    }
    tx.execute(
        "INSERT OR REPLACE INTO documents
             (document_id, origin, path, path_bytes, version, title, format, n_pages, n_chars, n_passages,
              file_bytes, mtime_ns, ctime_ns, device, ingested_ms, cutter, audience_id, stated, owner, replaces)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
        params![
            new.document_id,
            new.origin.name(),
            new.path,
            new.path_bytes,
            new.version,
            prepared.title,
            prepared.format,
            prepared.n_pages,
            as_i64(prepared.n_chars as u64),
            as_i64(prepared.passages.len() as u64),
            as_i64(new.stat.bytes),
            new.stat.mtime_ns,
            new.stat.ctime_ns,
            new.stat.device.cast_signed(),
            new.now_ms,
            prepared.cutter,
            audience,
            to_json(&prepared.stated)?,
            standing.owner,
            to_json(&standing.replaces)?,
        ],
    )?;
    tx.execute(&Summed::Documents.seal("document_id = ?1"), [new.document_id])?;
    tx.execute(&Summed::Stated.seal("document_id = ?1"), [new.document_id])
        .map(drop)
}

fn put_version(tx: &Transaction<'_>, new: &NewDocument<'_>, prepared: &Prepared) -> rusqlite::Result<()> {
    let pages: Vec<(u32, usize, usize)> = prepared.pages.iter().map(|p| (p.page, p.start, p.end)).collect();
    let blocks = blocks::pack(&prepared.blocks, &prepared.under)
        .map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    tx.execute(
        "INSERT OR REPLACE INTO versions
             (document_id, version, title, format, n_pages, n_chars, n_passages, ingested_ms, pages, text, blocks)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        params![
            new.document_id,
            new.version,
            prepared.title,
            prepared.format,
            prepared.n_pages,
            as_i64(prepared.n_chars as u64),
            as_i64(prepared.passages.len() as u64),
            new.now_ms,
            to_json(&pages)?,
            prepared.text,
            blocks,
        ],
    )?;
    let seal = Summed::Versions.seal("document_id = ?1 AND version = ?2");
    tx.execute(&seal, [new.document_id, new.version]).map(drop)
}

/// Writes where the words of each page stand, in place of what was known of this version.
fn put_page_words(tx: &Transaction<'_>, new: &NewDocument<'_>, prepared: &Prepared) -> rusqlite::Result<()> {
    tx.execute(
        "DELETE FROM page_words WHERE document_id = ?1 AND version = ?2",
        [new.document_id, new.version],
    )?;
    let mut insert = tx.prepare_cached(
        "INSERT INTO page_words (document_id, version, page, width, height, words, sum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, row_sum(?1, ?2, ?3, ?4, ?5, ?6))",
    )?;
    for page in &prepared.page_words {
        let [width, height] = page.size;
        let packed =
            boxes::pack(&page.words).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
        insert.execute(params![
            new.document_id,
            new.version,
            page.page,
            width,
            height,
            packed
        ])?;
    }
    Ok(())
}

/// Whether the stored passages of a document are these, to the letter.
pub(super) fn has_passages(
    tx: &Transaction<'_>,
    place: Passages,
    document_id: &str,
    passages: &[PreparedPassage],
) -> rusqlite::Result<bool> {
    let mut query = tx.prepare_cached(&format!(
        "SELECT start_char, end_char, page, heading_path, text, {} FROM {} p WHERE document_id = ?1
             ORDER BY ordinal",
        Summed::Passages.is_intact("p"),
        place.table()
    ))?;
    let mut rows = query.query([document_id])?;
    for passage in passages {
        let Some(row) = rows.next()? else {
            return Ok(false);
        };
        let headings: Vec<String> = serde_json::from_str(row.get_ref(3)?.as_str()?).unwrap_or_default();
        let is_same = row.get::<_, i64>(0)? == as_i64(passage.start as u64)
            && row.get::<_, i64>(1)? == as_i64(passage.end as u64)
            && row.get::<_, Option<u32>>(2)? == passage.page
            && headings == passage.heading_path
            && row.get_ref(4)?.as_str()? == passage.text
            && row.get(5)?;
        if !is_same {
            return Ok(false);
        }
    }
    Ok(rows.next()?.is_none())
}

/// Drops a document's passages and their vectors; the counter tells holders of vectors to look again.
fn drop_passages(tx: &Transaction<'_>, document_id: &str) -> rusqlite::Result<()> {
    tx.execute(
        "DELETE FROM vectors WHERE passage_id IN (SELECT passage_id FROM passages WHERE document_id = ?1)",
        [document_id],
    )?;
    if tx.execute("DELETE FROM passages WHERE document_id = ?1", [document_id])? > 0 {
        tx.execute(
            "UPDATE meta SET value = value + 1 WHERE key = 'passages_removed'",
            [],
        )?;
    }
    Ok(())
}

pub(super) fn put_passages(
    tx: &Transaction<'_>,
    place: Passages,
    document_id: &str,
    passages: &[PreparedPassage],
) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(&format!(
        "INSERT INTO {} (document_id, ordinal, start_char, end_char, page, heading_path, text, passage_id, sum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, row_sum(?8, ?1, ?2, ?3, ?4, ?5, ?6, ?7))",
        place.table()
    ))?;
    // The number that SQLite would give, which the checksum needs to know.
    let last: i64 = tx
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?1")?
        .query_row([place.table()], |row| row.get(0))?;
    for (ordinal, passage) in passages.iter().enumerate() {
        let headings = to_json(&passage.heading_path)?;
        insert.execute(params![
            document_id,
            as_i64(ordinal as u64),
            as_i64(passage.start as u64),
            as_i64(passage.end as u64),
            passage.page,
            headings,
            passage.text,
            last + 1 + as_i64(ordinal as u64),
        ])?;
    }
    Ok(())
}

pub(super) fn to_json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}

/// Vectors, as `v`, that are damaged or belong to nothing.
pub(crate) fn bad_vectors() -> String {
    format!(
        "FROM vectors v LEFT JOIN embedders e ON e.embedder_id = v.embedder_id
         LEFT JOIN passages p ON p.passage_id = v.passage_id
         LEFT JOIN next_passages n ON n.passage_id = v.passage_id
         WHERE e.dim IS NULL OR p.passage_id IS NULL AND n.passage_id IS NULL OR length(v.data) <> 2 * e.dim OR NOT {}",
        Summed::Vectors.is_intact("v")
    )
}

/// SQLite's integers are signed; nothing counted here comes near the limit.
pub(super) fn as_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
