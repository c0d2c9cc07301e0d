//! A place in a text, from which small readers try to go on.

use crate::analyser::{Class, class};

/// A copy is a place to come back to.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    chars: &'a [char],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(chars: &'a [char]) -> Self {
        Self { chars, at: 0 }
    }

    pub(super) fn place(self) -> usize {
        self.at
    }

    pub(super) fn peek(self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn before(self) -> Option<char> {
        self.at.checked_sub(1).and_then(|at| self.chars.get(at)).copied()
    }

    pub(super) fn next(self) -> Self {
        Self {
            at: (self.at + 1).min(self.chars.len()),
            ..self
        }
    }

    /// Everything between this place and a later one.
    pub(super) fn until(self, end: Self) -> &'a [char] {
        &self.chars[self.at..end.at.max(self.at)]
    }

    pub(super) fn eat(self, c: char) -> Option<Self> {
        (self.peek() == Some(c)).then(|| self.next())
    }

    pub(super) fn eat_if(self, wanted: impl Fn(char) -> bool) -> Option<(char, Self)> {
        self.peek().filter(|c| wanted(*c)).map(|c| (c, self.next()))
    }

    pub(super) fn eat_str(self, text: &str) -> Option<Self> {
        text.chars().try_fold(self, Self::eat)
    }

    /// The longest of these that stands here.
    pub(super) fn eat_any<'t, T: Copy>(self, table: &'t [(&'t str, T)]) -> Option<(T, Self)> {
        let fitting = table
            .iter()
            .filter_map(|(text, value)| self.eat_str(text).map(|after| (*value, after)));
        fitting.max_by_key(|(_, after)| after.at)
    }

    /// Like [`Cursor::eat_any`], but only a whole Latin word.
    pub(super) fn eat_word<'t, T: Copy>(self, table: &'t [(&'t str, T)]) -> Option<(T, Self)> {
        self.eat_any(table)
            .filter(|(_, after)| !self.is_in_word() && !after.is_latin())
    }

    /// Past a space, or two: what is set apart by more does not belong together.
    pub(super) fn space(self) -> Self {
        let is_space = |c| matches!(c, ' ' | '\u{a0}' | '\t');
        let one = self.eat_if(is_space).map_or(self, |(_, after)| after);
        one.eat_if(is_space).map_or(one, |(_, after)| after)
    }

    /// Between `min` and `max` digits, with no digit after them.
    pub(super) fn digits(self, min: usize, max: usize) -> Option<(u32, Self)> {
        let mut after = self;
        let mut value: u32 = 0;
        let mut n = 0;
        while let Some((digit, next)) = after.eat_if(|c| c.is_ascii_digit()) {
            n += 1;
            if n > max {
                return None;
            }
            value = value.checked_mul(10)?.checked_add(digit.to_digit(10)?)?;
            after = next;
        }
        (n >= min).then_some((value, after))
    }

    pub(super) fn is_digit(self) -> bool {
        self.peek().is_some_and(|c| c.is_ascii_digit())
    }

    pub(super) fn is_hangul(self) -> bool {
        self.peek().is_some_and(|c| class(c) == Class::Hangul)
    }

    pub(super) fn is_latin(self) -> bool {
        self.peek()
            .is_some_and(|c| class(c) == Class::Word && !c.is_ascii_digit())
    }

    /// Whether a letter or digit of the same word stands before.
    pub(super) fn is_in_word(self) -> bool {
        self.before().is_some_and(|c| class(c) == Class::Word)
    }

    /// Whether a Hangul syllable stands before.
    pub(super) fn is_in_hangul(self) -> bool {
        self.before().is_some_and(|c| class(c) == Class::Hangul)
    }

    /// Whether a number may begin here: not in the middle of one, or of a word.
    pub(super) fn may_begin_number(self) -> bool {
        let joined = matches!(self.before(), Some('.' | ',' | '-' | '/' | ':' | '_'))
            && self
                .at
                .checked_sub(2)
                .is_some_and(|at| class(self.chars[at]) == Class::Word);
        !self.is_in_word() && !joined
    }

    /// Whether a number may end here: no letter, and no digit behind a joiner, follows.
    pub(super) fn may_end_number(self) -> bool {
        let Some(c) = self.peek() else { return true };
        let goes_on = matches!(c, '.' | ',' | '-' | '/' | ':' | '_') && self.next().is_digit();
        !goes_on && class(c) != Class::Word
    }

    /// To where the next thing may begin: what stands inside a word of letters and digits begins nothing.
    pub(super) fn skip_word(self) -> Self {
        let mut after = self.next();
        if self.peek().is_some_and(|c| class(c) == Class::Word) {
            while after.peek().is_some_and(|c| class(c) == Class::Word) {
                after = after.next();
            }
        }
        after
    }
}
