//! Reciprocal rank fusion of ranked lists (Cormack, Clarke and Büttcher, SIGIR 2009).
//!
//! Uses ranks only: scores of different indexes are not comparable.

use std::collections::BTreeMap;

/// The paper's constant: how slowly the worth of a rank falls.
const RANK_OFFSET: f64 = 60.0;

/// Fuses lists of ids, best first; equal scores are ordered by id, so the result is the same every time.
pub(crate) fn fuse(lists: &[Vec<u64>]) -> Vec<(u64, f64)> {
    let mut scores: BTreeMap<u64, f64> = BTreeMap::new();
    for list in lists {
        for (rank, &id) in list.iter().enumerate() {
            *scores.entry(id).or_default() += 1.0 / (RANK_OFFSET + rank as f64 + 1.0);
        }
    }
    let mut fused: Vec<(u64, f64)> = scores.into_iter().collect();
    fused.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    fused
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list() -> impl Strategy<Value = Vec<u64>> {
        proptest::collection::btree_set(0u64..40, 0..20)
            .prop_map(|s| s.into_iter().collect())
            .prop_shuffle()
    }

    proptest! {
        #[test]
        fn one_list_keeps_its_order(a in list()) {
            let fused: Vec<u64> = fuse(std::slice::from_ref(&a)).into_iter().map(|(id, _)| id).collect();
            prop_assert_eq!(fused, a);
        }

        #[test]
        fn the_order_of_the_lists_does_not_matter(a in list(), b in list()) {
            prop_assert_eq!(fuse(&[a.clone(), b.clone()]), fuse(&[b, a]));
        }

        #[test]
        fn better_in_both_lists_is_better_fused(a in list(), b in list()) {
            let fused = fuse(&[a.clone(), b.clone()]);
            let rank = |list: &[u64], id| list.iter().position(|&x| x == id);
            for (i, &(first, _)) in fused.iter().enumerate() {
                for &(second, _) in &fused[i + 1..] {
                    let ranks = (rank(&a, first), rank(&a, second), rank(&b, first), rank(&b, second));
                    if let (Some(a1), Some(a2), Some(b1), Some(b2)) = ranks {
                        prop_assert!(a1 < a2 || b1 < b2);
                    }
                }
            }
        }

        #[test]
        fn everything_is_there_once_and_scores_fall(a in list(), b in list()) {
            let fused = fuse(&[a.clone(), b.clone()]);
            let mut ids: Vec<u64> = fused.iter().map(|f| f.0).collect();
            prop_assert!(fused.windows(2).all(|w| w[0].1 >= w[1].1));
            ids.sort_unstable();
            let mut all: Vec<u64> = a.into_iter().chain(b).collect();
            all.sort_unstable();
            all.dedup();
            prop_assert_eq!(ids, all);
        }
    }
}
