//! The text of a DOCX: what its paragraphs, runs and tables hold, in order.
//!
//! Not the meaning of styles (see `styles`).

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::super::builder::{Builder, one_line};
use super::super::markdown::CELL_GAP;
use super::super::xml::{Attributes, Node};
use super::super::{BlockKind, ReadError};
use super::styles::{self, Styles};
use super::{is_on, kind_of};

/// Marks within a block's text where the next page begins.
const PAGE_TURN: char = '\u{C}';

/// Elements left out with all they hold: deleted or moved text, the second copy of a drawing, ruby glosses.
const LEFT_OUT: [&str; 5] = ["del", "moveFrom", "Fallback", "rt", "instrText"];

/// A paragraph in the making.
#[derive(Default)]
struct Paragraph {
    text: String,
    style: Option<String>,
    is_list: Option<bool>,
    outline: Option<u8>,
    page: Option<u32>,
    notes: Vec<String>,
}

/// A finished paragraph that waits for its table row to end.
struct Piece {
    kind: BlockKind,
    text: String,
    page: Option<u32>,
}

/// Where the walk through the document stands.
pub(super) struct Body<'d, 'a> {
    builder: Builder<'a>,
    styles: &'d Styles,
    notes: &'d BTreeMap<(bool, String), String>,
    has_rendered: bool,
    page: u32,
    is_paged: bool,
    paragraphs: Vec<Paragraph>,
    /// Cells of the rows under way, for each table within tables.
    rows: Vec<Vec<Vec<Piece>>>,
    skip_depth: usize,
    in_run: usize,
    is_hidden: bool,
    has_hidden: bool,
    is_text: bool,
    title: Option<String>,
}

impl<'d, 'a> Body<'d, 'a> {
    pub(super) fn new(
        builder: Builder<'a>,
        styles: &'d Styles,
        notes: &'d BTreeMap<(bool, String), String>,
        has_rendered: bool,
    ) -> Self {
        Self {
            builder,
            styles,
            notes,
            has_rendered,
            page: 1,
            is_paged: has_rendered,
            paragraphs: Vec::new(),
            rows: Vec::new(),
            skip_depth: 0,
            in_run: 0,
            is_hidden: false,
            has_hidden: false,
            is_text: false,
            title: None,
        }
    }

    /// The builder, the number of pages and the text of the paragraph styled as title. Documents without any
    /// mark of a page have no page numbers at all.
    pub(super) fn end(mut self) -> Result<(Builder<'a>, Option<u32>, Option<String>), ReadError> {
        if self.has_hidden {
            self.builder.count_hidden();
        }
        let n_pages = self.is_paged.then_some(self.page);
        if n_pages.is_none() {
            self.builder.forget_pages();
        }
        Ok((self.builder, n_pages, self.title))
    }

