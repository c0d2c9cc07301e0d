//! Kernels with 512-bit vectors and the integer dot product `vpdpbusd` for the Q5 and K types.
//!
//! As in `avx512`: weights are the unsigned side, sums are exact (16 · 63 · 127 and a start value of
//! 32 · 16 · 127 are far below 2^31). The steps mirror `avx2_k`, except that scales of sub-blocks multiply
//! in f32, since the dot product is already 32 bits wide.

#![expect(
    unsafe_code,
    reason = "vector loads of scales, prefetches; what is entered under a token is entered in `avx512`"
)]

use std::arch::x86_64::*;

use super::Ahead;
use super::avx512::{SPREAD_FROM, dots, halves, load64, part, spill};
use crate::blocks::{BLOCK, DType, SUPER_BLOCK};
use crate::kernels::{ActBlock, Rows, Sums};
use crate::matrix::LANES;
use crate::quant::layout::{Q2K, Q3K, Q4K, Q5K, Q6K, RUNS, SuperBlock};

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn native_q5_0<const T: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    native_fives::<T, { DType::Q5_0.block_bytes() * LANES }>(rows, x)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn native_q5_1<const T: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    native_fives::<T, { DType::Q5_1.block_bytes() * LANES }>(rows, x)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn native_q2_k<const T: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    native_16::<Q2K, T, { DType::Q2_K.block_bytes() * LANES }>(rows, x)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn native_q3_k<const T: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    native_16::<Q3K, T, { DType::Q3_K.block_bytes() * LANES }>(rows, x)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn native_q4_k<const T: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    native_32::<Q4K, T, { DType::Q4_K.block_bytes() * LANES }>(rows, x)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn native_q5_k<const T: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    native_32::<Q5K, T, { DType::Q5_K.block_bytes() * LANES }>(rows, x)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn native_q6_k<const T: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    native_16::<Q6K, T, { DType::Q6_K.block_bytes() * LANES }>(rows, x)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn float_q5_0<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    float_fives::<T, { DType::Q5_0.block_bytes() * LANES }>(group, x)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn float_q5_1<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    float_fives::<T, { DType::Q5_1.block_bytes() * LANES }>(group, x)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn float_q2_k<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    float_super::<Q2K, T, { DType::Q2_K.block_bytes() * LANES }>(group, x)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn float_q3_k<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    float_super::<Q3K, T, { DType::Q3_K.block_bytes() * LANES }>(group, x)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn float_q4_k<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    float_super::<Q4K, T, { DType::Q4_K.block_bytes() * LANES }>(group, x)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn float_q5_k<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    float_super::<Q5K, T, { DType::Q5_K.block_bytes() * LANES }>(group, x)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn float_q6_k<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    float_super::<Q6K, T, { DType::Q6_K.block_bytes() * LANES }>(group, x)
}

/// Types with a scale and an offset for each run of 32: q4_k and q5_k.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn native_32<K: SuperBlock, const T: usize, const C: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    let mut sums = [_mm512_setzero_ps(); T];
    let mut ahead = Ahead::new(rows.ahead, x.len());
    for (cell, x) in rows.group.as_chunks::<C>().0.iter().zip(x.as_chunks::<RUNS>().0) {
        let (steps, (d, e)) = (K::LAYOUT.steps(packed_steps::<K, C>(cell)), units::<K, C>(cell));
        for (run, x) in x.iter().enumerate() {
            fetch_ahead(cell, run);
            if T >= SPREAD_FROM {
                ahead.ask();
            }
            let w = levels::<K, C>(cell, run);
            let scale = _mm512_mul_ps(d, signed(&steps.scales[run]));
            let offset = _mm512_mul_ps(e, unsigned(&steps.offsets[run]));
            let dots = dots::<T, 0, 8>(&w, x, |_| _mm512_setzero_si512());
            for ((sum, x), dot) in sums.iter_mut().zip(x).zip(dots) {
                let scale = _mm512_mul_ps(scale, _mm512_set1_ps(x.scale));
                *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, *sum);
                *sum = _mm512_fnmadd_ps(offset, _mm512_set1_ps(x.sum), *sum);
            }
        }
    }
    spill(sums)
}

