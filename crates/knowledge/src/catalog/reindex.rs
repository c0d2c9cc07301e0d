//! An index that is being made beside the present one, and its taking the old one's place: one transaction.
//!
//! What is made, and in which order, is decided in [`crate::reindex`].

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::read::{get_usize, json, meta};
use super::write::{as_i64, has_passages, put_passages};
use super::{Catalog, Origin, Passages};
use crate::checksum::{Summed, demand};
use crate::error::StoreError;
use crate::prepare::PreparedPassage;
use crate::text::PageSpan;
use crate::text::blocks::{self, Structure};
use crate::types::EmbedderId;

/// Ids of passages of two indexes lie this far apart, so that none is ever used twice.
const ID_STEP_BITS: i64 = 40;
/// Rows of an old index that are cleared away in one transaction.
const CLEARED_AT_ONCE: i64 = 2_000;
/// The cutter of a document that could not be cut anew.
const NOT_CUT: i64 = -2;

/// An index that is being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Building {
    /// Of its word index; 0 if the present one stays.
    pub(crate) index_folder: i64,
    /// By whom passages are cut anew; `None` if they stay.
    pub(crate) cutter: Option<i64>,
    /// The change up to which documents are cut.
    pub(crate) cut_to: i64,
    /// The row of its embedder; 0 if the vectors stay.
    pub(crate) embedder: i64,
}

impl Building {
    /// Where its passages are.
    pub(crate) fn passages(&self) -> Passages {
        match self.cutter {
            Some(_) => Passages::Next,
            None => Passages::Present,
        }
    }
}

/// A document that is another since some change, or gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) seq: i64,
    pub(crate) document_id: String,
    pub(crate) is_gone: bool,
}

/// What a document is cut from.
pub(crate) struct CutSource {
    pub(crate) document_id: String,
    pub(crate) origin: Origin,
    pub(crate) path_bytes: Vec<u8>,
    pub(crate) version: String,
    /// The number of its last change.
    pub(crate) changed: i64,
    pub(crate) cutter: i64,
    pub(crate) text: String,
    pub(crate) pages: Vec<PageSpan>,
    /// `None` for one that was taken in before they were kept.
    pub(crate) blocks: Option<Structure>,
}

/// A document's passages as they were cut.
pub(crate) struct Cut {
    pub(crate) document_id: String,
    /// The number of the change after which it was cut.
    pub(crate) changed: i64,
    pub(crate) passages: Vec<PreparedPassage>,
    /// False where it could not be cut anew, so that its passages are those it had.
    pub(crate) as_now: bool,
}

/// The embedder whose vectors answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PresentEmbedder {
    pub(crate) row: i64,
    pub(crate) id: EmbedderId,
    /// What it was loaded from; empty if that is not known.
    pub(crate) source: String,
    /// Whether there is any vector of it.
    pub(crate) has_vectors: bool,
}

impl Catalog {
    /// The index that is being made, if one is.
    pub(crate) fn building(&self) -> Result<Option<Building>, StoreError> {
        self.read("look for an unfinished index", |connection| {
            connection
                .prepare_cached("SELECT index_folder, cutter, cut_to, embedder FROM reindex")?
                .query_row([], |row| {
                    Ok(Building {
                        index_folder: row.get(0)?,
                        cutter: row.get(1)?,
                        cut_to: row.get(2)?,
                        embedder: row.get(3)?,
                    })
                })
                .optional()
        })
    }

    /// The number of the folder of the word index.
    pub(crate) fn index_folder(&self) -> Result<i64, StoreError> {
        self.read("look up the word index", |connection| {
            meta(connection, "index_folder")
        })
    }

    /// How often a new index has taken the old one's place.
    pub(crate) fn generation(&self) -> Result<i64, StoreError> {
        self.read("look up the index's number", |connection| {
            meta(connection, "generation")
        })
    }

    /// The embedder whose vectors answer, if there is one.
    pub(crate) fn embedder_in_force(&self) -> Result<Option<PresentEmbedder>, StoreError> {
        self.read("look up the embedder", |connection| {
            connection
                .prepare_cached(
                    "SELECT e.embedder_id, e.name, e.sha256, e.dim, e.source,
                            EXISTS (SELECT 1 FROM vectors v WHERE v.embedder_id = e.embedder_id)
                     FROM embedders e WHERE e.embedder_id = (SELECT value FROM meta WHERE key = 'embedder')",
                )?
                .query_row([], |row| {
                    Ok(PresentEmbedder {
                        row: row.get(0)?,
                        id: EmbedderId {
                            name: row.get(1)?,
                            sha256: row.get(2)?,
                            dim: get_usize(row, 3)?,
                        },
                        source: row.get(4)?,
                        has_vectors: row.get(5)?,
                    })
                })
                .optional()
        })
    }

