//! HTML as people see it: headings, paragraphs, list entries, table rows; no scripts, no navigation, nothing hidden.
//!
//! Works on the tokens of a standard tokenizer and keeps no tree, so nesting without end costs nothing. It
//! knows no style sheets: only what an element itself says hides it.

use std::cell::RefCell;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::{Rawtext, Rcdata, ScriptData};
use html5ever::tokenizer::{
    BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};
use html5ever::{Attribute, TokenizerResult};

use super::builder::Builder;
use super::markdown::CELL_GAP;
use super::{BlockKind, Format, RawDocument, ReadError, Run, encoding, plain};

mod elements;

/// How many bytes at the beginning are searched for a statement of the encoding (the standard's own number).
const CHARSET_WITHIN: usize = 1024;
/// How much text goes to the tokenizer at once; between two pieces the clock is looked at.
const FEED_BYTES: usize = 64 << 10;

/// Reads HTML.
pub(super) fn read(bytes: &[u8], run: Run<'_>) -> Result<RawDocument, ReadError> {
    let decoded = encoding::text(bytes, charset(bytes))?;
    let mut builder = Builder::new(run);
    plain::warn_of_damage(&mut builder, &decoded);
    let title = read_into(&decoded.text, &mut builder, run)?;
    Ok(builder.finish(Format::Html, title, None))
}

/// Reads a piece of HTML into a document; returns its title, if it has one.
pub(super) fn read_into(
    text: &str,
    builder: &mut Builder<'_>,
    run: Run<'_>,
) -> Result<Option<String>, ReadError> {
    let tokenizer = Tokenizer::new(Sink(RefCell::new(Walk::new(builder))), TokenizerOpts::default());
    let queue = BufferQueue::default();
    let mut rest = text;
    while !rest.is_empty() {
        run.check_time()?;
        let (piece, tail) = rest.split_at(rest.floor_char_boundary(FEED_BYTES.max(4)));
        rest = tail;
        queue.push_back(StrTendril::from(piece));
        // A script that ends only pauses the tokenizer; nothing is ever executed.
        while !matches!(tokenizer.feed(&queue), TokenizerResult::Done) {}
    }
    tokenizer.end();
    let mut walk = tokenizer.sink.0.into_inner();
    walk.flush_row();
    walk.flush();
    let (title, failed) = (walk.title, walk.failed);
    match failed {
        Some(error) => Err(error),
        None => Ok(title),
    }
}

/// The encoding that a `meta` element or XML declaration states.
fn charset(bytes: &[u8]) -> Option<&[u8]> {
    let head = &bytes[..bytes.len().min(CHARSET_WITHIN)];
    let lower = head.to_ascii_lowercase();
    for mark in [b"charset=".as_slice(), b"encoding="] {
        if let Some(at) = super::sniff::find(&lower, mark) {
            let value = &head[at + mark.len()..];
            let value = value
                .strip_prefix(b"\"")
                .or_else(|| value.strip_prefix(b"'"))
                .unwrap_or(value);
            let end = value
                .iter()
                .position(|byte| !byte.is_ascii_alphanumeric() && !b"-_:.".contains(byte));
            return Some(&value[..end.unwrap_or(value.len())]);
        }
    }
    None
}

/// The tokenizer hands out tokens through a shared reference.
struct Sink<'w, 'a>(RefCell<Walk<'w, 'a>>);

