//! What can go wrong in the store: what happened, where, and what to do about it.
//!
//! Not for single files of an ingest: those are listed in the report and stop nothing.

use std::io;
use std::path::{Path, PathBuf};

use stdx::fs::FsError;
use tantivy::TantivyError;
use thiserror::Error;

/// Errors of the store.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder holds no store and was opened for reading.
    #[error("there are no documents in `{}` yet; take some in with `hanok ingest PATH`", dir.display())]
    NotAStore {
        /// The data directory.
        dir: PathBuf,
    },
    /// Another process writes.
    #[error(
        "the documents in `{}` are being written by another process ({holder}); \
         wait for it to finish, or ask it instead",
        dir.display()
    )]
    Held {
        /// The data directory.
        dir: PathBuf,
        /// What the other process says about itself.
        holder: String,
    },
    /// Written by a newer program.
    #[error(
        "`{}` has the layout of a newer version of this program ({found}; this one knows up to {known}); \
         use that version, or another data directory",
        path.display()
    )]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// Written by an older program, and opened for reading only.
    #[error(
        "`{}` has the layout of an older version of this program ({found}; this one writes {known}); \
         run `hanok ingest` once to bring it up to date: a copy of it is kept beside it",
        path.display()
    )]
    OlderSchema {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The version written here.
        known: i64,
    },
    /// The rules of access cannot be read or understood.
    #[error("`{}`: {what}; nothing is taken in until the rules of access are right", path.display())]
    AccessRules {
        /// The file of rules.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The rules of validity cannot be read or understood.
    #[error("`{}`: {what}; nothing is taken in until the rules of validity are right", path.display())]
    ValidityRules {
        /// The file of rules.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A backup would replace something.
    #[error("`{}` exists already; name a new folder", path.display())]
    BackupExists {
        /// Where it was to be written.
        path: PathBuf,
    },
    /// A backup that is not whole.
    #[error("`{}` cannot be restored: {what}; take another backup", path.display())]
    BadBackup {
        /// The backup, or the file of it.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A store is restored into a new directory only.
    #[error("`{}` is not empty; name a new data directory, or move this one away", dir.display())]
    NotEmpty {
        /// The data directory.
        dir: PathBuf,
    },
    /// The database's bytes make no sense.
    #[error(
        "`{}` is damaged ({what}); restore it from a backup, \
         or move it away together with the folder `lexical` and ingest the documents again",
        path.display()
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// No room left. What was committed stays; the rest stays queued.
    #[error(
        "no room is left to write in `{}`; free some and run the command again: \
         nothing is lost, searches go on, what is left stays queued",
        path.display()
    )]
    NoSpace {
        /// What was being written.
        path: PathBuf,
    },
    /// The disk failed, or could not say that what was written is safe. Trying again may be answered with a "yes" that
    /// means nothing, so it is not tried.
    #[error(
        "the disk failed while something was written in `{}` ({what}), so nothing more is written: check the disk, \
         start the program again and run `hanok verify`; what had been acknowledged is kept, searches go on",
        path.display()
    )]
    DiskFailed {
        /// What was being written.
        path: PathBuf,
        /// The reason given.
        what: String,
    },
    /// The word index and the database do not go together.
    #[error(
        "the word index of `{}` names passages that the database does not have; run `hanok verify --mend`, \
         which says what is wrong and makes the index again",
        dir.display()
    )]
    Diverged {
        /// The data directory.
        dir: PathBuf,
    },
    /// The word index was made by another analyser than this program's, or with another dictionary than the one at hand.
    #[error(
        "the word index of `{}` was made by another analyser or dictionary ({found}; in force is {known}), so that it would \
         not find everything: name the dictionary that made it with `--dictionary`, or run `hanok knowledge reindex`, or \
         start `hanok serve`, which makes it anew while the present one answers",
        dir.display()
    )]
    OtherAnalyser {
        /// The data directory.
        dir: PathBuf,
        /// Who made it.
        found: String,
        /// Who would make it now.
        known: String,
    },
    /// The vectors were made by another embedder than the one at hand.
    #[error(
        "the vectors of `{}` were made by the embedding model `{present}`, and the one at hand is another (`{given}`): give \
         that one with `--embedder`, search by words with `--embedder none`, or run `hanok knowledge reindex`, which makes \
         vectors anew while the present ones answer",
        dir.display()
    )]
    OtherEmbedder {
        /// The data directory.
        dir: PathBuf,
        /// The name of the one that made the vectors.
        present: String,
        /// The name of the one at hand.
        given: String,
    },
    /// Passages are to be cut anew, and there is nothing to make their vectors with.
    #[error(
        "the passages of `{}` are to be cut anew, and their vectors with them, but no embedding model is at hand; name one \
         with `--embedder` (the present vectors are of `{name}`)",
        dir.display()
    )]
    EmbedderNeeded {
        /// The data directory.
        dir: PathBuf,
        /// The name of the one that made the vectors.
        name: String,
    },
    /// A new index would not fit on the disk beside the present one.
    #[error(
        "a new index needs about {} MB beside the present one in `{}`, and {} MB are free; make room and run \
         `hanok knowledge reindex` again",
        need.div_ceil(1_000_000), dir.display(), free / 1_000_000
    )]
    NoRoomToReindex {
        /// The data directory.
        dir: PathBuf,
        /// Bytes needed.
        need: u64,
        /// Bytes free.
        free: u64,
    },
    /// A write on a store opened with [`crate::Access::Read`].
    #[error("`{}` is open for reading only; open it for writing", dir.display())]
    OpenForReading {
        /// The data directory.
        dir: PathBuf,
    },
    /// An upload's name cannot be a file name.
    #[error("`{name}` cannot be the name of a document; use a plain file name of at most {max} bytes")]
    BadUploadName {
        /// The name.
        name: String,
        /// The most bytes.
        max: usize,
    },
    /// An upload was not taken in.
    #[error("`{name}` was not taken in: {reason}")]
    Refused {
        /// Its name.
        name: String,
        /// One sentence: what is wrong and what to do.
        reason: String,
    },
    /// A character range that the text does not have.
    #[error("the document has {n_chars} characters; {start}..{end} lies outside")]
    BadSpan {
        /// Start asked for.
        start: usize,
        /// End asked for.
        end: usize,
        /// What there is.
        n_chars: usize,
    },
    /// Evaluation data that cannot be used.
    #[error("`{}`, line {line}: {what}", path.display())]
    BadTrial {
        /// The file.
        path: PathBuf,
        /// 1-based line; 0 for the file as a whole.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A file system call failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The database failed otherwise.
    #[error("cannot {doing} in `{}`", path.display())]
    Database {
        /// What was attempted.
        doing: &'static str,
        /// The database.
        path: PathBuf,
        /// SQLite's reason.
        source: rusqlite::Error,
    },
    /// A segment of a bulk ingestion that cannot be used; nothing was taken in.
    #[error("`{}`: {what}; nothing was taken in", path.display())]
    BadSegment {
        /// The segment, or the file of it.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// This data directory's rules are others than those by which the shared documents stand.
    #[error(
        "`{}` says otherwise than the rules in the PostgreSQL database {place}, by which all who share it go; remove the \
         file to take those, or make this one theirs with `hanok ingest --publish-rules`; nothing is taken in until then",
        path.display()
    )]
    RulesDiffer {
        /// The file here.
        path: PathBuf,
        /// Server and database.
        place: String,
    },
    /// PostgreSQL failed or refused.
    #[error("cannot {doing} in the PostgreSQL database {place}: {what}")]
    Postgres {
        /// What was attempted.
        doing: &'static str,
        /// Server and database.
        place: String,
        /// The reason given.
        what: String,
    },
    /// What only an embedded store can do.
    #[error(
        "documents are kept in the PostgreSQL database {place}, where this program does not {doing}: {instead}"
    )]
    NotInPostgres {
        /// What was asked for.
        doing: &'static str,
        /// Server and database.
        place: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// The lexical index failed.
    #[error(
        "cannot {doing} in the word index `{}`; it is rebuilt when the store is next opened for writing \
         (`hanok ingest`)",
        path.display()
    )]
    Index {
        /// What was attempted.
        doing: &'static str,
        /// The index folder.
        path: PathBuf,
        /// The index's reason.
        source: TantivyError,
    },
}

