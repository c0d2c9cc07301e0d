//! Reading the catalog: documents, texts, passages, marks, the queue.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::write::as_i64;
use super::{Catalog, Marks, Origin, QueueEntry, Stat};
use crate::access::{Audience, Reader};
use crate::boxes::{self, PageWords};
use crate::checksum::{Summed, damaged, demand};
use crate::error::StoreError;
use crate::types::{DocumentInfo, DocumentText, PageSpan};
use crate::validity::{Date, Validity};

/// A passage with what a hit shows of its document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PassageRow {
    pub(crate) passage_id: u64,
    pub(crate) document_id: String,
    pub(crate) version: String,
    pub(crate) path: String,
    pub(crate) title: String,
    pub(crate) page: Option<u32>,
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) heading_path: Vec<String>,
    pub(crate) text: String,
    pub(crate) audience: u32,
    pub(crate) validity: Validity,
    pub(crate) replaces: Vec<String>,
}

/// On which side of a passage another one stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Before,
    After,
}

/// A passage as the index and the embedder take it.
#[derive(Debug, Clone)]
pub(crate) struct StoredPassage {
    pub(crate) passage_id: u64,
    pub(crate) document_id: String,
    pub(crate) page: Option<u32>,
    pub(crate) title: String,
    pub(crate) headings: String,
    pub(crate) text: String,
    pub(crate) audience: u32,
}

/// Where passages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passages {
    /// Those that answer.
    Present,
    /// Those of an index that is being made beside the present one.
    Next,
}

impl Passages {
    pub(super) fn table(self) -> &'static str {
        match self {
            Self::Present => "passages",
            Self::Next => "next_passages",
        }
    }
}

/// What is remembered of a document's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredDocument {
    pub(crate) document_id: String,
    pub(crate) path_bytes: Vec<u8>,
    pub(crate) version: String,
    pub(crate) stat: Stat,
    /// Version of the cutter that made its passages.
    pub(crate) cutter: i64,
}

/// A version's pages, and where its file was.
pub(crate) struct StoredPages {
    pub(crate) version: String,
    pub(crate) pages: Vec<PageSpan>,
    pub(crate) origin: Origin,
    pub(crate) path_bytes: Vec<u8>,
    pub(crate) format: String,
    pub(crate) n_pages: u32,
}

/// The audiences that admit a reader, by number: all, or those whose documents hold on a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AudienceSet(Vec<bool>);

impl AudienceSet {
    /// By number.
    #[cfg(test)]
    pub(crate) fn by_number(admitted: Vec<bool>) -> Self {
        Self(admitted)
    }

    /// The set of these.
    pub(crate) fn of(audiences: &[u32]) -> Self {
        let mut set = vec![false; audiences.iter().max().map_or(0, |last| *last as usize + 1)];
        for audience in audiences {
            set[*audience as usize] = true;
        }
        Self(set)
    }

    /// Those in it, as PostgreSQL numbers them.
    pub(crate) fn numbers(&self) -> Vec<i32> {
        let members = self.0.iter().enumerate().filter(|(_, is_in)| **is_in);
        members
            .filter_map(|(audience, _)| i32::try_from(audience).ok())
            .collect()
    }

    /// Whether it holds this one. An audience that came later is not in it.
    pub(crate) fn has(&self, audience: u32) -> bool {
        self.0.get(audience as usize).copied().unwrap_or(false)
    }
}

/// Counts for [`crate::StoreStatus`].
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) documents: usize,
    pub(crate) passages: usize,
    pub(crate) vectors: usize,
    pub(crate) queued: usize,
}

const DOCUMENT_COLUMNS: &str = "document_id, version, path, title, format, n_pages, n_chars, n_passages, \
     ingested_ms, (SELECT valid_from FROM audiences a WHERE a.audience_id = documents.audience_id), \
     (SELECT valid_until FROM audiences a WHERE a.audience_id = documents.audience_id), owner, replaces";

