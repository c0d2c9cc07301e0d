//! One section: its paragraphs, and the tables, notes and boxes that are anchored in them.

use super::super::hangul::{CONTROL_UNITS, Shapes, Writer};
use super::super::{ReadError, Run};
use super::records::Record;

const TAG_PARA_HEADER: u16 = 0x42;
const TAG_PARA_TEXT: u16 = 0x43;
const TAG_PARA_LINES: u16 = 0x45;
const TAG_CONTROL: u16 = 0x47;
const TAG_LIST_HEADER: u16 = 0x48;
const TAG_PAGE: u16 = 0x49;
const TAG_EQUATION: u16 = 0x58;

/// Where a paragraph's header says whether it begins a page, and the bit for it.
const BREAK_AT: usize = 11;
const PAGE_BREAK: u8 = 4;
/// Bytes of one line in the record of lines.
const LINE_BYTES: usize = 36;
/// Where a cell's own fields begin in the header of its list of paragraphs.
const CELL_AT: usize = 8;
/// The first syllable of the program's own name, in the private characters that were used before Unicode had its
/// letters: it stands in every document about Hangul.
const OLD_HAN: char = '\u{F53A}';
/// Controls in which nothing is text of the document: headers, footers, comments, page numbers.
const LEFT_OUT: [&[u8; 4]; 6] = [b"head", b"foot", b"tcmt", b"pgnp", b"nwno", b"pghd"];

