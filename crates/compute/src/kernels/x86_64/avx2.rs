//! Kernels with 256-bit vectors: AVX2, FMA and F16C.
//!
//! A group of sixteen rows is taken in two halves of eight. `vpmaddubsw` multiplies unsigned by signed
//! bytes and adds pairs into 16 bits, saturating: the weights, which may be any byte, are the unsigned
//! side, and its bounds are stated where it is used.

#![expect(
    unsafe_code,
    reason = "vector loads and stores, and entering a feature under its token"
)]

use std::arch::x86_64::*;

use crate::blocks::{BLOCK, DType};
use crate::isa::Avx2;
use crate::kernels::{ActBlock, Rows, Sums};
use crate::matrix::LANES;

use super::{Ahead, avx2_k};

/// Rows of half a group.
pub(super) const HALF: usize = LANES / 2;

/// Tiles of at most so many tokens take both halves of a group in one pass.
pub(super) const ONE_PASS_MAX: usize = 2;
/// How far ahead of its use memory is asked for.
const AHEAD_BYTES: usize = 2048;

/// See [`crate::kernels::native_tile`].
pub(in crate::kernels) fn native_tile<const T: usize>(
    _: Avx2,
    dtype: DType,
    rows: Rows<'_>,
    x: &[[ActBlock; T]],
) -> Sums<T> {
    match dtype {
        // SAFETY: the token proves the features the kernels are compiled for.
        DType::Q4_0 => unsafe { native_q4_0(rows, x) },
        // SAFETY: as above.
        DType::Q4_1 => unsafe { native_q4_1(rows, x) },
        // SAFETY: as above.
        DType::Q8_0 => unsafe { native_q8_0(rows, x) },
        // SAFETY: as above.
        DType::Q5_0 => unsafe { avx2_k::native_q5_0(rows, x) },
        // SAFETY: as above.
        DType::Q5_1 => unsafe { avx2_k::native_q5_1(rows, x) },
        // SAFETY: as above.
        DType::Q2_K => unsafe { avx2_k::native_q2_k(rows, x) },
        // SAFETY: as above.
        DType::Q3_K => unsafe { avx2_k::native_q3_k(rows, x) },
        // SAFETY: as above.
        DType::Q4_K => unsafe { avx2_k::native_q4_k(rows, x) },
        // SAFETY: as above.
        DType::Q5_K => unsafe { avx2_k::native_q5_k(rows, x) },
        // SAFETY: as above.
        DType::Q6_K => unsafe { avx2_k::native_q6_k(rows, x) },
        DType::F32 | DType::F16 | DType::BF16 => unreachable!("only quantised weights come here"),
    }
}

/// See [`crate::kernels::float_tile`].
pub(in crate::kernels) fn float_tile<const T: usize>(
    _: Avx2,
    dtype: DType,
    group: &[u8],
    x: &[[f32; T]],
) -> Sums<T> {
    match dtype {
        // SAFETY: the token proves the features the kernels are compiled for.
        DType::F32 => unsafe { float_f32(group, x) },
        // SAFETY: as above.
        DType::F16 => unsafe { float_f16(group, x) },
        // SAFETY: as above.
        DType::BF16 => unsafe { float_bf16(group, x) },
        // SAFETY: as above.
        DType::Q4_0 => unsafe { float_q4_0(group, x) },
        // SAFETY: as above.
        DType::Q4_1 => unsafe { float_q4_1(group, x) },
        // SAFETY: as above.
        DType::Q8_0 => unsafe { float_q8_0(group, x) },
        // SAFETY: as above.
        DType::Q5_0 => unsafe { avx2_k::float_q5_0(group, x) },
        // SAFETY: as above.
        DType::Q5_1 => unsafe { avx2_k::float_q5_1(group, x) },
        // SAFETY: as above.
        DType::Q2_K => unsafe { avx2_k::float_q2_k(group, x) },
        // SAFETY: as above.
        DType::Q3_K => unsafe { avx2_k::float_q3_k(group, x) },
        // SAFETY: as above.
        DType::Q4_K => unsafe { avx2_k::float_q4_k(group, x) },
        // SAFETY: as above.
        DType::Q5_K => unsafe { avx2_k::float_q5_k(group, x) },
        // SAFETY: as above.
        DType::Q6_K => unsafe { avx2_k::float_q6_k(group, x) },
    }
}

