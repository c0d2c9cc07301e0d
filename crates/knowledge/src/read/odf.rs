//! OpenDocument (ODT, ODS, ODP): headings by outline level, lists, tables as rows, slides as pages, notes.
//!
//! Deleted text of tracked changes, comments, headers and footers are left out; spreadsheets show what cells show.

use std::ops::ControlFlow;

use super::builder::Builder;
use super::markdown::CELL_GAP;
use super::package::Package;
use super::xml::{self, Attributes, Node};
use super::{BlockKind, Format, RawDocument, ReadError, Run, office};

const CONTENT: &str = "content.xml";
const META: &str = "meta.xml";
/// Where parts that are encrypted are listed.
const MANIFEST: &str = "META-INF/manifest.xml";
/// Headings have levels 1 to 6.
const MAX_LEVEL: u8 = 6;
/// An empty cell may say that it stands for thousands up to the edge of the sheet.
const REPEATS_MAX: usize = 256;

/// Elements left out with all they hold.
const LEFT_OUT: [&str; 7] = [
    "tracked-changes",
    "annotation",
    "annotation-end",
    "bookmark",
    "forms",
    "ruby-text",
    "header-footer",
];

/// Reads an OpenDocument package of this kind.
pub(super) fn read(format: Format, bytes: &[u8], run: Run<'_>) -> Result<RawDocument, ReadError> {
    let mut package = Package::open(bytes)?;
    if let Some(manifest) = package.part(MANIFEST, run)?
        && super::sniff::find(&manifest, b"encryption-data").is_some()
    {
        return Err(ReadError::Encrypted);
    }
    let content = office::required(&mut package, CONTENT, run)?;
    let mut builder = Builder::new(run);
    let title = match package.part(META, run)? {
        Some(meta) => {
            office::named_values(&meta, META, "user-defined", &mut builder, run)?;
            office::text_of(&meta, META, "title", run)?
        }
        None => None,
    };
    let mut body = Body {
        builder,
        format,
        page: 0,
        paragraphs: Vec::new(),
        rows: Vec::new(),
        lists: 0,
        notes: Vec::new(),
        skip_depth: 0,
        repeats: 1,
        is_title: false,
    };
    xml::walk(&content, CONTENT, run, &mut |node| body.node(node))?;
    let n_pages = (format == Format::Odp).then_some(body.page);
    let mut document = body.builder.finish(format, title.clone(), n_pages);
    if format == Format::Ods {
        document.title = title;
    }
    Ok(document)
}

/// A paragraph or heading in the making.
struct Paragraph {
    heading: Option<u8>,
    text: String,
}

struct Body<'a> {
    builder: Builder<'a>,
    format: Format,
    page: u32,
    /// Paragraphs within paragraphs: those of notes and of text boxes.
    paragraphs: Vec<Paragraph>,
    /// The cells of the row under way, for each table within tables.
    rows: Vec<Vec<String>>,
    lists: usize,
    /// Texts of notes, to follow the paragraph that refers to them.
    notes: Vec<String>,
    skip_depth: usize,
    /// For how many cells the one under way stands.
    repeats: usize,
    /// Whether the frame under way holds the title of a slide.
    is_title: bool,
}

