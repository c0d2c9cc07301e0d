//! Reading pages and questions: one JSON object a line, plain or gzip.
//!
//! Judges the layout only; what the texts say is the trial's matter.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use stdx::fs::{self, FsError};

use super::{Trial, bad};
use crate::error::StoreError;

/// Larger files (unpacked) are refused.
const BYTES_MAX: u64 = 2 << 30;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A page to be found.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Page {
    pub(super) id: String,
    pub(super) document: String,
    /// None where the document has no pages: then it is all of it.
    #[serde(default)]
    pub(super) page: Option<u32>,
    pub(super) text: String,
}

/// A question with the pages that answer it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Question {
    pub(super) id: String,
    pub(super) question: String,
    pub(super) pages: Vec<String>,
}

pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, StoreError> {
    let packed = fs::read(path)?;
    let mut bytes = Vec::new();
    if packed.starts_with(&GZIP_MAGIC) {
        let unpacked = MultiGzDecoder::new(packed.as_slice())
            .take(BYTES_MAX + 1)
            .read_to_end(&mut bytes);
        unpacked.map_err(|error| FsError::new("unpack", path, error))?;
    } else {
        bytes = packed;
    }
    if bytes.len() as u64 > BYTES_MAX {
        return Err(bad(path, 0, "it is larger than 2 GB unpacked"));
    }
    let text = String::from_utf8(bytes).map_err(|_| bad(path, 0, "it is not UTF-8"))?;
    let mut rows = Vec::new();
    for (i, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        rows.push(serde_json::from_str(line).map_err(|error| bad(path, i + 1, error.to_string()))?);
    }
    Ok(rows)
}

/// Ids must be unique and every right page must exist, or the rates would mean nothing.
pub(super) fn check(trial: &Trial, pages: &[Page], questions: &[Question]) -> Result<(), StoreError> {
    if pages.is_empty() {
        return Err(bad(&trial.pages, 0, "it holds no pages"));
    }
    if questions.is_empty() {
        return Err(bad(&trial.questions, 0, "it holds no questions"));
    }
    let mut ids = BTreeSet::new();
    let mut places = BTreeSet::new();
    for (i, page) in pages.iter().enumerate() {
        if !ids.insert(page.id.as_str()) || !places.insert((page.document.as_str(), page.page)) {
            return Err(bad(
                &trial.pages,
                i + 1,
                format!("page `{}` is there twice", page.id),
            ));
        }
    }
    for (i, question) in questions.iter().enumerate() {
        if let Some(unknown) = question.pages.iter().find(|page| !ids.contains(page.as_str())) {
            return Err(bad(
                &trial.questions,
                i + 1,
                format!("page `{unknown}` is not among the pages"),
            ));
        }
    }
    Ok(())
}
