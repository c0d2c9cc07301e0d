//! A number as its format code shows it: grouping, decimals, percent, currency and other fixed text, dates and times.
//!
//! Codes are read as far as they change what a number says. Fractions and powers of ten are shown plainly.

/// Days from 1899-12-30, where Excel counts from, to 1970-01-01.
const EPOCH_1900: i64 = 25_569;
/// Days from 1904-01-01 to 1970-01-01.
const EPOCH_1904: i64 = 24_107;
/// Dates beyond the year 9999 are numbers that somebody formatted by mistake.
const DAYS_MAX: f64 = 2_958_466.0;
/// More decimals than a double has are noise.
const DECIMALS_MAX: usize = 15;

/// Shows `number` by `code`; `None` is "General".
pub(super) fn show(number: f64, code: Option<&str>, from_1904: bool) -> String {
    let Some(code) = code.filter(|code| !code.trim().eq_ignore_ascii_case("general")) else {
        return plain(number);
    };
    let code_section = section(code, number);
    if ["E+", "E-", "?/?", "#/#"]
        .iter()
        .any(|mark| code_section.contains(mark))
    {
        return plain(number);
    }
    let tokens = tokens(code_section);
    if tokens.iter().any(|token| matches!(token, Token::Date(_))) {
        return date(number, &tokens, from_1904).unwrap_or_else(|| plain(number));
    }
    amount(number, code, &tokens)
}

/// As few digits as name the number, never in powers of ten.
fn plain(number: f64) -> String {
    // Sums in binary leave traces in the last digits that Excel does not show.
    let rounded: f64 = format!("{number:.*e}", DECIMALS_MAX - 1)
        .parse()
        .unwrap_or(number);
    format!("{rounded}")
}

#[derive(Debug, PartialEq)]
enum Token {
    /// Shown as it is.
    Fixed(String),
    /// A run of digits' places, points and commas.
    Digits(String),
    /// A run of one letter of a date.
    Date(String),
    Percent,
}

/// Of `positive;negative;zero;text` the part for this number.
fn section(code: &str, number: f64) -> &str {
    let mut parts = Vec::new();
    let (mut start, mut is_quoted, mut in_brackets, mut escaped) = (0, false, false, false);
    for (at, c) in code.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => is_quoted = !is_quoted,
            '[' if !is_quoted => in_brackets = true,
            ']' if !is_quoted => in_brackets = false,
            ';' if !is_quoted && !in_brackets => {
                parts.push(&code[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&code[start..]);
    let at = match parts.len() {
        1 => 0,
        2 => usize::from(number < 0.0),
        _ if number == 0.0 => 2,
        _ => usize::from(number < 0.0),
    };
    parts[at]
}

fn tokens(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = code.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => tokens.push(Token::Fixed(chars.by_ref().take_while(|c| *c != '"').collect())),
            '\\' => tokens.extend(chars.next().map(|c| Token::Fixed(c.to_string()))),
            // The width of a character, and what fills a cell: neither is text.
            '_' | '*' => drop(chars.next()),
            '[' => {
                let inside: String = chars.by_ref().take_while(|c| *c != ']').collect();
                tokens.extend(bracketed(&inside));
            }
            '%' => tokens.push(Token::Percent),
            '0' | '#' | '?' | '.' | ',' => {
                let mut run = String::from(c);
                while let Some(next) = chars.next_if(|c| matches!(c, '0' | '#' | '?' | '.' | ',')) {
                    run.push(next);
                }
                tokens.push(Token::Digits(run));
            }
            'y' | 'Y' | 'm' | 'M' | 'd' | 'D' | 'h' | 'H' | 's' | 'S' | 'e' | 'g' => {
                let letter = c.to_ascii_lowercase();
                let mut run = String::from(letter);
                while chars.next_if(|c| c.to_ascii_lowercase() == letter).is_some() {
                    run.push(letter);
                }
                tokens.push(Token::Date(run));
            }
            'A' | 'a' => {
                // "AM/PM", "A/P".
                while chars
                    .next_if(|c| matches!(c, 'M' | 'm' | '/' | 'P' | 'p'))
                    .is_some()
                {}
                tokens.push(Token::Date("a".to_owned()));
            }
            '@' => tokens.push(Token::Digits("0".to_owned())),
            c => tokens.push(Token::Fixed(c.to_string())),
        }
    }
    tokens
}

