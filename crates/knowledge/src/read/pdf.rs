//! PDF with a text layer: characters with their places, put back into lines, paragraphs, headings and table rows.
//!
//! Objects, cross-references and decryption are the library's; fonts, text operators and reading order are
//! here. Pictures are not looked at: a page that is one has no text, and that is said.

use std::panic::{self, AssertUnwindSafe};

use lopdf::{Dictionary, Document, LoadOptions, Object, ObjectId};

use super::builder::{Builder, one_line};
use super::{Format, RawDocument, ReadError, Run, Unit};

mod blocks;
mod cmap;
mod font;
mod glyphs;
mod interpret;
mod layout;
mod lexer;
mod place;
mod truetype;

/// Deepest chain of parents that a page inherits from.
const MAX_PARENTS: usize = 64;
/// Most pages without text that a warning lists by number.
const MAX_LISTED_PAGES: usize = 20;
/// Titles that programs write by themselves.
const NO_TITLES: [&str; 6] = ["untitled", "unknown", "document", "제목 없음", "문서", "title"];

/// Reads PDF.
pub(super) fn read(bytes: &[u8], run: Run<'_>) -> Result<RawDocument, ReadError> {
    let document = load(bytes, run)?;
    let pages: Vec<ObjectId> = document
        .page_iter()
        .take(run.limits.max_pages as usize + 1)
        .collect();
    if pages.is_empty() {
        return Err(ReadError::Corrupt {
            what: "no page can be found in it".to_owned(),
        });
    }
    let limit = run.limits.max_pages;
    if pages.len() > limit as usize {
        let found = document.page_iter().count() as u64;
        return Err(ReadError::TooLarge {
            what: Unit::Pages,
            found,
            limit: u64::from(limit),
        });
    }
    let mut builder = Builder::new(run);
    let mut fonts = font::Fonts::new(&document, run);
    let mut texts = Vec::with_capacity(pages.len());
    let mut lost = Lost::default();
    for (id, number) in pages.iter().zip(1..) {
        run.check_time()?;
        // One page that the code below cannot take must not cost the others.
        let page = panic::catch_unwind(AssertUnwindSafe(|| {
            interpret::page(&document, *id, &mut fonts, run)
        }));
        let page = match page {
            Ok(page) => page?,
            Err(_) => {
                lost.failed.push(number);
                interpret::PageText::default()
            }
        };
        lost.note(&page, number, &mut builder);
        let sheet = place::Sheet::new(page.size);
        texts.push((layout::lines(page.runs), sheet));
    }
    blocks::build(&texts, &mut builder)?;
    lost.warn(&mut builder);
    Ok(builder.finish(Format::Pdf, title(&document), Some(pages.len() as u32)))
}

/// What could not be read, by page.
#[derive(Default)]
struct Lost {
    empty: Vec<u32>,
    failed: Vec<u32>,
    unmapped: usize,
}

impl Lost {
    fn note(&mut self, page: &interpret::PageText, number: u32, builder: &mut Builder<'_>) {
        if page.runs.is_empty() && !self.failed.contains(&number) {
            self.empty.push(number);
        }
        self.unmapped += page.n_unmapped;
        if page.has_hidden {
            builder.count_hidden();
        }
    }

    fn warn(&self, builder: &mut Builder<'_>) {
        if !self.empty.is_empty() {
            builder.note_without_text(&self.empty);
            builder.warn(format!("no text on {}", listed(&self.empty)));
        }
        if !self.failed.is_empty() {
            builder.warn(format!("could not read {}", listed(&self.failed)));
        }
        if self.unmapped > 0 {
            builder.warn(format!(
                "{} characters are in fonts that do not say which letters they show",
                self.unmapped
            ));
        }
    }
}

fn listed(pages: &[u32]) -> String {
    let shown: Vec<String> = pages.iter().take(MAX_LISTED_PAGES).map(u32::to_string).collect();
    let more = pages.len().saturating_sub(MAX_LISTED_PAGES);
    let word = if pages.len() == 1 { "page" } else { "pages" };
    let rest = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{word} {}{rest}", shown.join(", "))
}

/// The bytes from the header on: readers count positions from there, but rubbish before it is common.
pub(super) fn from_header(bytes: &[u8]) -> &[u8] {
    let start = super::sniff::find(&bytes[..bytes.len().min(2048)], b"%PDF-").unwrap_or(0);
    &bytes[start..]
}

