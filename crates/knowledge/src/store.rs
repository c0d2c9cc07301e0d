//! The store: one data directory with its uploads and rules, and what is kept of its documents there or elsewhere.
//!
//! Taking in stands in [`crate::ingest`], searching and reading in [`crate::view`]; here are opening and removing.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use stdx::clock::Today;
use stdx::fs;
use stdx::hash::short_id;
use stdx::lock::{FileLock, LockError};

use crate::access::Reader;
use crate::analysis::Analysis;
use crate::catalog::{Origin, Stat};
use crate::embedded::Embedded;
use crate::embedding::OwnVectors;
use crate::error::StoreError;
use crate::pg::{Postgres, PostgresAddress};
use crate::prepare::ReadOptions;
use crate::quality::Refusals;
use crate::shelf::Shelf;
use crate::types::{Access, DocumentInfo, ReindexProgress, Rerank};
use crate::validity::AsOf;
use crate::view::View;

/// The documents of one data directory.
pub struct Store {
    pub(crate) dir: PathBuf,
    pub(crate) access: Access,
    kept: Kept,
    /// One ingest at a time; searches do not wait for it.
    pub(crate) ingesting: Mutex<()>,
    /// One new index at a time; ingests do not wait for it.
    pub(crate) reindexing: Mutex<()>,
    /// How far it is.
    pub(crate) reindex_progress: Mutex<Option<ReindexProgress>>,
    /// Passages up to this id have a vector of this embedder.
    pub(crate) embedded_up_to: Mutex<(i64, u64)>,
    pub(crate) own_vectors: Mutex<OwnVectors>,
    /// Raised whenever a folder is remembered or forgotten.
    pub(crate) folders_changed: AtomicU64,
    /// The file of rules when the audiences of all documents were last looked at.
    pub(crate) rules_seen: Mutex<[Option<Stat>; 2]>,
    read_options: Mutex<ReadOptions>,
    today: Today,
    /// What is remembered of refused questions.
    pub(crate) refusals: Mutex<Refusals>,
    reranker: OnceLock<Arc<dyn Rerank>>,
    lock: Option<Mutex<FileLock>>,
}

/// Where what is known of the documents is kept.
enum Kept {
    /// In the data directory.
    Here(Box<Embedded>),
    /// In a database that others share.
    There(Box<Postgres>),
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
        Self::open_with(dir, access, Analysis::default())
    }

    /// The same, with how text becomes terms of the word index. An index that was made otherwise answers on as far as both
    /// agree, or refuses, until it is made anew: see [`Store::reindex`].
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub fn open_with(dir: &Path, access: Access, analysis: Analysis) -> Result<Self, StoreError> {
        let lock = match access {
            Access::Read => None,
            Access::Write => Some(Mutex::new(lock(dir)?)),
        };
        let embedded = Embedded::open(dir, access, Arc::new(analysis))?;
        let dir = embedded.dir.clone();
        Ok(Self::with(dir, access, Kept::Here(Box::new(embedded)), lock))
    }

    fn with(dir: PathBuf, access: Access, kept: Kept, lock: Option<Mutex<FileLock>>) -> Self {
        Self {
            dir,
            access,
            kept,
            ingesting: Mutex::new(()),
            reindexing: Mutex::new(()),
            reindex_progress: Mutex::new(None),
            embedded_up_to: Mutex::new((0, 0)),
            own_vectors: Mutex::default(),
            folders_changed: AtomicU64::new(0),
            rules_seen: Mutex::new([None; 2]),
            read_options: Mutex::new(ReadOptions::default()),
            today: Today::default(),
            refusals: Mutex::new(Refusals::default()),
            reranker: OnceLock::new(),
            lock,
        }
    }

    /// From now on the best passages of each search are ordered by this one. The first one that is given stays.
    pub fn rerank_with(&self, reranker: Arc<dyn Rerank>) {
        // A second one is not taken: two orders within one process would contradict each other.
        let _ = self.reranker.set(reranker);
    }

    pub(crate) fn reranker(&self) -> Option<&dyn Rerank> {
        self.reranker.get().map(AsRef::as_ref)
    }

    /// What is known of the documents, wherever it is kept.
    pub(crate) fn shelf(&self) -> &dyn Shelf {
        match &self.kept {
            Kept::Here(embedded) => embedded.as_ref(),
            Kept::There(postgres) => postgres.as_ref(),
        }
    }

    /// The files of the data directory, for what only they can do.
    pub(crate) fn embedded(
        &self,
        doing: &'static str,
        instead: &'static str,
    ) -> Result<&Embedded, StoreError> {
        match &self.kept {
            Kept::Here(embedded) => Ok(embedded),
            Kept::There(postgres) => Err(StoreError::NotInPostgres {
                doing,
                place: postgres.shown().to_owned(),
                instead,
            }),
        }
    }

    /// The files of the data directory, if the documents are kept there.
    pub(crate) fn here(&self) -> Option<&Embedded> {
        match &self.kept {
            Kept::Here(embedded) => Some(embedded),
            Kept::There(..) => None,
        }
    }

    /// The files of the data directory.
    #[cfg(test)]
    pub(crate) fn files(&self) -> &Embedded {
        self.here().unwrap()
    }

    /// The same, to be set up otherwise.
    #[cfg(test)]
    pub(crate) fn files_mut(&mut self) -> &mut Embedded {
        match &mut self.kept {
            Kept::Here(embedded) => embedded,
            Kept::There(..) => panic!("documents are kept elsewhere"),
        }
    }

    /// Whether no graph of vectors is missing or being made: until then, vectors are scanned, which takes longer.
    pub fn vectors_are_settled(&self) -> bool {
        self.here().is_none_or(Embedded::vectors_are_settled)
    }

    /// Opens (with [`Access::Write`]: creates) the store whose documents are in a PostgreSQL database that other
    /// processes share; uploads, mirrors and rules are in `dir`.
    ///
    /// # Errors
    /// [`StoreError::Postgres`] for a server that cannot be reached or refuses, [`StoreError::NotAStore`] when there is
    /// nothing to read, [`StoreError::NewerSchema`] and [`StoreError::OlderSchema`] for tables of another version.
    pub fn open_postgres(dir: &Path, access: Access, address: PostgresAddress) -> Result<Self, StoreError> {
        if access == Access::Write {
            fs::create_dir_all(dir).map_err(StoreError::file)?;
        }
        let dir = fs::canonicalize(dir).or_else(|error| match access {
            Access::Read => Ok(dir.to_owned()),
            Access::Write => Err(StoreError::file(error)),
        })?;
        let postgres = Postgres::open(&dir, access, address)?;
        Ok(Self::with(dir, access, Kept::There(Box::new(postgres)), None))
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
            let exact = self.shelf().by_path(&prefix)?;
            prefix.push(b'/');
            let below = self.shelf().below(Origin::File, &prefix)?;
            let upload = self.shelf().by_path(path.as_os_str().as_bytes())?;
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
        let all = self.shelf().audiences(&Reader::keeper(), None)?;
        self.shelf().documents(&all)
    }

    fn erase(&self, documents: &[DocumentInfo]) -> Result<usize, StoreError> {
        let ids: Vec<String> = documents.iter().map(|d| d.document_id.clone()).collect();
        let n = self.shelf().erase(&ids)?;
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
        let known = self.shelf().by_path(path.as_os_str().as_bytes())?;
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
