//! One table of words of a MeCab dictionary: a double-array trie of spellings, what each of them may be, and the
//! features, which are text.
//!
//! Everything that a file says of itself is compared with its length before it is believed; what cannot be compared
//! beforehand, the ways through the trie, is looked up with bounds.

use super::{DictionaryFile, Fault, bad};

/// "MeCab" tables of words begin with their own length, mixed with this.
const MAGIC: u32 = 0xef71_8f77;
/// The layout that is known.
const VERSION: u32 = 102;
/// Bytes before the trie.
const HEADER: usize = 72;
/// Where the name of the character set stands.
const CHARSET: std::ops::Range<usize> = 40..72;
/// Bytes of a unit of the trie, and of a token.
const UNIT: usize = 8;
const TOKEN: usize = 16;

/// What a table of words is for: the number that it states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Words that are known.
    Known = 0,
    /// What words of each kind of character may be that are not.
    Unknown = 2,
}

/// A spelling's part of speech, as the costs know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    /// Its class for what stands before it.
    pub(super) left: u16,
    /// Its class for what comes after it.
    pub(super) right: u16,
    /// The number of its part of speech.
    pub(super) part: u16,
    pub(super) cost: i16,
    /// Where its features begin.
    pub(super) features: u32,
}

/// A table of words.
pub(super) struct Entries {
    trie: Vec<u8>,
    tokens: Vec<u8>,
    features: String,
    /// Classes of words to the left and to the right of a seam.
    pub(super) classes: (u16, u16),
}

impl Entries {
    /// Takes a file apart, if all that it states holds.
    pub(super) fn parse(file: DictionaryFile, mut bytes: Vec<u8>, wanted: Use) -> Result<Self, Fault> {
        let header = Header::parse(file, &bytes, wanted)?;
        let features = bytes.split_off(HEADER + header.trie + header.tokens);
        let tokens = bytes.split_off(HEADER + header.trie);
        let trie = bytes.split_off(HEADER);
        let features = String::from_utf8(features).map_err(|_| bad(file, "its features are no UTF-8"))?;
        if !features.ends_with('\0') {
            return Err(bad(file, "its features do not end"));
        }
        let entries = Self {
            trie,
            tokens,
            features,
            classes: header.classes,
        };
        let (lefts, rights) = entries.classes;
        for token in entries.all_tokens() {
            // A word stands to the left of a seam by its right class, and the other way round.
            if token.right >= lefts || token.left >= rights {
                return Err(bad(file, "a word is of a class that has no costs"));
            }
            if !entries.features.is_char_boundary(token.features as usize)
                || token.features as usize >= entries.features.len()
            {
                return Err(bad(file, "the features of a word lie outside of it"));
            }
        }
        Ok(entries)
    }

    fn all_tokens(&self) -> impl Iterator<Item = Token> {
        let (tokens, _) = self.tokens.as_chunks::<TOKEN>();
        tokens.iter().map(token)
    }

    /// The features of a token, separated by commas.
    pub(super) fn features(&self, token: Token) -> &str {
        let from = self.features.get(token.features as usize..).unwrap_or_default();
        from.split('\0').next().unwrap_or_default()
    }

    /// Visits every word that `key` begins with, the shortest first: its length in bytes, and what it may be.
    pub(super) fn each_prefix(
        &self,
        key: &[u8],
        mut visit: impl FnMut(usize, &mut dyn Iterator<Item = Token>),
    ) {
        let Some((mut base, _)) = self.unit(0) else { return };
        for n in 0..=key.len() {
            if n > 0
                && let Some(found) = self.ending(base)
            {
                visit(n, &mut found.iter().map(token));
            }
            let Some(next) = key.get(n).and_then(|byte| self.step(base, *byte)) else {
                return;
            };
            base = next;
        }
    }

