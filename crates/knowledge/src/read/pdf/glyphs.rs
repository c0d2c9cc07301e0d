//! The text that glyph names stand for ("eacute", "uni00E9", "f_i").
//!
//! The list of names is the PDF library's; the rules for made-up names are Adobe's glyph list specification.

use lopdf::{Dictionary, Document, Object};

/// The text of a glyph name.
pub(super) fn text_of(name: &[u8], document: &Document) -> Option<String> {
    let stem = name
        .split(|byte| *byte == b'.')
        .next()
        .filter(|stem| !stem.is_empty())?;
    if let Some(text) = listed(stem, document) {
        return Some(text);
    }
    let stem = std::str::from_utf8(stem).ok()?;
    let mut text = String::new();
    for part in stem.split('_') {
        let listed = if part.len() == stem.len() {
            None
        } else {
            listed(part.as_bytes(), document)
        };
        text.push_str(&listed.or_else(|| numbered(part))?);
    }
    Some(text)
}

/// Names of the list. The library only looks names up for a font, so each name is asked for as one's encoding.
fn listed(name: &[u8], document: &Document) -> Option<String> {
    let mut encoding = Dictionary::new();
    encoding.set(
        "Differences",
        vec![Object::Integer(0), Object::Name(name.to_vec())],
    );
    let mut font = Dictionary::new();
    font.set("Type", Object::Name(b"Font".to_vec()));
    font.set("Encoding", encoding);
    let text = font
        .get_font_encoding(document)
        .ok()?
        .bytes_to_string(&[0])
        .ok()?;
    (!text.is_empty()).then_some(text)
}

/// `uni` with four hexadecimal digits for each character, or `u` with four to six for one.
fn numbered(name: &str) -> Option<String> {
    if let Some(digits) = name.strip_prefix("uni")
        && digits.len() >= 4
        && digits.len().is_multiple_of(4)
        && digits.is_ascii()
    {
        let units = digits
            .as_bytes()
            .chunks(4)
            .map(|unit| u16::from_str_radix(std::str::from_utf8(unit).ok()?, 16).ok());
        let units: Option<Vec<u16>> = units.collect();
        return String::from_utf16(&units?).ok();
    }
    let digits = name
        .strip_prefix('u')
        .filter(|digits| (4..=6).contains(&digits.len()))?;
    char::from_u32(u32::from_str_radix(digits, 16).ok()?).map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_listed_and_made_up_names() {
        let document = Document::new();
        let text = |name: &str| text_of(name.as_bytes(), &document);
        assert_eq!(text("eacute").as_deref(), Some("é"));
        assert_eq!(text("A.small").as_deref(), Some("A"));
        assert_eq!(text("uniAC00").as_deref(), Some("가"));
        assert_eq!(text("u1F600").as_deref(), Some("😀"));
        assert_eq!(text("f_comma").as_deref(), Some("f,"));
        assert_eq!(text("g123"), None);
    }
}
