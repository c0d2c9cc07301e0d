//! A cross-encoder as the documents' reranker.

use std::sync::Arc;

use knowledge::Rerank;
use model::CrossEncoder;

/// A cross-encoder that judges only what is in a language it knows.
pub(crate) struct Reranker {
    encoder: Arc<CrossEncoder>,
}

impl Reranker {
    /// Wraps a loaded one.
    pub(crate) fn new(encoder: Arc<CrossEncoder>) -> Self {
        Self { encoder }
    }

    fn can_read(&self, text: &str) -> bool {
        self.encoder.knows_hangul() || !text.chars().any(is_hangul)
    }
}

impl Rerank for Reranker {
    fn score(&self, question: &str, passages: &[&str]) -> Vec<Option<f32>> {
        if !self.can_read(question) {
            return vec![None; passages.len()];
        }
        let readable: Vec<&str> = passages
            .iter()
            .copied()
            .filter(|text| self.can_read(text))
            .collect();
        let mut scores = self.encoder.score(question, &readable).into_iter();
        passages
            .iter()
            .map(|text| {
                if self.can_read(text) {
                    scores.next().flatten()
                } else {
                    None
                }
            })
            .collect()
    }
}

fn is_hangul(c: char) -> bool {
    ('가'..='힣').contains(&c)
}