impl Catalog {
    /// The audiences that admit a reader and whose documents hold on that day; without one, whenever they hold.
    pub(crate) fn audiences_on(&self, reader: &Reader, day: Option<Date>) -> Result<AudienceSet, StoreError> {
        self.read("look up audiences", |connection| {
            let intact = Summed::Audiences.is_intact("a");
            let sql = format!(
                "SELECT a.audience_id, a.groups, a.valid_from, a.valid_until, {intact} FROM audiences a"
            );
            // One state of the database for the rows and their number.
            let transaction = connection.unchecked_transaction()?;
            let mut query = transaction.prepare_cached(&sql)?;
            let mut rows = query.query([])?;
            let mut set = Vec::new();
            let mut n = 0;
            while let Some(row) = rows.next()? {
                demand(row, 4)?;
                n += 1;
                let id = get_usize(row, 0)?;
                if id >= AUDIENCES_MAX {
                    continue;
                }
                if set.len() <= id {
                    set.resize(id + 1, false);
                }
                let holds = match day {
                    Some(day) => validity(row, 2)?.holds_on(day),
                    None => true,
                };
                set[id] = holds && Audience::from_json(&row.get::<_, String>(1)?).admits(reader);
            }
            if n != meta(&transaction, "audiences")? {
                return Err(damaged(0, "who may read some of the documents is missing"));
            }
            Ok(AudienceSet(set))
        })
    }

