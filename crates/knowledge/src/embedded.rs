//! The embedded store: SQLite, the word index and the vectors of one data directory.
//!
//! What it does on the way of a question or an ingest; the writing half stands in [`crate::writer`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use stdx::fs;

use crate::access::{Audience, Reader};
use crate::analysis::Analysis;
use crate::boxes::PageWords;
use crate::catalog::{
    AudienceSet, Catalog, Counts, FailureRow, IntakeRow, Known, Moved, NewDocument, Origin, Paged,
    PassageRow, Passages, PresentEmbedder, QueueEntry, RefusalRow, SetAside, Side, Stat, StoredDocument,
    StoredPages, StoredPassage, StreamedDocument,
};
use crate::dense::{self, Dense, Graphs, encode};
use crate::error::StoreError;
use crate::failpoint::{FailPoint, pass};
use crate::lexical::{Lexical, Verify, folder, folders, remove_if_there};
use crate::prepare::Prepared;
use crate::shelf::{EmbedderRow, Finds, Ingests, Made, NextShelved, Reads};
use crate::store::held;
use crate::suggest::Typed;
use crate::types::{Access, DocumentInfo, DocumentText, EmbedderId};
use crate::validity::Date;
use crate::writer::Writer;

/// The files of one data directory.
pub(crate) struct Embedded {
    pub(crate) dir: PathBuf,
    pub(crate) access: Access,
    pub(crate) catalog: Catalog,
    /// How text becomes terms of the word index.
    pub(crate) analysis: Arc<Analysis>,
    pub(crate) lexical: RwLock<Arc<Lexical>>,
    dense: RwLock<Option<Dense>>,
    pub(crate) graphs: Graphs,
    pub(crate) writer: Mutex<Writer>,
    /// Why nothing can be written now.
    pub(crate) read_only: Mutex<Option<String>>,
    /// What was written when the disk failed, and why; nothing has been written since.
    pub(crate) disk_failed: Mutex<Option<(PathBuf, String)>>,
    /// The index on disk turned out to be damaged; the one in memory stays.
    pub(crate) disk_index_bad: AtomicBool,
    /// The list of files of the index on disk that was last found damaged: it is looked at again when that has changed.
    refused_index: Mutex<Option<Vec<u8>>>,
}

impl Embedded {
    /// Opens (with [`Access::Write`]: creates) what is in `dir`, which is locked by now.
    pub(crate) fn open(dir: &Path, access: Access, analysis: Arc<Analysis>) -> Result<Self, StoreError> {
        let database = dir.join("hanok.sqlite");
        let exists = fs::metadata(&database).is_ok_and(|file| file.len() > 0);
        if !exists && folders(dir).iter().any(|folder| Lexical::is_in(folder)) {
            return Err(StoreError::Damaged {
                path: database,
                what: "it is missing or empty, but its word index is there".to_owned(),
            });
        }
        if access == Access::Read && !exists {
            return Err(StoreError::NotAStore { dir: dir.to_owned() });
        }
        let dir = fs::canonicalize(dir)?;
        let catalog = Catalog::new(dir.join("hanok.sqlite"));
        let mut writer = Writer::default();
        let mut read_only = None;
        if access == Access::Write {
            match writer.connect(&catalog).map(drop) {
                Err(error) if error.is_no_space() && exists => read_only = Some(error.to_string()),
                other => other?,
            }
        }
        catalog.check()?;
        let lexical = open_lexical(
            &folder(&dir, catalog.index_folder()?),
            access,
            &catalog,
            &analysis,
        )?;
        let graphs = Graphs::new(&dir, access == Access::Write);
        let embedded = Self {
            dir,
            access,
            catalog,
            analysis,
            lexical: RwLock::new(Arc::new(lexical)),
            dense: RwLock::new(None),
            graphs,
            writer: Mutex::new(writer),
            read_only: Mutex::new(read_only),
            disk_failed: Mutex::new(None),
            disk_index_bad: AtomicBool::new(false),
            refused_index: Mutex::new(None),
        };
        if access == Access::Write {
            match embedded.finish_index().and_then(|()| embedded.sweep_folders()) {
                Err(error) if error.is_no_space() => {}
                other => other?,
            }
        }
        Ok(embedded)
    }

    pub(crate) fn lexical(&self) -> Arc<Lexical> {
        let current = Arc::clone(&self.lexical.read().unwrap_or_else(PoisonError::into_inner));
        // A reader that came while the index was being made anew takes the one on disk as soon as it is there.
        let may_be_back =
            self.access == Access::Read && current.is_in_memory() && !self.disk_index_bad.load(Relaxed);
        if may_be_back && let Some(fresh) = self.back_on_disk(current.dir()) {
            return self.set_lexical(fresh);
        }
        if self.access == Access::Read
            && let Some(fresh) = self.reopened(&current)
        {
            return fresh;
        }
        current
    }

