//! The store: one data directory with its catalog, word index, vectors and uploads.
//!
//! Taking in stands in [`crate::ingest`]; here are opening, searching, reading and removing.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use stdx::fs;
use stdx::hash::short_id;
use stdx::lock::{FileLock, LockError};

use crate::analyser::Analyser;
use crate::catalog::{Catalog, PassageRow};
use crate::dense::Dense;
use crate::error::StoreError;
use crate::fusion::fuse;
use crate::lexical::Lexical;
use crate::prepare::ReadOptions;
use crate::types::{Access, DocumentInfo, DocumentText, Embed, EmbedKind, Hit, SearchMode, StoreStatus};
use crate::writer::Writer;

/// How deep each list goes into the fusion.
const LIST_DEPTH: usize = 50;
/// More passages are never returned.
const HITS_MAX: usize = 1_000;

/// The documents of one data directory.
pub struct Store {
    pub(crate) dir: PathBuf,
    pub(crate) access: Access,
    pub(crate) catalog: Catalog,
    pub(crate) lexical: RwLock<Arc<Lexical>>,
    dense: Mutex<Option<Dense>>,
    pub(crate) writer: Mutex<Writer>,
    /// One ingest at a time; searches do not wait for it.
    pub(crate) ingesting: Mutex<()>,
    /// Why nothing can be written now.
    pub(crate) read_only: Mutex<Option<String>>,
    /// Passages up to this id have a vector of this embedder.
    pub(crate) embedded_up_to: Mutex<(i64, u64)>,
    /// The index on disk turned out to be damaged; the one in memory stays.
    pub(crate) disk_index_bad: AtomicBool,
    read_options: Mutex<ReadOptions>,
    lock: Option<Mutex<FileLock>>,
    #[cfg(test)]
    pub(crate) fail_at: Mutex<Option<(&'static str, usize)>>,
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
        let exists = fs::metadata(&database).is_ok();
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
        catalog.counts()?;
        let lexical = open_lexical(&dir.join("lexical"), access, &catalog)?;
        let store = Self {
            dir,
            access,
            catalog,
            lexical: RwLock::new(Arc::new(lexical)),
            dense: Mutex::new(None),
            writer: Mutex::new(writer),
            ingesting: Mutex::new(()),
            read_only: Mutex::new(read_only),
            embedded_up_to: Mutex::new((0, 0)),
            disk_index_bad: AtomicBool::new(false),
            read_options: Mutex::new(ReadOptions::default()),
            lock,
            #[cfg(test)]
            fail_at: Mutex::new(None),
        };
        if access == Access::Write {
            match store.finish_index() {
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
        if may_be_back && let Some(fresh) = Lexical::open(&self.dir.join("lexical"), false) {
            return self.set_lexical(fresh);
        }
        current
    }

    pub(crate) fn set_lexical(&self, lexical: Lexical) -> Arc<Lexical> {
        let fresh = Arc::new(lexical);
        *self.lexical.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
        fresh
    }

    /// The best `k` passages. Texts that are equal to the byte are listed once.
    ///
    /// # Errors
    /// When an index or the database cannot be read; never because of the question.
    pub fn search(
        &self,
        question: &str,
        k: usize,
        mode: SearchMode,
        embedder: Option<&dyn Embed>,
    ) -> Result<Vec<Hit>, StoreError> {
        let k = k.min(HITS_MAX);
        let depth = LIST_DEPTH.max(k.saturating_mul(2));
        let lexical = match mode {
            SearchMode::Dense => Vec::new(),
            SearchMode::Lexical | SearchMode::Hybrid => self.search_lexical(question, depth)?,
        };
        let dense = match (mode, embedder) {
            (SearchMode::Dense | SearchMode::Hybrid, Some(embedder)) => {
                self.search_dense(question, depth, embedder)?
            }
            _ => Vec::new(),
        };
        let ranked = match mode {
            SearchMode::Lexical => with_scores(&lexical),
            SearchMode::Dense => with_scores(&dense),
            SearchMode::Hybrid => {
                let ids = |list: &[(u64, f32)]| list.iter().map(|(id, _)| *id).collect();
                fuse(&[ids(&lexical), ids(&dense)])
            }
        };
        self.hits(&ranked, k, &lexical, &dense)
    }

    fn search_lexical(&self, question: &str, depth: usize) -> Result<Vec<(u64, f32)>, StoreError> {
        match self.lexical().search(question, depth) {
            Err(StoreError::Index { source, .. }) => {
                tracing::warn!(%source, "the word index failed and is made anew");
                self.heal_index()?;
                self.lexical().search(question, depth)
            }
            other => other,
        }
    }

    fn search_dense(
        &self,
        question: &str,
        depth: usize,
        embedder: &dyn Embed,
    ) -> Result<Vec<(u64, f32)>, StoreError> {
        let id = embedder.id();
        let Some(row) = self.catalog.embedder_row(&id)? else {
            return Ok(Vec::new());
        };
        let vectors = embedder.embed(EmbedKind::Query, &[question]);
        let Some(vector) = vectors.first() else {
            return Ok(Vec::new());
        };
        let mut guard = held(&self.dense);
        let dense = match &mut *guard {
            Some(dense) if dense.is_of(row, id.dim) => dense,
            other => other.insert(Dense::new(&self.catalog, row, id.dim)?),
        };
        dense.refresh(&self.catalog)?;
        Ok(dense.search(vector, depth))
    }

    fn hits(
        &self,
        ranked: &[(u64, f64)],
        k: usize,
        lexical: &[(u64, f32)],
        dense: &[(u64, f32)],
    ) -> Result<Vec<Hit>, StoreError> {
        let score_in = |list: &[(u64, f32)], id| {
            list.iter()
                .find(|(other, _)| *other == id)
                .map(|(_, s)| f64::from(*s))
        };
        let mut hits: Vec<Hit> = Vec::with_capacity(k);
        let mut texts = BTreeSet::new();
        for batch in ranked.chunks(k.max(1)) {
            let ids: Vec<u64> = batch.iter().map(|(id, _)| *id).collect();
            let rows = self.catalog.passages(&ids)?;
            let mut rows: BTreeMap<u64, PassageRow> = rows.into_iter().map(|r| (r.passage_id, r)).collect();
            for &(id, score) in batch {
                // An index that lags behind names passages that are gone.
                let Some(row) = rows.remove(&id) else { continue };
                if hits.len() < k && texts.insert(row.text.clone()) {
                    hits.push(hit(row, score, score_in(lexical, id), score_in(dense, id)));
                }
            }
            if hits.len() >= k {
                break;
            }
        }
        Ok(hits)
    }

    /// All documents, by path.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn documents(&self) -> Result<Vec<DocumentInfo>, StoreError> {
        self.catalog.documents()
    }

    /// A document's text: the present version, or an older one by its name; `None` if there is none such.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn document(
        &self,
        document_id: &str,
        version: Option<&str>,
    ) -> Result<Option<DocumentText>, StoreError> {
        self.catalog.document(document_id, version)
    }

