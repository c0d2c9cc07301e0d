//! A loaded model (stub).
use std::path::Path;
use std::sync::Arc;

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// An end-of-sequence token.
    EndOfSequence,
    /// One of the stop texts.
    StopText,
    /// The limit of new tokens or the end of the context.
    Length,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatMessage {
    /// "system", "user" or "assistant".
    pub role: String,
    /// Its text.
    pub content: String,
}

/// Options of [`Model::load`].
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Threads; 0 takes one per available core.
    pub threads: usize,
    /// f32 arithmetic on dequantised weights instead of the native integer kernels.
    pub precision: Precision,
    /// Context in tokens; `None` takes the model's own, at most 8192.
    pub context: Option<usize>,
}

/// Arithmetic of the matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Activations quantised to int8 blocks where the weights are quantised: fast.
    #[default]
    Native,
    /// Weights dequantised to f32: the reference.
    F32,
}

/// A loaded model.
pub struct Model {}

/// Why a model file was refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoadError(pub String);

/// Why a chat template failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(pub String);

impl Model {
    /// Loads a GGUF file, or a folder with `config.json`, safetensors and `tokenizer.json`.
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Arc<Self>, LoadError> {
        let _ = (path, options);
        Err(LoadError("stub".into()))
    }
    /// The model's name: `general.name`, else the file's stem.
    pub fn name(&self) -> &str {
        ""
    }
    /// SHA-256 of the file.
    pub fn sha256(&self) -> &str {
        ""
    }
    /// Languages the file declares (`general.languages`), as ISO 639-1; empty when it declares none.
    pub fn languages(&self) -> &[String] {
        &[]
    }
    /// Context in tokens.
    pub fn context(&self) -> usize {
        0
    }
    /// Parameters.
    pub fn n_parameters(&self) -> u64 {
        0
    }
    /// Token ids of a text, no special tokens added; text that looks like a special token stays text.
    pub fn tokenize(&self, text: &str) -> Vec<u32> {
        let _ = text;
        Vec::new()
    }
    /// Token ids of a rendered chat prompt: special tokens in it are recognised.
    pub fn tokenize_prompt(&self, text: &str) -> Vec<u32> {
        let _ = text;
        Vec::new()
    }
    /// Text of token ids, special tokens left out.
    pub fn detokenize(&self, ids: &[u32]) -> String {
        let _ = ids;
        String::new()
    }
    /// Renders the chat template with a generation prompt at the end.
    pub fn render_chat(&self, messages: &[ChatMessage]) -> Result<String, TemplateError> {
        let _ = messages;
        Ok(String::new())
    }
}

/// A text encoder for dense retrieval (multilingual-e5 in the E5S1 format).
pub struct TextEncoder {}

impl TextEncoder {
    /// Loads an E5S1 file.
    pub fn load(path: &Path, threads: usize) -> Result<Arc<Self>, LoadError> {
        let _ = (path, threads);
        Err(LoadError("stub".into()))
    }
    /// Width of a vector.
    pub fn dim(&self) -> usize {
        0
    }
    /// SHA-256 of the file.
    pub fn sha256(&self) -> &str {
        ""
    }
    /// Unit-length vectors of texts; the caller adds "query: " or "passage: ".
    pub fn encode(&self, texts: &[&str]) -> Vec<Vec<f32>> {
        let _ = texts;
        Vec::new()
    }
}