impl StoreError {
    /// Whether the machine is at fault (files, disk, locks): exit code 3.
    pub fn is_environment(&self) -> bool {
        !self.is_bad_input()
    }

    /// Whether the caller's input is at fault: exit code 2.
    pub fn is_bad_input(&self) -> bool {
        matches!(
            self,
            Self::BadUploadName { .. }
                | Self::Refused { .. }
                | Self::BadSpan { .. }
                | Self::BadTrial { .. }
                | Self::AccessRules { .. }
                | Self::ValidityRules { .. }
                | Self::BackupExists { .. }
                | Self::BadBackup { .. }
                | Self::NotEmpty { .. }
                | Self::NotInPostgres { .. }
                | Self::BadSegment { .. }
                | Self::RulesDiffer { .. }
        )
    }

    /// Whether there is no room left to write.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::NoSpace { .. })
    }

    /// Whether the disk failed, so that nothing more is written until the program is started again.
    pub fn is_disk_failure(&self) -> bool {
        matches!(self, Self::DiskFailed { .. })
    }

    /// Whether another process holds the store.
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Held { .. })
    }

    /// Classifies a database error: full disk, damage, or anything else.
    pub(crate) fn database(doing: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, DiskFull, NotADatabase, SystemIoFailure};
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(DiskFull) => Self::NoSpace { path },
            // SQLite reports a write that the file size limit or a quota refuses as a failed write.
            Some(SystemIoFailure) if is_failed_write(&source) && lacks_room(&path) => Self::NoSpace { path },
            Some(SystemIoFailure) if is_failed_write(&source) || is_failed_sync(&source) => {
                Self::DiskFailed {
                    path,
                    what: source.to_string(),
                }
            }
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged {
                path,
                what: source.to_string(),
            },
            _ if is_malformed_value(&source) => Self::Damaged {
                path,
                what: source.to_string(),
            },
            _ => Self::Database { doing, path, source },
        }
    }

    /// Classifies an index error: full disk or anything else.
    pub(crate) fn index(doing: &'static str, path: &Path, source: TantivyError) -> Self {
        let path = path.to_owned();
        match io_error(&source) {
            Some(error) if stdx::fs::is_no_space(&error) => Self::NoSpace { path },
            Some(error) if stdx::fs::is_device_failure(&error) => Self::DiskFailed {
                path,
                what: error.to_string(),
            },
            _ => Self::Index { doing, path, source },
        }
    }

    /// Classifies a file system error: full disk or anything else.
    pub(crate) fn file(error: FsError) -> Self {
        if error.is_no_space() {
            Self::NoSpace {
                path: error.path().to_owned(),
            }
        } else if error.is_device_failure() {
            Self::DiskFailed {
                path: error.path().to_owned(),
                what: error.to_string(),
            }
        } else {
            Self::Fs(error)
        }
    }
}

