//! The layout of `hanok.sqlite`: created, recognised, refused when newer, migrated with a backup when older.
//!
//! Not the queries: those stand in [`crate::catalog`].

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use crate::checksum::{self, Summed};
use crate::error::StoreError;
use crate::failpoint::{FailPoint, pass};

/// The layout written here. A change adds a step to [`MIGRATIONS`].
pub(crate) const SCHEMA_VERSION: i64 = 11;
/// "Hnok": tells the database apart from another program's.
const APPLICATION_ID: i64 = 0x486E_6F6B;

/// What turns layout `i + 1` into layout `i + 2`. A new database goes through all of them, so that it cannot differ from
/// one that came from an earlier version.
const MIGRATIONS: [&str; (SCHEMA_VERSION - 1) as usize] = [
    // Version 2: audiences. What was there before is for everyone, as it was.
    "CREATE TABLE audiences (audience_id INTEGER PRIMARY KEY, groups TEXT NOT NULL UNIQUE);
     INSERT INTO audiences (audience_id, groups) VALUES (1, '[]');
     ALTER TABLE documents ADD COLUMN audience_id INTEGER NOT NULL DEFAULT 1;
     INSERT INTO meta (key, value) VALUES ('audience_seq', 0);",
    // Version 3: the folders that are kept in step.
    "CREATE TABLE folders (path_bytes BLOB PRIMARY KEY) WITHOUT ROWID;",
    // Version 4: on which days documents hold, what they state, which files failed, which questions were refused. What
    // a document states is read from its text with the next ingest.
    "ALTER TABLE audiences RENAME TO audiences_before;
     CREATE TABLE audiences (
         audience_id INTEGER PRIMARY KEY,
         groups TEXT NOT NULL,
         valid_from TEXT NOT NULL DEFAULT '',
         valid_until TEXT NOT NULL DEFAULT '',
         UNIQUE (groups, valid_from, valid_until)
     );
     INSERT INTO audiences (audience_id, groups) SELECT audience_id, groups FROM audiences_before;
     DROP TABLE audiences_before;
     ALTER TABLE documents ADD COLUMN stated TEXT;
     ALTER TABLE documents ADD COLUMN owner TEXT;
     ALTER TABLE documents ADD COLUMN replaces TEXT NOT NULL DEFAULT '[]';
     CREATE TABLE failures (
         path_bytes BLOB PRIMARY KEY,
         origin TEXT NOT NULL,
         path TEXT NOT NULL,
         reason TEXT NOT NULL,
         audience_id INTEGER NOT NULL,
         failed_ms INTEGER NOT NULL
     );
     CREATE TABLE refusals (
         refusal_id INTEGER PRIMARY KEY AUTOINCREMENT,
         day TEXT NOT NULL,
         groups TEXT NOT NULL,
         words TEXT NOT NULL,
         question TEXT,
         nearest TEXT NOT NULL
     );",
    // Version 5: where words stand on pages. PDF files wait to be read again: until then, text alone is shown.
    "CREATE TABLE page_words (
         document_id TEXT NOT NULL,
         version TEXT NOT NULL,
         page INTEGER NOT NULL,
         width INTEGER NOT NULL,
         height INTEGER NOT NULL,
         words BLOB NOT NULL,
         PRIMARY KEY (document_id, version, page)
     ) WITHOUT ROWID;
     UPDATE documents SET cutter = 0 WHERE format = 'pdf';
     INSERT OR IGNORE INTO queue (path_bytes, origin, file_bytes)
         SELECT path_bytes, origin, file_bytes FROM documents WHERE format = 'pdf';",
    // Version 6: checksums of the rows that answers are made of, how many there must be, and files set aside.
    "ALTER TABLE documents ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE versions ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE passages ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE audiences ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE vectors ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
     CREATE TABLE set_aside (
         path_bytes BLOB PRIMARY KEY, origin TEXT NOT NULL, version TEXT NOT NULL, program TEXT NOT NULL,
         file_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, device INTEGER NOT NULL,
         tries INTEGER NOT NULL, reason TEXT NOT NULL, last_ms INTEGER NOT NULL) WITHOUT ROWID;
     INSERT INTO meta (key, value) SELECT 'documents', count(*) FROM documents;
     INSERT INTO meta (key, value) SELECT 'audiences', count(*) FROM audiences;",
    // Version 7: a new index beside the present one. Blocks of documents that were taken in before are read from their
    // files when they are needed.
    "ALTER TABLE documents ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
     UPDATE documents SET changed = rowid;
     CREATE INDEX documents_changed ON documents (changed);
     UPDATE meta SET value = max(value, (SELECT coalesce(max(rowid), 0) FROM documents)) WHERE key = 'index_seq';
     INSERT INTO meta (key, value) VALUES ('index_folder', 0), ('generation', 0);
     ALTER TABLE versions ADD COLUMN blocks BLOB;
     ALTER TABLE embedders ADD COLUMN source TEXT NOT NULL DEFAULT '';
     CREATE TABLE next_passages (
         passage_id INTEGER PRIMARY KEY AUTOINCREMENT,
         document_id TEXT NOT NULL,
         ordinal INTEGER NOT NULL,
         start_char INTEGER NOT NULL,
         end_char INTEGER NOT NULL,
         page INTEGER,
         heading_path TEXT NOT NULL,
         text TEXT NOT NULL,
         sum INTEGER NOT NULL DEFAULT 0,
         UNIQUE (document_id, ordinal)
     );
     ALTER TABLE vectors RENAME TO vectors_before;
     DROP INDEX vectors_of_embedder;
     CREATE TABLE vectors (
         vector_id INTEGER PRIMARY KEY AUTOINCREMENT,
         passage_id INTEGER NOT NULL,
         embedder_id INTEGER NOT NULL,
         data BLOB NOT NULL,
         sum INTEGER NOT NULL DEFAULT 0,
         UNIQUE (passage_id, embedder_id)
     );
     INSERT INTO vectors SELECT vector_id, passage_id, embedder_id, data, sum FROM vectors_before;
     DROP TABLE vectors_before;
     CREATE INDEX vectors_of_embedder ON vectors (embedder_id, vector_id, passage_id);
     CREATE TABLE reindex (
         only_one INTEGER PRIMARY KEY CHECK (only_one = 1),
         index_folder INTEGER NOT NULL,
         cutter INTEGER,
         cut_to INTEGER NOT NULL,
         embedder INTEGER NOT NULL
     );
     CREATE TABLE reindex_cut (document_id TEXT PRIMARY KEY, as_now INTEGER NOT NULL) WITHOUT ROWID;
     CREATE TABLE reindex_gone (seq INTEGER PRIMARY KEY, document_id TEXT NOT NULL);",
    // Version 8: checksums of everything that is read back.
    "ALTER TABLE documents ADD COLUMN stated_sum INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE page_words ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE failures ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE refusals ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE set_aside ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;",
    // Version 9: files that were accepted and are not taken in yet.
    "CREATE TABLE intake (
         intake_id INTEGER PRIMARY KEY AUTOINCREMENT,
         name TEXT NOT NULL,
         owner TEXT NOT NULL,
         kept TEXT NOT NULL,
         arrived TEXT NOT NULL,
         bytes INTEGER NOT NULL,
         sum INTEGER NOT NULL DEFAULT 0
     );",
    // Version 10: source code is cut at its functions. Files of it wait to be read again.
    "UPDATE documents SET cutter = 0 WHERE format = 'code';
     INSERT OR IGNORE INTO queue (path_bytes, origin, file_bytes)
         SELECT path_bytes, origin, file_bytes FROM documents WHERE format = 'code';",
    // Version 11: which pages have no text, and which texts were recognised in pictures. PDF files wait to be read again.
    "CREATE TABLE page_notes (
         document_id TEXT NOT NULL,
         version TEXT NOT NULL,
         without_text TEXT NOT NULL,
         recognised TEXT NOT NULL,
         PRIMARY KEY (document_id, version)
     ) WITHOUT ROWID;
     UPDATE documents SET cutter = 0 WHERE format = 'pdf';
     INSERT OR IGNORE INTO queue (path_bytes, origin, file_bytes)
         SELECT path_bytes, origin, file_bytes FROM documents WHERE format = 'pdf';",
];

