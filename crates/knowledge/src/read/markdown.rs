//! Markdown: CommonMark with tables, footnotes and front matter.
//!
//! Formatting marks go, the words stay; HTML inside of Markdown is read as HTML.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::builder::Builder;
use super::{BlockKind, Format, RawDocument, ReadError, Run, encoding, html, plain};

/// What joins the cells of a table row.
pub(super) const CELL_GAP: &str = " | ";

/// Reads Markdown.
pub(super) fn read(bytes: &[u8], run: Run<'_>) -> Result<RawDocument, ReadError> {
    let decoded = encoding::text(bytes, None)?;
    let mut walk = Walk::new(run);
    plain::warn_of_damage(&mut walk.builder, &decoded);
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS
        | Options::ENABLE_PLUSES_DELIMITED_METADATA_BLOCKS;
    for event in Parser::new_ext(&decoded.text, options) {
        walk.event(event)?;
    }
    walk.flush()?;
    Ok(walk.builder.finish(Format::Markdown, walk.title, None))
}

/// The walk through the events of the parser.
struct Walk<'a> {
    builder: Builder<'a>,
    run: Run<'a>,
    title: Option<String>,
    text: String,
    kind: BlockKind,
    cells: Vec<String>,
    html: String,
    in_metadata: bool,
}

impl<'a> Walk<'a> {
    fn new(run: Run<'a>) -> Self {
        Self {
            builder: Builder::new(run),
            run,
            title: None,
            text: String::new(),
            kind: BlockKind::Paragraph,
            cells: Vec::new(),
            html: String::new(),
            in_metadata: false,
        }
    }

    fn event(&mut self, event: Event<'_>) -> Result<(), ReadError> {
        match event {
            Event::Start(tag) => self.open(&tag)?,
            Event::End(tag) => self.close(tag)?,
            Event::Text(text) if self.in_metadata => self.metadata(&text),
            Event::Text(text) | Event::Code(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                self.text.push_str(&text);
            }
            Event::Html(part) => self.html.push_str(&part),
            Event::InlineHtml(tag) if tag.to_ascii_lowercase().starts_with("<br") => self.text.push('\n'),
            Event::SoftBreak => self.text.push(' '),
            Event::HardBreak => self.text.push('\n'),
            Event::Rule => self.flush()?,
            Event::InlineHtml(_) | Event::FootnoteReference(_) | Event::TaskListMarker(_) => {}
        }
        Ok(())
    }

    fn open(&mut self, tag: &Tag<'_>) -> Result<(), ReadError> {
        match tag {
            Tag::Heading { level, .. } => {
                self.flush()?;
                self.kind = BlockKind::Heading(level_of(*level));
            }
            Tag::CodeBlock(_) => {
                self.flush()?;
                self.kind = BlockKind::Code;
            }
            Tag::Item => {
                self.flush()?;
                self.kind = BlockKind::ListItem;
            }
            Tag::TableHead | Tag::TableRow => self.cells.clear(),
            Tag::TableCell => self.text.clear(),
            Tag::MetadataBlock(_) => self.in_metadata = true,
            Tag::Paragraph
            | Tag::BlockQuote(_)
            | Tag::List(_)
            | Tag::Table(_)
            | Tag::FootnoteDefinition(_)
            | Tag::HtmlBlock => self.flush()?,
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, tag: TagEnd) -> Result<(), ReadError> {
        match tag {
            TagEnd::TableCell => self.cells.push(std::mem::take(&mut self.text).replace('\n', " ")),
            TagEnd::TableHead | TagEnd::TableRow => {
                let row = std::mem::take(&mut self.cells).join(CELL_GAP);
                self.builder.push(BlockKind::TableRow, &row, None)?;
            }
            TagEnd::Item => {
                self.flush()?;
                self.kind = BlockKind::Paragraph;
            }
            TagEnd::HtmlBlock => {
                let part = std::mem::take(&mut self.html);
                html::read_into(&part, &mut self.builder, self.run)?;
            }
            TagEnd::MetadataBlock(_) => self.in_metadata = false,
            TagEnd::Heading(_)
            | TagEnd::Paragraph
            | TagEnd::CodeBlock
            | TagEnd::BlockQuote(_)
            | TagEnd::FootnoteDefinition => {
                // A second paragraph of a list entry is running text again; so is what follows a list.
                self.flush()?;
                self.kind = BlockKind::Paragraph;
            }
            _ => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ReadError> {
        let text = std::mem::take(&mut self.text);
        self.builder.push(self.kind, text.trim_end_matches('\n'), None)
    }

    /// Front matter gives the title and properties; nothing of it is text of the document.
    fn metadata(&mut self, text: &str) {
        for line in text.lines() {
            // What is indented belongs to the entry above.
            let entry = line
                .split_once([':', '='])
                .filter(|_| !line.starts_with([' ', '\t', '#', '-']));
            let Some((key, value)) = entry else {
                continue;
            };
            let (key, value) = (key.trim(), value.trim().trim_matches(['"', '\'']));
            if key.eq_ignore_ascii_case("title") {
                self.title.get_or_insert_with(|| value.to_owned());
            } else {
                self.builder.property(key, value);
            }
        }
    }
}

fn level_of(level: HeadingLevel) -> u8 {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}