    pub(crate) fn set_lexical(&self, lexical: Lexical) -> Arc<Lexical> {
        let fresh = Arc::new(lexical);
        *self.lexical.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
        fresh
    }

    /// The word index on disk, if it is another than the one that was refused, and sound.
    fn back_on_disk(&self, dir: &Path) -> Option<Lexical> {
        let files = Lexical::list_of_files(dir)?;
        let mut refused = self.refused_index.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.as_ref() == Some(&files) {
            return None;
        }
        let fresh = Lexical::open(dir, &self.catalog, Verify::Small, &self.analysis);
        *refused = fresh.is_none().then_some(files);
        fresh
    }

    /// The word index in use by now; another process may have put a new one in its place.
    fn reopened(&self, current: &Arc<Lexical>) -> Option<Arc<Lexical>> {
        let number = self.catalog.index_folder().ok()?;
        let dir = folder(&self.dir, number);
        if current.dir() == dir {
            return None;
        }
        let fresh = self.opened(&dir)?;
        Some(self.set_lexical(fresh))
    }

    fn opened(&self, dir: &Path) -> Option<Lexical> {
        Lexical::open(dir, &self.catalog, Verify::No, &self.analysis)
    }

    /// Where the word index is.
    pub(crate) fn lexical_dir(&self) -> Result<PathBuf, StoreError> {
        Ok(folder(&self.dir, self.catalog.index_folder()?))
    }

    /// Removes folders of word indexes that neither answer nor are being made.
    pub(crate) fn sweep_folders(&self) -> Result<(), StoreError> {
        let present = folder(&self.dir, self.catalog.index_folder()?);
        let building = self
            .catalog
            .building()?
            .map(|b| folder(&self.dir, b.index_folder));
        for found in folders(&self.dir) {
            if found != present && Some(&found) != building.as_ref() {
                remove_if_there(&found)?;
            }
        }
        Ok(())
    }

    /// Asks the vectors of an embedder, as they are now.
    pub(crate) fn with_dense<T>(
        &self,
        embedder: i64,
        dim: usize,
        ask: impl FnOnce(&Dense) -> T,
    ) -> Result<T, StoreError> {
        let shared = self.dense.read().unwrap_or_else(PoisonError::into_inner);
        let known = shared.as_ref().filter(|dense| dense.is_of(embedder, dim));
        if let Some(dense) = known
            && !dense.is_stale(&self.catalog)?
        {
            return Ok(ask(dense));
        }
        drop(shared);
        let mut own = self.dense.write().unwrap_or_else(PoisonError::into_inner);
        let dense = match &mut *own {
            Some(dense) if dense.is_of(embedder, dim) => dense,
            other => other.insert(Dense::new(&self.catalog, embedder, dim, self.graphs.clone())?),
        };
        dense.refresh(&self.catalog)?;
        Ok(ask(dense))
    }

    /// Lets the vectors in memory go; they are loaded again when they are asked.
    pub(crate) fn forget_dense(&self) {
        *self.dense.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether no graph of vectors is missing or being made.
    pub(crate) fn vectors_are_settled(&self) -> bool {
        let shared = self.dense.read().unwrap_or_else(PoisonError::into_inner);
        shared.as_ref().is_none_or(Dense::is_settled)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if self.access == Access::Write && held(&self.disk_failed).is_none() {
            held(&self.writer).finish(&self.catalog);
        }
    }
}

impl Reads for Embedded {
    fn audiences(&self, reader: &Reader, day: Option<Date>) -> Result<AudienceSet, StoreError> {
        self.catalog.audiences_on(reader, day)
    }

    fn counts(&self, allowed: &AudienceSet) -> Result<Counts, StoreError> {
        self.catalog.counts(allowed)
    }

    fn documents(&self, allowed: &AudienceSet) -> Result<Vec<DocumentInfo>, StoreError> {
        self.catalog.documents(allowed)
    }

    fn document(
        &self,
        id: &str,
        version: Option<&str>,
        allowed: &AudienceSet,
    ) -> Result<Option<DocumentText>, StoreError> {
        self.catalog.document(id, version, allowed)
    }

    fn pages(
        &self,
        id: &str,
        version: Option<&str>,
        allowed: &AudienceSet,
    ) -> Result<Option<StoredPages>, StoreError> {
        self.catalog.pages(id, version, allowed)
    }