/// Reads the records of a section.
pub(super) fn read(
    records: &[Record<'_>],
    shapes: &Shapes,
    writer: &mut Writer<'_>,
    run: Run<'_>,
) -> Result<(), ReadError> {
    let mut section = Section {
        shapes,
        writer,
        run,
        open: Vec::new(),
    };
    let mut at = 0;
    while let Some(record) = records.get(at) {
        section.close_to(record.level)?;
        at += 1;
        if section.is_left_out(record) {
            // All that lies deeper belongs to it.
            at += records[at..]
                .iter()
                .take_while(|inner| inner.level > record.level)
                .count();
            continue;
        }
        section.record(record)?;
    }
    section.close_to(0)
}

#[derive(Clone, Copy, PartialEq)]
enum Open {
    Paragraph,
    Table,
}

struct Section<'s, 'w, 'a, 'r> {
    shapes: &'s Shapes,
    writer: &'w mut Writer<'a>,
    run: Run<'r>,
    /// What is open, with the level of its record.
    open: Vec<(u16, Open)>,
}

impl Section<'_, '_, '_, '_> {
    /// Ends what a record of this level is not part of. The header of a list of paragraphs, and those paragraphs, have
    /// the same level below the control they belong to.
    fn close_to(&mut self, level: u16) -> Result<(), ReadError> {
        while let Some(&(opened, what)) = self.open.last() {
            if level > opened {
                break;
            }
            self.open.pop();
            match what {
                Open::Paragraph => self.writer.close_paragraph()?,
                Open::Table => self.writer.close_table()?,
            }
        }
        Ok(())
    }

    fn is_left_out(&self, record: &Record<'_>) -> bool {
        record.tag == TAG_CONTROL && control(record).is_some_and(|id| LEFT_OUT.contains(&&id))
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), ReadError> {
        match record.tag {
            TAG_PARA_HEADER => {
                self.run.check_time()?;
                let shape = record.u16(8).map(u32::from);
                let style = record.u8(10).map(u32::from);
                self.writer.open_paragraph(self.shapes.kind(shape, style))?;
                if record.u8(BREAK_AT).is_some_and(|kind| kind & PAGE_BREAK != 0) {
                    self.writer.begin_page();
                }
                self.open.push((record.level, Open::Paragraph));
            }
            TAG_PARA_TEXT => self.text(record.data),
            TAG_PARA_LINES => self.lines(record),
            TAG_CONTROL if control(record) == Some(*b"tbl ") => {
                self.writer.open_table()?;
                // Kind, attributes, offsets, width, height.
                let height = record.u32(20).unwrap_or(0);
                self.writer.set_table_height(i64::from(height));
                self.open.push((record.level, Open::Table));
            }
            TAG_LIST_HEADER if self.is_in_table(record.level) => self.cell(record),
            TAG_PAGE => self.page(record),
            TAG_EQUATION => {
                if let Some((script, _)) = record.text(4) {
                    self.writer.add(&format!(" {script} "));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a list at this level belongs to the table that was opened last.
    fn is_in_table(&self, level: u16) -> bool {
        self.open
            .last()
            .is_some_and(|(opened, what)| *what == Open::Table && level == opened + 1)
    }

    fn cell(&mut self, record: &Record<'_>) {
        let place = record.u16(CELL_AT + 2).zip(record.u16(CELL_AT));
        // A caption's list has no cell fields; it is no cell.
        let Some((row, column)) = place.filter(|_| record.data.len() >= CELL_AT + 16) else {
            return;
        };
        self.writer.open_cell();
        self.writer.place_cell(u32::from(row), u32::from(column));
        let rows = record.u16(CELL_AT + 6).unwrap_or(1).max(1);
        let height = record.u32(CELL_AT + 12).unwrap_or(0);
        self.writer.set_cell_height(i64::from(height) / i64::from(rows));
    }

    fn page(&mut self, record: &Record<'_>) {
        let measure = |index: usize| i64::from(record.u32(4 * index).unwrap_or(0));
        // Width, height, left, right, top, bottom, header, footer.
        let edges: i64 = (4..8).map(measure).sum();
        self.writer.set_body_height(measure(1) - edges);
    }

    /// Characters, and controls that take one or eight units among them.
    fn text(&mut self, data: &[u8]) {
        let units: Vec<u16> = data
            .as_chunks::<2>()
            .0
            .iter()
            .map(|unit| u16::from_le_bytes(*unit))
            .collect();
        let mut at = 0;
        while at < units.len() {
            let run = units[at..].iter().take_while(|unit| **unit >= 32).count();
            if run > 0 {
                let text = char::decode_utf16(units[at..at + run].iter().copied());
                let text: String = text
                    .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
                    .filter(|c| *c == OLD_HAN || !is_own_symbol(*c))
                    .collect();
                self.writer
                    .add(&text.replace(OLD_HAN, "\u{1112}\u{119E}\u{11AB}"));
                at += run;
                continue;
            }
            match units[at] {
                9 => self.writer.add_control(CONTROL_UNITS, "\t"),
                10 => self.writer.add_control(1, "\n"),
                24 => self.writer.add_control(1, "-"),
                30 | 31 => self.writer.add_control(1, " "),
                0 | 13 | 25..=29 => self.writer.add_control(1, ""),
                _ => self.writer.add_control(CONTROL_UNITS, ""),
            }
            at += match units[at] {
                0 | 10 | 13 | 24..=31 => 1,
                _ => CONTROL_UNITS,
            };
        }
    }

    fn lines(&mut self, record: &Record<'_>) {
        for at in (0..record.data.len() / LINE_BYTES).map(|line| line * LINE_BYTES) {
            let text_at = record.u32(at).unwrap_or(0) as usize;
            if let (Some(top), Some(left)) = (record.i32(at + 4), record.i32(at + 24)) {
                self.writer.add_line(i64::from(top), i64::from(left), text_at);
            }
        }
    }
}

/// The four letters that name a control; they are stored as a number, last letter first.
fn control(record: &Record<'_>) -> Option<[u8; 4]> {
    record.u32(0).map(u32::to_be_bytes)
}

/// Private characters that Hangul's own fonts show as bullets and frames: they are no letters.
fn is_own_symbol(c: char) -> bool {
    matches!(c, '\u{E000}'..='\u{F8FF}' | '\u{F0000}'..='\u{10FFFD}')
}
