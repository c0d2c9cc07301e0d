//! What HWP and HWPX share: paragraph shapes that are headings, tables within paragraphs, and pages.
//!
//! Neither format stores page numbers, but both store where each line was put on its page when the document was last
//! laid out (HWP 5.0 revision 1.3, section 4.3.3.4, `HWPTAG_PARA_LINE_SEG`; OWPML `lineseg`). A line that stands higher
//! than the one before it, and not in a column to its right, begins a page. Over how many pages a table runs follows
//! from its height.

use std::collections::BTreeMap;

use super::builder::Builder;
use super::markdown::CELL_GAP;
use super::{BlockKind, Format, RawDocument, ReadError, Run};

/// Marks within a block's text where the next page begins.
const PAGE_TURN: char = '\u{C}';
/// Headings have levels 1 to 6; outlines go to 7, and in newer files to 10.
const MAX_LEVEL: u32 = 6;
/// Tables, notes and boxes within each other.
const DEPTH_MAX: usize = 64;
/// How much less than its height a table may really take, in 1/7200 inch: where the last line was put is then still
/// below it.
const SLACK: i64 = 2_000;
/// Units of text that a control takes where lines count them.
pub(super) const CONTROL_UNITS: usize = 8;

/// What paragraph shapes and styles of a document say about paragraphs.
#[derive(Default)]
pub(super) struct Shapes {
    shapes: BTreeMap<u32, BlockKind>,
    styles: BTreeMap<u32, BlockKind>,
}

impl Shapes {
    /// Notes a shape whose heading is of this type ("OUTLINE", "NUMBER", "BULLET"), `level` counting from 0.
    pub(super) fn set(&mut self, id: u32, heading: &str, level: u32) {
        let kind = match heading {
            "OUTLINE" => BlockKind::Heading(heading_level(level)),
            "NUMBER" | "BULLET" => BlockKind::ListItem,
            _ => return,
        };
        self.shapes.insert(id, kind);
    }

    /// Notes a style. Outline styles are named so even where their shape has no number.
    pub(super) fn add_style(&mut self, id: u32, name: &str, shape: u32) {
        let lower = name.trim().to_lowercase();
        let outline = lower
            .strip_prefix("개요")
            .or_else(|| lower.strip_prefix("outline"))
            .and_then(|level| level.trim().parse::<u32>().ok());
        let kind = outline
            .and_then(|level| level.checked_sub(1))
            .map(|level| BlockKind::Heading(heading_level(level)))
            .or_else(|| self.shapes.get(&shape).copied());
        if let Some(kind) = kind {
            self.styles.insert(id, kind);
        }
    }

    /// What a paragraph of this shape and style is.
    pub(super) fn kind(&self, shape: Option<u32>, style: Option<u32>) -> BlockKind {
        let of_shape = shape.and_then(|id| self.shapes.get(&id));
        let of_style = style.and_then(|id| self.styles.get(&id));
        of_shape.or(of_style).copied().unwrap_or(BlockKind::Paragraph)
    }
}

fn heading_level(level: u32) -> u8 {
    u8::try_from(level.min(MAX_LEVEL - 1) + 1).unwrap_or(1)
}

/// Where a line of an outermost paragraph stands.
#[derive(Clone, Copy)]
struct Line {
    /// From the top of the page's body, in 1/7200 inch.
    top: i64,
    /// Where its column begins.
    left: i64,
    /// Where its text begins, in UTF-16 units and controls.
    text_at: usize,
}

/// A paragraph, with what is anchored in it.
struct Piece {
    kind: BlockKind,
    text: String,
    /// Controls between the characters: byte in `text`, units of each.
    controls: Vec<(usize, usize)>,
    lines: Vec<Line>,
    /// Rows of tables, notes, boxes.
    inner: Vec<Piece>,
    /// How far below the top of the paragraph a row of a table stands.
    below: i64,
    /// How far the tables in it reach down.
    height: i64,
    /// Whether the author set it to begin a page.
    begins_page: bool,
}