/// See [`crate::kernels::quantise_block`].
pub(in crate::kernels) fn quantise_block(_: Avx2, x: &[f32; BLOCK]) -> ActBlock {
    // SAFETY: the token proves the features it is compiled for.
    unsafe { quantise(x) }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn native_q4_0<const T: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    by_halves(rows, x, |cell: &[u8; 18 * LANES], half, x, sums| {
        let (d, w) = (halves(part(cell, half * 16)), nibbles(part(cell, 32), half));
        for ((sum, x), dot) in sums.iter_mut().zip(x).zip(dot_nibbles(&w, x)) {
            let dot = _mm256_add_epi32(dot, _mm256_set1_epi32(x.minus_eight));
            let scale = _mm256_mul_ps(d, _mm256_set1_ps(x.scale));
            *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, *sum);
        }
    })
}

#[target_feature(enable = "avx2,fma,f16c")]
fn native_q4_1<const T: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    by_halves(rows, x, |cell: &[u8; 20 * LANES], half, x, sums| {
        let (d, m) = (halves(part(cell, half * 16)), halves(part(cell, 32 + half * 16)));
        let w = nibbles(part(cell, 64), half);
        for ((sum, x), dot) in sums.iter_mut().zip(x).zip(dot_nibbles(&w, x)) {
            let scale = _mm256_mul_ps(d, _mm256_set1_ps(x.scale));
            *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, *sum);
            *sum = _mm256_fmadd_ps(m, _mm256_set1_ps(x.sum), *sum);
        }
    })
}

#[target_feature(enable = "avx2,fma,f16c")]
fn native_q8_0<const T: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    let bias = _mm256_set1_epi8(i8::MIN);
    by_halves(rows, x, |cell: &[u8; 34 * LANES], half, x, sums| {
        let d = halves(part(cell, half * 16));
        let w = bytes(part(cell, 32), half).map(|w| _mm256_xor_si256(w, bias));
        for ((sum, x), dot) in sums.iter_mut().zip(x).zip(dot_bytes(&w, x)) {
            let scale = _mm256_mul_ps(d, _mm256_set1_ps(x.scale));
            *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, *sum);
        }
    })
}

/// Sums of a group of which `add` adds half a cell. With few tokens, reading weights is what takes time: both halves
/// are taken in one pass, and the memory further on is asked for early. With many, the registers hold the sums of one
/// half only, and the second pass finds the group in the cache.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn by_halves<const T: usize, const C: usize>(
    rows: Rows<'_>,
    x: &[[ActBlock; T]],
    add: impl Fn(&[u8; C], usize, &[ActBlock; T], &mut [__m256; T]),
) -> Sums<T> {
    let cells = rows.group.as_chunks::<C>().0;
    let mut ahead = Ahead::new(rows.ahead, 2 * x.len());
    let mut sums = [[_mm256_setzero_ps(); T]; 2];
    if T <= ONE_PASS_MAX {
        for (cell, x) in cells.iter().zip(x) {
            ask_ahead(cell);
            for (half, sums) in sums.iter_mut().enumerate() {
                add(cell, half, x, sums);
            }
        }
    } else {
        for (half, sums) in sums.iter_mut().enumerate() {
            let mut own = *sums;
            for (cell, x) in cells.iter().zip(x) {
                ahead.ask();
                add(cell, half, x, &mut own);
            }
            *sums = own;
        }
    }
    let mut out = [[0.0; LANES]; T];
    for (half, sums) in sums.into_iter().enumerate() {
        spill(sums, half, &mut out);
    }
    out
}

