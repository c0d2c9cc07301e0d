//! The writing half of a store: the catalog's connection, the index writer, and what is between the two.
//!
//! A document is first committed to the catalog together with a mark, then added to the word index, and its mark
//! is cleared when the index has committed. Whatever a crash cuts off is still marked and is done again.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use rusqlite::Connection;
use stdx::clock::Stopwatch;
use tantivy::TantivyError;

use crate::catalog::{Catalog, Marks, empty_log_on_close};
use crate::embedded::Embedded;
use crate::error::StoreError;
use crate::failpoint::{FailPoint, pass};
use crate::lexical::{Lexical, LexicalWriter};
use crate::store::held;
use crate::types::Access;

/// The index commits after this many documents …
const COMMIT_DOCUMENTS_MAX: usize = 256;
/// … or this many bytes of text …
const COMMIT_BYTES_MAX: usize = 16 << 20;
/// … or when the oldest has waited this long.
const COMMIT_AGE_MAX_MS: f64 = 1_000.0;

/// What a writing store holds open.
#[derive(Default)]
pub(crate) struct Writer {
    connection: Option<Connection>,
    lexical: Option<LexicalWriter>,
    /// Documents in the index writer that it has not committed.
    waiting: Marks,
    waiting_bytes: usize,
    waiting_since: Option<Stopwatch>,
}

impl Writer {
    pub(crate) fn connect(&mut self, catalog: &Catalog) -> Result<&mut Connection, StoreError> {
        match &mut self.connection {
            Some(connection) => Ok(connection),
            none => Ok(none.insert(catalog.writer()?)),
        }
    }

    /// Lets go of the index writer; what it had not committed is still marked in the catalog.
    pub(crate) fn abandon(&mut self) {
        self.lexical = None;
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.waiting_since = None;
    }

    fn is_due(&self) -> bool {
        self.waiting.len() >= COMMIT_DOCUMENTS_MAX
            || self.waiting_bytes >= COMMIT_BYTES_MAX
            || self
                .waiting_since
                .is_some_and(|since| since.ms() >= COMMIT_AGE_MAX_MS)
    }

    /// Commits and closes the index writer. Failures lose nothing: the marks stay.
    pub(crate) fn finish(&mut self, catalog: &Catalog) {
        self.finish_index(catalog);
        if let Some(connection) = &self.connection {
            empty_log_on_close(connection);
        }
    }

    fn finish_index(&mut self, catalog: &Catalog) {
        if let Some(mut lexical) = self.lexical.take() {
            if !self.waiting.is_empty() {
                let marks = std::mem::take(&mut self.waiting);
                let flushed = lexical
                    .commit(last_of(&marks))
                    .and_then(|()| self.connect(catalog).and_then(|c| catalog.clear_marks(c, &marks)));
                if let Err(error) = flushed {
                    tracing::warn!(%error, "the word index was not brought up to date; the next start does it");
                }
            }
            lexical.finish();
        }
    }
}

impl Embedded {
    /// Runs `work` as the one writer. After an error the index writer is given up and begun anew the next time;
    /// a full disk is remembered as the reason why nothing can be written. After a failure of the disk nothing is
    /// written any more.
    pub(crate) fn write<T>(
        &self,
        work: impl FnOnce(&Self, &mut Writer) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.access == Access::Read {
            return Err(StoreError::OpenForReading {
                dir: self.dir.clone(),
            });
        }
        let mut writer = held(&self.writer);
        if let Some((path, what)) = held(&self.disk_failed).clone() {
            return Err(StoreError::DiskFailed { path, what });
        }
        let result = work(self, &mut writer);
        if let Err(error) = &result {
            writer.abandon();
            if error.is_no_space() || error.is_disk_failure() {
                *held(&self.read_only) = Some(error.to_string());
            }
            if let StoreError::DiskFailed { path, what } = error {
                writer.connection = None;
                *held(&self.disk_failed) = Some((path.clone(), what.clone()));
            }
        }
        result
    }

    /// Brings the index up to date with whatever is still marked.
    pub(crate) fn finish_index(&self) -> Result<(), StoreError> {
        if self.catalog.marks()?.is_empty() {
            return Ok(());
        }
        self.write(|store, writer| {
            store.index(writer, &[])?;
            store.flush(writer)
        })
    }

    /// The index writer. A new one begins with everything that is marked in the catalog; returns whether it did.
    fn index_writer(&self, writer: &mut Writer) -> Result<bool, StoreError> {
        if writer.lexical.is_some() {
            return Ok(false);
        }
        let mut lexical = self.lexical();
        if lexical.is_in_memory() {
            lexical = self.set_lexical(self.rebuilt(&self.lexical_dir()?)?);
        }
        let fresh = match lexical.writer() {
            Err(StoreError::Index { .. }) => {
                self.set_lexical(self.rebuilt(&self.lexical_dir()?)?).writer()?
            }
            other => other?,
        };
        writer.lexical = Some(fresh);
        for (id, seq) in self.catalog.marks()? {
            self.add(writer, &id, seq)?;
        }
        Ok(true)
    }