impl Piece {
    fn new(kind: BlockKind) -> Self {
        Self {
            kind,
            text: String::new(),
            controls: Vec::new(),
            lines: Vec::new(),
            inner: Vec::new(),
            below: 0,
            height: 0,
            begins_page: false,
        }
    }

    /// All text in it on one line.
    fn flat(&self) -> String {
        let own = self.text.split_whitespace().map(str::to_owned);
        let inner = self.inner.iter().map(Self::flat);
        let words: Vec<String> = own.chain(inner).filter(|text| !text.is_empty()).collect();
        words.join(" ")
    }

    fn has_text(&self) -> bool {
        !self.text.trim().is_empty() || self.inner.iter().any(Self::has_text)
    }

    /// Where in the text the unit with this number stands.
    fn byte_of(&self, unit: usize) -> usize {
        let (mut units, mut controls) = (0, self.controls.iter().peekable());
        for (at, c) in self.text.char_indices() {
            while let Some((_, n)) = controls.next_if(|(before, _)| *before <= at) {
                units += n;
            }
            if units >= unit {
                return at;
            }
            units += c.len_utf16();
        }
        self.text.len()
    }
}

#[derive(Default)]
struct Cell {
    row: Option<u32>,
    column: Option<u32>,
    height: i64,
    pieces: Vec<Piece>,
}

#[derive(Default)]
struct Table {
    cells: Vec<Cell>,
    /// The row under way, for files that do not say where cells are.
    row: u32,
    height: i64,
}

enum Frame {
    Paragraph(Piece),
    Table(Table),
}

