//! The text encoder as the documents' embedder: prefixes as E5 was trained with (Wang et al. 2024, section 4).

mod bias;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use knowledge::{Embed, EmbedKind, EmbedderId};
use model::TextEncoder;

use bias::Bias;

/// A text encoder that tells questions from passages.
pub(crate) struct Embedder {
    encoder: Arc<TextEncoder>,
    path: PathBuf,
    /// Made when something is first searched for.
    bias: OnceLock<Bias>,
}

impl Embedder {
    /// Wraps an encoder that was loaded from `path`.
    pub(crate) fn new(encoder: Arc<TextEncoder>, path: PathBuf) -> Self {
        Self {
            encoder,
            path,
            bias: OnceLock::new(),
        }
    }
}

impl Embed for Embedder {
    fn id(&self) -> EmbedderId {
        EmbedderId {
            name: "multilingual-e5-small".to_owned(),
            sha256: self.encoder.sha256().to_owned(),
            dim: self.encoder.dim(),
        }
    }

    fn embed(&self, kind: EmbedKind, texts: &[&str]) -> Vec<Vec<f32>> {
        let prefix = match kind {
            EmbedKind::Query => "query: ",
            EmbedKind::Passage => "passage: ",
        };
        let prefixed: Vec<String> = texts.iter().map(|text| format!("{prefix}{text}")).collect();
        let borrowed: Vec<&str> = prefixed.iter().map(String::as_str).collect();
        self.encoder.encode(&borrowed)
    }

    fn embed_for_search(&self, question: &str) -> Option<Vec<f32>> {
        let bias = self
            .bias
            .get_or_init(|| Bias::of(|kind, texts| self.embed(kind, texts)));
        let mut vector = self.embed(EmbedKind::Query, &[question]).pop()?;
        bias.take_off(&mut vector);
        Some(vector)
    }

    fn source(&self) -> Option<PathBuf> {
        Some(self.path.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_searched_alike_in_both_languages() {
        let Some(path) = testkit::need_model(testkit::E5_FILE) else {
            return;
        };
        let embedder = Embedder::new(TextEncoder::load(&path, 1).unwrap(), path);
        let cosine = |a: &[f32], b: &[f32]| {
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        };
        // None of the questions that the bias is made of.
        let [korean, english, other] = [
            "가장 가까운 지하철역은 어디인가요?",
            "Where is the nearest subway station?",
            "Who wrote the report?",
        ];
        let lead = |vector: &dyn Fn(&str) -> Vec<f32>| {
            let question = vector(korean);
            cosine(&question, &vector(english)) - cosine(&question, &vector(other))
        };
        let plain = lead(&|text| embedder.embed(EmbedKind::Query, &[text]).pop().unwrap());
        let searched = lead(&|text| embedder.embed_for_search(text).unwrap());
        assert!(searched > 1.2 * plain, "{searched} for {plain}");
    }
}
