//! What it costs that two words stand side by side, and that a space stands before a word that is glued to the one
//! before it as a rule.

use super::{DictionaryFile, Fault, bad};

/// A run of characters of one kind with more than this many behind its first is no word, unless the dictionary says so.
const GROUP_MAX: usize = 24;

/// The costs of seams.
pub(super) struct Costs {
    /// Classes to the left and to the right of a seam.
    pub(super) classes: (u16, u16),
    of_seams: Vec<u8>,
}

impl Costs {
    /// Takes a file apart.
    pub(super) fn parse(mut bytes: Vec<u8>) -> Result<Self, Fault> {
        let file = DictionaryFile::Costs;
        let Some([a, b, c, d]) = bytes.first_chunk::<4>().copied() else {
            return Err(bad(file, "it is empty"));
        };
        let classes = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        let expected = 4 + 2 * u64::from(classes.0) * u64::from(classes.1);
        if bytes.len() as u64 != expected {
            return Err(bad(file, "its length does not fit its classes of words"));
        }
        if classes.0 == 0 || classes.1 == 0 {
            return Err(bad(file, "it has no classes of words"));
        }
        Ok(Self {
            classes,
            of_seams: bytes.split_off(4),
        })
    }

    /// What it costs that a word of class `right` follows one of class `left`.
    pub(super) fn seam(&self, left: u16, right: u16) -> i64 {
        let (costs, _) = self.of_seams.as_chunks::<2>();
        let at = usize::from(left) + usize::from(self.classes.0) * usize::from(right);
        // Classes are compared with the table's when the words are read.
        costs
            .get(at)
            .map_or(0, |cost| i64::from(i16::from_le_bytes(*cost)))
    }
}

/// What a dictionary says of how it is to be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manner {
    /// Parts of speech before which a space costs, and how much.
    spaced: Vec<(u16, i32)>,
    /// How many characters a run may have behind its first.
    pub(super) group_max: usize,
}

impl Manner {
    /// Reads lines of `key = value`; keys that matter to others only are passed over.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let file = DictionaryFile::Manner;
        let text = std::str::from_utf8(bytes).map_err(|_| bad(file, "it is no UTF-8"))?;
        let mut manner = Self {
            spaced: Vec::new(),
            group_max: GROUP_MAX,
        };
        for line in text
            .lines()
            .filter(|line| !line.trim_start().starts_with([';', '#']))
        {
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let wrong = || bad(file, format!("`{}` is not what it should be", key.trim()));
            match key.trim() {
                "left-space-penalty-factor" => {
                    let numbers: Option<Vec<i32>> = value.split(',').map(|n| n.trim().parse().ok()).collect();
                    let numbers = numbers.ok_or_else(wrong)?;
                    let (pairs, rest) = numbers.as_chunks::<2>();
                    if !rest.is_empty() {
                        return Err(wrong());
                    }
                    for [part, cost] in pairs {
                        manner
                            .spaced
                            .push((u16::try_from(*part).map_err(|_| wrong())?, *cost));
                    }
                }
                "max-grouping-size" => manner.group_max = value.trim().parse().map_err(|_| wrong())?,
                _ => {}
            }
        }
        Ok(manner)
    }

    /// What a space before a word of this part of speech costs.
    pub(super) fn space(&self, part: u16) -> i64 {
        let found = self.spaced.iter().find(|(known, _)| *known == part);
        found.map_or(0, |(_, cost)| i64::from(*cost))
    }
}
