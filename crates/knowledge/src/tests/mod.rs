//! Behaviour of the store as its users see it.

mod access;
mod accounting;
mod crash;
mod damage;
mod dense;
mod keep;
mod morphemes;
mod moved;
mod ocr;
mod pages;
mod postgres;
mod queue;
mod reindex;
mod rerank;
mod search;
mod shards;
mod sync;
mod validity;
mod watch;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use stdx::fs;

use crate::dictionary::{Dictionary, DictionaryFiles};
use crate::{Access, Analysis, Go, Hit, IngestReport, Reader, SearchMode, Store, View};

/// A folder with documents and a data directory beside it.
pub(crate) struct House {
    _temporary: tempfile::TempDir,
    pub(crate) data: PathBuf,
    pub(crate) documents: PathBuf,
}

impl House {
    pub(crate) fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let data = temporary.path().join("data");
        let documents = temporary.path().join("documents");
        fs::create_dir_all(&documents).unwrap();
        Self {
            _temporary: temporary,
            data,
            documents,
        }
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.documents.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn open(&self) -> Store {
        Store::open(&self.data, Access::Write).unwrap()
    }

    /// The same with a small Korean dictionary.
    pub(crate) fn open_with_dictionary(&self) -> Store {
        Store::open_with(&self.data, Access::Write, small_dictionary()).unwrap()
    }

    pub(crate) fn ingest(&self, store: &Store) -> IngestReport {
        ingest(store, &self.documents)
    }
}

/// An analysis with the dictionary of [`testkit::mecab::Mecab::korean`].
pub(crate) fn small_dictionary() -> Analysis {
    analysis_of(&testkit::mecab::Mecab::korean())
}

/// An analysis with a dictionary.
pub(crate) fn analysis_of(mecab: &testkit::mecab::Mecab) -> Analysis {
    let [words, unknown, characters, costs, manner] = mecab.files().map(|(_, bytes)| bytes);
    let files = DictionaryFiles {
        words,
        unknown,
        characters,
        costs,
        manner,
    };
    Analysis::with_dictionary(Dictionary::from_files(files).unwrap())
}

pub(crate) fn ingest(store: &Store, path: &Path) -> IngestReport {
    store.ingest(&[path.to_owned()], &mut |_| Go::On).unwrap()
}

/// All of a store.
pub(crate) fn seen(store: &Store) -> View<'_> {
    store.view(&Reader::keeper()).unwrap()
}

pub(crate) fn find(store: &Store, question: &str) -> Vec<Hit> {
    seen(store)
        .search(question, 10, SearchMode::Lexical, None)
        .unwrap()
}

/// File names of the hits' documents.
pub(crate) fn names(hits: &[Hit]) -> Vec<String> {
    hits.iter()
        .map(|h| h.path.rsplit('/').next().unwrap().to_owned())
        .collect()
}

/// Every file once, every hit exactly the stored characters.
pub(crate) fn check_whole(store: &Store) {
    let documents = seen(store).documents().unwrap();
    let paths: BTreeSet<&str> = documents.iter().map(|d| d.path.as_str()).collect();
    assert_eq!(paths.len(), documents.len());
    let status = seen(store).status().unwrap();
    assert_eq!(status.documents, documents.len());
    assert_eq!(
        status.passages,
        documents.iter().map(|d| d.n_passages).sum::<usize>()
    );
}
