//! Reading the tables: audiences, documents, texts, passages, what an ingest asks.

use std::collections::{BTreeMap, BTreeSet};

use postgres::Row;
use postgres::types::{FromSql, ToSql};

use super::layout::meta;
use super::{Failed, Postgres, Sql, passage_id, segment_of};
use crate::access::{Audience, Reader};
use crate::boxes::{self, PageWords};
use crate::catalog::{
    AudienceSet, Counts, FailureRow, Known, Origin, Paged, PassageRow, RefusalRow, SetAside, Side, Standing,
    Stat, StoredDocument, StoredPages, StreamedDocument,
};
use crate::error::StoreError;
use crate::shelf::Reads;
use crate::types::{DocumentInfo, DocumentText, PageSpan};
use crate::validity::{Date, Validity};

const DOCUMENT: &str =
    "d.document_id, v.version, d.path, v.title, v.format, v.n_pages, v.n_chars, v.n_passages,
     v.ingested_ms, a.valid_from, a.valid_until, d.owner, d.replaces, v.without_text, v.recognised";
const PASSAGE: &str =
    "p.segment_no, p.ordinal, d.document_id, d.version, d.path, d.title, p.page, p.start_char, p.end_char,
     p.heading_path, p.text, d.audience_id, a.valid_from, a.valid_until, d.replaces";
const PASSAGE_FROM: &str = "FROM passages p JOIN documents d ON d.segment_no = p.segment_no
     JOIN audiences a ON a.audience_id = d.audience_id";
const STORED: &str = "document_id, path_bytes, version, file_bytes, mtime_ns, ctime_ns, device, cutter";

impl Reads for Postgres {
    fn audiences(&self, reader: &Reader, day: Option<Date>) -> Result<AudienceSet, StoreError> {
        self.with("look up audiences", |client| {
            let rows = client.query(
                "SELECT audience_id, groups, valid_from, valid_until FROM audiences",
                &[],
            )?;
            let mut admitting = Vec::new();
            for row in &rows {
                let groups: &str = row.try_get(1)?;
                let validity = validity(row, 2)?;
                let holds = day.is_none_or(|day| validity.holds_on(day));
                if holds && Audience::from_json(groups).admits(reader) {
                    admitting.push(audience(row, 0)?);
                }
            }
            Ok(AudienceSet::of(&admitting))
        })
    }

    fn counts(&self, allowed: &AudienceSet) -> Result<Counts, StoreError> {
        self.snapshot("count", |transaction| {
            let row = transaction.query_one(
                "SELECT (SELECT count(*) FROM documents WHERE audience_id = ANY($1)),
                        (SELECT coalesce(sum(n_passages), 0)::bigint FROM documents WHERE audience_id = ANY($1)),
                        (SELECT count(*) FROM vectors v JOIN documents d ON d.segment_no = v.segment_no
                         WHERE v.data IS NOT NULL AND d.audience_id = ANY($1)
                             AND v.embedder_id = (SELECT value FROM meta WHERE key = 'embedder')),
                        (SELECT count(*) FROM queue)",
                &[&allowed.numbers()],
            )?;
            Ok(Counts {
                documents: size(&row, 0)?,
                passages: size(&row, 1)?,
                vectors: size(&row, 2)?,
                queued: size(&row, 3)?,
            })
        })
    }

    fn documents(&self, allowed: &AudienceSet) -> Result<Vec<DocumentInfo>, StoreError> {
        let sql = format!(
            "SELECT {DOCUMENT} FROM documents d JOIN audiences a ON a.audience_id = d.audience_id
             JOIN versions v ON v.document_id = d.document_id AND v.version = d.version
             WHERE d.audience_id = ANY($1) ORDER BY d.path, d.document_id"
        );
        self.list("list the documents", &sql, &[&allowed.numbers()], info)
    }

    fn document(
        &self,
        id: &str,
        version: Option<&str>,
        allowed: &AudienceSet,
    ) -> Result<Option<DocumentText>, StoreError> {
        let sql = format!(
            "SELECT {DOCUMENT}, v.pages, v.text FROM documents d
             JOIN versions v ON v.document_id = d.document_id AND v.version = coalesce($2, d.version)
             JOIN audiences a ON a.audience_id = d.audience_id
             WHERE d.document_id = $1 AND d.audience_id = ANY($3)"
        );
        let found = self.list(
            "read a document",
            &sql,
            &[&id, &version, &allowed.numbers()],
            |row| {
                Ok(DocumentText {
                    info: info(row)?,
                    pages: page_spans(row, 15)?,
                    text: row.try_get(16)?,
                })
            },
        )?;
        Ok(found.into_iter().next())
    }

