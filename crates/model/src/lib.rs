//! Language models: configurations, tokenizers, chat templates, the one decoder, the text encoder, sampling.
//!
//! One decoder runs every family (dense and mixture of experts); differences between families are data in the
//! configuration, never copies of the forward pass. Knows no batching policy, no document and no clock.
//!
//! Letters in shape comments: `T` tokens of a step, `D` width, `H` query heads, `G` key-value heads, `S` size of a
//! head, `F` width of a feed-forward layer or expert, `E` experts, `K` experts chosen for a token, `V` vocabulary,
//! `L` layers. Every matrix is row-major with one row for each output.

mod cache;
pub mod config;
mod constraint;
pub mod convert;
mod decoder;
mod encoder;
mod error;
mod finite;
pub mod importance;
pub mod inspect;
mod language_model;
mod logprobs;
pub mod memory;
mod open;
mod packed;
pub mod parity;
mod residency;
mod sampler;
mod stream;
pub mod synth;
pub mod template;
mod token_set;
pub mod tokenizer;

pub use cache::KvCache;
pub use compute::{KV_BLOCK, KvBlock, KvDType, Precision};
pub use config::Config;
pub use constraint::{CONSTRAINT_BYTES_MAX, Constraint, ConstraintError, Guide};
pub use decoder::{Decoder, Input, LinearInput, Probe, RouterStatistics, Scratch, WantedLogits};
pub use encoder::{CrossEncoder, TextEncoder};
pub use error::{ForwardError, LoadError};
pub use language_model::{ChatMessage, LoadOptions, Model, Session, StopReason};
pub use logprobs::{Logprobs, TokenLogprob};
pub use open::DecoderOptions;
pub use packed::{PackOptions, WeightsIn};
pub use residency::ResidencyStats;
pub use sampler::{Sampler, SamplingParams, greedy};
pub use stream::{Passed, StopTexts, Utf8Stream};
pub use template::TemplateError;
pub use token_set::TokenSet;
