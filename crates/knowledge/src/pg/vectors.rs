//! Vectors in pgvector's half floats, scanned exactly among what a reader may see.
//!
//! No approximate index: what it finds depends on vectors that the reader may not see, and the exact answer does not.

use postgres::Row;

use super::read::{json, size};
use super::{Postgres, Sql, passage_id, segment_of};
use crate::catalog::{AudienceSet, PresentEmbedder, StoredPassage};
use crate::error::StoreError;
use crate::shelf::{EmbedderRow, Made};
use crate::types::EmbedderId;

impl Postgres {
    pub(super) fn find_embedder(&self, id: &EmbedderId) -> Result<Option<EmbedderRow>, StoreError> {
        let dim = id.dim as i64;
        let sql = "SELECT embedder_id FROM embedders WHERE sha256 = $1 AND dim = $2";
        let found = self.list("look up the embedder", sql, &[&id.sha256, &dim], number)?;
        Ok(found.first().map(|&row| EmbedderRow { row, dim: id.dim }))
    }

    /// The present embedder; from which file each machine loads it is not kept here.
    pub(super) fn find_present_embedder(&self) -> Result<Option<PresentEmbedder>, StoreError> {
        let sql = "SELECT e.embedder_id, e.name, e.sha256, e.dim,
                    EXISTS (SELECT 1 FROM vectors v WHERE v.embedder_id = e.embedder_id AND v.data IS NOT NULL)
             FROM embedders e WHERE e.embedder_id = (SELECT value FROM meta WHERE key = 'embedder')";
        let mut found = self.list("look up the embedder", sql, &[], |row| {
            Ok(PresentEmbedder {
                row: number(row)?,
                id: EmbedderId {
                    name: row.try_get(1)?,
                    sha256: row.try_get(2)?,
                    dim: size(row, 3)?,
                },
                source: String::new(),
                has_vectors: row.try_get(4)?,
            })
        })?;
        Ok(found.pop())
    }

    pub(super) fn set_embedder(&self, id: &EmbedderId) -> Result<EmbedderRow, StoreError> {
        if let Some(known) = self.find_embedder(id)?
            && self.present_embedder()? == known.row
        {
            return Ok(known);
        }
        let row = self.transact("record the embedder", |transaction| {
            let row = transaction.query_one(
                "INSERT INTO embedders (name, sha256, dim) VALUES ($1, $2, $3)
                 ON CONFLICT (sha256, dim) DO UPDATE SET name = excluded.name RETURNING embedder_id",
                &[&id.name, &id.sha256, &(id.dim as i64)],
            )?;
            let row = number(&row)?;
            transaction.execute("UPDATE meta SET value = $1 WHERE key = 'embedder'", &[&row])?;
            Ok(row)
        })?;
        Ok(EmbedderRow { row, dim: id.dim })
    }

    /// Of the passages of these audiences those whose vectors are nearest (by the inner product), best first, equal ones by id.
    pub(super) fn nearest(
        &self,
        embedder: EmbedderRow,
        vector: &[f32],
        limit: usize,
        allowed: &AudienceSet,
    ) -> Result<Vec<(u64, f32)>, StoreError> {
        if vector.len() != embedder.dim || embedder.dim == 0 || limit == 0 {
            return Ok(Vec::new());
        }
        let sql = "SELECT v.segment_no, v.ordinal, v.data <#> $1::text::halfvec AS away
             FROM vectors v JOIN documents d ON d.segment_no = v.segment_no
             WHERE v.embedder_id = $2 AND v.data IS NOT NULL AND d.audience_id = ANY($3)
             ORDER BY away, v.segment_no, v.ordinal LIMIT $4";
        let (row, limit) = (row_of(embedder)?, limit as i64);
        let sought = written(vector);
        let numbers = allowed.numbers();
        self.list(
            "search by vectors",
            sql,
            &[&sought, &row, &numbers, &limit],
            |row| {
                let away: f64 = row.try_get(2)?;
                let ordinal: i32 = row.try_get(1)?;
                Ok((passage_id(row.try_get(0)?, ordinal.cast_unsigned()), -away as f32))
            },
        )
    }

    /// Passages that have no vector of this embedder and were not tried.
    pub(super) fn find_without_vector(
        &self,
        embedder: i64,
        limit: usize,
    ) -> Result<Vec<StoredPassage>, StoreError> {
        let sql = "SELECT p.segment_no, p.ordinal, d.document_id, d.title, p.heading_path, p.text, p.page, d.audience_id
             FROM segments s JOIN documents d ON d.segment_no = s.segment_no
                 JOIN passages p ON p.segment_no = s.segment_no
                 LEFT JOIN vectors v ON v.segment_no = p.segment_no AND v.ordinal = p.ordinal AND v.embedder_id = $1
             WHERE s.embedded_by <> $1 AND v.segment_no IS NULL
             ORDER BY hashint8extended(p.segment_no, $3), p.segment_no, p.ordinal LIMIT $2";
        let embedder = small(embedder)?;
        let limit = limit as i64;
        // Each process goes its own way through them, so that two seldom do the same.
        let way = self.way;
        self.list(
            "find passages without a vector",
            sql,
            &[&embedder, &limit, &way],
            stored_passage,
        )
    }

