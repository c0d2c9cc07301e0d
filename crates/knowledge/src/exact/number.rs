//! Numbers in figures, in Hangul, and in the mixtures of both that amounts are written in.

use std::fmt;

use super::cursor::Cursor;

/// Digits behind the point.
const FRACTION_DIGITS: usize = 6;
const ONE: u128 = 1_000_000;
/// Digits before the point.
const WHOLE_DIGITS: usize = 24;

const DIGITS: &[(&str, u128)] = &[
    ("일", 1),
    ("이", 2),
    ("삼", 3),
    ("사", 4),
    ("오", 5),
    ("육", 6),
    ("칠", 7),
    ("팔", 8),
    ("구", 9),
];
const SMALL_UNITS: &[(&str, u128)] = &[("십", 10), ("백", 100), ("천", 1_000)];
const LARGE_UNITS: &[(&str, u128)] = &[("만", 10_000), ("억", 100_000_000), ("조", 1_000_000_000_000)];
const ENGLISH_UNITS: &[(&str, u128)] = &[
    ("thousand", 1_000),
    ("million", 1_000_000),
    ("billion", 1_000_000_000),
    ("trillion", 1_000_000_000_000),
];

/// A number that is not negative, in millionths: sums and comparisons are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Decimal(u128);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / ONE, self.0 % ONE);
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{fraction:0FRACTION_DIGITS$}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl Decimal {
    pub(super) fn whole(value: u128) -> Option<Self> {
        value.checked_mul(ONE).map(Self)
    }

    fn times(self, factor: u128) -> Option<Self> {
        self.0.checked_mul(factor).map(Self)
    }

    fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }
}

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    /// With a unit ("만", "million").
    pub(super) has_unit: bool,
    /// In Hangul from its first character on.
    pub(super) is_hangul: bool,
    /// With commas between the thousands.
    pub(super) has_groups: bool,
    pub(super) n_digits: usize,
}

/// A number with the units that follow it.
pub(super) fn read(at: Cursor<'_>) -> Option<(Decimal, Style, Cursor<'_>)> {
    if at.is_digit() && at.may_begin_number() {
        let (value, style, after) = figures(at)?;
        if let Some((unit, end)) = after.space().eat_word(ENGLISH_UNITS) {
            let style = Style {
                has_unit: true,
                ..style
            };
            return Some((value.times(unit)?, style, end));
        }
    } else if !at.is_hangul() || at.is_in_hangul() || at.is_in_word() {
        return None;
    }
    korean(at)
}

/// "1,500,000", "0.5", "1500000".
pub(super) fn figures(at: Cursor<'_>) -> Option<(Decimal, Style, Cursor<'_>)> {
    let (mut whole, mut n_digits, mut after): (u128, usize, _) = (0, 0, at);
    while let Some((digit, next)) = after.eat_if(|c| c.is_ascii_digit()) {
        n_digits += 1;
        whole = whole
            .checked_mul(10)?
            .checked_add(u128::from(digit.to_digit(10)?))?;
        after = next;
    }
    let mut has_groups = false;
    while let Some((group, next)) = after.eat(',').and_then(|after| after.digits(3, 3)) {
        if n_digits > 3 && !has_groups {
            break;
        }
        has_groups = true;
        n_digits += 3;
        whole = whole.checked_mul(1_000)?.checked_add(u128::from(group))?;
        after = next;
    }
    if n_digits == 0 || n_digits > WHOLE_DIGITS {
        return None;
    }
    let mut value = Decimal::whole(whole)?;
    if let Some(point) = after.eat('.').filter(|after| after.is_digit()) {
        let (mut scale, mut rest) = (ONE, point);
        while let Some((digit, next)) = rest.eat_if(|c| c.is_ascii_digit()) {
            scale /= 10;
            let digit = u128::from(digit.to_digit(10)?);
            // More digits than are kept would make different numbers equal.
            if scale == 0 && digit != 0 {
                return None;
            }
            value = value.plus(Decimal(digit * scale))?;
            rest = next;
        }
        after = rest;
    }
    let style = Style {
        has_unit: false,
        is_hangul: false,
        has_groups,
        n_digits,
    };
    Some((value, style, after))
}

/// "150만", "3억 5,000만", "1천5백", "일백오십만".
fn korean(at: Cursor<'_>) -> Option<(Decimal, Style, Cursor<'_>)> {
    let mut style = Style {
        has_unit: false,
        is_hangul: !at.is_digit(),
        has_groups: false,
        n_digits: 0,
    };
    let mut total = Decimal(0);
    let (mut last_unit, mut here) = (u128::MAX, at);
    while let Some(section) = section(here) {
        style.has_unit |= section.has_unit;
        style.has_groups |= section.has_groups;
        style.n_digits = style.n_digits.max(section.n_digits);
        match section.after.eat_any(LARGE_UNITS) {
            Some((unit, after)) if unit < last_unit => {
                total = total.plus(section.value.times(unit)?)?;
                style.has_unit = true;
                last_unit = unit;
                here = after;
            }
            _ => {
                total = total.plus(section.value)?;
                return Some((total, style, section.after));
            }
        }
        match going_on(here, last_unit) {
            Some(next) => here = next,
            None => break,
        }
    }
    (last_unit < u128::MAX).then_some((total, style, here))
}

/// Where a number goes on behind "만": at once, or behind a space if what stands there is plainly a part of it.
fn going_on(after_unit: Cursor<'_>, last_unit: u128) -> Option<Cursor<'_>> {
    let next = after_unit.space();
    let section = section(next)?;
    if next.place() == after_unit.place() && next.is_digit() {
        return Some(next);
    }
    let is_unit = section
        .after
        .eat_any(LARGE_UNITS)
        .is_some_and(|(unit, _)| unit < last_unit);
    (is_unit || section.has_unit || section.after.space().eat('원').is_some()).then_some(next)
}

struct Section<'a> {
    value: Decimal,
    has_unit: bool,
    has_groups: bool,
    n_digits: usize,
    after: Cursor<'a>,
}

/// What stands before a large unit: "5,000", "3천5백", "이십".
fn section(at: Cursor<'_>) -> Option<Section<'_>> {
    let mut section = Section {
        value: Decimal(0),
        has_unit: false,
        has_groups: false,
        n_digits: 0,
        after: at,
    };
    let mut last_unit = u128::MAX;
    loop {
        let here = section.after;
        let number = if here.is_digit() {
            let (value, style, after) = figures(here)?;
            section.has_groups |= style.has_groups;
            section.n_digits = section.n_digits.max(style.n_digits);
            Some((value, after))
        } else {
            here.eat_any(DIGITS)
                .and_then(|(digit, after)| Some((Decimal::whole(digit)?, after)))
        };
        let unit_at = number.map_or(here, |(_, after)| after);
        match unit_at.eat_any(SMALL_UNITS) {
            Some((unit, after)) if unit < last_unit => {
                let one = Decimal(ONE);
                section.value = section
                    .value
                    .plus(number.map_or(one, |(value, _)| value).times(unit)?)?;
                section.has_unit = true;
                section.after = after;
                last_unit = unit;
            }
            _ => {
                if let Some((value, after)) = number {
                    section.value = section.value.plus(value)?;
                    section.after = after;
                }
                break;
            }
        }
    }
    (section.after.place() > at.place()).then_some(section)
}
