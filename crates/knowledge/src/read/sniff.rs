//! What a file is, told by its bytes.
//!
//! Names lie and change; only between plain text, Markdown, HTML fragments, CSV and source code, which are all just
//! text, does the extension break a tie.

use std::path::Path;

use super::{Format, ReadError, code, csv, email, encoding, package};

/// How far into a file the PDF mark may stand (Adobe's own readers accept 1024 bytes of rubbish before it).
const PDF_MARK_WITHIN: usize = 1024;
/// How many bytes of text the looks for HTML and Markdown take in.
const TEXT_SAMPLE_BYTES: usize = 32 << 10;

/// First bytes of formats that are not read, with their names for people.
const FOREIGN: [(&[u8], &str); 22] = [
    (b"\x89PNG", "a PNG image"),
    (b"\xFF\xD8\xFF", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"BM", "a bitmap image"),
    (b"\x1F\x8B", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xFD7zXZ\0", "an xz archive"),
    (b"\x28\xB5\x2F\xFD", "a zstd archive"),
    (b"7z\xBC\xAF\x27\x1C", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7FELF", "a program"),
    (b"MZ\x90\0", "a program"),
    (b"{\\rtf", "an RTF document"),
    (b"%!PS", "a PostScript file"),
    (b"GGUF", "a model file"),
    (b"SQLite format 3\0", "a database"),
    (b"RIFF", "sound, film or a WebP image"),
    (b"ID3", "a sound file"),
    (b"OggS", "a sound file"),
    (b"HWP Document File V", "a Hangul document of before 2002 (HWP 3)"),
];

/// First bytes of pictures.
const PICTURES: [&[u8]; 4] = [b"\x89PNG\r\n\x1A\n", b"\xFF\xD8\xFF", b"II*\0", b"MM\0*"];

/// The header of OLE compound files: Office before 2007, HWP 5, and encrypted DOCX.
const OLE: &[u8] = b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1";

/// Whether these are the bytes of a picture in which text can be recognised: PNG, JPEG or TIFF.
pub(crate) fn is_picture(bytes: &[u8]) -> bool {
    PICTURES.iter().any(|magic| bytes.starts_with(magic))
}

/// See [`super::format_of`].
pub(super) fn format_of(path: &Path, bytes: &[u8]) -> Result<Format, ReadError> {
    if bytes.is_empty() {
        return Err(ReadError::Empty);
    }
    let head = &bytes[..bytes.len().min(PDF_MARK_WITHIN)];
    if find(head, b"%PDF-").is_some() {
        return Ok(Format::Pdf);
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        return package::format_of(bytes);
    }
    if bytes.starts_with(OLE) {
        return ole(bytes);
    }
    if let Some((_, what)) = FOREIGN.iter().find(|(magic, _)| is_foreign(bytes, magic)) {
        return Err(ReadError::UnknownFormat {
            what: (*what).to_owned(),
        });
    }
    text_format(path, bytes)
}

/// Two-letter marks also begin honest words ("BM25 is …"), so they count only before binary bytes.
fn is_foreign(bytes: &[u8], magic: &[u8]) -> bool {
    let alone = magic.len() >= 5 || !magic.iter().all(u8::is_ascii_graphic);
    bytes.starts_with(magic) && (alone || encoding::looks_binary(bytes))
}

/// HWP 5 by its header stream; everything else in such a container is refused by name.
fn ole(bytes: &[u8]) -> Result<Format, ReadError> {
    let utf16 = |name: &str| {
        name.encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>()
    };
    if find(bytes, &utf16("EncryptedPackage")).is_some() {
        return Err(ReadError::Encrypted);
    }
    if find(bytes, b"HWP Document File").is_some() || find(bytes, &utf16("HwpSummaryInformation")).is_some() {
        return Ok(Format::Hwp);
    }
    Err(ReadError::UnknownFormat {
        what: "an Office document of before 2007 (.doc, .xls, .ppt)".to_owned(),
    })
}

fn text_format(path: &Path, bytes: &[u8]) -> Result<Format, ReadError> {
    let mut cut = bytes.len().min(TEXT_SAMPLE_BYTES);
    // An even cut keeps UTF-16 whole; not within a UTF-8 character, lest the sample look damaged.
    cut -= cut % 2;
    while cut > 0
        && cut < bytes.len()
        && bytes[cut] & 0xC0 == 0x80
        && cut + 8 > bytes.len().min(TEXT_SAMPLE_BYTES)
    {
        cut -= 1;
    }
    let sample = if cut == 0 { bytes } else { &bytes[..cut] };
    let decoded = encoding::text(sample, None)?;
    let text = decoded
        .text
        .trim_start_matches(|c: char| c.is_whitespace() || c == '\u{FEFF}');
    let extension = path
        .extension()
        .map(|e| e.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    if begins_as_html(text) || (is_html_name(&extension) && has_html_tags(text)) {
        return Ok(Format::Html);
    }
    if email::is_mail(bytes) {
        return Ok(Format::Email);
    }
    if code::is_name(&extension) {
        return Ok(Format::Code);
    }
    if matches!(extension.as_str(), "csv" | "tsv") && csv::is_table(text) {
        return Ok(Format::Csv);
    }
    if matches!(extension.as_str(), "md" | "markdown" | "mdown" | "mkd") || markdown_signs(text) >= 3 {
        return Ok(Format::Markdown);
    }
    Ok(Format::Text)
}

fn is_html_name(extension: &str) -> bool {
    matches!(extension, "html" | "htm" | "xhtml")
}

/// Skips comments and the XML declaration, then looks for the document element.
fn begins_as_html(text: &str) -> bool {
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let skipped = if let Some(after) = rest.strip_prefix("<!--") {
            after.split_once("-->").map(|(_, tail)| tail)
        } else if let Some(after) = rest.strip_prefix("<?xml") {
            after.split_once("?>").map(|(_, tail)| tail)
        } else {
            None
        };
        match skipped {
            Some(tail) => rest = tail,
            None => break,
        }
    }
    let begin: String = rest.chars().take(16).collect::<String>().to_ascii_lowercase();
    ["<!doctype html", "<html", "<head", "<body"]
        .iter()
        .any(|mark| begin.starts_with(mark))
}

fn has_html_tags(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    [
        "</p>", "<p>", "</div>", "<br", "</h1>", "</h2>", "</table>", "</ul>", "</title>", "</a>", "</span>",
    ]
    .iter()
    .any(|tag| lower.contains(tag))
}

/// How many different Markdown signs a text shows; plain text shows one or two by chance.
fn markdown_signs(text: &str) -> usize {
    let any = |test: &dyn Fn(&str) -> bool| text.lines().any(test);
    let hashes = |line: &str| line.bytes().take_while(|byte| *byte == b'#').count();
    let headings = text
        .lines()
        .filter(|line| (1..=6).contains(&hashes(line)) && line[hashes(line)..].starts_with(' '));
    let headings = headings.count();
    let signs = [
        headings >= 1,
        headings >= 3 && text.lines().any(|line| line.starts_with("## ")),
        any(&|line| line.starts_with("```") || line.starts_with("~~~")),
        any(&|line| line.contains("](") && line.contains('[')),
        any(&|line| line.contains("**") && line.matches("**").count() >= 2),
        any(&|line| line.contains("|--") || line.contains("| --") || line.contains("|:-")),
        text.starts_with("---\n") && text[4..].contains("\n---\n"),
    ];
    signs.into_iter().filter(|sign| *sign).count()
}

/// Where `needle` first stands in `haystack`.
pub(super) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