    fn pages(
        &self,
        id: &str,
        version: Option<&str>,
        allowed: &AudienceSet,
    ) -> Result<Option<StoredPages>, StoreError> {
        let sql = "SELECT v.version, v.pages, d.origin, d.path_bytes, v.format, v.n_pages
             FROM versions v JOIN documents d ON d.document_id = v.document_id
             WHERE v.document_id = $1 AND v.version = coalesce($2, d.version) AND d.audience_id = ANY($3)";
        let numbers = allowed.numbers();
        let found = self.list(
            "read a document's pages",
            sql,
            &[&id, &version, &numbers],
            |row| {
                Ok(StoredPages {
                    version: row.try_get(0)?,
                    pages: page_spans(row, 1)?,
                    origin: Origin::from_name(row.try_get(2)?),
                    path_bytes: row.try_get(3)?,
                    format: row.try_get(4)?,
                    n_pages: page(row.try_get::<_, Option<i32>>(5)?.map(i64::from)).unwrap_or(0),
                })
            },
        )?;
        Ok(found.into_iter().next())
    }

    fn page_words(&self, id: &str, version: &str, page: u32) -> Result<Option<PageWords>, StoreError> {
        let sql = "SELECT width, height, words FROM page_words
             WHERE document_id = $1 AND version = $2 AND page = $3";
        let number = i64::from(page);
        let found = self.list(
            "read the places of words",
            sql,
            &[&id, &version, &number],
            |row| {
                let side = |column| -> Sql<_> { small(row.try_get(column)?) };
                Ok(PageWords {
                    page,
                    size: [side(0)?, side(1)?],
                    words: boxes::unpack(page, row.try_get(2)?).unwrap_or_default(),
                })
            },
        )?;
        Ok(found.into_iter().next())
    }

    fn passages(&self, ids: &[u64]) -> Result<Vec<PassageRow>, StoreError> {
        let (segments, ordinals): (Vec<i64>, Vec<i32>) = ids.iter().map(|id| segment_of(*id)).unzip();
        let sql = format!(
            "SELECT {PASSAGE} {PASSAGE_FROM} JOIN unnest($1::bigint[], $2::integer[]) AS wanted (s, o)
                 ON p.segment_no = wanted.s AND p.ordinal = wanted.o"
        );
        self.list("read passages", &sql, &[&segments, &ordinals], passage)
    }

    fn first_passages(&self, ids: &BTreeSet<u64>) -> Result<BTreeMap<u64, u64>, StoreError> {
        // A segment is a document, and the numbers say which one.
        Ok(ids
            .iter()
            .map(|&id| (id, passage_id(segment_of(id).0, 0)))
            .collect())
    }

    fn beside(&self, passage_id: u64) -> Result<Vec<(Side, PassageRow)>, StoreError> {
        let (segment, ordinal) = segment_of(passage_id);
        let sql = format!(
            "SELECT {PASSAGE} {PASSAGE_FROM} JOIN passages here ON here.segment_no = p.segment_no
                 AND here.ordinal = $2 AND p.heading_path = here.heading_path
             WHERE p.segment_no = $1 AND p.ordinal IN ($2 - 1, $2 + 1)"
        );
        self.list(
            "read the passages beside one",
            &sql,
            &[&segment, &ordinal],
            |row| {
                let is_after = row.try_get::<_, i32>(1)? > ordinal;
                Ok((if is_after { Side::After } else { Side::Before }, passage(row)?))
            },
        )
    }

    fn each_document(
        &self,
        allowed: &AudienceSet,
        visit: &mut dyn FnMut(StreamedDocument),
    ) -> Result<(), StoreError> {
        self.snapshot("read all documents", |transaction| {
            let ids = transaction.query(
                "SELECT document_id FROM documents WHERE audience_id = ANY($1) ORDER BY path, document_id",
                &[&allowed.numbers()],
            )?;
            let one = transaction.prepare(
                "SELECT d.document_id, d.version, d.path, d.title, d.format, d.n_pages, d.mtime_ns, d.ingested_ms,
                        a.valid_from, a.valid_until, d.owner, v.pages, v.text
                 FROM documents d JOIN versions v ON v.document_id = d.document_id AND v.version = d.version
                 JOIN audiences a ON a.audience_id = d.audience_id WHERE d.document_id = $1",
            )?;
            for id in ids {
                let id: &str = id.try_get(0)?;
                if let Some(row) = transaction.query_opt(&one, &[&id])? {
                    visit(streamed(&row)?);
                }
            }
            Ok(())
        })
    }

