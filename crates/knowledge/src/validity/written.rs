//! Dates as people write them, in English and Korean.
//!
//! Only what names one day: 03/04/2024 is March here and April there, so it is none.

use stdx::date::Date;

/// Names of months by their beginnings; the full names follow from them.
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
/// Letters of a month's short name.
const SHORT_MONTH: usize = 3;
/// "Sept." has one more than the others.
const SEPTEMBER: &str = "sept";

/// A date at the beginning of `chars` and how many of them it takes.
pub(crate) fn date_at(chars: &[char]) -> Option<(Date, usize)> {
    let (date, end) = year_first(chars)
        .or_else(|| day_first(chars))
        .or_else(|| month_first(chars))?;
    // "2024-03-011" and "2024.3.1.5" go on: they are no dates.
    let goes_on = chars.get(end).is_some_and(char::is_ascii_digit)
        || matches!(chars.get(end), Some('.' | '-' | '/'))
            && chars.get(end + 1).is_some_and(char::is_ascii_digit);
    (!goes_on).then_some((date, end))
}

/// 2024-03-01, 2024/3/1, 2024.3.1., 2024. 3. 1., 2024년 3월 1일.
fn year_first(chars: &[char]) -> Option<(Date, usize)> {
    let mut reading = Reading { chars, at: 0 };
    let year = reading.number(4, 4)?;
    let sign = reading.next()?;
    if !matches!(sign, '-' | '/' | '.' | '년') {
        return None;
    }
    if matches!(sign, '.' | '년') {
        reading.spaces();
    }
    let month = reading.number(1, 2)?;
    let second = reading.next()?;
    if second != if sign == '년' { '월' } else { sign } {
        return None;
    }
    if matches!(sign, '.' | '년') {
        reading.spaces();
    }
    let day = reading.number(1, 2)?;
    match (sign, reading.peek()) {
        ('년', Some('일')) => reading.at += 1,
        ('년', _) => return None,
        // The dot that ends a Korean date belongs to it.
        ('.', Some('.')) => reading.at += 1,
        _ => {}
    }
    Some((Date::new(i32::try_from(year).ok()?, month, day)?, reading.at))
}

/// 1 March 2024, 1st of March, 2024, 1. Mar 2024, 1-Mar-2024.
fn day_first(chars: &[char]) -> Option<(Date, usize)> {
    let mut reading = Reading { chars, at: 0 };
    let day = reading.number(1, 2)?;
    reading.ordinal();
    reading.gap();
    if reading.word("of") {
        reading.gap();
    }
    let month = reading.month()?;
    reading.gap();
    let year = reading.number(4, 4)?;
    Some((Date::new(i32::try_from(year).ok()?, month, day)?, reading.at))
}

/// March 1, 2024, Mar. 1st 2024.
fn month_first(chars: &[char]) -> Option<(Date, usize)> {
    let mut reading = Reading { chars, at: 0 };
    let month = reading.month()?;
    reading.gap();
    let day = reading.number(1, 2)?;
    reading.ordinal();
    reading.gap();
    let year = reading.number(4, 4)?;
    Some((Date::new(i32::try_from(year).ok()?, month, day)?, reading.at))
}

struct Reading<'a> {
    chars: &'a [char],
    at: usize,
}

impl Reading<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn spaces(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    /// What stands between the parts of a date that has a word in it.
    fn gap(&mut self) {
        const GAP_MAX: usize = 3;
        for _ in 0..GAP_MAX {
            if self
                .peek()
                .is_some_and(|c| c.is_whitespace() || matches!(c, '.' | ',' | '-'))
            {
                self.at += 1;
            }
        }
    }

    /// A whole number of so many digits, at least and at most.
    fn number(&mut self, min: usize, max: usize) -> Option<u32> {
        let digits: String = self.chars[self.at..]
            .iter()
            .take(max + 1)
            .take_while(|c| c.is_ascii_digit())
            .collect();
        if !(min..=max).contains(&digits.len()) {
            return None;
        }
        self.at += digits.len();
        digits.parse().ok()
    }

    fn ordinal(&mut self) {
        for ending in ["st", "nd", "rd", "th"] {
            if self.word(ending) {
                return;
            }
        }
    }

    /// A word in any case, which ends there.
    fn word(&mut self, word: &str) -> bool {
        let found = self.letters();
        let is_it = found.eq_ignore_ascii_case(word);
        if is_it {
            self.at += found.len();
        }
        is_it
    }

    fn letters(&self) -> String {
        const LETTERS_MAX: usize = 12;
        self.chars[self.at..]
            .iter()
            .take(LETTERS_MAX)
            .take_while(|c| c.is_ascii_alphabetic())
            .collect()
    }

    fn month(&mut self) -> Option<u32> {
        // Most words are no months, and three letters tell: nothing is gathered of those.
        let begins = self.chars.get(self.at..self.at + SHORT_MONTH)?;
        let is_like = |name: &&str| {
            let wanted = name.chars().take(SHORT_MONTH);
            begins.iter().map(char::to_ascii_lowercase).eq(wanted)
        };
        if !MONTHS.iter().any(is_like) {
            return None;
        }
        let letters = self.letters();
        let lower = letters.to_ascii_lowercase();
        let is_named = |name: &str| lower == name || lower == name[..SHORT_MONTH];
        let found = MONTHS.iter().position(|name| is_named(name));
        let found = found.or_else(|| (lower == SEPTEMBER).then_some(8))?;
        self.at += letters.len();
        u32::try_from(found + 1).ok()
    }
}