    fn page_words(&self, id: &str, version: &str, page: u32) -> Result<Option<PageWords>, StoreError> {
        self.catalog.page_words(id, version, page)
    }

    fn passages(&self, ids: &[u64]) -> Result<Vec<PassageRow>, StoreError> {
        self.catalog.passages(ids)
    }

    fn first_passages(&self, ids: &BTreeSet<u64>) -> Result<BTreeMap<u64, u64>, StoreError> {
        self.catalog.first_passages(ids)
    }

    fn beside(&self, passage_id: u64) -> Result<Vec<(Side, PassageRow)>, StoreError> {
        self.catalog.beside(passage_id)
    }

    fn each_document(
        &self,
        allowed: &AudienceSet,
        visit: &mut dyn FnMut(StreamedDocument),
    ) -> Result<(), StoreError> {
        self.catalog.each_document(allowed, visit)
    }

    fn paged(&self, format: &str, allowed: &AudienceSet) -> Result<Vec<Paged>, StoreError> {
        self.catalog.paged(format, allowed)
    }

    fn failures(&self, allowed: &AudienceSet) -> Result<Vec<FailureRow>, StoreError> {
        self.catalog.failures(allowed)
    }

    fn refusals(&self) -> Result<Vec<RefusalRow>, StoreError> {
        self.catalog.refusals()
    }

    fn read_only(&self) -> Option<String> {
        held(&self.read_only).clone()
    }
}

impl Finds for Embedded {
    fn by_words(
        &self,
        question: &str,
        limit: usize,
        allowed: &AudienceSet,
    ) -> Result<Vec<(u64, f32)>, StoreError> {
        let lexical = self.lexical();
        if let Some(found) = lexical.other_analyser().filter(|_| self.access == Access::Read) {
            return Err(StoreError::OtherAnalyser {
                dir: self.dir.clone(),
                found: found.to_owned(),
                known: self.analysis.name().to_owned(),
            });
        }
        match lexical.search(question, limit, allowed) {
            Err(StoreError::Index { source, .. }) => {
                tracing::warn!(%source, "the word index failed and is made anew");
                self.heal_index()?;
                self.lexical().search(question, limit, allowed)
            }
            other => other,
        }
    }

    fn known_embedder(&self, id: &EmbedderId) -> Result<Option<EmbedderRow>, StoreError> {
        let present = self.catalog.embedder_in_force()?.filter(|present| {
            present.has_vectors && (&present.id.sha256, present.id.dim) == (&id.sha256, id.dim)
        });
        Ok(present.map(|present| EmbedderRow {
            row: present.row,
            dim: id.dim,
        }))
    }

    fn embedder_in_force(&self) -> Result<Option<PresentEmbedder>, StoreError> {
        self.catalog.embedder_in_force()
    }

    fn generation(&self) -> Result<i64, StoreError> {
        self.catalog.generation()
    }

    fn by_vector(
        &self,
        embedder: EmbedderRow,
        vector: &[f32],
        limit: usize,
        allowed: &AudienceSet,
        exactly: bool,
    ) -> Result<Vec<(u64, f32)>, StoreError> {
        let near = self.with_dense(embedder.row, embedder.dim, |dense| {
            dense.candidates(vector, limit, allowed, exactly)
        })?;
        Ok(dense::nearest(
            vector,
            &self.catalog.vectors(embedder.row, &near)?,
            limit,
        ))
    }

    fn titled(&self, typed: &Typed, limit: usize, allowed: &AudienceSet) -> Result<Vec<u64>, StoreError> {
        self.lexical().titled(typed, limit, allowed)
    }

    fn passage_frequency(&self, term: &str, allowed: &AudienceSet) -> Result<u64, StoreError> {
        self.lexical().passage_frequency(term, allowed)
    }

    fn may_lag(&self) -> Result<bool, StoreError> {
        Ok(self.lexical().is_in_memory() || !self.catalog.marks()?.is_empty())
    }

    fn is_shared(&self) -> bool {
        false
    }
}

impl Ingests for Embedded {
    fn by_path(&self, path_bytes: &[u8]) -> Result<Option<StoredDocument>, StoreError> {
        self.catalog.by_path(path_bytes)
    }

    fn below(&self, origin: Origin, prefix: &[u8]) -> Result<Vec<StoredDocument>, StoreError> {
        self.catalog.below(origin, prefix)
    }

    fn folders(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        self.catalog.folders()
    }

    fn standings(&self) -> Result<Vec<Known>, StoreError> {
        self.catalog.standings()
    }

    fn present_text(&self, document_id: &str) -> Result<Option<String>, StoreError> {
        self.catalog.present_text(document_id)
    }

