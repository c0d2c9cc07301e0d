//! Quantised blocks, kernels chosen at run time, and the arithmetic of a transformer on CPUs.
//!
//! The way through: a [`Matrix`] holds weights in the layout the kernels read; [`matmul`] and its kin
//! multiply it by activations on the threads of a [`Pool`]; [`ops`], [`Rope`] and [`attention()`] are the
//! rest of a layer. [`Isa`] says which kernels run.
//!
//! Knows no file, no model, no token, no serialisation, no async. With `stdx`, the only place for
//! `unsafe`: register arithmetic is safe inside functions compiled for a feature, so what remains is loads,
//! stores, the call through a proof token, and sharing an output between threads.
//!
//! Shapes are row-major; a vector per token, tokens one after another. Arithmetic never depends on the
//! number of threads, nor on how many tokens are computed together.

#[cfg(target_endian = "big")]
compile_error!("blocks are read in place, which needs a little-endian target");

mod attention;
mod bandwidth;
mod blocks;
mod bytes;
mod isa;
mod kernels;
mod kv;
mod lanes;
mod matmul;
mod matrix;
pub mod ops;
mod pool;
pub mod quant;
mod rope;

pub use attention::{AttentionJob, FullAttention, FullScratch, attention, attention_full};
pub use bandwidth::read_bandwidth;
pub use blocks::{BLOCK, DType};
pub use bytes::AlignedBytes;
pub use isa::{ForceIsaError, Isa, Level, force_isa};
pub use kernels::kernel_names;
pub use kv::{HEAD_DIM_MAX, KV_BLOCK, KvBlock, KvDType, KvLayer, PagedKv};
pub use matmul::{Job, Precision, Scratch, matmul, matmul_jobs, matmul_many};
pub use matrix::{Matrix, MatrixError, MatrixRef};
pub use pool::Pool;
pub use quant::QuantError;
pub use rope::{Rope, RopeStyle};