impl TokenSink for Sink<'_, '_> {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut walk = self.0.borrow_mut();
        match token {
            Token::TagToken(tag) => return walk.tag(&tag),
            Token::CharacterTokens(text) => walk.characters(&text),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

/// An element whose whole content is left out.
struct Skip {
    name: String,
    depth: usize,
    /// Lists and tables opened inside: an entry in one of them does not end a skipped entry outside.
    containers: usize,
}

/// A table row in the making.
#[derive(Default)]
struct Row {
    cells: Vec<String>,
    is_in_cell: bool,
}

/// Where the walk through the document stands.
struct Walk<'w, 'a> {
    builder: &'w mut Builder<'a>,
    failed: Option<ReadError>,
    title: Option<String>,
    in_title: bool,
    text: String,
    kind: BlockKind,
    pre_depth: usize,
    table_depth: usize,
    row: Option<Row>,
    /// Whether the table under way has had a row of several cells.
    has_columns: bool,
    skip: Option<Skip>,
}

impl<'w, 'a> Walk<'w, 'a> {
    fn new(builder: &'w mut Builder<'a>) -> Self {
        Self {
            builder,
            failed: None,
            title: None,
            in_title: false,
            text: String::new(),
            kind: BlockKind::Paragraph,
            pre_depth: 0,
            table_depth: 0,
            row: None,
            has_columns: false,
            skip: None,
        }
    }

    fn characters(&mut self, text: &str) {
        if self.skip.is_some() || self.failed.is_some() {
            return;
        }
        if self.in_title {
            self.title.get_or_insert_default().push_str(text);
        } else if self.pre_depth > 0 {
            self.text.push_str(text);
        } else {
            self.collapsed(text);
        }
    }

    /// Adds text with its white space folded, as a browser shows it.
    fn collapsed(&mut self, text: &str) {
        for c in text.chars() {
            if matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{C}') {
                if !self.text.is_empty() && !self.text.ends_with([' ', '\n']) {
                    self.text.push(' ');
                }
            } else {
                self.text.push(c);
            }
        }
    }

    fn tag(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        let name: &str = &tag.name;
        let is_open = tag.kind == TagKind::StartTag;
        if !self.is_skipped(name, is_open) && self.failed.is_none() {
            if is_open {
                self.open(name, tag);
            } else {
                self.close(name);
            }
        }
        // The tokenizer must be told, even in skipped parts, where markup is not markup.
        match name {
            "script" if is_open => TokenSinkResult::RawData(ScriptData),
            "style" | "xmp" | "iframe" | "noembed" | "noframes" if is_open => {
                TokenSinkResult::RawData(Rawtext)
            }
            "title" | "textarea" if is_open && !tag.self_closing => TokenSinkResult::RawData(Rcdata),
            "plaintext" if is_open => TokenSinkResult::Plaintext,
            _ => TokenSinkResult::Continue,
        }
    }

    /// Follows a skipped element to its end; whether this tag belongs to it.
    fn is_skipped(&mut self, name: &str, is_open: bool) -> bool {
        let Some(skip) = &mut self.skip else {
            return false;
        };
        if elements::may_be_unclosed(&skip.name) {
            // Ends at its end tag, at the tag that cannot stand inside of it, or with the list or table around it.
            let is_inside = skip.containers > 0;
            let is_next = is_open && elements::ends_by_next(&skip.name, name);
            let is_around = !is_open && skip.name == "p" && name != "p" && elements::is_block(name);
            if !is_inside && (is_next || is_around) {
                self.skip = None;
                return false;
            }
            if elements::is_container(name) && (is_open || is_inside) {
                skip.containers = if is_open {
                    skip.containers + 1
                } else {
                    skip.containers - 1
                };
                return true;
            }
            if is_inside {
                return true;
            }
            let is_own_end = !is_open && name == skip.name;
            if is_own_end || elements::is_container(name) {
                self.skip = None;
            }
            return is_own_end || self.skip.is_some();
        }
        if name == skip.name {
            skip.depth = if is_open { skip.depth + 1 } else { skip.depth - 1 };
            if skip.depth == 0 {
                self.skip = None;
            }
        }
        true
    }

    fn open(&mut self, name: &str, tag: &Tag) {
        let is_hidden = elements::is_hidden(&tag.attrs);
        if is_hidden || elements::is_left_out(name, &tag.attrs) {
            if elements::is_block(name) {
                self.flush();
            }
            if is_hidden && !elements::is_void(name) {
                self.builder.count_hidden();
            }
            if !elements::is_void(name) && !tag.self_closing {
                self.skip = Some(Skip {
                    name: name.to_owned(),
                    depth: 1,
                    containers: 0,
                });
            }
            return;
        }
        if let Some(level) = elements::heading_level(name) {
            self.flush_row();
            self.flush();
            self.kind = BlockKind::Heading(level);
            return;
        }
        match name {
            "title" => self.in_title = self.title.is_none(),
            "meta" => {
                let stated = attribute(&tag.attrs, "name").zip(attribute(&tag.attrs, "content"));
                if let Some((name, content)) = stated {
                    self.builder.property(name, content);
                }
            }
            "br" => self.line_break(),
            "li" => self.begin(BlockKind::ListItem),
            "pre" | "listing" => {
                self.begin(BlockKind::Code);
                self.pre_depth += 1;
            }
            "table" => self.open_table(),
            "tr" => self.open_row(),
            "td" | "th" => self.open_cell(),
            _ if elements::is_block(name) => self.block_border(),
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        if elements::heading_level(name).is_some() {
            self.flush();
            return;
        }
        match name {
            "title" => self.in_title = false,
            "pre" | "listing" => {
                self.flush();
                self.pre_depth = self.pre_depth.saturating_sub(1);
            }
            "table" => {
                if self.table_depth == 1 {
                    self.flush_row();
                }
                self.table_depth = self.table_depth.saturating_sub(1);
            }
            "tr" if self.table_depth <= 1 => self.flush_row(),
            "td" | "th" => self.close_cell(),
            _ if elements::is_block(name) => self.block_border(),
            _ => {}
        }
    }

    fn begin(&mut self, kind: BlockKind) {
        if self.row.is_some() {
            self.soft_gap();
        } else {
            self.flush();
            self.kind = kind;
        }
    }

    /// Inside a table cell a border between blocks is only a gap between words.
    fn block_border(&mut self) {
        if self.row.is_some() {
            self.soft_gap();
        } else if self.pre_depth == 0 && !(self.kind == BlockKind::ListItem && self.text.trim().is_empty()) {
            self.flush();
        }
    }

    fn soft_gap(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with([' ', '\n']) {
            self.text.push(' ');
        }
    }

    fn line_break(&mut self) {
        if self.row.is_some() {
            self.soft_gap();
        } else {
            self.text.truncate(self.text.trim_end_matches(' ').len());
            self.text.push('\n');
        }
    }

    fn open_table(&mut self) {
        self.table_depth += 1;
        self.has_columns = false;
        if self.table_depth == 1 {
            self.flush();
        } else {
            // A table within a cell: the outer one only arranges the page.
            self.flush_row();
            self.table_depth = 1;
        }
    }

    fn open_row(&mut self) {
        self.flush_row();
        self.flush();
        self.table_depth = self.table_depth.max(1);
        self.row = Some(Row::default());
    }

    fn open_cell(&mut self) {
        if self.table_depth > 0 && self.row.is_none() {
            self.flush();
            self.row = Some(Row::default());
        }
        self.close_cell();
        if let Some(row) = &mut self.row {
            row.is_in_cell = true;
        }
    }

    /// Between cells stands only the white space of the source, unless the source is wrong.
    fn close_cell(&mut self) {
        let Some(row) = &mut self.row else {
            self.flush();
            return;
        };
        let cell = std::mem::take(&mut self.text);
        if row.is_in_cell || !cell.trim().is_empty() {
            row.cells.push(cell.trim().to_owned());
        }
        row.is_in_cell = false;
    }

    /// Ends a row. One cell alone, in a table that has no other rows, is an arrangement of the page: its text
    /// is running text.
    fn flush_row(&mut self) {
        if self.row.is_none() {
            return;
        }
        self.close_cell();
        let cells = self.row.take().unwrap_or_default().cells;
        self.has_columns |= cells.len() > 1;
        let kind = if self.has_columns {
            BlockKind::TableRow
        } else {
            BlockKind::Paragraph
        };
        if cells.iter().any(|cell| !cell.is_empty()) {
            self.push(kind, &cells.join(CELL_GAP));
        }
    }

    fn flush(&mut self) {
        if self.row.is_some() {
            return;
        }
        let text = std::mem::take(&mut self.text);
        let kind = std::mem::replace(&mut self.kind, BlockKind::Paragraph);
        let kind = if self.pre_depth > 0 && kind == BlockKind::Paragraph {
            BlockKind::Code
        } else {
            kind
        };
        let text = if kind == BlockKind::Code {
            text.trim_matches('\n')
        } else {
            text.trim()
        };
        self.push(kind, text);
    }

    /// The tokenizer cannot be told of an error, so the first one is kept.
    fn push(&mut self, kind: BlockKind, text: &str) {
        if self.failed.is_none() {
            self.failed = self.builder.push(kind, text, None).err();
        }
    }
}

/// The value of an attribute.
fn attribute<'t>(attributes: &'t [Attribute], name: &str) -> Option<&'t str> {
    let found = attributes
        .iter()
        .find(|attribute| &*attribute.name.local == name)?;
    Some(&found.value)
}
