//! Kernels with 256-bit vectors for the Q5 and K types.
//!
//! As in `avx2`, a group is taken in two halves of eight rows, the weights are the unsigned side of
//! `vpmaddubsw`, and its 16-bit sums are widened before they can overflow: with levels of `b` bits a pair
//! adds at most 2 · (2^b − 1) · 127, so eight pairs of 4 bits (30480), four of 5 bits (31496) or two of
//! 6 bits (32004) stay below 2^15.
//!
//! Scales of sub-blocks of sixteen multiply the 16-bit sums as they are widened, so a run of 32 columns
//! takes one conversion to f32: its integers stay below 2 · 16 · 63 · 127 · 128 + 2 · 16 · 127 · 32 · 128,
//! some 2^26.

#![expect(
    unsafe_code,
    reason = "vector loads of scales, prefetches; what is entered under a token is entered in `avx2`"
)]

use std::arch::x86_64::*;
use std::cmp::Ordering;

use super::Ahead;
use super::avx2::{HALF, ONE_PASS_MAX, dot_nibbles, halves, load32, part, spill};
use crate::blocks::{BLOCK, DType, SUPER_BLOCK};
use crate::kernels::{ActBlock, Rows, Sums};
use crate::matrix::LANES;
use crate::quant::layout::{Q2K, Q3K, Q4K, Q5K, Q6K, RUNS, Spot, Steps, SuperBlock};

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn native_q5_0<const T: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    native_fives::<T, { DType::Q5_0.block_bytes() * LANES }>(rows, x)
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn native_q5_1<const T: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    native_fives::<T, { DType::Q5_1.block_bytes() * LANES }>(rows, x)
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn native_q2_k<const T: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    native_16::<Q2K, T, { DType::Q2_K.block_bytes() * LANES }>(rows, x)
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn native_q3_k<const T: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    native_16::<Q3K, T, { DType::Q3_K.block_bytes() * LANES }>(rows, x)
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn native_q4_k<const T: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    native_32::<Q4K, T, { DType::Q4_K.block_bytes() * LANES }>(rows, x)
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn native_q5_k<const T: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    native_32::<Q5K, T, { DType::Q5_K.block_bytes() * LANES }>(rows, x)
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn native_q6_k<const T: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    native_16::<Q6K, T, { DType::Q6_K.block_bytes() * LANES }>(rows, x)
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn float_q5_0<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    float_fives::<T, { DType::Q5_0.block_bytes() * LANES }>(group, x)
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn float_q5_1<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    float_fives::<T, { DType::Q5_1.block_bytes() * LANES }>(group, x)
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn float_q2_k<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    float_super::<Q2K, T, { DType::Q2_K.block_bytes() * LANES }>(group, x)
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn float_q3_k<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    float_super::<Q3K, T, { DType::Q3_K.block_bytes() * LANES }>(group, x)
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn float_q4_k<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    float_super::<Q4K, T, { DType::Q4_K.block_bytes() * LANES }>(group, x)
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn float_q5_k<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    float_super::<Q5K, T, { DType::Q5_K.block_bytes() * LANES }>(group, x)
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn float_q6_k<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    float_super::<Q6K, T, { DType::Q6_K.block_bytes() * LANES }>(group, x)
}

/// Types with a scale and an offset for each run of 32: q4_k and q5_k.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn native_32<K: SuperBlock, const T: usize, const C: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    let mut sums = [[_mm256_setzero_ps(); T]; 2];
    let mut ahead = Ahead::new(rows.ahead, 2 * x.len());
    for (cell, x) in rows.group.as_chunks::<C>().0.iter().zip(x.as_chunks::<RUNS>().0) {
        let steps = steps::<K, C>(cell);
        for (half, sums) in sums.iter_mut().enumerate() {
            let (d, e) = units::<K, C>(cell, half);
            let mut own = *sums;
            for (run, x) in x.iter().enumerate() {
                fetch_ahead(cell, half * RUNS + run);
                if T > ONE_PASS_MAX {
                    ahead.ask();
                }
                let w = levels::<K, C>(cell, run, half);
                let scale = _mm256_mul_ps(d, floats(widen_signed(&steps.scales[run], half)));
                let offset = _mm256_mul_ps(e, floats(widen(&steps.offsets[run], half)));
                for ((sum, x), dot) in own.iter_mut().zip(x).zip(dots_32(K::LAYOUT.level_bits, &w, x)) {
                    let scale = _mm256_mul_ps(scale, _mm256_set1_ps(x.scale));
                    *sum = _mm256_fmadd_ps(floats(dot), scale, *sum);
                    *sum = _mm256_fnmadd_ps(offset, _mm256_set1_ps(x.sum), *sum);
                }
            }
            *sums = own;
        }
    }
    both_halves(sums)
}