fn load(bytes: &[u8], run: Run<'_>) -> Result<Document, ReadError> {
    let bytes = from_header(bytes);
    // The library opens documents that need no password and takes the entry away.
    let locked = load_with(bytes, None, run)?;
    let Ok(encryption) = locked.trailer.get(b"Encrypt") else {
        return Ok(locked);
    };
    let method = resolve(&locked, encryption)
        .as_dict()
        .ok()
        .and_then(|encryption| encryption.get(b"Filter").ok()?.as_name().ok())
        .unwrap_or(b"Standard");
    if method != b"Standard" {
        return Err(ReadError::UnknownEncryption {
            method: one_line(&String::from_utf8_lossy(&method[..method.len().min(40)])),
        });
    }
    for password in run.passwords.iter() {
        run.check_time()?;
        if locked.authenticate_password(password).is_ok() {
            let opened = load_with(bytes, Some(password.to_owned()), run)?;
            if !opened.trailer.has(b"Encrypt") {
                return Ok(opened);
            }
        }
    }
    Err(ReadError::encrypted_pdf(run.passwords))
}

fn load_with(bytes: &[u8], password: Option<String>, run: Run<'_>) -> Result<Document, ReadError> {
    let limit = usize::try_from(run.limits.max_unpacked_bytes).unwrap_or(usize::MAX);
    let options = LoadOptions {
        max_decompressed_size: Some(limit),
        password,
        ..LoadOptions::default()
    };
    match panic::catch_unwind(|| Document::load_mem_with_options(bytes, options)) {
        Ok(loaded) => loaded.map_err(|error| refusal(&error, bytes, run)),
        Err(_) => Err(ReadError::Corrupt {
            what: "its objects make no sense".to_owned(),
        }),
    }
}

fn refusal(error: &lopdf::Error, bytes: &[u8], run: Run<'_>) -> ReadError {
    use lopdf::{DecompressError, Error};
    match error {
        Error::Decryption(_) | Error::InvalidPassword => ReadError::encrypted_pdf(run.passwords),
        Error::Decompress(DecompressError::MemoryLimitExceeded { limit }) => ReadError::ZipBomb {
            packed: bytes.len() as u64,
            unpacked: *limit as u64,
        },
        other => ReadError::Corrupt {
            what: format!("{other}").to_lowercase(),
        },
    }
}

/// The title in the document's information, unless a program made it up.
fn title(document: &Document) -> Option<String> {
    let info = document
        .trailer
        .get(b"Info")
        .ok()
        .map(|info| resolve(document, info))?;
    let title = resolve(document, info.as_dict().ok()?.get(b"Title").ok()?);
    let title = one_line(&lopdf::decode_text_string(title).ok()?);
    let title = title
        .trim_start_matches("Microsoft Word - ")
        .trim_start_matches("Microsoft PowerPoint - ")
        .trim();
    let is_made_up = NO_TITLES.contains(&title.to_lowercase().as_str()) || title.contains('\u{FFFD}');
    (!is_made_up && !title.is_empty()).then(|| title.to_owned())
}

/// Follows a reference; what cannot be found is nothing.
fn resolve<'d>(document: &'d Document, object: &'d Object) -> &'d Object {
    document
        .dereference(object)
        .map_or(&Object::Null, |(_, object)| object)
}

/// An entry of a dictionary, its reference followed.
fn entry<'d>(document: &'d Document, dictionary: &'d Dictionary, key: &[u8]) -> Option<&'d Object> {
    let object = resolve(document, dictionary.get(key).ok()?);
    (!object.is_null()).then_some(object)
}

/// An entry that is a dictionary itself, or the dictionary of a stream.
fn dictionary<'d>(document: &'d Document, parent: &'d Dictionary, key: &[u8]) -> Option<&'d Dictionary> {
    match entry(document, parent, key)? {
        Object::Dictionary(dictionary) => Some(dictionary),
        Object::Stream(stream) => Some(&stream.dict),
        _ => None,
    }
}

/// A number, whole or not.
fn number(object: &Object) -> Option<f64> {
    match object {
        Object::Integer(number) => Some(*number as f64),
        Object::Real(number) => Some(f64::from(*number)),
        _ => None,
    }
}

/// An entry of a page, or of the nodes above it.
fn inherited<'d>(document: &'d Document, page: &'d Dictionary, key: &[u8]) -> Option<&'d Object> {
    let mut node = page;
    for _ in 0..MAX_PARENTS {
        if let Some(object) = entry(document, node, key) {
            return Some(object);
        }
        node = dictionary(document, node, b"Parent")?;
    }
    None
}