    fn add(&self, writer: &mut Writer, document_id: &str, seq: i64) -> Result<(), StoreError> {
        let passages = self.catalog.passages_of(document_id)?;
        if let Some(lexical) = &mut writer.lexical {
            lexical.replace(document_id, &passages)?;
        }
        writer.waiting.push((document_id.to_owned(), seq));
        writer.waiting_bytes += passages.iter().map(|p| p.text.len()).sum::<usize>();
        writer.waiting_since.get_or_insert_with(Stopwatch::start);
        Ok(())
    }

    /// Puts marked documents into the index and commits if it is time to.
    pub(crate) fn index(&self, writer: &mut Writer, marks: &[(String, i64)]) -> Result<(), StoreError> {
        match self.try_index(writer, marks) {
            Err(StoreError::Index { source, .. }) => self.replace_index(writer, &source),
            other => other,
        }
    }

    fn try_index(&self, writer: &mut Writer, marks: &[(String, i64)]) -> Result<(), StoreError> {
        // A new writer takes every mark there is, these too.
        if !self.index_writer(writer)? {
            for (id, seq) in marks {
                self.add(writer, id, *seq)?;
            }
        }
        pass(FailPoint::IndexAdded);
        if writer.is_due() {
            self.try_flush(writer)
        } else {
            Ok(())
        }
    }

    /// Commits the index and clears the marks of what is in it.
    pub(crate) fn flush(&self, writer: &mut Writer) -> Result<(), StoreError> {
        match self.try_flush(writer) {
            Err(StoreError::Index { source, .. }) => self.replace_index(writer, &source),
            other => other,
        }
    }

    fn try_flush(&self, writer: &mut Writer) -> Result<(), StoreError> {
        if writer.waiting.is_empty() {
            return Ok(());
        }
        if let Some(lexical) = &mut writer.lexical {
            lexical.commit(last_of(&writer.waiting))?;
        }
        pass(FailPoint::IndexCommitted);
        let marks = std::mem::take(&mut writer.waiting);
        writer.waiting_bytes = 0;
        writer.waiting_since = None;
        self.catalog.clear_marks(writer.connect(&self.catalog)?, &marks)?;
        pass(FailPoint::MarksCleared);
        Ok(())
    }

    /// An index that cannot be written any more is made anew from the catalog, which then holds no marks.
    fn replace_index(&self, writer: &mut Writer, reason: &TantivyError) -> Result<(), StoreError> {
        tracing::warn!(%reason, "the word index cannot be written and is made anew");
        writer.abandon();
        let marks = self.catalog.marks()?;
        self.set_lexical(self.rebuilt(&self.lexical_dir()?)?);
        self.catalog.clear_marks(writer.connect(&self.catalog)?, &marks)
    }

    /// Erases documents everywhere; returns how many there were.
    pub(crate) fn erase_ids(&self, ids: &[String]) -> Result<usize, StoreError> {
        if ids.is_empty() {
            return Ok(0);
        }
        self.write(|store, writer| {
            let marks = store.catalog.erase(writer.connect(&store.catalog)?, ids)?;
            pass(FailPoint::DocumentsErased);
            store.index(writer, &marks)?;
            store.flush(writer)?;
            Ok(marks.len())
        })
    }

    fn rebuilt(&self, dir: &Path) -> Result<Lexical, StoreError> {
        Lexical::rebuild(dir, &self.catalog, &self.analysis)
    }

    /// Makes the index anew after it turned out to be damaged: on disk if this store may write, else in memory.
    pub(crate) fn heal_index(&self) -> Result<(), StoreError> {
        let dir = self.lexical_dir()?;
        let lexical = match self.access {
            Access::Read => {
                self.disk_index_bad.store(true, Relaxed);
                Lexical::in_memory(&dir, &self.catalog, &self.analysis)?
            }
            Access::Write => {
                let mut writer = held(&self.writer);
                writer.abandon();
                match self.rebuilt(&dir) {
                    Err(error) if error.is_no_space() => {
                        Lexical::in_memory(&dir, &self.catalog, &self.analysis)?
                    }
                    other => other?,
                }
            }
        };
        self.set_lexical(lexical);
        Ok(())
    }
}

/// The number of the latest of some changes.
fn last_of(marks: &[(String, i64)]) -> i64 {
    marks.iter().map(|(_, seq)| *seq).max().unwrap_or(0)
}
