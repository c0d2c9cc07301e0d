//! A cited page as it looks, with what the quote covers: out of the original file, if it still is the one that was read.
//!
//! Like everything that is read, bound to what the reader may see.

use std::ops::Range;

use stdx::hash::sha256_hex;

use crate::boxes::{PageMarks, PageWords};
use crate::catalog::StoredPages;
use crate::error::StoreError;
use crate::read::{Format, PictureError, draw_page, load};
use crate::view::View;

/// Most pages on which the words of one span are looked up: a quote is a sentence or a few.
const MARKED_PAGES_MAX: usize = 16;

/// What came of drawing a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PagePicture {
    /// A PNG picture.
    Drawn(Vec<u8>),
    /// The file is gone or is another one by now.
    Changed,
    /// The document's format has no pages that can be drawn, or the document has no such page.
    NoSuchPage,
    /// The page could not be drawn, in one sentence.
    Failed(String),
}

impl View<'_> {
    /// What the characters `span` of a document's text cover, page by page. Pages whose words have no known places are
    /// left out. `None` if there is no such document or version.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn marks(
        &self,
        document_id: &str,
        version: Option<&str>,
        span: Range<usize>,
    ) -> Result<Option<Vec<PageMarks>>, StoreError> {
        let Some(stored) = self.stored_pages(document_id, version)? else {
            return Ok(None);
        };
        let touched = stored
            .pages
            .iter()
            .filter(|page| page.start < span.end && page.end > span.start);
        let mut marks = Vec::new();
        for page in touched.take(MARKED_PAGES_MAX) {
            let words = self
                .store
                .shelf()
                .page_words(document_id, &stored.version, page.page)?;
            marks.extend(words.map(|words| words.marks(&span)));
        }
        marks.retain(|page| !page.lines.is_empty());
        Ok(Some(marks))
    }

    /// Where the words of a page stand. `None` if there is no such document, version or page, or its words have no
    /// known places.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn page_words(
        &self,
        document_id: &str,
        version: Option<&str>,
        page: u32,
    ) -> Result<Option<PageWords>, StoreError> {
        let Some(stored) = self.stored_pages(document_id, version)? else {
            return Ok(None);
        };
        self.store.shelf().page_words(document_id, &stored.version, page)
    }

    /// Whether a page of a document can be drawn at all: the name of the version, for a PDF file with such a page.
    /// `None` if there is no such document or version; an empty name where there is but it has no such page.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn drawable_page(
        &self,
        document_id: &str,
        version: Option<&str>,
        page: u32,
    ) -> Result<Option<String>, StoreError> {
        let stored = self.stored_pages(document_id, version)?;
        Ok(stored.map(|stored| {
            if stored.has_picture(page) {
                stored.version
            } else {
                String::new()
            }
        }))
    }

    /// Draws a page, 1-based, `width` pixels across, in the child process that reads hostile formats. `None` if there
    /// is no such document or version.
    ///
    /// # Errors
    /// When the database cannot be read; a file that cannot be drawn is an answer, not an error.
    pub fn page_picture(
        &self,
        document_id: &str,
        version: Option<&str>,
        page: u32,
        width: u32,
    ) -> Result<Option<PagePicture>, StoreError> {
        let Some(stored) = self.stored_pages(document_id, version)? else {
            return Ok(None);
        };
        if !stored.has_picture(page) {
            return Ok(Some(PagePicture::NoSuchPage));
        }
        let options = self.store.read_options();
        let path = self.store.place(stored.origin, &stored.path_bytes);
        let Ok(bytes) = load(&path, &options.limits) else {
            return Ok(Some(PagePicture::Changed));
        };
        if !sha256_hex(&bytes).starts_with(&stored.version) {
            return Ok(Some(PagePicture::Changed));
        }
        let isolation = options.isolation();
        let drawn = draw_page(&bytes, (page, width), options.means(&isolation));
        Ok(Some(match drawn {
            Ok(picture) => PagePicture::Drawn(picture),
            Err(PictureError::NoSuchPage { .. }) => PagePicture::NoSuchPage,
            Err(PictureError::Read(error)) => PagePicture::Failed(error.to_string()),
        }))
    }

    fn stored_pages(
        &self,
        document_id: &str,
        version: Option<&str>,
    ) -> Result<Option<StoredPages>, StoreError> {
        self.store.shelf().pages(document_id, version, &self.readable)
    }
}

impl StoredPages {
    fn has_picture(&self, page: u32) -> bool {
        self.format == Format::Pdf.as_str() && (1..=self.n_pages).contains(&page)
    }
}