/// The first layout; [`MIGRATIONS`] go on from here.
///
/// What holds in the present one: document and passage ids are never used twice, so an index that lags behind can name a
/// passage that is gone but never a wrong one. `index_pending` is the list of documents whose index entries are not yet
/// known to be safe on disk. Documents with the same readers that hold on the same days share a row of `audiences` (see
/// [`crate::access`] and [`crate::validity`]; an empty text is an open end); rows are never used for another audience and
/// never deleted. `sum` is the checksum of a row (see [`crate::checksum`]); `meta` counts documents and audiences, so that
/// one that vanished is missed. `set_aside` holds files that the reader died of. `stated` is what a document says of
/// itself, NULL where it was not asked yet; `owner` and `replaces` are what counts. `page_words` says where the words of
/// a page stand (see [`crate::boxes`]); sizes are in quarter points. `page_notes` has a row for versions with pages without
/// text or with recognised text.
///
/// `changed` numbers the last change of a document, in the order of `index_seq`. The row of `reindex`, if there is one, is
/// an index that is being made beside the present one (see [`crate::reindex`]): its folder (0 if the word index stays),
/// its cutter (NULL if the passages stay) and the change up to which documents are cut, its embedder (0 if the vectors
/// stay). Its passages are in `next_passages`, their ids are never those of `passages`; `reindex_cut` says of each
/// document whether it could be cut anew, `reindex_gone` which ones were erased meanwhile. `generation` is raised, and the
/// present `index_folder`, `embedder` and passages change, when the new index takes the old one's place.
const FIRST: &str = "
CREATE TABLE schema (version INTEGER NOT NULL);
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    document_id TEXT PRIMARY KEY,
    origin TEXT NOT NULL,
    path TEXT NOT NULL,
    path_bytes BLOB NOT NULL UNIQUE,
    version TEXT NOT NULL,
    title TEXT NOT NULL,
    format TEXT NOT NULL,
    n_pages INTEGER,
    n_chars INTEGER NOT NULL,
    n_passages INTEGER NOT NULL,
    file_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    device INTEGER NOT NULL,
    cutter INTEGER NOT NULL,
    ingested_ms INTEGER NOT NULL
);
CREATE TABLE versions (
    document_id TEXT NOT NULL,
    version TEXT NOT NULL,
    title TEXT NOT NULL,
    format TEXT NOT NULL,
    n_pages INTEGER,
    n_chars INTEGER NOT NULL,
    n_passages INTEGER NOT NULL,
    ingested_ms INTEGER NOT NULL,
    pages TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (document_id, version)
);
CREATE TABLE passages (
    passage_id INTEGER PRIMARY KEY AUTOINCREMENT,
    document_id TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    start_char INTEGER NOT NULL,
    end_char INTEGER NOT NULL,
    page INTEGER,
    heading_path TEXT NOT NULL,
    text TEXT NOT NULL,
    UNIQUE (document_id, ordinal)
);
CREATE TABLE embedders (
    embedder_id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    dim INTEGER NOT NULL,
    UNIQUE (sha256, dim)
);
CREATE TABLE vectors (
    vector_id INTEGER PRIMARY KEY AUTOINCREMENT,
    passage_id INTEGER NOT NULL UNIQUE,
    embedder_id INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE INDEX vectors_of_embedder ON vectors (embedder_id, vector_id, passage_id);
CREATE TABLE queue (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    path_bytes BLOB NOT NULL UNIQUE,
    origin TEXT NOT NULL,
    file_bytes INTEGER NOT NULL
);
CREATE TABLE index_pending (document_id TEXT PRIMARY KEY, seq INTEGER NOT NULL);
CREATE INDEX index_pending_order ON index_pending (seq);
INSERT INTO meta (key, value) VALUES ('embedder', 0), ('index_seq', 0), ('passages_removed', 0);
";

/// Creates, checks or migrates the layout on a writing connection.
pub(crate) fn prepare(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let fail = |error| StoreError::database("prepare the tables", path, error);
    checksum::register(connection).map_err(fail)?;
    let version = version(connection, path)?;
    if version == Some(SCHEMA_VERSION) {
        return Ok(());
    }
    if let Some(version) = version {
        back_up(connection, path, version)?;
        pass(FailPoint::LayoutBackedUp);
    }
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(fail)?;
    if version.is_none() {
        transaction.execute_batch(FIRST).map_err(fail)?;
        transaction
            .execute("INSERT INTO schema (version) VALUES (1)", [])
            .map_err(fail)?;
        transaction
            .pragma_update(None, "application_id", APPLICATION_ID)
            .map_err(fail)?;
    }
    // What is damaged stays known to be: new checksums would hide it.
    let mut damaged = Vec::new();
    for summed in Summed::ALL {
        damaged.push((summed, summed.damaged_before(&transaction).map_err(fail)?));
    }
    let done = usize::try_from(version.unwrap_or(1) - 1).unwrap_or(0);
    for step in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(step).map_err(fail)?;
    }
    transaction
        .execute("UPDATE schema SET version = ?1", [SCHEMA_VERSION])
        .map_err(fail)?;
    for (summed, rows) in damaged {
        transaction.execute(&summed.seal("true"), []).map_err(fail)?;
        summed.spoil(&transaction, &rows).map_err(fail)?;
    }
    pass(FailPoint::LayoutReady);
    transaction.commit().map_err(fail)
}

