//! EPUB: the chapters of a book in reading order, each read as HTML.
//!
//! Navigation, covers and what is outside the reading order are left out. Books have no pages of their own.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::builder::Builder;
use super::package::Package;
use super::xml::{self, Node};
use super::{Format, RawDocument, ReadError, Run, encoding, html, office};

/// Says where the book's own description is.
const CONTAINER: &str = "META-INF/container.xml";
/// Says which parts are encrypted.
const ENCRYPTION: &str = "META-INF/encryption.xml";

/// Reads EPUB.
pub(super) fn read(bytes: &[u8], run: Run<'_>) -> Result<RawDocument, ReadError> {
    let mut package = Package::open(bytes)?;
    if let Some(part) = package.part(ENCRYPTION, run)?
        && has_encrypted_text(&part, run)?
    {
        return Err(ReadError::Encrypted);
    }
    let container = office::required(&mut package, CONTAINER, run)?;
    let mut description = None;
    xml::walk(&container, CONTAINER, run, &mut |node| {
        if let Node::Open("rootfile", attributes) = node {
            description = attributes.get("full-path");
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let description = description.ok_or_else(|| ReadError::Corrupt {
        what: "it does not say where its description is".to_owned(),
    })?;
    let part = office::required(&mut package, &description, run)?;
    let chapters = chapters(&part, &description, run)?;
    let title = office::text_of(&part, &description, "title", run)?;
    let mut builder = Builder::new(run);
    for chapter in &chapters {
        let Some(bytes) = package.part(chapter, run)? else {
            builder.warn(format!("the chapter `{chapter}` is missing in the file"));
            continue;
        };
        match encoding::decode(&bytes, None) {
            Some(decoded) => drop(html::read_into(&decoded.text, &mut builder, run)?),
            None => builder.warn(format!("the chapter `{chapter}` is not text")),
        }
    }
    Ok(builder.finish(Format::Epub, title, None))
}

/// Fonts may be obfuscated in an open book; text that is not readable is another matter.
fn has_encrypted_text(part: &[u8], run: Run<'_>) -> Result<bool, ReadError> {
    let mut found = false;
    xml::walk(part, ENCRYPTION, run, &mut |node| {
        if let Node::Open("CipherReference", attributes) = node {
            let target = attributes.get("URI").unwrap_or_default().to_ascii_lowercase();
            found |= [".html", ".xhtml", ".htm", ".opf"]
                .iter()
                .any(|end| target.ends_with(end));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// The parts of the reading order.
fn chapters(part: &[u8], name: &str, run: Run<'_>) -> Result<Vec<String>, ReadError> {
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut items: BTreeMap<String, String> = BTreeMap::new();
    let mut order = Vec::new();
    xml::walk(part, name, run, &mut |node| {
        match node {
            Node::Open("item", attributes) => {
                let is_text = attributes
                    .get("media-type")
                    .is_some_and(|kind| kind.contains("html"));
                let is_navigation = attributes
                    .get("properties")
                    .is_some_and(|properties| properties.split_whitespace().any(|p| p == "nav"));
                if is_text
                    && !is_navigation
                    && let (Some(id), Some(target)) = (attributes.get("id"), attributes.get("href"))
                {
                    items.insert(id, office::resolve(folder, &percent_decoded(&target)));
                }
            }
            Node::Open("itemref", attributes) if attributes.get("linear").as_deref() != Some("no") => {
                order.extend(attributes.get("idref"));
            }
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(order.iter().filter_map(|id| items.get(id).cloned()).collect())
}

/// Addresses write spaces and Hangul as `%20` and the like.
fn percent_decoded(address: &str) -> String {
    let bytes = address.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'%')
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match hex {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::percent_decoded;

    #[test]
    fn addresses_are_decoded_once() {
        assert_eq!(percent_decoded("a%20b%2520.xhtml"), "a b%20.xhtml");
        assert_eq!(percent_decoded("%EC%9E%A5.xhtml"), "장.xhtml");
        assert_eq!(percent_decoded("100%"), "100%");
        assert_eq!(percent_decoded("%g1%"), "%g1%");
    }
}
