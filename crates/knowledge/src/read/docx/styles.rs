//! What the paragraph styles of a DOCX mean: heading levels and lists, through the chain of base styles.
//!
//! Style ids are in the language of whoever wrote the document; outline levels and style names are not.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::super::xml::{self, Node};
use super::super::{ReadError, Run};

/// Longest chain of base styles that is followed; a circle ends here too.
const MAX_BASES: usize = 32;
/// Headings have levels 1 to 6; Word's outline goes to 9.
const MAX_LEVEL: u8 = 6;

#[derive(Default, Clone)]
struct Style {
    name: String,
    base: Option<String>,
    outline: Option<u8>,
    is_list: Option<bool>,
}

/// The paragraph styles of a document by id.
#[derive(Default)]
pub(super) struct Styles(BTreeMap<String, Style>);

/// Reads the styles part.
pub(super) fn read(part: &[u8], run: Run<'_>) -> Result<Styles, ReadError> {
    let mut styles = BTreeMap::new();
    let mut current: Option<(String, Style)> = None;
    xml::walk(part, "styles.xml", run, &mut |node| {
        match node {
            Node::Open("style", attributes) => {
                current = attributes.get("styleId").map(|id| (id, Style::default()));
            }
            Node::Close("style") => styles.extend(current.take()),
            Node::Open(name, attributes) => {
                if let Some((_, style)) = &mut current {
                    let value = attributes.get("val");
                    match name {
                        "name" => style.name = value.unwrap_or_default(),
                        "basedOn" => style.base = value,
                        "outlineLvl" => style.outline = value.and_then(|level| level.parse().ok()),
                        "numId" => style.is_list = Some(value.as_deref() != Some("0")),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(Styles(styles))
}

impl Styles {
    /// The heading level of a style, if it is one of a heading.
    pub(super) fn heading(&self, id: &str) -> Option<u8> {
        let outline = self
            .chain(id)
            .find_map(|style| style.outline.or_else(|| named_level(&style.name)));
        outline.and_then(level)
    }

    /// Whether a style is that of the document's title.
    pub(super) fn is_title(&self, id: &str) -> bool {
        match self.0.get(id) {
            Some(style) => style.name.eq_ignore_ascii_case("title"),
            None => id == "Title",
        }
    }

    /// Whether paragraphs of a style are list entries.
    pub(super) fn is_list(&self, id: &str) -> bool {
        self.chain(id).find_map(|style| style.is_list).unwrap_or(false)
    }

    /// The style and those it is based on. A document without styles part still has their ids.
    fn chain(&self, id: &str) -> impl Iterator<Item = Style> {
        let mut next = Some(id.to_owned());
        std::iter::from_fn(move || {
            let id = next.take()?;
            let style = self.0.get(&id).cloned();
            let style = style.unwrap_or_else(|| Style {
                name: id.replace("Heading", "heading "),
                ..Style::default()
            });
            next.clone_from(&style.base);
            Some(style)
        })
        .take(MAX_BASES)
    }
}

/// A level from an outline value, which counts from zero; 9 is running text.
pub(super) fn level(outline: u8) -> Option<u8> {
    (outline < 9).then(|| (outline + 1).min(MAX_LEVEL))
}

/// The outline value of the built-in names "heading 1" to "heading 9".
fn named_level(name: &str) -> Option<u8> {
    let name = name.to_ascii_lowercase();
    let number: u8 = name.strip_prefix("heading ")?.trim().parse().ok()?;
    number.checked_sub(1).filter(|outline| *outline < 9)
}
