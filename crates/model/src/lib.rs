//! Language models: configurations, tokenizers, chat templates, the one decoder, the text encoder, sampling.
//!
//! One decoder runs every family (dense and mixture of experts); differences between families are data in the
//! configuration, never copies of the forward pass. Knows no batching policy, no document and no clock.
//!
//! Letters in shape comments: `T` tokens of a step, `D` width, `H` query heads, `G` key-value heads, `S` size of a
//! head, `F` width of a feed-forward layer or expert, `E` experts, `K` experts chosen for a token, `V` vocabulary,
//! `L` layers. Every matrix is row-major with one row for each output.

mod language_model;
mod sampler;
mod stream;

pub use language_model::{
    ChatMessage, LoadError, LoadOptions, Model, Precision, StopReason, TemplateError, TextEncoder,
};
pub use sampler::{Sampler, SamplingParams, greedy};
pub use stream::{Passed, StopTexts, Utf8Stream};
