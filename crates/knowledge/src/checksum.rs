//! Checksums of rows: what the disk gives back is what was written, or it is an error.
//!
//! SQLite finds damage of its own structures, never of a letter in a text. So the rows that answers are made of carry a
//! checksum of their columns, compared whenever one of them is read.

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

/// A table whose rows carry a checksum in their column `sum`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Summed {
    Documents,
    Versions,
    Passages,
    Audiences,
    Vectors,
}

impl Summed {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Documents,
        Self::Versions,
        Self::Passages,
        Self::Audiences,
        Self::Vectors,
    ];

    /// The table's name.
    pub(crate) fn table(self) -> &'static str {
        match self {
            Self::Documents => "documents",
            Self::Versions => "versions",
            Self::Passages => "passages",
            Self::Audiences => "audiences",
            Self::Vectors => "vectors",
        }
    }

    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Documents => DOCUMENT,
            Self::Versions => VERSION,
            Self::Passages => PASSAGE,
            Self::Audiences => AUDIENCE,
            Self::Vectors => VECTOR,
        }
    }

    /// The checksum of a row of the table that a query calls `alias`, as an SQL expression.
    fn of(self, alias: &str) -> String {
        let columns: Vec<String> = self.columns().iter().map(|c| format!("{alias}.{c}")).collect();
        format!("row_sum({})", columns.join(", "))
    }

    /// Whether the row that a query calls `alias` is as it was written, as an SQL expression.
    pub(crate) fn is_intact(self, alias: &str) -> String {
        format!("({alias}.sum IS {})", self.of(alias))
    }

    /// Writes the checksums of the rows of which `condition` holds.
    pub(crate) fn seal(self, condition: &str) -> String {
        let table = self.table();
        format!("UPDATE {table} SET sum = {} WHERE {condition}", self.of(table))
    }
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
