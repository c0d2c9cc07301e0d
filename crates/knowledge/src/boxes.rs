//! Where the words of a page stand, packed for the database, and which of them a quote covers.
//!
//! Knows numbers only: neither PDF nor the store.

use std::io::{Read, Write};
use std::ops::Range;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use crate::read::WordBox;
use crate::text::WordSpan;
use crate::varint::{put, take};

/// Quarter points: the unit of [`WordBox`].
const STEPS: f32 = 4.0;
/// Words whose lower edges differ by no more than this share of their height stand on one line.
const SAME_LINE: f32 = 0.5;
/// Gaps up to so many line heights are marked too: they are the spaces between words.
const GAP: f32 = 1.0;
/// Largest unpacked page: more than the most characters a reader takes from one.
const PACKED_BYTES_MAX: u64 = 64 << 20;

/// A page with the places of its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageWords {
    /// 1-based number.
    pub page: u32,
    /// Width and height as it is shown, in quarter points.
    pub size: [u16; 2],
    /// Its words in the order of the text.
    pub words: Vec<WordSpan>,
}

/// A rectangle in points from the upper left corner of a page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub x: f32,
    /// Upper edge.
    pub y: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
}

/// The part of a span that stands on one page.
#[derive(Debug, Clone, PartialEq)]
pub struct PageMarks {
    /// 1-based number.
    pub page: u32,
    /// Width of the page in points.
    pub width: f32,
    /// Height of the page in points.
    pub height: f32,
    /// What the span covers, one rectangle for each stretch of a line.
    pub lines: Vec<Rect>,
}

impl PageWords {
    /// What a span covers on this page.
    pub fn marks(&self, span: &Range<usize>) -> PageMarks {
        let mut lines: Vec<Rect> = Vec::new();
        for word in &self.words {
            let Some(rect) = covered(word, span) else {
                continue;
            };
            match lines.last_mut() {
                Some(line) if goes_on(line, &rect) => *line = union(line, &rect),
                _ => lines.push(rect),
            }
        }
        PageMarks {
            page: self.page,
            width: f32::from(self.size[0]) / STEPS,
            height: f32::from(self.size[1]) / STEPS,
            lines,
        }
    }
}

/// The part of a word that a span covers. Characters of one word count as equally wide.
fn covered(word: &WordSpan, span: &Range<usize>) -> Option<Rect> {
    let (start, end) = (word.start.max(span.start), word.end.min(span.end));
    if start >= end {
        return None;
    }
    let [x, y, width, height] = <[u16; 4]>::from(word.place).map(|steps| f32::from(steps) / STEPS);
    let n_chars = (word.end - word.start) as f32;
    let (from, to) = (
        (start - word.start) as f32 / n_chars,
        (end - word.start) as f32 / n_chars,
    );
    // Words that are higher than wide are turned, or single letters: those are marked whole.
    let (from, to) = if height > width { (0.0, 1.0) } else { (from, to) };
    Some(Rect {
        x: x + width * from,
        y,
        width: width * (to - from),
        height,
    })
}

/// Whether a rectangle follows another on its line.
fn goes_on(line: &Rect, next: &Rect) -> bool {
    let height = line.height.max(next.height);
    let gap = next.x - (line.x + line.width);
    let is_level = (line.y + line.height - next.y - next.height).abs() <= SAME_LINE * height;
    is_level && gap.abs() <= GAP * height
}

fn union(a: &Rect, b: &Rect) -> Rect {
    let (x, y) = (a.x.min(b.x), a.y.min(b.y));
    Rect {
        x,
        y,
        width: (a.x + a.width).max(b.x + b.width) - x,
        height: (a.y + a.height).max(b.y + b.height) - y,
    }
}

/// Parts the words of a document by page. Pages without words have none, but their size.
pub(crate) fn by_page(words: &[WordSpan], sizes: &[[u16; 2]]) -> Vec<PageWords> {
    let mut words = words;
    let mut pages = Vec::with_capacity(sizes.len());
    for (size, page) in sizes.iter().zip(1..) {
        let n = words.partition_point(|word| word.page <= page);
        pages.push(PageWords {
            page,
            size: *size,
            words: words[..n].to_vec(),
        });
        words = &words[n..];
    }
    pages
}

/// Packs the words of a page: differences from each word to the next as variable-length numbers, deflated.
pub(crate) fn pack(words: &[WordSpan]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::with_capacity(words.len() * 8);
    let mut last = Last::default();
    for word in words {
        let place = word.place;
        put(&mut plain, (word.start - last.end) as u64);
        put(&mut plain, (word.end - word.start) as u64);
        put(&mut plain, zigzag(last.right, place.x));
        put(&mut plain, zigzag(last.place.y, place.y));
        put(&mut plain, u64::from(place.width));
        put(&mut plain, zigzag(last.place.height, place.height));
        last = Last::of(word);
    }
    let mut packer = DeflateEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(&plain)?;
    packer.finish()
}