    /// Exactly the characters `span` of a document's text; `None` if there is no such document or version.
    ///
    /// # Errors
    /// [`StoreError::BadSpan`] for a range that the text does not have.
    pub fn span(
        &self,
        document_id: &str,
        version: Option<&str>,
        span: Range<usize>,
    ) -> Result<Option<String>, StoreError> {
        let Some(document) = self.document(document_id, version)? else {
            return Ok(None);
        };
        let n_chars = document.text.chars().count();
        if span.start > span.end || span.end > n_chars {
            return Err(StoreError::BadSpan {
                start: span.start,
                end: span.end,
                n_chars,
            });
        }
        Ok(Some(
            document
                .text
                .chars()
                .skip(span.start)
                .take(span.end - span.start)
                .collect(),
        ))
    }

    /// Removes a document with all its versions (and the kept file of an upload); false if there is none.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn remove(&self, document_id: &str) -> Result<bool, StoreError> {
        let known = self
            .catalog
            .documents()?
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
            let below = self.catalog.below(&prefix)?;
            let upload = self.catalog.by_path(path.as_os_str().as_bytes())?;
            exact
                .into_iter()
                .chain(below)
                .chain(upload)
                .map(|d| d.document_id)
                .collect()
        };
        let documents = self.catalog.documents()?;
        let doomed: Vec<DocumentInfo> = documents
            .into_iter()
            .filter(|d| ids.contains(&d.document_id))
            .collect();
        self.erase(&doomed)
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

    /// The id of the document of a file.
    ///
    /// # Errors
    /// When the file cannot be found.
    pub fn file_id(path: &Path) -> Result<String, StoreError> {
        Ok(id_of_file(fs::canonicalize(path)?.as_os_str().as_bytes()))
    }

    /// The id of the document of an upload.
    pub fn upload_id(name: &str) -> String {
        short_id('d', format!("upload:{name}").as_bytes())
    }

    pub(crate) fn uploads(&self) -> PathBuf {
        self.dir.join("uploads")
    }

    /// Counts and state.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn status(&self) -> Result<StoreStatus, StoreError> {
        let counts = self.catalog.counts()?;
        Ok(StoreStatus {
            documents: counts.documents,
            passages: counts.passages,
            vectors: counts.vectors,
            queued: counts.queued,
            read_only: held(&self.read_only).clone(),
        })
    }

    /// The index terms of a text in order, as the lexical index sees them (NFC, folded, stemmed; Hangul as bigrams).
    pub fn terms(&self, text: &str) -> Vec<String> {
        Analyser::terms(text).into_iter().map(|term| term.text).collect()
    }

    /// In how many passages a term occurs.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn passage_frequency(&self, term: &str) -> Result<u64, StoreError> {
        self.lexical().passage_frequency(term)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.access == Access::Write {
            held(&self.writer).finish(&self.catalog);
        }
    }
}

pub(crate) fn id_of_file(path_bytes: &[u8]) -> String {
    short_id('d', path_bytes)
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
    if let Some(lexical) = Lexical::open(dir, access == Access::Write) {
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

fn with_scores(list: &[(u64, f32)]) -> Vec<(u64, f64)> {
    let mut scored: Vec<(u64, f64)> = list.iter().map(|(id, score)| (*id, f64::from(*score))).collect();
    scored.sort_by(|a, b| match b.1.total_cmp(&a.1) {
        Ordering::Equal => a.0.cmp(&b.0),
        unequal => unequal,
    });
    scored
}

fn hit(row: PassageRow, score: f64, lexical_score: Option<f64>, dense_score: Option<f64>) -> Hit {
    Hit {
        passage_id: row.passage_id,
        document_id: row.document_id,
        version: row.version,
        path: row.path,
        title: row.title,
        page: row.page,
        start: row.start,
        end: row.end,
        heading_path: row.heading_path,
        text: row.text,
        score,
        lexical_score,
        dense_score,
    }
}
