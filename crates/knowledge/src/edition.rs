//! Documents that are editions of one another, and which is the newer, as far as they say so themselves.
//!
//! Neither file times nor the order of taking in count: copying changes both. Where nothing is stated, no edition is
//! newer than another.

use std::cmp::Ordering;

use crate::types::{DocumentInfo, Hit};
use crate::validity::{Date, Validity, date_at};

/// What tells an edition.
#[derive(Debug, Clone, Copy)]
pub struct Edition<'a> {
    /// The document's title.
    pub title: &'a str,
    /// Its path, or the upload's name.
    pub path: &'a str,
    /// When it holds.
    pub validity: Validity,
    /// What it says that it replaces.
    pub replaces: &'a [String],
}

impl<'a> From<&'a Hit> for Edition<'a> {
    fn from(hit: &'a Hit) -> Self {
        Self {
            title: &hit.title,
            path: &hit.path,
            validity: hit.validity,
            replaces: &hit.replaces,
        }
    }
}

impl<'a> From<&'a DocumentInfo> for Edition<'a> {
    fn from(info: &'a DocumentInfo) -> Self {
        Self {
            title: &info.title,
            path: &info.path,
            validity: info.validity,
            replaces: &info.replaces,
        }
    }
}

/// Why one edition is newer than another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newer {
    /// It says that it replaces the other.
    Replaces,
    /// It holds from this later day on.
    From(Date),
    /// Its name has a later version or date.
    Named,
}

impl Edition<'_> {
    /// Why this is a newer edition than the other; `None` where it is not, or nothing says so.
    pub fn newer_than(&self, other: &Self) -> Option<Newer> {
        match (self.names(other), other.names(self)) {
            (true, false) => return Some(Newer::Replaces),
            (false, true) => return None,
            _ => {}
        }
        let (mark, other_mark) = self.marks_beside(other)?;
        if let (Some(from), Some(other_from)) = (self.validity.from, other.validity.from)
            && from != other_from
        {
            return (from > other_from).then_some(Newer::From(from));
        }
        let order = mark
            .zip(other_mark)
            .and_then(|(mark, other)| mark.partial_cmp(&other));
        (order == Some(Ordering::Greater)).then_some(Newer::Named)
    }

    /// Whether a text speaks of this edition by the version or date in its name.
    pub fn is_named_in(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        [self.title, stem(self.path)].iter().any(|name| {
            let name = Name::of(name);
            name.marks_as_written
                .iter()
                .any(|mark| text.contains(mark.as_str()))
        })
    }

    /// Whether it says that it replaces the other: by its title, its file's name or its path.
    fn names(&self, other: &Self) -> bool {
        let file = other.path.rsplit('/').next().unwrap_or_default();
        let known = [other.title, file, stem(other.path), other.path].map(squeezed);
        self.replaces.iter().any(|named| {
            let named = squeezed(named);
            !named.is_empty() && known.contains(&named)
        })
    }

    /// The marks of both, if they have the same name but for them.
    fn marks_beside(&self, other: &Self) -> Option<(Option<Mark>, Option<Mark>)> {
        let pairs = [(self.title, other.title), (stem(self.path), stem(other.path))];
        pairs.into_iter().find_map(|(a, b)| {
            let (a, b) = (Name::of(a), Name::of(b));
            (!a.key.is_empty() && a.key == b.key).then_some((a.mark, b.mark))
        })
    }
}

/// A mark of the same kind as another can be compared with it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mark {
    Version(Vec<u32>),
    /// Year, and month and day where they are given.
    Day(Vec<u32>),
}

impl PartialOrd for Mark {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Version(a), Self::Version(b)) => Some(a.cmp(b)),
            // Only of equal precision: 2024 and 2024-03 may be the same edition.
            (Self::Day(a), Self::Day(b)) if a.len() == b.len() => Some(a.cmp(b)),
            _ => None,
        }
    }
}

/// A name with its marks taken out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Name {
    /// What is left, letters and digits alone.
    pub(crate) key: String,
    mark: Option<Mark>,
    marks_as_written: Vec<String>,
}

impl Name {
    pub(crate) fn of(name: &str) -> Self {
        let chars: Vec<char> = name.chars().flat_map(char::to_lowercase).collect();
        let mut out = Self::default();
        let mut at = 0;
        while at < chars.len() {
            let begins = at == 0 || !joins(chars[at - 1], chars[at]);
            if begins && let Some((mark, end)) = mark_at(&chars[at..]) {
                out.marks_as_written.push(chars[at..at + end].iter().collect());
                // The last one counts: "2024 price list v2" is version 2 of it.
                out.mark = Some(mark);
                at += end;
                continue;
            }
            if chars[at].is_alphanumeric() {
                out.key.push(chars[at]);
            }
            at += 1;
        }
        out
    }

    /// Whether its mark is a day: what is written down anew each year is about another year.
    pub(crate) fn is_dated(&self) -> bool {
        matches!(self.mark, Some(Mark::Day(_)))
    }

    /// Whether one of both is about a day, and the other about another or none.
    pub(crate) fn is_of_another_day(&self, other: &Self) -> bool {
        (self.is_dated() || other.is_dated()) && self.mark != other.mark
    }
}

/// Whether two characters belong to one word or number.
fn joins(a: char, b: char) -> bool {
    a.is_ascii_digit() && b.is_ascii_digit() || a.is_alphabetic() && b.is_alphabetic()
}

fn mark_at(chars: &[char]) -> Option<(Mark, usize)> {
    version_at(chars).or_else(|| day_at(chars))
}