/// Types with a scale for every sixteen columns: q2_k, q3_k and q6_k.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn native_16<K: SuperBlock, const T: usize, const C: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    let mut sums = [[_mm256_setzero_ps(); T]; 2];
    // Scales times the level of zero: 32 · 128 at most, in 16 bits.
    let zero = _mm256_set1_epi16(i16::from(K::LAYOUT.zero));
    let mut ahead = Ahead::new(rows.ahead, 2 * x.len());
    for (cell, x) in rows.group.as_chunks::<C>().0.iter().zip(x.as_chunks::<RUNS>().0) {
        let steps = steps::<K, C>(cell);
        for (half, sums) in sums.iter_mut().enumerate() {
            let (d, e) = units::<K, C>(cell, half);
            let mut own = *sums;
            for (run, x) in x.iter().enumerate() {
                fetch_ahead(cell, half * RUNS + run);
                if T > ONE_PASS_MAX {
                    ahead.ask();
                }
                let w = levels::<K, C>(cell, run, half);
                let first = doubled(widen_signed(&steps.scales[2 * run], half));
                let second = doubled(widen_signed(&steps.scales[2 * run + 1], half));
                let below = _mm256_mullo_epi16(alternate(first, second), zero);
                let offsets = alternate(
                    widen(&steps.offsets[2 * run], half),
                    _mm256_slli_epi32::<16>(widen(&steps.offsets[2 * run + 1], half)),
                );
                for (sum, x) in own.iter_mut().zip(x) {
                    let halves = _mm256_set1_epi32(x.half_sums);
                    let mut dot = _mm256_add_epi32(
                        dot_16(K::LAYOUT.level_bits, part(&w, 0), part(&x.quads, 0), first),
                        dot_16(K::LAYOUT.level_bits, part(&w, 4), part(&x.quads, 4), second),
                    );
                    if K::LAYOUT.zero > 0 {
                        dot = _mm256_sub_epi32(dot, _mm256_madd_epi16(below, halves));
                    }
                    let scale = _mm256_set1_ps(x.scale);
                    *sum = _mm256_fmadd_ps(floats(dot), _mm256_mul_ps(d, scale), *sum);
                    if K::LAYOUT.e.is_some() {
                        let offset = floats(_mm256_madd_epi16(offsets, halves));
                        *sum = _mm256_fnmadd_ps(offset, _mm256_mul_ps(e, scale), *sum);
                    }
                }
            }
            *sums = own;
        }
    }
    both_halves(sums)
}

/// Levels of a run times the activations of each token; the module states the bounds.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dots_32<const T: usize>(level_bits: u32, w: &[__m256i; 8], x: &[ActBlock; T]) -> [__m256i; T] {
    if level_bits <= 4 {
        return dot_nibbles(w, x);
    }
    let mut dots = [_mm256_setzero_si256(); T];
    for (dot, x) in dots.iter_mut().zip(x) {
        *dot = dot_fives(w, x);
    }
    dots
}

/// Levels of five bits of a run times activations.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot_fives(w: &[__m256i; 8], x: &ActBlock) -> __m256i {
    let ones = _mm256_set1_epi16(1);
    let (first, second) = (
        four_pairs(part(w, 0), part(&x.quads, 0)),
        four_pairs(part(w, 4), part(&x.quads, 4)),
    );
    _mm256_add_epi32(_mm256_madd_epi16(first, ones), _mm256_madd_epi16(second, ones))
}

