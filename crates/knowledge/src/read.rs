//! Documents come in here: bytes of any origin become blocks of text with kind and page.
//!
//! The format is told by content, never by name alone. Readers guess nothing: what a document does not say
//! (a page, a title) stays `None`. They know nothing of the store, of passages or of the network. Formats
//! that attackers like (PDF, DOCX, HTML) are read in a child process that may die ([`Isolation::Process`]).

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

mod builder;
mod code;
mod csv;
mod docx;
mod draw;
mod email;
mod encoding;
mod epub;
mod error;
mod hangul;
mod html;
mod hwp;
mod hwpx;
mod isolate;
mod markdown;
mod odf;
mod office;
mod package;
mod passwords;
mod pdf;
mod plain;
mod pptx;
mod sniff;
mod xlsx;
mod xml;

#[cfg(test)]
pub(crate) mod tests;

pub use error::{PictureError, ReadError, Unit};
pub(crate) use isolate::read_scanned;
pub use isolate::{Isolation, Means, WORKER_COMMAND, draw_page, isolated, read, read_with, worker_main};
pub use passwords::Passwords;
pub(crate) use sniff::is_picture;

/// What a document is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BlockKind {
    /// A heading; level 1 is the outermost, 6 the innermost.
    Heading(u8),
    /// Running text.
    Paragraph,
    /// One entry of a list, without its bullet.
    ListItem,
    /// One row of a table, cells joined by `" | "`.
    TableRow,
    /// Preformatted text; its line breaks and indentation count.
    Code,
}

/// A piece of a document. In `text`, `\n` is a line break and a form feed marks where the next page begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// What it is.
    pub kind: BlockKind,
    /// Its text, neither empty nor only white space.
    pub text: String,
    /// 1-based page on which it begins; `None` where the format has no pages.
    pub page: Option<u32>,
    /// Where each word of `text` (parted by white space) stands on the page; empty where that is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<WordBox>,
    /// What it stands in, outermost first, where that is no part of the text: module, class and function of a program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub under: Vec<String>,
}

/// Where a word stands on its page, in quarters of a point from the upper left corner of the page as it is shown
/// (turned and cropped). Words that the reader added, such as the bars between cells, have no width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "[u16; 4]", into = "[u16; 4]")]
pub struct WordBox {
    /// Left edge.
    pub x: u16,
    /// Upper edge.
    pub y: u16,
    /// Width.
    pub width: u16,
    /// Height.
    pub height: u16,
}

impl From<[u16; 4]> for WordBox {
    fn from([x, y, width, height]: [u16; 4]) -> Self {
        Self { x, y, width, height }
    }
}

impl From<WordBox> for [u16; 4] {
    fn from(of: WordBox) -> Self {
        [of.x, of.y, of.width, of.height]
    }
}

/// A format that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// Plain text in any common encoding.
    Text,
    /// CommonMark with tables.
    Markdown,
    /// HTML or XHTML.
    Html,
    /// PDF with a text layer.
    Pdf,
    /// Office Open XML text (Word).
    Docx,
    /// Office Open XML spreadsheet (Excel).
    Xlsx,
    /// Office Open XML presentation (PowerPoint).
    Pptx,
    /// Hangul 5 (binary).
    Hwp,
    /// Hangul, OWPML.
    Hwpx,
    /// OpenDocument text.
    Odt,
    /// OpenDocument spreadsheet.
    Ods,
    /// OpenDocument presentation.
    Odp,
    /// Electronic book.
    Epub,
    /// Rows of fields.
    Csv,
    /// A mail with its attachments.
    Email,
    /// Source code.
    Code,
    /// A picture whose text is recognised.
    Image,
}

impl Format {
    /// The name under which documents of this format are listed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Markdown => "markdown",
            Self::Html => "html",
            Self::Pdf => "pdf",
            Self::Docx => "docx",
            Self::Xlsx => "xlsx",
            Self::Pptx => "pptx",
            Self::Hwp => "hwp",
            Self::Hwpx => "hwpx",
            Self::Odt => "odt",
            Self::Ods => "ods",
            Self::Odp => "odp",
            Self::Epub => "epub",
            Self::Csv => "csv",
            Self::Email => "email",
            Self::Code => "code",
            Self::Image => "image",
        }
    }

    /// Whether its files are programs for their readers, to be opened only where nothing can be harmed. The grammars of
    /// programs are written in C.
    fn is_hostile(self, path: &Path) -> bool {
        match self {
            Self::Text | Self::Markdown | Self::Csv => false,
            Self::Code => code::has_grammar(path),
            _ => true,
        }
    }
}

