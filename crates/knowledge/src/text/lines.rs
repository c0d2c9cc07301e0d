//! Lines that a page or a terminal wrapped become running text again.
//!
//! Only wrapping is undone: a line that ended because its author ended it stays a line.

use super::{PAGE_TURN, may_be_wrapped};
use crate::read::{BlockKind, Format, RawDocument};

/// Plain text counts as wrapped only where its longest line has a width in this range.
const WRAP_WIDTHS: std::ops::RangeInclusive<usize> = 50..=130;
/// From this share of PDF lines on that end in a space, lines without one were cut within a word.
const MIN_SPACED_SHARE: f64 = 0.15;
/// Particles and endings that never begin a Korean word of their own.
const BOUND_MORPHEMES: [&str; 20] = [
    "을",
    "를",
    "은",
    "는",
    "의",
    "에",
    "에서",
    "에게",
    "으로",
    "와",
    "과",
    "도",
    "까지",
    "부터",
    "에는",
    "에도",
    "다",
    "니다",
    "습니다",
    "입니다",
];
/// Particles and endings with which most Korean words end.
const LAST_SYLLABLES: [char; 32] = [
    '의', '은', '는', '을', '를', '가', '이', '로', '에', '도', '면', '고', '게', '지', '며', '서', '야',
    '나', '한', '할', '된', '될', '인', '만', '기', '과', '와', '던', '들', '여', '록', '해',
];
/// With fewer words than this a document does not know enough to say that two pieces are none.
const MIN_WORDS: usize = 500;
const BULLETS: &str = "•◦▪■□○●◆◇▶▷※*-–—·‣⁃ㆍ❍➢✓①②③④⑤⑥⑦⑧⑨⑩⑪⑫⑬⑭⑮";

/// What a document's lines tell about how it was wrapped.
pub(super) struct Joiner {
    format: Format,
    /// Width at which plain text was wrapped.
    wrap_width: Option<usize>,
    /// PDF lines end in a space where a word ended.
    has_end_spaces: bool,
    /// Words with Hangul that stand inside of lines, where nothing cut them; sorted, as often as they occur.
    words: Vec<Box<str>>,
}

impl Joiner {
    pub(super) fn new(document: &RawDocument) -> Self {
        let mut joiner = Self {
            format: document.format,
            wrap_width: None,
            has_end_spaces: false,
            words: Vec::new(),
        };
        if !may_be_wrapped(document.format) {
            return joiner;
        }
        let (mut n_lines, mut n_spaced, mut widest) = (0_usize, 0_usize, 0);
        for block in document
            .blocks
            .iter()
            .filter(|block| block.kind != BlockKind::Code)
        {
            let mut lines = block.text.split('\n').peekable();
            while let Some(line) = lines.next() {
                widest = widest.max(width(line));
                joiner.learn(line);
                if lines.peek().is_some() {
                    n_lines += 1;
                    n_spaced += usize::from(line.ends_with(' '));
                }
            }
        }
        joiner.words.sort_unstable();
        joiner.wrap_width = WRAP_WIDTHS.contains(&widest).then_some(widest);
        joiner.has_end_spaces = n_spaced as f64 > MIN_SPACED_SHARE * n_lines as f64;
        joiner
    }

    /// Remembers the words that are whole for certain: neither first nor last of their line.
    fn learn(&mut self, line: &str) {
        let tokens: Vec<&str> = line.split_whitespace().collect();
        let inner = tokens.get(1..tokens.len().saturating_sub(1)).unwrap_or_default();
        for token in inner.iter().filter(|token| token.chars().any(is_hangul)) {
            self.words.push(bare(token).into());
        }
    }

