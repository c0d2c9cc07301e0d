//! Encoders of text: vectors for finding, and scores of a passage for a question.

mod bert;
mod checkpoint;
mod cross;
mod e5;
mod pieces;

#[cfg(test)]
mod tests;

pub use cross::CrossEncoder;
pub use e5::TextEncoder;

/// Tokens of a text that are looked at, the special ones included; the models know no further positions.
const TOKENS_MAX: usize = 512;