/// Puts a document together from what is opened and closed.
pub(super) struct Writer<'a> {
    builder: Builder<'a>,
    stack: Vec<Frame>,
    page: u32,
    /// The line before; none at the beginning of a section and after a table over several pages.
    last: Option<Line>,
    begins_section: bool,
    /// Height of a page's body, where the section says it.
    body: Option<i64>,
    has_layout: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(run: Run<'a>) -> Self {
        Self {
            builder: Builder::new(run),
            stack: Vec::new(),
            page: 0,
            last: None,
            begins_section: true,
            body: None,
            has_layout: false,
        }
    }

    /// Sections begin on a page of their own.
    pub(super) fn begin_section(&mut self) {
        self.stack.clear();
        self.last = None;
        self.begins_section = true;
    }

    /// Tells how high the body of a page is.
    pub(super) fn set_body_height(&mut self, height: i64) {
        self.body = Some(height).filter(|height| *height > 0);
    }

    pub(super) fn open_paragraph(&mut self, kind: BlockKind) -> Result<(), ReadError> {
        self.open(Frame::Paragraph(Piece::new(kind)))
    }

    fn open(&mut self, frame: Frame) -> Result<(), ReadError> {
        if self.stack.len() >= DEPTH_MAX {
            return Err(ReadError::Corrupt {
                what: format!("its tables nest more than {DEPTH_MAX} deep"),
            });
        }
        self.stack.push(frame);
        Ok(())
    }

    /// Notes that the paragraph under way is set to begin a page.
    pub(super) fn begin_page(&mut self) {
        if let Some(Frame::Paragraph(piece)) = self.stack.last_mut() {
            piece.begins_page = true;
        }
    }

    pub(super) fn add(&mut self, text: &str) {
        if let Some(Frame::Paragraph(piece)) = self.stack.last_mut() {
            piece.text.push_str(text);
        }
    }

    /// Notes a control of this many units, of which `shown` stands in the text.
    pub(super) fn add_control(&mut self, units: usize, shown: &str) {
        if let Some(Frame::Paragraph(piece)) = self.stack.last_mut() {
            piece.controls.push((
                piece.text.len(),
                units.saturating_sub(shown.encode_utf16().count()),
            ));
            piece.text.push_str(shown);
        }
    }

    /// Notes a line. Only those of outermost paragraphs count from the top of a page.
    pub(super) fn add_line(&mut self, top: i64, left: i64, text_at: usize) {
        if let [Frame::Paragraph(piece)] = self.stack.as_mut_slice() {
            piece.lines.push(Line { top, left, text_at });
        }
    }

    pub(super) fn open_table(&mut self) -> Result<(), ReadError> {
        self.open(Frame::Table(Table::default()))
    }

    fn table(&mut self) -> Option<&mut Table> {
        match self.stack.last_mut() {
            Some(Frame::Table(table)) => Some(table),
            _ => None,
        }
    }

    pub(super) fn set_table_height(&mut self, height: i64) {
        if let Some(table) = self.table() {
            table.height = height.max(0);
        }
    }

    pub(super) fn open_row(&mut self) {
        if let Some(table) = self.table() {
            table.row += 1;
        }
    }

    pub(super) fn open_cell(&mut self) {
        if let Some(table) = self.table() {
            table.cells.push(Cell {
                row: Some(table.row),
                ..Cell::default()
            });
        }
    }

    /// Tells where the last cell is; both count from 0.
    pub(super) fn place_cell(&mut self, row: u32, column: u32) {
        if let Some(cell) = self.table().and_then(|table| table.cells.last_mut()) {
            (cell.row, cell.column) = (Some(row), Some(column));
        }
    }

    pub(super) fn set_cell_height(&mut self, height: i64) {
        if let Some(cell) = self.table().and_then(|table| table.cells.last_mut()) {
            cell.height = height.max(0);
        }
    }

    pub(super) fn close_paragraph(&mut self) -> Result<(), ReadError> {
        let piece = match self.stack.pop() {
            Some(Frame::Paragraph(piece)) => piece,
            // Badly nested; what is not a paragraph stays open.
            other => {
                self.stack.extend(other);
                return Ok(());
            }
        };
        match self.stack.last_mut() {
            None => self.emit(piece),
            Some(Frame::Paragraph(outer)) => {
                outer.inner.push(piece);
                Ok(())
            }
            Some(Frame::Table(table)) => {
                // A paragraph outside of cells is the table's caption.
                if table.cells.is_empty() {
                    table.cells.push(Cell::default());
                }
                if let Some(cell) = table.cells.last_mut() {
                    cell.pieces.push(piece);
                }
                Ok(())
            }
        }
    }

    pub(super) fn close_table(&mut self) -> Result<(), ReadError> {
        let table = match self.stack.pop() {
            Some(Frame::Table(table)) => table,
            other => {
                self.stack.extend(other);
                return Ok(());
            }
        };
        let height = table.height;
        let rows = rows(table);
        if let Some(Frame::Paragraph(piece)) = self.stack.last_mut() {
            for mut row in rows {
                row.below += piece.height;
                piece.inner.push(row);
            }
            piece.height += height;
            return Ok(());
        }
        rows.into_iter().try_for_each(|row| self.emit(row))
    }

    /// Writes an outermost paragraph and what is in it.
    fn emit(&mut self, mut piece: Piece) -> Result<(), ReadError> {
        let lines = std::mem::take(&mut piece.lines);
        let mut turns = Vec::new();
        for (i, line) in lines.iter().enumerate() {
            self.has_layout |= line.top > 0;
            // Two paragraphs at the same place are on two pages; parts of one line are parted by a picture.
            let is_higher = self.last.is_some_and(|last| {
                let is_above = line.top < last.top || i == 0 && line.top == last.top;
                is_above && line.left <= last.left
            });
            let is_set = i == 0 && piece.begins_page;
            if std::mem::take(&mut self.begins_section) || is_higher || is_set {
                turns.push(piece.byte_of(line.text_at));
            }
            self.last = Some(*line);
        }
        if lines.is_empty() && piece.begins_page {
            // Laid out anew when it is next opened; that it begins a page is known all the same.
            turns.push(0);
            self.begins_section = false;
            self.last = None;
        }
        // Lines come in order, but for those of a damaged document.
        turns.sort_unstable();
        // Turns before the first character move the whole paragraph.
        let before = turns.iter().take_while(|at| **at == 0).count();
        self.page += u32::try_from(before)
            .unwrap_or(u32::MAX)
            .min(u32::MAX - self.page);
        let page = self.page.max(1);
        let within = &turns[before..];
        for at in within.iter().rev() {
            piece.text.insert(*at, PAGE_TURN);
        }
        self.page = page.saturating_add(u32::try_from(within.len()).unwrap_or(0));
        self.builder.push(piece.kind, piece.text.trim(), Some(page))?;
        let top = lines.first().map_or(0, |line| line.top.max(0));
        let body = self.body;
        let pages_down = |below: i64| match body {
            Some(body) => u32::try_from((top.saturating_add(below)).max(0) / body).unwrap_or(0),
            None => 0,
        };
        let first = self.page;
        let overflow = if piece.height > 0 {
            pages_down(piece.height.saturating_sub(1))
        } else {
            0
        };
        for inner in std::mem::take(&mut piece.inner) {
            let page = first.saturating_add(pages_down(inner.below).min(overflow));
            self.emit_inner(inner, page)?;
        }
        if overflow > 0 {
            // The table ends on another page than it begins, no higher than its height says: rows that had no room at
            // the end of a page only push it down.
            self.page = first.saturating_add(overflow);
            let end = top.saturating_add(piece.height) - i64::from(overflow) * body.unwrap_or(0);
            self.last = Some(Line {
                top: (end - SLACK).max(0),
                left: lines.first().map_or(0, |line| line.left),
                text_at: 0,
            });
        }
        Ok(())
    }

    fn emit_inner(&mut self, mut piece: Piece, page: u32) -> Result<(), ReadError> {
        let inner = std::mem::take(&mut piece.inner);
        self.builder.push(piece.kind, piece.text.trim(), Some(page))?;
        inner
            .into_iter()
            .try_for_each(|piece| self.emit_inner(piece, page))
    }

    /// The document. Without a line that was ever laid out there are no pages.
    pub(super) fn finish(mut self, format: Format, title: Option<String>) -> Result<RawDocument, ReadError> {
        // What is still open belongs to a damaged file; its text counts all the same.
        while let Some(frame) = self.stack.last() {
            match frame {
                Frame::Paragraph(_) => self.close_paragraph()?,
                Frame::Table(_) => self.close_table()?,
            }
        }
        let n_pages = (self.has_layout).then_some(self.page.max(1));
        if n_pages.is_none() {
            self.builder.forget_pages();
        }
        Ok(self.builder.finish(format, title, n_pages))
    }
}

