//! Small documents made in memory: DOCX packages and PDF files.
//!
//! Made rather than stored, so that a test shows what matters about each.

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

pub(crate) const RELATIONS: &str = r#"<?xml version="1.0"?><Relationships xmlns="r"><Relationship Id="rId1"
 Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/>
</Relationships>"#;

/// A zip file of these parts.
pub(crate) fn package(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, bytes) in parts {
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A DOCX with this body and further parts.
pub(crate) fn docx(body: &str, parts: &[(&str, &str)]) -> Vec<u8> {
    let document = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><w:document xmlns:w="w" xmlns:mc="mc"><w:body>{body}</w:body></w:document>"#
    );
    let mut all: Vec<(&str, &[u8])> = vec![
        ("[Content_Types].xml", b"<Types/>"),
        ("_rels/.rels", RELATIONS.as_bytes()),
    ];
    all.push(("word/document.xml", document.as_bytes()));
    all.extend(parts.iter().map(|(name, text)| (*name, text.as_bytes())));
    package(&all)
}

/// A paragraph with a style and text.
pub(crate) fn paragraph(style: &str, text: &str) -> String {
    format!(
        r#"<w:p><w:pPr><w:pStyle w:val="{style}"/></w:pPr><w:r><w:t xml:space="preserve">{text}</w:t></w:r></w:p>"#
    )
}

/// A PDF of numbered objects, with its cross-reference table. Object 1 is the catalog.
pub(crate) fn pdf(objects: &[Vec<u8>], trailer: &str) -> Vec<u8> {
    let mut out = b"%PDF-1.5\n%\xE2\xE3\xCF\xD3\n".to_vec();
    let mut offsets = Vec::new();
    for (object, number) in objects.iter().zip(1..) {
        offsets.push(out.len());
        out.extend(format!("{number} 0 obj\n").bytes());
        out.extend(object);
        out.extend(b"\nendobj\n");
    }
    let start = out.len();
    out.extend(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).bytes());
    for offset in offsets {
        out.extend(format!("{offset:010} 00000 n \n").bytes());
    }
    out.extend(
        format!(
            "trailer\n<< /Size {} /Root 1 0 R {trailer} >>\nstartxref\n{start}\n%%EOF\n",
            objects.len() + 1
        )
        .bytes(),
    );
    out
}

pub(crate) fn stream(dictionary: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = format!("<< {dictionary} /Length {} >>\nstream\n", bytes.len()).into_bytes();
    out.extend(bytes);
    out.extend(b"\nendstream");
    out
}

/// Pages with these contents and fonts `/F1`, `/F2`, … of these dictionaries; `more` objects follow, from
/// number `3 + fonts + 2 * pages` on.
pub(crate) fn pdf_pages(contents: &[Vec<u8>], fonts: &[String], more: &[Vec<u8>], trailer: &str) -> Vec<u8> {
    pdf_pages_with("", contents, fonts, more, trailer)
}

/// The same, with further entries in each page's dictionary.
pub(crate) fn pdf_pages_with(
    entries: &str,
    contents: &[Vec<u8>],
    fonts: &[String],
    more: &[Vec<u8>],
    trailer: &str,
) -> Vec<u8> {
    let first_page = 3 + fonts.len();
    let kids: Vec<String> = (0..contents.len())
        .map(|page| format!("{} 0 R", first_page + 2 * page))
        .collect();
    let names: Vec<String> = (0..fonts.len())
        .map(|font| format!("/F{} {} 0 R", font + 1, 3 + font))
        .collect();
    let mut objects = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        format!(
            "<< /Type /Pages /Count {} /Kids [{}] /MediaBox [0 0 595 842] /Resources << /Font << {} >> >> >>",
            contents.len(),
            kids.join(" "),
            names.join(" ")
        )
        .into_bytes(),
    ];
    objects.extend(fonts.iter().map(|font| font.clone().into_bytes()));
    for (page, content) in contents.iter().enumerate() {
        let content_id = first_page + 2 * page + 1;
        let page = format!("<< /Type /Page /Parent 2 0 R /Contents {content_id} 0 R {entries} >>");
        objects.push(page.into_bytes());
        objects.push(stream("", content));
    }
    objects.extend(more.iter().cloned());
    pdf(&objects, trailer)
}

pub(crate) const HELVETICA: &str =
    "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>";

/// Lines of text in Helvetica, from the top of the page down.
pub(crate) fn lines(size: u32, top: u32, lines: &[&str]) -> Vec<u8> {
    let mut out = format!("BT /F1 {size} Tf {} TL 72 {top} Td\n", size * 6 / 5);
    for line in lines {
        out.push_str(&format!("({line}) Tj T*\n"));
    }
    out.push_str("ET\n");
    out.into_bytes()
}
