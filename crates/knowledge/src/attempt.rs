//! One attempt at reading a file: whole, without it changing meanwhile; or why not, and whether to try again.
//!
//! Writes nothing; what follows from a failure is decided in [`crate::ingest`].

use std::path::Path;
use std::time::Duration;

use stdx::clock::unix_ms;
use stdx::fs;
use stdx::hash::sha256_hex;

use crate::catalog::{Stat, StoredDocument};
use crate::prepare::{Prepared, ReadOptions, prepare};
use crate::read::load;
use crate::walk::stat_of;

/// How often a file that changes while it is read is read again at once.
const READS_MAX: usize = 2;
/// How long is waited before files that could not be read for a passing reason are tried again, each time.
pub(crate) const BACK_OFF: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(800),
];
/// A file that the reader died of so often is set aside until it changes.
pub(crate) const DEATHS_MAX: u32 = 3;
/// A file changed less than this before it was read may change again without a new time stamp.
pub(crate) const CLOCK_TICK_NS: i64 = 20_000_000;
/// Hexadecimal digits of a version.
pub(crate) const VERSION_DIGITS: usize = 12;

/// A file read without changing meanwhile.
pub(crate) struct ReadFile {
    pub(crate) version: String,
    pub(crate) stat: Stat,
    /// `None` where the bytes are the stored ones.
    pub(crate) prepared: Option<Prepared>,
}

/// Why a file was not read: one sentence for people, and what to make of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It may be read a moment later.
    Passing(String),
    /// It will not be read before somebody does something.
    Lasting(String),
    /// The reader died of these bytes, or would not end.
    Deadly {
        reason: String,
        version: String,
        stat: Stat,
    },
    /// The reader died of these bytes before, too often.
    SetAside(String),
}

/// What is known of a file before it is read.
pub(crate) struct Known<'a> {
    /// The document it is by now.
    pub(crate) document: Option<&'a StoredDocument>,
    /// The version of which the reader died too often, and why.
    pub(crate) aside: Option<(&'a str, &'a str)>,
}

/// Reads a file.
pub(crate) fn read_whole(path: &Path, known: &Known<'_>, options: &ReadOptions) -> Result<ReadFile, Failure> {
    for _ in 0..READS_MAX {
        let before = stat(path)?;
        let bytes = load(path, &options.limits).map_err(|error| {
            let reason = error.to_string();
            if error.is_passing() {
                Failure::Passing(reason)
            } else {
                Failure::Lasting(reason)
            }
        })?;
        let version = version_of(&bytes);
        if let Some((_, reason)) = known.aside.filter(|(aside, _)| *aside == version) {
            return Err(Failure::SetAside(set_aside(reason)));
        }
        let is_stored = known
            .document
            .is_some_and(|known| known.version == version && known.cutter == options.cut.cutter());
        let prepared = if is_stored {
            None
        } else {
            match prepare(path, &bytes, options) {
                Ok(prepared) => Some(prepared),
                // What was read while it changed may be half of it: nothing follows from that.
                Err(_) if stat(path)? != before => continue,
                Err(error) if error.is_passing() => return Err(Failure::Passing(error.to_string())),
                Err(error) if error.is_deadly() => {
                    return Err(Failure::Deadly {
                        reason: error.to_string(),
                        version,
                        stat: settled(before),
                    });
                }
                Err(error) => return Err(Failure::Lasting(error.to_string())),
            }
        };
        if stat(path)? == before {
            return Ok(ReadFile {
                version,
                stat: settled(before),
                prepared,
            });
        }
    }
    Err(Failure::Passing(
        "it changes while it is being read; ingest it again when it is complete".to_owned(),
    ))
}

/// The version of a document of these bytes.
pub(crate) fn version_of(bytes: &[u8]) -> String {
    let mut version = sha256_hex(bytes);
    version.truncate(VERSION_DIGITS);
    version
}

/// What is said of a file that is set aside.
pub(crate) fn set_aside(reason: &str) -> String {
    format!(
        "set aside after {DEATHS_MAX} attempts: {reason}; it is tried again when it changes, or with \
         `hanok ingest --retry`"
    )
}

fn stat(path: &Path) -> Result<Stat, Failure> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(stat_of(&metadata)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Failure::Lasting(
            "it was there when the folder was listed and is gone now".to_owned(),
        )),
        Err(error) if error.is_transient() => Err(Failure::Passing(error.to_string())),
        Err(error) => Err(Failure::Lasting(error.to_string())),
    }
}

/// A file that changed just now may change again within the same tick of the clock, and so may one from the future, where
/// the clock was set back: its time is not trusted.
fn settled(stat: Stat) -> Stat {
    let now_ns = unix_ms().saturating_mul(1_000_000);
    if now_ns.saturating_sub(stat.mtime_ns.max(stat.ctime_ns)) < CLOCK_TICK_NS {
        return Stat {
            mtime_ns: i64::MIN,
            ..stat
        };
    }
    stat
}
