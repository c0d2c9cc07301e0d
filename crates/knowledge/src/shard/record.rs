//! A file in a segment: what was read of it, or why it could not be read.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::attempt::ReadFile;
use crate::boxes::{self, PageWords};
use crate::catalog::Stat;
use crate::prepare::{Prepared, PreparedPassage};
use crate::read::Recognised;
use crate::text::{CharIndex, blocks};
use crate::types::PageSpan;
use crate::validity::Stated;

/// One line of a segment.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// The bytes of its path.
    path: String,
    #[serde(flatten)]
    what: What,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Document(Box<Document>),
    Failed(String),
}

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: String,
    /// Bytes, time of modification, time of change, device.
    stat: (u64, i64, i64, u64),
    title: String,
    format: String,
    n_pages: Option<u32>,
    text: String,
    /// Page, start, end.
    pages: Vec<(u32, usize, usize)>,
    /// Packed.
    blocks: String,
    /// Page, size, packed places of its words.
    words: Vec<(u32, [u16; 2], String)>,
    /// Start, end, page, headings.
    passages: Vec<(usize, usize, Option<u32>, Vec<String>)>,
    /// By whom they were cut.
    cutter: i64,
    without_text: Vec<u32>,
    recognised: Vec<Recognised>,
    stated: Stated,
}

/// What a record is taken in as.
pub(super) enum Taken {
    Document {
        path: Vec<u8>,
        version: String,
        stat: Stat,
        prepared: Box<Prepared>,
    },
    Failed {
        path: Vec<u8>,
        reason: String,
    },
}

impl Record {
    pub(super) fn of(path: &Path, read: &ReadFile) -> Self {
        let Some(prepared) = &read.prepared else {
            return Self::failed(path, "it was not read");
        };
        let words: std::io::Result<Vec<_>> = prepared
            .page_words
            .iter()
            .map(|page| Ok((page.page, page.size, to_hex(&boxes::pack(&page.words)?))))
            .collect();
        let packed = words.and_then(|words| Ok((words, blocks::pack(&prepared.blocks, &prepared.under)?)));
        let (words, blocks) = match packed {
            Ok(packed) => packed,
            Err(error) => return Self::failed(path, &error.to_string()),
        };
        let passage = |passage: &PreparedPassage| {
            let headings = passage.heading_path.clone();
            (passage.start, passage.end, passage.page, headings)
        };
        let stat = read.stat;
        let document = Document {
            version: read.version.clone(),
            stat: (stat.bytes, stat.mtime_ns, stat.ctime_ns, stat.device),
            title: prepared.title.clone(),
            format: prepared.format.clone(),
            n_pages: prepared.n_pages,
            text: prepared.text.clone(),
            pages: prepared
                .pages
                .iter()
                .map(|page| (page.page, page.start, page.end))
                .collect(),
            blocks: to_hex(&blocks),
            words,
            passages: prepared.passages.iter().map(passage).collect(),
            cutter: prepared.cutter,
            without_text: prepared.without_text.clone(),
            recognised: prepared.recognised.clone(),
            stated: prepared.stated.clone(),
        };
        Self {
            path: hex_of(path),
            what: What::Document(Box::new(document)),
        }
    }

    pub(super) fn failed(path: &Path, reason: &str) -> Self {
        Self {
            path: hex_of(path),
            what: What::Failed(reason.to_owned()),
        }
    }

    /// The bytes of the file that was read.
    pub(super) fn bytes(&self) -> u64 {
        match &self.what {
            What::Document(document) => document.stat.0,
            What::Failed(_) => 0,
        }
    }

    /// The record as the store takes it; `None` for what was never written so.
    pub(super) fn take(self) -> Option<Taken> {
        let path = from_hex(&self.path)?;
        Some(match self.what {
            What::Failed(reason) => Taken::Failed { path, reason },
            What::Document(document) => {
                let (bytes, mtime_ns, ctime_ns, device) = document.stat;
                Taken::Document {
                    path,
                    version: document.version.clone(),
                    stat: Stat {
                        bytes,
                        mtime_ns,
                        ctime_ns,
                        device,
                    },
                    prepared: Box::new(document.prepared()?),
                }
            }
        })
    }
}

impl Document {
    fn prepared(self) -> Option<Prepared> {
        let index = CharIndex::new(&self.text);
        let n_chars = self.text.chars().count();
        let passages = self.passages.into_iter().map(|(start, end, page, heading_path)| {
            (start <= end && end <= n_chars).then(|| PreparedPassage {
                text: index.slice(&self.text, start..end).to_owned(),
                start,
                end,
                page,
                heading_path,
            })
        });
        let passages = passages.collect::<Option<Vec<_>>>()?;
        let words = self.words.into_iter().map(|(page, size, packed)| {
            Some(PageWords {
                page,
                size,
                words: boxes::unpack(page, &from_hex(&packed)?)?,
            })
        });
        let (blocks, under) = blocks::unpack(&from_hex(&self.blocks)?)?;
        let span = |(page, start, end)| PageSpan { page, start, end };
        Some(Prepared {
            title: self.title,
            format: self.format,
            n_pages: self.n_pages,
            page_words: words.collect::<Option<Vec<_>>>()?,
            pages: self.pages.into_iter().map(span).collect(),
            blocks,
            under,
            without_text: self.without_text,
            recognised: self.recognised,
            passages,
            cutter: self.cutter,
            stated: self.stated,
            n_chars,
            text: self.text,
        })
    }
}

fn hex_of(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    to_hex(path.as_os_str().as_bytes())
}

/// Bytes as two hexadecimal digits each: paths need not be text.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| Some(c.to_digit(16)? as u8)).collect();
    let (pairs, rest) = digits.as_deref()?.as_chunks::<2>();
    rest.is_empty()
        .then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}
