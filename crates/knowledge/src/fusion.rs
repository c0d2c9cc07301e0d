//! Fusion of what words and vectors find: each list's scores brought to 0..1, then added with weights (Bruch, Gai and
//! Ingber, ACM TOIS 2023: such a sum is better than ranks alone, and needs few questions to find its one weight).
//!
//! BM25 and cosine are on different scales, and each question has its own: so the best of a list is 1 and its last is 0.
//! What a list does not name gets nothing from it. Both lists hold permitted passages only, so nothing else has a part.
//!
//! A passage is a piece of a text that goes on: words often find one and vectors the next. So the best passage of a place
//! counts what either list finds there, while those around it keep their own sums and do not crowd out other places.

use std::collections::BTreeMap;

/// What the vectors' list counts; the words' list counts the rest (see docs/search.md). Not one half: where two passages are
/// each the best of one list, as among few documents, the vectors decide and not the numbers of the passages.
const DENSE_WEIGHT: f64 = 0.52;
/// Passages on both sides, in the same document, that are one place: some three pages of paper.
const NEAR: u64 = 8;

/// A passage's shares of the two lists.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Shares {
    words: f64,
    vectors: f64,
}

impl Shares {
    fn sum(self) -> f64 {
        (1.0 - DENSE_WEIGHT) * self.words + DENSE_WEIGHT * self.vectors
    }

    /// The better of each.
    fn max(self, other: Self) -> Self {
        Self {
            words: self.words.max(other.words),
            vectors: self.vectors.max(other.vectors),
        }
    }
}

/// Fuses two lists of ids with scores. `firsts` gives the first passage of a passage's document, whose passages are
/// numbered one after another; one that it does not name has nothing near it. Equal sums are ordered by id, so the result
/// is the same every time.
pub(crate) fn fuse(
    lexical: &[(u64, f32)],
    dense: &[(u64, f32)],
    firsts: &BTreeMap<u64, u64>,
) -> Vec<(u64, f64)> {
    let mut found: BTreeMap<u64, Shares> = BTreeMap::new();
    for (id, share) in shares(lexical) {
        found.entry(id).or_default().words = share;
    }
    for (id, share) in shares(dense) {
        found.entry(id).or_default().vectors = share;
    }
    let mut fused: Vec<(u64, f64)> = found
        .iter()
        .map(|(&id, own)| (id, best_of_its_place(id, &found, firsts).unwrap_or(*own).sum()))
        .collect();
    fused.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    fused
}

/// Scores brought to 0..1.
fn shares(list: &[(u64, f32)]) -> impl Iterator<Item = (u64, f64)> {
    let (low, high) = list
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), (_, score)| {
            (low.min(*score), high.max(*score))
        });
    list.iter().map(move |&(id, score)| {
        // One passage alone, or several that are equally good, are all the best.
        let share = if high > low {
            f64::from(score - low) / f64::from(high - low)
        } else {
            1.0
        };
        (id, share)
    })
}

