//! Amounts of money, percentages, and large numbers.

use super::Named;
use super::cursor::Cursor;
use super::number::{self, Decimal, Style};

/// A bare number with fewer digits is an ordinary word of the index already.
const DIGITS_MIN: usize = 5;

const SYMBOLS: &[(&str, &str)] = &[
    ("₩", "krw"),
    ("us$", "usd"),
    ("$", "usd"),
    ("€", "eur"),
    ("£", "gbp"),
];
const CODES: &[(&str, &str)] = &[
    ("krw", "krw"),
    ("usd", "usd"),
    ("eur", "eur"),
    ("gbp", "gbp"),
    ("jpy", "jpy"),
    ("cny", "cny"),
];
const WORDS: &[(&str, &str)] = &[
    ("krw", "krw"),
    ("won", "krw"),
    ("usd", "usd"),
    ("dollar", "usd"),
    ("dollars", "usd"),
    ("eur", "eur"),
    ("euro", "eur"),
    ("euros", "eur"),
    ("gbp", "gbp"),
    ("jpy", "jpy"),
    ("yen", "jpy"),
    ("cny", "cny"),
    ("yuan", "cny"),
];
const HANGUL_WORDS: &[(&str, &str)] = &[
    ("원", "krw"),
    ("달러", "usd"),
    ("유로", "eur"),
    ("파운드", "gbp"),
    ("엔", "jpy"),
    ("위안", "cny"),
];
/// What makes another word of "원": 원칙, 원화, 원본 …
const NOT_MONEY: &str = "칙화론색형본자소";
const PERCENT: &[(&str, bool)] = &[
    ("%", false),
    ("퍼센트", false),
    ("%p", true),
    ("%포인트", true),
    ("퍼센트포인트", true),
    ("퍼센트 포인트", true),
];
const PERCENT_WORDS: &[(&str, bool)] = &[
    ("percent", false),
    ("per cent", false),
    ("percentage points", true),
    ("percentage point", true),
];

/// An amount, a percentage, or a number that is written in more than one way.
pub(super) fn read(at: Cursor<'_>) -> Option<(Named, Cursor<'_>)> {
    if let Some(found) = led_by_currency(at) {
        return Some(found);
    }
    if let Some(found) = in_hundredths(at) {
        return Some(found);
    }
    let (value, style, after) = number::read(at)?;
    if let Some((currency, end)) = currency_after(after, style) {
        return Some((Named::Amount(currency, value), end));
    }
    // "이", "구" or "만" alone is hardly ever a number.
    if style.is_hangul {
        return None;
    }
    if let Some((is_points, end)) = percent_after(after) {
        let named = if is_points { Named::Points } else { Named::Percent };
        return Some((named(value), end));
    }
    let is_large = style.has_unit || style.has_groups || style.n_digits >= DIGITS_MIN;
    let ends = style.has_unit || after.may_end_number();
    (is_large && ends).then_some((Named::Number(value), after))
}

/// "₩1,500,000", "KRW 1.5 million".
fn led_by_currency(at: Cursor<'_>) -> Option<(Named, Cursor<'_>)> {
    if at.is_in_word() {
        return None;
    }
    let (currency, after) = at.eat_any(SYMBOLS).or_else(|| at.eat_word(CODES))?;
    let number = after.space();
    if !number.is_digit() {
        return None;
    }
    let (value, style, end) = number::read(number).or_else(|| number::figures(number))?;
    let ends = style.has_unit || end.may_end_number();
    ends.then_some((Named::Amount(currency, value), end))
}

fn currency_after(after: Cursor<'_>, style: Style) -> Option<(&'static str, Cursor<'_>)> {
    let at = after.space();
    if let Some((currency, end)) = at.eat_any(HANGUL_WORDS) {
        let other_word = end.peek().is_some_and(|c| NOT_MONEY.contains(c));
        // In Hangul alone, "이 원" or "구원" is a word like any other.
        let is_number = !style.is_hangul || (style.has_unit && at.place() == after.place());
        return (!other_word && is_number).then_some((currency, end));
    }
    if style.is_hangul {
        return None;
    }
    at.eat_any(WORDS)
        .filter(|(_, end)| !end.is_latin() && !end.is_digit())
}

fn percent_after(after: Cursor<'_>) -> Option<(bool, Cursor<'_>)> {
    let at = after.space();
    at.eat_any(PERCENT)
        .filter(|(_, end)| !end.is_latin())
        .or_else(|| at.eat_word(PERCENT_WORDS))
}

/// "100분의 15", as statutes put it.
fn in_hundredths(at: Cursor<'_>) -> Option<(Named, Cursor<'_>)> {
    if !at.may_begin_number() {
        return None;
    }
    let number = at.eat_str("100")?.space().eat_str("분의")?.space();
    let (value, _, end): (Decimal, _, _) = number::figures(number)?;
    Some((Named::Percent(value), end))
}