/// Levels of sixteen columns times activations times `scale` (twice in each 32 bits).
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot_16(level_bits: u32, w: &[__m256i; 4], x: &[i32; 4], scale: __m256i) -> __m256i {
    if level_bits <= 5 {
        return _mm256_madd_epi16(four_pairs(w, x), scale);
    }
    let pair = |k: usize| _mm256_maddubs_epi16(w[k], _mm256_set1_epi32(x[k]));
    _mm256_add_epi32(
        _mm256_madd_epi16(_mm256_add_epi16(pair(0), pair(1)), scale),
        _mm256_madd_epi16(_mm256_add_epi16(pair(2), pair(3)), scale),
    )
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn four_pairs(w: &[__m256i; 4], x: &[i32; 4]) -> __m256i {
    let pair = |k: usize| _mm256_maddubs_epi16(w[k], _mm256_set1_epi32(x[k]));
    _mm256_add_epi16(
        _mm256_add_epi16(pair(0), pair(1)),
        _mm256_add_epi16(pair(2), pair(3)),
    )
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn float_super<K: SuperBlock, const T: usize, const C: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    let mut sums = [[_mm256_setzero_ps(); T]; 2];
    let zero = _mm256_set1_ps(f32::from(K::LAYOUT.zero));
    for (cell, x) in group
        .as_chunks::<C>()
        .0
        .iter()
        .zip(x.as_chunks::<SUPER_BLOCK>().0)
    {
        let steps = steps::<K, C>(cell);
        for (half, sums) in sums.iter_mut().enumerate() {
            let (d, e) = units::<K, C>(cell, half);
            for (run, x) in x.as_chunks::<BLOCK>().0.iter().enumerate() {
                let w = levels::<K, C>(cell, run, half);
                let mut block = [_mm256_setzero_ps(); T];
                for sub in 0..2 {
                    let j = (run * BLOCK + sub * 16) / K::LAYOUT.sub_len;
                    let scale = _mm256_mul_ps(d, floats(widen_signed(&steps.scales[j], half)));
                    let offset = _mm256_mul_ps(e, floats(widen(&steps.offsets[j], half)));
                    let (w, x) = (part(&w, 4 * sub), part(x, 16 * sub));
                    add_columns(w, x, (zero, scale, offset), &mut block);
                }
                for (sum, block) in sums.iter_mut().zip(block) {
                    *sum = _mm256_add_ps(*sum, block);
                }
            }
        }
    }
    both_halves(sums)
}

/// Adds sixteen columns of weights `(q - zero) * scale - offset`, rounded as dequantisation rounds.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_columns<const T: usize>(
    w: &[__m256i; 4],
    x: &[[f32; T]; 16],
    (zero, scale, offset): (__m256, __m256, __m256),
    sums: &mut [__m256; T],
) {
    let low_byte = _mm256_set1_epi32(255);
    for (quad, x) in w.iter().zip(x.as_chunks::<4>().0) {
        let mut quad = *quad;
        for x in x {
            let q = _mm256_sub_ps(floats(_mm256_and_si256(quad, low_byte)), zero);
            let w = _mm256_sub_ps(_mm256_mul_ps(q, scale), offset);
            quad = _mm256_srli_epi32::<8>(quad);
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = _mm256_fmadd_ps(w, _mm256_set1_ps(*x), *sum);
            }
        }
    }
}

