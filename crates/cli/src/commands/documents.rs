//! `hanok show`, `hanok documents` and `hanok remove`: what is in the store.

use knowledge::{Access, Store, StoreError};
use server::local::{Call, Outcome};
use server::wire::{DocumentJson, DocumentTextJson, DocumentsJson};

use crate::args::{RemoveArgs, ShowArgs};
use crate::exit::{Failure, Result};
use crate::settings::Settings;
use crate::{house, print};

/// Pages that are listed by number.
const PAGES_LISTED_MAX: usize = 20;

/// Runs `show`: exactly the characters of the span, with no line end added.
pub(crate) fn show(args: &ShowArgs, settings: &Settings, json: bool) -> Result<()> {
    let (document_id, version) = match args.document.split_once('@') {
        Some((id, version)) => (id.to_owned(), Some(version.to_owned())),
        None => (args.document.clone(), None),
    };
    let span = args.span.as_deref().map(parse_span).transpose()?;
    let (start, end) = span.unwrap_or((0, usize::MAX));
    let call = Call::Show {
        document_id: document_id.clone(),
        version: version.clone(),
        start: Some(start),
        end: Some(end),
    };
    let part = match house::served(settings, call) {
        Some(outcome) => match outcome? {
            Outcome::Show(part) => part.map(|part| *part),
            other => return Err(house::unexpected(&other)),
        },
        None => house::open(settings, Access::Read)?
            .view(&settings.reader)
            .map_err(house::not_stored)?
            .document(&document_id, version.as_deref())
            .map_err(house::not_stored)?
            .map(|document| DocumentTextJson::part(&document, start, end)),
    };
    let Some(part) = part else {
        return Err(
            Failure::misuse(format!("there is no document `{}`", args.document))
                .hint("`hanok documents` lists the documents with their ids"),
        );
    };
    if span.is_some_and(|(_, end)| end > part.document.chars) {
        return Err(Failure::misuse(format!(
            "the span {start}..{end} reaches past the end: `{}` has {} characters",
            args.document, part.document.chars
        )));
    }
    if json {
        print::json(&part)
    } else {
        print::stdout(&part.text)
    }
}

fn parse_span(text: &str) -> Result<(usize, usize)> {
    let parsed = text
        .split_once("..")
        .and_then(|(start, end)| Some((start.trim().parse().ok()?, end.trim().parse().ok()?)));
    match parsed {
        Some((start, end)) if start <= end => Ok((start, end)),
        _ => Err(Failure::misuse(format!("`{text}` is not a span"))
            .hint("write two positions in characters, the second not smaller: --span 120..180")),
    }
}

/// Runs `documents`.
pub(crate) fn list(settings: &Settings, json: bool) -> Result<()> {
    let documents = match house::served(settings, Call::Documents) {
        Some(outcome) => match outcome? {
            Outcome::Documents(documents) => documents,
            other => return Err(house::unexpected(&other)),
        },
        None => {
            let store = house::open(settings, Access::Read)?;
            let documents = store
                .view(&settings.reader)
                .and_then(|view| view.documents())
                .map_err(house::not_stored)?;
            DocumentsJson::from(documents.as_slice())
        }
    };
    if json {
        return print::json(&documents);
    }
    for document in &documents.documents {
        let pages = document.pages.map(|n| format!(", {n} pages")).unwrap_or_default();
        let days = match (document.valid_from, document.valid_until) {
            (None, None) => String::new(),
            (Some(from), None) => format!(", from {}", from.0),
            (None, Some(until)) => format!(", until {}", until.0),
            (Some(from), Some(until)) => format!(", from {} until {}", from.0, until.0),
        };
        let owner = document.owner.as_ref().map(|owner| format!(", owner {owner}"));
        print::line(&format!(
            "{}  {} ({}{pages}, {} characters{days}{})\n    {}",
            document.document_id,
            document.title,
            document.format,
            document.chars,
            owner.unwrap_or_default(),
            document.path
        ))?;
        for note in notes(document) {
            print::line(&format!("    {note}"))?;
        }
    }
    if documents.documents.is_empty() {
        print::line("no documents yet; take some in with `hanok ingest PATH`")?;
    }
    Ok(())
}

/// What is to be said of a document's pages: those without text, and those whose text was recognised.
fn notes(document: &DocumentJson) -> Vec<String> {
    let mut notes = Vec::new();
    if !document.pages_without_text.is_empty() {
        let pages = listed(&document.pages_without_text);
        notes.push(format!("no text on {pages}: needs OCR (setting `ocr`)"));
    }
    if let Some(least) = document.recognised.iter().map(|page| page.confidence).min() {
        let n = print::count(document.recognised.len(), "page");
        notes.push(format!(
            "text of {n} recognised in pictures (OCR), confidence at least {least} %"
        ));
    }
    let doubtful = document.recognised.iter().filter(|page| page.doubtful);
    let doubtful: Vec<u32> = doubtful.map(|page| page.page).collect();
    if !doubtful.is_empty() {
        notes.push(format!(
            "doubtful on {}: compare with the picture",
            listed(&doubtful)
        ));
    }
    notes
}

fn listed(pages: &[u32]) -> String {
    let shown: Vec<String> = pages.iter().take(PAGES_LISTED_MAX).map(u32::to_string).collect();
    let more = pages.len().saturating_sub(PAGES_LISTED_MAX);
    let rest = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let word = if pages.len() == 1 { "page" } else { "pages" };
    format!("{word} {}{rest}", shown.join(", "))
}

#[derive(serde::Serialize)]
struct RemoveJson<'a> {
    schema: u32,
    removed: bool,
    document_id: &'a str,
}

/// What one may not read one may not remove, here as through a server.
fn remove_here(
    store: &Store,
    document_id: &str,
    settings: &Settings,
) -> std::result::Result<bool, StoreError> {
    let is_seen = store
        .view(&settings.reader)?
        .document(document_id, None)?
        .is_some();
    Ok(is_seen && store.remove(document_id)?)
}

/// Runs `remove`.
pub(crate) fn remove(args: &RemoveArgs, settings: &Settings, json: bool) -> Result<()> {
    let document_id = args.document.clone();
    let removed = match house::served(settings, Call::Remove { document_id }) {
        Some(outcome) => match outcome? {
            Outcome::Remove(removed) => removed,
            other => return Err(house::unexpected(&other)),
        },
        None => {
            let store = house::open(settings, Access::Write)?;
            remove_here(&store, &args.document, settings).map_err(house::not_stored)?
        }
    };
    if !removed {
        return Err(
            Failure::misuse(format!("there is no document `{}`", args.document))
                .hint("`hanok documents` lists the documents with their ids"),
        );
    }
    if json {
        return print::json(&RemoveJson {
            schema: 1,
            removed,
            document_id: &args.document,
        });
    }
    print::line(&format!(
        "removed {}; the file itself is where it was",
        args.document
    ))
}

#[cfg(test)]
mod tests {
    use super::parse_span;

    #[test]
    fn a_span_is_two_positions_in_order() {
        assert_eq!(parse_span("3..9").unwrap(), (3, 9));
        assert_eq!(parse_span("3..3").unwrap(), (3, 3));
        for wrong in [
            "",
            "3",
            "9..3",
            "a..b",
            "-1..2",
            "1...2",
            "1..99999999999999999999999",
        ] {
            assert!(parse_span(wrong).is_err(), "{wrong}");
        }
    }
}