    /// How many documents were cut by another cutter, and do not wait to be read anyway.
    pub(crate) fn cut_otherwise(&self, cutter: i64) -> Result<usize, StoreError> {
        self.read("count documents of another cutter", |connection| {
            connection
                .prepare_cached(
                    "SELECT count(*) FROM documents WHERE cutter >= 0 AND cutter <> ?1
                         AND path_bytes NOT IN (SELECT path_bytes FROM queue)",
                )?
                .query_row([cutter], |row| get_usize(row, 0))
        })
    }

    /// Documents, their characters and passages: what an index is made of.
    pub(crate) fn extent(&self) -> Result<(u64, u64, u64), StoreError> {
        self.read("measure the documents", |connection| {
            connection
                .prepare_cached(
                    "SELECT count(*), coalesce(sum(n_chars), 0), coalesce(sum(n_passages), 0) FROM documents",
                )?
                .query_row([], |row| {
                    let n = |column| get_usize(row, column).map(|n| n as u64);
                    Ok((n(0)?, n(1)?, n(2)?))
                })
        })
    }

    /// How many passages there are.
    pub(crate) fn n_passages(&self, place: Passages) -> Result<usize, StoreError> {
        self.read("count passages", |connection| {
            connection
                .prepare_cached(&format!("SELECT count(*) FROM {}", place.table()))?
                .query_row([], |row| get_usize(row, 0))
        })
    }

    /// How many documents have changed, or gone, after change `after`.
    pub(crate) fn n_changed_since(&self, after: i64) -> Result<usize, StoreError> {
        self.read("count changed documents", |connection| {
            connection
                .prepare_cached(
                    "SELECT (SELECT count(*) FROM documents WHERE changed > ?1)
                          + (SELECT count(*) FROM reindex_gone WHERE seq > ?1)",
                )?
                .query_row([after], |row| get_usize(row, 0))
        })
    }

    /// Documents that changed, or went, after change `after` and not after `upto`, in that order.
    pub(crate) fn changed_since(
        &self,
        after: i64,
        upto: i64,
        limit: usize,
    ) -> Result<Vec<Change>, StoreError> {
        self.read("find changed documents", |connection| {
            connection
                .prepare_cached(
                    "SELECT changed, document_id, 0 FROM documents WHERE changed > ?1 AND changed <= ?2
                     UNION ALL SELECT seq, document_id, 1 FROM reindex_gone WHERE seq > ?1 AND seq <= ?2
                     ORDER BY 1 LIMIT ?3",
                )?
                .query_map(params![after, upto, as_i64(limit as u64)], |row| {
                    Ok(Change {
                        seq: row.get(0)?,
                        document_id: row.get(1)?,
                        is_gone: row.get(2)?,
                    })
                })?
                .collect()
        })
    }

    /// What a document is cut from; `None` if it is gone.
    pub(crate) fn cut_source(&self, document_id: &str) -> Result<Option<CutSource>, StoreError> {
        self.read("read a document to cut it", |connection| {
            let sql = format!(
                "SELECT d.document_id, d.origin, d.path_bytes, d.version, d.changed, d.cutter, v.text, v.pages, v.blocks,
                        {} AND {}
                 FROM documents d JOIN versions v ON v.document_id = d.document_id AND v.version = d.version
                 WHERE d.document_id = ?1",
                Summed::Documents.is_intact("d"),
                Summed::Versions.is_intact("v")
            );
            connection
                .prepare_cached(&sql)?
                .query_row([document_id], cut_source)
                .optional()
        })
    }

