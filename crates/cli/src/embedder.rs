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
