//! XML of office documents as a plain stream of opened and closed elements and text.
//!
//! No document type definitions, no entities of the document's own: expanding them is how small files grow
//! without end. Namespaces are not resolved; local names suffice for the formats read here.

use std::ops::ControlFlow;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::{ReadError, Run};

/// How many events go by between two looks at the clock.
const TIME_CHECK_EVERY: usize = 4096;
/// Deepest nesting that is followed; Word itself stays below one hundred.
const MAX_DEPTH: usize = 4096;

/// What the walk comes upon.
pub(super) enum Node<'a> {
    /// An element begins.
    Open(&'a str, &'a Attributes<'a>),
    /// An element ends.
    Close(&'a str),
    /// Characters.
    Text(&'a str),
}

/// The attributes of an element.
pub(super) struct Attributes<'a>(&'a BytesStart<'a>);

impl Attributes<'_> {
    /// The value of the attribute with this local name.
    pub(super) fn get(&self, local: &str) -> Option<String> {
        self.find(|name| local_name(name) == local)
    }

    /// The value of the attribute with this local name and some prefix: relations are named `r:id` beside a plain `id`.
    pub(super) fn get_prefixed(&self, local: &str) -> Option<String> {
        self.find(|name| name.rsplit_once(':').is_some_and(|(_, name)| name == local))
    }

    fn find(&self, is_wanted: impl Fn(&str) -> bool) -> Option<String> {
        let mut attributes = self.0.attributes();
        let found = attributes
            .with_checks(false)
            .flatten()
            .find(|attribute| is_wanted(attribute.key.0))?;
        let value = found.normalized_value(XmlVersion::Implicit1_0);
        Some(value.map_or_else(|_| found.value.to_string(), |value| value.into_owned()))
    }
}

/// Walks through XML; `visit` may end the walk early.
pub(super) fn walk(
    bytes: &[u8],
    part: &str,
    run: Run<'_>,
    visit: &mut dyn FnMut(Node<'_>) -> Result<ControlFlow<()>, ReadError>,
) -> Result<(), ReadError> {
    let decoded = decode(bytes);
    let mut reader = Reader::from_str(&decoded);
    let mut depth = 0_usize;
    for n in 0_usize.. {
        if n.is_multiple_of(TIME_CHECK_EVERY) {
            run.check_time()?;
        }
        let event = reader.read_event().map_err(|error| corrupt(part, &error))?;
        let flow = match event {
            Event::Start(start) => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(corrupt(part, &"its elements nest too deeply"));
                }
                visit(Node::Open(local_name(start.name().0), &Attributes(&start)))?
            }
            Event::Empty(start) => {
                let name = local_name(start.name().0).to_owned();
                match visit(Node::Open(&name, &Attributes(&start)))? {
                    ControlFlow::Continue(()) => visit(Node::Close(&name))?,
                    stop @ ControlFlow::Break(()) => stop,
                }
            }
            Event::End(end) => {
                depth = depth.saturating_sub(1);
                visit(Node::Close(local_name(end.name().0)))?
            }
            Event::Text(text) => visit(Node::Text(&text.xml10_content()))?,
            Event::CData(data) => visit(Node::Text(&data.xml10_content()))?,
            Event::GeneralRef(entity) => match resolve(&entity) {
                Some(c) => visit(Node::Text(c.encode_utf8(&mut [0; 4])))?,
                None => ControlFlow::Continue(()),
            },
            Event::Eof if depth > 0 => return Err(corrupt(part, &"it ends in the middle")),
            Event::Eof => return Ok(()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {
                ControlFlow::Continue(())
            }
        };
        if flow.is_break() {
            return Ok(());
        }
    }
    Ok(())
}

/// Only the five entities of XML itself and numbered characters.
fn resolve(entity: &quick_xml::events::BytesRef<'_>) -> Option<char> {
    match entity.as_ref() {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => entity.resolve_char_ref().ok().flatten(),
    }
}

/// XML is UTF-8 unless its byte order mark says UTF-16.
fn decode(bytes: &[u8]) -> String {
    let (text, _, _) = encoding_rs::UTF_8.decode(bytes);
    text.into_owned()
}

fn local_name(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

fn corrupt(part: &str, what: &dyn std::fmt::Display) -> ReadError {
    ReadError::Corrupt {
        what: format!("its part `{part}` is not proper XML ({what})"),
    }
}