impl Body<'_> {
    fn node(&mut self, node: Node<'_>) -> Result<ControlFlow<()>, ReadError> {
        match node {
            Node::Open(name, _) if self.skip_depth > 0 || LEFT_OUT.contains(&name) => self.skip_depth += 1,
            Node::Close(_) if self.skip_depth > 0 => self.skip_depth -= 1,
            Node::Open(name, attributes) => self.open(name, attributes)?,
            Node::Close(name) => self.close(name)?,
            Node::Text(text) if self.skip_depth == 0 => {
                if let Some(paragraph) = self.paragraphs.last_mut() {
                    paragraph.text.push_str(text);
                }
            }
            Node::Text(_) => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn open(&mut self, name: &str, attributes: &Attributes<'_>) -> Result<(), ReadError> {
        match name {
            "h" => {
                let level = attributes
                    .get("outline-level")
                    .and_then(|level| level.parse().ok());
                let level: u8 = level.unwrap_or(1);
                self.paragraphs.push(Paragraph {
                    heading: Some(level.clamp(1, MAX_LEVEL)),
                    text: String::new(),
                });
            }
            "p" => self.paragraphs.push(Paragraph {
                heading: self.is_title.then_some(1),
                text: String::new(),
            }),
            "frame" => self.is_title = attributes.get("class").as_deref() == Some("title"),
            "tab" => self.add("\t"),
            "line-break" => self.add("\n"),
            "s" => {
                let n = attributes
                    .get("c")
                    .and_then(|n| n.parse().ok())
                    .unwrap_or(1_usize);
                self.add(&" ".repeat(n.min(REPEATS_MAX)));
            }
            "list" => self.lists += 1,
            "table" => {
                if self.format == Format::Ods && self.rows.is_empty() {
                    let name = attributes.get("name").unwrap_or_default();
                    self.builder.push(BlockKind::Heading(1), &name, None)?;
                }
                self.rows.push(Vec::new());
            }
            "table-row" => {
                if let Some(row) = self.rows.last_mut() {
                    row.clear();
                }
            }
            "table-cell" | "covered-table-cell" => {
                let repeats = attributes.get("number-columns-repeated");
                self.repeats = repeats.and_then(|n| n.parse().ok()).unwrap_or(1);
                if let Some(row) = self.rows.last_mut() {
                    row.push(String::new());
                }
            }
            "page" if self.format == Format::Odp => self.page += 1,
            _ => {}
        }
        Ok(())
    }

    fn add(&mut self, text: &str) {
        if let Some(paragraph) = self.paragraphs.last_mut() {
            paragraph.text.push_str(text);
        }
    }

    fn close(&mut self, name: &str) -> Result<(), ReadError> {
        match name {
            "h" | "p" => self.end_paragraph()?,
            "list" => self.lists = self.lists.saturating_sub(1),
            "frame" => self.is_title = false,
            "table-cell" | "covered-table-cell" => {
                let repeats = self.repeats.clamp(1, REPEATS_MAX);
                if let Some(row) = self.rows.last_mut()
                    && let Some(cell) = row.last().cloned()
                {
                    row.extend(std::iter::repeat_n(cell, repeats - 1));
                }
                self.repeats = 1;
            }
            "table-row" => self.end_row()?,
            "table" => drop(self.rows.pop()),
            _ => {}
        }
        Ok(())
    }

    fn end_paragraph(&mut self) -> Result<(), ReadError> {
        let Some(paragraph) = self.paragraphs.pop() else {
            return Ok(());
        };
        let text = paragraph.text.trim();
        if !self.paragraphs.is_empty() && self.rows.is_empty() {
            // A note or a text box within running text: it follows what it is anchored to.
            self.notes.push(text.to_owned());
            return Ok(());
        }
        if let Some(cell) = self.rows.last_mut().and_then(|row| row.last_mut()) {
            if !cell.is_empty() {
                cell.push(' ');
            }
            cell.push_str(&text.split_whitespace().collect::<Vec<_>>().join(" "));
            return Ok(());
        }
        let kind = match paragraph.heading {
            Some(level) => BlockKind::Heading(level),
            None if self.lists > 0 => BlockKind::ListItem,
            None => BlockKind::Paragraph,
        };
        let page = (self.format == Format::Odp).then_some(self.page.max(1));
        self.builder.push(kind, text, page)?;
        for note in std::mem::take(&mut self.notes) {
            self.builder.push(BlockKind::Paragraph, &note, page)?;
        }
        Ok(())
    }

    fn end_row(&mut self) -> Result<(), ReadError> {
        let Some(row) = self.rows.last_mut() else {
            return Ok(());
        };
        let mut cells = std::mem::take(row);
        while cells.last().is_some_and(String::is_empty) {
            cells.pop();
        }
        if cells.is_empty() {
            return Ok(());
        }
        let text = cells.join(CELL_GAP);
        // Rows of a table within a cell belong to that cell.
        let above = self.rows.len().checked_sub(2).map(|at| &mut self.rows[at]);
        if let Some(cell) = above.and_then(|row| row.last_mut()) {
            if !cell.is_empty() {
                cell.push(' ');
            }
            cell.push_str(&text);
            return Ok(());
        }
        let page = (self.format == Format::Odp).then_some(self.page.max(1));
        let kind = if cells.len() > 1 {
            BlockKind::TableRow
        } else {
            BlockKind::Paragraph
        };
        self.builder.push(kind, &text, page)
    }
}
