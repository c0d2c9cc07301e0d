//! The store: one data directory with its catalog, word index, vectors and uploads.
//!
//! Taking in stands in [`crate::ingest`], searching and reading in [`crate::view`]; here are opening and removing.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use stdx::clock::Today;
use stdx::fs;
use stdx::hash::short_id;
use stdx::lock::{FileLock, LockError};

use crate::access::Reader;
use crate::catalog::{Catalog, Origin, Stat};
use crate::dense::{Dense, Graphs};
use crate::embedding::OwnVectors;
use crate::error::StoreError;
use crate::lexical::{Lexical, Verify, folder, folders};
use crate::prepare::ReadOptions;
use crate::quality::Refusals;
use crate::types::{Access, DocumentInfo, ReindexProgress};
use crate::validity::AsOf;
use crate::view::View;
use crate::writer::Writer;

/// The documents of one data directory.
pub struct Store {
    pub(crate) dir: PathBuf,
    pub(crate) access: Access,
    pub(crate) catalog: Catalog,
    pub(crate) lexical: RwLock<Arc<Lexical>>,
    dense: RwLock<Option<Dense>>,
    pub(crate) graphs: Graphs,
    pub(crate) writer: Mutex<Writer>,
    /// One ingest at a time; searches do not wait for it.
    pub(crate) ingesting: Mutex<()>,
    /// One new index at a time; ingests do not wait for it.
    pub(crate) reindexing: Mutex<()>,
    /// How far it is.
    pub(crate) reindex_progress: Mutex<Option<ReindexProgress>>,
    /// Why nothing can be written now.
    pub(crate) read_only: Mutex<Option<String>>,
    /// What was written when the disk failed, and why; nothing has been written since.
    pub(crate) disk_failed: Mutex<Option<(PathBuf, String)>>,
    /// Passages up to this id have a vector of this embedder.
    pub(crate) embedded_up_to: Mutex<(i64, u64)>,
    pub(crate) own_vectors: Mutex<OwnVectors>,
    /// The index on disk turned out to be damaged; the one in memory stays.
    pub(crate) disk_index_bad: AtomicBool,
    /// Raised whenever a folder is remembered or forgotten.
    pub(crate) folders_changed: AtomicU64,
    /// The file of rules when the audiences of all documents were last looked at.
    pub(crate) rules_seen: Mutex<[Option<Stat>; 2]>,
    read_options: Mutex<ReadOptions>,
    today: Today,
    /// What is remembered of refused questions.
    pub(crate) refusals: Mutex<Refusals>,
    lock: Option<Mutex<FileLock>>,
}

pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens (with [`Access::Write`]: creates) the store in `dir`.
    ///
    /// # Errors
    /// [`StoreError::NotAStore`] when there is nothing to read, [`StoreError::Held`] when another process writes,
    /// [`StoreError::NewerSchema`] and [`StoreError::Damaged`] for a database that cannot be used.
    pub fn open(dir: &Path, access: Access) -> Result<Self, StoreError> {
        let lock = match access {
            Access::Read => None,
            Access::Write => Some(Mutex::new(lock(dir)?)),
        };
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
        let lexical = open_lexical(&folder(&dir, catalog.index_folder()?), access, &catalog)?;
        let graphs = Graphs::new(&dir, access == Access::Write);
        let store = Self {
            dir,
            access,
            catalog,
            lexical: RwLock::new(Arc::new(lexical)),
            dense: RwLock::new(None),
            graphs,
            writer: Mutex::new(writer),
            ingesting: Mutex::new(()),
            reindexing: Mutex::new(()),
            reindex_progress: Mutex::new(None),
            read_only: Mutex::new(read_only),
            disk_failed: Mutex::new(None),
            embedded_up_to: Mutex::new((0, 0)),
            own_vectors: Mutex::default(),
            disk_index_bad: AtomicBool::new(false),
            folders_changed: AtomicU64::new(0),
            rules_seen: Mutex::new([None; 2]),
            read_options: Mutex::new(ReadOptions::default()),
            today: Today::default(),
            refusals: Mutex::new(Refusals::default()),
            lock,
        };
        if access == Access::Write {
            match store.finish_index().and_then(|()| store.sweep_folders()) {
                Err(error) if error.is_no_space() => {}
                other => other?,
            }
        }
        Ok(store)
    }

    /// Writes a line about this process into the lock, for whoever finds the store in use.
    ///
    /// # Errors
    /// When the lock file cannot be written. Does nothing for a store open for reading.
    pub fn describe_holder(&self, line: &str) -> Result<(), StoreError> {
        match &self.lock {
            Some(lock) => held(lock).describe(line).map_err(StoreError::file),
            None => Ok(()),
        }
    }

    /// Sets how documents are read from now on.
    pub fn configure(&self, options: ReadOptions) {
        *held(&self.read_options) = options;
    }

    pub(crate) fn read_options(&self) -> ReadOptions {
        held(&self.read_options).clone()
    }

    /// The data directory, absolute.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn lexical(&self) -> Arc<Lexical> {
        let current = Arc::clone(&self.lexical.read().unwrap_or_else(PoisonError::into_inner));
        // A reader that came while the index was being made anew takes the one on disk as soon as it is there.
        let may_be_back =
            self.access == Access::Read && current.is_in_memory() && !self.disk_index_bad.load(Relaxed);
        if may_be_back && let Some(fresh) = Lexical::open(current.dir(), &self.catalog, Verify::No) {
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

    /// Whether no graph of vectors is missing or being made: until then, vectors are scanned, which takes longer.
    pub fn vectors_are_settled(&self) -> bool {
        let shared = self.dense.read().unwrap_or_else(PoisonError::into_inner);
        shared.as_ref().is_none_or(Dense::is_settled)
    }

    /// The day on which it is asked what holds today.
    pub fn today(&self) -> &Today {
        &self.today
    }

    /// What a reader may see of it today: every way to read goes through here.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn view(&self, reader: &Reader) -> Result<View<'_>, StoreError> {
        self.view_as_of(reader, AsOf::default())
    }

    /// What a reader may see of it, and finds of what holds on another day or of everything.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn view_as_of(&self, reader: &Reader, as_of: AsOf) -> Result<View<'_>, StoreError> {
        View::new(self, reader, as_of)
    }

    /// Removes a document with all its versions (and the kept file of an upload); false if there is none.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn remove(&self, document_id: &str) -> Result<bool, StoreError> {
        let known = self
            .all_documents()?
            .into_iter()
            .find(|d| d.document_id == document_id);
        match known {
            Some(document) => Ok(self.erase(&[document])? > 0),
            None => Ok(false),
        }
    }

    /// Removes the document of a file, all documents below a folder, or the upload of that name; returns how many.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn remove_path(&self, path: &Path) -> Result<usize, StoreError> {
        // The file may be gone already; then its path is taken as it was named.
        let absolute = fs::canonicalize(path)
            .or_else(|_| std::path::absolute(path).map_err(|e| fs::FsError::new("find", path, e)))?;
        let ids: BTreeSet<String> = {
            let mut prefix = absolute.as_os_str().as_bytes().to_vec();
            let exact = self.catalog.by_path(&prefix)?;
            prefix.push(b'/');
            let below = self.catalog.below(Origin::File, &prefix)?;
            let upload = self.catalog.by_path(path.as_os_str().as_bytes())?;
            exact
                .into_iter()
                .chain(below)
                .chain(upload)
                .map(|d| d.document_id)
                .collect()
        };
        let documents = self.all_documents()?;
        let doomed: Vec<DocumentInfo> = documents
            .into_iter()
            .filter(|d| ids.contains(&d.document_id))
            .collect();
        self.erase(&doomed)
    }

    fn all_documents(&self) -> Result<Vec<DocumentInfo>, StoreError> {
        let all = self.catalog.audiences_of(&Reader::keeper())?;
        self.catalog.documents(&all)
    }

    fn erase(&self, documents: &[DocumentInfo]) -> Result<usize, StoreError> {
        let ids: Vec<String> = documents.iter().map(|d| d.document_id.clone()).collect();
        let n = self.erase_ids(&ids)?;
        for document in documents
            .iter()
            .filter(|d| d.document_id == Self::upload_id(&d.path))
        {
            let kept = self.uploads().join(&document.path);
            if fs::metadata(&kept).is_ok() {
                fs::remove_file(&kept)?;
            }
        }
        Ok(n)
    }

    /// The id of the document of a file; `None` if there is none.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn id_at(&self, path: &Path) -> Result<Option<String>, StoreError> {
        let Ok(path) = fs::canonicalize(path) else {
            return Ok(None);
        };
        let known = self.catalog.by_path(path.as_os_str().as_bytes())?;
        Ok(known.map(|known| known.document_id))
    }

    /// The id of the document of an upload.
    pub fn upload_id(name: &str) -> String {
        short_id('d', format!("upload:{name}").as_bytes())
    }

    pub(crate) fn uploads(&self) -> PathBuf {
        self.dir.join("uploads")
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.access == Access::Write && held(&self.disk_failed).is_none() {
            held(&self.writer).finish(&self.catalog);
        }
    }
}

pub(crate) fn id_of_file(path_bytes: &[u8]) -> String {
    short_id('d', path_bytes)
}

pub(crate) fn id_of_source(path_bytes: &[u8]) -> String {
    // The paths of files are absolute, so none begins like this.
    short_id('d', &[b"source:", path_bytes].concat())
}

fn lock(dir: &Path) -> Result<FileLock, StoreError> {
    fs::create_dir_all(dir).map_err(StoreError::file)?;
    FileLock::try_acquire(dir.join("lock")).map_err(|error| match error {
        LockError::Held { holder, .. } => StoreError::Held {
            dir: dir.to_owned(),
            holder,
        },
        LockError::Fs(error) => StoreError::file(error),
    })
}

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
