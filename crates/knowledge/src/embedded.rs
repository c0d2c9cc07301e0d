//! The embedded store: SQLite, the word index and the vectors of one data directory.
//!
//! What it does on the way of a question or an ingest; the writing half stands in [`crate::writer`].

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use stdx::fs;

use crate::access::{Audience, Reader};
use crate::boxes::PageWords;
use crate::catalog::{
    AudienceSet, Catalog, Counts, FailureRow, Known, Moved, NewDocument, Origin, PassageRow, QueueEntry,
    RefusalRow, SetAside, Side, Stat, StoredDocument, StoredPages, StoredPassage, StreamedDocument,
};
use crate::dense::{Dense, encode};
use crate::error::StoreError;
use crate::failpoint::{FailPoint, pass};
use crate::lexical::{Lexical, Verify};
use crate::prepare::Prepared;
use crate::shelf::{EmbedderRow, Finds, Ingests, NextShelved, Reads};
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
    lexical: RwLock<Arc<Lexical>>,
    dense: Mutex<Option<Dense>>,
    pub(crate) writer: Mutex<Writer>,
    /// Why nothing can be written now.
    pub(crate) read_only: Mutex<Option<String>>,
    /// What was written when the disk failed, and why; nothing has been written since.
    pub(crate) disk_failed: Mutex<Option<(PathBuf, String)>>,
    /// The index on disk turned out to be damaged; the one in memory stays.
    pub(crate) disk_index_bad: AtomicBool,
}

impl Embedded {
    /// Opens (with [`Access::Write`]: creates) what is in `dir`, which is locked by now.
    pub(crate) fn open(dir: &Path, access: Access) -> Result<Self, StoreError> {
        let database = dir.join("hanok.sqlite");
        let exists = fs::metadata(&database).is_ok_and(|file| file.len() > 0);
        if !exists && Lexical::is_in(&dir.join("lexical")) {
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
        let lexical = open_lexical(&dir.join("lexical"), access, &catalog)?;
        let embedded = Self {
            dir,
            access,
            catalog,
            lexical: RwLock::new(Arc::new(lexical)),
            dense: Mutex::new(None),
            writer: Mutex::new(writer),
            read_only: Mutex::new(read_only),
            disk_failed: Mutex::new(None),
            disk_index_bad: AtomicBool::new(false),
        };
        if access == Access::Write {
            match embedded.finish_index() {
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
        if may_be_back
            && let Some(fresh) = Lexical::open(&self.dir.join("lexical"), &self.catalog, Verify::No)
        {
            return self.set_lexical(fresh);
        }
        current
    }

    pub(crate) fn set_lexical(&self, lexical: Lexical) -> Arc<Lexical> {
        let fresh = Arc::new(lexical);
        *self.lexical.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
        fresh
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
        match self.lexical().search(question, limit, allowed) {
            Err(StoreError::Index { source, .. }) => {
                tracing::warn!(%source, "the word index failed and is made anew");
                self.heal_index()?;
                self.lexical().search(question, limit, allowed)
            }
            other => other,
        }
    }

    fn known_embedder(&self, id: &EmbedderId) -> Result<Option<EmbedderRow>, StoreError> {
        let row = self.catalog.embedder_row(id)?;
        Ok(row.map(|row| EmbedderRow { row, dim: id.dim }))
    }

    fn by_vector(
        &self,
        embedder: EmbedderRow,
        vector: &[f32],
        limit: usize,
        allowed: &AudienceSet,
    ) -> Result<Vec<(u64, f32)>, StoreError> {
        let mut guard = held(&self.dense);
        let dense = match &mut *guard {
            Some(dense) if dense.is_of(embedder.row, embedder.dim) => dense,
            other => other.insert(Dense::new(&self.catalog, embedder.row, embedder.dim)?),
        };
        dense.refresh(&self.catalog)?;
        Ok(dense.search(vector, limit, allowed))
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
        self.catalog.without_vector(embedder, after, limit)
    }

    fn without_vector_count(&self, embedder: i64, after: u64) -> Result<usize, StoreError> {
        self.catalog.without_vector_count(embedder, after)
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

    fn use_embedder(&self, id: &EmbedderId) -> Result<EmbedderRow, StoreError> {
        let row = self.write(|store, writer| match store.catalog.present_embedder(id)? {
            Some(row) => Ok(row),
            None => store.catalog.use_embedder(writer.connect(&store.catalog)?, id),
        })?;
        Ok(EmbedderRow { row, dim: id.dim })
    }

    fn put_vectors(
        &self,
        embedder: EmbedderRow,
        vectors: &[(u64, Option<Vec<f32>>)],
    ) -> Result<(), StoreError> {
        let made = vectors
            .iter()
            .filter_map(|(id, vector)| Some((*id, vector.as_ref()?)));
        let encoded: Vec<(u64, Vec<u8>)> = made.map(|(id, vector)| (id, encode(vector))).collect();
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

fn open_lexical(dir: &Path, access: Access, catalog: &Catalog) -> Result<Lexical, StoreError> {
    if let Some(lexical) = Lexical::open(dir, catalog, Verify::Small) {
        return Ok(lexical);
    }
    if access == Access::Read {
        return Lexical::in_memory(dir, catalog);
    }
    tracing::info!(dir = %dir.display(), "making the word index from the catalog");
    match Lexical::rebuild(dir, catalog) {
        Err(error) if error.is_no_space() => Lexical::in_memory(dir, catalog),
        other => other,
    }
}