    /// What a word may be that is spelt exactly so; `None` if there is none.
    pub(super) fn exactly(&self, key: &[u8]) -> Option<Vec<Token>> {
        let (root, _) = self.unit(0)?;
        let base = key.iter().try_fold(root, |base, byte| self.step(base, *byte))?;
        Some(self.ending(base)?.iter().map(token).collect())
    }

    /// A unit of the trie: where its children are, and whose child it is.
    fn unit(&self, at: u32) -> Option<(i32, u32)> {
        let (units, _) = self.trie.as_chunks::<UNIT>();
        let [a, b, c, d, e, f, g, h] = *units.get(at as usize)?;
        Some((i32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])))
    }

    /// Goes on with a byte from where the children lie at `base`.
    fn step(&self, base: i32, byte: u8) -> Option<i32> {
        let (next, parent) = self.unit(base.cast_unsigned().checked_add(u32::from(byte) + 1)?)?;
        (parent == base.cast_unsigned()).then_some(next)
    }

    /// The tokens of the word that ends where the children lie at `base`.
    fn ending(&self, base: i32) -> Option<&[[u8; TOKEN]]> {
        let (value, parent) = self.unit(base.cast_unsigned())?;
        if parent != base.cast_unsigned() || value >= 0 {
            return None;
        }
        // The number of the first token, and how many there are.
        let value = (-(i64::from(value) + 1)) as usize;
        let (first, n) = (value >> 8, value & 0xff);
        let (tokens, _) = self.tokens.as_chunks::<TOKEN>();
        tokens.get(first..first + n)
    }
}

/// What a file says of itself.
struct Header {
    classes: (u16, u16),
    /// Bytes of the trie and of the tokens; what is left are features.
    trie: usize,
    tokens: usize,
}

impl Header {
    fn parse(file: DictionaryFile, bytes: &[u8], wanted: Use) -> Result<Self, Fault> {
        if bytes.len() < HEADER {
            return Err(bad(file, "it is shorter than its header"));
        }
        let number = |i: usize| {
            let (words, _) = bytes.as_chunks::<4>();
            words.get(i).map_or(0, |word| u32::from_le_bytes(*word))
        };
        if u64::from(number(0) ^ MAGIC) != bytes.len() as u64 {
            return Err(bad(file, "it is no table of words of MeCab, or it is not whole"));
        }
        if number(1) != VERSION {
            return Err(bad(
                file,
                format!("its layout is {}, and {VERSION} is known", number(1)),
            ));
        }
        if number(2) != wanted as u32 {
            return Err(bad(file, "it is a table for another use"));
        }
        let charset: Vec<u8> = bytes[CHARSET]
            .iter()
            .copied()
            .take_while(|byte| *byte != 0)
            .collect();
        if !charset.eq_ignore_ascii_case(b"utf-8") && !charset.eq_ignore_ascii_case(b"utf8") {
            let charset = String::from_utf8_lossy(&charset).into_owned();
            return Err(bad(
                file,
                format!("its characters are `{charset}`, and UTF-8 is known"),
            ));
        }
        let size = |i| number(i) as usize;
        let (trie, tokens, features) = (size(6), size(7), size(8));
        let all = HEADER as u64 + trie as u64 + tokens as u64 + features as u64;
        if all != bytes.len() as u64 || !trie.is_multiple_of(UNIT) || !tokens.is_multiple_of(TOKEN) {
            return Err(bad(file, "its parts do not fit its length"));
        }
        let class = |i| u16::try_from(number(i)).map_err(|_| bad(file, "it has too many classes of words"));
        Ok(Self {
            classes: (class(4)?, class(5)?),
            trie,
            tokens,
        })
    }
}

fn token(bytes: &[u8; TOKEN]) -> Token {
    let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = *bytes;
    Token {
        left: u16::from_le_bytes([a, b]),
        right: u16::from_le_bytes([c, d]),
        part: u16::from_le_bytes([e, f]),
        cost: i16::from_le_bytes([g, h]),
        features: u32::from_le_bytes([i, j, k, l]),
    }
}
