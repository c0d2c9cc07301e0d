//! Checksums of rows: what the disk gives back is what was written, or it is an error.
//!
//! SQLite finds damage of its own structures, never of a letter in a text. So rows carry a checksum of their columns,
//! compared whenever one of them is read.

use rusqlite::functions::FunctionFlags;
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, Row};

/// Columns of a document that answers depend on.
const DOCUMENT: &[&str] = &[
    "document_id",
    "path",
    "path_bytes",
    "version",
    "title",
    "format",
    "n_pages",
    "n_chars",
    "n_passages",
    "ingested_ms",
    "audience_id",
    "owner",
    "replaces",
];
const VERSION: &[&str] = &[
    "document_id",
    "version",
    "title",
    "format",
    "n_pages",
    "n_chars",
    "n_passages",
    "ingested_ms",
    "pages",
    "text",
    "blocks",
];
const PASSAGE: &[&str] = &[
    "passage_id",
    "document_id",
    "ordinal",
    "start_char",
    "end_char",
    "page",
    "heading_path",
    "text",
];
const AUDIENCE: &[&str] = &["audience_id", "groups", "valid_from", "valid_until"];
const VECTOR: &[&str] = &["passage_id", "embedder_id", "data"];

const STATED: &[&str] = &["document_id", "stated"];
const PAGE_WORDS: &[&str] = &["document_id", "version", "page", "width", "height", "words"];
const FAILURE: &[&str] = &[
    "path_bytes",
    "origin",
    "path",
    "reason",
    "audience_id",
    "failed_ms",
];
const REFUSAL: &[&str] = &["refusal_id", "day", "groups", "words", "question", "nearest"];
const SET_ASIDE: &[&str] = &[
    "path_bytes",
    "origin",
    "version",
    "program",
    "file_bytes",
    "mtime_ns",
    "ctime_ns",
    "device",
    "tries",
    "reason",
    "last_ms",
];

const INTAKE: &[&str] = &["intake_id", "name", "owner", "kept", "arrived", "bytes"];

/// What carries a checksum: rows of a table, or a part of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Summed {
    Documents,
    /// What documents say of themselves, which no answer is made of: so it has a checksum of its own.
    Stated,
    Versions,
    Passages,
    Audiences,
    Vectors,
    PageWords,
    Failures,
    Refusals,
    SetAside,
    Intake,
}

impl Summed {
    /// All of them.
    pub(crate) const ALL: [Self; 11] = [
        Self::Documents,
        Self::Stated,
        Self::Versions,
        Self::Passages,
        Self::Audiences,
        Self::Vectors,
        Self::PageWords,
        Self::Failures,
        Self::Refusals,
        Self::SetAside,
        Self::Intake,
    ];

