//! Files of which nothing, or not everything, could be read: why, and what can be done about it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::attempt::DEATHS_MAX;
use crate::error::StoreError;
use crate::store::Store;
use crate::types::PageSpan;
use crate::view::View;

/// A document of which this share of pages has no text was scanned in part.
const EMPTY_PAGES_SHARE: f64 = 1.0 / 3.0;

/// A file that was not read, or not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Its path, or the upload's name.
    pub path: String,
    /// Where it lies.
    pub place: PathBuf,
    /// Its document, where only pages lack text.
    pub document_id: Option<String>,
    /// One sentence: what is wrong and what to do; empty where only pages lack text.
    pub reason: String,
    /// The reader died of it too often: it is not tried again before it changes, or somebody says so.
    pub set_aside: bool,
    /// Pages without text, which need OCR; 1-based.
    pub pages: Vec<u32>,
}

/// Pages without text of a document that has text elsewhere.
pub(crate) fn empty_pages(format: &str, n_pages: Option<u32>, pages: &[PageSpan]) -> Vec<u32> {
    let empty = pages.iter().filter(|page| page.start == page.end);
    let empty: Vec<u32> = empty.map(|page| page.page).collect();
    let is_scanned =
        format == "pdf" && empty.len() as f64 >= f64::from(n_pages.unwrap_or(0)) * EMPTY_PAGES_SHARE;
    if is_scanned { empty } else { Vec::new() }
}

impl View<'_> {
    /// What the reader may know of files that were not read, or not whole, by path: whoever may read a file may know that
    /// it failed.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn unread(&self) -> Result<Vec<Unread>, StoreError> {
        let shelf = self.store.shelf();
        let aside: BTreeSet<Vec<u8>> = shelf
            .all_aside(DEATHS_MAX)?
            .into_iter()
            .map(|aside| aside.path_bytes)
            .collect();
        let failed = shelf.failures(&self.readable)?.into_iter();
        let mut unread: Vec<Unread> = failed
            .map(|failure| Unread {
                place: self.store.place(failure.origin, &failure.path_bytes),
                set_aside: aside.contains(&failure.path_bytes),
                path: failure.path,
                document_id: None,
                reason: failure.reason,
                pages: Vec::new(),
            })
            .collect();
        for paged in shelf.paged("pdf", &self.readable)? {
            let pages = empty_pages("pdf", paged.n_pages, &paged.pages);
            if !pages.is_empty() {
                unread.push(Unread {
                    place: self.store.place(paged.origin, &paged.path_bytes),
                    set_aside: false,
                    path: paged.path,
                    document_id: Some(paged.document_id),
                    reason: String::new(),
                    pages,
                });
            }
        }
        unread.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(unread)
    }
}

impl Store {
    /// Lets the next ingest of this file try it again, though it was set aside.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn retry(&self, unread: &Unread) -> Result<(), StoreError> {
        let (_, path_bytes) = self.identity(&unread.place);
        let upload = unread
            .place
            .strip_prefix(self.uploads())
            .map(|name| name.as_os_str().as_encoded_bytes().to_vec());
        self.shelf().drop_aside(&path_bytes)?;
        match upload {
            Ok(name) => self.shelf().drop_aside(&name),
            Err(_) => Ok(()),
        }
    }
}
