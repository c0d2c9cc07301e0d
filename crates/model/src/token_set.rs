//! A set of token ids, one bit each: which tokens may come next.
//!
//! Knows nothing of why; a grammar makes it, the sampler obeys it.

/// Ids in a word of the set.
const BITS: u32 = u32::BITS;

/// Token ids; anything not put in is outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenSet {
    words: Vec<u32>,
}

impl TokenSet {
    /// The set of these ids.
    pub fn of(ids: impl IntoIterator<Item = u32>) -> Self {
        let mut set = Self::default();
        for id in ids {
            let word = (id / BITS) as usize;
            if word >= set.words.len() {
                set.words.resize(word + 1, 0);
            }
            set.words[word] |= 1 << (id % BITS);
        }
        set
    }

    /// The set whose members are the bits that are set, the lowest bit of the first word being id 0.
    pub(crate) fn from_words(words: Vec<u32>) -> Self {
        Self { words }
    }

    /// The set without the members of another.
    pub(crate) fn without(&self, others: &Self) -> Self {
        let others = others.words.iter().chain(std::iter::repeat(&0));
        let words = self.words.iter().zip(others).map(|(word, others)| word & !others);
        Self {
            words: words.collect(),
        }
    }

    /// Whether an id is inside.
    pub fn contains(&self, id: u32) -> bool {
        let word = self.words.get((id / BITS) as usize);
        word.is_some_and(|word| word & (1 << (id % BITS)) != 0)
    }

    /// The lowest id inside.
    pub fn first(&self) -> Option<u32> {
        let numbered = (0u32..).step_by(BITS as usize).zip(&self.words);
        let mut found = numbered.filter(|(_, word)| **word != 0);
        found.next().map(|(base, word)| base + word.trailing_zeros())
    }

    /// Ids inside.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether nothing is inside.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Makes the logits of all tokens outside impossible.
    pub(crate) fn mask(&self, logits: &mut [f32]) {
        let words = self.words.iter().chain(std::iter::repeat(&0));
        for (logits, &word) in logits.chunks_mut(BITS as usize).zip(words) {
            match word {
                u32::MAX => {}
                0 => logits.fill(f32::NEG_INFINITY),
                _ => (0..BITS).zip(logits).for_each(|(bit, logit)| {
                    if word & (1 << bit) == 0 {
                        *logit = f32::NEG_INFINITY;
                    }
                }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_empty_set_forbids_everything() {
        let set = TokenSet::default();
        assert_eq!((set.first(), set.len(), set.is_empty()), (None, 0, true));
        let mut logits = [1.0; 40];
        set.mask(&mut logits);
        assert!(logits.iter().all(|logit| *logit == f32::NEG_INFINITY));
    }

    proptest! {
        #[test]
        fn a_mask_leaves_exactly_the_members(ids in prop::collection::btree_set(0u32..200, 0..60), n in 0usize..220) {
            let set = TokenSet::of(ids.iter().copied());
            prop_assert_eq!(set.len(), ids.len());
            prop_assert_eq!(set.first(), ids.first().copied());
            let mut logits = vec![0.5; n];
            set.mask(&mut logits);
            for (id, logit) in (0u32..).zip(logits) {
                prop_assert_eq!(logit == 0.5, ids.contains(&id));
                prop_assert_eq!(set.contains(id), ids.contains(&id));
            }
        }
    }
}
