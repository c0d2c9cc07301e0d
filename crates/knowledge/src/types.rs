//! What goes in and comes out of the store: hits, documents, reports, events.
//!
//! Values only; nothing here touches a file.

use std::path::PathBuf;

use crate::read::Recognised;
use crate::validity::Validity;

/// What a vector was made for: E5 and its relatives encode questions and passages differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbedKind {
    /// A question.
    Query,
    /// A passage of a document.
    Passage,
}

/// An embedder's identity: an index made with one is not searched with another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedderId {
    /// Name for people.
    pub name: String,
    /// SHA-256 of its weights.
    pub sha256: String,
    /// Width of its vectors.
    pub dim: usize,
}

/// Makes vectors from text.
pub trait Embed: Send + Sync {
    /// Who it is.
    fn id(&self) -> EmbedderId;
    /// One vector for each text, of unit length.
    fn embed(&self, kind: EmbedKind, texts: &[&str]) -> Vec<Vec<f32>>;
    /// The vector that a question is searched with: passages are ordered by their product with it. Its embedding, but
    /// for what an embedder knows of its own space.
    fn embed_for_search(&self, question: &str) -> Option<Vec<f32>> {
        self.embed(EmbedKind::Query, &[question]).pop()
    }
    /// What it was loaded from, so that it can be loaded again while another one's vectors are made.
    fn source(&self) -> Option<PathBuf> {
        None
    }
}

/// Reads a question and a passage together and says how well the one answers the other.
pub trait Rerank: Send + Sync {
    /// A score for each passage, in their order, comparable for this question only; `None` for what it cannot judge.
    fn score(&self, question: &str, passages: &[&str]) -> Vec<Option<f32>>;
}

/// Whether the store may write. Writers are alone; readers see the last committed state and need no lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Search and read only; the directory must exist and hold a store.
    Read,
    /// Ingest too; creates the directory; fails if another process writes.
    Write,
}

/// Which index answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SearchMode {
    /// Words only (BM25).
    Lexical,
    /// Vectors only.
    Dense,
    /// Both, their scores fused; lexical alone where no vectors are.
    #[default]
    Hybrid,
}

/// A found passage.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The passage.
    pub passage_id: u64,
    /// The document.
    pub document_id: String,
    /// The document's version (first 12 hexadecimal digits of the SHA-256 of its bytes).
    pub version: String,
    /// Where the file was read from, or the upload's name.
    pub path: String,
    /// The document's title.
    pub title: String,
    /// 1-based page of the passage's start; `None` where the format has no pages.
    pub page: Option<u32>,
    /// Start in the document's stored text, in Unicode scalar values.
    pub start: usize,
    /// End (exclusive).
    pub end: usize,
    /// Headings above the passage, outermost first.
    pub heading_path: Vec<String>,
    /// The passage's text: exactly the stored characters `start..end`.
    pub text: String,
    /// Fused score; higher is better; comparable within one result only.
    pub score: f64,
    /// When the document holds.
    pub validity: Validity,
    /// Whether it holds today.
    pub holds: bool,
    /// What the document says that it replaces: titles, names or paths of others.
    pub replaces: Vec<String>,
    /// BM25 score, if found by words.
    pub lexical_score: Option<f64>,
    /// Product of the question's vector with the passage's, which is a mean of its own and of what stands around it, if
    /// found by vector; comparable within one result only.
    pub dense_score: Option<f64>,
    /// Where else nearly the same stands, among what was found: these passages are not listed by themselves.
    pub alike: Vec<Place>,
}

/// Where a passage stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The document.
    pub document_id: String,
    /// Its version.
    pub version: String,
    /// Where the file was read from, or the upload's name.
    pub path: String,
    /// Its title.
    pub title: String,
    /// 1-based page; `None` where the format has no pages.
    pub page: Option<u32>,
    /// Start in the document's stored text, in Unicode scalar values.
    pub start: usize,
    /// End (exclusive).
    pub end: usize,
}

/// A document as listed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DocumentInfo {
    /// Its id: stable for a path.
    pub document_id: String,
    /// Its present version.
    pub version: String,
    /// Where it was read from.
    pub path: String,
    /// Its title.
    pub title: String,
    /// Format name ("pdf", "docx", "hwp", "text", …), see [`crate::read::Format::as_str`].
    pub format: String,
    /// Pages; `None` where the format has none.
    pub n_pages: Option<u32>,
    /// Characters of stored text.
    pub n_chars: usize,
    /// Passages.
    pub n_passages: usize,
    /// When it was last ingested, Unix milliseconds.
    pub ingested_ms: i64,
    /// When it holds.
    pub validity: Validity,
    /// Whose it is, if that is stated.
    pub owner: Option<String>,
    /// What it says that it replaces: titles, names or paths of others.
    pub replaces: Vec<String>,
    /// Pages on which there is no text: they need text recognition.
    pub without_text: Vec<u32>,
    /// Pages whose text was recognised in a picture.
    pub recognised: Vec<Recognised>,
}

/// A document's stored text with its pages.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentText {
    /// The document.
    pub info: DocumentInfo,
    /// NFC text.
    pub text: String,
    /// Pages as character ranges, in order; empty where the format has none.
    pub pages: Vec<PageSpan>,
}

