//! Text in pictures, recognised by an installed Tesseract when the user turns that on.
//!
//! Pages without a text layer are drawn like pages that are shown, and the picture goes to the program, which is a child
//! with limits. What comes back is marked as recognised, with how sure the program was.

use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::read::{
    Block, BlockKind, Format, Means, RawDocument, ReadError, Recognised, Unit, WordBox, draw_page,
    is_picture, read_scanned,
};

mod program;
mod words;

use words::{Line, Paragraph};

/// Width of the picture of a page: about 290 dots an inch on A4, for which the program was trained.
const PICTURE_WIDTH: u32 = 2_400;
/// Largest picture file: the program keeps it unpacked in memory.
const PICTURE_BYTES_MAX: u64 = 64 << 20;
/// Pages of one document that are recognised; the others stay listed as without text.
const PAGES_MAX: usize = 2_000;
/// A page of which the program was less sure than this is said to be doubtful.
pub const DOUBTFUL_BELOW: u8 = 70;
/// What is recognised unless somebody says otherwise.
pub const LANGUAGES: &str = "kor+eng";
/// Longest list of languages.
const LANGUAGES_BYTES_MAX: usize = 200;

/// How text in pictures is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ocr {
    /// The program.
    pub program: PathBuf,
    /// Languages in its notation, such as `kor+eng`.
    pub languages: String,
    /// Longest time for one page.
    pub max_time: Duration,
    /// Address space of the program.
    pub memory_bytes: u64,
}

/// Why text in pictures cannot be recognised here.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum OcrError {
    /// The program is not there or does not run.
    #[error(
        "Tesseract is needed to recognise text in pictures, and `{program}` cannot be started ({what}); install it \
         (Debian, Ubuntu: `apt-get install tesseract-ocr tesseract-ocr-kor`), or set `ocr` to off"
    )]
    NoProgram {
        /// The program.
        program: String,
        /// Why not.
        what: String,
    },
    /// It does not know a language.
    #[error(
        "Tesseract has no data for the language `{language}`; install it (Debian, Ubuntu: `apt-get install \
         tesseract-ocr-{}`), or name others in `ocr`: it has {known}", .language.replace('_', "-")
    )]
    NoLanguage {
        /// The language.
        language: String,
        /// Those it knows.
        known: String,
    },
    /// No list of languages.
    #[error("`{0}` names no languages; write them like `kor+eng`")]
    BadLanguages(String),
}

impl Ocr {
    /// The installed Tesseract for these languages (`kor+eng`).
    ///
    /// # Errors
    /// [`OcrError`] says what to install.
    pub fn installed(languages: &str) -> Result<Self, OcrError> {
        Self::of(Path::new("tesseract"), languages)
    }

    /// This program for these languages.
    ///
    /// # Errors
    /// [`OcrError`] says what to install.
    pub fn of(program: &Path, languages: &str) -> Result<Self, OcrError> {
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && name.len() < 64
        };
        if languages.len() > LANGUAGES_BYTES_MAX || !languages.split('+').all(is_name) {
            return Err(OcrError::BadLanguages(languages.to_owned()));
        }
        let ocr = Self {
            program: program.to_owned(),
            languages: languages.to_owned(),
            max_time: Duration::from_mins(2),
            memory_bytes: 3 << 29,
        };
        let known = program::languages(&ocr)?;
        match languages
            .split('+')
            .find(|name| !known.iter().any(|known| known == name))
        {
            Some(language) => Err(OcrError::NoLanguage {
                language: language.to_owned(),
                known: known.join(", "),
            }),
            None => Ok(ocr),
        }
    }
}

/// Reads a document; text in pictures is recognised: on pages of PDF files that have none, and in picture files.
pub(crate) fn read(path: &Path, bytes: &[u8], means: Means<'_>, ocr: &Ocr) -> Result<RawDocument, ReadError> {
    let document = if is_picture(bytes) {
        picture(bytes, means, ocr)?
    } else {
        let mut document = read_scanned(path, bytes, means)?;
        add_recognised(&mut document, bytes, means, ocr);
        document
    };
    if document.blocks.is_empty() {
        let why = document.warnings.last().cloned();
        return Err(ReadError::NotRecognised {
            what: why.unwrap_or_else(|| "no text was found in its pictures".to_owned()),
        });
    }
    Ok(document)
}

