//! The local socket: other commands on this machine use the running server instead of failing on its lock.
//!
//! One JSON object a line. A connection carries one [`Call`], then any number of [`Reply::Event`] lines, then one
//! [`Reply::Final`] or [`Reply::Error`]. Closing the connection cancels. Only the same user may connect.

mod client;
mod server;

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use assistant::AskEvent;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use client::{Client, ClientError};
pub use server::Socket;

use crate::wire::{
    AsOfJson, AskJson, AskStreamEvent, DocumentTextJson, DocumentsJson, ErrorBody, IngestEventJson,
    IngestJson, ReindexEventJson, ReindexJson, SearchJson, SearchModeJson, StatusJson, SuggestionsJson,
    TurnJson,
};

/// Socket addresses hold 108 bytes with the closing zero; longer paths get a short stand-in.
const PATH_BYTES_MAX: usize = 100;
/// Bytes of one line in either direction: a whole document fits.
const LINE_BYTES_MAX: usize = 256 << 20;

/// What a command asks of the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "lowercase")]
pub enum Call {
    /// A question.
    Ask {
        /// The question.
        question: String,
        /// Earlier turns, oldest first.
        #[serde(default)]
        history: Vec<TurnJson>,
        /// Answer by quoting alone.
        #[serde(default)]
        extractive: bool,
        /// Which documents are looked at.
        #[serde(default)]
        as_of: AsOfJson,
    },
    /// A search.
    Search {
        /// What to search for.
        question: String,
        /// How many passages.
        k: usize,
        /// Which index.
        #[serde(default)]
        mode: SearchModeJson,
        /// Which documents are looked at.
        #[serde(default)]
        as_of: AsOfJson,
    },
    /// Titles and headings that what is typed may become.
    Suggest {
        /// What is typed.
        beginning: String,
        /// How many.
        k: usize,
    },
    /// Files and folders to take in; absolute, read by the server.
    Ingest {
        /// The paths.
        paths: Vec<PathBuf>,
        /// Whether files set aside are tried again.
        #[serde(default)]
        retry: bool,
    },
    /// A document's text between two positions.
    Show {
        /// The document.
        document_id: String,
        /// Its version; the present one if absent.
        version: Option<String>,
        /// Start in Unicode scalar values; 0 if absent.
        start: Option<usize>,
        /// End (exclusive); the document's end if absent.
        end: Option<usize>,
    },
    /// All documents.
    Documents,
    /// Removes a document.
    Remove {
        /// The document.
        document_id: String,
    },
    /// Keeps a folder in step no more.
    Forget {
        /// The folder, absolute.
        folder: PathBuf,
    },
    /// Makes the index anew beside the present one, where it was made otherwise than it would be now.
    Reindex {
        /// SHA-256 of the embedding model that is meant; the server's own if absent.
        #[serde(default)]
        embedder: Option<String>,
    },
    /// What runs and what it holds.
    Status,
}

/// A call with the version of the protocol.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    schema: u32,
    /// Whose rights the command has, as [`knowledge::Reader::stated`] takes it: only the user whom the store belongs to
    /// may connect, and it states them itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    groups: String,
    #[serde(flatten)]
    call: Call,
}

/// What happens before the final line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EventLine {
    /// Of a question.
    Ask(AskStreamEvent),
    /// Of an ingest.
    Ingest(IngestEventJson),
    /// Of a new index.
    Reindex(ReindexEventJson),
}

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "lowercase")]
pub enum Outcome {
    /// Of [`Call::Ask`].
    Ask(Box<AskJson>),
    /// Of [`Call::Search`].
    Search(SearchJson),
    /// Of [`Call::Suggest`].
    Suggest(SuggestionsJson),
    /// Of [`Call::Ingest`].
    Ingest(IngestJson),
    /// Of [`Call::Show`]; `None` if there is no such document.
    Show(Option<Box<DocumentTextJson>>),
    /// Of [`Call::Documents`].
    Documents(DocumentsJson),
    /// Of [`Call::Remove`]: whether there was such a document.
    Remove(bool),
    /// Of [`Call::Forget`]: whether it was kept in step.
    Forget(bool),
    /// Of [`Call::Reindex`].
    Reindex(ReindexJson),
    /// Of [`Call::Status`].
    Status(Box<StatusJson>),
}

/// One line from the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// On the way.
    Event(EventLine),
    /// The result; nothing follows.
    Final(Outcome),
    /// No result; nothing follows.
    Error(ErrorBody),
}

