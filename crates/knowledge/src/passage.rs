//! Documents are cut into passages: by structure first, by length second, always between sentences.
//!
//! A passage is a range of the stored text, so it can be shown and quoted exactly; what it lacks to be
//! understood alone (its headings, the head of its table) goes with it as its heading path.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::read::BlockKind;
use crate::sentence;
use crate::text::{CharIndex, NormalText};

/// Changes whenever the same text would be cut differently: stored passages are then made anew.
pub const CUTTER_VERSION: u32 = 1;

/// Tokens of a Hangul syllable or Han character, about, over common tokenizers.
const CJK_TOKENS: f64 = 0.7;
/// Tokens of any other character.
const OTHER_TOKENS: f64 = 0.28;
/// Headings down to this level part passages.
const MAX_PARTING_LEVEL: u8 = 3;
/// From this share of the budget on a passage ends at the end of a block rather than within the next.
const FULL_SHARE: f64 = 0.6;
/// From this share on it ends before any heading, even one that need not part passages.
const HEADING_SHARE: f64 = 0.35;
/// Most characters of a table's head that go into the heading path.
const MAX_HEAD_CHARS: usize = 200;
/// Most characters of one heading in the heading path.
const MAX_HEADING_CHARS: usize = 200;

/// How long passages are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CutOptions {
    /// Estimated tokens that a passage may have.
    pub budget_tokens: f64,
    /// A section with fewer goes together with the next one, if both fit.
    pub tiny_tokens: f64,
}

impl CutOptions {
    /// What tells cutters apart: the same number cuts the same text alike. Never negative.
    pub(crate) fn cutter(&self) -> i64 {
        if *self == Self::default() {
            return i64::from(CUTTER_VERSION);
        }
        let mut sum = crc32fast::Hasher::new();
        sum.update(&self.budget_tokens.to_le_bytes());
        sum.update(&self.tiny_tokens.to_le_bytes());
        (i64::from(sum.finalize()) << 16) | i64::from(CUTTER_VERSION)
    }
}

impl Default for CutOptions {
    fn default() -> Self {
        Self {
            budget_tokens: 220.0,
            tiny_tokens: 40.0,
        }
    }
}

/// A passage as a half-open range of Unicode scalar values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassageSpan {
    /// Its number in the document, from 0.
    pub ordinal: usize,
    /// Start.
    pub start: usize,
    /// End (exclusive).
    pub end: usize,
    /// Headings above it, outermost first; behind them the head of its table, if it begins within one.
    pub heading_path: Vec<String>,
    /// 1-based page on which it begins.
    pub page: Option<u32>,
}

/// A sentence, or a part of one that is longer than a passage may be.
struct Unit {
    start: usize,
    end: usize,
    tokens: f64,
    block: usize,
}

/// A heading with what stands under it, up to the next heading that parts passages.
struct Section {
    units: Range<usize>,
    tokens: f64,
    level: Option<u8>,
    has_body: bool,
}

/// Cuts a document.
pub fn cut(text: &NormalText, options: &CutOptions) -> Vec<PassageSpan> {
    let chars: Vec<char> = text.text.chars().collect();
    let units = units(text, &chars, options.budget_tokens.max(1.0));
    let paths = Paths::new(text, &chars);
    let mut cutter = Cutter {
        text,
        units: &units,
        paths: &paths,
        options,
        passages: Vec::new(),
    };
    for group in groups(&sections(text, &units), options) {
        cutter.cut_group(group);
    }
    cutter.passages
}

/// Estimated tokens of a text.
pub fn estimate_tokens(text: &str) -> f64 {
    text.chars().map(char_tokens).sum()
}

fn char_tokens(c: char) -> f64 {
    let is_cjk = matches!(c, '\u{1100}'..='\u{11FF}' | '\u{3040}'..='\u{30FF}' | '\u{3130}'..='\u{318F}'
        | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7A3}' | '\u{F900}'..='\u{FAFF}');
    if is_cjk { CJK_TOKENS } else { OTHER_TOKENS }
}

fn tokens(chars: &[char]) -> f64 {
    chars.iter().copied().map(char_tokens).sum()
}

fn units(text: &NormalText, chars: &[char], budget: f64) -> Vec<Unit> {
    let index = CharIndex::new(&text.text);
    let mut units = Vec::new();
    for (block, span) in text.blocks.iter().enumerate() {
        for sentence in sentence::split(index.slice(&text.text, span.start..span.end)) {
            let (start, end) = (span.start + sentence.start, span.start + sentence.end);
            push_pieces(chars, start..end, budget, block, &mut units);
        }
    }
    units
}