/// "v2", "ver. 1.3", "version 2", "rev 4", "제3판", "3판".
fn version_at(chars: &[char]) -> Option<(Mark, usize)> {
    for word in ["version", "revision", "edition", "ver", "rev", "v"] {
        let length = word.len();
        if !word.chars().eq(chars.iter().copied().take(length)) {
            continue;
        }
        let gap = chars[length..]
            .iter()
            .take_while(|c| ". -_".contains(**c))
            .count();
        if let Some((numbers, end)) = numbers_at(&chars[length + gap..])
            && gap <= 2
        {
            return Some((Mark::Version(numbers), length + gap + end));
        }
    }
    let start = usize::from(chars.first() == Some(&'제'));
    let (numbers, end) = numbers_at(&chars[start..])?;
    (chars.get(start + end) == Some(&'판')).then_some((Mark::Version(numbers), start + end + 1))
}

/// Numbers parted by dots.
fn numbers_at(chars: &[char]) -> Option<(Vec<u32>, usize)> {
    let mut numbers = Vec::new();
    let mut at = 0;
    loop {
        let digits: String = chars[at..].iter().take_while(|c| c.is_ascii_digit()).collect();
        numbers.push(digits.parse().ok()?);
        at += digits.len();
        let goes_on = chars.get(at) == Some(&'.') && chars.get(at + 1).is_some_and(char::is_ascii_digit);
        if !goes_on {
            return Some((numbers, at));
        }
        at += 1;
    }
}

/// A whole date, "20240301", "2024-03", "2024", "2024년".
fn day_at(chars: &[char]) -> Option<(Mark, usize)> {
    if let Some((date, end)) = date_at(chars) {
        let (year, month, day) = date.ymd();
        return Some((Mark::Day(vec![year.cast_unsigned(), month, day]), end));
    }
    let digits: String = chars.iter().take_while(|c| c.is_ascii_digit()).collect();
    let number = |range: std::ops::Range<usize>| digits.get(range)?.parse::<u32>().ok();
    let year = number(0..4).filter(|year| (1900..2100).contains(year))?;
    match digits.len() {
        8 => {
            let date = Date::new(year.cast_signed(), number(4..6)?, number(6..8)?)?;
            let (_, month, day) = date.ymd();
            Some((Mark::Day(vec![year, month, day]), 8))
        }
        4 => {
            let month: String = chars[4..]
                .iter()
                .skip(1)
                .take_while(|c| c.is_ascii_digit())
                .collect();
            let month = Some(month).filter(|month| chars.get(4) == Some(&'-') && month.len() == 2);
            if let Some(month) = month
                .and_then(|month| month.parse().ok())
                .filter(|m| (1..=12).contains(m))
            {
                return Some((Mark::Day(vec![year, month]), 7));
            }
            let words = ["년도", "년판", "년"];
            let word = words.iter().find(|word| {
                word.chars()
                    .eq(chars[4..].iter().copied().take(word.chars().count()))
            });
            Some((
                Mark::Day(vec![year]),
                4 + word.map_or(0, |word| word.chars().count()),
            ))
        }
        _ => None,
    }
}

/// A file's name without its folder and its ending.
pub(crate) fn stem(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or_default();
    match file.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => file,
    }
}

fn squeezed(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edition<'a>(title: &'a str, from: &str, replaces: &'a [String]) -> Edition<'a> {
        Edition {
            title,
            path: "",
            validity: Validity {
                from: from.parse().ok(),
                until: None,
            },
            replaces,
        }
    }

    #[test]
    fn names_order_editions_by_marks_of_one_kind() {
        for (newer, older) in [
            ("Travel Policy v2", "Travel policy v1.9"),
            ("Travel Policy (version 10)", "Travel Policy (version 9)"),
            ("출장규정 2024년판", "출장규정 2023년판"),
            ("출장규정_20240301", "출장규정_20230301"),
            ("취업규칙 제3판", "취업규칙 제2판"),
            ("Price list 2024-03", "Price list 2024-02"),
        ] {
            let (newer, older) = (edition(newer, "", &[]), edition(older, "", &[]));
            assert_eq!(newer.newer_than(&older), Some(Newer::Named), "{}", newer.title);
            assert_eq!(older.newer_than(&newer), None, "{}", newer.title);
        }
        for (a, b) in [
            ("Travel Policy", "Travel Policy"),
            ("Travel Policy v2", "Leave Policy v1"),
            ("Form 13", "Form 12"),
            ("Price list 2024", "Price list 2024-03"),
            ("Travel Policy v2", "Travel Policy 2023"),
            ("2024", "2023"),
        ] {
            let (a, b) = (edition(a, "", &[]), edition(b, "", &[]));
            assert_eq!((a.newer_than(&b), b.newer_than(&a)), (None, None), "{}", a.title);
        }
    }

    #[test]
    fn what_is_stated_counts_more_than_names() {
        let replaces = ["leave-2022.md".to_owned()];
        let new = edition("Leave", "", &replaces);
        let old = Edition {
            path: "/docs/leave-2022.md",
            ..edition("Holidays", "", &[])
        };
        assert_eq!(new.newer_than(&old), Some(Newer::Replaces));
        assert_eq!(old.newer_than(&new), None);
        let (late, early) = (
            edition("Leave v1", "2024-03-01", &[]),
            edition("Leave v2", "2023-03-01", &[]),
        );
        assert_eq!(
            late.newer_than(&early),
            Some(Newer::From(Date::new(2024, 3, 1).unwrap()))
        );
        assert_eq!(early.newer_than(&late), None);
    }

    #[test]
    fn a_question_may_name_an_edition() {
        let old = edition("출장규정 2023년판", "", &[]);
        assert!(old.is_named_in("2023년판에서 일비는 얼마인가요?"));
        assert!(!old.is_named_in("일비는 얼마인가요?"));
    }
}
