//! Ingest on the wire: what it did, what it is doing, and the jobs of the page.

use knowledge::{FailedFile, IngestEvent, IngestReport};
use serde::{Deserialize, Serialize};

use super::SCHEMA;

/// A file that was not taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedJson {
    /// Its path.
    pub path: String,
    /// What is wrong and what to do.
    pub reason: String,
}

impl From<&FailedFile> for FailedJson {
    fn from(failed: &FailedFile) -> Self {
        Self {
            path: failed.path.clone(),
            reason: failed.reason.clone(),
        }
    }
}

/// What an ingest did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IngestJson {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// New documents.
    pub added: usize,
    /// Documents whose bytes changed.
    pub changed: usize,
    /// Documents already in.
    pub unchanged: usize,
    /// Documents whose file is gone.
    pub removed: usize,
    /// Files that could not be read.
    pub failed: Vec<FailedJson>,
    /// What should be looked at though nothing failed.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Passages written.
    pub passages: usize,
    /// Pages read.
    pub pages: usize,
    /// Seconds.
    pub s: f64,
}

impl From<&IngestReport> for IngestJson {
    fn from(report: &IngestReport) -> Self {
        Self {
            schema: SCHEMA,
            added: report.added,
            changed: report.changed,
            unchanged: report.unchanged,
            removed: report.removed,
            failed: report.failed.iter().map(FailedJson::from).collect(),
            warnings: report.warnings.clone(),
            passages: report.passages,
            pages: report.pages,
            s: report.s,
        }
    }
}

/// Progress of an ingest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum IngestEventJson {
    /// The walk is done.
    Planned {
        /// Files to look at.
        files: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// A file is being read.
    Reading {
        /// Its path.
        path: String,
    },
    /// A file is finished.
    Finished {
        /// Its path.
        path: String,
        /// Its bytes.
        bytes: u64,
        /// Why it failed, or null.
        failed: Option<String>,
    },
}

impl From<&IngestEvent> for IngestEventJson {
    fn from(event: &IngestEvent) -> Self {
        match event {
            IngestEvent::Planned { files, bytes } => Self::Planned {
                files: *files,
                bytes: *bytes,
            },
            IngestEvent::Reading { path } => Self::Reading { path: path.clone() },
            IngestEvent::Finished { path, bytes, failed } => Self::Finished {
                path: path.clone(),
                bytes: *bytes,
                failed: failed.clone(),
            },
        }
    }
}

impl From<IngestEventJson> for IngestEvent {
    fn from(event: IngestEventJson) -> Self {
        match event {
            IngestEventJson::Planned { files, bytes } => Self::Planned { files, bytes },
            IngestEventJson::Reading { path } => Self::Reading { path },
            IngestEventJson::Finished { path, bytes, failed } => Self::Finished { path, bytes, failed },
        }
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Waiting.
    Queued,
    /// Being read.
    Running,
    /// Searchable.
    Done,
    /// Not taken in.
    Failed,
}

/// A document being taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobJson {
    /// Its id.
    pub id: u64,
    /// The file's name, or a short description of a folder.
    pub name: String,
    /// Where it stands.
    pub state: JobState,
    /// Bytes of the file; 0 where not known yet.
    pub bytes: u64,
    /// Files finished.
    pub files_done: usize,
    /// Files to look at.
    pub files: usize,
    /// Why it failed, or null.
    pub reason: Option<String>,
}

/// The latest jobs, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobsJson {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// The jobs.
    pub jobs: Vec<JobJson>,
}