/// Asks for the cache lines that follow a cell by [`AHEAD_BYTES`]. Groups lie one after another, so this is what will
/// be read next, save at the very end, where it is nobody's.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn ask_ahead<const C: usize>(cell: &[u8; C]) {
    for line in 0..C.div_ceil(64) {
        let address = cell.as_ptr().wrapping_add(AHEAD_BYTES + line * 64);
        // A prefetch reads nothing and never faults, whatever the address.
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
}

/// Nibbles times the activations of each token. A pair adds at most 2 · 15 · 127 in magnitude and eight pairs 30480,
/// so the 16-bit sums hold and are widened once.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn dot_nibbles<const T: usize>(w: &[__m256i; 8], x: &[ActBlock; T]) -> [__m256i; T] {
    let mut dots = [_mm256_setzero_si256(); T];
    for (k, w) in w.iter().enumerate() {
        for (dot, x) in dots.iter_mut().zip(x) {
            let pairs = _mm256_maddubs_epi16(*w, _mm256_set1_epi32(x.quads[k]));
            *dot = in_turn::<T>(_mm256_add_epi16(*dot, pairs));
        }
    }
    for dot in &mut dots {
        *dot = _mm256_madd_epi16(*dot, _mm256_set1_epi16(1));
    }
    dots
}

/// Signed weights times the activations of each token, with the sign moved from the weight to the activation. |−128|
/// is 128 as an unsigned byte, and activations are never −128, so nothing wraps: a pair is at most
/// 2 · 128 · 127 = 32512. Swapping the two operands would be wrong for weights of −128.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot_bytes<const T: usize>(w: &[__m256i; 8], x: &[ActBlock; T]) -> [__m256i; T] {
    let ones = _mm256_set1_epi16(1);
    let mut dots = [_mm256_setzero_si256(); T];
    for (k, w) in w.iter().enumerate() {
        let magnitude = _mm256_abs_epi8(*w);
        for (dot, x) in dots.iter_mut().zip(x) {
            let signed = _mm256_sign_epi8(_mm256_set1_epi32(x.quads[k]), *w);
            let pairs = _mm256_maddubs_epi16(magnitude, signed);
            *dot = in_turn::<T>(_mm256_add_epi32(*dot, _mm256_madd_epi16(pairs, ones)));
        }
    }
    dots
}

/// The same value, where a tile has many tokens: computed before the next one that goes through here. Left alone, the
/// compiler makes a tree of each token's sum and takes token after token, which wants all weights of a block in
/// registers at once and spills them. Taken in turn, one register of weights serves all tokens.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn in_turn<const T: usize>(mut sum: __m256i) -> __m256i {
    if T > ONE_PASS_MAX {
        // Not `pure`, which would let it be moved.
        // SAFETY: no instruction is added; the register comes out as it went in.
        unsafe {
            std::arch::asm!("/* {0} */", inout(ymm_reg) sum, options(nomem, nostack, preserves_flags));
        }
    }
    sum
}

#[target_feature(enable = "avx2,fma,f16c")]
fn float_f32<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    float_plain::<T, 64>(group, x, |w, half| floats(part(w, half * 32)))
}

#[target_feature(enable = "avx2,fma,f16c")]
fn float_f16<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    float_plain::<T, 32>(group, x, |w, half| halves(part(w, half * 16)))
}

#[target_feature(enable = "avx2,fma,f16c")]
fn float_bf16<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    float_plain::<T, 32>(group, x, |w, half| brains(part(w, half * 16)))
}

/// Sixteen rows of `N` bytes per column; `widen` reads the eight of one half.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn float_plain<const T: usize, const N: usize>(
    group: &[u8],
    x: &[[f32; T]],
    widen: impl Fn(&[u8; N], usize) -> __m256,
) -> Sums<T> {
    let mut out = [[0.0; LANES]; T];
    for half in 0..2 {
        let mut sums = [_mm256_setzero_ps(); T];
        for (column, x) in group.as_chunks::<N>().0.iter().zip(x) {
            let w = widen(column, half);
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = _mm256_fmadd_ps(w, _mm256_set1_ps(*x), *sum);
            }
        }
        spill(sums, half, &mut out);
    }
    out
}