/// A picture file: one page, without a size that could be told.
fn picture(bytes: &[u8], means: Means<'_>, ocr: &Ocr) -> Result<RawDocument, ReadError> {
    if bytes.len() as u64 > means.limits.max_file_bytes.min(PICTURE_BYTES_MAX) {
        return Err(ReadError::TooLarge {
            what: Unit::Bytes,
            found: bytes.len() as u64,
            limit: means.limits.max_file_bytes.min(PICTURE_BYTES_MAX),
        });
    }
    let said = program::run(ocr, bytes).map_err(|what| ReadError::NotRecognised { what })?;
    let found = words::paragraphs(&said, [0, 0]);
    let mut document = RawDocument {
        format: Format::Image,
        title: None,
        blocks: Vec::new(),
        n_pages: Some(1),
        page_sizes: Vec::new(),
        without_text: Vec::new(),
        recognised: vec![Recognised {
            page: 1,
            confidence: words::confidence(&found),
        }],
        warnings: Vec::new(),
        properties: Vec::new(),
    };
    insert(&mut document, 1, found);
    Ok(document)
}

/// Recognises the pages of a PDF file that have no text, and puts what is found where it belongs. A page that cannot be
/// drawn or recognised stays without text, with the reason in a warning.
fn add_recognised(document: &mut RawDocument, bytes: &[u8], means: Means<'_>, ocr: &Ocr) {
    let pages = std::mem::take(&mut document.without_text);
    document
        .warnings
        .retain(|warning| !warning.starts_with("no text on "));
    for (n, page) in pages.into_iter().enumerate() {
        let found = if n < PAGES_MAX {
            recognise(document, bytes, page, means, ocr)
        } else {
            Err(format!("only {PAGES_MAX} pages of a document are recognised"))
        };
        match found {
            Ok(found) => {
                document.recognised.push(Recognised {
                    page,
                    confidence: words::confidence(&found),
                });
                insert(document, page, found);
            }
            Err(why) => {
                document.without_text.push(page);
                document
                    .warnings
                    .push(format!("page {page} was not recognised: {why}"));
            }
        }
    }
}

fn recognise(
    document: &RawDocument,
    bytes: &[u8],
    page: u32,
    means: Means<'_>,
    ocr: &Ocr,
) -> Result<Vec<Paragraph>, String> {
    let picture = draw_page(bytes, (page, PICTURE_WIDTH), means).map_err(|error| error.to_string())?;
    let out = program::run(ocr, &picture)?;
    let size = document
        .page_sizes
        .get(page as usize - 1)
        .copied()
        .unwrap_or_default();
    Ok(words::paragraphs(&out, size))
}

/// Adds paragraphs behind everything that begins on earlier pages.
fn insert(document: &mut RawDocument, page: u32, paragraphs: Vec<Paragraph>) {
    let at = document
        .blocks
        .partition_point(|block| block.page.is_none_or(|other| other < page));
    let blocks: Vec<Block> = paragraphs
        .into_iter()
        .map(|paragraph| block(page, paragraph))
        .collect();
    document.blocks.splice(at..at, blocks);
}

fn block(page: u32, paragraph: Paragraph) -> Block {
    let text = |line: &Line| {
        line.words
            .iter()
            .map(|word| word.text.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let lines: Vec<String> = paragraph.lines.iter().map(text).collect();
    let places: Vec<WordBox> = paragraph
        .lines
        .iter()
        .flat_map(|line| &line.words)
        .map(|word| word.place)
        .collect();
    // Without the size of its page no word has a place.
    let is_placed = places.iter().any(|place| *place != WordBox::default());
    Block {
        kind: BlockKind::Paragraph,
        text: lines.join("\n"),
        page: Some(page),
        words: if is_placed { places } else { Vec::new() },
        under: Vec::new(),
    }
}