/// A sentence as one unit; one that is longer than the budget in pieces, cut at white space where there is any.
fn push_pieces(chars: &[char], sentence: Range<usize>, budget: f64, block: usize, units: &mut Vec<Unit>) {
    let mut start = sentence.start;
    while start < sentence.end {
        let (mut end, mut sum, mut gap) = (start, 0.0, None);
        while end < sentence.end && (end == start || sum + char_tokens(chars[end]) <= budget) {
            sum += char_tokens(chars[end]);
            if chars[end].is_whitespace() {
                gap = Some(end);
            }
            end += 1;
        }
        if end < sentence.end
            && let Some(gap) = gap.filter(|gap| *gap > start)
        {
            end = gap;
        }
        units.push(Unit {
            start,
            end,
            tokens: tokens(&chars[start..end]),
            block,
        });
        start = (end..sentence.end)
            .find(|at| !chars[*at].is_whitespace())
            .unwrap_or(sentence.end);
    }
}

fn sections(text: &NormalText, units: &[Unit]) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut last_block = None;
    for (index, unit) in units.iter().enumerate() {
        let kind = text.blocks[unit.block].kind;
        let level = match kind {
            BlockKind::Heading(level) if level <= MAX_PARTING_LEVEL => Some(level),
            BlockKind::Code => level_of_definition(text, unit.block),
            _ => None,
        };
        let is_new = level.is_some() && last_block != Some(unit.block);
        if is_new || sections.is_empty() {
            sections.push(Section {
                units: index..index,
                tokens: 0.0,
                level,
                has_body: false,
            });
        }
        if let Some(section) = sections.last_mut() {
            section.units.end = index + 1;
            section.tokens += unit.tokens;
            section.has_body |= !matches!(kind, BlockKind::Heading(_));
        }
        last_block = Some(unit.block);
    }
    sections
}

/// How deep a definition that begins with this block lies in its program; `None` if none begins here. What stands outside
/// of all definitions begins like one of them.
fn level_of_definition(text: &NormalText, block: usize) -> Option<u8> {
    let of = |at: usize| text.blocks.get(at).map(|block| text.under(block));
    let (here, before) = (of(block)?, block.checked_sub(1).and_then(of));
    let is_program = !text.under.is_empty();
    (is_program && before != Some(here)).then(|| u8::try_from(here.len()).unwrap_or(u8::MAX))
}

/// Sections that are cut together. A heading with nothing under it goes with the section that follows; tiny
/// sections go together as long as all of them fit into one passage and none is above the first.
fn groups(sections: &[Section], options: &CutOptions) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let (mut sum, mut level, mut is_open, mut is_tiny) = (0.0, None, false, false);
    for section in sections {
        let is_below = section.level >= level;
        let fits = sum + section.tokens <= options.budget_tokens;
        if let Some(group) = groups.last_mut()
            && is_below
            && (is_open || (is_tiny && fits))
        {
            group.end = section.units.end;
            sum += section.tokens;
        } else {
            groups.push(section.units.clone());
            sum = section.tokens;
            level = section.level;
        }
        is_open = !section.has_body;
        is_tiny = sum < options.tiny_tokens;
    }
    groups
}

struct Cutter<'a> {
    text: &'a NormalText,
    units: &'a [Unit],
    paths: &'a Paths,
    options: &'a CutOptions,
    passages: Vec<PassageSpan>,
}

