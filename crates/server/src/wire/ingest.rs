//! Ingest on the wire: what it did, what it is doing, and the jobs of the page.

use knowledge::{FailedFile, FileDetails, FileOutcome, IngestEvent, IngestReport, Stage};
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
    /// Documents whose file was moved; they keep their ids.
    #[serde(default)]
    pub moved: usize,
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
            moved: report.moved,
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
    /// A file's text is being written.
    Writing {
        /// Its path.
        path: String,
    },
    /// A file is tried again when the others are done.
    Waiting {
        /// Its path.
        path: String,
        /// Why.
        reason: String,
    },
    /// A file is finished.
    Finished {
        /// Its path.
        path: String,
        /// Its bytes.
        bytes: u64,
        /// Why it failed, or null.
        failed: Option<String>,
        /// What became of it.
        details: FileJson,
    },
}

/// What became of one file of an ingest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileJson {
    /// How far it came.
    pub stage: StageJson,
    /// How it ended.
    pub outcome: FileOutcomeJson,
    /// Its pages.
    pub pages: usize,
    /// Its passages that were written.
    pub passages: usize,
    /// How long it took.
    pub ms: u64,
}

/// How far a file came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageJson {
    /// Found, not opened.
    Find,
    /// Being read.
    Read,
    /// In the catalog and with the word index.
    Write,
}

/// How a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileOutcomeJson {
    /// New, and in.
    Added,
    /// Its new version is in.
    Changed,
    /// It was in already.
    Unchanged,
    /// Not taken in.
    Failed,
    /// Not tried: the reader has died of it too often.
    SetAside,
}

impl From<FileDetails> for FileJson {
    fn from(details: FileDetails) -> Self {
        Self {
            stage: match details.stage {
                Stage::Find => StageJson::Find,
                Stage::Read => StageJson::Read,
                Stage::Write => StageJson::Write,
            },
            outcome: match details.outcome {
                FileOutcome::Added => FileOutcomeJson::Added,
                FileOutcome::Changed => FileOutcomeJson::Changed,
                FileOutcome::Unchanged => FileOutcomeJson::Unchanged,
                FileOutcome::Failed => FileOutcomeJson::Failed,
                FileOutcome::SetAside => FileOutcomeJson::SetAside,
            },
            pages: details.pages,
            passages: details.passages,
            ms: details.ms,
        }
    }
}

impl From<FileJson> for FileDetails {
    fn from(file: FileJson) -> Self {
        Self {
            stage: match file.stage {
                StageJson::Find => Stage::Find,
                StageJson::Read => Stage::Read,
                StageJson::Write => Stage::Write,
            },
            outcome: match file.outcome {
                FileOutcomeJson::Added => FileOutcome::Added,
                FileOutcomeJson::Changed => FileOutcome::Changed,
                FileOutcomeJson::Unchanged => FileOutcome::Unchanged,
                FileOutcomeJson::Failed => FileOutcome::Failed,
                FileOutcomeJson::SetAside => FileOutcome::SetAside,
            },
            pages: file.pages,
            passages: file.passages,
            ms: file.ms,
        }
    }
}

impl From<&IngestEvent> for IngestEventJson {
    fn from(event: &IngestEvent) -> Self {
        match event {
            IngestEvent::Planned { files, bytes } => Self::Planned {
                files: *files,
                bytes: *bytes,
            },
            IngestEvent::Reading { path } => Self::Reading { path: path.clone() },
            IngestEvent::Writing { path } => Self::Writing { path: path.clone() },
            IngestEvent::Waiting { path, reason } => Self::Waiting {
                path: path.clone(),
                reason: reason.clone(),
            },
            IngestEvent::Finished {
                path,
                bytes,
                failed,
                details,
            } => Self::Finished {
                path: path.clone(),
                bytes: *bytes,
                failed: failed.clone(),
                details: (*details).into(),
            },
        }
    }
}

impl From<IngestEventJson> for IngestEvent {
    fn from(event: IngestEventJson) -> Self {
        match event {
            IngestEventJson::Planned { files, bytes } => Self::Planned { files, bytes },
            IngestEventJson::Reading { path } => Self::Reading { path },
            IngestEventJson::Writing { path } => Self::Writing { path },
            IngestEventJson::Waiting { path, reason } => Self::Waiting { path, reason },
            IngestEventJson::Finished {
                path,
                bytes,
                failed,
                details,
            } => Self::Finished {
                path,
                bytes,
                failed,
                details: details.into(),
            },
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
