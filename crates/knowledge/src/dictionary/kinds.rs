//! Kinds of characters: which belong together in a word that no dictionary knows.

use super::{DictionaryFile, Fault, bad};

/// Bytes of the name of a kind.
const NAME: usize = 32;
/// Characters that have a kind of their own; all others are like the first.
const N_CHARS: usize = 0xffff;

/// What a character is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind(u32);

impl Kind {
    /// Whether both are of some kind.
    pub(super) fn is_like(self, other: Self) -> bool {
        self.0 & other.0 & 0x3_ffff != 0
    }

    /// The number of the kind by which it is looked up.
    pub(super) fn number(self) -> usize {
        (self.0 >> 18 & 0xff) as usize
    }

    /// Up to how many characters an unknown word may have.
    pub(super) fn length(self) -> u32 {
        self.0 >> 26 & 0xf
    }

    /// Whether a run of them may be a word.
    pub(super) fn groups(self) -> bool {
        self.0 >> 30 & 1 == 1
    }

    /// Whether unknown words are thought of even where there are known ones.
    pub(super) fn always(self) -> bool {
        self.0 >> 31 == 1
    }
}

/// The kinds of all characters.
pub(super) struct Kinds {
    names: Vec<Vec<u8>>,
    of_chars: Vec<u8>,
}

impl Kinds {
    /// Takes a file apart.
    pub(super) fn parse(mut bytes: Vec<u8>) -> Result<Self, Fault> {
        let file = DictionaryFile::Characters;
        let Some(n) = bytes.first_chunk::<4>().map(|n| u32::from_le_bytes(*n)) else {
            return Err(bad(file, "it is empty"));
        };
        let expected = 4 + u64::from(n) * NAME as u64 + N_CHARS as u64 * 4;
        if bytes.len() as u64 != expected {
            return Err(bad(file, "its length does not fit its kinds of characters"));
        }
        let of_chars = bytes.split_off(4 + n as usize * NAME);
        let (names, _) = bytes[4..].as_chunks::<NAME>();
        let kinds = Self {
            names: names
                .iter()
                .map(|name| name.iter().copied().take_while(|byte| *byte != 0).collect())
                .collect(),
            of_chars,
        };
        if (0..N_CHARS).any(|c| kinds.at(c).number() >= kinds.names.len()) {
            return Err(bad(file, "a character is of a kind that has no name"));
        }
        Ok(kinds)
    }

    /// The names of the kinds, by number.
    pub(super) fn names(&self) -> &[Vec<u8>] {
        &self.names
    }

    /// What a character is.
    pub(super) fn of(&self, c: char) -> Kind {
        let c = c as usize;
        self.at(if c < N_CHARS { c } else { 0 })
    }

    fn at(&self, c: usize) -> Kind {
        let (kinds, _) = self.of_chars.as_chunks::<4>();
        Kind(kinds.get(c).map_or(0, |kind| u32::from_le_bytes(*kind)))
    }
}
