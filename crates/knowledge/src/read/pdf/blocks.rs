//! Lines of all pages become headings, paragraphs, list entries and table rows.
//!
//! Nothing here depends on language. Headings are told by size alone: larger than the body, and short.

use std::collections::BTreeMap;

use super::super::builder::Builder;
use super::super::markdown::CELL_GAP;
use super::super::{BlockKind, ReadError, WordBox};
use super::layout::Line;
use super::place::Sheet;
use crate::text::begins_entry;

/// Text is a heading from this multiple of the body's size on.
const HEADING_SIZE: f64 = 1.12;
/// Longest heading in characters.
const MAX_HEADING_CHARS: usize = 200;
/// Deepest level of headings.
const MAX_LEVEL: usize = 6;
/// Lines farther apart than this multiple of the usual distance begin a new paragraph.
const PARAGRAPH_GAP: f64 = 1.35;
/// The usual distance of lines, in font sizes, where a page has too few lines to tell.
const USUAL_LEADING: f64 = 1.3;
/// Sizes within a paragraph differ by no more than this share: program text is often set smaller.
const MAX_SIZE_CHANGE: f64 = 0.16;
/// Longest numbered line in bold that is a heading.
const MAX_BOLD_HEADING_CHARS: usize = 80;
/// Rows of one table are no farther apart than so many font sizes.
const MAX_ROW_GAP: f64 = 4.5;

/// Sizes are compared in half points.
fn size_class(size: f64) -> i64 {
    (size * 2.0).round() as i64
}

/// Builds the blocks of a document from the lines of its pages.
pub(super) fn build(pages: &[(Vec<Line>, Sheet)], builder: &mut Builder<'_>) -> Result<(), ReadError> {
    let sizes = Sizes::new(pages);
    for ((lines, sheet), number) in pages.iter().zip(1..) {
        builder.push_page_size(sheet.size());
        let block = Growing {
            sheet,
            kind: BlockKind::Paragraph,
            text: String::new(),
            words: Vec::new(),
        };
        page(lines, number, &sizes, block, builder)?;
    }
    Ok(())
}

/// Which sizes are headings, and of which level.
struct Sizes {
    levels: BTreeMap<i64, u8>,
}

impl Sizes {
    fn new(pages: &[(Vec<Line>, Sheet)]) -> Self {
        let mut chars: BTreeMap<i64, usize> = BTreeMap::new();
        for line in pages.iter().flat_map(|(lines, _)| lines) {
            *chars.entry(size_class(line.size)).or_default() += line.n_chars();
        }
        let body = chars.iter().max_by_key(|(_, n)| **n).map_or(0, |(size, _)| *size);
        let is_heading = |size: &i64| *size as f64 >= HEADING_SIZE * body as f64 && *size > body;
        let larger = chars.keys().rev().copied().filter(is_heading);
        let levels = larger
            .enumerate()
            .map(|(rank, size)| (size, rank.min(MAX_LEVEL - 1) as u8 + 1));
        Self {
            levels: levels.collect(),
        }
    }

    fn level(&self, line: &Line) -> Option<u8> {
        let text = line.text();
        let is_words = text.chars().any(char::is_alphabetic) && text.chars().count() <= MAX_HEADING_CHARS;
        let by_size = self.levels.get(&size_class(line.size)).copied();
        let by_number = || {
            let deepest = self.levels.values().max().copied().unwrap_or(0);
            (line.is_bold && is_numbered(&text)).then_some((deepest + 1).min(MAX_LEVEL as u8))
        };
        by_size.or_else(by_number).filter(|_| is_words)
    }
}

/// `6.3.2 Title` and `제3조(목적)` on a line of their own.
fn is_numbered(text: &str) -> bool {
    let text = text.trim();
    let number = text.split([' ', '(']).next().unwrap_or_default();
    let is_section = number.contains('.')
        && number.starts_with(|c: char| c.is_ascii_digit())
        && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let is_article = number.starts_with('제') && number.ends_with(['조', '장', '절', '항', '편']);
    let is_short = text.chars().count() <= MAX_BOLD_HEADING_CHARS && text.len() > number.len();
    (is_section || is_article) && is_short && !text.ends_with(['.', ',', ';'])
}

fn is_hangul(c: char) -> bool {
    ('가'..='힣').contains(&c)
}

/// A block to which lines are added.
struct Growing<'s> {
    sheet: &'s Sheet,
    kind: BlockKind,
    text: String,
    words: Vec<WordBox>,
}

