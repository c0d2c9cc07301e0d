//! A day of the calendar, as documents and people name it.
//!
//! Not a time of day, and no time zones: those are the clock's.

use std::fmt;
use std::str::FromStr;

/// A day of the proleptic Gregorian calendar, years 1 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    /// Days since 1 January 1970.
    days: i32,
}

/// A text that names no day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotADate;

impl fmt::Display for NotADate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a day of the calendar; write it like 2024-03-01")
    }
}

impl std::error::Error for NotADate {}

impl Date {
    /// The day, if the calendar has it.
    pub fn new(year: i32, month: u32, day: u32) -> Option<Self> {
        let is_day = (1..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_of_month(year, month)).contains(&day);
        is_day.then(|| Self {
            days: days_from_civil(year, month, day),
        })
    }

    /// The day that is so many days after 1 January 1970.
    pub fn from_unix_days(days: i64) -> Option<Self> {
        let days = i32::try_from(days).ok()?;
        let (first, last) = (days_from_civil(1, 1, 1), days_from_civil(9999, 12, 31));
        (first..=last).contains(&days).then_some(Self { days })
    }

    /// Days since 1 January 1970.
    pub fn unix_days(self) -> i64 {
        i64::from(self.days)
    }

    /// Year, month and day of the month.
    pub fn ymd(self) -> (i32, u32, u32) {
        civil_from_days(self.days)
    }

    /// The same day so many months earlier, or the last of that month where it is shorter.
    #[must_use]
    pub fn months_before(self, months: u32) -> Self {
        let (year, month, day) = self.ymd();
        let counted = i64::from(year) * 12 + i64::from(month) - 1 - i64::from(months);
        let first = Self {
            days: days_from_civil(1, 1, 1),
        };
        let (Ok(year), Ok(month)) = (
            i32::try_from(counted.div_euclid(12)),
            u32::try_from(counted.rem_euclid(12) + 1),
        ) else {
            return first;
        };
        Self::new(year, month, day.min(days_of_month(year, month))).unwrap_or(first)
    }

    /// The day before; the first day there is has none.
    pub fn before(self) -> Option<Self> {
        Self::from_unix_days(i64::from(self.days) - 1)
    }
}

/// As 2024-03-01.
impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.ymd();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// Of a text such as 2024-03-01, and of no other.
impl FromStr for Date {
    type Err = NotADate;

    fn from_str(text: &str) -> Result<Self, NotADate> {
        let bytes = text.as_bytes();
        let shape = bytes.len() == 10
            && bytes.iter().enumerate().all(|(i, byte)| match i {
                4 | 7 => *byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        if !shape {
            return Err(NotADate);
        }
        let part = |range: std::ops::Range<usize>| text[range].parse().map_err(|_| NotADate);
        let year = i32::try_from(part(0..4)?).map_err(|_| NotADate)?;
        Self::new(year, part(5..7)?, part(8..10)?).ok_or(NotADate)
    }
}

fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_month(year: i32, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`; exact for years 1 to 9999.
fn days_from_civil(year: i32, month: u32, day: u32) -> i32 {
    let (month, day) = (month.cast_signed(), day.cast_signed());
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse, `civil_from_days`.
fn civil_from_days(days: i32) -> (i32, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i32::from(month <= 2);
    (year, month.cast_unsigned(), day.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn known_days_are_where_they_are() {
        assert_eq!(Date::new(1970, 1, 1).unwrap().days, 0);
        assert_eq!(Date::new(2000, 3, 1).unwrap().days, 11_017);
        assert_eq!(date("2024-02-29").to_string(), "2024-02-29");
        for wrong in [
            "2023-02-29",
            "1900-02-29",
            "2024-13-01",
            "2024-04-31",
            "0000-01-01",
            "2024-3-1",
            "2024-03-01 ",
        ] {
            assert_eq!(wrong.parse::<Date>(), Err(NotADate), "{wrong}");
        }
    }

    #[test]
    fn months_before_stay_in_their_month() {
        assert_eq!(date("2024-03-31").months_before(1), date("2024-02-29"));
        assert_eq!(date("2024-01-15").months_before(25), date("2021-12-15"));
        assert_eq!(date("0001-02-01").months_before(u32::MAX), date("0001-01-01"));
    }

    proptest! {
        #[test]
        fn every_day_comes_back_and_days_follow_each_other(days in -719_162_i64..2_932_896) {
            let day = Date::from_unix_days(days).unwrap();
            let (year, month, of_month) = day.ymd();
            prop_assert_eq!(Date::new(year, month, of_month), Some(day));
            prop_assert_eq!(day.to_string().parse(), Ok(day));
            let next = Date::from_unix_days(days + 1);
            prop_assert!(next.is_none_or(|next| next > day && next.before() == Some(day)));
        }
    }
}