/// `[$₩-412]` is a currency, `[h]` hours beyond a day, all else a colour, a language or a condition.
fn bracketed(inside: &str) -> Option<Token> {
    if let Some(currency) = inside.strip_prefix('$') {
        let symbol = currency.split('-').next().unwrap_or_default();
        return (!symbol.is_empty()).then(|| Token::Fixed(symbol.to_owned()));
    }
    let letter = inside.chars().next()?.to_ascii_lowercase();
    let is_span =
        matches!(letter, 'h' | 'm' | 's') && inside.chars().all(|c| c.to_ascii_lowercase() == letter);
    is_span.then(|| Token::Date(format!("[{letter}]")))
}

/// A number with fixed text around it.
fn amount(number: f64, code: &str, tokens: &[Token]) -> String {
    let n_percent = tokens.iter().filter(|token| **token == Token::Percent).count();
    let mut value = number * 100f64.powi(i32::try_from(n_percent).unwrap_or(0));
    let has_own_negative = section(code, -1.0) != section(code, 1.0);
    if has_own_negative {
        value = value.abs();
    }
    let Some(Token::Digits(places)) = tokens.iter().find(|token| matches!(token, Token::Digits(_))) else {
        // Fixed text alone: what a zero section like "-" says.
        return tokens.iter().map(fixed).collect::<String>();
    };
    // Commas behind the last place divide by a thousand each.
    let scaled = places.trim_end_matches(',');
    let n_thousands = places.len() - scaled.len();
    value /= 1000f64.powi(i32::try_from(n_thousands).unwrap_or(0));
    let (whole, fraction) = scaled.split_once('.').unwrap_or((scaled, ""));
    let least = fraction.matches('0').count();
    let most = fraction.matches(['0', '#', '?']).count().min(DECIMALS_MAX);
    let mut digits = format!("{:.most$}", value.abs());
    if let Some((_, decimals)) = digits.split_once('.') {
        let zeros = decimals.len() - decimals.trim_end_matches('0').len();
        let cut = zeros.min(most - least.min(most));
        digits.truncate(digits.len() - cut);
        digits.truncate(digits.trim_end_matches('.').len());
    }
    if whole.contains(',') {
        digits = grouped(&digits);
    }
    let width = whole.matches('0').count();
    let n_whole = digits.find('.').unwrap_or(digits.len());
    if width > n_whole && !whole.contains(',') {
        digits.insert_str(0, &"0".repeat(width - n_whole));
    }
    let is_negative = value < 0.0 && digits.bytes().any(|b| (b'1'..=b'9').contains(&b));
    let mut out = String::new();
    let mut is_written = false;
    for token in tokens {
        match token {
            Token::Digits(_) if !is_written => {
                is_written = true;
                out.push_str(&digits);
            }
            Token::Digits(_) | Token::Date(_) => {}
            Token::Percent => out.push('%'),
            Token::Fixed(_) => out.push_str(&fixed(token)),
        }
    }
    let out = out.trim().to_owned();
    if is_negative { format!("-{out}") } else { out }
}

fn fixed(token: &Token) -> String {
    match token {
        Token::Fixed(text) => text.clone(),
        _ => String::new(),
    }
}