impl Growing<'_> {
    fn add(&mut self, line: &Line) {
        let is_row = self.kind == BlockKind::TableRow;
        for (index, cell) in line.cells.iter().enumerate() {
            if index > 0 && is_row {
                // The bar between two cells stands nowhere.
                self.words.push(WordBox::default());
            }
            self.words.extend(self.sheet.places(&cell.words, line.turns));
        }
        if is_row {
            let cells: Vec<&str> = line.cells.iter().map(|cell| cell.text.trim()).collect();
            self.text.push_str(&cells.join(CELL_GAP));
        } else {
            self.text.push_str(&line.text());
        }
    }

    fn finish(&mut self, number: u32, builder: &mut Builder<'_>) -> Result<(), ReadError> {
        let words = std::mem::take(&mut self.words);
        builder.push_placed(self.kind, &self.text, Some(number), words)?;
        self.text.clear();
        Ok(())
    }
}

fn page(
    lines: &[Line],
    number: u32,
    sizes: &Sizes,
    mut block: Growing<'_>,
    builder: &mut Builder<'_>,
) -> Result<(), ReadError> {
    let leading = leading(lines);
    let rows = rows(lines);
    let mut right = 0.0_f64;
    for (index, line) in lines.iter().enumerate() {
        let line_kind = match sizes.level(line) {
            _ if rows[index] => BlockKind::TableRow,
            Some(level) => BlockKind::Heading(level),
            None => BlockKind::Paragraph,
        };
        let before = index.checked_sub(1).map(|index| &lines[index]);
        let is_same_kind = line_kind == block.kind
            || (block.kind == BlockKind::ListItem && line_kind == BlockKind::Paragraph);
        let goes_on = before.is_some_and(|before| {
            is_same_kind && line_kind != BlockKind::TableRow && continues(before, line, leading, right)
        });
        if goes_on {
            block.text.push('\n');
        } else {
            block.finish(number, builder)?;
            let is_entry = line_kind == BlockKind::Paragraph && begins_entry(&line.text());
            block.kind = if is_entry { BlockKind::ListItem } else { line_kind };
            right = 0.0;
        }
        right = right.max(line.x1());
        block.add(line);
    }
    block.finish(number, builder)
}

/// The usual distance between base lines, in font sizes.
fn leading(lines: &[Line]) -> f64 {
    let mut distances: Vec<f64> = lines
        .windows(2)
        .filter(|pair| {
            pair[0].region == pair[1].region && size_class(pair[0].size) == size_class(pair[1].size)
        })
        .map(|pair| (pair[0].y - pair[1].y) / pair[1].size.max(0.1))
        .filter(|distance| (0.8..3.0).contains(distance))
        .collect();
    distances.sort_by(f64::total_cmp);
    // Lower than the middle: gaps between paragraphs only ever add.
    distances
        .get(distances.len() * 2 / 5)
        .copied()
        .unwrap_or(USUAL_LEADING)
}

/// Whether a line belongs to the paragraph of the line before it.
fn continues(before: &Line, line: &Line, leading: f64, right: f64) -> bool {
    let size = line.size.max(0.1);
    let is_near = (before.y - line.y) > 0.0 && (before.y - line.y) / size <= PARAGRAPH_GAP * leading;
    let is_same_face =
        (before.size - line.size).abs() < MAX_SIZE_CHANGE * size && before.is_bold == line.is_bold;
    let text = line.text();
    let is_entry =
        begins_entry(&text) && (!text.starts_with(is_hangul) || before.text().trim_end().ends_with('.'));
    if before.region != line.region || !is_near || !is_same_face || is_entry {
        return false;
    }
    // An indented first line after a finished sentence, or a sentence that ended well before the margin.
    let ended = before
        .text()
        .trim_end()
        .ends_with(['.', '?', '!', '。', ':', '”', '"']);
    let is_indented = line.x0() > before.x0() + 0.8 * size && line.x0() < before.x0() + 6.0 * size;
    let ended_early = before.x1() < right.max(line.x1()) - 4.0 * size;
    !(ended && (is_indented || ended_early))
}

/// Which lines are rows of a table: several cells, two of which stand in line with cells of a neighbour.
fn rows(lines: &[Line]) -> Vec<bool> {
    let fits = |a: &Line, b: &Line| {
        let near = a.region == b.region && (a.y - b.y).abs() < MAX_ROW_GAP * a.size.max(b.size);
        let reach = a.size.max(b.size);
        let aligned = a.cells.iter().filter(|cell| {
            b.cells.iter().any(|other| {
                let centre = |cell: &super::layout::Cell| f64::midpoint(cell.x0, cell.x1);
                (cell.x0 - other.x0).abs() < 0.6 * reach
                    || (cell.x1 - other.x1).abs() < 0.6 * reach
                    || (centre(cell) - centre(other)).abs() < 0.6 * reach
            })
        });
        near && a.cells.len() > 1 && b.cells.len() > 1 && aligned.count() >= 2
    };
    let pairs: Vec<bool> = lines.windows(2).map(|pair| fits(&pair[0], &pair[1])).collect();
    (0..lines.len())
        .map(|index| {
            let above = index > 0 && pairs[index - 1];
            above || pairs.get(index).copied().unwrap_or(false)
        })
        .collect()
}