/// A page whose text was recognised in a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recognised {
    /// The page, 1-based.
    pub page: u32,
    /// How sure the program was, from 0 to 100; 0 where it found nothing.
    pub confidence: u8,
}

/// A document as read: nothing normalised yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawDocument {
    /// Its format.
    pub format: Format,
    /// The title that the document itself states, or else its first top heading.
    pub title: Option<String>,
    /// Its blocks in reading order.
    pub blocks: Vec<Block>,
    /// Pages; `None` where the format has none.
    pub n_pages: Option<u32>,
    /// Width and height of each page as it is shown, in quarters of a point; zero for a page too large to measure so.
    /// Empty where pages have no size.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub page_sizes: Vec<[u16; 2]>,
    /// Pages on which there is no text, such as scanned ones, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without_text: Vec<u32>,
    /// Pages whose text was recognised in a picture.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recognised: Vec<Recognised>,
    /// One sentence for each thing left out.
    pub warnings: Vec<String>,
    /// What the document's properties or front matter state, by name, as it is written there.
    #[serde(default)]
    pub properties: Vec<(String, String)>,
}

/// How much of a document is read before it is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of the file.
    pub max_file_bytes: u64,
    /// Bytes that any one compressed part may unpack to, and all parts together.
    pub max_unpacked_bytes: u64,
    /// Unpacked bytes for each packed byte, once a part unpacks to more than [`RATIO_FREE_BYTES`].
    pub max_unpack_ratio: u64,
    /// Pages.
    pub max_pages: u32,
    /// Elements within elements.
    pub max_nesting: usize,
    /// Blocks of text.
    pub max_blocks: usize,
    /// Bytes of text.
    pub max_text_bytes: usize,
    /// Wall time for one document.
    pub max_time: Duration,
    /// Address space of the child that reads hostile formats.
    pub worker_memory_bytes: u64,
}

/// Parts that unpack to no more than this are never called bombs: small XML packs well.
pub const RATIO_FREE_BYTES: u64 = 16 << 20;

/// Largest file that is read.
pub const MAX_FILE_BYTES: u64 = 256 << 20;
/// Largest unpacked size of a compressed document.
pub const MAX_UNPACKED_BYTES: u64 = 512 << 20;
/// Largest unpacked-to-packed ratio; deflate's own limit is about 1030, honest XML stays under 100.
pub const MAX_UNPACK_RATIO: u64 = 200;
/// Most pages of one document.
pub const MAX_PAGES: u32 = 20_000;
/// Deepest nesting of elements that is followed.
pub const MAX_NESTING: usize = 256;
/// Most blocks of one document.
pub const MAX_BLOCKS: usize = 2_000_000;
/// Most bytes of text of one document.
pub const MAX_TEXT_BYTES: usize = 256 << 20;
/// Longest time that one document may take.
pub const MAX_TIME: Duration = Duration::from_secs(120);
/// Address space of the reading child.
pub const WORKER_MEMORY_BYTES: u64 = 3 << 30;

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_file_bytes: MAX_FILE_BYTES,
            max_unpacked_bytes: MAX_UNPACKED_BYTES,
            max_unpack_ratio: MAX_UNPACK_RATIO,
            max_pages: MAX_PAGES,
            max_nesting: MAX_NESTING,
            max_blocks: MAX_BLOCKS,
            max_text_bytes: MAX_TEXT_BYTES,
            max_time: MAX_TIME,
            worker_memory_bytes: WORKER_MEMORY_BYTES,
        }
    }
}

/// A reading under way: its limits, when it must be over, and what opens encrypted documents.
#[derive(Debug, Clone, Copy)]
struct Run<'a> {
    limits: &'a Limits,
    passwords: &'a Passwords,
    deadline: Instant,
}

impl<'a> Run<'a> {
    fn start(limits: &'a Limits, passwords: &'a Passwords) -> Self {
        Self {
            limits,
            passwords,
            deadline: Instant::now() + limits.max_time,
        }
    }

    /// Fails once the time is over; called in every loop whose length a document decides.
    fn check_time(&self) -> Result<(), ReadError> {
        if Instant::now() > self.deadline {
            return Err(ReadError::TimedOut {
                limit_s: self.limits.max_time.as_secs(),
            });
        }
        Ok(())
    }
}

