//! Documents with the same text, or nearly the same: bands of their sketches bring those together that are compared.

use std::collections::{BTreeMap, HashMap};

use super::sketch::{BAND, BINS};
use super::{Doubled, Findings, Walked};

/// Texts of at least this similarity are nearly the same.
pub(super) const SIMILARITY_MIN: f64 = 0.85;
/// A document is compared with so many of those that share a band with it.
const NEIGHBOURS_MAX: usize = 16;

/// Groups of doubles among the documents that hold.
pub(super) fn find(walked: &[Walked]) -> Findings<Doubled> {
    let mut identical: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, document) in walked.iter().enumerate().filter(|(_, document)| document.holds) {
        identical.entry(&document.hash).or_default().push(i);
    }
    // Of the same texts one stands for all.
    let mut groups: Vec<(Vec<usize>, f64)> = Vec::new();
    let firsts: Vec<usize> = identical.values().map(|same| same[0]).collect();
    groups.extend(
        identical
            .into_values()
            .filter(|same| same.len() > 1)
            .map(|same| (same, 1.0)),
    );
    groups.extend(near(walked, &firsts));
    groups.sort_by(|a, b| a.0.cmp(&b.0));
    let name = |(group, similarity): (Vec<usize>, f64)| Doubled {
        documents: group.into_iter().map(|i| walked[i].named.clone()).collect(),
        similarity,
    };
    groups.into_iter().map(name).collect()
}

/// Groups of texts that are nearly the same, with the least similarity that holds one together.
fn near(walked: &[Walked], firsts: &[usize]) -> Vec<(Vec<usize>, f64)> {
    let mut firsts: Vec<usize> = firsts.to_vec();
    firsts.sort_unstable();
    let mut union = Union {
        above: (0..walked.len()).collect(),
        least: vec![1.0; walked.len()],
    };
    for band in 0..BINS / BAND {
        let mut keyed: Vec<(u64, usize)> = firsts
            .iter()
            .filter_map(|&i| Some((walked[i].sketch.as_ref()?.band(band), i)))
            .collect();
        keyed.sort_unstable();
        for run in keyed.chunk_by(|a, b| a.0 == b.0) {
            for (n, &(_, i)) in run.iter().enumerate() {
                // Those nearest before it, and the first: no group grows quadratically.
                let before = run[n.saturating_sub(NEIGHBOURS_MAX)..n]
                    .iter()
                    .chain(run[..n].first());
                for &(_, other) in before {
                    union.compare(walked, other, i);
                }
            }
        }
    }
    let mut groups: HashMap<usize, Vec<usize>> = HashMap::new();
    for &i in &firsts {
        groups.entry(union.root(i)).or_default().push(i);
    }
    let mut groups: Vec<(usize, Vec<usize>)> =
        groups.into_iter().filter(|(_, group)| group.len() > 1).collect();
    groups.sort_unstable();
    groups
        .into_iter()
        .map(|(root, group)| (group, union.least[root]))
        .collect()
}

struct Union {
    above: Vec<usize>,
    /// Of a root: the least similarity by which something was joined.
    least: Vec<f64>,
}

impl Union {
    fn root(&mut self, mut i: usize) -> usize {
        while self.above[i] != i {
            self.above[i] = self.above[self.above[i]];
            i = self.above[i];
        }
        i
    }

    fn compare(&mut self, walked: &[Walked], a: usize, b: usize) {
        let (root_a, root_b) = (self.root(a), self.root(b));
        if root_a == root_b {
            return;
        }
        let similarity = match (&walked[a].sketch, &walked[b].sketch) {
            (Some(a), Some(b)) => a.similarity(b),
            _ => 0.0,
        };
        if similarity >= SIMILARITY_MIN {
            let (first, second) = (root_a.min(root_b), root_a.max(root_b));
            self.above[second] = first;
            self.least[first] = self.least[first].min(self.least[second]).min(similarity);
        }
    }
}