#[target_feature(enable = "avx2,fma,f16c")]
fn float_q4_0<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    let mut out = [[0.0; LANES]; T];
    let eight = _mm256_set1_ps(8.0);
    for half in 0..2 {
        let mut sums = [_mm256_setzero_ps(); T];
        for (cell, x) in group
            .as_chunks::<{ 18 * LANES }>()
            .0
            .iter()
            .zip(x.as_chunks::<BLOCK>().0)
        {
            let (d, w) = (halves(part(cell, half * 16)), nibbles(part(cell, 32), half));
            float_columns(&w, x, &mut sums, |q| {
                _mm256_mul_ps(_mm256_sub_ps(_mm256_cvtepi32_ps(q), eight), d)
            });
        }
        spill(sums, half, &mut out);
    }
    out
}

#[target_feature(enable = "avx2,fma,f16c")]
fn float_q4_1<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    let mut out = [[0.0; LANES]; T];
    for half in 0..2 {
        let mut sums = [_mm256_setzero_ps(); T];
        for (cell, x) in group
            .as_chunks::<{ 20 * LANES }>()
            .0
            .iter()
            .zip(x.as_chunks::<BLOCK>().0)
        {
            let (d, m) = (halves(part(cell, half * 16)), halves(part(cell, 32 + half * 16)));
            let w = nibbles(part(cell, 64), half);
            // Rounded as dequantisation rounds: the product first.
            float_columns(&w, x, &mut sums, |q| {
                _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(q), d), m)
            });
        }
        spill(sums, half, &mut out);
    }
    out
}

#[target_feature(enable = "avx2,fma,f16c")]
fn float_q8_0<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    let mut out = [[0.0; LANES]; T];
    let bias = _mm256_set1_epi32(128);
    for half in 0..2 {
        let mut sums = [_mm256_setzero_ps(); T];
        for (cell, x) in group
            .as_chunks::<{ 34 * LANES }>()
            .0
            .iter()
            .zip(x.as_chunks::<BLOCK>().0)
        {
            let (d, w) = (halves(part(cell, half * 16)), bytes(part(cell, 32), half));
            float_columns(&w, x, &mut sums, |q| {
                _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(q, bias)), d)
            });
        }
        spill(sums, half, &mut out);
    }
    out
}

/// Adds 32 columns: `value` turns eight unsigned integers into weights. The columns of a block are
/// summed apart, which keeps long rows accurate.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn float_columns<const T: usize>(
    w: &[__m256i; 8],
    x: &[[f32; T]; BLOCK],
    sums: &mut [__m256; T],
    value: impl Fn(__m256i) -> __m256,
) {
    let low_byte = _mm256_set1_epi32(255);
    let mut block = [_mm256_setzero_ps(); T];
    for (quad, x) in w.iter().zip(x.as_chunks::<4>().0) {
        let mut quad = *quad;
        for x in x {
            let w = value(_mm256_and_si256(quad, low_byte));
            quad = _mm256_srli_epi32::<8>(quad);
            for (sum, x) in block.iter_mut().zip(x) {
                *sum = _mm256_fmadd_ps(w, _mm256_set1_ps(*x), *sum);
            }
        }
    }
    for (sum, block) in sums.iter_mut().zip(block) {
        *sum = _mm256_add_ps(*sum, block);
    }
}