/// A page as a half-open character range of the stored text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSpan {
    /// 1-based number.
    pub page: u32,
    /// Start.
    pub start: usize,
    /// End (exclusive).
    pub end: usize,
}

/// A file that was not taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedFile {
    /// Its path.
    pub path: String,
    /// One sentence: what is wrong and what to do.
    pub reason: String,
}

/// What an ingest did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IngestReport {
    /// Documents that are new.
    pub added: usize,
    /// Documents whose bytes changed.
    pub changed: usize,
    /// Documents already in, unchanged.
    pub unchanged: usize,
    /// Documents whose file is gone from an ingested folder.
    pub removed: usize,
    /// Documents whose file was moved; they keep their ids.
    pub moved: usize,
    /// Files that could not be read.
    pub failed: Vec<FailedFile>,
    /// What should be looked at though nothing failed, one sentence each.
    pub warnings: Vec<String>,
    /// Passages written.
    pub passages: usize,
    /// Pages read.
    pub pages: usize,
    /// Seconds.
    pub s: f64,
}

/// Progress of an ingest, for bars and for the page.
#[derive(Debug, Clone, PartialEq)]
pub enum IngestEvent {
    /// The walk is done: so many files, so many bytes.
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
    /// A file's text is being written to the catalog and the word index.
    Writing {
        /// Its path.
        path: String,
    },
    /// A file could not be read now and is tried again when the others are done.
    Waiting {
        /// Its path.
        path: String,
        /// Why.
        reason: String,
    },
    /// A file is finished: searchable, unchanged or failed.
    Finished {
        /// Its path.
        path: String,
        /// Its bytes.
        bytes: u64,
        /// Why it failed, if it did.
        failed: Option<String>,
        /// What became of it.
        details: FileDetails,
    },
}

/// What became of one file of an ingest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileDetails {
    /// How it ended.
    pub outcome: FileOutcome,
    /// How far it came.
    pub stage: Stage,
    /// Its pages; 0 where the format has none or nothing was read.
    pub pages: usize,
    /// Its passages that were written.
    pub passages: usize,
    /// How long it took, in milliseconds.
    pub ms: u64,
}

impl FileDetails {
    /// Of a file that was only looked at.
    pub(crate) fn found(outcome: FileOutcome) -> Self {
        Self {
            outcome,
            stage: Stage::Find,
            pages: 0,
            passages: 0,
            ms: 0,
        }
    }
}

/// How a file of an ingest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileOutcome {
    /// It is new and in.
    Added,
    /// It had changed; its new version is in.
    Changed,
    /// Its bytes are in already.
    Unchanged,
    /// It was not taken in.
    Failed,
    /// It was not tried: the reader has died of these bytes too often.
    SetAside,
}

/// How far a file of an ingest came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Found in its folder, not opened.
    Find,
    /// Being read.
    Read,
    /// In the catalog and with the word index.
    Write,
}

/// A file that the reader died of too often to be tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAsideFile {
    /// Its path.
    pub path: String,
    /// Why: one sentence.
    pub reason: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it was last tried, Unix milliseconds.
    pub last_ms: i64,
}

/// Whether an ingest goes on; checked between files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go {
    /// Go on.
    On,
    /// Stop cleanly: what is done stays done, the rest stays queued.
    Stop,
}

/// What is in the store.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoreStatus {
    /// Documents.
    pub documents: usize,
    /// Passages.
    pub passages: usize,
    /// Passages that have a vector of the present embedder.
    pub vectors: usize,
    /// Files still queued from an ingest that was cut off.
    pub queued: usize,
    /// Files set aside, which are not tried again before they change; the keeper's, as the queue is.
    pub set_aside: Vec<SetAsideFile>,
    /// Why nothing can be written now (full disk), if so. Questions go on.
    pub read_only: Option<String>,
    /// How far a new index is that is being made beside the present one; the keeper's, for it counts all documents.
    pub reindex: Option<ReindexProgress>,
}

/// What of an index was made otherwise than it would be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReindexNeed {
    /// The word index.
    pub words: bool,
    /// The passages, and with them everything else.
    pub passages: bool,
    /// The vectors.
    pub vectors: bool,
    /// Rows of an index that answers no more are to be cleared away.
    pub leftovers: bool,
    /// Disk that a new index takes beside the present one, about.
    pub bytes: u64,
}

impl ReindexNeed {
    /// Whether anything is to be made anew.
    pub fn is_new_index(&self) -> bool {
        self.words || self.passages || self.vectors
    }

    /// Whether there is anything to do.
    pub fn is_any(&self) -> bool {
        self.is_new_index() || self.leftovers
    }
}

/// What is being made of a new index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReindexStage {
    /// Documents are cut into passages.
    Passages,
    /// The words of passages are indexed.
    Words,
    /// Vectors of passages are made.
    Vectors,
    /// The new index answers; the old one is cleared away.
    Clearing,
}

/// How far a new index is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReindexProgress {
    /// What is being made.
    pub stage: ReindexStage,
    /// Documents, or for vectors passages, that are done.
    pub done: usize,
    /// All of them.
    pub total: usize,
    /// How many are done in a second.
    pub per_s: f64,
    /// Seconds that this stage will take, once that can be said.
    pub left_s: Option<f64>,
}

/// What was made anew.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ReindexReport {
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
