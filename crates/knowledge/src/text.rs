//! One text for each document: composed (NFC), evenly spaced, with blocks and pages as exact character ranges.
//!
//! Everything that is ever quoted, highlighted or shown counts characters in this text. It knows nothing of
//! passages or of the store.

use unicode_normalization::UnicodeNormalization;

use crate::read::{Block, BlockKind, Format, RawDocument};
pub use crate::types::PageSpan;

pub(crate) mod blocks;
mod index;
mod lines;
mod words;

pub use index::CharIndex;
pub(crate) use lines::begins_entry;
pub use words::WordSpan;

/// Marks within a block's text where the next page begins.
const PAGE_TURN: char = '\u{C}';

/// A block as a half-open range of Unicode scalar values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSpan {
    /// What it is.
    pub kind: BlockKind,
    /// Start.
    pub start: usize,
    /// End (exclusive).
    pub end: usize,
    /// 1-based page on which it begins.
    pub page: Option<u32>,
    /// What it stands in: a number into [`NormalText::under`], counted from 1; 0 for nothing.
    pub under: u32,
}

/// A normalised document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NormalText {
    /// The text: `\n` between lines, rows and entries of one list, a blank line between other blocks.
    pub text: String,
    /// Its length in Unicode scalar values.
    pub n_chars: usize,
    /// Its blocks, in order; only white space lies between them.
    pub blocks: Vec<BlockSpan>,
    /// All pages in order, each beginning where the one before ends; empty where the format has none. A page
    /// without text is an empty range.
    pub pages: Vec<PageSpan>,
    /// Where the words stand on their pages, in the order of the text; empty where the format does not tell.
    pub words: Vec<WordSpan>,
    /// Names of what blocks stand in, outermost first, that are no part of the text; each list once.
    pub under: Vec<Vec<String>>,
}

impl NormalText {
    /// Names of what a block stands in, outermost first.
    pub fn under(&self, block: &BlockSpan) -> &[String] {
        let at = (block.under as usize).checked_sub(1);
        at.and_then(|at| self.under.get(at)).map_or(&[], Vec::as_slice)
    }

    /// The page on which a character stands.
    pub fn page_at(&self, char_at: usize) -> Option<u32> {
        let after = self.pages.partition_point(|page| page.end <= char_at);
        self.pages.get(after).or(self.pages.last()).map(|page| page.page)
    }
}

/// Normalises a document.
pub fn normalise(document: &RawDocument) -> NormalText {
    let joiner = lines::Joiner::new(document);
    let mut out = Out {
        keeps_lines: document.format == Format::Code,
        ..Out::default()
    };
    for block in &document.blocks {
        let text = match block.kind {
            BlockKind::Code => block.text.clone(),
            _ => joiner.join(&block.text),
        };
        out.block(block, &text);
    }
    let pages = page_spans(&out.turns, document.n_pages, out.n_chars);
    NormalText {
        text: out.text,
        n_chars: out.n_chars,
        blocks: out.blocks,
        pages,
        words: out.words,
        under: out.under,
    }
}

/// Whether lines of running text of this format may be wrapped ones.
fn may_be_wrapped(format: Format) -> bool {
    matches!(format, Format::Pdf | Format::Text | Format::Email)
}

#[derive(Default)]
struct Out {
    text: String,
    n_chars: usize,
    blocks: Vec<BlockSpan>,
    words: Vec<WordSpan>,
    under: Vec<Vec<String>>,
    /// Where pages begin: position and number.
    turns: Vec<(usize, u32)>,
    /// Whether every line stays one, also the blank ones: source code is cited by line.
    keeps_lines: bool,
}

