//! Bytes of text become characters: UTF-8, UTF-16 with or without byte order mark, CP949 (EUC-KR) and others.
//!
//! Not for bytes that are no text: those are told apart in [`looks_binary`] and refused.

use std::borrow::Cow;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{EUC_KR, Encoding, UTF_8, UTF_16BE, UTF_16LE};

use super::ReadError;

/// How many bytes the guesses look at.
const SAMPLE_BYTES: usize = 64 << 10;
/// More control characters than this share make bytes binary.
const MAX_CONTROL_SHARE: f64 = 0.01;
/// More undecodable places than this share make a guessed encoding wrong.
const MAX_BROKEN_SHARE: f64 = 0.02;

/// Text with the name of its encoding and the number of places that could not be decoded.
pub(super) struct Decoded<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) broken: usize,
    pub(super) encoding: &'static str,
}

/// [`decode`], or the error that says that these bytes are no text.
pub(super) fn text<'a>(bytes: &'a [u8], label: Option<&[u8]>) -> Result<Decoded<'a>, ReadError> {
    decode(bytes, label).ok_or_else(|| ReadError::UnknownFormat {
        what: "binary data, not text".to_owned(),
    })
}

/// Decodes bytes; `label` is what the document itself says its encoding is. `None`: this is no text.
pub(super) fn decode<'a>(bytes: &'a [u8], label: Option<&[u8]>) -> Option<Decoded<'a>> {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        return finish(&bytes[mark..], encoding);
    }
    if let Some(encoding) = utf16_without_mark(bytes) {
        return finish(bytes, encoding);
    }
    if looks_binary(bytes) {
        return None;
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Some(Decoded {
            text: Cow::Borrowed(text),
            broken: 0,
            encoding: UTF_8.name(),
        });
    }
    if mostly_utf8(bytes) {
        return finish(bytes, UTF_8);
    }
    if let Some(encoding) = label.and_then(Encoding::for_label)
        && encoding != UTF_8
    {
        return finish(bytes, encoding);
    }
    finish(bytes, guess(bytes))
}

fn finish<'a>(bytes: &'a [u8], encoding: &'static Encoding) -> Option<Decoded<'a>> {
    let (text, _) = encoding.decode_without_bom_handling(bytes);
    let broken = text.matches('\u{FFFD}').count();
    let chars = text.chars().count().max(1);
    // A sample of a few characters may be broken by one cut at its end.
    if broken > 2 && broken as f64 / chars as f64 > MAX_BROKEN_SHARE * 5.0 {
        return None;
    }
    let control = text.chars().filter(|c| is_odd_control(*c)).count();
    if control as f64 / chars as f64 > MAX_CONTROL_SHARE * 5.0 {
        return None;
    }
    Some(Decoded {
        text,
        broken,
        encoding: encoding.name(),
    })
}

/// Korean first: the detector's other guesses need clearer evidence, for this house reads Korean and English.
fn guess(bytes: &[u8]) -> &'static Encoding {
    let sample = &bytes[..bytes.len().min(SAMPLE_BYTES)];
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(sample, sample.len() == bytes.len());
    let guess = detector.guess(Some(b"kr"), Utf8Detection::Deny);
    if guess != EUC_KR && is_korean(sample) {
        EUC_KR
    } else {
        guess
    }
}

/// Whether bytes decode as CP949 without fault into text whose letters beyond ASCII are mostly Hangul.
fn is_korean(sample: &[u8]) -> bool {
    let (text, broken) = EUC_KR.decode_without_bom_handling(sample);
    let letters = text.chars().filter(|c| !c.is_ascii()).count();
    let hangul = text.chars().filter(|c| ('가'..='힣').contains(c)).count();
    (!broken || text.matches('\u{FFFD}').count() <= 1) && hangul * 10 >= letters * 8 && hangul >= 2
}

/// UTF-8 with few damaged places: its multi-byte pattern does not come about by chance.
fn mostly_utf8(bytes: &[u8]) -> bool {
    let sample = &bytes[..bytes.len().min(SAMPLE_BYTES)];
    let text = String::from_utf8_lossy(sample);
    let broken = text.matches('\u{FFFD}').count();
    let good = text.chars().filter(|c| !c.is_ascii() && *c != '\u{FFFD}').count();
    good > 0 && (broken as f64) < MAX_BROKEN_SHARE * 5.0 * good as f64
}

/// UTF-16 shows itself by the zero halves of its ASCII characters (spaces, digits, line ends).
fn utf16_without_mark(bytes: &[u8]) -> Option<&'static Encoding> {
    let sample = &bytes[..bytes.len().min(SAMPLE_BYTES) & !1];
    if sample.len() < 8 || !bytes.len().is_multiple_of(2) {
        return None;
    }
    let units = sample.len() / 2;
    let ascii_in = |high: usize| {
        sample
            .chunks_exact(2)
            .filter(|unit| unit[high] == 0 && matches!(unit[1 - high], 0x09 | 0x0A | 0x0D | 0x20..=0x7E))
            .count()
    };
    let (little, big) = (ascii_in(1), ascii_in(0));
    let encoding = if little >= big { UTF_16LE } else { UTF_16BE };
    // Korean text has an ASCII space or line end about every fourth character; random bytes nearly never.
    if little.max(big) * 12 < units || little.min(big) * 4 > little.max(big) {
        return None;
    }
    let (text, broken) = encoding.decode_without_bom_handling(sample);
    let sane = text
        .chars()
        .filter(|c| c.is_alphanumeric() || c.is_whitespace() || c.is_ascii_punctuation());
    let total = text.chars().count();
    (!broken && sane.count() * 10 >= total * 9).then_some(encoding)
}

/// Whether bytes cannot be text of any 8-bit encoding: zeros, or many control characters.
pub(super) fn looks_binary(bytes: &[u8]) -> bool {
    let sample = &bytes[..bytes.len().min(SAMPLE_BYTES)];
    let zeros = sample.iter().filter(|byte| **byte == 0).count();
    let control = sample
        .iter()
        .filter(|byte| is_odd_control(char::from(**byte)) && **byte < 0x80)
        .count();
    zeros * 1000 > sample.len() || control as f64 > MAX_CONTROL_SHARE * sample.len() as f64
}

fn is_odd_control(c: char) -> bool {
    c < ' ' && !matches!(c, '\t' | '\n' | '\r' | '\u{C}' | '\u{B}' | '\u{1B}') || c == '\u{7F}'
}
