//! Where documents, passages, vectors and the queue are kept: the one seam between the embedded store and PostgreSQL.
//!
//! What goes through it: what a reader may see, asked by audience; and the steps of an ingest, each of which is durable
//! and whole when it returns. Walking, reading, cutting, analysing, scoring and fusing stand above it and are the same
//! for both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use stdx::clock::unix_ms;

use crate::access::{Audience, Reader};
use crate::boxes::PageWords;
use crate::catalog::{
    AudienceSet, Counts, FailureRow, IntakeRow, Known, Moved, NewDocument, Origin, Paged, PassageRow,
    PresentEmbedder, QueueEntry, RefusalRow, SetAside, Side, Stat, StoredDocument, StoredPages,
    StoredPassage, StreamedDocument,
};
use crate::error::StoreError;
use crate::prepare::Prepared;
use crate::suggest::Typed;
use crate::types::{DocumentInfo, DocumentText, EmbedderId};
use crate::validity::{Date, Ruled};

/// An embedder as the shelf knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EmbedderRow {
    pub(crate) row: i64,
    pub(crate) dim: usize,
}

/// A passage's vector; `None` where none could be made.
pub(crate) type Made = (u64, Option<Vec<f32>>);

/// A document that is taken in with others.
pub(crate) struct Shelved {
    pub(crate) document_id: String,
    pub(crate) origin: Origin,
    /// For people.
    pub(crate) path: String,
    pub(crate) path_bytes: Vec<u8>,
    pub(crate) version: String,
    pub(crate) stat: Stat,
    pub(crate) audience: Audience,
    pub(crate) ruled: Ruled,
    pub(crate) prepared: Box<Prepared>,
}

impl Shelved {
    pub(crate) fn new_document(&self) -> NewDocument<'_> {
        NewDocument {
            document_id: &self.document_id,
            origin: self.origin,
            path: &self.path,
            path_bytes: &self.path_bytes,
            version: &self.version,
            stat: self.stat,
            audience: &self.audience,
            ruled: &self.ruled,
            now_ms: unix_ms(),
        }
    }
}

/// The next of several documents, until there is none.
pub(crate) type NextShelved<'a> = dyn FnMut() -> Result<Option<Shelved>, StoreError> + 'a;

/// All that is kept.
pub(crate) trait Shelf: Reads + Finds + Ingests + Send + Sync {}

impl<T: Reads + Finds + Ingests + Send + Sync> Shelf for T {}

/// What is shown of documents and passages to whom.
pub(crate) trait Reads {
    /// The audiences that admit a reader and whose documents hold on that day; without a day, whenever they hold.
    fn audiences(&self, reader: &Reader, day: Option<Date>) -> Result<AudienceSet, StoreError>;
    /// Counts of what these audiences may see; the queue is the keeper's.
    fn counts(&self, allowed: &AudienceSet) -> Result<Counts, StoreError>;
    /// Documents of these audiences, by path.
    fn documents(&self, allowed: &AudienceSet) -> Result<Vec<DocumentInfo>, StoreError>;
    /// A version's text; the present one if none is named.
    fn document(
        &self,
        id: &str,
        version: Option<&str>,
        allowed: &AudienceSet,
    ) -> Result<Option<DocumentText>, StoreError>;
    /// A version's name and pages; the present one if none is named.
    fn pages(
        &self,
        id: &str,
        version: Option<&str>,
        allowed: &AudienceSet,
    ) -> Result<Option<StoredPages>, StoreError>;
    /// Where the words of a page of a version stand. Asks nobody's rights: [`Shelf::pages`] has named the version.
    fn page_words(&self, id: &str, version: &str, page: u32) -> Result<Option<PageWords>, StoreError>;
    /// The passages with these ids that exist, in no particular order.
    fn passages(&self, ids: &[u64]) -> Result<Vec<PassageRow>, StoreError>;
    /// The first passage of the document of each of these; a document's passages are numbered one after another. Those
    /// that are gone may be left out.
    fn first_passages(&self, ids: &BTreeSet<u64>) -> Result<BTreeMap<u64, u64>, StoreError>;
    /// The passages right before and after one, if they are in its section.
    fn beside(&self, passage_id: u64) -> Result<Vec<(Side, PassageRow)>, StoreError>;
    /// Every document of these audiences with its present text, by path, one at a time in memory.
    fn each_document(
        &self,
        allowed: &AudienceSet,
        visit: &mut dyn FnMut(StreamedDocument),
    ) -> Result<(), StoreError>;
    /// Documents of this format and these audiences, with their pages.
    fn paged(&self, format: &str, allowed: &AudienceSet) -> Result<Vec<Paged>, StoreError>;
    /// Files of these audiences that could not be read, by path.
    fn failures(&self, allowed: &AudienceSet) -> Result<Vec<FailureRow>, StoreError>;
    /// Every refused question that is remembered, the oldest first.
    fn refusals(&self) -> Result<Vec<RefusalRow>, StoreError>;
    /// Why nothing can be written now, if so.
    fn read_only(&self) -> Option<String>;
}

