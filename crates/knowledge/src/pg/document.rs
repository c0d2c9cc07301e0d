//! One document in the tables: its row, its version, its passages and its words, written and removed together.

use postgres::{GenericClient, Transaction};

use super::inverted::{Inverted, Written};
use super::read::json;
use super::{Failed, Sql};
use crate::access::Audience;
use crate::boxes;
use crate::catalog::{NewDocument, Standing};
use crate::prepare::{Prepared, PreparedPassage};
use crate::validity::Validity;

pub(super) fn inverted(title: &str, passages: &[PreparedPassage]) -> Inverted {
    let written: Vec<Written<'_>> = passages
        .iter()
        .map(|passage| Written {
            page: passage.page,
            headings: &passage.heading_path,
            text: &passage.text,
        })
        .collect();
    Inverted::of(title, &written)
}

pub(super) fn put_document(
    client: &mut impl GenericClient,
    new: &NewDocument<'_>,
    prepared: &Prepared,
    inverted: &Inverted,
) -> Sql<()> {
    lock_document(client, new.document_id)?;
    let before = client.query_opt(
        "SELECT segment_no FROM documents WHERE document_id = $1",
        &[&new.document_id],
    )?;
    let before: Option<i64> = before.map(|row| row.try_get(0)).transpose()?;
    let segment = put_segment(client, inverted, &prepared.passages)?;
    if let Some(before) = before {
        if passages_of(client, before)? == prepared.passages {
            // Passages that stay as they were keep their vectors.
            take_over_vectors(client, segment, before)?;
        }
        // The document's row names the segment, which goes first.
        client.execute(
            "DELETE FROM documents WHERE document_id = $1",
            &[&new.document_id],
        )?;
        drop_segment(client, before)?;
    }
    put_row(client, new, prepared, segment, inverted)?;
    put_version(client, new, prepared)?;
    client.execute("DELETE FROM set_aside WHERE path_bytes = $1", &[&new.path_bytes])?;
    unqueue(client, new.path_bytes)
}

/// Lets nobody else write this document until the transaction ends.
pub(super) fn lock_document(client: &mut impl GenericClient, document_id: &str) -> Sql<()> {
    client.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
        &[&document_id],
    )?;
    Ok(())
}

fn put_words(client: &mut impl GenericClient, segment: i64, inverted: &Inverted) -> Sql<()> {
    client.execute(
        "INSERT INTO segments (segment_no, outline) VALUES ($1, $2)",
        &[&segment, &inverted.outline.to_bytes()],
    )?;
    let rows = &inverted.postings;
    let terms: Vec<&str> = rows.iter().map(|row| row.term.as_str()).collect();
    let fields: Vec<i16> = rows.iter().map(|row| row.field as i16).collect();
    let n: Vec<i32> = rows.iter().map(|row| row.n_passages as i32).collect();
    let counts: Vec<&[u8]> = rows.iter().map(|row| row.counts.as_slice()).collect();
    let places: Vec<Option<&[u8]>> = rows.iter().map(|row| row.places.as_deref()).collect();
    client.execute(
        "INSERT INTO postings (segment_no, term, field, n_passages, counts, places)
         SELECT $1, * FROM unnest($2::text[], $3::smallint[], $4::integer[], $5::bytea[], $6::bytea[])",
        &[&segment, &terms, &fields, &n, &counts, &places],
    )?;
    Ok(())
}

/// Writes words and passages as a segment of a new number, which it returns.
fn put_segment(
    client: &mut impl GenericClient,
    inverted: &Inverted,
    passages: &[PreparedPassage],
) -> Sql<i64> {
    let segment: i64 = client
        .query_one("SELECT nextval('segment_numbers')", &[])?
        .try_get(0)?;
    put_words(client, segment, inverted)?;
    put_passages(client, segment, passages)?;
    Ok(segment)
}

/// Gives the vectors of a segment to another one with the same passages.
fn take_over_vectors(client: &mut impl GenericClient, segment: i64, before: i64) -> Sql<()> {
    client.execute(
        "UPDATE segments SET embedded_by = (SELECT embedded_by FROM segments WHERE segment_no = $2)
         WHERE segment_no = $1",
        &[&segment, &before],
    )?;
    client.execute(
        "UPDATE vectors SET segment_no = $1 WHERE segment_no = $2",
        &[&segment, &before],
    )?;
    Ok(())
}

