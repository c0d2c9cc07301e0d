//! What Tesseract says of a picture: words with their places, and the same text as lines.
//!
//! The table takes Korean words apart into syllables, each with its place; the lines know where the spaces are. So the
//! words of a line are those between its spaces, and the place of one covers the places of its pieces.

use std::ops::Range;

use crate::read::WordBox;

/// Columns of the table.
const COLUMNS: usize = 12;
/// Kinds of rows: a page, and a word.
const PAGE: u32 = 1;
const WORD: u32 = 5;
/// Most words of one page.
const WORDS_MAX: usize = 100_000;

/// A paragraph of a picture.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Paragraph {
    pub(super) lines: Vec<Line>,
}

/// A line of a paragraph.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Line {
    pub(super) words: Vec<Word>,
}

/// A word as recognised.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) place: WordBox,
    /// How sure the program was, from 0 to 100.
    pub(super) confidence: f64,
}

/// A row of the table.
struct Row<'a> {
    level: u32,
    block: u32,
    paragraph: u32,
    line: u32,
    /// Left, upper, right and lower edge in pixels.
    edges: [u32; 4],
    confidence: f64,
    text: &'a str,
}

/// The paragraphs of a page of this size (in quarters of a point; zero if that is not known).
pub(super) fn paragraphs(said: &str, size: [u16; 2]) -> Vec<Paragraph> {
    let mut scale = Scale::default();
    let mut running = said.lines().filter(|line| line.split('\t').count() < COLUMNS);
    let mut paragraphs: Vec<Paragraph> = Vec::new();
    let rows: Vec<Row<'_>> = said.lines().filter_map(row).take(WORDS_MAX).collect();
    for of_line in rows
        .chunk_by(|a, b| (a.level, a.block, a.paragraph, a.line) == (b.level, b.block, b.paragraph, b.line))
    {
        let first = &of_line[0];
        if first.level == PAGE {
            scale = Scale::new(first.edges, size);
        }
        if first.level != WORD {
            // Every paragraph has a row of its own before its lines.
            if first.level == WORD - 2 {
                paragraphs.push(Paragraph::default());
            }
            continue;
        }
        let pieces: Vec<Word> = of_line
            .iter()
            .map(|row| Word {
                text: row.text.split_whitespace().collect(),
                place: scale.place(row.edges),
                confidence: row.confidence.clamp(0.0, 100.0),
            })
            .filter(|word| !word.text.is_empty())
            .collect();
        if let (Some(paragraph), false) = (paragraphs.last_mut(), pieces.is_empty()) {
            let words = joined(&pieces, &mut running).unwrap_or(pieces);
            paragraph.lines.push(Line { words });
        }
    }
    paragraphs.retain(|paragraph| !paragraph.lines.is_empty());
    paragraphs
}

fn row(line: &str) -> Option<Row<'_>> {
    let fields: Vec<&str> = line.splitn(COLUMNS, '\t').collect();
    let number = |at: usize| fields.get(at)?.parse::<u32>().ok();
    if fields.len() < COLUMNS {
        return None;
    }
    let (left, top, width, height) = (number(6)?, number(7)?, number(8)?, number(9)?);
    Some(Row {
        level: number(0)?,
        block: number(2)?,
        paragraph: number(3)?,
        line: number(4)?,
        edges: [left, top, left.saturating_add(width), top.saturating_add(height)],
        confidence: fields[10]
            .parse()
            .ok()
            .filter(|confidence: &f64| confidence.is_finite())?,
        text: fields[11],
    })
}

/// The words between the spaces of the next running line that has these letters.
fn joined<'a>(pieces: &[Word], running: &mut (impl Iterator<Item = &'a str> + Clone)) -> Option<Vec<Word>> {
    let letters: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
    let mut ahead = running.clone();
    let line = ahead.find(|line| line.split_whitespace().collect::<String>() == letters)?;
    *running = ahead;
    let mut words = Vec::new();
    let mut pieces = pieces.iter().peekable();
    for text in line.split_whitespace() {
        let mut length = 0;
        let mut parts: Vec<&Word> = Vec::new();
        while length < text.len() {
            let piece = pieces.next()?;
            length += piece.text.len();
            parts.push(piece);
        }
        // A piece that is only in part of this word belongs to two: then the pieces stay as they are.
        if length != text.len() {
            return None;
        }
        words.push(Word {
            text: text.to_owned(),
            place: around(&parts),
            confidence: mean(parts.iter().copied()),
        });
    }
    Some(words)
}

fn around(parts: &[&Word]) -> WordBox {
    let places = || parts.iter().map(|part| part.place);
    let edge = |of: fn(WordBox) -> u16| places().map(of);
    let x = edge(|place| place.x).min().unwrap_or(0);
    let y = edge(|place| place.y).min().unwrap_or(0);
    let right = edge(|place| place.x.saturating_add(place.width))
        .max()
        .unwrap_or(0);
    let lower = edge(|place| place.y.saturating_add(place.height))
        .max()
        .unwrap_or(0);
    WordBox {
        x,
        y,
        width: right.saturating_sub(x),
        height: lower.saturating_sub(y),
    }
}

