//! Kernels for AArch64 with the dot-product extension: one instruction multiplies four rows by a quad of
//! activations.
//!
//! `sdot` wants both sides signed, so nibbles (0..=15) go in as they are and stored bytes lose their bias
//! first. It adds into 32 bits and never saturates, so -128 needs no care here. The intrinsic is not
//! stable yet, hence one line of assembly.

#![expect(
    unsafe_code,
    reason = "vector loads, one instruction without a stable intrinsic, and the entry"
)]

use std::arch::aarch64::*;
use std::arch::asm;

use super::{ActBlock, Sums, pieces, scalar};
use crate::blocks::DType;
use crate::isa::Neon;
use crate::matrix::LANES;

/// See [`super::native_tile`].
pub(super) fn native_tile<const T: usize>(
    _: Neon,
    dtype: DType,
    group: &[u8],
    x: &[[ActBlock; T]],
) -> Sums<T> {
    if !matches!(dtype, DType::Q4_0 | DType::Q4_1 | DType::Q8_0) {
        // SAFETY: the token proves the features the function is compiled for.
        return pieces::native_tile(dtype, group, x, |levels, x| unsafe { dot_levels(levels, x) });
    }
    let mut sums = [[0.0; LANES]; T];
    for (cell, blocks) in group.chunks_exact(dtype.block_bytes() * LANES).zip(x) {
        let d = scalar::halves(cell);
        let m = if dtype == DType::Q4_1 {
            scalar::halves(&cell[32..])
        } else {
            [0.0; LANES]
        };
        for (sums, x) in sums.iter_mut().zip(blocks) {
            // SAFETY: the token proves the features the function is compiled for.
            let dots = unsafe { dot(dtype, cell, x) };
            for lane in 0..LANES {
                sums[lane] = (dots[lane] as f32).mul_add(d[lane] * x.scale, sums[lane]);
                sums[lane] = m[lane].mul_add(x.sum, sums[lane]);
            }
        }
    }
    sums
}

#[target_feature(enable = "neon,dotprod")]
fn dot(dtype: DType, cell: &[u8], x: &ActBlock) -> [i32; LANES] {
    let start = if dtype == DType::Q4_0 { x.minus_eight } else { 0 };
    let mut dots = [vdupq_n_s32(start); 4];
    let quads = &cell[if dtype == DType::Q4_1 { 64 } else { 32 }..];
    for (k, quad) in quads.as_chunks::<64>().0.iter().enumerate() {
        for (dot, w) in dots.iter_mut().zip(quad.as_chunks::<16>().0) {
            // SAFETY: exactly the 16 bytes of the array are read.
            let w = unsafe { vld1q_u8(w.as_ptr()) };
            if dtype == DType::Q8_0 {
                let w = vreinterpretq_s8_u8(veorq_u8(w, vdupq_n_u8(0x80)));
                *dot = sdot(*dot, w, x.quads[k]);
            } else {
                *dot = sdot(*dot, vreinterpretq_s8_u8(vandq_u8(w, vdupq_n_u8(15))), x.quads[k]);
                *dot = sdot(*dot, vreinterpretq_s8_u8(vshrq_n_u8::<4>(w)), x.quads[k + 4]);
            }
        }
    }
    let mut out = [0; LANES];
    for (out, dot) in out.as_chunks_mut::<4>().0.iter_mut().zip(dots) {
        // SAFETY: `out` has the four values that are stored.
        unsafe { vst1q_s32(out.as_mut_ptr(), dot) };
    }
    out
}

/// Unpacked levels, at most 63 and so the same with a sign, times activations.
#[target_feature(enable = "neon,dotprod")]
fn dot_levels(levels: &[u8; pieces::LEVELS], x: &ActBlock) -> pieces::Dots {
    let mut dots = [[vdupq_n_s32(0); 4]; 2];
    for (k, quad) in levels.as_chunks::<64>().0.iter().enumerate() {
        for (dot, w) in dots[k / 4].iter_mut().zip(quad.as_chunks::<16>().0) {
            // SAFETY: exactly the 16 bytes of the array are read.
            let w = unsafe { vld1q_s8(w.as_ptr().cast()) };
            *dot = sdot(*dot, w, x.quads[k]);
        }
    }
    let mut out = [[0; LANES]; 2];
    for (out, dots) in out.iter_mut().zip(dots) {
        for (out, dot) in out.as_chunks_mut::<4>().0.iter_mut().zip(dots) {
            // SAFETY: `out` has the four values that are stored.
            unsafe { vst1q_s32(out.as_mut_ptr(), dot) };
        }
    }
    out
}

/// `sum[i] += Σ_j w[4i + j] · quad[j]`, the quad being the same for the four sums.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot(sum: int32x4_t, w: int8x16_t, quad: i32) -> int32x4_t {
    let x = vreinterpretq_s8_s32(vdupq_n_s32(quad));
    let mut out = sum;
    // SAFETY: pure register arithmetic of the enabled extension.
    unsafe {
        asm!("sdot {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) out, in(vreg) w, in(vreg) x,
            options(pure, nomem, nostack, preserves_flags));
    }
    out
}