/// Types with a scale for every sixteen columns: q2_k, q3_k and q6_k.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn native_16<K: SuperBlock, const T: usize, const C: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    let mut sums = [_mm512_setzero_ps(); T];
    let mut ahead = Ahead::new(rows.ahead, x.len());
    for (cell, x) in rows.group.as_chunks::<C>().0.iter().zip(x.as_chunks::<RUNS>().0) {
        let (steps, (d, e)) = (K::LAYOUT.steps(packed_steps::<K, C>(cell)), units::<K, C>(cell));
        for (run, x) in x.iter().enumerate() {
            fetch_ahead(cell, run);
            if T >= SPREAD_FROM {
                ahead.ask();
            }
            let w = levels::<K, C>(cell, run);
            let scales = [0, 1].map(|sub| _mm512_mul_ps(d, signed(&steps.scales[2 * run + sub])));
            let offsets = [0, 1].map(|sub| _mm512_mul_ps(e, unsigned(&steps.offsets[2 * run + sub])));
            let first = dots::<T, 0, 4>(&w, x, |x| below(K::LAYOUT.zero, x.half_sums, false));
            let second = dots::<T, 4, 8>(&w, x, |x| below(K::LAYOUT.zero, x.half_sums, true));
            for ((sum, x), (first, second)) in sums.iter_mut().zip(x).zip(first.into_iter().zip(second)) {
                let mut total = _mm512_mul_ps(_mm512_cvtepi32_ps(first), scales[0]);
                total = _mm512_fmadd_ps(_mm512_cvtepi32_ps(second), scales[1], total);
                if K::LAYOUT.e.is_some() {
                    let halfsums = [x.first_sum(), x.second_sum()];
                    total = _mm512_fnmadd_ps(offsets[0], _mm512_set1_ps(halfsums[0] as f32), total);
                    total = _mm512_fnmadd_ps(offsets[1], _mm512_set1_ps(halfsums[1] as f32), total);
                }
                *sum = _mm512_fmadd_ps(total, _mm512_set1_ps(x.scale), *sum);
            }
        }
    }
    spill(sums)
}

/// What makes levels above `zero`, a power of two, count from there: minus `zero` times the sum of the half of a block
/// that stands in the `upper` or lower half of a word. Shifted, since what multiplies has enough to do.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn below(zero: u8, half_sums: i32, upper: bool) -> __m512i {
    let none = _mm512_setzero_si512();
    if zero == 0 {
        return none;
    }
    let (both, bits) = (_mm512_set1_epi32(half_sums), zero.ilog2().cast_signed());
    let times_zero = if upper {
        _mm512_sllv_epi32(_mm512_srai_epi32::<16>(both), _mm512_set1_epi32(bits))
    } else {
        _mm512_srav_epi32(_mm512_slli_epi32::<16>(both), _mm512_set1_epi32(16 - bits))
    };
    _mm512_sub_epi32(none, times_zero)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn float_super<K: SuperBlock, const T: usize, const C: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    let mut sums = [_mm512_setzero_ps(); T];
    let zero = _mm512_set1_ps(f32::from(K::LAYOUT.zero));
    for (cell, x) in group
        .as_chunks::<C>()
        .0
        .iter()
        .zip(x.as_chunks::<SUPER_BLOCK>().0)
    {
        let (steps, (d, e)) = (K::LAYOUT.steps(packed_steps::<K, C>(cell)), units::<K, C>(cell));
        for (run, x) in x.as_chunks::<BLOCK>().0.iter().enumerate() {
            let w = levels::<K, C>(cell, run);
            let mut block = [_mm512_setzero_ps(); T];
            for sub in 0..2 {
                let j = (run * BLOCK + sub * 16) / K::LAYOUT.sub_len;
                let scale = _mm512_mul_ps(d, signed(&steps.scales[j]));
                let offset = _mm512_mul_ps(e, unsigned(&steps.offsets[j]));
                let (w, x) = (part(&w, 4 * sub), part(x, 16 * sub));
                add_columns(w, x, (zero, scale, offset), &mut block);
            }
            for (sum, block) in sums.iter_mut().zip(block) {
                *sum = _mm512_add_ps(*sum, block);
            }
        }
    }
    spill(sums)
}

