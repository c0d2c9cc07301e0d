//! Why a conversion ended without a file.

use std::path::PathBuf;

use thiserror::Error;
use weights::gguf::GgufError;

use crate::error::LoadError;
use crate::tokenizer::TokenizerError;

/// Why a conversion ended without a file.
#[derive(Debug, Error)]
pub enum ConvertError {
    /// The input cannot be opened, or a tensor of it is missing or of the wrong shape.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The file system refused.
    #[error(transparent)]
    Fs(#[from] stdx::fs::FsError),
    /// The output cannot be written.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A tensor cannot be read.
    #[error(transparent)]
    Read(#[from] weights::ReadError),
    /// Bytes and type disagree.
    #[error(transparent)]
    Quant(#[from] compute::QuantError),
    /// The tokenizer cannot be read or is of a kind without a name in GGUF.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A folder without a tokenizer.
    #[error(
        "`{}` is missing: without it the model cannot read or write text; put it there, or convert without a tokenizer", path.display()
    )]
    NoTokenizer {
        /// The file that should be there.
        path: PathBuf,
    },
    /// The tokenizer has tokens that the embedding has no row for.
    #[error(
        "the tokenizer has {found} tokens, but the embedding only {rows} rows; tokenizer.json belongs to another model"
    )]
    Vocabulary {
        /// Tokens.
        found: usize,
        /// Rows.
        rows: usize,
    },
    /// The tokenizer of the new file splits texts in another way than the folder's.
    #[error(
        "the tokenizer splits texts in a way that GGUF has no name for: `{pre}` comes nearest, but differs on a test text"
    )]
    TokenizerDiffers {
        /// The name tried.
        pre: &'static str,
    },
    /// A file of the folder is not the JSON it should be.
    #[error("`{}` is not valid: {reason}; fetch the folder again", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        reason: String,
    },
    /// The model has what GGUF has no key for.
    #[error("the model has {what}, which a GGUF file of its family cannot say")]
    Inexpressible {
        /// What.
        what: &'static str,
    },
    /// No weight type of that name.
    #[error("there is no weight type `{found}`; known are {known}")]
    Type {
        /// The name asked for.
        found: String,
        /// All names.
        known: String,
    },
    /// An exception that is not `PATTERN=TYPE`.
    #[error("`{found}` is not of the form PATTERN=TYPE, for example `ffn_down_exps=q8_0`")]
    Rule {
        /// What was given.
        found: String,
    },
    /// An exception that concerns no matrix.
    #[error(
        "the pattern `{pattern}` matches no matrix of the model; names are like `blk.0.ffn_down.weight` (norms, biases and routers stay f32)"
    )]
    RuleUnused {
        /// The pattern.
        pattern: String,
    },
    /// A tensor of a type that cannot be read.
    #[error("the tensor `{tensor}` has type {ty}, which cannot be read; take a file in another type")]
    Unreadable {
        /// Its name.
        tensor: String,
        /// Its type.
        ty: &'static str,
    },
    /// A weight that is no number.
    #[error("the tensor `{tensor}` has a weight that is not finite; the input is damaged, fetch it again")]
    NotFinite {
        /// Its name.
        tensor: String,
    },
    /// Importance of another model.
    #[error(
        "the importance of `{tensor}` has {} columns and {} matrices, but the tensor has {} and {}; it was made with another model", found.0, found.1, expected.0, expected.1
    )]
    Importance {
        /// The tensor.
        tensor: String,
        /// Columns and matrices in the importance file.
        found: (usize, usize),
        /// Columns and matrices of the tensor.
        expected: (usize, usize),
    },
    /// The output is the input.
    #[error("`{}` is the file to be converted; give the new file another name", path.display())]
    OwnInput {
        /// The path.
        path: PathBuf,
    },
    /// The caller asked to stop.
    #[error("stopped; the unfinished file was removed")]
    Stopped,
}