/// Reads a file's bytes, refusing one that is larger than the limit before reading any of it.
///
/// # Errors
///
/// [`ReadError::TooLarge`] and [`ReadError::Io`].
pub fn load(path: &Path, limits: &Limits) -> Result<Vec<u8>, ReadError> {
    use std::io::Read;
    let io = |error: &std::io::Error| ReadError::Io {
        what: error.to_string(),
        is_passing: stdx::fs::is_transient(error),
    };
    let not_a_file = || ReadError::Io {
        what: "this is not a regular file".to_owned(),
        is_passing: false,
    };
    // Asked before it is opened: opening a pipe would wait for somebody to write into it.
    if stdx::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(not_a_file());
    }
    let file = stdx::fs::open(path).map_err(|error| ReadError::Io {
        what: error.to_string(),
        is_passing: error.is_transient(),
    })?;
    let metadata = file.metadata().map_err(|error| io(&error))?;
    if !metadata.is_file() {
        return Err(not_a_file());
    }
    refuse_large(metadata.len(), limits)?;
    let mut bytes = Vec::new();
    // The file may grow while it is read: one byte more than allowed tells.
    file.take(limits.max_file_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| io(&error))?;
    refuse_large(bytes.len() as u64, limits)?;
    Ok(bytes)
}

fn refuse_large(bytes: u64, limits: &Limits) -> Result<(), ReadError> {
    if bytes > limits.max_file_bytes {
        return Err(ReadError::TooLarge {
            what: Unit::Bytes,
            found: bytes,
            limit: limits.max_file_bytes,
        });
    }
    Ok(())
}

/// Tells the format of a document by its content; the name of `path` decides only between kinds of text (plain,
/// Markdown, HTML fragments, CSV, source code), where the content leaves it open.
///
/// # Errors
///
/// [`ReadError::Empty`], [`ReadError::UnknownFormat`], [`ReadError::Encrypted`].
pub fn format_of(path: &Path, bytes: &[u8]) -> Result<Format, ReadError> {
    sniff::format_of(path, bytes)
}

/// Reads a document here and now, in this thread. [`read`] is the guarded way in.
///
/// # Errors
///
/// One of [`ReadError`], each a sentence.
pub fn read_document(path: &Path, bytes: &[u8], limits: &Limits) -> Result<RawDocument, ReadError> {
    read_locked(path, bytes, limits, &Passwords::default()).and_then(with_text)
}

/// Refuses a document without any text.
fn with_text(document: RawDocument) -> Result<RawDocument, ReadError> {
    if document.blocks.is_empty() {
        return Err(ReadError::NoText {
            n_pages: document.n_pages,
        });
    }
    Ok(document)
}

/// Reads a document that one of these passwords may open; of a PDF file also one of pictures alone.
fn read_locked(
    path: &Path,
    bytes: &[u8],
    limits: &Limits,
    passwords: &Passwords,
) -> Result<RawDocument, ReadError> {
    refuse_large(bytes.len() as u64, limits)?;
    read_within(path, bytes, 0, Run::start(limits, passwords))
}

/// Reads a document that may lie within another one, `depth` deep.
fn read_within(path: &Path, bytes: &[u8], depth: usize, run: Run<'_>) -> Result<RawDocument, ReadError> {
    let document = match format_of(path, bytes)? {
        Format::Text => plain::read(bytes, run),
        Format::Markdown => markdown::read(bytes, run),
        Format::Html => html::read(bytes, run),
        Format::Pdf => pdf::read(bytes, run),
        Format::Docx => docx::read(bytes, run),
        Format::Xlsx => xlsx::read(bytes, run),
        Format::Pptx => pptx::read(bytes, run),
        Format::Hwp => hwp::read(bytes, run),
        Format::Hwpx => hwpx::read(bytes, run),
        format @ (Format::Odt | Format::Ods | Format::Odp) => odf::read(format, bytes, run),
        Format::Epub => epub::read(bytes, run),
        Format::Csv => csv::read(bytes, run),
        Format::Email => email::read(bytes, depth, run),
        Format::Code => code::read(path, bytes, run),
        Format::Image => Err(ReadError::UnknownFormat {
            what: "a picture".to_owned(),
        }),
    }?;
    if depth == 0 && document.format == Format::Pdf {
        return Ok(document);
    }
    with_text(document)
}