/// Adds sixteen columns of weights `(q - zero) * scale - offset`, rounded as dequantisation rounds.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn add_columns<const T: usize>(
    w: &[__m512i; 4],
    x: &[[f32; T]; 16],
    (zero, scale, offset): (__m512, __m512, __m512),
    sums: &mut [__m512; T],
) {
    let low_byte = _mm512_set1_epi32(255);
    for (quad, x) in w.iter().zip(x.as_chunks::<4>().0) {
        let mut quad = *quad;
        for x in x {
            let q = _mm512_cvtepi32_ps(_mm512_and_si512(quad, low_byte));
            let w = _mm512_sub_ps(_mm512_mul_ps(_mm512_sub_ps(q, zero), scale), offset);
            quad = _mm512_srli_epi32::<8>(quad);
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = _mm512_fmadd_ps(w, _mm512_set1_ps(*x), *sum);
            }
        }
    }
}

/// Cells of q5_0, or of q5_1 where they hold an offset too.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn native_fives<const T: usize, const C: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    let mut sums = [_mm512_setzero_ps(); T];
    let mut ahead = Ahead::new(rows.ahead, x.len());
    for (cell, x) in rows.group.as_chunks::<C>().0.iter().zip(x) {
        if T >= SPREAD_FROM {
            ahead.ask();
        }
        let (d, w, m) = (halves(part(cell, 0)), fives(cell), offset_of_fives(cell));
        // Levels of q5_0 are 16 too large, twice the start value of nibbles.
        let twice = |x: &ActBlock| _mm512_slli_epi32::<1>(_mm512_set1_epi32(x.minus_eight));
        let dots = dots::<T, 0, 8>(&w, x, |x| {
            if m.is_none() {
                twice(x)
            } else {
                _mm512_setzero_si512()
            }
        });
        for ((sum, x), dot) in sums.iter_mut().zip(x).zip(dots) {
            let scale = _mm512_mul_ps(d, _mm512_set1_ps(x.scale));
            *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, *sum);
            if let Some(m) = m {
                *sum = _mm512_fmadd_ps(m, _mm512_set1_ps(x.sum), *sum);
            }
        }
    }
    spill(sums)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn float_fives<const T: usize, const C: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    let mut sums = [_mm512_setzero_ps(); T];
    let none = _mm512_setzero_ps();
    for (cell, x) in group.as_chunks::<C>().0.iter().zip(x.as_chunks::<BLOCK>().0) {
        let (d, w) = (halves(part(cell, 0)), fives(cell));
        let line = match offset_of_fives(cell) {
            Some(m) => (none, d, _mm512_sub_ps(none, m)),
            None => (_mm512_set1_ps(16.0), d, none),
        };
        let mut block = [_mm512_setzero_ps(); T];
        for sub in 0..2 {
            add_columns(part(&w, 4 * sub), part(x, 16 * sub), line, &mut block);
        }
        for (sum, block) in sums.iter_mut().zip(block) {
            *sum = _mm512_add_ps(*sum, block);
        }
    }
    spill(sums)
}

/// The offsets of a q5_1 cell; q5_0 has none.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn offset_of_fives<const C: usize>(cell: &[u8; C]) -> Option<__m512> {
    (C == DType::Q5_1.block_bytes() * LANES).then(|| halves(part(cell, 32)))
}