    /// A document's passages as they were cut.
    pub(crate) fn cut_before(&self, document_id: &str) -> Result<Vec<PreparedPassage>, StoreError> {
        self.read("read a document's passages", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT start_char, end_char, page, heading_path, text, {} FROM passages p
                     WHERE document_id = ?1 ORDER BY ordinal",
                    Summed::Passages.is_intact("p")
                ))?
                .query_map([document_id], |row| {
                    demand(row, 5)?;
                    Ok(PreparedPassage {
                        start: get_usize(row, 0)?,
                        end: get_usize(row, 1)?,
                        page: row.get(2)?,
                        heading_path: json(row, 3)?,
                        text: row.get(4)?,
                    })
                })?
                .collect()
        })
    }

    /// Begins a new index. There must be none, nor anything left of one.
    pub(crate) fn begin_building(
        &self,
        connection: &mut Connection,
        building: &Building,
    ) -> Result<(), StoreError> {
        self.transact(connection, "begin a new index", |tx| {
            if building.cutter.is_some() {
                let last: i64 = tx.query_row(
                    "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name IN ('passages', 'next_passages')",
                    [],
                    |row| row.get(0),
                )?;
                let first = ((last >> ID_STEP_BITS) + 1) << ID_STEP_BITS;
                tx.execute("DELETE FROM sqlite_sequence WHERE name = 'next_passages'", [])?;
                tx.execute(
                    "INSERT INTO sqlite_sequence (name, seq) VALUES ('next_passages', ?1)",
                    [first],
                )?;
            }
            tx.execute(
                "INSERT INTO reindex (only_one, index_folder, cutter, cut_to, embedder) VALUES (1, ?1, ?2, ?3, ?4)",
                params![
                    building.index_folder,
                    building.cutter,
                    building.cut_to,
                    building.embedder
                ],
            )
            .map(drop)
        })
    }

    /// Gives up the index that is being made; what is left of it is cleared away by [`Catalog::clear_some`].
    pub(crate) fn give_up_building(&self, connection: &mut Connection) -> Result<(), StoreError> {
        self.transact(connection, "give up a new index", forget_building)
    }

    /// Writes passages of the index that is being made. Documents that changed after they were cut are left out: they
    /// come again. Vectors of the same words by the same embedder are taken over.
    pub(crate) fn put_cuts(
        &self,
        connection: &mut Connection,
        cuts: &[Cut],
        cut_to: i64,
        embedder: i64,
    ) -> Result<(), StoreError> {
        self.transact(connection, "write passages of a new index", |tx| {
            for cut in cuts {
                let now: Option<i64> = tx
                    .prepare_cached("SELECT changed FROM documents WHERE document_id = ?1")?
                    .query_row([&cut.document_id], |row| row.get(0))
                    .optional()?;
                if now != Some(cut.changed) {
                    continue;
                }
                if !has_passages(tx, Passages::Next, &cut.document_id, &cut.passages)? {
                    drop_next(tx, &cut.document_id)?;
                    put_passages(tx, Passages::Next, &cut.document_id, &cut.passages)?;
                    take_over_vectors(tx, &cut.document_id, embedder)?;
                }
                tx.prepare_cached(
                    "INSERT OR REPLACE INTO reindex_cut (document_id, as_now) VALUES (?1, ?2)",
                )?
                .execute(params![cut.document_id, cut.as_now])?;
            }
            tx.execute("UPDATE reindex SET cut_to = ?1", [cut_to]).map(drop)
        })
    }

    /// Puts the new index into the old one's place. What is left of the old one is cleared away by
    /// [`Catalog::clear_some`].
    pub(crate) fn swap(&self, connection: &mut Connection, building: &Building) -> Result<(), StoreError> {
        self.transact(connection, "put the new index in place", |tx| {
            if let Some(cutter) = building.cutter {
                tx.execute_batch(
                    "ALTER TABLE passages RENAME TO passages_before;
                     ALTER TABLE next_passages RENAME TO passages;
                     ALTER TABLE passages_before RENAME TO next_passages;",
                )?;
                count_passages(tx, cutter)?;
            }
            if building.index_folder != 0 {
                // The new word index has followed every change.
                tx.execute("DELETE FROM index_pending", [])?;
                set_meta(tx, "index_folder", building.index_folder)?;
            }
            if building.embedder != 0 {
                set_meta(tx, "embedder", building.embedder)?;
            }
            tx.execute(
                "UPDATE meta SET value = value + 1 WHERE key IN ('generation', 'passages_removed')",
                [],
            )?;
            forget_building(tx)
        })
    }

    /// Whether rows of an index that answers no more are left, while none is being made.
    pub(crate) fn has_leftovers(&self) -> Result<bool, StoreError> {
        self.read("look for rows of an old index", |connection| {
            let sql = format!(
                "SELECT NOT EXISTS (SELECT 1 FROM reindex)
                    AND (EXISTS (SELECT 1 FROM next_passages) OR EXISTS (SELECT 1 {OTHER_VECTORS}))"
            );
            connection.prepare_cached(&sql)?.query_row([], |row| row.get(0))
        })
    }

    /// Clears some rows away of an index that answers no more; whether there may be others.
    pub(crate) fn clear_some(&self, connection: &mut Connection) -> Result<bool, StoreError> {
        self.transact(connection, "clear an old index away", |tx| {
            let some = "SELECT passage_id FROM next_passages ORDER BY passage_id LIMIT ?1";
            tx.execute(
                &format!("DELETE FROM vectors WHERE passage_id IN ({some})"),
                [CLEARED_AT_ONCE],
            )?;
            let n_passages = tx.execute(
                &format!("DELETE FROM next_passages WHERE passage_id IN ({some})"),
                [CLEARED_AT_ONCE],
            )?;
            let n_vectors = tx.execute(
                &format!(
                    "DELETE FROM vectors WHERE vector_id IN (SELECT vector_id {OTHER_VECTORS} LIMIT ?1)"
                ),
                [CLEARED_AT_ONCE],
            )?;
            Ok(n_passages + n_vectors > 0)
        })
    }
}

