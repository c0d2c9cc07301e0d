//! Why a document could not be read: one clear sentence each.
//!
//! The path is not in the sentence: whoever shows it knows the path and puts it in front.

use serde::{Deserialize, Serialize};
use thiserror::Error;

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
    /// The file could not be read at all.
    #[error("{what}")]
    Io {
        /// The operating system's sentence.
        what: String,
    },
}

fn no_text(n_pages: Option<u32>) -> String {
    match n_pages {
        Some(pages) => format!(
            "none of its {pages} pages has text, so they are probably scanned images; run text recognition (OCR) \
             on the document first"
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