fn put_passages(client: &mut impl GenericClient, segment: i64, passages: &[PreparedPassage]) -> Sql<()> {
    let ordinals: Vec<i32> = (0..passages.len() as i32).collect();
    let starts: Vec<i64> = passages.iter().map(|passage| passage.start as i64).collect();
    let ends: Vec<i64> = passages.iter().map(|passage| passage.end as i64).collect();
    let pages: Vec<Option<i64>> = passages
        .iter()
        .map(|passage| passage.page.map(i64::from))
        .collect();
    let headings: Vec<String> = passages
        .iter()
        .map(|passage| serde_json::to_string(&passage.heading_path))
        .collect::<Result<_, _>>()?;
    let texts: Vec<&str> = passages.iter().map(|passage| passage.text.as_str()).collect();
    client.execute(
        "INSERT INTO passages (segment_no, ordinal, start_char, end_char, page, heading_path, text)
         SELECT $1, * FROM unnest($2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[])",
        &[&segment, &ordinals, &starts, &ends, &pages, &headings, &texts],
    )?;
    Ok(())
}

fn put_row(
    client: &mut impl GenericClient,
    new: &NewDocument<'_>,
    prepared: &Prepared,
    segment: i64,
    inverted: &Inverted,
) -> Sql<()> {
    let standing = Standing::of(new.audience, new.ruled, &prepared.stated);
    let audience = audience_row(client, &standing.audience, standing.validity)?;
    client.execute(
        "INSERT INTO documents
             (document_id, segment_no, origin, path, path_bytes, version, title, format, n_pages, n_chars, n_passages,
              n_terms, file_bytes, mtime_ns, ctime_ns, device, cutter, ingested_ms, audience_id, stated, owner, replaces)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)",
        &[
            &new.document_id,
            &segment,
            &new.origin.name(),
            &storable(new.path),
            &new.path_bytes,
            &new.version,
            &storable(&prepared.title),
            &prepared.format,
            &n_pages(prepared),
            &(prepared.n_chars as i64),
            &(prepared.passages.len() as i64),
            &inverted.outline.totals(),
            &new.stat.bytes.cast_signed(),
            &new.stat.mtime_ns,
            &new.stat.ctime_ns,
            &new.stat.device.cast_signed(),
            &prepared.cutter,
            &new.now_ms,
            &audience,
            &storable(&serde_json::to_string(&prepared.stated)?),
            &standing.owner.as_deref().map(storable),
            &storable(&serde_json::to_string(&standing.replaces)?),
        ],
    )?;
    Ok(())
}

fn put_version(client: &mut impl GenericClient, new: &NewDocument<'_>, prepared: &Prepared) -> Sql<()> {
    let pages: Vec<(u32, usize, usize)> = prepared.pages.iter().map(|p| (p.page, p.start, p.end)).collect();
    client.execute(
        "INSERT INTO versions (document_id, version, title, format, n_pages, n_chars, n_passages, ingested_ms, pages, text,
              without_text, recognised)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (document_id, version) DO UPDATE SET title = excluded.title, format = excluded.format,
             n_pages = excluded.n_pages, n_chars = excluded.n_chars, n_passages = excluded.n_passages,
             ingested_ms = excluded.ingested_ms, pages = excluded.pages, text = excluded.text,
             without_text = excluded.without_text, recognised = excluded.recognised",
        &[
            &new.document_id,
            &new.version,
            &storable(&prepared.title),
            &prepared.format,
            &n_pages(prepared),
            &(prepared.n_chars as i64),
            &(prepared.passages.len() as i64),
            &new.now_ms,
            &serde_json::to_string(&pages)?,
            &prepared.text,
            &serde_json::to_string(&prepared.without_text)?,
            &serde_json::to_string(&prepared.recognised)?,
        ],
    )?;
    client.execute(
        "DELETE FROM page_words WHERE document_id = $1 AND version = $2",
        &[&new.document_id, &new.version],
    )?;
    for page in &prepared.page_words {
        let packed = boxes::pack(&page.words).map_err(|error| Failed::Other(error.to_string()))?;
        let [width, height] = page.size.map(i64::from);
        client.execute(
            "INSERT INTO page_words (document_id, version, page, width, height, words) VALUES ($1, $2, $3, $4, $5, $6)",
            &[&new.document_id, &new.version, &i64::from(page.page), &width, &height, &packed],
        )?;
    }
    Ok(())
}