    /// The block's text with wrapped lines joined.
    pub(super) fn join(&self, text: &str) -> String {
        if !may_be_wrapped(self.format) || !text.contains('\n') {
            return text.to_owned();
        }
        let lines: Vec<&str> = text.split('\n').collect();
        if self.format != Format::Pdf && !self.is_wrapped(&lines) {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        for (index, line) in lines.iter().enumerate() {
            if index > 0 {
                self.glue(&mut out, lines[index - 1], line);
            }
            out.push_str(if self.format == Format::Pdf {
                line.trim()
            } else {
                line.trim_start()
            });
        }
        out
    }

    /// Whether every line of a paragraph is so full that the next line's first word had no room in it.
    fn is_wrapped(&self, lines: &[&str]) -> bool {
        let Some(limit) = self.wrap_width else {
            return false;
        };
        lines.windows(2).all(|pair| {
            let word = pair[1].split_whitespace().next().unwrap_or_default();
            let is_indented = pair[1].starts_with([' ', '\t']) && !pair[0].starts_with([' ', '\t']);
            width(pair[0]) + 1 + width(word) > limit && !begins_entry(pair[1]) && !is_indented
        })
    }

    /// Puts between two lines what stood there before they were parted.
    fn glue(&self, out: &mut String, before: &str, after: &str) {
        if begins_entry(after) && self.format != Format::Pdf {
            out.push('\n');
            return;
        }
        let trimmed = before.trim_end_matches([' ', PAGE_TURN]);
        let (last, first) = (trimmed.chars().next_back(), after.trim_start().chars().next());
        let (Some(last), Some(first)) = (last, first) else {
            out.push(' ');
            return;
        };
        if last == '\u{AD}' || is_hyphenated(trimmed, first) {
            out.truncate(out.trim_end_matches(' ').len() - last.len_utf8());
        } else if is_ideograph(last) && is_ideograph(first) {
            // Chinese and Japanese put nothing between words.
        } else if !(is_hangul(last) && is_hangul(first) && self.is_one_word(before, after)) {
            out.push(' ');
        }
    }

    /// Whether a Korean word was cut at the end of a line.
    fn is_one_word(&self, before: &str, after: &str) -> bool {
        if self.has_end_spaces {
            return !before.ends_with(' ');
        }
        let head = before.split_whitespace().next_back().unwrap_or_default();
        let tail = after.split_whitespace().next().unwrap_or_default();
        let (head, bare_tail) = (
            head.trim_start_matches(|c: char| !c.is_alphanumeric()),
            bare(tail),
        );
        if BOUND_MORPHEMES.contains(&bare_tail) {
            return true;
        }
        // Which is more usual in this document: words that begin like the two pieces together, or the first
        // piece alone and words that begin like the second?
        let start = |n: usize| bare_tail.chars().take(n).collect::<String>();
        let whole = self.count(&format!("{head}{bare_tail}"), Match::Whole);
        let together = whole.max(self.count(&format!("{head}{}", start(1)), Match::Prefix));
        let apart = self
            .count(head, Match::Whole)
            .min(self.count(&start(2), Match::Prefix));
        if together == 0 && apart == 0 {
            self.is_fragment(head)
        } else {
            together > apart
        }
    }

    /// Whether a large document never uses this as a word, and it does not end as words do.
    fn is_fragment(&self, head: &str) -> bool {
        let is_ended = head.chars().count() > 1 && head.ends_with(LAST_SYLLABLES);
        self.words.len() >= MIN_WORDS && !is_ended && self.count(head, Match::Whole) == 0
    }

    fn count(&self, word: &str, how: Match) -> usize {
        let from = self.words.partition_point(|known| known.as_ref() < word);
        let fits = |known: &str| match how {
            Match::Whole => known == word,
            Match::Prefix => known.starts_with(word),
        };
        self.words[from..].iter().take_while(|known| fits(known)).count()
    }
}

#[derive(Clone, Copy)]
enum Match {
    Whole,
    Prefix,
}

/// A Latin word parted by a hyphen at the end of its line.
fn is_hyphenated(before: &str, first: char) -> bool {
    let mut chars = before.chars().rev();
    let is_hyphen = matches!(chars.next(), Some('-' | '\u{2010}'));
    is_hyphen && first.is_lowercase() && chars.next().is_some_and(|c| c.is_lowercase() && !is_hangul(c))
}

/// Whether a line begins an entry of a list: a bullet or a number, then a space.
pub(crate) fn begins_entry(line: &str) -> bool {
    let line = line.trim_start();
    let Some(first) = line.chars().next() else {
        return false;
    };
    let (mark, rest) = line.split_once([' ', '\u{A0}']).unwrap_or((line, ""));
    if rest.is_empty() && mark.chars().count() > 1 {
        return false;
    }
    let is_bullet = BULLETS.contains(first) && mark.chars().count() == 1;
    let number = mark.trim_start_matches('(').trim_end_matches(['.', ')', ':']);
    let is_marked = number.len() < mark.len() && !number.is_empty();
    let is_number = number.chars().count() <= 3 && number.chars().all(|c| c.is_ascii_digit());
    let is_letter =
        number.chars().count() == 1 && number.chars().all(|c| c.is_ascii_lowercase() || is_hangul(c));
    is_bullet || is_marked && (is_number || is_letter)
}

fn is_hangul(c: char) -> bool {
    ('가'..='힣').contains(&c)
}

/// Han characters and kana.
fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}')
}

/// A word without the marks around it.
fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

/// Columns on a terminal.
fn width(line: &str) -> usize {
    line.trim_end()
        .chars()
        .map(|c| if is_hangul(c) || is_ideograph(c) { 2 } else { 1 })
        .sum()
}