    /// Whether the tables can be read.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.read("read the tables", |connection| {
            connection
                .query_row("SELECT count(*) FROM documents", [], |row| row.get::<_, i64>(0))
                .map(drop)
        })
    }

    /// Counts of what these audiences may see; the queue is the keeper's.
    pub(crate) fn counts(&self, allowed: &AudienceSet) -> Result<Counts, StoreError> {
        self.read("count", |connection| {
            let sum = |sql: &str| -> rusqlite::Result<usize> {
                let mut query = connection.prepare_cached(sql)?;
                let mut rows = query.query([])?;
                let mut sum = 0;
                while let Some(row) = rows.next()? {
                    if allowed.has(audience(row, 0)?) {
                        sum += get_usize(row, 1)?;
                    }
                }
                Ok(sum)
            };
            Ok(Counts {
                documents: sum("SELECT audience_id, count(*) FROM documents GROUP BY audience_id")?,
                passages: sum("SELECT audience_id, sum(n_passages) FROM documents GROUP BY audience_id")?,
                vectors: sum("SELECT d.audience_id, count(*) FROM vectors v
                     JOIN passages p ON p.passage_id = v.passage_id
                     JOIN documents d ON d.document_id = p.document_id
                     WHERE v.embedder_id = (SELECT value FROM meta WHERE key = 'embedder')
                     GROUP BY d.audience_id")?,
                queued: connection.query_row("SELECT count(*) FROM queue", [], |row| get_usize(row, 0))?,
            })
        })
    }

    pub(crate) fn documents(&self, allowed: &AudienceSet) -> Result<Vec<DocumentInfo>, StoreError> {
        self.read("list the documents", |connection| {
            let sql = format!(
                "SELECT {DOCUMENT_COLUMNS}, audience_id, {} FROM documents ORDER BY path, document_id",
                Summed::Documents.is_intact("documents")
            );
            // One state of the database for the rows and their number.
            let transaction = connection.unchecked_transaction()?;
            let mut query = transaction.prepare_cached(&sql)?;
            let mut rows = query.query([])?;
            let mut found = Vec::new();
            let mut n = 0;
            while let Some(row) = rows.next()? {
                demand(row, 14)?;
                n += 1;
                if allowed.has(audience(row, 13)?) {
                    let mut info = info(row)?;
                    super::notes::add(&transaction, &mut info)?;
                    found.push(info);
                }
            }
            if n != meta(&transaction, "documents")? {
                return Err(damaged(0, "some of the documents are missing"));
            }
            Ok(found)
        })
    }

    /// A version's text; the present one if none is named.
    pub(crate) fn document(
        &self,
        id: &str,
        version: Option<&str>,
        allowed: &AudienceSet,
    ) -> Result<Option<DocumentText>, StoreError> {
        self.read("read a document", |connection| {
            let sql = format!(
                "SELECT v.document_id, v.version, d.path, v.title, v.format, v.n_pages, v.n_chars,
                        iif(v.version = d.version, d.n_passages, v.n_passages), v.ingested_ms, a.valid_from, a.valid_until, d.owner, d.replaces,
                        v.pages, v.text, d.audience_id, v.version IS NULL, {} AND {}
                 FROM documents d LEFT JOIN versions v
                     ON v.document_id = d.document_id AND v.version = coalesce(?2, d.version)
                 LEFT JOIN audiences a ON a.audience_id = d.audience_id
                 WHERE d.document_id = ?1",
                Summed::Versions.is_intact("v"),
                Summed::Documents.is_intact("d")
            );
            connection
                .prepare_cached(&sql)?
                .query_row(params![id, version], |row| {
                    if !allowed.has(audience(row, 15)?) {
                        return Ok(None);
                    }
                    let is_missing: bool = row.get(16)?;
                    if is_missing && version.is_some() {
                        return Ok(None);
                    }
                    demand(row, 17)?;
                    let pages: Vec<(u32, usize, usize)> = json(row, 13)?;
                    let mut info = info(row)?;
                    super::notes::add(connection, &mut info)?;
                    Ok(Some(DocumentText {
                        info,
                        pages: pages
                            .into_iter()
                            .map(|(page, start, end)| PageSpan { page, start, end })
                            .collect(),
                        text: row.get(14)?,
                    }))
                })
                .optional()
                .map(Option::flatten)
        })
    }

    /// A version's name and pages; the present one if none is named.
    pub(crate) fn pages(
        &self,
        id: &str,
        version: Option<&str>,
        allowed: &AudienceSet,
    ) -> Result<Option<StoredPages>, StoreError> {
        self.read("read a document's pages", |connection| {
            connection
                .prepare_cached(
                    "SELECT v.version, v.pages, d.origin, d.path_bytes, v.format, v.n_pages, d.audience_id
                     FROM versions v JOIN documents d ON d.document_id = v.document_id
                     WHERE v.document_id = ?1 AND v.version = coalesce(?2, d.version)",
                )?
                .query_row(params![id, version], |row| {
                    if !allowed.has(audience(row, 6)?) {
                        return Ok(None);
                    }
                    let pages: Vec<(u32, usize, usize)> = json(row, 1)?;
                    let span = |(page, start, end)| PageSpan { page, start, end };
                    Ok(Some(StoredPages {
                        version: row.get(0)?,
                        pages: pages.into_iter().map(span).collect(),
                        origin: Origin::from_name(&row.get::<_, String>(2)?),
                        path_bytes: row.get(3)?,
                        format: row.get(4)?,
                        n_pages: row.get::<_, Option<u32>>(5)?.unwrap_or(0),
                    }))
                })
                .optional()
                .map(Option::flatten)
        })
    }

    /// Where the words of a page of a version stand; `None` where that is not known.
    ///
    /// Asks nobody's rights: [`Catalog::pages`] has named the version before.
    pub(crate) fn page_words(
        &self,
        id: &str,
        version: &str,
        page: u32,
    ) -> Result<Option<PageWords>, StoreError> {
        self.read("read the places of words", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT width, height, words FROM page_words w
                     WHERE document_id = ?1 AND version = ?2 AND page = ?3 AND {}",
                    Summed::PageWords.is_intact("w")
                ))?
                .query_row(params![id, version, page], |row| {
                    // Damaged places are no places: the text is what counts, and it stands elsewhere.
                    let words = boxes::unpack(page, row.get_ref(2)?.as_blob()?).unwrap_or_default();
                    Ok(PageWords {
                        page,
                        size: [row.get(0)?, row.get(1)?],
                        words,
                    })
                })
                .optional()
        })
    }

    /// The document whose path this is, by its bytes.
    pub(crate) fn by_path(&self, path_bytes: &[u8]) -> Result<Option<StoredDocument>, StoreError> {
        self.read("look up a document", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {STORED_COLUMNS} FROM documents WHERE path_bytes = ?1"
                ))?
                .query_row([path_bytes], stored)
                .optional()
        })
    }

    /// Documents of one origin below a folder, whose path bytes begin with `prefix` (which ends in a slash).
    pub(crate) fn below(&self, origin: Origin, prefix: &[u8]) -> Result<Vec<StoredDocument>, StoreError> {
        let mut after = prefix.to_vec();
        // The slash's successor: everything that begins with the prefix sorts before it.
        if let Some(last) = after.last_mut() {
            *last += 1;
        }
        self.read("list a folder's documents", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {STORED_COLUMNS} FROM documents
                     WHERE origin = ?1 AND path_bytes >= ?2 AND path_bytes < ?3 ORDER BY path_bytes"
                ))?
                .query_map(params![origin.name(), prefix, after], stored)?
                .collect()
        })
    }

    /// The folders that are kept in step, by the bytes of their paths.
    pub(crate) fn folders(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        self.read("list the folders", |connection| {
            connection
                .prepare_cached("SELECT path_bytes FROM folders ORDER BY path_bytes")?
                .query_map([], |row| row.get(0))?
                .collect()
        })
    }

    /// The kept uploads: their names and versions.
    pub(crate) fn uploads(&self) -> Result<Vec<(Vec<u8>, String)>, StoreError> {
        self.read("list the uploads", |connection| {
            connection
                .prepare_cached(
                    "SELECT path_bytes, version FROM documents WHERE origin = 'upload' ORDER BY path_bytes",
                )?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
    }

    pub(crate) fn queue(&self) -> Result<Vec<QueueEntry>, StoreError> {
        self.read("read the queue", |connection| {
            connection
                .prepare_cached("SELECT path_bytes, origin, file_bytes FROM queue ORDER BY seq")?
                .query_map([], |row| {
                    Ok(QueueEntry {
                        path_bytes: row.get(0)?,
                        origin: Origin::from_name(&row.get::<_, String>(1)?),
                        file_bytes: get_usize(row, 2)? as u64,
                    })
                })?
                .collect()
        })
    }

    /// The passages with these ids that exist, in no particular order.
    pub(crate) fn passages(&self, ids: &[u64]) -> Result<Vec<PassageRow>, StoreError> {
        self.read("read passages", |connection| {
            let sql = format!(
                "SELECT {} {PASSAGE_FROM} WHERE p.passage_id = ?1",
                passage_columns()
            );
            // One transaction instead of one for each.
            let transaction = connection.unchecked_transaction()?;
            let mut query = transaction.prepare_cached(&sql)?;
            let mut rows = Vec::with_capacity(ids.len());
            for &id in ids {
                rows.extend(query.query_row([as_i64(id)], passage).optional()?);
            }
            Ok(rows)
        })
    }

    /// The first passage of the document of each of these that exist.
    pub(crate) fn first_passages(&self, ids: &BTreeSet<u64>) -> Result<BTreeMap<u64, u64>, StoreError> {
        self.read("read where documents begin", |connection| {
            let transaction = connection.unchecked_transaction()?;
            let mut query =
                transaction.prepare_cached("SELECT ordinal FROM passages WHERE passage_id = ?1")?;
            let mut firsts = BTreeMap::new();
            for &id in ids {
                let ordinal: Option<i64> = query.query_row([as_i64(id)], |row| row.get(0)).optional()?;
                let first = ordinal.and_then(|ordinal| id.checked_sub(u64::try_from(ordinal).ok()?));
                firsts.extend(first.map(|first| (id, first)));
            }
            Ok(firsts)
        })
    }

    /// The passages right before and after one, if they are in its section: under the same headings.
    pub(crate) fn beside(&self, passage_id: u64) -> Result<Vec<(Side, PassageRow)>, StoreError> {
        self.read("read the passages beside one", |connection| {
            let sql = format!(
                "SELECT {}, p.ordinal > here.ordinal {PASSAGE_FROM}
                 JOIN passages here ON p.document_id = here.document_id
                     AND p.ordinal IN (here.ordinal - 1, here.ordinal + 1)
                     AND p.heading_path = here.heading_path
                 WHERE here.passage_id = ?1",
                passage_columns()
            );
            connection
                .prepare_cached(&sql)?
                .query_map([as_i64(passage_id)], |row| {
                    let side = if row.get(15)? { Side::After } else { Side::Before };
                    Ok((side, passage(row)?))
                })?
                .collect()
        })
    }

    pub(crate) fn marks(&self) -> Result<Marks, StoreError> {
        self.read("read index marks", |connection| {
            connection
                .prepare_cached("SELECT document_id, seq FROM index_pending ORDER BY seq")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
    }

    /// The number of the last change that the word index has to follow.
    pub(crate) fn index_seq(&self) -> Result<i64, StoreError> {
        self.read("read the index's number", |connection| {
            meta(connection, "index_seq")
        })
    }

    pub(crate) fn document_ids(&self) -> Result<Vec<String>, StoreError> {
        self.read("list the documents", |connection| {
            connection
                .prepare_cached("SELECT document_id FROM documents ORDER BY document_id")?
                .query_map([], |row| row.get(0))?
                .collect()
        })
    }

    /// A document's passages for the index, in order.
    pub(crate) fn passages_of(&self, document_id: &str) -> Result<Vec<StoredPassage>, StoreError> {
        self.passages_in(Passages::Present, document_id)
    }

    /// A document's passages for an index, in order.
    pub(crate) fn passages_in(
        &self,
        place: Passages,
        document_id: &str,
    ) -> Result<Vec<StoredPassage>, StoreError> {
        self.read("read a document's passages", |connection| {
            connection
                .prepare_cached(&format!(
                    "{} WHERE p.document_id = ?1 ORDER BY p.ordinal",
                    stored_passages(place)
                ))?
                .query_map([document_id], stored_passage)?
                .collect()
        })
    }

    /// The passages with these ids that exist, in no particular order.
    pub(crate) fn stored_passages(
        &self,
        place: Passages,
        ids: &[u64],
    ) -> Result<Vec<StoredPassage>, StoreError> {
        self.read("read passages to embed", |connection| {
            let sql = format!(
                "{} WHERE p.passage_id = ?1 AND {}",
                stored_passages(place),
                intact()
            );
            let mut query = connection.prepare_cached(&sql)?;
            let mut rows = Vec::with_capacity(ids.len());
            for &id in ids {
                rows.extend(query.query_row([as_i64(id)], stored_passage).optional()?);
            }
            Ok(rows)
        })
    }

    /// Passages after `after` that have no vector of `embedder`. Those that are not as they were written are left out: one
    /// of them must not keep all others from getting theirs, and `verify` tells of it.
    pub(crate) fn without_vector(
        &self,
        place: Passages,
        embedder: i64,
        after: u64,
        limit: usize,
    ) -> Result<Vec<StoredPassage>, StoreError> {
        self.read("find passages without a vector", |connection| {
            connection
                .prepare_cached(&format!(
                    "{} LEFT JOIN vectors v
                         ON v.passage_id = p.passage_id AND v.embedder_id = ?1
                     WHERE p.passage_id > ?2 AND v.passage_id IS NULL AND {} ORDER BY p.passage_id LIMIT ?3",
                    stored_passages(place),
                    intact()
                ))?
                .query_map(
                    params![embedder, as_i64(after), as_i64(limit as u64)],
                    stored_passage,
                )?
                .collect()
        })
    }
}

impl Catalog {
    /// How many passages after `after` have no vector of `embedder`.
    pub(crate) fn without_vector_count(
        &self,
        place: Passages,
        embedder: i64,
        after: u64,
    ) -> Result<usize, StoreError> {
        self.read("count passages without a vector", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT count(*) FROM {} p LEFT JOIN vectors v
                         ON v.passage_id = p.passage_id AND v.embedder_id = ?1
                     WHERE p.passage_id > ?2 AND v.passage_id IS NULL",
                    place.table()
                ))?
                .query_row(params![embedder, as_i64(after)], |row| get_usize(row, 0))
        })
    }
}