/// The rows of a table. One cell alone is no table but a frame: what it holds stays as it is.
fn rows(table: Table) -> Vec<Piece> {
    let mut cells = table.cells;
    if cells.len() == 1 {
        return cells.pop().map(|cell| cell.pieces).unwrap_or_default();
    }
    // Rows in order, cells by column; those that do not say where they are stay where they came.
    cells.sort_by_key(|cell| (cell.row, cell.column));
    let mut rows: Vec<Piece> = Vec::new();
    let mut below = 0;
    for of_row in cells.chunk_by(|a, b| a.row == b.row) {
        let height = of_row.iter().map(|cell| cell.height).min().unwrap_or(0);
        let texts: Vec<String> = of_row
            .iter()
            .map(|cell| {
                let texts: Vec<String> = cell.pieces.iter().map(Piece::flat).collect();
                texts.join(" ").trim().to_owned()
            })
            .collect();
        if of_row.iter().any(|cell| cell.pieces.iter().any(Piece::has_text)) {
            let kind = if texts.len() > 1 {
                BlockKind::TableRow
            } else {
                BlockKind::Paragraph
            };
            let mut row = Piece::new(kind);
            row.text = texts.join(CELL_GAP);
            row.below = below;
            rows.push(row);
        }
        below += height;
    }
    rows
}
