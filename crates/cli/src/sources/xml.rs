//! The XML that stores and WebDAV servers answer with: elements by their local names, nothing of the document's own.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

/// Deeper nesting is no answer.
const DEPTH_MAX: usize = 32;

/// What is come upon.
pub(super) enum Node<'a> {
    /// An element begins.
    Open(&'a str),
    /// An element ends, with the characters since the last element began.
    Close(&'a str, &'a str),
}

/// Walks through a document whose outermost element must be `root`, whole.
///
/// # Errors
/// What is wrong, for people: not XML, another document, or one that was cut short.
pub(super) fn walk(text: &str, root: &str, visit: &mut dyn FnMut(Node<'_>)) -> Result<(), String> {
    let mut reader = Reader::from_str(text);
    let (mut depth, mut is_seen) = (0_usize, false);
    let mut characters = String::new();
    loop {
        match reader
            .read_event()
            .map_err(|error| format!("it is no XML ({error})"))?
        {
            Event::Start(start) => {
                let name = start.name();
                let name = local_name(name.0);
                if depth == 0 && (is_seen || name != root) {
                    return Err(format!("it is a document of another kind (`{name}`)"));
                }
                is_seen = true;
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err("its elements nest too deeply".to_owned());
                }
                characters.clear();
                visit(Node::Open(name));
            }
            Event::Empty(empty) => {
                let name = empty.name();
                let name = local_name(name.0);
                if depth == 0 && (is_seen || name != root) {
                    return Err(format!("it is a document of another kind (`{name}`)"));
                }
                is_seen = true;
                visit(Node::Open(name));
                visit(Node::Close(name, ""));
                characters.clear();
            }
            Event::End(end) => {
                depth = depth.saturating_sub(1);
                visit(Node::Close(
                    local_name(end.name().0),
                    characters.trim_matches(BLANKS),
                ));
                characters.clear();
            }
            Event::Text(text) => characters.push_str(&text.xml10_content()),
            Event::CData(data) => characters.push_str(&data.xml10_content()),
            Event::GeneralRef(entity) => characters.extend(resolve(&entity)),
            Event::Eof if depth > 0 || !is_seen => return Err("it was cut short".to_owned()),
            Event::Eof => return Ok(()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
}

/// Line ends and indents between elements; a key may begin or end with a space.
const BLANKS: [char; 3] = ['\n', '\r', '\t'];

fn resolve(entity: &BytesRef<'_>) -> Option<char> {
    match entity.as_ref() {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => entity.resolve_char_ref().ok().flatten(),
    }
}

fn local_name(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}