impl Cutter<'_> {
    /// Cuts a group into passages of about equal length.
    fn cut_group(&mut self, group: Range<usize>) {
        let budget = self.options.budget_tokens.max(1.0);
        let total: f64 = self.units[group.clone()].iter().map(|unit| unit.tokens).sum();
        let target = total / (total / budget).ceil().max(1.0);
        let (mut from, mut sum) = (group.start, 0.0);
        for at in group.clone() {
            let unit = &self.units[at];
            let begins_block = at > group.start && self.units[at - 1].block != unit.block;
            let is_over = sum + unit.tokens > budget;
            let is_full =
                begins_block && sum >= FULL_SHARE * target && sum + self.block_tokens(at, &group) > budget;
            let is_heading =
                begins_block && matches!(self.text.blocks[unit.block].kind, BlockKind::Heading(_));
            let is_parted = is_heading && total > budget && sum >= HEADING_SHARE * target;
            if at > from && (is_over || is_full || is_parted || (begins_block && sum >= target)) {
                let end = self.without_trailing_headings(from, at);
                self.push(from..end);
                from = end;
                sum = self.units[from..at].iter().map(|unit| unit.tokens).sum();
            }
            sum += unit.tokens;
        }
        self.push(from..group.end);
    }

    /// A heading belongs to what follows it, not to what stands before.
    fn without_trailing_headings(&self, from: usize, at: usize) -> usize {
        let is_heading = |unit: &Unit| matches!(self.text.blocks[unit.block].kind, BlockKind::Heading(_));
        let same_block = self
            .units
            .get(at)
            .zip(self.units.get(at - 1))
            .is_some_and(|(a, b)| a.block == b.block);
        let trailing = self.units[from..at]
            .iter()
            .rev()
            .take_while(|unit| is_heading(unit))
            .count();
        if same_block || trailing == at - from {
            at
        } else {
            at - trailing
        }
    }

    /// Tokens of what is left of the block that unit `at` belongs to.
    fn block_tokens(&self, at: usize, group: &Range<usize>) -> f64 {
        let block = self.units[at].block;
        let rest = self.units[at..group.end].iter();
        // Longer than the budget is long enough to know.
        rest.take_while(|unit| unit.block == block)
            .take(256)
            .map(|unit| unit.tokens)
            .sum()
    }

    fn push(&mut self, units: Range<usize>) {
        let (Some(first), Some(last)) = (
            self.units.get(units.start),
            self.units.get(units.end.saturating_sub(1)),
        ) else {
            return;
        };
        if units.is_empty() {
            return;
        }
        let page = self.text.page_at(first.start);
        self.passages.push(PassageSpan {
            ordinal: self.passages.len(),
            start: first.start,
            end: last.end,
            heading_path: self.paths.of(first.block..last.block + 1, self.text),
            page,
        });
    }
}

/// The headings above each block, and the head of each table.
struct Paths {
    headings: Vec<String>,
    /// For each block the headings above it, as indices of `headings`; shared with the block before.
    above: Vec<std::rc::Rc<Vec<usize>>>,
    /// For each row of a table but the first: that first one.
    heads: Vec<Option<String>>,
}

impl Paths {
    fn new(text: &NormalText, chars: &[char]) -> Self {
        let slice = |start: usize, end: usize, max: usize| -> String {
            chars[start..end.min(start + max)]
                .iter()
                .map(|c| if *c == '\n' { ' ' } else { *c })
                .collect()
        };
        let mut paths = Self {
            headings: Vec::new(),
            above: Vec::new(),
            heads: Vec::new(),
        };
        let mut stack: Vec<(u8, usize)> = Vec::new();
        let mut scopes: BTreeMap<&[String], usize> = BTreeMap::new();
        let mut current = std::rc::Rc::new(Vec::new());
        let mut table_head = None;
        for block in &text.blocks {
            if let BlockKind::Heading(level) = block.kind {
                stack.retain(|(above, _)| *above < level);
                stack.push((level, paths.headings.len()));
                paths
                    .headings
                    .push(slice(block.start, block.end, MAX_HEADING_CHARS));
                current = std::rc::Rc::new(stack.iter().map(|(_, heading)| *heading).collect());
            }
            let under = text.under(block);
            paths.above.push(if under.is_empty() {
                std::rc::Rc::clone(&current)
            } else {
                // A scope is the same one for all that stands in it.
                let mut above = current.to_vec();
                for depth in 1..=under.len() {
                    let number = *scopes.entry(&under[..depth]).or_insert(paths.headings.len());
                    if number == paths.headings.len() {
                        paths.headings.push(under[depth - 1].clone());
                    }
                    above.push(number);
                }
                std::rc::Rc::new(above)
            });
            let is_row = block.kind == BlockKind::TableRow;
            paths.heads.push(table_head.clone().filter(|_| is_row));
            if !is_row {
                table_head = None;
            } else if table_head.is_none() {
                table_head = Some(slice(block.start, block.end, MAX_HEAD_CHARS));
            }
        }
        paths
    }

    /// The headings that all text of these blocks stands under.
    fn of(&self, blocks: Range<usize>, text: &NormalText) -> Vec<String> {
        let is_heading = |block: &usize| matches!(text.blocks[*block].kind, BlockKind::Heading(_));
        let body: Vec<usize> = blocks.clone().filter(|block| !is_heading(block)).collect();
        let body = if body.is_empty() {
            blocks.clone().collect()
        } else {
            body
        };
        let mut shared: &[usize] = body.first().map_or(&[], |first| self.above[*first].as_slice());
        for block in &body {
            let same = shared
                .iter()
                .zip(self.above[*block].iter())
                .take_while(|(a, b)| a == b)
                .count();
            shared = &shared[..same];
        }
        let mut path: Vec<String> = shared
            .iter()
            .map(|heading| self.headings[*heading].clone())
            .collect();
        path.extend(self.heads[blocks.start].clone());
        path
    }
}

#[cfg(test)]
mod tests;