/// The database's layout; `None` if it is empty. Refuses another program's and a newer one's.
pub(crate) fn version(connection: &Connection, path: &Path) -> Result<Option<i64>, StoreError> {
    let fail = |error| StoreError::database("read the layout's version", path, error);
    let damaged = |what: &str| StoreError::Damaged {
        path: path.to_owned(),
        what: what.to_owned(),
    };
    let id: i64 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(fail)?;
    let n_tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
        .map_err(fail)?;
    if id == 0 && n_tables == 0 {
        return Ok(None);
    }
    if id != APPLICATION_ID {
        return Err(damaged("it was not written by this program"));
    }
    let found = connection
        .query_row("SELECT version FROM schema", [], |row| row.get(0))
        .optional()
        .map_err(fail)?;
    match found {
        Some(found) if found > SCHEMA_VERSION => Err(StoreError::NewerSchema {
            path: path.to_owned(),
            found,
            known: SCHEMA_VERSION,
        }),
        Some(found) if found >= 1 => Ok(Some(found)),
        _ => Err(damaged("its layout has no version")),
    }
}

/// A full copy beside the database, before anything in it is changed.
fn back_up(connection: &Connection, path: &Path, version: i64) -> Result<(), StoreError> {
    let copy = path.with_extension(format!("v{version}.backup"));
    if stdx::fs::metadata(&copy).is_ok() {
        // A migration that was cut off left it; the database is still the old one.
        stdx::fs::remove_file(&copy).map_err(StoreError::file)?;
    }
    connection
        .execute("VACUUM INTO ?1", [copy.to_string_lossy()])
        .map(drop)
        .map_err(|error| StoreError::database("back up", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Connection {
        Connection::open(path).unwrap()
    }

    #[test]
    fn a_new_database_gets_the_layout_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hanok.sqlite");
        let mut connection = open(&path);
        assert_eq!(version(&connection, &path).unwrap(), None);
        prepare(&mut connection, &path).unwrap();
        prepare(&mut connection, &path).unwrap();
        assert_eq!(version(&connection, &path).unwrap(), Some(SCHEMA_VERSION));
    }

    #[test]
    fn a_newer_layout_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hanok.sqlite");
        let mut connection = open(&path);
        prepare(&mut connection, &path).unwrap();
        connection.execute("UPDATE schema SET version = 99", []).unwrap();
        let error = prepare(&mut connection, &path).unwrap_err();
        assert!(
            matches!(error, StoreError::NewerSchema { found: 99, .. }),
            "{error}"
        );
    }

    #[test]
    fn another_programs_database_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hanok.sqlite");
        let mut connection = open(&path);
        connection.execute_batch("CREATE TABLE other (x)").unwrap();
        let error = prepare(&mut connection, &path).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }

    #[test]
    fn a_backup_holds_what_the_database_held() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hanok.sqlite");
        let mut connection = open(&path);
        prepare(&mut connection, &path).unwrap();
        back_up(&connection, &path, 1).unwrap();
        back_up(&connection, &path, 1).unwrap();
        let copy = dir.path().join("hanok.v1.backup");
        assert_eq!(version(&open(&copy), &copy).unwrap(), Some(SCHEMA_VERSION));
    }
}
