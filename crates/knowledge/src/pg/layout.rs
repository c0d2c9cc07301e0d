//! The tables: made, recognised, brought up to date, refused when newer.
//!
//! Whoever changes them is alone: others wait at a lock of the whole database.

use std::path::Path;

use postgres::Client;
use postgres::error::SqlState;

use super::{Postgres, Sql};
use crate::analyser::ANALYSER_VERSION;
use crate::error::StoreError;

/// What turns layout `i` into layout `i + 1`; the first makes everything.
///
/// What holds: a segment is what is found by the words of one version of a document. It is written with the document,
/// never changed, and goes with it; numbers are never used twice. `postings` holds, for each term, field and segment,
/// which passages have it how often and where; `documents.n_terms` how many terms its fields hold in all. Texts that are
/// ordered by are compared by their bytes. A row of `queue` that somebody reads is locked by him. An audience's row is
/// never changed or deleted.
const STEPS: &[&str] = &["
CREATE TABLE hanok.meta (key text PRIMARY KEY, value bigint NOT NULL);
INSERT INTO hanok.meta VALUES ('embedder', 0), ('analyser', 0);
CREATE TABLE hanok.audiences (
    audience_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    groups text NOT NULL,
    valid_from text NOT NULL,
    valid_until text NOT NULL,
    UNIQUE (groups, valid_from, valid_until)
);
CREATE SEQUENCE hanok.segment_numbers AS bigint;
CREATE TABLE hanok.segments (
    segment_no bigint PRIMARY KEY,
    outline bytea NOT NULL,
    embedded_by integer NOT NULL DEFAULT 0
);
CREATE TABLE hanok.documents (
    document_id text COLLATE \"C\" PRIMARY KEY,
    segment_no bigint NOT NULL UNIQUE,
    origin text NOT NULL,
    path text COLLATE \"C\" NOT NULL,
    path_bytes bytea NOT NULL UNIQUE,
    version text NOT NULL,
    title text NOT NULL,
    format text NOT NULL,
    n_pages integer,
    n_chars bigint NOT NULL,
    n_passages bigint NOT NULL,
    n_terms bigint[] NOT NULL,
    file_bytes bigint NOT NULL,
    mtime_ns bigint NOT NULL,
    ctime_ns bigint NOT NULL,
    device bigint NOT NULL,
    cutter bigint NOT NULL,
    ingested_ms bigint NOT NULL,
    audience_id integer NOT NULL REFERENCES hanok.audiences,
    stated text,
    owner text,
    replaces text NOT NULL
);
CREATE TABLE hanok.versions (
    document_id text COLLATE \"C\" NOT NULL,
    version text NOT NULL,
    title text NOT NULL,
    format text NOT NULL,
    n_pages integer,
    n_chars bigint NOT NULL,
    n_passages bigint NOT NULL,
    ingested_ms bigint NOT NULL,
    pages text NOT NULL,
    text text NOT NULL,
    without_text text NOT NULL,
    recognised text NOT NULL,
    PRIMARY KEY (document_id, version)
);
CREATE TABLE hanok.page_words (
    document_id text COLLATE \"C\" NOT NULL,
    version text NOT NULL,
    page bigint NOT NULL,
    width bigint NOT NULL,
    height bigint NOT NULL,
    words bytea NOT NULL,
    PRIMARY KEY (document_id, version, page)
);
CREATE TABLE hanok.passages (
    segment_no bigint NOT NULL,
    ordinal integer NOT NULL,
    start_char bigint NOT NULL,
    end_char bigint NOT NULL,
    page bigint,
    heading_path text NOT NULL,
    text text NOT NULL,
    PRIMARY KEY (segment_no, ordinal)
);
CREATE TABLE hanok.postings (
    term text COLLATE \"C\" NOT NULL,
    field smallint NOT NULL,
    segment_no bigint NOT NULL,
    n_passages integer NOT NULL,
    counts bytea NOT NULL,
    places bytea,
    PRIMARY KEY (term, field, segment_no)
);
CREATE INDEX postings_of_segment ON hanok.postings (segment_no);
CREATE TABLE hanok.embedders (
    embedder_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    sha256 text NOT NULL,
    dim bigint NOT NULL,
    UNIQUE (sha256, dim)
);
CREATE TABLE hanok.vectors (
    segment_no bigint NOT NULL,
    ordinal integer NOT NULL,
    embedder_id integer NOT NULL,
    data halfvec,
    PRIMARY KEY (segment_no, ordinal)
);
CREATE TABLE hanok.queue (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    path_bytes bytea NOT NULL UNIQUE,
    origin text NOT NULL,
    file_bytes bigint NOT NULL,
    node text NOT NULL
);
CREATE TABLE hanok.uploads (path_bytes bytea PRIMARY KEY, bytes bytea NOT NULL);
CREATE TABLE hanok.folders (path_bytes bytea PRIMARY KEY);
CREATE TABLE hanok.failures (
    path_bytes bytea PRIMARY KEY,
    origin text NOT NULL,
    path text COLLATE \"C\" NOT NULL,
    reason text NOT NULL,
    audience_id integer NOT NULL REFERENCES hanok.audiences,
    failed_ms bigint NOT NULL
);
CREATE TABLE hanok.set_aside (
    path_bytes bytea PRIMARY KEY,
    origin text NOT NULL,
    version text NOT NULL,
    program text NOT NULL,
    file_bytes bigint NOT NULL,
    mtime_ns bigint NOT NULL,
    ctime_ns bigint NOT NULL,
    device bigint NOT NULL,
    tries bigint NOT NULL,
    reason text NOT NULL,
    last_ms bigint NOT NULL
);
CREATE TABLE hanok.refusals (
    refusal_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    day text NOT NULL,
    groups text NOT NULL,
    words text NOT NULL,
    question text,
    nearest text NOT NULL
);
CREATE TABLE hanok.intake (
    intake_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    node text NOT NULL,
    name text NOT NULL,
    owner text NOT NULL,
    kept text NOT NULL,
    arrived text NOT NULL,
    bytes bigint NOT NULL
);
CREATE TABLE hanok.rules (name text PRIMARY KEY, text text NOT NULL);
"];

/// Whoever changes the layout holds this lock ("Hnok").
const LOCK: i64 = 0x486E_6F6B;

impl Postgres {
    /// Makes the tables or brings them up to date.
    pub(super) fn prepare_layout(&self) -> Result<(), StoreError> {
        let known = STEPS.len() as i64;
        let found = self.with("prepare the tables", |client| {
            let mut transaction = client.transaction()?;
            transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])?;
            let found = version(&mut transaction)?;
            let Some(steps) = usize::try_from(found).ok().and_then(|done| STEPS.get(done..)) else {
                return Ok(found);
            };
            if !steps.is_empty() {
                transaction.batch_execute(
                    "CREATE SCHEMA IF NOT EXISTS hanok; CREATE EXTENSION IF NOT EXISTS vector;
                     CREATE TABLE IF NOT EXISTS hanok.layout (version bigint NOT NULL)",
                )?;
                for step in steps {
                    transaction.batch_execute(step)?;
                }
                transaction.execute("DELETE FROM hanok.layout", &[])?;
                transaction.execute("INSERT INTO hanok.layout VALUES ($1)", &[&known])?;
            }
            transaction.commit()?;
            Ok(found)
        });
        let found = found.map_err(|error| self.with_hint(error))?;
        if found > known {
            return Err(self.newer(found));
        }
        self.refresh_words()
    }

    /// Whether there are tables of this layout and with the terms of this analyser.
    pub(super) fn check_layout(&self, dir: &Path) -> Result<(), StoreError> {
        let known = STEPS.len() as i64;
        let found = self.with("read the layout's version", |client| {
            let mut transaction = client.transaction()?;
            version(&mut transaction)
        })?;
        if found == 0 {
            return Err(StoreError::NotAStore { dir: dir.to_owned() });
        }
        if found > known {
            return Err(self.newer(found));
        }
        let analyser = if found == known {
            self.with("read the analyser's version", |client| meta(client, "analyser"))?
        } else {
            0
        };
        if found < known || analyser != i64::from(ANALYSER_VERSION) {
            return Err(StoreError::OlderSchema {
                path: self.address.shown().into(),
                found,
                known,
            });
        }
        Ok(())
    }

    fn newer(&self, found: i64) -> StoreError {
        StoreError::NewerSchema {
            path: self.address.shown().into(),
            found,
            known: STEPS.len() as i64,
        }
    }

    /// Says what to do where the tables cannot be made.
    fn with_hint(&self, error: StoreError) -> StoreError {
        let StoreError::Postgres { doing, place, what } = error else {
            return error;
        };
        let lacks = |code: &SqlState| what.contains(code.code());
        let hint = if what.contains("\"vector\"") {
            "; pgvector must be installed there, and whoever runs the server says once in this database: CREATE EXTENSION \
             vector"
        } else if lacks(&SqlState::INSUFFICIENT_PRIVILEGE) {
            "; the user needs the right to make a schema in this database (GRANT CREATE ON DATABASE …)"
        } else {
            ""
        };
        StoreError::Postgres {
            doing,
            place,
            what: format!("{what}{hint}"),
        }
    }
}

/// A counter.
pub(super) fn meta(client: &mut Client, key: &str) -> Sql<i64> {
    Ok(client
        .query_one("SELECT value FROM meta WHERE key = $1", &[&key])?
        .try_get(0)?)
}

/// The layout's version; 0 where there is none.
fn version(transaction: &mut postgres::Transaction<'_>) -> Sql<i64> {
    let is_there: bool = transaction
        .query_one("SELECT to_regclass('hanok.layout') IS NOT NULL", &[])?
        .try_get(0)?;
    if !is_there {
        return Ok(0);
    }
    let row = transaction.query_opt("SELECT version FROM hanok.layout", &[])?;
    Ok(row.map_or(Ok(0), |row| row.try_get(0))?)
}