/// Larger numbers of audiences are damage.
const AUDIENCES_MAX: usize = 1 << 24;

const STORED_COLUMNS: &str =
    "document_id, path_bytes, version, file_bytes, mtime_ns, ctime_ns, device, cutter";
/// Passages as [`stored_passage`] takes them.
fn stored_passages(place: Passages) -> String {
    format!(
        "SELECT p.passage_id, p.document_id, d.title, p.heading_path, p.text, p.page, d.audience_id, {}
         FROM {} p JOIN documents d ON d.document_id = p.document_id",
        intact(),
        place.table()
    )
}

/// Whether a passage `p` and its document `d` are as they were written.
fn intact() -> String {
    format!(
        "{} AND {}",
        Summed::Passages.is_intact("p"),
        Summed::Documents.is_intact("d")
    )
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredDocument> {
    Ok(StoredDocument {
        document_id: row.get(0)?,
        path_bytes: row.get(1)?,
        version: row.get(2)?,
        stat: Stat {
            bytes: get_usize(row, 3)? as u64,
            mtime_ns: row.get(4)?,
            ctime_ns: row.get(5)?,
            device: row.get::<_, i64>(6)?.cast_unsigned(),
        },
        cutter: row.get(7)?,
    })
}

fn stored_passage(row: &Row<'_>) -> rusqlite::Result<StoredPassage> {
    demand(row, 7)?;
    let headings: Vec<String> = json(row, 3)?;
    Ok(StoredPassage {
        passage_id: get_usize(row, 0)? as u64,
        document_id: row.get(1)?,
        title: row.get(2)?,
        headings: headings.join("\n"),
        text: row.get(4)?,
        page: row.get(5)?,
        audience: audience(row, 6)?,
    })
}

/// What [`passage`] takes, in its order.
fn passage_columns() -> String {
    format!(
        "p.passage_id, p.document_id, d.version, d.path, d.title, p.page, p.start_char, p.end_char, p.heading_path,
         p.text, d.audience_id, a.valid_from, a.valid_until, d.replaces, {} AND {}",
        Summed::Passages.is_intact("p"),
        Summed::Documents.is_intact("d")
    )
}

const PASSAGE_FROM: &str = "FROM passages p JOIN documents d ON d.document_id = p.document_id
     LEFT JOIN audiences a ON a.audience_id = d.audience_id";

fn passage(row: &Row<'_>) -> rusqlite::Result<PassageRow> {
    demand(row, 14)?;
    Ok(PassageRow {
        passage_id: get_usize(row, 0)? as u64,
        document_id: row.get(1)?,
        version: row.get(2)?,
        path: row.get(3)?,
        title: row.get(4)?,
        page: row.get(5)?,
        start: get_usize(row, 6)?,
        end: get_usize(row, 7)?,
        heading_path: json(row, 8)?,
        text: row.get(9)?,
        audience: audience(row, 10)?,
        validity: validity(row, 11)?,
        replaces: json(row, 13)?,
    })
}

fn info(row: &Row<'_>) -> rusqlite::Result<DocumentInfo> {
    Ok(DocumentInfo {
        document_id: row.get(0)?,
        version: row.get(1)?,
        path: row.get(2)?,
        title: row.get(3)?,
        format: row.get(4)?,
        n_pages: row.get(5)?,
        n_chars: get_usize(row, 6)?,
        n_passages: get_usize(row, 7)?,
        ingested_ms: row.get(8)?,
        validity: validity(row, 9)?,
        owner: row.get(11)?,
        replaces: json(row, 12)?,
        without_text: Vec::new(),
        recognised: Vec::new(),
    })
}

/// Two columns of an audience: its first and its last day. One that is missing admits nobody, so its days do not matter.
pub(super) fn validity(row: &Row<'_>, column: usize) -> rusqlite::Result<Validity> {
    let date = |column| -> rusqlite::Result<Option<Date>> {
        let text: Option<String> = row.get(column)?;
        Ok(text.and_then(|text| text.parse().ok()))
    };
    Ok(Validity {
        from: date(column)?,
        until: date(column + 1)?,
    })
}

pub(super) fn get_usize(row: &Row<'_>, column: usize) -> rusqlite::Result<usize> {
    let value: i64 = row.get(column)?;
    usize::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

pub(super) fn audience(row: &Row<'_>, column: usize) -> rusqlite::Result<u32> {
    let value: i64 = row.get(column)?;
    u32::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

pub(super) fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into()))
}

/// A counter that commits raise.
pub(crate) fn meta(connection: &Connection, key: &str) -> rusqlite::Result<i64> {
    connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
}
