//! The steps of an ingest on the tables, each one transaction; a document's is that of its claim.

use std::path::Path;

use super::document::{
    audience_row, drop_segment, inverted, lock_document, put_document, rewrite_words, storable, unqueue,
};
use super::queue::Then;
use super::read::first;
use super::{Failed, ORDINAL_BITS, Postgres};
use crate::access::Audience;
use crate::analyser::ANALYSER_VERSION;
use crate::catalog::{
    IntakeRow, Known, Moved, NewDocument, Origin, QueueEntry, RefusalRow, SetAside, Stat, StoredDocument,
    StoredPassage,
};
use crate::error::StoreError;
use crate::prepare::Prepared;
use crate::shelf::{EmbedderRow, Ingests, Made, NextShelved};
use crate::types::EmbedderId;
use crate::validity::Validity;

/// Documents whose standing is changed in one transaction.
const TOGETHER_MAX: usize = 256;

impl Ingests for Postgres {
    fn by_path(&self, path_bytes: &[u8]) -> Result<Option<StoredDocument>, StoreError> {
        self.find_by_path(path_bytes)
    }

    fn below(&self, origin: Origin, prefix: &[u8]) -> Result<Vec<StoredDocument>, StoreError> {
        self.find_below(origin, prefix)
    }

    fn folders(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        let sql = "SELECT path_bytes FROM folders ORDER BY path_bytes";
        self.list("list the folders", sql, &[], first)
    }

    fn standings(&self) -> Result<Vec<Known>, StoreError> {
        self.read_standings()
    }

    fn present_text(&self, document_id: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT v.text FROM versions v
             JOIN documents d ON d.document_id = v.document_id AND d.version = v.version WHERE v.document_id = $1";
        Ok(self.list("read a document", sql, &[&document_id], first)?.pop())
    }

    fn aside(&self, path_bytes: &[u8]) -> Result<Option<SetAside>, StoreError> {
        Ok(self.read_aside(Some(path_bytes), 0)?.pop())
    }

    fn all_aside(&self, tries_min: u32) -> Result<Vec<SetAside>, StoreError> {
        self.read_aside(None, tries_min)
    }

    fn queue(&self) -> Result<Vec<QueueEntry>, StoreError> {
        self.read_queue()
    }

    fn without_vector(
        &self,
        embedder: i64,
        _after: u64,
        limit: usize,
    ) -> Result<Vec<StoredPassage>, StoreError> {
        self.find_without_vector(embedder, limit)
    }

    fn without_vector_count(&self, embedder: i64, _after: u64) -> Result<usize, StoreError> {
        self.count_without_vector(embedder)
    }

    fn stored_passages(&self, ids: &[u64]) -> Result<Vec<StoredPassage>, StoreError> {
        self.find_stored_passages(ids)
    }

    fn has_document(&self, document_id: &str) -> Result<bool, StoreError> {
        let sql = "SELECT document_id FROM documents WHERE document_id = $1";
        let found: Vec<String> = self.list("look up a document", sql, &[&document_id], first)?;
        Ok(!found.is_empty())
    }

    fn intakes(&self) -> Result<Vec<IntakeRow>, StoreError> {
        // The files lie in the data directory that accepted them.
        let sql = "SELECT intake_id, name, owner, kept, arrived, bytes FROM intake WHERE node = $1 ORDER BY intake_id";
        self.list("list the accepted files", sql, &[&self.node], |row| {
            Ok(IntakeRow {
                id: row.try_get(0)?,
                name: row.try_get(1)?,
                owner: row.try_get(2)?,
                kept: row.try_get(3)?,
                arrived: row.try_get(4)?,
                bytes: row.try_get::<_, i64>(5)?.cast_unsigned(),
            })
        })
    }

    fn put_intake(&self, row: &IntakeRow) -> Result<i64, StoreError> {
        self.transact("record an accepted file", |transaction| {
            let recorded = transaction.query_one(
                "INSERT INTO intake (node, name, owner, kept, arrived, bytes) VALUES ($1, $2, $3, $4, $5, $6)
                 RETURNING intake_id",
                &[
                    &self.node,
                    &storable(&row.name),
                    &row.owner,
                    &row.kept,
                    &row.arrived,
                    &row.bytes.cast_signed(),
                ],
            )?;
            Ok(recorded.try_get(0)?)
        })
    }

