//! A file becomes text, pages and passages, ready for the catalog.
//!
//! Joins the readers, the normalisation and the passage cutter; writes nothing.

use std::path::Path;

use crate::types::PageSpan;

/// A document as the catalog takes it. Positions count Unicode scalar values of `text`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Prepared {
    pub(crate) title: String,
    pub(crate) format: String,
    pub(crate) n_pages: Option<u32>,
    pub(crate) text: String,
    pub(crate) n_chars: usize,
    pub(crate) pages: Vec<PageSpan>,
    pub(crate) passages: Vec<PreparedPassage>,
}

/// A passage with its own characters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PreparedPassage {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) page: Option<u32>,
    pub(crate) heading_path: Vec<String>,
    pub(crate) text: String,
}

/// Reads a file; the error is one sentence for people.
pub(crate) fn prepare(path: &Path) -> Result<Prepared, String> {
    let bytes = stdx::fs::read(path).map_err(|error| error.to_string())?;
    let text = String::from_utf8(bytes).map_err(|_| "unknown format".to_owned())?;
    let title = path
        .file_stem()
        .map(|s| s.to_string_lossy().into_owned())
        .unwrap_or_default();
    let mut passages = Vec::new();
    let chars: Vec<char> = text.chars().collect();
    let mut start = 0;
    for chunk in chars.chunks(600) {
        passages.push(PreparedPassage {
            start,
            end: start + chunk.len(),
            page: None,
            heading_path: Vec::new(),
            text: chunk.iter().collect(),
        });
        start += chunk.len();
    }
    Ok(Prepared {
        title,
        format: "text".to_owned(),
        n_pages: None,
        n_chars: chars.len(),
        text,
        pages: Vec::new(),
        passages,
    })
}

/// A document that is given as numbered pages of text.
pub(crate) fn prepare_pages(title: &str, pages: &[(u32, &str)]) -> Prepared {
    let mut text = String::new();
    let mut n_chars = 0;
    let mut spans = Vec::new();
    let mut passages = Vec::new();
    for (page, body) in pages {
        let body: String = unicode_normalization::UnicodeNormalization::nfc(*body).collect();
        let chars: Vec<char> = body.chars().collect();
        spans.push(PageSpan {
            page: *page,
            start: n_chars,
            end: n_chars + chars.len(),
        });
        let mut start = n_chars;
        for chunk in chars.chunks(CHUNK) {
            passages.push(PreparedPassage {
                start,
                end: start + chunk.len(),
                page: Some(*page),
                heading_path: Vec::new(),
                text: chunk.iter().collect(),
            });
            start += chunk.len();
        }
        n_chars += chars.len();
        text.push_str(&body);
    }
    Prepared {
        title: title.to_owned(),
        format: "pages".to_owned(),
        n_pages: Some(pages.len() as u32),
        text,
        n_chars,
        pages: spans,
        passages,
    }
}

const CHUNK: usize = 1200;
