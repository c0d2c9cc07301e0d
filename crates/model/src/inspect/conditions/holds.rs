//! What a value of a template may hold of a message.

use std::ops::{BitAnd, BitOr, BitOrAssign};

/// What a value may hold, several at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Holds(u8);

impl Holds {
    pub(super) const NOTHING: Self = Self(0);
    /// A message's content as it is.
    pub(super) const WORDS: Self = Self(1);
    /// A message: its content is words, its role is not.
    pub(super) const MESSAGE: Self = Self(2);
    /// A list of messages.
    pub(super) const MESSAGES: Self = Self(4);
    /// Attributes set one by one, such as those of a namespace.
    pub(super) const ATTRIBUTES: Self = Self(8);
    /// Whether content is there, or of what type.
    pub(super) const PRESENCE: Self = Self(16);
    /// Anything made from words: a part, a length, the outcome of a comparison, a container of them.
    pub(super) const MADE: Self = Self(32);
    /// A macro.
    pub(super) const MACRO: Self = Self(64);

    /// Whether it may hold one of these.
    pub(super) fn any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }

    /// All but these.
    pub(super) fn without(self, these: Self) -> Self {
        Self(self.0 & !these.0)
    }
}

impl BitOr for Holds {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Holds {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOrAssign for Holds {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