    fn aside(&self, path_bytes: &[u8]) -> Result<Option<SetAside>, StoreError> {
        self.catalog.aside(path_bytes)
    }

    fn all_aside(&self, tries_min: u32) -> Result<Vec<SetAside>, StoreError> {
        self.catalog.all_aside(tries_min)
    }

    fn queue(&self) -> Result<Vec<QueueEntry>, StoreError> {
        self.catalog.queue()
    }

    fn without_vector(
        &self,
        embedder: i64,
        after: u64,
        limit: usize,
    ) -> Result<Vec<StoredPassage>, StoreError> {
        self.catalog
            .without_vector(Passages::Present, embedder, after, limit)
    }

    fn without_vector_count(&self, embedder: i64, after: u64) -> Result<usize, StoreError> {
        self.catalog
            .without_vector_count(Passages::Present, embedder, after)
    }

    fn stored_passages(&self, ids: &[u64]) -> Result<Vec<StoredPassage>, StoreError> {
        self.catalog.stored_passages(Passages::Present, ids)
    }

    fn has_document(&self, document_id: &str) -> Result<bool, StoreError> {
        self.catalog.has_document(document_id)
    }

    fn intakes(&self) -> Result<Vec<IntakeRow>, StoreError> {
        self.catalog.intakes()
    }

    fn put_intake(&self, row: &IntakeRow) -> Result<i64, StoreError> {
        self.write(|store, writer| {
            let id = store.catalog.put_intake(writer.connect(&store.catalog)?, row)?;
            pass(FailPoint::IntakeRecorded);
            Ok(id)
        })
    }

    fn drop_intake(&self, id: i64) -> Result<(), StoreError> {
        self.write(|store, writer| {
            store.catalog.drop_intake(writer.connect(&store.catalog)?, id)?;
            pass(FailPoint::IntakeForgotten);
            Ok(())
        })
    }

    fn drop_aside(&self, path_bytes: &[u8]) -> Result<(), StoreError> {
        self.write(|store, writer| {
            store
                .catalog
                .drop_aside(writer.connect(&store.catalog)?, path_bytes)
        })
    }

    fn queue_for_recognition(&self) -> Result<usize, StoreError> {
        self.write(|store, writer| {
            store
                .catalog
                .queue_for_recognition(writer.connect(&store.catalog)?)
        })
    }

    fn enqueue(&self, entries: &[QueueEntry]) -> Result<(), StoreError> {
        self.write(|store, writer| {
            store.catalog.enqueue(writer.connect(&store.catalog)?, entries)?;
            pass(FailPoint::FilesQueued);
            Ok(())
        })
    }

    fn claim(&self, _: &QueueEntry, _: &Path) -> Result<bool, StoreError> {
        // Whoever writes a data directory is alone in it.
        Ok(true)
    }

    fn release(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn keep_upload(&self, entry: &QueueEntry, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        self.write(|store, writer| {
            // Queued first: cut off in between, the file that is kept is the one that was taken in.
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(StoreError::file)?;
            }
            let connection = writer.connect(&store.catalog)?;
            store.catalog.enqueue(connection, std::slice::from_ref(entry))?;
            pass(FailPoint::UploadQueued);
            fs::write_atomic(path, bytes).map_err(StoreError::file)?;
            pass(FailPoint::UploadKept);
            Ok(())
        })
    }

    fn put(&self, new: &NewDocument<'_>, prepared: &Prepared) -> Result<(), StoreError> {
        self.write(|store, writer| {
            let seq = store
                .catalog
                .put(writer.connect(&store.catalog)?, new, prepared)?;
            pass(FailPoint::DocumentCommitted);
            store.index(writer, &[(new.document_id.to_owned(), seq)])
        })
    }

    fn put_all(&self, next: &mut NextShelved<'_>) -> Result<(), StoreError> {
        self.write(|store, writer| {
            let marks = store.catalog.put_all(writer.connect(&store.catalog)?, next)?;
            pass(FailPoint::DocumentCommitted);
            store.index(writer, &marks)?;
            store.flush(writer)
        })
    }

    fn agree_on_rules(&self, _: &Path) -> Result<(), StoreError> {
        // Nobody else goes by any.
        Ok(())
    }

    fn publish_rules(&self, _: &Path) -> Result<(), StoreError> {
        Ok(())
    }

    fn touch(&self, new: &NewDocument<'_>) -> Result<(), StoreError> {
        self.write(|store, writer| {
            store.catalog.touch(writer.connect(&store.catalog)?, new)?;
            pass(FailPoint::FileTouched);
            Ok(())
        })
    }

