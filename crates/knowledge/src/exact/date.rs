//! Dates as they are written in Korean and English.

use super::cursor::Cursor;

const MONTHS: &[(&str, u32)] = &[
    ("january", 1),
    ("jan", 1),
    ("february", 2),
    ("feb", 2),
    ("march", 3),
    ("mar", 3),
    ("april", 4),
    ("apr", 4),
    ("may", 5),
    ("june", 6),
    ("jun", 6),
    ("july", 7),
    ("jul", 7),
    ("august", 8),
    ("aug", 8),
    ("september", 9),
    ("sept", 9),
    ("sep", 9),
    ("october", 10),
    ("oct", 10),
    ("november", 11),
    ("nov", 11),
    ("december", 12),
    ("dec", 12),
];
const YEARS: std::ops::RangeInclusive<u32> = 1000..=2999;
/// Eight digits in a row are a date only in these years.
const COMPACT_YEARS: std::ops::RangeInclusive<u32> = 1900..=2099;

/// A day, or what is known of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    year: Option<u32>,
    month: u32,
    day: Option<u32>,
}

impl Date {
    fn new(year: Option<u32>, month: u32, day: Option<u32>) -> Option<Self> {
        let is_leap = |y: u32| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
        let last = match month {
            4 | 6 | 9 | 11 => 30,
            2 if year.is_none_or(is_leap) => 29,
            2 => 28,
            1..=12 => 31,
            _ => return None,
        };
        let is_day = day.is_none_or(|day| (1..=last).contains(&day));
        let is_year = year.is_none_or(|year| YEARS.contains(&year));
        (is_day && is_year).then_some(Self { year, month, day })
    }

    fn whole(year: u32, month: u32, day: u32) -> Option<Self> {
        Self::new(Some(year), month, Some(day))
    }

    pub(super) fn term(&self) -> String {
        match (self.year, self.day) {
            (Some(year), Some(day)) => format!("d:{year:04}-{:02}-{day:02}", self.month),
            (Some(year), None) => format!("d:{year:04}-{:02}", self.month),
            (None, Some(day)) => format!("d:--{:02}-{day:02}", self.month),
            (None, None) => format!("d:--{:02}", self.month),
        }
    }

    /// The month, and the day of any year.
    pub(super) fn wider(&self) -> Vec<String> {
        match (self.year, self.day) {
            (Some(_), Some(_)) => {
                let month = Self { day: None, ..*self };
                let day = Self { year: None, ..*self };
                vec![month.term(), day.term()]
            }
            _ => Vec::new(),
        }
    }
}

/// A date that begins here.
pub(super) fn read(at: Cursor<'_>) -> Option<(Date, Cursor<'_>)> {
    if at.is_digit() {
        if !at.may_begin_number() {
            return None;
        }
        return year_first(at)
            .or_else(|| korean_day(at))
            .or_else(|| compact(at))
            .or_else(|| day_first(at))
            .or_else(|| day_of_month(at));
    }
    short_year(at).or_else(|| month_first(at))
}

/// "2024-03-01", "2024. 3. 1.", "2024/3/1", "2024년 3월 1일", "2024년 3월".
fn year_first(at: Cursor<'_>) -> Option<(Date, Cursor<'_>)> {
    let (year, after) = at.digits(4, 4)?;
    if after.space().eat('년').is_some() {
        return of_korean_year(year, after);
    }
    in_figures(year, after)
}

/// What follows the year: the same sign between both pairs.
fn in_figures(year: u32, after: Cursor<'_>) -> Option<(Date, Cursor<'_>)> {
    let (sign, after) = after.eat_if(|c| matches!(c, '-' | '/' | '.'))?;
    let spaced = |at: Cursor<'_>| {
        if sign == '.' {
            at.space().place()
        } else {
            at.place()
        }
    };
    let (month, after) = skip_to(after, spaced(after)).digits(1, 2)?;
    let after = after.eat(sign)?;
    let (day, after) = skip_to(after, spaced(after)).digits(1, 2)?;
    let ends = after.may_end_number() || after.peek() == Some('t');
    let date = Date::whole(year, month, day).filter(|_| ends)?;
    Some((date, after))
}