/// Vectors that are not the present embedder's. Written as ranges, so that its index finds them.
const OTHER_VECTORS: &str = "FROM vectors WHERE embedder_id < (SELECT value FROM meta WHERE key = 'embedder')
     OR embedder_id > (SELECT value FROM meta WHERE key = 'embedder')";

fn set_meta(tx: &Transaction<'_>, key: &str, value: i64) -> rusqlite::Result<()> {
    tx.execute("UPDATE meta SET value = ?2 WHERE key = ?1", params![key, value])
        .map(drop)
}

fn forget_building(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    tx.execute_batch("DELETE FROM reindex; DELETE FROM reindex_cut; DELETE FROM reindex_gone;")
}

/// Drops a document's passages of the index that is being made, with their vectors.
pub(super) fn drop_next(tx: &Transaction<'_>, document_id: &str) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "DELETE FROM vectors WHERE passage_id IN (SELECT passage_id FROM next_passages WHERE document_id = ?1)",
    )?
    .execute([document_id])?;
    tx.prepare_cached("DELETE FROM next_passages WHERE document_id = ?1")?
        .execute([document_id])
        .map(drop)
}

/// Remembers that a document went, as long as an index is being made.
pub(super) fn note_gone(tx: &Transaction<'_>, document_id: &str, seq: i64) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO reindex_gone (seq, document_id) SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM reindex)",
    )?
    .execute(params![seq, document_id])
    .map(drop)
}

fn take_over_vectors(tx: &Transaction<'_>, document_id: &str, embedder: i64) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT OR IGNORE INTO vectors (passage_id, embedder_id, data, sum)
         SELECT n.passage_id, v.embedder_id, v.data, row_sum(n.passage_id, v.embedder_id, v.data)
         FROM next_passages n
         JOIN passages p ON p.document_id = n.document_id AND p.text = n.text AND p.heading_path = n.heading_path
         JOIN vectors v ON v.passage_id = p.passage_id AND v.embedder_id = ?2 AND {}
         WHERE n.document_id = ?1",
        Summed::Vectors.is_intact("v")
    );
    tx.prepare_cached(&sql)?
        .execute(params![document_id, embedder])
        .map(drop)
}

/// Lets documents say how many passages they have now, and who cut them. A damaged row is left as it is, so that it is
/// still known to be one.
fn count_passages(tx: &Transaction<'_>, cutter: i64) -> rusqlite::Result<()> {
    let changed: Vec<(String, i64, i64)> = {
        let sql = format!(
            "SELECT d.document_id, count(p.passage_id), iif(c.as_now, ?1, ?2)
             FROM documents d JOIN reindex_cut c ON c.document_id = d.document_id
             LEFT JOIN passages p ON p.document_id = d.document_id
             WHERE {} GROUP BY d.document_id",
            Summed::Documents.is_intact("d")
        );
        tx.prepare(&sql)?
            .query_map(params![cutter, NOT_CUT], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect::<rusqlite::Result<_>>()?
    };
    let mut update =
        tx.prepare("UPDATE documents SET n_passages = ?2, cutter = ?3 WHERE document_id = ?1")?;
    let mut seal = tx.prepare(&Summed::Documents.seal("document_id = ?1"))?;
    for (id, n_passages, cutter) in changed {
        update.execute(params![id, n_passages, cutter])?;
        seal.execute([id])?;
    }
    Ok(())
}

fn cut_source(row: &Row<'_>) -> rusqlite::Result<CutSource> {
    demand(row, 9)?;
    let pages: Vec<(u32, usize, usize)> = json(row, 7)?;
    let packed: Option<Vec<u8>> = row.get(8)?;
    Ok(CutSource {
        document_id: row.get(0)?,
        origin: Origin::from_name(&row.get::<_, String>(1)?),
        path_bytes: row.get(2)?,
        version: row.get(3)?,
        changed: row.get(4)?,
        cutter: row.get(5)?,
        text: row.get(6)?,
        pages: pages
            .into_iter()
            .map(|(page, start, end)| PageSpan { page, start, end })
            .collect(),
        blocks: packed.and_then(|packed| blocks::unpack(&packed)),
    })
}