/// The best shares of a passage's place; `None` if another passage there is better, or as good and earlier.
fn best_of_its_place(id: u64, found: &BTreeMap<u64, Shares>, firsts: &BTreeMap<u64, u64>) -> Option<Shares> {
    let first = firsts.get(&id)?;
    let own = found.get(&id)?.sum();
    let mut best = Shares::default();
    for (other, shares) in found.range(id.saturating_sub(NEAR)..=id.saturating_add(NEAR)) {
        if firsts.get(other) != Some(first) {
            continue;
        }
        let sum = shares.sum();
        if sum > own || sum == own && *other < id {
            return None;
        }
        best = best.max(*shares);
    }
    Some(best)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list() -> impl Strategy<Value = Vec<(u64, f32)>> {
        proptest::collection::btree_map(0u64..40, -5.0f32..50.0, 0..20).prop_map(|scores| {
            let mut list: Vec<(u64, f32)> = scores.into_iter().collect();
            list.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            list
        })
    }

    /// Every passage a document of its own.
    fn apart(lexical: &[(u64, f32)], dense: &[(u64, f32)]) -> Vec<(u64, f64)> {
        fuse(lexical, dense, &BTreeMap::new())
    }

    /// Documents of ten passages.
    fn firsts() -> BTreeMap<u64, u64> {
        (0..100).map(|id| (id, id / 10 * 10)).collect()
    }

    fn ids(list: &[(u64, f64)]) -> Vec<u64> {
        list.iter().map(|(id, _)| *id).collect()
    }

    #[test]
    fn what_both_find_comes_before_what_one_finds_a_little_better() {
        let words = [(1, 12.0), (2, 11.0), (9, 1.0)];
        let vectors = [(3, 0.90), (2, 0.89), (8, 0.70)];
        assert_eq!(ids(&apart(&words, &vectors))[0], 2);
    }

    #[test]
    fn where_each_list_has_its_own_best_the_vectors_decide() {
        for (word, vector) in [(1, 2), (2, 1)] {
            let (words, vectors) = ([(word, 7.0), (vector, 3.0)], [(vector, 0.9), (word, 0.8)]);
            assert_eq!(ids(&apart(&words, &vectors)), [vector, word]);
        }
    }

    #[test]
    fn a_list_in_which_all_are_equal_does_not_lose_its_say() {
        assert_eq!(apart(&[(7, 3.0)], &[]), [(7, 1.0 - DENSE_WEIGHT)]);
        assert_eq!(ids(&apart(&[(5, 2.0), (4, 2.0)], &[])), [4, 5]);
        assert_eq!(apart(&[], &[]), []);
    }

    #[test]
    fn the_best_passage_of_a_place_counts_what_either_list_finds_there() {
        // The words' best is 21, the vectors' best 22 beside it; 70 is second in both.
        let (words, vectors) = (
            [(21, 9.0), (70, 7.5), (1, 1.0)],
            [(22, 0.9), (70, 0.86), (2, 0.7)],
        );
        assert_eq!(ids(&apart(&words, &vectors))[0], 70);
        let fused = fuse(&words, &vectors, &firsts());
        assert_eq!(fused[0], (22, 1.0));
        // The one beside it keeps its own.
        assert_eq!(ids(&fused)[1..3], [70, 21]);
        // Further away, or in another document, it is not the same place.
        for (far, firsts) in [(39, firsts()), (22, [(21, 21), (22, 22)].into())] {
            let vectors = [(far, 0.9), (70, 0.86), (2, 0.7)];
            assert_eq!(ids(&fuse(&words, &vectors, &firsts))[0], 70);
        }
    }

    proptest! {
        #[test]
        fn nobody_falls_and_one_of_each_place_rises(a in list(), b in list()) {
            let (plain, fused) = (apart(&a, &b), fuse(&a, &b, &firsts()));
            let before: BTreeMap<u64, f64> = plain.into_iter().collect();
            let mut risen: Vec<u64> = Vec::new();
            for (id, sum) in fused {
                prop_assert!(sum >= before[&id]);
                if sum > before[&id] {
                    risen.push(id);
                }
            }
            risen.sort_unstable();
            for pair in risen.windows(2) {
                prop_assert!(pair[0] / 10 != pair[1] / 10 || pair[1] - pair[0] > NEAR);
            }
        }

        #[test]
        fn one_list_alone_is_not_changed_by_places(a in list()) {
            prop_assert_eq!(fuse(&a, &[], &firsts()), apart(&a, &[]));
            prop_assert_eq!(fuse(&[], &a, &firsts()), apart(&[], &a));
        }

        #[test]
        fn one_list_keeps_its_order(a in list()) {
            for fused in [apart(&a, &[]), apart(&[], &a)] {
                let score = |id: u64| a.iter().find(|(other, _)| *other == id).map(|(_, score)| *score);
                prop_assert!(fused.windows(2).all(|w| score(w[0].0) >= score(w[1].0)));
                prop_assert_eq!(fused.len(), a.len());
            }
        }

        #[test]
        fn neither_scale_matters(a in list(), b in list()) {
            let scaled: Vec<(u64, f32)> = a.iter().map(|(id, score)| (*id, score * 4.0 + 8.0)).collect();
            let (plain, other) = (apart(&a, &b), apart(&scaled, &b));
            let other: BTreeMap<u64, f64> = other.into_iter().collect();
            prop_assert!(plain.iter().all(|(id, sum)| (other[id] - sum).abs() < 1e-3));
        }

        #[test]
        fn better_in_both_lists_is_better_fused(a in list(), b in list()) {
            let fused = apart(&a, &b);
            let score = |list: &[(u64, f32)], id| list.iter().find(|(x, _)| *x == id).map(|(_, s)| *s);
            for (i, &(first, _)) in fused.iter().enumerate() {
                for &(second, _) in &fused[i + 1..] {
                    let scores = (score(&a, first), score(&a, second), score(&b, first), score(&b, second));
                    if let (Some(a1), Some(a2), Some(b1), Some(b2)) = scores {
                        prop_assert!(a1 >= a2 || b1 >= b2);
                    }
                }
            }
        }

        #[test]
        fn everything_is_there_once_and_sums_fall(a in list(), b in list()) {
            let fused = apart(&a, &b);
            let mut found = ids(&fused);
            prop_assert!(fused.windows(2).all(|w| w[0].1 >= w[1].1));
            found.sort_unstable();
            let mut all: Vec<u64> = a.into_iter().chain(b).map(|(id, _)| id).collect();
            all.sort_unstable();
            all.dedup();
            prop_assert_eq!(found, all);
        }
    }
}