/// What is found of passages by whom.
pub(crate) trait Finds {
    /// The best permitted passages by words, best first, equal ones by id.
    fn by_words(
        &self,
        question: &str,
        limit: usize,
        allowed: &AudienceSet,
    ) -> Result<Vec<(u64, f32)>, StoreError>;
    /// The embedder, if there are vectors of it that answer.
    fn known_embedder(&self, id: &EmbedderId) -> Result<Option<EmbedderRow>, StoreError>;
    /// The embedder whose vectors are the present ones, if there is one.
    fn embedder_in_force(&self) -> Result<Option<PresentEmbedder>, StoreError>;
    /// How often a new index has taken the old one's place.
    fn generation(&self) -> Result<i64, StoreError>;
    /// The nearest permitted passages by vector, best first, equal ones by id; with `exactly`, every vector is looked at.
    fn by_vector(
        &self,
        embedder: EmbedderRow,
        vector: &[f32],
        limit: usize,
        allowed: &AudienceSet,
        exactly: bool,
    ) -> Result<Vec<(u64, f32)>, StoreError>;
    /// Permitted passages by what is typed of a title or heading, the shortest ones first.
    fn titled(&self, typed: &Typed, limit: usize, allowed: &AudienceSet) -> Result<Vec<u64>, StoreError>;
    /// In how many texts of permitted passages a term occurs.
    fn passage_frequency(&self, term: &str, allowed: &AudienceSet) -> Result<u64, StoreError>;
    /// Whether a search may name passages that are gone, without anything being wrong.
    fn may_lag(&self) -> Result<bool, StoreError>;
    /// Whether other processes may write while a search goes on.
    fn is_shared(&self) -> bool;
}

