//! A question as the word index takes it: weighted terms and phrases.
//!
//! Not a parser: nothing in a question is an operator, so no text can be a wrong query.

use crate::analyser::Analyser;

/// Longer questions are cut: the rest would only cost time.
const CHARS_MAX: usize = 8_000;

/// Weighted terms and phrases.
#[derive(Debug, Default)]
pub(crate) struct Question {
    /// Different terms in order of their first place.
    pub(crate) terms: Vec<(String, f32)>,
    /// Runs of terms that count more where they stand together.
    pub(crate) phrases: Vec<(Vec<String>, f32)>,
}

impl Question {
    pub(crate) fn parse(text: &str) -> Self {
        let text: String = text.chars().take(CHARS_MAX).collect();
        let mut question = Self::default();
        for term in Analyser::terms(&text) {
            if !question.terms.iter().any(|(known, _)| *known == term.text) {
                question.terms.push((term.text, 1.0));
            }
        }
        question
    }
}
