//! Kernels for x86-64.

use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};

pub(super) mod avx2;
pub(super) mod avx2_attention;
mod avx2_k;
pub(super) mod avx512;
pub(super) mod avx512_attention;
mod avx512_k;

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Memory that will be read soon, asked for in equal shares: asked for at once, it would fill the queue of the loads that
/// are needed now.
struct Ahead<'a> {
    bytes: &'a [u8],
    share: usize,
}

impl<'a> Ahead<'a> {
    /// To be asked for in `n` shares.
    #[inline]
    fn new(bytes: &'a [u8], n: usize) -> Self {
        let share = bytes.len().div_ceil(n.max(1));
        Self { bytes, share }
    }

    /// Asks for the next share.
    #[inline]
    #[target_feature(enable = "sse")]
    fn ask(&mut self) {
        let (share, later) = self.bytes.split_at(self.share.min(self.bytes.len()));
        for line in share.chunks(LINE_BYTES) {
            _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
        }
        self.bytes = later;
    }
}