    /// The passages with these ids that exist, as they are embedded.
    pub(super) fn find_stored_passages(&self, ids: &[u64]) -> Result<Vec<StoredPassage>, StoreError> {
        let sql = "SELECT p.segment_no, p.ordinal, d.document_id, d.title, p.heading_path, p.text, p.page, d.audience_id
             FROM unnest($1::bigint[], $2::integer[]) AS t (s, o)
                 JOIN passages p ON p.segment_no = t.s AND p.ordinal = t.o
                 JOIN documents d ON d.segment_no = p.segment_no";
        let (segments, ordinals): (Vec<i64>, Vec<i32>) = ids.iter().map(|id| segment_of(*id)).unzip();
        self.list(
            "read passages to embed",
            sql,
            &[&segments, &ordinals],
            stored_passage,
        )
    }

    pub(super) fn count_without_vector(&self, embedder: i64) -> Result<usize, StoreError> {
        let sql = "SELECT count(*) FROM segments s JOIN passages p ON p.segment_no = s.segment_no
                 LEFT JOIN vectors v ON v.segment_no = p.segment_no AND v.ordinal = p.ordinal AND v.embedder_id = $1
             WHERE s.embedded_by <> $1 AND v.segment_no IS NULL";
        let embedder = small(embedder)?;
        let found = self.list("count passages without a vector", sql, &[&embedder], |row| {
            size(row, 0)
        })?;
        Ok(found.first().copied().unwrap_or(0))
    }

    /// Stores vectors of passages that still exist; one that could not be made is remembered, too.
    pub(super) fn store_vectors(&self, embedder: EmbedderRow, vectors: &[Made]) -> Result<(), StoreError> {
        let row = row_of(embedder)?;
        let (segments, ordinals): (Vec<i64>, Vec<i32>) =
            vectors.iter().map(|(id, _)| segment_of(*id)).unzip();
        let data: Vec<Option<String>> = vectors.iter().map(|(_, v)| v.as_deref().map(written)).collect();
        self.transact("write vectors", |transaction| {
            // What is locked here is not removed before its vectors can be seen, and removed with it.
            let there: Vec<i64> = transaction
                .query(
                    "SELECT segment_no FROM segments WHERE segment_no = ANY($1) ORDER BY segment_no FOR UPDATE",
                    &[&segments],
                )?
                .iter()
                .map(|row| Ok(row.try_get(0)?))
                .collect::<Sql<_>>()?;
            transaction.execute(
                "INSERT INTO vectors (segment_no, ordinal, embedder_id, data)
                 SELECT s, o, $4, d::halfvec FROM unnest($1::bigint[], $2::integer[], $3::text[]) AS t (s, o, d)
                 WHERE s = ANY($5)
                 ON CONFLICT (segment_no, ordinal) DO UPDATE SET embedder_id = excluded.embedder_id, data = excluded.data",
                &[&segments, &ordinals, &data, &row, &there],
            )?;
            transaction.execute(
                "UPDATE segments s SET embedded_by = $1 WHERE s.segment_no = ANY($2) AND NOT EXISTS (
                     SELECT 1 FROM passages p LEFT JOIN vectors v
                         ON v.segment_no = p.segment_no AND v.ordinal = p.ordinal AND v.embedder_id = $1
                     WHERE p.segment_no = s.segment_no AND v.segment_no IS NULL)",
                &[&row, &there],
            )?;
            Ok(())
        })
    }
}

fn stored_passage(row: &Row) -> Sql<StoredPassage> {
    let headings: Vec<String> = json(row, 4)?;
    let page: Option<i64> = row.try_get(6)?;
    let ordinal: i32 = row.try_get(1)?;
    Ok(StoredPassage {
        passage_id: passage_id(row.try_get(0)?, ordinal.cast_unsigned()),
        document_id: row.try_get(2)?,
        page: page.and_then(|page| u32::try_from(page).ok()),
        title: row.try_get(3)?,
        headings: headings.join("\n"),
        text: row.try_get(5)?,
        audience: row.try_get::<_, i32>(7)?.cast_unsigned(),
    })
}

fn number(row: &Row) -> Sql<i64> {
    Ok(i64::from(row.try_get::<_, i32>(0)?))
}

fn row_of(embedder: EmbedderRow) -> Result<i32, StoreError> {
    small(embedder.row)
}

fn small(row: i64) -> Result<i32, StoreError> {
    i32::try_from(row).map_err(|_| StoreError::Postgres {
        doing: "look up the embedder",
        place: String::new(),
        what: format!("there is no embedder {row}"),
    })
}

/// A vector as pgvector reads it.
fn written(vector: &[f32]) -> String {
    let numbers: Vec<String> = vector.iter().map(ToString::to_string).collect();
    format!("[{}]", numbers.join(","))
}