impl Out {
    fn block(&mut self, block: &Block, text: &str) {
        let is_code = block.kind == BlockKind::Code;
        let clean = if self.keeps_lines && is_code {
            clean_lines(text)
        } else {
            let clean = clean(text, is_code);
            clean.trim_matches(['\n', ' ', PAGE_TURN]).to_owned()
        };
        if clean.is_empty() {
            return;
        }
        if let Some(last) = self.blocks.last() {
            let is_same_list = last.kind == block.kind
                && matches!(
                    block.kind,
                    BlockKind::TableRow | BlockKind::ListItem | BlockKind::Code
                );
            self.push(if is_same_list { "\n" } else { "\n\n" });
        }
        let (start, start_byte) = (self.n_chars, self.text.len());
        let mut page = block.page;
        if let Some(page) = page {
            self.turns.push((start, page));
        }
        for (index, segment) in page_segments(&clean).into_iter().enumerate() {
            if index > 0 {
                page = page.map(|page| page + 1);
                self.turns.extend(page.map(|page| (self.n_chars, page)));
            }
            let composed: String = segment.nfc().collect();
            self.push(&composed);
        }
        words::place(block, &self.text[start_byte..], start, &mut self.words);
        let under = self.number_of(&block.under);
        self.blocks.push(BlockSpan {
            kind: block.kind,
            start,
            end: self.n_chars,
            page: block.page,
            under,
        });
    }

    /// The number of a list of names; pieces of one definition follow each other.
    fn number_of(&mut self, under: &[String]) -> u32 {
        if under.is_empty() {
            return 0;
        }
        let under: Vec<String> = under.iter().map(|name| name.nfc().collect()).collect();
        if self.under.last() != Some(&under) {
            self.under.push(under);
        }
        self.under.len() as u32
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.n_chars += text.chars().count();
    }
}

/// Cuts a text at its page turns, each moved behind the next white space: a cut within a word could part a
/// letter from its accent.
fn page_segments(text: &str) -> Vec<String> {
    let mut segments = vec![String::new()];
    let mut turns = 0;
    for c in text.chars() {
        if c == PAGE_TURN {
            turns += 1;
            continue;
        }
        if turns > 0
            && segments
                .last()
                .is_some_and(|segment| segment.ends_with([' ', '\n']))
        {
            for _ in 0..turns {
                segments.push(String::new());
            }
            turns = 0;
        }
        if let Some(segment) = segments.last_mut() {
            segment.push(c);
        }
    }
    segments
}

/// Even white space and no control characters. Code keeps its indentation.
fn clean(text: &str, is_code: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{B}' => {
                let kept = out.trim_end_matches([' ', PAGE_TURN]).len();
                let turns = out[kept..].matches(PAGE_TURN).count();
                out.truncate(kept);
                // No more than one blank line, and none outside of code.
                if is_code && !out.ends_with("\n\n") || !is_code && !out.ends_with('\n') {
                    out.push('\n');
                }
                out.extend(std::iter::repeat_n(PAGE_TURN, turns));
            }
            PAGE_TURN => out.push(c),
            '\t' if is_code => out.push_str("    "),
            _ if c.is_whitespace() => {
                let shown = out.trim_end_matches(PAGE_TURN);
                if is_code || !(shown.is_empty() || shown.ends_with([' ', '\n'])) {
                    out.push(' ');
                }
            }
            _ if c.is_control() || c == '\u{AD}' => {}
            _ => out.push(c),
        }
    }
    out.truncate(out.trim_end_matches([' ', '\n', PAGE_TURN]).len());
    out
}

/// The same lines without control characters and white space at their ends.
fn clean_lines(text: &str) -> String {
    let lines = text.split('\n').map(|line| {
        let line: String = line
            .replace('\t', "    ")
            .chars()
            .filter(|c| !c.is_control())
            .collect();
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Pages from where they begin. Numbers that do not go up are not believed.
fn page_spans(turns: &[(usize, u32)], n_pages: Option<u32>, n_chars: usize) -> Vec<PageSpan> {
    let Some(n_pages) = n_pages else {
        return Vec::new();
    };
    let mut starts: Vec<usize> = Vec::new();
    for &(at, page) in turns {
        while starts.len() < page.min(n_pages) as usize {
            starts.push(at);
        }
    }
    if let Some(first) = starts.first_mut() {
        *first = 0;
    }
    // Pages without text before the first one with text begin, and end, at the beginning.
    let first_page = turns.first().map_or(0, |(_, page)| *page as usize);
    for start in starts.iter_mut().take(first_page) {
        *start = 0;
    }
    starts.resize(n_pages as usize, n_chars);
    let ends = starts.iter().skip(1).copied().chain([n_chars]);
    let spans = starts.iter().zip(ends).zip(1..);
    spans
        .map(|((start, end), page)| PageSpan {
            page,
            start: *start,
            end,
        })
        .collect()
}

#[cfg(test)]
mod tests;
