//! Files that the reader died of, time and again: set aside with their reason, so that not every ingest tries them anew.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::write::as_i64;
use super::{Catalog, Origin, QueueEntry, Stat};
use crate::checksum::Summed;
use crate::error::StoreError;

/// The version of this program: a newer one may read what this one dies of.
const PROGRAM: &str = env!("CARGO_PKG_VERSION");

/// What is remembered of a file that the reader died of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetAside {
    pub(crate) path_bytes: Vec<u8>,
    pub(crate) origin: Origin,
    /// Of its bytes.
    pub(crate) version: String,
    pub(crate) stat: Stat,
    pub(crate) tries: u32,
    pub(crate) reason: String,
    pub(crate) last_ms: i64,
}

const COLUMNS: &str =
    "path_bytes, origin, version, file_bytes, mtime_ns, ctime_ns, device, tries, reason, last_ms";

impl Catalog {
    /// Records that the reader died of these bytes; returns how often it has by now.
    pub(crate) fn put_aside(
        &self,
        connection: &mut Connection,
        entry: &QueueEntry,
        version: &str,
        stat: Stat,
        reason: &str,
    ) -> Result<u32, StoreError> {
        self.transact(connection, "set a file aside", |tx| {
            tx.execute(
                "INSERT INTO set_aside (path_bytes, origin, version, program, file_bytes, mtime_ns, ctime_ns, device,
                                        tries, reason, last_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, ?9, ?10)
                 ON CONFLICT (path_bytes) DO UPDATE SET
                     tries = iif(version = excluded.version AND program = excluded.program, tries + 1, 1),
                     version = excluded.version, program = excluded.program, file_bytes = excluded.file_bytes,
                     mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns, device = excluded.device,
                     reason = excluded.reason, last_ms = excluded.last_ms",
                params![
                    entry.path_bytes,
                    entry.origin.name(),
                    version,
                    PROGRAM,
                    as_i64(stat.bytes),
                    stat.mtime_ns,
                    stat.ctime_ns,
                    stat.device.cast_signed(),
                    reason,
                    stdx::clock::unix_ms(),
                ],
            )?;
            tx.execute(&Summed::SetAside.seal("path_bytes = ?1"), [&entry.path_bytes])?;
            tx.query_row(
                "SELECT tries FROM set_aside WHERE path_bytes = ?1",
                [&entry.path_bytes],
                |row| row.get(0),
            )
        })
    }

    /// What is remembered of a file, unless another version of this program met it; what is damaged is not remembered.
    pub(crate) fn aside(&self, path_bytes: &[u8]) -> Result<Option<SetAside>, StoreError> {
        self.read("look up a file set aside", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM set_aside WHERE path_bytes = ?1 AND program = ?2 AND {}",
                    Summed::SetAside.is_intact("set_aside")
                ))?
                .query_row(params![path_bytes, PROGRAM], set_aside)
                .optional()
        })
    }

    /// All that were tried at least so often, by path.
    pub(crate) fn all_aside(&self, tries_min: u32) -> Result<Vec<SetAside>, StoreError> {
        self.read("list the files set aside", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM set_aside WHERE tries >= ?1 AND program = ?2 AND {} ORDER BY path_bytes",
                    Summed::SetAside.is_intact("set_aside")
                ))?
                .query_map(params![tries_min, PROGRAM], set_aside)?
                .collect()
        })
    }

    /// Forgets that a file was set aside, so that it is tried again.
    pub(crate) fn drop_aside(
        &self,
        connection: &mut Connection,
        path_bytes: &[u8],
    ) -> Result<(), StoreError> {
        self.transact(connection, "try a file set aside again", |tx| {
            tx.execute("DELETE FROM set_aside WHERE path_bytes = ?1", [path_bytes])
                .map(drop)
        })
    }

    /// Forgets every file set aside, so that it is tried again.
    pub(crate) fn clear_aside(&self, connection: &mut Connection) -> Result<(), StoreError> {
        self.transact(connection, "try files set aside again", |tx| {
            tx.execute("DELETE FROM set_aside", []).map(drop)
        })
    }
}

fn set_aside(row: &Row<'_>) -> rusqlite::Result<SetAside> {
    Ok(SetAside {
        path_bytes: row.get(0)?,
        origin: Origin::from_name(&row.get::<_, String>(1)?),
        version: row.get(2)?,
        stat: Stat {
            bytes: row.get::<_, i64>(3)?.cast_unsigned(),
            mtime_ns: row.get(4)?,
            ctime_ns: row.get(5)?,
            device: row.get::<_, i64>(6)?.cast_unsigned(),
        },
        tries: row.get(7)?,
        reason: row.get(8)?,
        last_ms: row.get(9)?,
    })
}