    pub(super) fn node(&mut self, node: Node<'_>) -> Result<ControlFlow<()>, ReadError> {
        match node {
            Node::Open(name, _) if self.skip_depth > 0 || LEFT_OUT.contains(&name) => self.skip_depth += 1,
            Node::Close(_) if self.skip_depth > 0 => self.skip_depth -= 1,
            Node::Open(name, attributes) => self.open(name, attributes),
            Node::Close(name) => self.close(name)?,
            Node::Text(text) if self.is_text && self.skip_depth == 0 => self.add(text),
            Node::Text(_) => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn open(&mut self, name: &str, attributes: &Attributes<'_>) {
        let value = || attributes.get("val");
        match name {
            "p" => {
                let page = Some(self.page);
                self.paragraphs.push(Paragraph {
                    page,
                    ..Paragraph::default()
                });
            }
            "r" => {
                self.in_run += 1;
                self.is_hidden = false;
            }
            "t" => self.is_text = true,
            "tbl" => self.rows.push(Vec::new()),
            "tc" => {
                if let Some(row) = self.rows.last_mut() {
                    row.push(Vec::new());
                }
            }
            "vanish" if self.in_run > 0 => self.is_hidden = is_on(value().as_deref()),
            "tab" | "ptab" if self.in_run > 0 => self.add("\t"),
            "cr" => self.add("\n"),
            "noBreakHyphen" => self.add("-"),
            "br" => self.line_or_page(attributes.get("type").as_deref()),
            "lastRenderedPageBreak" => self.turn_page(),
            "pageBreakBefore" if !self.has_rendered && is_on(value().as_deref()) => self.turn_page(),
            "footnoteReference" => self.note(false, attributes),
            "endnoteReference" => self.note(true, attributes),
            _ => self.paragraph_property(name, attributes),
        }
    }

    fn paragraph_property(&mut self, name: &str, attributes: &Attributes<'_>) {
        let Some(paragraph) = self.paragraphs.last_mut() else {
            return;
        };
        let value = attributes.get("val");
        match name {
            "pStyle" => paragraph.style = value,
            "numId" => paragraph.is_list = Some(value.as_deref() != Some("0")),
            "outlineLvl" => paragraph.outline = value.and_then(|level| level.parse().ok()),
            _ => {}
        }
    }

    fn close(&mut self, name: &str) -> Result<(), ReadError> {
        match name {
            "p" => self.end_paragraph()?,
            "r" => {
                self.in_run = self.in_run.saturating_sub(1);
                self.is_hidden = false;
            }
            "t" => self.is_text = false,
            "tr" => self.end_row()?,
            "tbl" => {
                self.rows.pop();
            }
            _ => {}
        }
        Ok(())
    }

    fn add(&mut self, text: &str) {
        if self.is_hidden {
            self.has_hidden = true;
        } else if let Some(paragraph) = self.paragraphs.last_mut() {
            paragraph.text.push_str(text);
        }
    }

    fn line_or_page(&mut self, kind: Option<&str>) {
        if kind == Some("page") {
            if !self.has_rendered {
                self.turn_page();
            }
        } else {
            self.add("\n");
        }
    }

    fn turn_page(&mut self) {
        self.is_paged = true;
        self.page = self.page.saturating_add(1);
        if let Some(paragraph) = self.paragraphs.last_mut() {
            if paragraph.text.trim().is_empty() {
                paragraph.page = Some(self.page);
            } else {
                paragraph.text.push(PAGE_TURN);
            }
        }
    }

    fn note(&mut self, is_end: bool, attributes: &Attributes<'_>) {
        let note = attributes.get("id").and_then(|id| self.notes.get(&(is_end, id)));
        if let (Some(note), Some(paragraph)) = (note, self.paragraphs.last_mut()) {
            paragraph.notes.push(note.clone());
        }
    }

    fn end_paragraph(&mut self) -> Result<(), ReadError> {
        let Some(paragraph) = self.paragraphs.pop() else {
            return Ok(());
        };
        let style = paragraph.style.as_deref();
        let is_title = style.is_some_and(|id| self.styles.is_title(id));
        if is_title && self.title.is_none() {
            self.title = Some(one_line(&paragraph.text)).filter(|title| !title.is_empty());
        }
        let heading = match paragraph.outline {
            Some(outline) => styles::level(outline),
            None if is_title => Some(1),
            None => style.and_then(|id| self.styles.heading(id)),
        };
        let is_list = paragraph
            .is_list
            .unwrap_or_else(|| style.is_some_and(|id| self.styles.is_list(id)));
        let page = paragraph.page;
        self.put(Piece {
            kind: kind_of(heading, is_list),
            text: paragraph.text,
            page,
        })?;
        for note in paragraph.notes {
            self.put(Piece {
                kind: BlockKind::Paragraph,
                text: note,
                page: Some(self.page),
            })?;
        }
        Ok(())
    }

    /// Into the cell under way, or else into the document.
    fn put(&mut self, piece: Piece) -> Result<(), ReadError> {
        match self.rows.last_mut().and_then(|row| row.last_mut()) {
            Some(cell) => {
                cell.push(piece);
                Ok(())
            }
            None => self.builder.push(piece.kind, piece.text.trim(), piece.page),
        }
    }

    /// One cell alone is no table but a frame: what it holds stays as it is.
    fn end_row(&mut self) -> Result<(), ReadError> {
        let Some(row) = self.rows.last_mut() else {
            return Ok(());
        };
        let mut cells = std::mem::take(row);
        let is_frame = cells.len() == 1;
        let pieces = if is_frame {
            cells.pop().unwrap_or_default()
        } else {
            joined(&cells).into_iter().collect()
        };
        // Rows of a table within a cell belong to that cell.
        let inner = self.rows.pop();
        for piece in pieces {
            self.put(piece)?;
        }
        self.rows.extend(inner);
        Ok(())
    }
}

fn joined(cells: &[Vec<Piece>]) -> Option<Piece> {
    let page = cells.iter().flatten().next()?.page;
    let texts = cells.iter().map(|cell| {
        let words: Vec<&str> = cell
            .iter()
            .map(|piece| piece.text.trim())
            .filter(|text| !text.is_empty())
            .collect();
        words.join(" ").replace(['\n', '\t'], " ")
    });
    let text = texts.collect::<Vec<_>>().join(CELL_GAP);
    let has_text = cells.iter().flatten().any(|piece| !piece.text.trim().is_empty());
    has_text.then_some(Piece {
        kind: BlockKind::TableRow,
        text,
        page,
    })
}