/// Same arithmetic as the scalar quantiser, so the same integers.
#[target_feature(enable = "avx2,fma,f16c")]
fn quantise(x: &[f32; BLOCK]) -> ActBlock {
    let mut v = [_mm256_setzero_ps(); 4];
    let sign = _mm256_set1_ps(-0.0);
    let mut amax = _mm256_setzero_ps();
    for (v, x) in v.iter_mut().zip(x.as_chunks::<HALF>().0) {
        *v = load_floats(x);
        // The second operand wins when the first is NaN, so NaN does not hide the others.
        amax = _mm256_max_ps(_mm256_andnot_ps(sign, *v), amax);
    }
    let amax = largest(amax);
    let inverse = _mm256_set1_ps(if amax > 0.0 { 127.0 / amax } else { 0.0 });
    let (floor, roof) = (_mm256_set1_ps(-127.0), _mm256_set1_ps(127.0));
    // The limits matter only for values that are not finite: -128 must never arise.
    let q = v.map(|v| {
        let scaled = _mm256_mul_ps(v, inverse);
        _mm256_cvtps_epi32(_mm256_max_ps(_mm256_min_ps(scaled, roof), floor))
    });
    let sums = _mm256_hadd_epi32(_mm256_add_epi32(q[0], q[1]), _mm256_add_epi32(q[2], q[3]));
    let sums = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    let sums = _mm_hadd_epi32(sums, sums);
    let (first, second) = (_mm_cvtsi128_si32(sums), _mm_extract_epi32::<1>(sums));
    let total = first + second;
    // Packing works on 128-bit halves and leaves the quads interleaved; the permutation restores them.
    let packed = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    let packed = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    let mut quads = [0i32; 8];
    // SAFETY: `quads` has the 32 bytes that are stored.
    unsafe { _mm256_storeu_si256(quads.as_mut_ptr().cast(), packed) };
    let scale = amax / 127.0;
    ActBlock {
        quads,
        scale,
        sum: scale * total as f32,
        minus_eight: -8 * total,
        half_sums: ActBlock::pack_sums(first, second),
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn largest(v: __m256) -> f32 {
    let v = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let v = _mm_max_ps(v, _mm_movehl_ps(v, v));
    _mm_cvtss_f32(_mm_max_ss(v, _mm_movehdup_ps(v)))
}

/// Eight registers of unsigned nibbles of one half, in column order.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn nibbles(quads: &[u8; 256], half: usize) -> [__m256i; 8] {
    let mask = _mm256_set1_epi8(15);
    let mut w = [_mm256_setzero_si256(); 8];
    for (k, quad) in quads.as_chunks::<64>().0.iter().enumerate() {
        let quad = load32(part(quad, half * 32));
        w[k] = _mm256_and_si256(quad, mask);
        w[k + 4] = _mm256_and_si256(_mm256_srli_epi16::<4>(quad), mask);
    }
    w
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn bytes(quads: &[u8; 512], half: usize) -> [__m256i; 8] {
    let mut w = [_mm256_setzero_si256(); 8];
    for (w, quad) in w.iter_mut().zip(quads.as_chunks::<64>().0) {
        *w = load32(part(quad, half * 32));
    }
    w
}

/// Elements `at..at + N` of an array; the check folds away where the offset is a constant.
#[inline(always)]
pub(super) fn part<E, const N: usize, const M: usize>(array: &[E; M], at: usize) -> &[E; N] {
    array[at..]
        .first_chunk()
        .expect("offsets are those of the cell layout")
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn load32(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: exactly the 32 bytes of the array are read; no alignment is asked for.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load16(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: exactly the 16 bytes of the array are read; no alignment is asked for.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_floats(values: &[f32; HALF]) -> __m256 {
    // SAFETY: exactly the eight values of the array are read; no alignment is asked for.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

/// Eight f32 as stored.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn floats(bytes: &[u8; 32]) -> __m256 {
    _mm256_castsi256_ps(load32(bytes))
}

/// Eight f16.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn halves(bytes: &[u8; 16]) -> __m256 {
    _mm256_cvtph_ps(load16(bytes))
}

/// Eight bf16: the upper halves of f32.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn brains(bytes: &[u8; 16]) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(load16(bytes))))
}

/// Stores the eight rows of one half.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn spill<const T: usize>(sums: [__m256; T], half: usize, out: &mut Sums<T>) {
    for (out, sum) in out.iter_mut().zip(sums) {
        let eight = &mut out.as_chunks_mut::<HALF>().0[half];
        // SAFETY: `eight` has the eight values that are stored.
        unsafe { _mm256_storeu_ps(eight.as_mut_ptr(), sum) };
    }
}
