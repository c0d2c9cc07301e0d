//! What each HTML element means for reading: a block, a heading, something that people do not see.
//!
//! Tables of names only; nothing here keeps state.

use html5ever::Attribute;

use super::attribute;

/// Elements whose content is no text of the document.
const LEFT_OUT: [&str; 20] = [
    "script", "style", "noscript", "template", "svg", "nav", "iframe", "object", "embed", "applet", "select",
    "button", "textarea", "input", "datalist", "audio", "video", "canvas", "noframes", "dialog",
];

/// Classes that generators give to navigation around the text.
const NAVIGATION_CLASSES: [&str; 10] = [
    "navheader",
    "navfooter",
    "navbar",
    "breadcrumb",
    "breadcrumbs",
    "sidebar",
    "sphinxsidebar",
    "skip-link",
    "headerlink",
    "toctree-wrapper",
];

/// Elements that begin and end a block.
const BLOCKS: [&str; 42] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "caption",
    "center",
    "dd",
    "details",
    "dialog",
    "dir",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "head",
    "header",
    "hgroup",
    "hr",
    "html",
    "li",
    "listing",
    "main",
    "menu",
    "nav",
    "ol",
    "optgroup",
    "option",
    "p",
    "pre",
    "section",
    "summary",
    "table",
    "tbody",
    "tfoot",
    "thead",
    "ul",
    "xmp",
];

const VOID: [&str; 16] = [
    "area", "base", "basefont", "bgsound", "br", "col", "embed", "frame", "hr", "img", "input", "link",
    "meta", "param", "source", "wbr",
];

pub(super) fn is_block(name: &str) -> bool {
    BLOCKS.contains(&name)
}

pub(super) fn is_void(name: &str) -> bool {
    VOID.contains(&name)
}

pub(super) fn is_container(name: &str) -> bool {
    matches!(name, "ul" | "ol" | "dl" | "table")
}

pub(super) fn heading_level(name: &str) -> Option<u8> {
    match name.as_bytes() {
        [b'h', level @ b'1'..=b'6'] => Some(level - b'0'),
        _ => None,
    }
}

/// Whether an element may go without its end tag.
pub(super) fn may_be_unclosed(name: &str) -> bool {
    matches!(name, "p" | "li" | "dd" | "dt" | "td" | "th" | "tr")
}

/// Whether an element that may go unclosed ends where `next` begins.
pub(super) fn ends_by_next(name: &str, next: &str) -> bool {
    match name {
        "p" => is_block(next) || heading_level(next).is_some(),
        "li" => next == "li",
        "dd" | "dt" => matches!(next, "dd" | "dt"),
        "td" | "th" => matches!(next, "td" | "th" | "tr" | "tbody" | "tfoot"),
        "tr" => matches!(next, "tr" | "tbody" | "tfoot"),
        _ => false,
    }
}

/// Whether an element holds no text of the document: program, control or navigation.
pub(super) fn is_left_out(name: &str, attributes: &[Attribute]) -> bool {
    let role = attribute(attributes, "role").unwrap_or_default();
    let classes = attribute(attributes, "class").unwrap_or_default();
    LEFT_OUT.contains(&name)
        || matches!(role, "navigation" | "search" | "menu" | "menubar")
        || classes
            .split_ascii_whitespace()
            .any(|class| NAVIGATION_CLASSES.contains(&class))
}

/// Whether an element says of itself that it is not shown. Text for machines only must not become evidence.
pub(super) fn is_hidden(attributes: &[Attribute]) -> bool {
    if attribute(attributes, "hidden").is_some_and(|value| value != "until-found") {
        return true;
    }
    let style = attribute(attributes, "style")
        .unwrap_or_default()
        .to_ascii_lowercase();
    let declarations = style
        .split(';')
        .filter_map(|declaration| declaration.split_once(':'));
    declarations.into_iter().any(|(property, value)| {
        let value = value.trim().trim_end_matches("!important").trim();
        match property.trim() {
            "display" => value == "none",
            "visibility" => matches!(value, "hidden" | "collapse"),
            "font-size" => is_zero(value),
            "opacity" => is_zero(value),
            _ => false,
        }
    })
}

/// `0`, `0px`, `0.0em`, `0%`.
fn is_zero(value: &str) -> bool {
    let number = value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
    number.parse::<f64>().is_ok_and(|number| number == 0.0)
}
