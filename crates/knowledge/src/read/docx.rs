//! DOCX: paragraphs, headings by style, lists, table rows, notes, page breaks as Word last laid them out.
//!
//! Deleted and hidden text, headers and footers, pictures and field codes are left out.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::builder::Builder;
use super::office;
use super::package::Package;
use super::xml::{self, Node};
use super::{BlockKind, Format, RawDocument, ReadError, Run};

mod body;
mod styles;

/// Where Word puts the text, unless the package says otherwise.
const MAIN_PART: &str = "word/document.xml";

/// Reads DOCX.
pub(super) fn read(bytes: &[u8], run: Run<'_>) -> Result<RawDocument, ReadError> {
    let mut package = Package::open(bytes)?;
    let main = office::main_part(&mut package, MAIN_PART, run)?;
    let folder = main
        .rsplit_once('/')
        .map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let document = office::required(&mut package, &main, run)?;
    let styles = match package.part(&format!("{folder}styles.xml"), run)? {
        Some(part) => styles::read(&part, run)?,
        None => styles::Styles::default(),
    };
    let mut notes = BTreeMap::new();
    for (part, element) in [("footnotes.xml", "footnote"), ("endnotes.xml", "endnote")] {
        if let Some(part) = package.part(&format!("{folder}{part}"), run)? {
            read_notes(&part, element, run, &mut notes)?;
        }
    }
    let title = office::title(&mut package, run)?;
    let mut body = body::Body::new(Builder::new(run), &styles, &notes, has_rendered_breaks(&document));
    xml::walk(&document, &main, run, &mut |node| body.node(node))?;
    let (mut builder, n_pages, styled_title) = body.end()?;
    office::properties(&mut package, &mut builder, run)?;
    Ok(builder.finish(Format::Docx, title.or(styled_title), n_pages))
}

/// Notes by kind and number. Word's own separators carry a `type` and no text.
fn read_notes(
    part: &[u8],
    element: &str,
    run: Run<'_>,
    notes: &mut BTreeMap<(bool, String), String>,
) -> Result<(), ReadError> {
    let is_end = element == "endnote";
    let mut id: Option<String> = None;
    let mut is_text = false;
    xml::walk(part, "notes", run, &mut |node| {
        match node {
            Node::Open(name, attributes) if name == element => id = attributes.get("id"),
            Node::Close(name) if name == element => id = None,
            Node::Open("t", _) => is_text = true,
            Node::Close("t") => is_text = false,
            Node::Close("p") => {
                if let Some(id) = &id {
                    notes.entry((is_end, id.clone())).or_default().push(' ');
                }
            }
            Node::Text(text) if is_text => {
                if let Some(id) = &id {
                    notes.entry((is_end, id.clone())).or_default().push_str(text);
                }
            }
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// Whether Word left marks of where its pages ended. If so they alone count, for a page break that the author
/// set is followed by such a mark too.
fn has_rendered_breaks(document: &[u8]) -> bool {
    super::sniff::find(document, b"lastRenderedPageBreak").is_some()
}

/// A value that switches something on, unless it is spelled as one that switches off.
fn is_on(value: Option<&str>) -> bool {
    !matches!(value, Some("0" | "false" | "off" | "none"))
}

/// The kind of a paragraph outside of tables.
fn kind_of(heading: Option<u8>, is_list: bool) -> BlockKind {
    match heading {
        Some(level) => BlockKind::Heading(level),
        None if is_list => BlockKind::ListItem,
        None => BlockKind::Paragraph,
    }
}