/// Cells of q5_0, or of q5_1 where they hold an offset too.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn native_fives<const T: usize, const C: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    let mut ahead = Ahead::new(rows.ahead, 2 * x.len());
    let mut sums = [[_mm256_setzero_ps(); T]; 2];
    for (half, sums) in sums.iter_mut().enumerate() {
        for (cell, x) in rows.group.as_chunks::<C>().0.iter().zip(x) {
            if T > ONE_PASS_MAX {
                ahead.ask();
            }
            let (d, w) = (halves(part(cell, half * 16)), fives(cell, half));
            let m = offset_of_fives(cell, half);
            for (sum, x) in sums.iter_mut().zip(x) {
                let mut dot = dot_fives(&w, x);
                if m.is_none() {
                    dot = _mm256_add_epi32(dot, _mm256_set1_epi32(2 * x.minus_eight));
                }
                let scale = _mm256_mul_ps(d, _mm256_set1_ps(x.scale));
                *sum = _mm256_fmadd_ps(floats(dot), scale, *sum);
                if let Some(m) = m {
                    *sum = _mm256_fmadd_ps(m, _mm256_set1_ps(x.sum), *sum);
                }
            }
        }
    }
    both_halves(sums)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn float_fives<const T: usize, const C: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    let mut sums = [[_mm256_setzero_ps(); T]; 2];
    let none = _mm256_setzero_ps();
    for (half, sums) in sums.iter_mut().enumerate() {
        for (cell, x) in group.as_chunks::<C>().0.iter().zip(x.as_chunks::<BLOCK>().0) {
            let (d, w) = (halves(part(cell, half * 16)), fives(cell, half));
            let line = match offset_of_fives(cell, half) {
                Some(m) => (none, d, _mm256_sub_ps(none, m)),
                None => (_mm256_set1_ps(16.0), d, none),
            };
            let mut block = [_mm256_setzero_ps(); T];
            for sub in 0..2 {
                add_columns(part(&w, 4 * sub), part(x, 16 * sub), line, &mut block);
            }
            for (sum, block) in sums.iter_mut().zip(block) {
                *sum = _mm256_add_ps(*sum, block);
            }
        }
    }
    both_halves(sums)
}

/// The offsets of a q5_1 cell; q5_0 has none.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn offset_of_fives<const C: usize>(cell: &[u8; C], half: usize) -> Option<__m256> {
    (C == DType::Q5_1.block_bytes() * LANES).then(|| halves(part(cell, 32 + half * 16)))
}

/// Eight registers of five-bit levels of one half, in column order. The fifth bits of a row are one
/// 32-bit word: its byte `k / 2` is spread over the four columns of quad `k`, each of which tests its bit.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn fives<const C: usize>(cell: &[u8; C], half: usize) -> [__m256i; 8] {
    let nibbles: &[u8; 256] = part(cell, C - 256);
    let fifth = load32(part(cell, C - 256 - 64 + half * 32));
    let (mask, sixteen) = (_mm256_set1_epi8(15), _mm256_set1_epi8(16));
    let row = _mm256_setr_epi32(
        0,
        0x0404_0404,
        0x0808_0808,
        0x0c0c_0c0c,
        0,
        0x0404_0404,
        0x0808_0808,
        0x0c0c_0c0c,
    );
    let bits = [0x0804_0201, 0x8040_2010u32.cast_signed()];
    let mut w = [_mm256_setzero_si256(); 8];
    for (k, w) in w.iter_mut().enumerate() {
        let quad = load32(part(nibbles, k % 4 * 64 + half * 32));
        let quad = if k < 4 { quad } else { _mm256_srli_epi16::<4>(quad) };
        let byte = _mm256_shuffle_epi8(fifth, _mm256_add_epi8(row, _mm256_set1_epi8((k / 2) as i8)));
        let bit = _mm256_set1_epi32(bits[k % 2]);
        let set = _mm256_cmpeq_epi8(_mm256_and_si256(byte, bit), bit);
        *w = _mm256_or_si256(_mm256_and_si256(quad, mask), _mm256_and_si256(set, sixteen));
    }
    w
}

/// Asks for sixteenth `share` of the next cell: within a cell memory is not read strictly forward, which
/// leaves the processor's own prefetching behind.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn fetch_ahead<const C: usize>(cell: &[u8; C], share: usize) {
    for at in (0..C / 16).step_by(64) {
        let line = cell.as_ptr().wrapping_add(C + share * (C / 16) + at);
        // SAFETY: a prefetch reads nothing and faults at no address.
        _mm_prefetch::<_MM_HINT_T0>(line.cast());
    }
}

/// The integer scales and offsets of the sixteen rows.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn steps<K: SuperBlock, const C: usize>(cell: &[u8; C]) -> Steps<LANES> {
    let (at, len) = K::LAYOUT.scales;
    K::LAYOUT.steps(cell[at * LANES..(at + len) * LANES].as_chunks().0)
}

/// What scales and offsets of eight rows are multiples of.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn units<K: SuperBlock, const C: usize>(cell: &[u8; C], half: usize) -> (__m256, __m256) {
    let at = |at: usize| halves(part(cell, at * LANES + half * 16));
    (at(K::LAYOUT.d), K::LAYOUT.e.map_or(_mm256_setzero_ps(), at))
}