/// Whether a file size limit, a quota or a full disk is why SQLite could not write.
fn lacks_room(database: &Path) -> bool {
    database.parent().is_some_and(stdx::fs::lacks_room)
}

fn is_failed_sync(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_IOERR_DIR_FSYNC, SQLITE_IOERR_FSYNC};
    error
        .sqlite_error()
        .is_some_and(|e| [SQLITE_IOERR_FSYNC, SQLITE_IOERR_DIR_FSYNC].contains(&e.extended_code))
}

fn is_failed_write(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi as sqlite;
    const WRITES: [i32; 4] = [
        sqlite::SQLITE_IOERR_WRITE,
        sqlite::SQLITE_IOERR_SHMOPEN,
        sqlite::SQLITE_IOERR_SHMSIZE,
        sqlite::SQLITE_IOERR_TRUNCATE,
    ];
    error
        .sqlite_error()
        .is_some_and(|e| WRITES.contains(&e.extended_code))
}

/// A value of another type or range than the one written there: bits changed on the disk.
fn is_malformed_value(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as E;
    matches!(
        error,
        E::FromSqlConversionFailure(..)
            | E::IntegralValueOutOfRange(..)
            | E::Utf8Error(..)
            | E::InvalidColumnType(..)
            | E::InvalidColumnName(..)
    )
}

/// The system's error in one of the index. Of what failed in a thread of the index's own, only the words are left.
fn io_error(error: &TantivyError) -> Option<io::Error> {
    use tantivy::directory::error::{OpenDirectoryError, OpenReadError, OpenWriteError};
    match error {
        TantivyError::IoError(error) => Some(error),
        TantivyError::OpenWriteError(OpenWriteError::IoError { io_error, .. })
        | TantivyError::OpenReadError(OpenReadError::IoError { io_error, .. })
        | TantivyError::OpenDirectoryError(OpenDirectoryError::IoError { io_error, .. }) => Some(io_error),
        _ => None,
    }
    .and_then(|error| innermost(error))
    .or_else(|| match error {
        TantivyError::InternalError(words)
        | TantivyError::ErrorInThread(words)
        | TantivyError::SystemError(words) => named_io_error(words),
        _ => None,
    })
}

/// The system's error within an error that wraps it, however deep.
fn innermost(error: &io::Error) -> Option<io::Error> {
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        let code = error.downcast_ref().and_then(io::Error::raw_os_error);
        if let Some(found) = code
            .map(io::Error::from_raw_os_error)
            .or_else(|| named_io_error(&error.to_string()))
        {
            return Some(found);
        }
        next = error.source();
    }
    Some(error.kind().into())
}

/// The error whose number stands in its words, as the standard library writes it.
fn named_io_error(words: &str) -> Option<io::Error> {
    let (_, rest) = words.rsplit_once("(os error ")?;
    let (number, _) = rest.split_once(')')?;
    number.parse().ok().map(io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_known_by_its_words() {
        let words = io::Error::from_raw_os_error(libc::ENOSPC).to_string();
        let error = TantivyError::InternalError(words);
        assert!(StoreError::index("commit", Path::new("x"), error).is_no_space());
        let words = format!("a thread: {}", io::Error::from_raw_os_error(libc::EIO));
        let error = TantivyError::ErrorInThread(words);
        assert!(StoreError::index("commit", Path::new("x"), error).is_disk_failure());
        let error = TantivyError::InternalError("the index is damaged".to_owned());
        assert!(matches!(
            StoreError::index("search", Path::new("x"), error),
            StoreError::Index { .. }
        ));
    }
}
