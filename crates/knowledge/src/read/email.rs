//! E-mail (EML): who wrote what to whom when, the text, and the attachments, each read as what it is.
//!
//! Attachments that hold no text are named in a warning. Mails within mails are followed to a fixed depth.

use std::path::Path;

use mail_parser::{Address, Message, MessageParser, MessagePart, MimeHeaders as _};

use super::builder::Builder;
use super::{BlockKind, Format, RawDocument, ReadError, Run, html, plain};

/// Mails within mails, and documents attached to them.
const DEPTH_MAX: usize = 4;
/// More attachments than this are left out.
const ATTACHMENTS_MAX: usize = 256;
/// Headers that every mail has one of, before its first empty line.
const HEADERS: [&str; 9] = [
    "from:",
    "to:",
    "subject:",
    "date:",
    "received:",
    "message-id:",
    "return-path:",
    "mime-version:",
    "content-type:",
];
/// So many different ones of them make a text a mail.
const HEADERS_MIN: usize = 3;
/// How far into a file its headers are looked for.
const HEAD_BYTES: usize = 16 << 10;

/// Whether bytes begin as a mail does.
pub(super) fn is_mail(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    let mut found = [false; HEADERS.len()];
    for line in head.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let is_folded = line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t'));
        if is_folded {
            continue;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            break;
        };
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        if colon == 0 || !line[..colon].iter().all(is_name) {
            break;
        }
        let name = line[..=colon].to_ascii_lowercase();
        for (known, found) in HEADERS.iter().zip(&mut found) {
            *found |= name == known.as_bytes();
        }
    }
    found.iter().filter(|found| **found).count() >= HEADERS_MIN
}

/// Reads a mail.
pub(super) fn read(bytes: &[u8], depth: usize, run: Run<'_>) -> Result<RawDocument, ReadError> {
    let message = MessageParser::default()
        .parse(bytes)
        .ok_or_else(|| ReadError::Corrupt {
            what: "it has no headers of a mail".to_owned(),
        })?;
    let mut builder = Builder::new(run);
    let subject = message.subject().map(str::to_owned);
    read_message(&message, depth, run, &mut builder)?;
    Ok(builder.finish(Format::Email, subject, None))
}

fn read_message(
    message: &Message<'_>,
    depth: usize,
    run: Run<'_>,
    builder: &mut Builder<'_>,
) -> Result<(), ReadError> {
    run.check_time()?;
    if let Some(subject) = message.subject() {
        builder.push(BlockKind::Heading(1), subject, None)?;
    }
    builder.push(BlockKind::Paragraph, &envelope(message), None)?;
    // Of two forms of the same text the plain one is the writer's own; the parser makes one where it is missing, out
    // of the other, so a text that is really HTML is read as such.
    for &part in &message.text_body {
        let Some(part) = message.parts.get(part as usize) else {
            continue;
        };
        match &part.body {
            mail_parser::PartType::Text(text) => plain::read_into(text, builder)?,
            mail_parser::PartType::Html(text) => drop(html::read_into(text, builder, run)?),
            _ => {}
        }
    }
    for (i, part) in message.attachments().enumerate() {
        if i >= ATTACHMENTS_MAX {
            builder.warn(format!(
                "attachments after the first {ATTACHMENTS_MAX} were left out"
            ));
            break;
        }
        read_attachment(part, depth + 1, run, builder)?;
    }
    Ok(())
}

/// The lines that people see above a mail.
fn envelope(message: &Message<'_>) -> String {
    let mut lines = Vec::new();
    let addresses = [
        ("From", message.from()),
        ("To", message.to()),
        ("Cc", message.cc()),
    ];
    for (name, address) in addresses {
        let list = address.map(names).unwrap_or_default();
        if !list.is_empty() {
            lines.push(format!("{name}: {list}"));
        }
    }
    if let Some(date) = message.date().filter(|date| date.is_valid()) {
        lines.push(format!("Date: {}", date.to_rfc3339()));
    }
    lines.join("\n")
}

fn names(address: &Address<'_>) -> String {
    let name = |one: &mail_parser::Addr<'_>| match (one.name(), one.address()) {
        (Some(name), Some(address)) => format!("{name} <{address}>"),
        (Some(only), None) | (None, Some(only)) => only.to_owned(),
        (None, None) => String::new(),
    };
    let names: Vec<String> = address.iter().map(name).filter(|name| !name.is_empty()).collect();
    names.join(", ")
}

fn read_attachment(
    part: &MessagePart<'_>,
    depth: usize,
    run: Run<'_>,
    builder: &mut Builder<'_>,
) -> Result<(), ReadError> {
    let name = part.attachment_name().unwrap_or("unnamed").to_owned();
    if depth > DEPTH_MAX {
        builder.warn(format!(
            "the attachment `{name}` lies too deep within others and was left out"
        ));
        return Ok(());
    }
    if let Some(message) = part.message() {
        return read_message(message, depth, run, builder);
    }
    if part.attachment_name().is_none() && part.contents().is_empty() {
        return Ok(());
    }
    match super::read_within(Path::new(&name), part.contents(), depth, run) {
        Ok(document) => {
            builder.push(BlockKind::Heading(1), &format!("Attachment: {name}"), None)?;
            for block in document.blocks {
                let kind = match block.kind {
                    BlockKind::Heading(level) => BlockKind::Heading(level.saturating_add(1).min(6)),
                    other => other,
                };
                builder.push(kind, &block.text.replace('\u{C}', " "), None)?;
            }
            for warning in document.warnings {
                builder.warn(format!("attachment `{name}`: {warning}"));
            }
        }
        // These are limits on the whole mail.
        Err(
            error @ (ReadError::TimedOut { .. } | ReadError::ZipBomb { .. } | ReadError::TooLarge { .. }),
        ) => {
            return Err(error);
        }
        Err(error) => builder.warn(format!("the attachment `{name}` was not read: {error}")),
    }
    Ok(())
}