/// Eight registers of the levels of a run and a half, in column order.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn levels<K: SuperBlock, const C: usize>(cell: &[u8; C], run: usize, half: usize) -> [__m256i; 8] {
    let [low, high] = K::LAYOUT.spots(run);
    if K::LAYOUT.level_bits == 4 {
        return nibbles(cell, low, half);
    }
    let mut w = bits(cell, low, half);
    if high.bits > 0 {
        for (w, high) in w.iter_mut().zip(bits(cell, high, half)) {
            *w = _mm256_or_si256(*w, high);
        }
    }
    w
}

/// Levels that are nibbles. `dot_nibbles` takes one register after another, and where shifts are chosen by a branch all
/// eight are wanted at once.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn nibbles<const C: usize>(cell: &[u8; C], spot: Spot, half: usize) -> [__m256i; 8] {
    let quads: &[u8; 512] = part(cell, spot.at * LANES);
    let (shift, mask) = (_mm256_set1_epi32(spot.shift.cast_signed()), _mm256_set1_epi8(15));
    let mut w = [_mm256_setzero_si256(); 8];
    for (w, quad) in w.iter_mut().zip(quads.as_chunks::<64>().0) {
        let quad = load32(part(quad, half * 32));
        *w = _mm256_and_si256(_mm256_srlv_epi32(quad, shift), mask);
    }
    w
}

/// The bits of a part of the levels, where they belong.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn bits<const C: usize>(cell: &[u8; C], spot: Spot, half: usize) -> [__m256i; 8] {
    let quads: &[u8; 512] = part(cell, spot.at * LANES);
    let mut w = [_mm256_setzero_si256(); 8];
    for (w, quad) in w.iter_mut().zip(quads.as_chunks::<64>().0) {
        *w = load32(part(quad, half * 32));
    }
    // Bits that come from another byte of the 32 lie outside the mask.
    let by = _mm256_set1_epi32(spot.to.abs_diff(spot.shift).cast_signed());
    match spot.to.cmp(&spot.shift) {
        Ordering::Less => w = w.map(|w| _mm256_srlv_epi32(w, by)),
        Ordering::Equal => {}
        Ordering::Greater => w = w.map(|w| _mm256_sllv_epi32(w, by)),
    }
    let mask = _mm256_set1_epi8((spot.mask() << spot.to).cast_signed());
    w.map(|w| _mm256_and_si256(w, mask))
}

/// Eight of sixteen unsigned bytes as 32-bit integers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn widen(bytes: &[u8; LANES], half: usize) -> __m256i {
    let eight: &[u8; HALF] = part(bytes, half * HALF);
    // SAFETY: exactly the eight bytes of the array are read; no alignment is asked for.
    _mm256_cvtepu8_epi32(unsafe { _mm_loadl_epi64(eight.as_ptr().cast()) })
}

/// Eight of sixteen signed bytes as 32-bit integers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn widen_signed(bytes: &[i8; LANES], half: usize) -> __m256i {
    let eight: &[i8; HALF] = part(bytes, half * HALF);
    // SAFETY: exactly the eight bytes of the array are read; no alignment is asked for.
    _mm256_cvtepi8_epi32(unsafe { _mm_loadl_epi64(eight.as_ptr().cast()) })
}

/// The low 16 bits of every 32 in both halves of the 32.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn doubled(v: __m256i) -> __m256i {
    alternate(v, _mm256_slli_epi32::<16>(v))
}

/// The low 16 bits of every 32 from `low`, the high ones from `high`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn alternate(low: __m256i, high: __m256i) -> __m256i {
    _mm256_blend_epi16::<0b1010_1010>(low, high)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn floats(v: __m256i) -> __m256 {
    _mm256_cvtepi32_ps(v)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn both_halves<const T: usize>(sums: [[__m256; T]; 2]) -> Sums<T> {
    let mut out = [[0.0; LANES]; T];
    for (half, sums) in sums.into_iter().enumerate() {
        spill(sums, half, &mut out);
    }
    out
}