    fn fail(
        &self,
        entry: &QueueEntry,
        path: &str,
        reason: &str,
        readers: &Audience,
    ) -> Result<(), StoreError> {
        self.write(|store, writer| {
            let connection = writer.connect(&store.catalog)?;
            store.catalog.fail(connection, entry, path, reason, readers)?;
            pass(FailPoint::FileDequeued);
            Ok(())
        })
    }

    fn put_aside(
        &self,
        entry: &QueueEntry,
        version: &str,
        stat: Stat,
        reason: &str,
    ) -> Result<u32, StoreError> {
        self.write(|store, writer| {
            let connection = writer.connect(&store.catalog)?;
            store.catalog.put_aside(connection, entry, version, stat, reason)
        })
    }

    fn clear_aside(&self) -> Result<(), StoreError> {
        self.write(|store, writer| store.catalog.clear_aside(writer.connect(&store.catalog)?))
    }

    fn erase(&self, ids: &[String]) -> Result<usize, StoreError> {
        self.erase_ids(ids)
    }

    fn set_standings(&self, moved: &[Moved]) -> Result<(), StoreError> {
        self.write(|store, writer| {
            for some in moved.chunks(TOGETHER_MAX) {
                let marks = store
                    .catalog
                    .set_standings(writer.connect(&store.catalog)?, some)?;
                pass(FailPoint::AudienceCommitted);
                store.index(writer, &marks)?;
            }
            store.flush(writer)
        })
    }

    fn set_failures(&self, readers: &[(Vec<u8>, Option<Audience>)]) -> Result<(), StoreError> {
        self.write(|store, writer| {
            let connection = writer.connect(&store.catalog)?;
            readers.iter().try_for_each(|(path, audience)| {
                store.catalog.set_failure(connection, path, audience.as_ref())
            })
        })
    }

    fn put_folders(&self, folders: &[&[u8]]) -> Result<usize, StoreError> {
        self.write(|store, writer| {
            store
                .catalog
                .put_folders(writer.connect(&store.catalog)?, folders)
        })
    }

    fn drop_folder(&self, folder: &[u8]) -> Result<bool, StoreError> {
        self.write(|store, writer| store.catalog.drop_folder(writer.connect(&store.catalog)?, folder))
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.write(Self::flush)?;
        *held(&self.read_only) = None;
        Ok(())
    }

    fn use_embedder(&self, id: &EmbedderId, source: &str) -> Result<EmbedderRow, StoreError> {
        let row = match self.catalog.embedder_in_force()? {
            Some(present) if present.id == *id && present.source == source => present.row,
            _ => self.write(|store, writer| {
                let connection = writer.connect(&store.catalog)?;
                store.catalog.record_embedder(connection, id, source, true)
            })?,
        };
        Ok(EmbedderRow { row, dim: id.dim })
    }

    fn put_vectors(&self, embedder: EmbedderRow, vectors: &[Made]) -> Result<(), StoreError> {
        let encoded = encoded(vectors);
        self.write(|store, writer| {
            store
                .catalog
                .put_vectors(writer.connect(&store.catalog)?, embedder.row, &encoded)
        })
    }

    fn put_refusal(&self, refusal: &RefusalRow, kept: usize) -> Result<(), StoreError> {
        self.write(|store, writer| {
            store
                .catalog
                .put_refusal(writer.connect(&store.catalog)?, refusal, kept)
        })
    }

    fn forget_refusals(&self, all: bool) -> Result<(), StoreError> {
        self.write(|store, writer| {
            store
                .catalog
                .forget_refusals(writer.connect(&store.catalog)?, all)
        })
    }
}

/// Documents that are changed in one transaction.
const TOGETHER_MAX: usize = 256;

/// Vectors as they are stored, but for those that could not be made.
pub(crate) fn encoded(vectors: &[Made]) -> Vec<(u64, Vec<u8>)> {
    let made = vectors
        .iter()
        .filter_map(|(id, vector)| Some((*id, vector.as_ref()?)));
    made.map(|(id, vector)| (id, encode(vector))).collect()
}

fn open_lexical(
    dir: &Path,
    access: Access,
    catalog: &Catalog,
    analysis: &Arc<Analysis>,
) -> Result<Lexical, StoreError> {
    if let Some(lexical) = Lexical::open(dir, catalog, Verify::Small, analysis) {
        return Ok(lexical);
    }
    if access == Access::Read {
        return Lexical::in_memory(dir, catalog, analysis);
    }
    tracing::info!(dir = %dir.display(), "making the word index from the catalog");
    match Lexical::rebuild(dir, catalog, analysis) {
        Err(error) if error.is_no_space() => Lexical::in_memory(dir, catalog, analysis),
        other => other,
    }
}