    fn drop_intake(&self, id: i64) -> Result<(), StoreError> {
        self.transact("forget an accepted file", |transaction| {
            transaction.execute("DELETE FROM intake WHERE intake_id = $1", &[&id])?;
            Ok(())
        })
    }

    fn queue_for_recognition(&self) -> Result<usize, StoreError> {
        self.transact("queue pages without text", |transaction| {
            let n = transaction.execute(
                "WITH found AS (
                     UPDATE documents d SET cutter = 0 FROM versions v
                     WHERE v.document_id = d.document_id AND v.version = d.version
                         AND v.without_text <> '[]' AND v.recognised = '[]' AND d.cutter > 0
                     RETURNING d.path_bytes, d.origin, d.file_bytes)
                 INSERT INTO queue (path_bytes, origin, file_bytes, node)
                 SELECT path_bytes, origin, file_bytes, $1 FROM found ON CONFLICT (path_bytes) DO NOTHING",
                &[&self.node],
            )?;
            Ok(usize::try_from(n).unwrap_or(usize::MAX))
        })
    }

    fn enqueue(&self, entries: &[QueueEntry]) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        self.add_to_queue(entries)
    }

    fn claim(&self, entry: &QueueEntry, path: &Path) -> Result<bool, StoreError> {
        self.claim_file(entry, path)
    }

    fn release(&self) -> Result<(), StoreError> {
        self.give_back()
    }

    fn keep_upload(&self, entry: &QueueEntry, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        self.keep_bytes(entry, path, bytes)
    }

    fn put(&self, new: &NewDocument<'_>, prepared: &Prepared) -> Result<(), StoreError> {
        if prepared.passages.len() >= 1 << ORDINAL_BITS {
            return Err(self.fail(
                "write a document",
                Failed::Other(format!(
                    "`{}` has more passages than a document may have",
                    new.path
                )),
            ));
        }
        let inverted = inverted(&prepared.title, &prepared.passages);
        self.at_desk("write a document", new.path_bytes, Then::Commit, |client| {
            put_document(client, new, prepared, &inverted)
        })
    }

    fn put_all(&self, next: &mut NextShelved<'_>) -> Result<(), StoreError> {
        let mut failed = None;
        let written = self.transact("write documents", |transaction| {
            loop {
                match next() {
                    Ok(Some(shelved)) => {
                        let inverted = inverted(&shelved.prepared.title, &shelved.prepared.passages);
                        put_document(transaction, &shelved.new_document(), &shelved.prepared, &inverted)?;
                    }
                    Ok(None) => return Ok(()),
                    Err(error) => {
                        failed = Some(error);
                        // Whatever was written goes with the transaction.
                        return Err(Failed::Other("there is no next document".to_owned()));
                    }
                }
            }
        });
        match failed {
            Some(error) => Err(error),
            None => written,
        }
    }

    fn agree_on_rules(&self, dir: &Path) -> Result<(), StoreError> {
        self.compare_rules(dir)
    }

    fn publish_rules(&self, dir: &Path) -> Result<(), StoreError> {
        self.write_rules(dir)
    }

    fn touch(&self, new: &NewDocument<'_>) -> Result<(), StoreError> {
        self.at_desk(
            "record an unchanged file",
            new.path_bytes,
            Then::Commit,
            |client| {
                client.execute(
                    "UPDATE documents SET mtime_ns = $2, ctime_ns = $3, device = $4 WHERE document_id = $1",
                    &[
                        &new.document_id,
                        &new.stat.mtime_ns,
                        &new.stat.ctime_ns,
                        &new.stat.device.cast_signed(),
                    ],
                )?;
                unqueue(client, new.path_bytes)
            },
        )
    }

    fn fail(
        &self,
        entry: &QueueEntry,
        path: &str,
        reason: &str,
        readers: &Audience,
    ) -> Result<(), StoreError> {
        self.at_desk(
            "record a file that failed",
            &entry.path_bytes,
            Then::Commit,
            |client| {
                unqueue(client, &entry.path_bytes)?;
                let audience = audience_row(client, readers, Validity::default())?;
                client.execute(
                    "INSERT INTO failures (path_bytes, origin, path, reason, audience_id, failed_ms)
                 VALUES ($1, $2, $3, $4, $5, $6)",
                    &[
                        &entry.path_bytes,
                        &entry.origin.name(),
                        &storable(path),
                        &storable(reason),
                        &audience,
                        &stdx::clock::unix_ms(),
                    ],
                )?;
                Ok(())
            },
        )
    }

    fn put_aside(
        &self,
        entry: &QueueEntry,
        version: &str,
        stat: Stat,
        reason: &str,
    ) -> Result<u32, StoreError> {
        let tries = self.at_desk("set a file aside", &entry.path_bytes, Then::GoOn, |client| {
            let row = client.query_one(
                "INSERT INTO set_aside (path_bytes, origin, version, program, file_bytes, mtime_ns, ctime_ns, device, tries,
                                        reason, last_ms)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $10)
                 ON CONFLICT (path_bytes) DO UPDATE SET
                     tries = CASE WHEN set_aside.version = excluded.version AND set_aside.program = excluded.program
                                  THEN set_aside.tries + 1 ELSE 1 END,
                     version = excluded.version, program = excluded.program, file_bytes = excluded.file_bytes,
                     mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns, device = excluded.device,
                     reason = excluded.reason, last_ms = excluded.last_ms
                 RETURNING tries",
                &[
                    &entry.path_bytes,
                    &entry.origin.name(),
                    &version,
                    &env!("CARGO_PKG_VERSION"),
                    &stat.bytes.cast_signed(),
                    &stat.mtime_ns,
                    &stat.ctime_ns,
                    &stat.device.cast_signed(),
                    &storable(reason),
                    &stdx::clock::unix_ms(),
                ],
            )?;
            Ok(row.try_get::<_, i64>(0)?)
        })?;
        Ok(u32::try_from(tries).unwrap_or(u32::MAX))
    }

    fn drop_aside(&self, path_bytes: &[u8]) -> Result<(), StoreError> {
        self.transact("try a file set aside again", |transaction| {
            transaction.execute("DELETE FROM set_aside WHERE path_bytes = $1", &[&path_bytes])?;
            Ok(())
        })
    }

    fn clear_aside(&self) -> Result<(), StoreError> {
        self.transact("try files set aside again", |transaction| {
            transaction.execute("DELETE FROM set_aside", &[])?;
            Ok(())
        })
    }

    fn erase(&self, ids: &[String]) -> Result<usize, StoreError> {
        if ids.is_empty() {
            return Ok(0);
        }
        self.transact("remove documents", |transaction| {
            let mut n = 0;
            for id in ids {
                lock_document(transaction, id)?;
                let gone = transaction.query_opt(
                    "DELETE FROM documents WHERE document_id = $1 RETURNING segment_no, path_bytes",
                    &[id],
                )?;
                let Some(gone) = gone else { continue };
                let path: Vec<u8> = gone.try_get(1)?;
                transaction.execute("DELETE FROM uploads WHERE path_bytes = $1", &[&path])?;
                transaction.execute("DELETE FROM versions WHERE document_id = $1", &[id])?;
                transaction.execute("DELETE FROM page_words WHERE document_id = $1", &[id])?;
                drop_segment(transaction, gone.try_get(0)?)?;
                n += 1;
            }
            Ok(n)
        })
    }

    fn set_standings(&self, moved: &[Moved]) -> Result<(), StoreError> {
        for some in moved.chunks(TOGETHER_MAX) {
            self.transact("change how documents stand", |transaction| {
                for moved in some {
                    let standing = &moved.standing;
                    let audience = audience_row(transaction, &standing.audience, standing.validity)?;
                    transaction.execute(
                        "UPDATE documents SET audience_id = $2, stated = $3, owner = $4, replaces = $5
                         WHERE document_id = $1",
                        &[
                            &moved.document_id,
                            &audience,
                            &storable(&serde_json::to_string(&moved.own)?),
                            &standing.owner.as_deref().map(storable),
                            &storable(&serde_json::to_string(&standing.replaces)?),
                        ],
                    )?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn set_failures(&self, readers: &[(Vec<u8>, Option<Audience>)]) -> Result<(), StoreError> {
        self.transact("change who may know of a failure", |transaction| {
            for (path, readers) in readers {
                let Some(readers) = readers else {
                    transaction.execute("DELETE FROM failures WHERE path_bytes = $1", &[path])?;
                    continue;
                };
                let audience = audience_row(transaction, readers, Validity::default())?;
                transaction.execute(
                    "UPDATE failures SET audience_id = $2 WHERE path_bytes = $1 AND audience_id <> $2",
                    &[path, &audience],
                )?;
            }
            Ok(())
        })
    }

    fn put_folders(&self, folders: &[&[u8]]) -> Result<usize, StoreError> {
        self.transact("remember folders", |transaction| {
            let n = transaction.execute(
                "INSERT INTO folders SELECT * FROM unnest($1::bytea[]) ON CONFLICT DO NOTHING",
                &[&folders],
            )?;
            Ok(usize::try_from(n).unwrap_or(usize::MAX))
        })
    }

    fn drop_folder(&self, folder: &[u8]) -> Result<bool, StoreError> {
        self.transact("forget a folder", |transaction| {
            Ok(transaction.execute("DELETE FROM folders WHERE path_bytes = $1", &[&folder])? > 0)
        })
    }

    fn flush(&self) -> Result<(), StoreError> {
        // Whatever was put is searchable.
        Ok(())
    }

    fn use_embedder(&self, id: &EmbedderId, _source: &str) -> Result<EmbedderRow, StoreError> {
        self.set_embedder(id)
    }

    fn put_vectors(&self, embedder: EmbedderRow, vectors: &[Made]) -> Result<(), StoreError> {
        self.store_vectors(embedder, vectors)
    }

    fn put_refusal(&self, refusal: &RefusalRow, kept: usize) -> Result<(), StoreError> {
        self.transact("record a refused question", |transaction| {
            let row = transaction.query_one(
                "INSERT INTO refusals (day, groups, words, question, nearest) VALUES ($1, $2, $3, $4, $5)
                 RETURNING refusal_id",
                &[
                    &refusal.day.map(|day| day.to_string()).unwrap_or_default(),
                    &refusal.groups,
                    &storable(&serde_json::to_string(&refusal.words)?),
                    &refusal.question.as_deref().map(storable),
                    &serde_json::to_string(&refusal.nearest)?,
                ],
            )?;
            let oldest = row.try_get::<_, i64>(0)?.saturating_sub(kept as i64);
            transaction.execute("DELETE FROM refusals WHERE refusal_id <= $1", &[&oldest])?;
            Ok(())
        })
    }

    fn forget_refusals(&self, all: bool) -> Result<(), StoreError> {
        self.transact("forget refused questions", |transaction| {
            transaction.execute(
                if all {
                    "DELETE FROM refusals"
                } else {
                    "UPDATE refusals SET question = NULL WHERE question IS NOT NULL"
                },
                &[],
            )?;
            Ok(())
        })
    }
}

impl Postgres {
    /// Analyses documents again whose words another analyser wrote; several processes may do so side by side.
    pub(super) fn refresh_words(&self) -> Result<(), StoreError> {
        let present = i64::from(ANALYSER_VERSION);
        let is_present = self.with("read the analyser's version", |client| {
            super::layout::meta(client, "analyser")
        })?;
        if is_present == present {
            return Ok(());
        }
        // Equal scores are told apart by the order of segments, which stays.
        let sql = "SELECT document_id FROM documents ORDER BY segment_no";
        let ids: Vec<String> = self.list("list the documents", sql, &[], first)?;
        if !ids.is_empty() {
            tracing::info!(documents = ids.len(), "making the words of all documents anew");
        }
        for id in ids {
            self.transact("write a document's words", |transaction| {
                rewrite_words(transaction, &id)
            })?;
        }
        self.transact("record the analyser", |transaction| {
            transaction.execute("UPDATE meta SET value = $1 WHERE key = 'analyser'", &[&present])?;
            Ok(())
        })
    }
}
