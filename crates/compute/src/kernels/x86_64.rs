//! Kernels for x86-64.

pub(super) mod avx2;
pub(super) mod avx2_attention;
mod avx2_k;
pub(super) mod avx512;
pub(super) mod avx512_attention;
mod avx512_k;
