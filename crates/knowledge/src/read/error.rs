//! Why a document could not be read: one clear sentence each.
//!
//! The path is not in the sentence: whoever shows it knows the path and puts it in front.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Passwords;

/// A document that was not read, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum ReadError {
    /// No bytes, or only white space.
    #[error("the file is empty; there is nothing to take in")]
    Empty,
    /// Larger than a limit.
    #[error("the document has {} {what}, more than the limit of {}; split it into smaller files", count(*found), count(*limit))]
    TooLarge {
        /// What there is too much of.
        what: Unit,
        /// How much there is, or how much had been found when reading stopped.
        found: u64,
        /// How much may be.
        limit: u64,
    },
    /// Not a document that can be read.
    #[error(
        "this looks like {what}; text, Markdown, HTML, PDF, Office, Hangul and OpenDocument files, e-mail, EPUB, CSV \
         and source code can be read, so convert it to one of them"
    )]
    UnknownFormat {
        /// What it looks like.
        what: String,
    },
    /// Locked by a password.
    #[error("the document is encrypted; save a copy without a password and take that in")]
    Encrypted,
    /// A PDF file that needs a password, or another one than those that are known.
    #[error("{}", locked(*n_tried))]
    Locked {
        /// How many passwords were tried.
        n_tried: usize,
    },
    /// Encrypted by a method that cannot be undone here.
    #[error(
        "the document is encrypted by {method}, which cannot be read; save a copy without a password and take that in"
    )]
    UnknownEncryption {
        /// What the document says of it.
        method: String,
    },
    /// Damaged, or not what it says it is.
    #[error("the document is damaged: {what}; open it in its own program, save it anew and try again")]
    Corrupt {
        /// What is wrong.
        what: String,
    },
    /// Unpacks to far more than an honest document would.
    #[error("the document unpacks to more than {} bytes out of {} packed ones and is refused as a bomb", count(*unpacked), count(*packed))]
    ZipBomb {
        /// Packed bytes.
        packed: u64,
        /// Unpacked bytes when unpacking stopped.
        unpacked: u64,
    },
    /// Took too long.
    #[error("reading took longer than {limit_s} s and was stopped; split the document into smaller files")]
    TimedOut {
        /// The limit in seconds.
        limit_s: u64,
    },
    /// The reader itself failed; nothing else was harmed.
    #[error("the reader failed on this document ({what}); nothing else is affected, please report the file")]
    Crashed {
        /// How it ended.
        what: String,
    },
    /// Read without fault, but there is no text in it.
    #[error("{}", no_text(*n_pages))]
    NoText {
        /// Pages, all of them without text; `None` where the format has none.
        n_pages: Option<u32>,
    },
    /// No text was recognised in its pictures.
    #[error("its text is in pictures and was not recognised: {what}")]
    NotRecognised {
        /// Why not.
        what: String,
    },
    /// The file could not be read at all.
    #[error("{what}")]
    Io {
        /// The operating system's sentence.
        what: String,
        /// Whether it may be read a moment later.
        is_passing: bool,
    },
}

impl ReadError {
    /// Whether the same file may be read a moment later.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Io { is_passing: true, .. })
    }

    /// Whether the reader died of the document, or would not end: to be tried again with care.
    pub fn is_deadly(&self) -> bool {
        matches!(self, Self::TimedOut { .. } | Self::Crashed { .. })
    }

    /// None of these passwords opens it.
    pub(super) fn encrypted_pdf(passwords: &Passwords) -> Self {
        Self::Locked {
            n_tried: passwords.len(),
        }
    }
}

fn locked(n_tried: usize) -> String {
    let found = match n_tried {
        0 => "the document needs a password".to_owned(),
        1 => "the document needs another password than the one that is known".to_owned(),
        n => format!("the document needs another password than the {n} that are known"),
    };
    format!(
        "{found}; write it on a line of the file that the setting `pdf_passwords` names and take the document in again"
    )
}

/// A page that cannot be shown as a picture.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum PictureError {
    /// The document has no such page.
    #[error("there is no page {page}; the document has {n_pages}")]
    NoSuchPage {
        /// The page asked for.
        page: u32,
        /// How many there are.
        n_pages: u32,
    },
    /// The document cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

fn no_text(n_pages: Option<u32>) -> String {
    match n_pages {
        Some(pages) => format!(
            "no text on any of its {pages} pages, so they are probably scanned: needs OCR; set `ocr` to on, which \
             has their text recognised by an installed Tesseract"
        ),
        None => "the document holds no text".to_owned(),
    }
}

/// A number with its thousands apart: limits are read by people.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// In what a document can be too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Bytes of the file.
    Bytes,
    /// Pages.
    Pages,
    /// Blocks of text.
    Blocks,
    /// Bytes of text.
    TextBytes,
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bytes => "bytes",
            Self::Pages => "pages",
            Self::Blocks => "blocks of text",
            Self::TextBytes => "bytes of text",
        })
    }
}