    /// The table's name, the column that holds the checksum, and those that it is of.
    fn layout(self) -> (&'static str, &'static str, &'static [&'static str]) {
        match self {
            Self::Documents => ("documents", "sum", DOCUMENT),
            Self::Stated => ("documents", "stated_sum", STATED),
            Self::Versions => ("versions", "sum", VERSION),
            Self::Passages => ("passages", "sum", PASSAGE),
            Self::Audiences => ("audiences", "sum", AUDIENCE),
            Self::Vectors => ("vectors", "sum", VECTOR),
            Self::PageWords => ("page_words", "sum", PAGE_WORDS),
            Self::Failures => ("failures", "sum", FAILURE),
            Self::Refusals => ("refusals", "sum", REFUSAL),
            Self::SetAside => ("set_aside", "sum", SET_ASIDE),
            Self::Intake => ("intake", "sum", INTAKE),
        }
    }

    /// The table's name.
    pub(crate) fn table(self) -> &'static str {
        self.layout().0
    }

    /// The checksum of a row of the table that a query calls `alias`, as an SQL expression.
    fn of(self, alias: &str, columns: &[&str]) -> String {
        let columns: Vec<String> = columns.iter().map(|c| format!("{alias}.{c}")).collect();
        format!("row_sum({})", columns.join(", "))
    }

    /// Whether the row that a query calls `alias` is as it was written, as an SQL expression.
    pub(crate) fn is_intact(self, alias: &str) -> String {
        let (_, sum, columns) = self.layout();
        format!("({alias}.{sum} IS {})", self.of(alias, columns))
    }

    /// Writes the checksums of the rows of which `condition` holds.
    pub(crate) fn seal(self, condition: &str) -> String {
        let (table, sum, columns) = self.layout();
        format!(
            "UPDATE {table} SET {sum} = {} WHERE {condition}",
            self.of(table, columns)
        )
    }

    /// The rows of an older layout that are not as they were written: there, a checksum is of those of its columns that
    /// the table has. None where rows had no checksum.
    pub(crate) fn damaged_before(self, connection: &Connection) -> rusqlite::Result<Vec<i64>> {
        let (table, sum, columns) = self.layout();
        let there: Vec<String> = connection
            .prepare("SELECT name FROM pragma_table_info(?1)")?
            .query_map([table], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let has = |column: &str| there.iter().any(|name| name == column);
        if !has(sum) || !Self::HAVE_ROW_IDS.contains(&self) {
            return Ok(Vec::new());
        }
        let columns: Vec<&str> = columns.iter().copied().filter(|column| has(column)).collect();
        let of = self.of("t", &columns);
        connection
            .prepare(&format!(
                "SELECT t.rowid FROM {table} t WHERE t.{sum} IS NOT {of}"
            ))?
            .query_map([], |row| row.get(0))?
            .collect()
    }

    /// Marks rows so that no checksum fits them.
    pub(crate) fn spoil(self, connection: &Connection, rows: &[i64]) -> rusqlite::Result<()> {
        let (table, sum, _) = self.layout();
        if rows.is_empty() {
            return Ok(());
        }
        let mut update = connection.prepare(&format!("UPDATE {table} SET {sum} = -1 WHERE rowid = ?1"))?;
        rows.iter().try_for_each(|row| update.execute([row]).map(drop))
    }

    /// What is only remembered, and may be forgotten.
    pub(crate) const ONLY_REMEMBERED: [Self; 4] =
        [Self::Failures, Self::Refusals, Self::SetAside, Self::Intake];

    /// Tables whose rows have numbers of their own.
    const HAVE_ROW_IDS: [Self; 9] = [
        Self::Documents,
        Self::Stated,
        Self::Versions,
        Self::Passages,
        Self::Audiences,
        Self::Vectors,
        Self::Failures,
        Self::Refusals,
        Self::Intake,
    ];
}

/// Teaches a connection the function `row_sum`: CRC-32 over the kind, length and bytes of each of its arguments.
pub(crate) fn register(connection: &Connection) -> rusqlite::Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function(c"row_sum", -1, flags, |arguments| {
        let mut sum = crc32fast::Hasher::new();
        for i in 0..arguments.len() {
            let value = arguments.get_raw(i);
            sum.update(&[kind(value)]);
            match value {
                ValueRef::Null => {}
                ValueRef::Integer(number) => sum.update(&number.to_le_bytes()),
                ValueRef::Real(number) => sum.update(&number.to_le_bytes()),
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                    sum.update(&(bytes.len() as u64).to_le_bytes());
                    sum.update(bytes);
                }
            }
        }
        Ok(i64::from(sum.finalize()))
    })
}

fn kind(value: ValueRef<'_>) -> u8 {
    match value {
        ValueRef::Null => 0,
        ValueRef::Integer(_) => 1,
        ValueRef::Real(_) => 2,
        ValueRef::Text(_) => 3,
        ValueRef::Blob(_) => 4,
    }
}

/// Fails where the column says that a row is not as it was written.
pub(crate) fn demand(row: &Row<'_>, column: usize) -> rusqlite::Result<()> {
    if row.get::<_, bool>(column)? {
        Ok(())
    } else {
        Err(damaged(column, "a row is not as it was written"))
    }
}

/// An error that says what is damaged.
pub(crate) fn damaged(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Integer, what.into())
}
