//! Plain text: paragraphs parted by blank lines, their line breaks kept.
//!
//! Whether the lines of a paragraph are one wrapped sentence is decided by the normaliser, not here.

use super::builder::Builder;
use super::{BlockKind, Format, RawDocument, ReadError, Run, encoding};

/// Reads plain text.
pub(super) fn read(bytes: &[u8], run: Run<'_>) -> Result<RawDocument, ReadError> {
    let decoded = encoding::text(bytes, None)?;
    let mut builder = Builder::new(run);
    warn_of_damage(&mut builder, &decoded);
    read_into(&decoded.text, &mut builder)?;
    Ok(builder.finish(Format::Text, None, None))
}

/// Reads a piece of plain text into a document.
pub(super) fn read_into(text: &str, builder: &mut Builder<'_>) -> Result<(), ReadError> {
    let mut paragraph: Vec<&str> = Vec::new();
    for line in text.split(['\n', '\r', '\u{C}', '\u{85}', '\u{2028}', '\u{2029}']) {
        let line = line.trim_end();
        // A carriage return before a line feed leaves an empty piece; it must not part paragraphs.
        if line.is_empty() {
            if ends_paragraph(text, line) {
                flush(builder, &mut paragraph)?;
            }
        } else {
            paragraph.push(line);
        }
    }
    flush(builder, &mut paragraph)
}

/// Whether an empty piece is a blank line, and not the gap within a `\r\n`.
fn ends_paragraph(text: &str, piece: &str) -> bool {
    let at = piece.as_ptr().addr() - text.as_ptr().addr();
    !(at > 0 && text.as_bytes()[at - 1] == b'\r' && text.as_bytes().get(at) == Some(&b'\n'))
}

fn flush(builder: &mut Builder<'_>, paragraph: &mut Vec<&str>) -> Result<(), ReadError> {
    if !paragraph.is_empty() {
        builder.push(BlockKind::Paragraph, &paragraph.join("\n"), None)?;
        paragraph.clear();
    }
    Ok(())
}

/// Says that characters were lost, with the encoding that was taken.
pub(super) fn warn_of_damage(builder: &mut Builder<'_>, decoded: &encoding::Decoded<'_>) {
    if decoded.broken > 0 {
        builder.warn(format!(
            "{} places could not be decoded as {} and stand as \u{FFFD}",
            decoded.broken, decoded.encoding
        ));
    }
}
