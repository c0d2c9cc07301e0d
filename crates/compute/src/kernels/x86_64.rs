//! Kernels for x86-64.

pub(super) mod avx2;
mod avx2_k;
pub(super) mod avx512;
mod avx512_k;