/// The passages of a segment as they were cut.
fn passages_of(client: &mut impl GenericClient, segment: i64) -> Sql<Vec<PreparedPassage>> {
    let rows = client.query(
        "SELECT start_char, end_char, page, heading_path, text FROM passages WHERE segment_no = $1 ORDER BY ordinal",
        &[&segment],
    )?;
    rows.iter()
        .map(|row| {
            let page: Option<i64> = row.try_get(2)?;
            Ok(PreparedPassage {
                start: super::read::size(row, 0)?,
                end: super::read::size(row, 1)?,
                page: page.and_then(|page| u32::try_from(page).ok()),
                heading_path: json(row, 3)?,
                text: row.try_get(4)?,
            })
        })
        .collect()
}

/// Removes a segment; its row first, so that whoever writes vectors for it has ended or finds it gone.
pub(super) fn drop_segment(client: &mut impl GenericClient, segment: i64) -> Sql<()> {
    for table in ["segments", "vectors", "passages", "postings"] {
        client.execute(&format!("DELETE FROM {table} WHERE segment_no = $1"), &[&segment])?;
    }
    Ok(())
}

/// Writes a document's words with the present analyser, as a segment of a new number.
pub(super) fn rewrite_words(transaction: &mut Transaction<'_>, document_id: &str) -> Sql<()> {
    lock_document(transaction, document_id)?;
    let row = transaction.query_opt(
        "SELECT segment_no, title FROM documents WHERE document_id = $1",
        &[&document_id],
    )?;
    let Some(row) = row else { return Ok(()) };
    let (before, title): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
    let passages = passages_of(transaction, before)?;
    let inverted = inverted(&title, &passages);
    let segment = put_segment(transaction, &inverted, &passages)?;
    take_over_vectors(transaction, segment, before)?;
    transaction.execute(
        "UPDATE documents SET segment_no = $2, n_terms = $3 WHERE document_id = $1",
        &[&document_id, &segment, &inverted.outline.totals()],
    )?;
    drop_segment(transaction, before)
}

/// Takes a file off the queue; what is said of its failure holds no more.
pub(super) fn unqueue(client: &mut impl GenericClient, path_bytes: &[u8]) -> Sql<()> {
    client.execute("DELETE FROM failures WHERE path_bytes = $1", &[&path_bytes])?;
    client.execute("DELETE FROM queue WHERE path_bytes = $1", &[&path_bytes])?;
    Ok(())
}

/// The row of an audience and the days on which its documents hold, made where it is missing.
pub(super) fn audience_row(
    client: &mut impl GenericClient,
    audience: &Audience,
    validity: Validity,
) -> Sql<i32> {
    let day = |date: Option<stdx::date::Date>| date.map(|date| date.to_string()).unwrap_or_default();
    let (groups, from, until) = (audience.to_json(), day(validity.from), day(validity.until));
    let select =
        "SELECT audience_id FROM audiences WHERE groups = $1 AND valid_from = $2 AND valid_until = $3";
    // Looked for first: an insertion that comes too late uses a number up.
    if let Some(row) = client.query_opt(select, &[&groups, &from, &until])? {
        return Ok(row.try_get(0)?);
    }
    client.execute(
        "INSERT INTO audiences (groups, valid_from, valid_until) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        &[&groups, &from, &until],
    )?;
    Ok(client.query_one(select, &[&groups, &from, &until])?.try_get(0)?)
}

fn n_pages(prepared: &Prepared) -> Option<i32> {
    prepared.n_pages.and_then(|n| i32::try_from(n).ok())
}

/// PostgreSQL keeps no NUL in a text. Texts of documents hold none; titles, paths and reasons may.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}
