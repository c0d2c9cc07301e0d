//! Whose a request is: keys that nobody can forge by what he writes into them.

/// Whose request it is, in two respects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owner {
    /// Callers take turns in the queue, and none fills all of it. 0 where nobody is told apart.
    pub caller: u128,
    /// Requests of one partition share what is in memory of equal beginnings, those of different ones never. Partitions
    /// of one caller take turns among themselves. 0 where all may share.
    pub partition: u128,
}

/// A key of these texts. Each is hashed with its length, so that no other list of texts has the same key, whatever is
/// in them; never 0. The first should name what kind of key it is.
pub fn key_of(parts: &[&str]) -> u128 {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend((part.len() as u64).to_le_bytes());
        bytes.extend(part.as_bytes());
    }
    let hash = stdx::hash::sha256(&bytes);
    let first = hash.first_chunk().map_or(0, |bytes| u128::from_le_bytes(*bytes));
    first.max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn texts_that_join_alike_have_different_keys() {
        let lists: [&[&str]; 8] = [
            &[],
            &[""],
            &["", ""],
            &["ab"],
            &["a", "b"],
            &["", "ab"],
            &["ab", ""],
            &["\u{2}\0\0\0\0\0\0\0ab"],
        ];
        let keys: BTreeSet<u128> = lists.iter().map(|parts| key_of(parts)).collect();
        assert_eq!(keys.len(), lists.len());
        assert!(!keys.contains(&Owner::default().partition));
        assert_eq!(key_of(&["a", "b"]), key_of(&["a", "b"]));
    }
}
