//! Agreement with reference outputs, as rows of a table: which family, which type, which arithmetic, how far off.
//!
//! The kind of a folder is found by its contents ([`Kind::of`]). Two references: `fixture` is what another
//! implementation computed, and bounds on it are absolute; `self-f32` is our own f32 arithmetic on the same
//! (dequantised) weights, against which the native kernels are judged by the size of the disagreement. Not a
//! measure of a model's quality.
//!
//! Bounds. f32 against a fixture: logits within [`LOGIT_BOUND`], routing and greedy tokens alike, where a margin of
//! at most [`TIE_MARGIN`] between two logits is a tie and no mismatch. Native against f32: see [`NativeBound`].

mod checkpoint;
mod compare;
mod files;
mod generator;
mod smollm2;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use compute::{DType, Precision};
use serde::Serialize;
use thiserror::Error;

use crate::error::{ForwardError, LoadError};

/// Largest difference of a logit in f32.
pub const LOGIT_BOUND: f32 = 2e-3;
/// Logits closer than this are a tie: either order is right.
pub const TIE_MARGIN: f32 = 4e-3;
/// Largest mean difference of log-probabilities of a native path from the fixture.
pub const LOGPROB_BOUND: f32 = 0.05;
/// Smallest share of positions at which a native path must choose the fixture's token.
pub const ARGMAX_SHARE: f32 = 0.95;

/// What the native kernels may be off from our f32 arithmetic on the same weights.
///
/// Native arithmetic rounds activations to 8 bits in blocks of 32 where weights are quantised (a relative error of
/// about 0.4 % for each product) and keys and values to f16. The error is measured as the root mean square of the
/// difference over that of the logits themselves. A wrong scale or a swapped nibble costs tens of per cent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NativeBound {
    /// Relative root mean square error of logits.
    pub rms: f32,
    /// Share of routing decisions that may differ beyond ties.
    pub router_share: f32,
}

impl NativeBound {
    /// The bound for a type of weights.
    pub fn of(dtype: DType) -> Self {
        if dtype.is_quantised() {
            Self {
                rms: 0.06,
                router_share: 0.1,
            }
        } else {
            Self {
                rms: 0.01,
                router_share: 0.02,
            }
        }
    }
}

/// Where greedy tokens part for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Divergence {
    /// New token, counted from 0.
    pub step: usize,
    /// Our logit of our token minus that of the reference's token.
    pub margin: f32,
}

/// One comparison. Fields that a comparison does not have are null.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The folder.
    pub dir: String,
    /// The model family, or `quant` or `tokenizer`.
    pub family: String,
    /// Type of the weights.
    pub dtype: String,
    /// `f32` or `native`; null where nothing is multiplied.
    pub compute: Option<&'static str>,
    /// `fixture` or `self-f32`.
    pub reference: &'static str,
    /// Largest difference of a logit.
    pub max_abs_logit: Option<f32>,
    /// Largest difference of a hidden state: embeddings, after each layer, last after the final norm.
    pub max_abs_hidden: Vec<f32>,
    /// Routing decisions (one for each token and layer) that differ; null for dense models.
    pub router_mismatch: Option<usize>,
    /// Routing decisions that differ within a tie.
    pub router_ties: Option<usize>,
    /// Whether the greedy tokens are the reference's, ties aside.
    pub greedy_match: Option<bool>,
    /// Where they part (the first part that is no tie, else the first tie).
    pub first_divergence: Option<Divergence>,
    /// Relative root mean square difference of a token's logits, the median over tokens.
    pub rms_relative: Option<f32>,
    /// Mean absolute difference of the log-probabilities of given tokens.
    pub mean_abs_logprob: Option<f32>,
    /// Share of positions with the reference's most likely token.
    pub argmax_share: Option<f32>,
    /// Whether the row is within its bounds.
    pub pass: bool,
    /// What is wrong, in words; empty if nothing is.
    pub notes: Vec<String>,
}