/// How sure the program was of a page, from 0 to 100: the mean over all letters. 0 for a page without any.
pub(super) fn confidence(paragraphs: &[Paragraph]) -> u8 {
    let words = paragraphs
        .iter()
        .flat_map(|paragraph| &paragraph.lines)
        .flat_map(|line| &line.words);
    mean(words).round() as u8
}

fn mean<'a>(words: impl Iterator<Item = &'a Word>) -> f64 {
    let (mut sum, mut n) = (0.0, 0.0);
    for word in words {
        let letters = word.text.chars().count() as f64;
        sum += word.confidence * letters;
        n += letters;
    }
    if n > 0.0 { sum / n } else { 0.0 }
}

/// From pixels to quarters of a point.
#[derive(Default)]
struct Scale {
    pixels: [u32; 2],
    size: [u16; 2],
}

impl Scale {
    fn new([left, top, right, lower]: [u32; 4], size: [u16; 2]) -> Self {
        let pixels = [right - left, lower - top];
        Self { pixels, size }
    }

    fn place(&self, [left, top, right, lower]: [u32; 4]) -> WordBox {
        let along = |side: usize, range: Range<u32>| {
            let (pixels, size) = (u64::from(self.pixels[side].max(1)), u64::from(self.size[side]));
            let at = |pixel: u32| (u64::from(pixel) * size / pixels).min(size) as u16;
            (at(range.start), at(range.end) - at(range.start))
        };
        let ((x, width), (y, height)) = (along(0, left..right), along(1, top..lower));
        WordBox { x, y, width, height }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAID: &str = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext\n\
        1\t1\t0\t0\t0\t0\t0\t0\t2400\t3000\t-1\t\n\
        2\t1\t1\t0\t0\t0\t100\t100\t500\t50\t-1\t\n\
        3\t1\t1\t1\t0\t0\t100\t100\t500\t50\t-1\t\n\
        4\t1\t1\t1\t1\t0\t100\t100\t500\t50\t-1\t\n\
        5\t1\t1\t1\t1\t1\t100\t100\t40\t50\t90.0\t계\n\
        5\t1\t1\t1\t1\t2\t140\t100\t40\t50\t80.0\t약\n\
        5\t1\t1\t1\t1\t3\t180\t90\t40\t60\t100.0\t을\n\
        5\t1\t1\t1\t1\t4\t260\t100\t120\t50\t60.5\t해지\n\
        4\t1\t1\t1\t2\t0\t100\t200\t500\t50\t-1\t\n\
        5\t1\t1\t1\t2\t1\t100\t200\t100\t50\t95\tend.\n\
        계약을 해지\nend.\n\x0c\n";

    #[test]
    fn syllables_become_the_words_between_spaces() {
        let found = paragraphs(SAID, [2400, 3000]);
        assert_eq!(found.len(), 1);
        let texts: Vec<Vec<&str>> = found[0]
            .lines
            .iter()
            .map(|line| line.words.iter().map(|word| word.text.as_str()).collect())
            .collect();
        assert_eq!(texts, [vec!["계약을", "해지"], vec!["end."]]);
        let first = &found[0].lines[0].words[0];
        assert_eq!(<[u16; 4]>::from(first.place), [100, 90, 120, 60]);
        assert!((first.confidence - 90.0).abs() < 1e-9);
        assert_eq!(confidence(&found), 86);
        // Half the size: half the places. No size: no places.
        let small = paragraphs(SAID, [1200, 1500]);
        assert_eq!(
            <[u16; 4]>::from(small[0].lines[0].words[1].place),
            [130, 50, 60, 25]
        );
        let unknown = paragraphs(SAID, [0, 0]);
        assert_eq!(unknown[0].lines[0].words[1].place, WordBox::default());
    }

    #[test]
    fn lines_that_do_not_fit_leave_the_pieces_as_they_are() {
        let said = SAID.replace("계약을 해지\n", "계약 을해지다\n");
        let found = paragraphs(&said, [2400, 3000]);
        assert_eq!(found[0].lines[0].words.len(), 4);
        assert!(paragraphs("nothing at all\n\n", [10, 10]).is_empty());
        assert_eq!(confidence(&[]), 0);
    }

    proptest! {
        #[test]
        fn whatever_it_says_words_lie_on_the_page(
            rows in prop::collection::vec((1_u32..6, 0_u32..3, prop::array::uniform4(any::<u32>()), -2.0_f64..200.0, "[a가 ]{0,4}"), 0..40),
            size in prop::array::uniform2(any::<u16>()),
            lines in "[a가 \n\t]{0,40}",
        ) {
            let mut said = String::new();
            for (level, group, [l, t, w, h], confidence, text) in rows {
                said += &format!("{level}\t1\t1\t{group}\t{group}\t1\t{l}\t{t}\t{w}\t{h}\t{confidence}\t{text}\n");
            }
            let found = paragraphs(&(said + &lines), size);
            prop_assert!(confidence(&found) <= 100);
            for word in found.iter().flat_map(|p| &p.lines).flat_map(|l| &l.words) {
                prop_assert!(!word.text.is_empty() && !word.text.contains(char::is_whitespace));
                prop_assert!(word.place.x.checked_add(word.place.width).is_some_and(|right| right <= size[0]));
                prop_assert!(word.place.y.checked_add(word.place.height).is_some_and(|lower| lower <= size[1]));
            }
        }
    }
}
