//! The best passages once more, by whoever reads question and passage together.
//!
//! Only what was found, and may be read, is read again. What the reranker says nothing of keeps its place, so a model of
//! one language does no harm to passages and questions in another.

use std::collections::BTreeMap;

/// Passages that are read again: a second or so of two cores.
pub(crate) const RERANKED_MAX: usize = 20;

/// The ids of a ranked list in a new order: those with scores, best first, in the places that they have among them.
/// Scores of the list stay where they are: they say how good a place is.
pub(crate) fn reorder(ranked: &mut [(u64, f64)], scores: &BTreeMap<u64, f32>) {
    let mut best: Vec<(u64, f32)> = ranked
        .iter()
        .filter_map(|(id, _)| Some((*id, *scores.get(id)?)))
        .collect();
    // Equal ones keep their order.
    best.sort_by(|a, b| b.1.total_cmp(&a.1));
    let places = ranked.iter_mut().filter(|(id, _)| scores.contains_key(id));
    for (place, (id, _)) in places.zip(best) {
        place.0 = id;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_has_no_score_keeps_its_place() {
        let mut ranked = [(1, 0.9), (2, 0.8), (3, 0.7), (4, 0.6)];
        let scores = BTreeMap::from([(1, -3.0), (3, 5.0), (4, -1.0)]);
        reorder(&mut ranked, &scores);
        assert_eq!(ranked, [(3, 0.9), (2, 0.8), (4, 0.7), (1, 0.6)]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_scored_ones_fall(scores in proptest::collection::btree_map(0u64..30, -9.0f32..9.0, 0..20)) {
            let before: Vec<(u64, f64)> = (0..30).map(|id| (id, 1.0 / (id + 1) as f64)).collect();
            let mut after = before.clone();
            reorder(&mut after, &scores);
            prop_assert!(before.iter().zip(&after).all(|(a, b)| a.1 == b.1));
            let found: Vec<f32> = after.iter().filter_map(|(id, _)| scores.get(id).copied()).collect();
            prop_assert!(found.windows(2).all(|w| w[0] >= w[1]));
            let mut ids: Vec<u64> = after.iter().map(|(id, _)| *id).collect();
            ids.sort_unstable();
            prop_assert_eq!(ids, (0..30).collect::<Vec<u64>>());
        }
    }
}
