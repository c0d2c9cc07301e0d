//! A word index that is made beside the present one, in steps: a commit says up to which change it follows the catalog,
//! and whoever goes on with it begins there.
//!
//! Which documents are added, and when, is decided in [`crate::reindex`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stdx::fs;
use tantivy::{Index, Term};

use super::{Lexical, LexicalWriter, check_files, parse_payload, register, remove_if_there, schema, writer};
use crate::analysis::Analysis;
use crate::catalog::StoredPassage;
use crate::error::StoreError;

/// A word index under way.
pub(crate) struct Shadow {
    dir: PathBuf,
    index: Index,
    writer: LexicalWriter,
    analysis: Arc<Analysis>,
}

impl Shadow {
    /// Goes on with the index in `dir` if there is a sound one by the present analysis, else begins it.
    pub(crate) fn open(dir: &Path, analysis: &Arc<Analysis>) -> Result<Self, StoreError> {
        let kept = catch_unwind(AssertUnwindSafe(|| sound(dir, analysis)))
            .ok()
            .flatten();
        let fail = |error| StoreError::index("begin a new index", dir, error);
        let (schema, fields) = schema(analysis.name());
        let index = match kept {
            Some(index) => index,
            None => {
                remove_if_there(dir)?;
                fs::create_dir_all(dir).map_err(StoreError::file)?;
                fs::sync_parent(dir).map_err(StoreError::file)?;
                Index::create_in_dir(dir, schema).map_err(fail)?
            }
        };
        register(&index, analysis.name(), analysis);
        let writer = writer(&index, fields, dir, analysis.name())?;
        // What a killed process left uncommitted would have its names used again.
        let cleared = writer.writer.garbage_collect_files().wait();
        cleared.map_err(fail)?;
        Ok(Self {
            dir: dir.to_owned(),
            index,
            writer,
            analysis: Arc::clone(analysis),
        })
    }

    /// The change up to which it follows the catalog.
    pub(crate) fn seq(&self) -> i64 {
        self.writer.seq
    }

    /// Replaces a document's entries.
    pub(crate) fn replace(
        &mut self,
        document_id: &str,
        passages: &[StoredPassage],
    ) -> Result<(), StoreError> {
        self.writer.replace(document_id, passages)
    }

    /// Takes a document's entries out.
    pub(crate) fn remove(&mut self, document_id: &str) {
        let term = Term::from_field_text(self.writer.fields.document, document_id);
        self.writer.writer.delete_term(term);
    }

    /// Makes durable that it follows the catalog up to that change.
    pub(crate) fn commit(&mut self, seq: i64) -> Result<(), StoreError> {
        self.writer.commit(seq)
    }

    /// Lets merges that are under way end.
    pub(crate) fn finish(self) {
        self.writer.finish();
    }

    /// Opens it for searching; merges that are under way are begun again another time.
    pub(crate) fn open_for_search(self) -> Result<Lexical, StoreError> {
        drop(self.writer);
        let analysis = &self.analysis;
        let fields = schema(analysis.name()).1;
        Lexical::with_index(self.index, fields, &self.dir, analysis.name(), analysis)
            .map_err(|error| StoreError::index("open a new index", &self.dir, error))
    }
}

/// The index in a folder, if its files are as they were written, by the present analysis.
fn sound(dir: &Path, analysis: &Analysis) -> Option<Index> {
    if !Lexical::is_in(dir) {
        return None;
    }
    let index = Index::open_in_dir(dir).ok()?;
    let metas = index.load_metas().ok()?;
    // Before its first commit there is nothing to keep.
    let is_ours = metas
        .payload
        .as_deref()
        .and_then(parse_payload)
        .is_some_and(|(analyser, _)| analyser == analysis.name());
    let is_sound = is_ours && index.schema() == schema(analysis.name()).0 && check_files(&index).is_ok();
    is_sound.then_some(index)
}
