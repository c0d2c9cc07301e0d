//! Rates of ranked lists. Where several pages are right, each counts (binary gains).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

const DEPTH: usize = 10;

/// What `trial retrieval --json` prints, as far as it is used here.
#[derive(Debug, Deserialize)]
pub(super) struct Report {
    pub(super) n: usize,
    pub(super) items: Vec<Item>,
    pub(super) baseline_items: Vec<Item>,
    pub(super) p50_ms: f64,
}

/// The pages found for one question, best first.
#[derive(Debug, Deserialize)]
pub(super) struct Item {
    id: String,
    ranked: Vec<String>,
}

/// Means over all questions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Scores {
    pub(super) hit1: f64,
    pub(super) hit5: f64,
    pub(super) mrr10: f64,
    pub(super) ndcg10: f64,
}

pub(super) fn of(items: &[Item], labels: &BTreeMap<String, Vec<String>>) -> Scores {
    let mut sum = Scores::default();
    let none = Vec::new();
    for item in items {
        let right = labels.get(&item.id).unwrap_or(&none);
        let ranks: Vec<usize> = (0..item.ranked.len().min(DEPTH))
            .filter(|&at| right.contains(&item.ranked[at]))
            .collect();
        let first = ranks.first().copied().unwrap_or(usize::MAX);
        sum.hit1 += f64::from(u8::from(first < 1));
        sum.hit5 += f64::from(u8::from(first < 5));
        sum.mrr10 += if first < DEPTH {
            1.0 / (first + 1) as f64
        } else {
            0.0
        };
        let gain = |at: usize| 1.0 / ((at + 2) as f64).log2();
        let ideal: f64 = (0..right.len().min(DEPTH)).map(gain).sum();
        let reached: f64 = ranks.iter().map(|at| gain(*at)).sum();
        sum.ndcg10 += if ideal > 0.0 { reached / ideal } else { 0.0 };
    }
    let n = items.len().max(1) as f64;
    Scores {
        hit1: sum.hit1 / n,
        hit5: sum.hit5 / n,
        mrr10: sum.mrr10 / n,
        ndcg10: sum.ndcg10 / n,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gains_fall_with_the_rank_and_are_relative_to_the_best_order() {
        let labels = BTreeMap::from([("q".to_owned(), vec!["b".to_owned(), "c".to_owned()])]);
        let ranked = |pages: &[&str]| {
            let item = Item {
                id: "q".to_owned(),
                ranked: pages.iter().map(|page| (*page).to_owned()).collect(),
            };
            of(&[item], &labels)
        };
        assert!((ranked(&["b", "c"]).ndcg10 - 1.0).abs() < 1e-12);
        let second = ranked(&["a", "b"]);
        assert_eq!((second.hit1, second.hit5, second.mrr10), (0.0, 1.0, 0.5));
        assert!((second.ndcg10 - (1.0 / 3_f64.log2()) / (1.0 + 1.0 / 3_f64.log2())).abs() < 1e-12);
        assert_eq!(ranked(&["x"]), Scores::default());
    }
}