impl Row {
    fn new(dir: &Path, family: &str, dtype: &str, reference: &'static str) -> Self {
        Self {
            dir: dir.display().to_string(),
            family: family.to_owned(),
            dtype: dtype.to_owned(),
            compute: None,
            reference,
            max_abs_logit: None,
            max_abs_hidden: Vec::new(),
            router_mismatch: None,
            router_ties: None,
            greedy_match: None,
            first_divergence: None,
            rms_relative: None,
            mean_abs_logprob: None,
            argmax_share: None,
            pass: true,
            notes: Vec::new(),
        }
    }

    /// Notes a condition; the row fails if it doesn't hold.
    fn require(&mut self, holds: bool, note: impl FnOnce() -> String) {
        if !holds {
            self.pass = false;
            self.notes.push(note());
        }
    }
}

/// What to compare with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// One arithmetic only; `None` compares both.
    pub compute: Option<Precision>,
    /// The model of a `smollm2` folder.
    pub model: Option<PathBuf>,
    /// Threads; 0 takes one per available core.
    pub threads: usize,
}

impl Options {
    fn wants(&self, precision: Precision) -> bool {
        self.compute.is_none_or(|only| only == precision)
    }
}

/// The name of an arithmetic in rows and arguments.
pub fn compute_name(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "f32",
        Precision::Native => "native",
    }
}

/// What a folder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `config.json`, `model.safetensors` and `expected.safetensors`.
    Checkpoint,
    /// `tokenizer_expected.json` and `expected.safetensors`, for a model file elsewhere.
    Smollm2,
    /// `blocks.safetensors`.
    Quant,
    /// `tokenizer.json` and `expected.json`.
    Tokenizer,
}

impl Kind {
    /// The kind of a folder, by the files in it.
    pub fn of(dir: &Path) -> Option<Self> {
        let has = |name: &str| dir.join(name).is_file();
        if has("config.json") && has("expected.safetensors") {
            return Some(Self::Checkpoint);
        }
        if has("tokenizer_expected.json") && has("expected.safetensors") {
            return Some(Self::Smollm2);
        }
        if has("blocks.safetensors") {
            return Some(Self::Quant);
        }
        (has("tokenizer.json") && has("expected.json")).then_some(Self::Tokenizer)
    }
}

/// Why a comparison could not be made at all.
#[derive(Debug, Error)]
pub enum ParityError {
    /// The folder holds nothing to compare with.
    #[error(
        "`{}` holds none of: config.json with expected.safetensors, tokenizer_expected.json with expected.safetensors, blocks.safetensors, tokenizer.json with expected.json",
        dir.display()
    )]
    UnknownKind {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder needs a model file.
    #[error("`{}` needs the model file it was made with; name it", dir.display())]
    NoModel {
        /// The folder.
        dir: PathBuf,
    },
    /// A model cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A file cannot be read.
    #[error(transparent)]
    Fs(#[from] stdx::fs::FsError),
    /// Not well-formed safetensors.
    #[error(transparent)]
    SafeTensors(#[from] weights::safetensors::SafeTensorsError),
    /// Not the JSON it should be.
    #[error("`{}` is not valid: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        reason: String,
    },
    /// The expectations are incomplete or contradict the model.
    #[error("the reference outputs cannot be used: {reason}")]
    Reference {
        /// What is wrong.
        reason: String,
    },
    /// A tokenizer cannot be built.
    #[error(transparent)]
    Tokenizer(#[from] crate::tokenizer::TokenizerError),
    /// A chat template failed.
    #[error(transparent)]
    Template(#[from] crate::template::TemplateError),
    /// The model refuses the reference's tokens.
    #[error(transparent)]
    Forward(#[from] ForwardError),
}

/// All rows of a folder.
///
/// # Errors
/// When nothing can be compared; a disagreement is a row that doesn't pass, not an error.
pub fn rows(dir: &Path, options: &Options) -> Result<Vec<Row>, ParityError> {
    match Kind::of(dir) {
        Some(Kind::Checkpoint) => checkpoint::rows(dir, options),
        Some(Kind::Smollm2) => smollm2::rows(dir, options),
        Some(Kind::Quant) => files::quant_rows(dir),
        Some(Kind::Tokenizer) => files::tokenizer_rows(dir),
        None => Err(ParityError::UnknownKind { dir: dir.to_owned() }),
    }
}