/// Eight registers of five-bit levels in column order. The fifth bits of a row are one 32-bit word: its
/// byte `k / 2` is spread over the four columns of quad `k`, each of which tests its bit.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn fives<const C: usize>(cell: &[u8; C]) -> [__m512i; 8] {
    let nibbles: &[u8; 256] = part(cell, C - 256);
    let fifth = load64(part(cell, C - 256 - 64));
    let (mask, sixteen) = (_mm512_set1_epi8(15), _mm512_set1_epi8(16));
    let row = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x0404_0404, 0x0808_0808, 0x0c0c_0c0c));
    let bits = [0x0804_0201, 0x8040_2010u32.cast_signed()];
    let mut w = [_mm512_setzero_si512(); 8];
    for (k, w) in w.iter_mut().enumerate() {
        let quad = load64(part(nibbles, k % 4 * 64));
        let quad = if k < 4 { quad } else { _mm512_srli_epi16::<4>(quad) };
        let nibble = _mm512_and_si512(quad, mask);
        let byte = _mm512_shuffle_epi8(fifth, _mm512_add_epi8(row, _mm512_set1_epi8((k / 2) as i8)));
        let set = _mm512_test_epi8_mask(byte, _mm512_set1_epi32(bits[k % 2]));
        *w = _mm512_mask_add_epi8(nibble, set, nibble, sixteen);
    }
    w
}

/// Asks for eighth `share` of the next cell: within a cell memory is not read strictly forward, which
/// leaves the processor's own prefetching behind.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn fetch_ahead<const C: usize>(cell: &[u8; C], share: usize) {
    for at in (0..C / RUNS).step_by(64) {
        let line = cell.as_ptr().wrapping_add(C + share * (C / RUNS) + at);
        // SAFETY: a prefetch reads nothing and faults at no address.
        _mm_prefetch::<_MM_HINT_T0>(line.cast());
    }
}

/// The integer scales and offsets of the sixteen rows as they are stored. Their unpacking is compiled into each kernel:
/// called once for every 256 columns, it cost a tenth of the time, with all sums moved to memory and back.
#[inline]
fn packed_steps<K: SuperBlock, const C: usize>(cell: &[u8; C]) -> &[[u8; LANES]] {
    let (at, len) = K::LAYOUT.scales;
    cell[at * LANES..(at + len) * LANES].as_chunks().0
}

/// What scales and offsets are multiples of.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn units<K: SuperBlock, const C: usize>(cell: &[u8; C]) -> (__m512, __m512) {
    let at = |at: usize| halves(part(cell, at * LANES));
    (at(K::LAYOUT.d), K::LAYOUT.e.map_or(_mm512_setzero_ps(), at))
}

/// Eight registers of the levels of a run, in column order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn levels<K: SuperBlock, const C: usize>(cell: &[u8; C], run: usize) -> [__m512i; 8] {
    let [low, high] = K::LAYOUT.spots(run);
    let mut w = [_mm512_setzero_si512(); 8];
    let quads: &[u8; 512] = part(cell, low.at * LANES);
    let (shift, mask) = (
        _mm512_set1_epi32(low.shift.cast_signed()),
        _mm512_set1_epi8(low.mask().cast_signed()),
    );
    for (w, quad) in w.iter_mut().zip(quads.as_chunks::<64>().0) {
        // Bits that come from the next byte of the 32 lie above the mask.
        *w = _mm512_and_si512(_mm512_srlv_epi32(load64(quad), shift), mask);
    }
    if high.bits > 0 {
        let quads: &[u8; 512] = part(cell, high.at * LANES);
        let (shift, mask, to) = (
            _mm512_set1_epi32(high.shift.cast_signed()),
            _mm512_set1_epi8(high.mask().cast_signed()),
            _mm512_set1_epi32(high.to.cast_signed()),
        );
        for (w, quad) in w.iter_mut().zip(quads.as_chunks::<64>().0) {
            let quad = _mm512_and_si512(_mm512_srlv_epi32(load64(quad), shift), mask);
            *w = _mm512_or_si512(*w, _mm512_sllv_epi32(quad, to));
        }
    }
    w
}

/// Sixteen unsigned bytes as f32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn unsigned(bytes: &[u8; LANES]) -> __m512 {
    // SAFETY: exactly the sixteen bytes of the array are read; no alignment is asked for.
    let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))
}

/// Sixteen signed bytes as f32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn signed(bytes: &[i8; LANES]) -> __m512 {
    // SAFETY: exactly the sixteen bytes of the array are read; no alignment is asked for.
    let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))
}