impl EventLine {
    /// The event of a question as the assistant's own type.
    pub fn ask_event(self) -> Option<AskEvent> {
        match self {
            Self::Ask(event) => Some(event.into()),
            Self::Ingest(_) | Self::Reindex(_) => None,
        }
    }

    /// The event of an ingest as the store's own type.
    pub fn ingest_event(self) -> Option<knowledge::IngestEvent> {
        match self {
            Self::Ingest(event) => Some(event.into()),
            Self::Ask(_) | Self::Reindex(_) => None,
        }
    }
}

/// Why the socket cannot be made.
#[derive(Debug, Error)]
pub enum LocalError {
    /// Another process answers on it.
    #[error("another server already runs on this data directory (`{}` answers)", path.display())]
    AlreadyServing {
        /// The socket.
        path: PathBuf,
    },
    /// The stand-in folder belongs to someone else or is open to others.
    #[error("`{}` is not a private folder of this user; remove it or set XDG_RUNTIME_DIR", path.display())]
    NotPrivate {
        /// The folder.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {verb} the local socket `{}`", path.display())]
    Io {
        /// What was attempted.
        verb: &'static str,
        /// The path.
        path: PathBuf,
        /// Its reason.
        #[source]
        source: std::io::Error,
    },
}

/// Where the socket of a data directory is: inside it, or under a short name elsewhere when the path is too long.
fn socket_path(data_dir: &Path) -> Result<PathBuf, LocalError> {
    // Both sides must come to the same path however the directory was written.
    let real = stdx::fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let inside = real.join("hanok.sock");
    if inside.as_os_str().len() <= PATH_BYTES_MAX {
        return Ok(inside);
    }
    let name = &stdx::hash::sha256_hex(real.as_os_str().as_encoded_bytes())[..16];
    Ok(private_folder()?.join(format!("{name}.sock")))
}

/// A folder only this user may enter.
fn private_folder() -> Result<PathBuf, LocalError> {
    let uid = own_uid()?;
    // Not a setting of Hanok's: the desktop's own name for the user's runtime folder.
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let usable =
        |dir: &PathBuf| dir.is_absolute() && dir.is_dir() && dir.as_os_str().len() < PATH_BYTES_MAX / 2;
    let base = runtime.filter(usable).unwrap_or_else(std::env::temp_dir);
    let folder = base.join(format!("hanok-{uid}"));
    let made = std::fs::DirBuilder::new().mode(0o700).create(&folder);
    if let Err(source) = made
        && source.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(LocalError::Io {
            verb: "create the folder of",
            path: folder,
            source,
        });
    }
    let private = stdx::fs::symlink_metadata(&folder)
        .is_ok_and(|found| found.is_dir() && found.uid() == uid && found.permissions().mode() & 0o077 == 0);
    if private {
        Ok(folder)
    } else {
        Err(LocalError::NotPrivate { path: folder })
    }
}

fn own_uid() -> Result<u32, LocalError> {
    let path = PathBuf::from("/proc/self");
    // Without /proc, a file just made in the temporary folder would say the same; every supported system has it.
    std::fs::metadata(&path)
        .map(|found| found.uid())
        .map_err(|source| LocalError::Io {
            verb: "find the user of",
            path,
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_data_directory_gets_a_short_private_socket() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("x".repeat(120));
        stdx::fs::create_dir_all(&long).unwrap();
        let path = socket_path(&long).unwrap();
        assert!(path.as_os_str().len() <= PATH_BYTES_MAX, "{}", path.display());
        assert_eq!(path, socket_path(&long).unwrap());
        assert_ne!(path, socket_path(&dir.path().join("y".repeat(120))).unwrap());
        let short = socket_path(dir.path()).unwrap();
        assert_eq!(short.file_name().unwrap(), "hanok.sock");
    }

    #[test]
    fn lines_have_the_documented_shape() {
        let request = Request {
            groups: String::new(),
            schema: 1,
            call: Call::Remove {
                document_id: "d1".into(),
            },
        };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(text, r#"{"schema":1,"call":"remove","document_id":"d1"}"#);
        let event = Reply::Event(EventLine::Ingest(IngestEventJson::Planned { files: 1, bytes: 2 }));
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(text, r#"{"event":{"event":"planned","files":1,"bytes":2}}"#);
        assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), event);
        let last = Reply::Final(Outcome::Remove(true));
        let text = serde_json::to_string(&last).unwrap();
        assert_eq!(text, r#"{"final":{"kind":"remove","value":true}}"#);
        assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), last);
    }
}