fn skip_to(mut at: Cursor<'_>, place: usize) -> Cursor<'_> {
    while at.place() < place {
        at = at.next();
    }
    at
}

fn of_korean_year(year: u32, after: Cursor<'_>) -> Option<(Date, Cursor<'_>)> {
    let month_at = after.space().eat('년')?.space();
    let (month, after) = month_at.digits(1, 2)?;
    let after = after.space().eat('월')?;
    let day = after.space().digits(1, 2);
    let with_day = day.and_then(|(day, after)| Some((day, after.space().eat('일')?)));
    match with_day {
        Some((day, after)) => Some((Date::whole(year, month, day)?, after)),
        None => Some((Date::new(Some(year), month, None)?, after)),
    }
}

/// "3월 1일", "24년 3월 1일".
fn korean_day(at: Cursor<'_>) -> Option<(Date, Cursor<'_>)> {
    let (number, after) = at.digits(1, 2)?;
    if after.eat('년').is_some() {
        return of_korean_year(this_century(number, at, after)?, after)
            .filter(|(date, _)| date.day.is_some());
    }
    let after = after.space().eat('월')?;
    let (day, after) = after.space().digits(1, 2)?;
    let after = after.space().eat('일')?;
    Some((Date::new(None, number, Some(day))?, after))
}

/// A year of two digits, as it is written in offices.
fn this_century(number: u32, start: Cursor<'_>, end: Cursor<'_>) -> Option<u32> {
    (end.place() - start.place() == 2).then_some(2000 + number)
}

/// "'24. 3. 1.", "’24년 3월 1일".
fn short_year(at: Cursor<'_>) -> Option<(Date, Cursor<'_>)> {
    if at.is_in_word() {
        return None;
    }
    let (_, start) = at.eat_if(|c| matches!(c, '\'' | '\u{2018}' | '\u{2019}'))?;
    let (number, after) = start.digits(2, 2)?;
    let year = this_century(number, start, after)?;
    of_korean_year(year, after).or_else(|| in_figures(year, after))
}

/// "20240301".
fn compact(at: Cursor<'_>) -> Option<(Date, Cursor<'_>)> {
    let (number, after) = at.digits(8, 8)?;
    let (year, month, day) = (number / 10_000, number / 100 % 100, number % 100);
    let is_date = COMPACT_YEARS.contains(&year) && after.may_end_number() && !after.is_hangul();
    Some((Date::whole(year, month, day).filter(|_| is_date)?, after))
}

/// "1.3.2024"; with slashes or hyphens only where it can be read in one way.
fn day_first(at: Cursor<'_>) -> Option<(Date, Cursor<'_>)> {
    let (first, after) = at.digits(1, 2)?;
    let (sign, after) = after.eat_if(|c| matches!(c, '.' | '/' | '-'))?;
    let (second, after) = after.digits(1, 2)?;
    let (year, after) = after.eat(sign)?.digits(4, 4)?;
    if !after.may_end_number() {
        return None;
    }
    let (day_first, month_first) = (Date::whole(year, second, first), Date::whole(year, first, second));
    let date = match (day_first, month_first) {
        (day_first, _) if sign == '.' => day_first,
        (Some(a), Some(b)) if a != b => None,
        (a, b) => a.or(b),
    };
    Some((date?, after))
}

/// "1 March 2024", "1st of March, 2024", "01-Mar-2024", "1 March".
fn day_of_month(at: Cursor<'_>) -> Option<(Date, Cursor<'_>)> {
    let (day, after) = at.digits(1, 2)?;
    let after = ordinal(after);
    let after = after.space();
    let after = after.eat_str("of ").unwrap_or(after);
    let after = after.eat('-').unwrap_or(after);
    let (month, after) = month(after)?;
    match year_behind(after) {
        Some((year, after)) => Some((Date::whole(year, month, day)?, after)),
        None => Some((Date::new(None, month, Some(day))?, after)),
    }
}

/// "March 1, 2024", "Mar. 1st 2024", "March 2024", "March 1".
fn month_first(at: Cursor<'_>) -> Option<(Date, Cursor<'_>)> {
    if at.is_in_word() || !at.is_latin() {
        return None;
    }
    let (month, after) = month(at)?;
    let number = after.space();
    if let Some((year, after)) = number.digits(4, 4).filter(|(_, after)| after.may_end_number()) {
        return Some((Date::new(Some(year), month, None)?, after));
    }
    let (day, after) = number.digits(1, 2)?;
    let after = ordinal(after);
    match year_behind(after) {
        Some((year, after)) => Some((Date::whole(year, month, day)?, after)),
        None => Some((
            Date::new(None, month, Some(day)).filter(|_| after.may_end_number())?,
            after,
        )),
    }
}

fn month(at: Cursor<'_>) -> Option<(u32, Cursor<'_>)> {
    let (month, after) = at.eat_any(MONTHS).filter(|(_, after)| !after.is_latin())?;
    Some((month, after.eat('.').unwrap_or(after)))
}

fn ordinal(at: Cursor<'_>) -> Cursor<'_> {
    ["st", "nd", "rd", "th"]
        .iter()
        .find_map(|ending| at.eat_str(ending).filter(|after| !after.is_latin()))
        .unwrap_or(at)
}

fn year_behind(at: Cursor<'_>) -> Option<(u32, Cursor<'_>)> {
    let after = at.eat(',').unwrap_or(at).space();
    let after = after.eat('-').unwrap_or(after);
    after.digits(4, 4).filter(|(_, after)| after.may_end_number())
}
