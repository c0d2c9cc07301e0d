//! Model files: hostile bytes in, a checked tensor table out; and writing them.
//!
//! Four formats: [`gguf`] (versions 2 and 3, read and written), [`safetensors`] (single files and sharded
//! folders), [`e5s1`] (the text encoder's file, tokenizer included) and [`onnx`] (exported encoders). [`Source`] is the
//! small view that the first three share: name to shape, type and bytes.
//!
//! Knows sizes, not mathematics: nothing here dequantises, multiplies or interprets a number. A file is
//! never trusted: every product and sum is checked in `u64` against the file's length before anything is
//! allocated, every count has a named limit, and no input makes this crate panic. Foreign files are read,
//! never mapped, because a map of a file that somebody truncates kills the process.
#![forbid(unsafe_code)]

pub mod e5s1;
pub mod gguf;
pub mod onnx;
pub mod safetensors;

mod bytes;
mod source;

pub use source::{ReadError, Source, Tensor};