/// What an ingest asks and does.
pub(crate) trait Ingests {
    /// The document whose path this is, by its bytes.
    fn by_path(&self, path_bytes: &[u8]) -> Result<Option<StoredDocument>, StoreError>;
    /// Documents of one origin below a folder, whose path bytes begin with `prefix` (which ends in a slash).
    fn below(&self, origin: Origin, prefix: &[u8]) -> Result<Vec<StoredDocument>, StoreError>;
    /// The folders that are kept in step, by the bytes of their paths.
    fn folders(&self) -> Result<Vec<Vec<u8>>, StoreError>;
    /// Every document with how it stands.
    fn standings(&self) -> Result<Vec<Known>, StoreError>;
    /// A document's present text, to ask it what it states.
    fn present_text(&self, document_id: &str) -> Result<Option<String>, StoreError>;
    /// What is remembered of a file set aside, unless another version of this program met it.
    fn aside(&self, path_bytes: &[u8]) -> Result<Option<SetAside>, StoreError>;
    /// All that were tried at least so often, by path.
    fn all_aside(&self, tries_min: u32) -> Result<Vec<SetAside>, StoreError>;
    /// The files that wait to be read, in the order in which they came.
    fn queue(&self) -> Result<Vec<QueueEntry>, StoreError>;
    /// Passages after `after` that have no vector of this embedder.
    fn without_vector(
        &self,
        embedder: i64,
        after: u64,
        limit: usize,
    ) -> Result<Vec<StoredPassage>, StoreError>;
    /// How many they are.
    fn without_vector_count(&self, embedder: i64, after: u64) -> Result<usize, StoreError>;
    /// The passages with these ids that exist, in no particular order, as they are embedded.
    fn stored_passages(&self, ids: &[u64]) -> Result<Vec<StoredPassage>, StoreError>;
    /// Whether there is a document of that id.
    fn has_document(&self, document_id: &str) -> Result<bool, StoreError>;
    /// Every file that this data directory accepted and that is not forgotten, in the order in which they came.
    fn intakes(&self) -> Result<Vec<IntakeRow>, StoreError>;
    /// Records a file that was accepted; returns its number.
    fn put_intake(&self, row: &IntakeRow) -> Result<i64, StoreError>;
    /// Forgets a file that was accepted.
    fn drop_intake(&self, id: i64) -> Result<(), StoreError>;
    /// Queues documents with pages without text, so that these are recognised; returns how many there are.
    fn queue_for_recognition(&self) -> Result<usize, StoreError>;
    /// Records files to read; those already queued keep their place.
    fn enqueue(&self, entries: &[QueueEntry]) -> Result<(), StoreError>;
    /// Makes a queued file this process's own until it is off the queue or [`Shelf::release`] is called; false if
    /// another process has it or it is not queued any more. At most one at a time.
    fn claim(&self, entry: &QueueEntry, path: &Path) -> Result<bool, StoreError>;
    /// Gives back what was claimed and is still queued.
    fn release(&self) -> Result<(), StoreError>;
    /// Keeps the bytes of an upload at `path` and queues it, claimed.
    fn keep_upload(&self, entry: &QueueEntry, path: &Path, bytes: &[u8]) -> Result<(), StoreError>;
    /// Writes a document with all that is found by it, and takes it off the queue.
    fn put(&self, new: &NewDocument<'_>, prepared: &Prepared) -> Result<(), StoreError>;
    /// Writes all these documents or none.
    fn put_all(&self, next: &mut NextShelved<'_>) -> Result<(), StoreError>;
    /// Makes sure that all who share the documents go by the same rules.
    fn agree_on_rules(&self, dir: &Path) -> Result<(), StoreError>;
    /// Makes the rules in `dir` those of all who share the documents.
    fn publish_rules(&self, dir: &Path) -> Result<(), StoreError>;
    /// Records that a file's bytes are the ones already stored, and takes it off the queue.
    fn touch(&self, new: &NewDocument<'_>) -> Result<(), StoreError>;
    /// Takes a file off the queue and remembers why it failed.
    fn fail(
        &self,
        entry: &QueueEntry,
        path: &str,
        reason: &str,
        readers: &Audience,
    ) -> Result<(), StoreError>;
    /// Records that the reader died of these bytes; returns how often it has by now.
    fn put_aside(
        &self,
        entry: &QueueEntry,
        version: &str,
        stat: Stat,
        reason: &str,
    ) -> Result<u32, StoreError>;
    /// Forgets that a file was set aside, so that it is tried again.
    fn drop_aside(&self, path_bytes: &[u8]) -> Result<(), StoreError>;
    /// Forgets every file set aside, so that it is tried again.
    fn clear_aside(&self) -> Result<(), StoreError>;
    /// Erases documents with all their versions; returns how many there were.
    fn erase(&self, ids: &[String]) -> Result<usize, StoreError>;
    /// Records how documents stand now.
    fn set_standings(&self, moved: &[Moved]) -> Result<(), StoreError>;
    /// Says who may know of files that failed; nobody needs to any more where there is no audience.
    fn set_failures(&self, readers: &[(Vec<u8>, Option<Audience>)]) -> Result<(), StoreError>;
    /// Remembers folders that are to be kept in step; returns how many are new.
    fn put_folders(&self, folders: &[&[u8]]) -> Result<usize, StoreError>;
    /// Forgets a folder; whether it was remembered.
    fn drop_folder(&self, folder: &[u8]) -> Result<bool, StoreError>;
    /// Makes everything that was put so far searchable, and remembers nothing of a disk that was full.
    fn flush(&self) -> Result<(), StoreError>;
    /// The embedder, made the present one, with what it is loaded from.
    fn use_embedder(&self, id: &EmbedderId, source: &str) -> Result<EmbedderRow, StoreError>;
    /// Stores vectors of passages that still exist, in place of another embedder's; `None` where none could be made.
    fn put_vectors(&self, embedder: EmbedderRow, vectors: &[Made]) -> Result<(), StoreError>;
    /// Remembers a refused question and forgets the oldest beyond `kept`.
    fn put_refusal(&self, refusal: &RefusalRow, kept: usize) -> Result<(), StoreError>;
    /// Forgets every refused question, or only how they were worded.
    fn forget_refusals(&self, all: bool) -> Result<(), StoreError>;
}