    fn paged(&self, format: &str, allowed: &AudienceSet) -> Result<Vec<Paged>, StoreError> {
        let sql = "SELECT d.document_id, d.origin, d.path_bytes, d.path, d.n_pages, v.pages
             FROM documents d JOIN versions v ON v.document_id = d.document_id AND v.version = d.version
             WHERE d.format = $1 AND d.audience_id = ANY($2)";
        let numbers = allowed.numbers();
        self.list("read the pages of documents", sql, &[&format, &numbers], |row| {
            Ok(Paged {
                document_id: row.try_get(0)?,
                origin: Origin::from_name(row.try_get(1)?),
                path_bytes: row.try_get(2)?,
                path: row.try_get(3)?,
                n_pages: page(row.try_get::<_, Option<i32>>(4)?.map(i64::from)),
                pages: page_spans(row, 5)?,
            })
        })
    }

    fn failures(&self, allowed: &AudienceSet) -> Result<Vec<FailureRow>, StoreError> {
        let sql =
            "SELECT origin, path_bytes, path, reason FROM failures WHERE audience_id = ANY($1) ORDER BY path";
        self.list("list the files that failed", sql, &[&allowed.numbers()], |row| {
            Ok(FailureRow {
                origin: Origin::from_name(row.try_get(0)?),
                path_bytes: row.try_get(1)?,
                path: row.try_get(2)?,
                reason: row.try_get(3)?,
            })
        })
    }

    fn refusals(&self) -> Result<Vec<RefusalRow>, StoreError> {
        let sql = "SELECT day, groups, words, question, nearest FROM refusals ORDER BY refusal_id";
        self.list("list the refused questions", sql, &[], |row| {
            Ok(RefusalRow {
                day: row.try_get::<_, &str>(0)?.parse().ok(),
                groups: row.try_get(1)?,
                words: json(row, 2)?,
                question: row.try_get(3)?,
                nearest: json(row, 4)?,
            })
        })
    }

    fn read_only(&self) -> Option<String> {
        // The server says so itself when it is asked to write.
        None
    }
}

impl Postgres {
    /// The rows of a query.
    pub(super) fn list<T>(
        &self,
        doing: &'static str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
        row: impl Fn(&Row) -> Sql<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.with(doing, |client| {
            client.query(sql, parameters)?.iter().map(&row).collect()
        })
    }

    pub(super) fn find_by_path(&self, path_bytes: &[u8]) -> Result<Option<StoredDocument>, StoreError> {
        let sql = format!("SELECT {STORED} FROM documents WHERE path_bytes = $1");
        let found = self.list("look up a document", &sql, &[&path_bytes], stored)?;
        Ok(found.into_iter().next())
    }

    pub(super) fn find_below(
        &self,
        origin: Origin,
        prefix: &[u8],
    ) -> Result<Vec<StoredDocument>, StoreError> {
        let mut after = prefix.to_vec();
        // The slash's successor: everything that begins with the prefix sorts before it.
        if let Some(last) = after.last_mut() {
            *last += 1;
        }
        let sql = format!(
            "SELECT {STORED} FROM documents
             WHERE origin = $1 AND path_bytes >= $2 AND path_bytes < $3 ORDER BY path_bytes"
        );
        self.list(
            "list a folder's documents",
            &sql,
            &[&origin.name(), &prefix, &after],
            stored,
        )
    }

    pub(super) fn read_standings(&self) -> Result<Vec<Known>, StoreError> {
        let sql =
            "SELECT d.document_id, d.origin, d.path_bytes, d.format, d.stated, d.owner, d.replaces, a.groups,
                          a.valid_from, a.valid_until
             FROM documents d JOIN audiences a ON a.audience_id = d.audience_id ORDER BY d.document_id";
        self.list("list how documents stand", sql, &[], |row| {
            let stated: Option<&str> = row.try_get(4)?;
            Ok(Known {
                document_id: row.try_get(0)?,
                origin: Origin::from_name(row.try_get(1)?),
                path_bytes: row.try_get(2)?,
                format: row.try_get(3)?,
                is_intact: true,
                // What cannot be read is asked for again.
                stated: stated.and_then(|text| serde_json::from_str(text).ok()),
                standing: Standing {
                    audience: Audience::from_json(row.try_get(7)?),
                    validity: validity(row, 8)?,
                    owner: row.try_get(5)?,
                    replaces: json(row, 6)?,
                },
            })
        })
    }

    pub(super) fn read_aside(
        &self,
        path_bytes: Option<&[u8]>,
        tries_min: u32,
    ) -> Result<Vec<SetAside>, StoreError> {
        let sql = "SELECT path_bytes, origin, version, file_bytes, mtime_ns, ctime_ns, device, tries, reason, last_ms
             FROM set_aside WHERE ($1::bytea IS NULL OR path_bytes = $1) AND tries >= $2 AND program = $3
             ORDER BY path_bytes";
        let tries_min = i64::from(tries_min);
        let program = env!("CARGO_PKG_VERSION");
        self.list(
            "list the files set aside",
            sql,
            &[&path_bytes, &tries_min, &program],
            |row| {
                Ok(SetAside {
                    path_bytes: row.try_get(0)?,
                    origin: Origin::from_name(row.try_get(1)?),
                    version: row.try_get(2)?,
                    stat: stat(row, 3)?,
                    tries: small(row.try_get(7)?)?,
                    reason: row.try_get(8)?,
                    last_ms: row.try_get(9)?,
                })
            },
        )
    }

