//! The catalog: `hanok.sqlite`, the truth about documents, passages, vectors and the queue.
//!
//! Not the word index, which can always be made again from here.

mod aside;
mod intake;
mod moved;
mod notes;
mod quality;
mod read;
mod reindex;
mod standing;
mod vectors;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::checksum;
use crate::error::StoreError;
use crate::schema;

pub(crate) use aside::SetAside;
pub(crate) use intake::IntakeRow;
pub(crate) use moved::{Gone, MovedTo};
pub(crate) use quality::{FailureRow, Paged, RefusalRow, StreamedDocument};
pub(crate) use read::{
    AudienceSet, Counts, PassageRow, Passages, Side, StoredDocument, StoredPages, StoredPassage, meta,
};
pub(crate) use reindex::{Building, Change, Cut, CutSource, PresentEmbedder};
pub(crate) use standing::{Known, Moved, Standing};
pub(crate) use write::{Marks, NewDocument, QueueEntry, bad_vectors};

/// How long a statement waits for another process's commit.
const BUSY_MAX: Duration = Duration::from_secs(10);
/// Read connections kept open; more are opened and closed as needed.
const IDLE_CONNECTIONS_MAX: usize = 8;

/// Where a document comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A file that stays where it is.
    File,
    /// A file that was handed over and is kept in the data directory.
    Upload,
    /// A copy in the data directory of something that lies elsewhere; its path is relative to the data directory.
    Source,
}

impl Origin {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Upload => "upload",
            Self::Source => "source",
        }
    }

    pub(crate) fn from_name(name: &str) -> Self {
        match name {
            "upload" => Self::Upload,
            "source" => Self::Source,
            _ => Self::File,
        }
    }
}

/// What tells whether a file may have changed since it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) bytes: u64,
    pub(crate) mtime_ns: i64,
    /// Changes also when somebody sets the modification time back.
    pub(crate) ctime_ns: i64,
    pub(crate) device: u64,
}

/// The database file and its reading connections.
pub(crate) struct Catalog {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Catalog {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            idle: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The one writing connection: created, checked, migrated.
    pub(crate) fn writer(&self) -> Result<Connection, StoreError> {
        let fail = |error| StoreError::database("open", &self.path, error);
        let mut connection = Connection::open(&self.path).map_err(fail)?;
        set_up(&connection).map_err(fail)?;
        keep_log(&connection).map_err(fail)?;
        // An acknowledged commit survives a power cut.
        connection
            .pragma_update(None, "synchronous", "FULL")
            .map_err(fail)?;
        schema::prepare(&mut connection, &self.path)?;
        Ok(connection)
    }

    /// Runs a query on a reading connection.
    pub(crate) fn read<T>(
        &self,
        doing: &'static str,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.reader()?,
        };
        // A connection that failed is not used again.
        let value = query(&connection).map_err(|error| StoreError::database(doing, &self.path, error))?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push(connection);
        }
        Ok(value)
    }

    /// Writes the database as of one transaction, without the log, to a new file.
    pub(crate) fn copy_to(&self, to: &Path) -> Result<(), StoreError> {
        let fail = |error| StoreError::database("copy the database", &self.path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags).map_err(fail)?;
        set_up(&connection).map_err(fail)?;
        // Only the copy is written. Its caller makes it durable, once: SQLite would undo what it cannot, and sync that.
        connection
            .pragma_update(None, "synchronous", "OFF")
            .map_err(fail)?;
        connection
            .execute("VACUUM INTO ?1", [to.to_string_lossy()])
            .map(drop)
            .map_err(fail)
    }

    /// A reading connection; checks that the layout is ours.
    pub(crate) fn reader(&self) -> Result<Connection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(&self.path, flags)
            .map_err(|error| StoreError::database("open", &self.path, error))
            .and_then(|connection| self.checked(connection));
        match opened {
            Err(error)
                if !matches!(
                    error,
                    StoreError::NewerSchema { .. } | StoreError::OlderSchema { .. }
                ) && !self.has_log() =>
            {
                // On a full or read-only disk the shared-memory file of the log cannot be made; without a log
                // the database file alone is complete.
                self.immutable_reader().map_err(|_| error)
            }
            other => other,
        }
    }

    fn checked(&self, connection: Connection) -> Result<Connection, StoreError> {
        let fail = |error| StoreError::database("open", &self.path, error);
        set_up(&connection).map_err(fail)?;
        connection.pragma_update(None, "query_only", true).map_err(fail)?;
        match schema::version(&connection, &self.path)? {
            Some(schema::SCHEMA_VERSION) => Ok(connection),
            Some(found) => Err(StoreError::OlderSchema {
                path: self.path.clone(),
                found,
                known: schema::SCHEMA_VERSION,
            }),
            None => Err(StoreError::NotAStore {
                dir: self.path.parent().unwrap_or(&self.path).to_owned(),
            }),
        }
    }

    fn immutable_reader(&self) -> Result<Connection, StoreError> {
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let path = self
            .path
            .to_string_lossy()
            .replace('%', "%25")
            .replace('?', "%3f")
            .replace('#', "%23");
        let connection = Connection::open_with_flags(format!("file:{path}?immutable=1"), flags)
            .map_err(|error| StoreError::database("open", &self.path, error))?;
        self.checked(connection)
    }

    fn has_log(&self) -> bool {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        stdx::fs::metadata(PathBuf::from(log)).is_ok_and(|log| log.len() > 0)
    }
}

/// Switches the write-ahead log on. SQLite tells the new mode before it has made it durable, and whether that failed only
/// when it is asked for more.
fn keep_log(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("PRAGMA journal_mode = WAL")?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_MAX)?;
    // The log is emptied when a store is closed in good order, by its writer: never by a reader, and never after a
    // write that failed, whose pages may not be what they should be.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    checksum::register(connection)
}

/// Lets a writer's connection empty the log when it is closed.
pub(crate) fn empty_log_on_close(connection: &Connection) {
    // Left as it is, the log is emptied another time.
    let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
}
