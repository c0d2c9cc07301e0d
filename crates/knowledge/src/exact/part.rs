//! Part numbers, model names, versions: letters and digits in one word.

use super::Named;
use super::cursor::Cursor;
use crate::analyser::{Class, class};

/// Longer words are encoded data.
const CHARS_MAX: usize = 48;
const CHARS_MIN: usize = 3;

/// "AB-1234/5", also written "AB1234/5": where letters and digits meet, a hyphen makes no difference.
pub(super) fn read(at: Cursor<'_>) -> Option<(Named, Cursor<'_>)> {
    if !at.may_begin_number() || !(at.is_digit() || at.is_latin()) {
        return None;
    }
    let mut end = at;
    let mut name = String::new();
    let (mut has_letter, mut has_digit) = (false, false);
    let mut last = None;
    while let Some(c) = end.peek() {
        let kind = Kind::of(c);
        match kind {
            Kind::Letter | Kind::Digit => {
                if last.is_some_and(|last| last != kind && last != Kind::Joiner) {
                    name.push('-');
                }
                name.push(c);
                has_letter |= kind == Kind::Letter;
                has_digit |= kind == Kind::Digit;
            }
            Kind::Joiner if matches!(Kind::of_next(end), Kind::Letter | Kind::Digit) => {
                let is_hyphen = matches!(c, '-' | '_' | '\u{2010}' | '\u{2011}');
                name.push(if is_hyphen { '-' } else { c });
            }
            _ => break,
        }
        last = Some(kind);
        end = end.next();
    }
    let n_chars = name.chars().count();
    let fits = has_letter && has_digit && (CHARS_MIN..=CHARS_MAX).contains(&n_chars);
    fits.then_some((Named::Part(name), end))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Digit,
    Joiner,
    Other,
}

impl Kind {
    fn of(c: char) -> Self {
        match c {
            '-' | '_' | '/' | '.' | '\u{2010}' | '\u{2011}' => Self::Joiner,
            c if c.is_ascii_digit() => Self::Digit,
            c if class(c) == Class::Word => Self::Letter,
            _ => Self::Other,
        }
    }

    fn of_next(at: Cursor<'_>) -> Self {
        at.next().peek().map_or(Self::Other, Self::of)
    }
}