/// Commas between thousands.
fn grouped(digits: &str) -> String {
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

/// A day and a time of day; `None` if the number is no date.
fn date(number: f64, tokens: &[Token], from_1904: bool) -> Option<String> {
    if !(0.0..DAYS_MAX).contains(&number) {
        return None;
    }
    // Half a second up: times are sums of binary fractions.
    let seconds = (number * 86_400.0).round() as i64;
    let (day, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let epoch = if from_1904 { EPOCH_1904 } else { EPOCH_1900 };
    // Excel believes in a 29 February 1900: days before it are one off.
    let day = if !from_1904 && day < 60 { day + 1 } else { day };
    let (year, month, date) = civil(day - epoch);
    let has = |letter: char| {
        let is_it = |token: &Token| matches!(token, Token::Date(run) if run.contains(letter));
        tokens.iter().any(is_it)
    };
    let (has_day, has_time) = (has('y') || has('d') || has('e'), has('h') || has('s'));
    let (hours, minutes, rest) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let time = |hours: i64| {
        if has('s') {
            format!("{hours:02}:{minutes:02}:{rest:02}")
        } else {
            format!("{hours:02}:{minutes:02}")
        }
    };
    let is_span = tokens
        .iter()
        .any(|token| matches!(token, Token::Date(run) if run.starts_with('[')));
    if is_span {
        return Some(time(seconds / 3600));
    }
    let day = if has('d') || !has('y') {
        format!("{year:04}-{month:02}-{date:02}")
    } else if has('m') {
        format!("{year:04}-{month:02}")
    } else {
        format!("{year:04}")
    };
    Some(match (has_day || !has_time, has_time) {
        (true, true) => format!("{day} {}", time(hours)),
        (true, false) => day,
        (false, _) => time(hours),
    })
}

/// Year, month and day of a count of days from 1970-01-01, in the proleptic Gregorian calendar (Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms", civil_from_days).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_their_format_says() {
        let cases: [(f64, Option<&str>, &str); 24] = [
            (120000.0, Some("0.00E+00"), "120000"),
            (0.25, Some("# ?/?"), "0.25"),
            (1234567.0, None, "1234567"),
            (0.1 + 0.2, None, "0.3"),
            (1e21, None, "1000000000000000000000"),
            (1234567.891, Some("#,##0"), "1,234,568"),
            (1234567.891, Some("#,##0.00"), "1,234,567.89"),
            (0.155, Some("0.0%"), "15.5%"),
            (0.15, Some("0%"), "15%"),
            (-1200.0, Some("#,##0;[Red]\\-#,##0"), "-1,200"),
            (-1200.0, Some("#,##0_);(#,##0)"), "(1,200)"),
            (-1200.0, Some("#,##0"), "-1,200"),
            (30000000.0, Some("[$₩-412]#,##0"), "₩30,000,000"),
            (30000000.0, Some("#,##0\"원\""), "30,000,000원"),
            (0.0, Some("#,##0;-#,##0;\"-\""), "-"),
            (7.0, Some("000"), "007"),
            (12345678.0, Some("#,##0,"), "12,346"),
            (3.5, Some("0.##"), "3.5"),
            (3.0, Some("0.##"), "3"),
            (-0.0001, Some("0.00"), "0.00"),
            (45292.0, Some("yyyy-mm-dd"), "2024-01-01"),
            (
                45292.5,
                Some("yyyy\"년\" m\"월\" d\"일\" hh:mm"),
                "2024-01-01 12:00",
            ),
            (0.75, Some("h:mm AM/PM"), "18:00"),
            (1.5, Some("[h]:mm"), "36:00"),
        ];
        for (number, code, shown) in cases {
            assert_eq!(show(number, code, false), shown, "{number} {code:?}");
        }
    }

    #[test]
    fn both_calendars_and_excels_leap_year_are_known() {
        assert_eq!(show(1.0, Some("yyyy-mm-dd"), false), "1900-01-01");
        assert_eq!(show(59.0, Some("yyyy-mm-dd"), false), "1900-02-28");
        assert_eq!(show(61.0, Some("yyyy-mm-dd"), false), "1900-03-01");
        assert_eq!(show(0.0, Some("yyyy-mm-dd"), true), "1904-01-01");
        assert_eq!(show(45292.0 - 1462.0, Some("yyyy-mm-dd"), true), "2024-01-01");
        // What no calendar holds stays a number.
        assert_eq!(show(-5.0, Some("yyyy-mm-dd"), false), "-5");
        assert_eq!(show(1e12, Some("yyyy-mm-dd"), false), "1000000000000");
    }

    #[test]
    fn no_code_and_no_number_makes_it_fail() {
        let codes = [
            "", ";", ";;;", "\"", "[", "\\", "_", "*", "%%%%", "0.0.0,,,", "[$", "@", "e", "aaa", "0E+00",
        ];
        for code in codes {
            for number in [0.0, -1.5, 1e300, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE] {
                drop(show(number, Some(code), false));
            }
        }
    }
}
