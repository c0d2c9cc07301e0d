//! A plain BM25 over whole pages: Hangul in pairs, other words whole, k1 1.2, b 0.75, no idea beyond that.
//!
//! Shares nothing with the store's own index.

use std::collections::BTreeMap;

use unicode_normalization::UnicodeNormalization;

use super::RANKED_MAX;
use super::data::Page;

const K1: f64 = 1.2;
const B: f64 = 0.75;

/// An inverted index in memory.
pub(super) struct Baseline {
    ids: Vec<String>,
    lengths: Vec<f64>,
    mean_length: f64,
    postings: BTreeMap<String, Vec<(usize, f64)>>,
}

impl Baseline {
    pub(super) fn new(pages: &[Page]) -> Self {
        let mut postings: BTreeMap<String, Vec<(usize, f64)>> = BTreeMap::new();
        let mut lengths = Vec::with_capacity(pages.len());
        for (i, page) in pages.iter().enumerate() {
            let terms = terms(&page.text);
            lengths.push(terms.len() as f64);
            let mut counts: BTreeMap<String, f64> = BTreeMap::new();
            for term in terms {
                *counts.entry(term).or_default() += 1.0;
            }
            for (term, count) in counts {
                postings.entry(term).or_default().push((i, count));
            }
        }
        let mean_length = lengths.iter().sum::<f64>() / lengths.len().max(1) as f64;
        Self {
            ids: pages.iter().map(|p| p.id.clone()).collect(),
            lengths,
            mean_length,
            postings,
        }
    }

    /// The best pages, equal ones in the order of the file.
    pub(super) fn rank(&self, question: &str) -> Vec<String> {
        let n = self.ids.len() as f64;
        let mut scores = vec![0.0f64; self.ids.len()];
        for term in terms(question) {
            let Some(postings) = self.postings.get(&term) else {
                continue;
            };
            let df = postings.len() as f64;
            let idf = (1.0 + (n - df + 0.5) / (df + 0.5)).ln();
            for &(i, tf) in postings {
                let norm = K1 * (1.0 - B + B * self.lengths[i] / self.mean_length);
                scores[i] += idf * tf * (K1 + 1.0) / (tf + norm);
            }
        }
        let mut order: Vec<usize> = (0..scores.len()).filter(|&i| scores[i] > 0.0).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        order
            .into_iter()
            .take(RANKED_MAX)
            .map(|i| self.ids[i].clone())
            .collect()
    }
}

fn is_hangul(c: char) -> bool {
    ('가'..='힣').contains(&c)
}

fn terms(text: &str) -> Vec<String> {
    let folded: Vec<char> = text.nfkc().flat_map(char::to_lowercase).collect();
    let mut terms = Vec::new();
    for run in folded.chunk_by(|a, b| kind(*a) == kind(*b)) {
        match kind(run[0]) {
            1 if run.len() > 1 => terms.extend(run.windows(2).map(|pair| pair.iter().collect::<String>())),
            0 => {}
            _ => terms.push(run.iter().collect()),
        }
    }
    terms
}

/// 0 separates, 1 is Hangul, 2 any other letter or digit.
fn kind(c: char) -> u8 {
    match c {
        c if is_hangul(c) => 1,
        c if c.is_alphanumeric() => 2,
        _ => 0,
    }
}