    /// The number of the present embedder.
    pub(super) fn present_embedder(&self) -> Result<i64, StoreError> {
        self.with("look up the embedder", |client| meta(client, "embedder"))
    }
}

fn info(row: &Row) -> Sql<DocumentInfo> {
    Ok(DocumentInfo {
        document_id: row.try_get(0)?,
        version: row.try_get(1)?,
        path: row.try_get(2)?,
        title: row.try_get(3)?,
        format: row.try_get(4)?,
        n_pages: page(row.try_get::<_, Option<i32>>(5)?.map(i64::from)),
        n_chars: size(row, 6)?,
        n_passages: size(row, 7)?,
        ingested_ms: row.try_get(8)?,
        validity: validity(row, 9)?,
        owner: row.try_get(11)?,
        replaces: json(row, 12)?,
        without_text: json(row, 13)?,
        recognised: json(row, 14)?,
    })
}

fn passage(row: &Row) -> Sql<PassageRow> {
    let ordinal: u32 = small(i64::from(row.try_get::<_, i32>(1)?))?;
    Ok(PassageRow {
        passage_id: passage_id(row.try_get(0)?, ordinal),
        document_id: row.try_get(2)?,
        version: row.try_get(3)?,
        path: row.try_get(4)?,
        title: row.try_get(5)?,
        page: page(row.try_get(6)?),
        start: size(row, 7)?,
        end: size(row, 8)?,
        heading_path: json(row, 9)?,
        text: row.try_get(10)?,
        audience: audience(row, 11)?,
        validity: validity(row, 12)?,
        replaces: json(row, 14)?,
    })
}

fn stored(row: &Row) -> Sql<StoredDocument> {
    Ok(StoredDocument {
        document_id: row.try_get(0)?,
        path_bytes: row.try_get(1)?,
        version: row.try_get(2)?,
        stat: stat(row, 3)?,
        cutter: row.try_get(7)?,
    })
}

fn streamed(row: &Row) -> Sql<StreamedDocument> {
    Ok(StreamedDocument {
        document_id: row.try_get(0)?,
        version: row.try_get(1)?,
        path: row.try_get(2)?,
        title: row.try_get(3)?,
        format: row.try_get(4)?,
        n_pages: page(row.try_get::<_, Option<i32>>(5)?.map(i64::from)),
        mtime_ns: row.try_get(6)?,
        ingested_ms: row.try_get(7)?,
        validity: validity(row, 8)?,
        owner: row.try_get(10)?,
        pages: page_spans(row, 11)?,
        text: row.try_get(12)?,
    })
}

fn stat(row: &Row, column: usize) -> Sql<Stat> {
    Ok(Stat {
        bytes: row.try_get::<_, i64>(column)?.cast_unsigned(),
        mtime_ns: row.try_get(column + 1)?,
        ctime_ns: row.try_get(column + 2)?,
        device: row.try_get::<_, i64>(column + 3)?.cast_unsigned(),
    })
}

fn page_spans(row: &Row, column: usize) -> Sql<Vec<PageSpan>> {
    let pages: Vec<(u32, usize, usize)> = json(row, column)?;
    let span = |(page, start, end)| PageSpan { page, start, end };
    Ok(pages.into_iter().map(span).collect())
}

/// Two columns of an audience: its first and its last day.
fn validity(row: &Row, column: usize) -> Sql<Validity> {
    let date = |column| -> Sql<Option<Date>> { Ok(row.try_get::<_, &str>(column)?.parse().ok()) };
    Ok(Validity {
        from: date(column)?,
        until: date(column + 1)?,
    })
}

pub(super) fn json<T: serde::de::DeserializeOwned>(row: &Row, column: usize) -> Sql<T> {
    Ok(serde_json::from_str(row.try_get(column)?)?)
}

fn page(number: Option<i64>) -> Option<u32> {
    number.and_then(|number| u32::try_from(number).ok())
}

pub(super) fn size(row: &Row, column: usize) -> Sql<usize> {
    small(row.try_get(column)?)
}

fn audience(row: &Row, column: usize) -> Sql<u32> {
    small(i64::from(row.try_get::<_, i32>(column)?))
}

fn small<T: TryFrom<i64>>(number: i64) -> Sql<T> {
    T::try_from(number).map_err(|_| Failed::Other(format!("a number in the tables makes no sense: {number}")))
}

/// The first column of each row.
pub(super) fn first<T: for<'a> FromSql<'a>>(row: &Row) -> Sql<T> {
    Ok(row.try_get(0)?)
}
