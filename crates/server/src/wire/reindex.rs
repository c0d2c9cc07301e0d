//! A new index on the wire: how far it is, and what was made anew.

use knowledge::{ReindexProgress, ReindexReport, ReindexStage};
use serde::{Deserialize, Serialize};

use super::SCHEMA;

/// What is being made of a new index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReindexStageJson {
    /// Documents are cut into passages.
    Passages,
    /// The words of passages are indexed.
    Words,
    /// Vectors of passages are made.
    Vectors,
    /// The new index answers; the old one is cleared away.
    Clearing,
}

impl ReindexStageJson {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passages => "passages",
            Self::Words => "words",
            Self::Vectors => "vectors",
            Self::Clearing => "clearing",
        }
    }
}

impl From<ReindexStage> for ReindexStageJson {
    fn from(stage: ReindexStage) -> Self {
        match stage {
            ReindexStage::Passages => Self::Passages,
            ReindexStage::Words => Self::Words,
            ReindexStage::Vectors => Self::Vectors,
            ReindexStage::Clearing => Self::Clearing,
        }
    }
}

/// How far a new index is; the present one answers meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReindexProgressJson {
    /// What is being made.
    pub stage: ReindexStageJson,
    /// Documents, or for vectors passages, that are done.
    pub done: usize,
    /// All of them.
    pub total: usize,
    /// How many are done in a second.
    pub per_s: f64,
    /// Seconds that this stage will take, or null.
    pub left_s: Option<f64>,
}

impl From<&ReindexProgress> for ReindexProgressJson {
    fn from(progress: &ReindexProgress) -> Self {
        Self {
            stage: progress.stage.into(),
            done: progress.done,
            total: progress.total,
            per_s: progress.per_s,
            left_s: progress.left_s,
        }
    }
}

/// A step on the way to a new index.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ReindexEventJson {
    /// How far it is.
    Reindex(ReindexProgressJson),
}

/// What was made anew.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReindexJson {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// The word index.
    pub words: bool,
    /// The passages.
    pub passages: bool,
    /// The vectors.
    pub vectors: bool,
    /// Documents that could not be cut anew, and keep their passages until their files change.
    pub kept: usize,
    /// It was told to stop before it was done.
    pub stopped: bool,
    /// Seconds.
    pub s: f64,
}

impl From<&ReindexReport> for ReindexJson {
    fn from(report: &ReindexReport) -> Self {
        Self {
            schema: SCHEMA,
            words: report.words,
            passages: report.passages,
            vectors: report.vectors,
            kept: report.kept,
            stopped: report.stopped,
            s: report.s,
        }
    }
}