/// Unpacks what [`pack`] made; `None` for anything else.
pub(crate) fn unpack(page: u32, packed: &[u8]) -> Option<Vec<WordSpan>> {
    let mut plain = Vec::new();
    DeflateDecoder::new(packed)
        .take(PACKED_BYTES_MAX)
        .read_to_end(&mut plain)
        .ok()?;
    let mut rest = plain.as_slice();
    let mut words = Vec::new();
    let mut last = Last::default();
    while !rest.is_empty() {
        let start = last.end.checked_add(usize::try_from(take(&mut rest)?).ok()?)?;
        let end = start.checked_add(usize::try_from(take(&mut rest)?).ok()?)?;
        let place = WordBox {
            x: unzigzag(last.right, take(&mut rest)?)?,
            y: unzigzag(last.place.y, take(&mut rest)?)?,
            width: u16::try_from(take(&mut rest)?).ok()?,
            height: unzigzag(last.place.height, take(&mut rest)?)?,
        };
        let word = WordSpan {
            start,
            end,
            page,
            place,
        };
        last = Last::of(&word);
        words.push(word);
    }
    Some(words)
}

/// What a word is told from.
#[derive(Default)]
struct Last {
    end: usize,
    right: u16,
    place: WordBox,
}

impl Last {
    fn of(word: &WordSpan) -> Self {
        Self {
            end: word.end,
            right: word.place.x.saturating_add(word.place.width),
            place: word.place,
        }
    }
}

fn zigzag(from: u16, to: u16) -> u64 {
    let step = i64::from(to) - i64::from(from);
    ((step << 1) ^ (step >> 63)).cast_unsigned()
}

fn unzigzag(from: u16, step: u64) -> Option<u16> {
    let step = (step >> 1).cast_signed() ^ -(step & 1).cast_signed();
    u16::try_from(i64::from(from).checked_add(step)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn word(start: usize, end: usize, place: [u16; 4]) -> WordSpan {
        WordSpan {
            start,
            end,
            page: 1,
            place: place.into(),
        }
    }

    fn lines(words: &[WordSpan], span: Range<usize>) -> Vec<[f32; 4]> {
        let page = PageWords {
            page: 1,
            size: [2380, 3368],
            words: words.to_vec(),
        };
        let rect = |r: &Rect| [r.x, r.y, r.width, r.height];
        page.marks(&span).lines.iter().map(rect).collect()
    }

    #[test]
    fn a_quote_is_one_rectangle_for_each_line() {
        let words = [
            word(0, 4, [40, 40, 80, 48]),
            word(5, 9, [132, 40, 80, 48]),
            word(10, 14, [40, 100, 80, 48]),
        ];
        assert_eq!(
            lines(&words, 0..14),
            [[10.0, 10.0, 43.0, 12.0], [10.0, 25.0, 20.0, 12.0]]
        );
        assert_eq!(
            lines(&words, 4..5),
            [[0.0; 4]; 0],
            "the space between two words alone"
        );
        assert_eq!(
            lines(&words, 2..9),
            [[20.0, 10.0, 33.0, 12.0]],
            "from the middle of a word on"
        );
    }

    #[test]
    fn lines_of_two_columns_and_cells_far_apart_stay_apart() {
        let cells = [word(0, 4, [40, 40, 80, 48]), word(7, 9, [1600, 40, 80, 48])];
        assert_eq!(lines(&cells, 0..9).len(), 2);
        let columns = [word(0, 4, [40, 3000, 80, 48]), word(5, 9, [1200, 40, 80, 48])];
        assert_eq!(lines(&columns, 0..9).len(), 2);
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back(
            steps in prop::collection::vec((0usize..300, 1usize..40, prop::array::uniform4(any::<u16>())), 0..60)
        ) {
            let mut at = 0;
            let words: Vec<WordSpan> = steps
                .iter()
                .map(|(gap, n, place)| {
                    let start = at + gap;
                    at = start + n;
                    word(start, at, *place)
                })
                .collect();
            prop_assert_eq!(unpack(1, &pack(&words).unwrap()), Some(words));
        }

        #[test]
        fn any_other_bytes_unpack_to_something_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            unpack(1, &bytes);
            let mut packer = DeflateEncoder::new(Vec::new(), Compression::fast());
            packer.write_all(&bytes).unwrap();
            unpack(1, &packer.finish().unwrap());
        }
    }
}
