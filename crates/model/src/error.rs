//! What can go wrong between a file and a token.

use std::path::PathBuf;

use compute::{DType, MatrixError, quant::QuantError};
use thiserror::Error;

use crate::memory;

/// Why a model file or folder was refused.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file system refused.
    #[error(transparent)]
    Fs(#[from] stdx::fs::FsError),
    /// Not a well-formed GGUF file.
    #[error(transparent)]
    Gguf(#[from] weights::gguf::GgufError),
    /// Not well-formed safetensors.
    #[error(transparent)]
    SafeTensors(#[from] weights::safetensors::SafeTensorsError),
    /// Not a well-formed E5S1 file.
    #[error(transparent)]
    E5s1(#[from] weights::e5s1::E5s1Error),
    /// Not a well-formed ONNX file.
    #[error(transparent)]
    Onnx(#[from] weights::onnx::OnnxError),
    /// A tensor cannot be read.
    #[error(transparent)]
    Read(#[from] weights::ReadError),
    /// The configuration is incomplete, contradicts itself or names an unknown family.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The tokenizer cannot be built.
    #[error(transparent)]
    Tokenizer(#[from] crate::tokenizer::TokenizerError),
    /// The chat template cannot be read.
    #[error(transparent)]
    Template(#[from] crate::template::TemplateError),
    /// The path is neither a GGUF file nor a folder with a checkpoint.
    #[error("`{}` is neither a GGUF file nor a folder with config.json", path.display())]
    NotAModel {
        /// The path.
        path: PathBuf,
    },
    /// A weight that the family needs is not there.
    #[error(
        "the tensor `{name}` is missing; the file is incomplete or belongs to a variant that is not supported"
    )]
    MissingTensor {
        /// Its name.
        name: String,
    },
    /// A weight has another shape than the configuration says.
    #[error("the tensor `{name}` has shape {found:?}, but the configuration says {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// What the configuration implies, rows first.
        expected: Vec<u64>,
        /// What the file has.
        found: Vec<u64>,
    },
    /// A weight is stored in a type without kernels.
    #[error(
        "the tensor `{name}` has type {ty}, which is not supported; take a file in F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 or one of Q2_K to Q6_K"
    )]
    UnsupportedType {
        /// Its name.
        name: String,
        /// The type as ggml calls it.
        ty: &'static str,
    },
    /// The experts of a layer are stored in different types.
    #[error("the expert `{name}` is stored as {}, but the first one of its layer as {}", found.name(), expected.name())]
    MixedExperts {
        /// Its name.
        name: String,
        /// Its type.
        found: DType,
        /// The first expert's type.
        expected: DType,
    },
    /// A weight does not fit this machine's address space.
    #[error("the tensor `{name}` has {n_bytes} bytes, more than this machine can address")]
    TooLarge {
        /// Its name.
        name: String,
        /// Its length.
        n_bytes: u64,
    },
    /// Weights, cache and working memory would not fit.
    #[error(
        "the model needs {}: {} for its weights, {} for a context of {context} tokens and {} to work; but only {} are available ({limited_by})", memory::shown(weight_bytes.saturating_add(*cache_bytes).saturating_add(*working_bytes)), memory::shown(*weight_bytes), memory::shown(*cache_bytes), memory::shown(*working_bytes), memory::shown(*available_bytes)
    )]
    Memory {
        /// Bytes of the weights.
        weight_bytes: u64,
        /// Bytes of keys and values when the context is full.
        cache_bytes: u64,
        /// Bytes of buffers, vocabulary and program.
        working_bytes: u64,
        /// The context in tokens.
        context: usize,
        /// Bytes that can be had.
        available_bytes: u64,
        /// What limits them.
        limited_by: &'static str,
        /// The longest context that fits; `None` if not even the weights do.
        context_fits: Option<usize>,
    },
    /// The memory budget is too small for what must always be there.
    #[error(
        "a memory budget of {} is too small: this model needs at least {}, of which {} are for a context of {context} tokens", memory::shown(*budget_bytes), memory::shown(*needed_bytes), memory::shown(*cache_bytes)
    )]
    Budget {
        /// Bytes that may be taken.
        budget_bytes: u64,
        /// The least that works.
        needed_bytes: u64,
        /// Bytes of keys and values when the context is full.
        cache_bytes: u64,
        /// The context in tokens.
        context: usize,
        /// The longest context that fits; `None` if none does.
        context_fits: Option<usize>,
    },
    /// Experts that do not fit into the budget are read from the packed file, and there is none.
    #[error(
        "the model does not fit into its memory budget, and its experts cannot be read on demand: {reason}"
    )]
    NotOnDemand {
        /// Why not.
        reason: String,
    },
    /// The experts of a layer cannot be read one by one.
    #[error(
        "the experts in `{name}` cannot be read one by one: the packed file lacks them, or their shape forbids it"
    )]
    NotApart {
        /// The matrices' name.
        name: String,
    },
    /// A weight is NaN or infinite.
    #[error(
        "the tensor `{name}` has a weight that is no finite number (NaN or infinite), the first at {place:?} (rows first, from 0); the file is damaged or its conversion went wrong: fetch it again, or take another"
    )]
    NotFinite {
        /// The tensor's name.
        name: String,
        /// Where the first such weight is, the slowest-varying extent first; in quantised types the first of its block.
        place: Vec<usize>,
    },
    /// Bytes and shape disagree.
    #[error("the tensor `{name}` cannot be used")]
    Matrix {
        /// Its name.
        name: String,
        /// Why.
        source: MatrixError,
    },
    /// Bytes and type disagree.
    #[error(transparent)]
    Quant(#[from] QuantError),
    /// A text encoder's file contradicts itself.
    #[error("the text encoder's file cannot be used: {reason}")]
    Encoder {
        /// What is wrong.
        reason: String,
    },
}

/// Why a step was refused, or came to nothing half way. No cache has changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ForwardError {
    /// A token id that the model has no embedding for.
    #[error("token {id} does not exist: the vocabulary has {vocab_size} tokens")]
    UnknownToken {
        /// The id.
        id: u32,
        /// Rows of the embedding.
        vocab_size: usize,
    },
    /// The tokens don't fit the rest of the context.
    #[error("{n_tokens} more tokens after {n_past} do not fit the context of {context}")]
    ContextFull {
        /// Tokens in the cache.
        n_past: usize,
        /// Tokens to add.
        n_tokens: usize,
        /// Tokens that fit in all.
        context: usize,
    },
    /// A sequence without tokens.
    #[error("a sequence of the step has no tokens")]
    NoTokens,
    /// Weights that are read on demand could not be read.
    #[error("the model's weights cannot be read: {reason}")]
    Weights {
        /// What the system said.
        reason: String,
    },
}
