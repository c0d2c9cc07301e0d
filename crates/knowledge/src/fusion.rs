//! Fusion of what words and vectors find: each list's scores brought to 0..1, then added with weights (Bruch, Gai and
//! Ingber, ACM TOIS 2023: such a sum is better than ranks alone, and needs few questions to find its one weight).
//!
//! BM25 and cosine are on different scales, and each question has its own: so the best of a list is 1 and its last is 0.
//! What a list does not name gets nothing from it. Both lists hold permitted passages only, so nothing else has a part.

use std::collections::BTreeMap;

/// What the vectors' list counts; the words' list counts the rest (see docs/search.md). Not one half: where two passages are
/// each the best of one list, as among few documents, the vectors decide and not the numbers of the passages.
const DENSE_WEIGHT: f64 = 0.52;

/// Fuses two lists of ids with scores; equal sums are ordered by id, so the result is the same every time.
pub(crate) fn fuse(lexical: &[(u64, f32)], dense: &[(u64, f32)]) -> Vec<(u64, f64)> {
    let mut sums: BTreeMap<u64, f64> = BTreeMap::new();
    for (list, weight) in [(lexical, 1.0 - DENSE_WEIGHT), (dense, DENSE_WEIGHT)] {
        let (low, high) = list
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), (_, score)| {
                (low.min(*score), high.max(*score))
            });
        for &(id, score) in list {
            // One passage alone, or several that are equally good, are all the best.
            let share = if high > low {
                f64::from(score - low) / f64::from(high - low)
            } else {
                1.0
            };
            *sums.entry(id).or_default() += weight * share;
        }
    }
    let mut fused: Vec<(u64, f64)> = sums.into_iter().collect();
    fused.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    fused
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

    fn ids(list: &[(u64, f64)]) -> Vec<u64> {
        list.iter().map(|(id, _)| *id).collect()
    }

    #[test]
    fn what_both_find_comes_before_what_one_finds_a_little_better() {
        let words = [(1, 12.0), (2, 11.0), (9, 1.0)];
        let vectors = [(3, 0.90), (2, 0.89), (8, 0.70)];
        assert_eq!(ids(&fuse(&words, &vectors))[0], 2);
    }

    #[test]
    fn where_each_list_has_its_own_best_the_vectors_decide() {
        for (word, vector) in [(1, 2), (2, 1)] {
            let (words, vectors) = ([(word, 7.0), (vector, 3.0)], [(vector, 0.9), (word, 0.8)]);
            assert_eq!(ids(&fuse(&words, &vectors)), [vector, word]);
        }
    }

    #[test]
    fn a_list_in_which_all_are_equal_does_not_lose_its_say() {
        assert_eq!(fuse(&[(7, 3.0)], &[]), [(7, 1.0 - DENSE_WEIGHT)]);
        assert_eq!(ids(&fuse(&[(5, 2.0), (4, 2.0)], &[])), [4, 5]);
        assert_eq!(fuse(&[], &[]), []);
    }

    proptest! {
        #[test]
        fn one_list_keeps_its_order(a in list()) {
            for fused in [fuse(&a, &[]), fuse(&[], &a)] {
                let score = |id: u64| a.iter().find(|(other, _)| *other == id).map(|(_, score)| *score);
                prop_assert!(fused.windows(2).all(|w| score(w[0].0) >= score(w[1].0)));
                prop_assert_eq!(fused.len(), a.len());
            }
        }

        #[test]
        fn neither_scale_matters(a in list(), b in list()) {
            let scaled: Vec<(u64, f32)> = a.iter().map(|(id, score)| (*id, score * 4.0 + 8.0)).collect();
            let (plain, other) = (fuse(&a, &b), fuse(&scaled, &b));
            let other: BTreeMap<u64, f64> = other.into_iter().collect();
            prop_assert!(plain.iter().all(|(id, sum)| (other[id] - sum).abs() < 1e-3));
        }

        #[test]
        fn better_in_both_lists_is_better_fused(a in list(), b in list()) {
            let fused = fuse(&a, &b);
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
            let fused = fuse(&a, &b);
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
