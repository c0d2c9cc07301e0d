//! Kernels with 512-bit vectors and the integer dot product `vpdpbusd`.
//!
//! One register holds four bytes of each of the sixteen rows; `vpdpbusd` multiplies them (unsigned) by a
//! broadcast quad of activations (signed) and adds into sixteen 32-bit sums, exactly: no step saturates,
//! since 32 · 255 · 127 is far below 2^31.
//!
//! Functions are safe inside the feature they are compiled for; what is left is loads and stores, and
//! the entry under a token.

#![expect(
    unsafe_code,
    reason = "vector loads and stores, and entering a feature under its token"
)]

use std::arch::x86_64::*;

use crate::blocks::{BLOCK, DType};
use crate::isa::Avx512;
use crate::kernels::{ActBlock, Rows, Sums, TILE_MAX};
use crate::matrix::LANES;

use super::{Ahead, avx512_k};

/// Tiles of at most so many tokens ask for memory ahead of its use: whatever is no full tile may be all that an expert
/// has to do.
const ASK_TOKENS_MAX: usize = TILE_MAX - 1;
/// Tiles of so many tokens have enough chains of sums to do one beside the other.
const IN_TURN_FROM: usize = 3;
/// Tiles of so many tokens ask for [`Rows::ahead`]. Smaller ones are what decoding consists of and spare themselves the
/// question.
pub(super) const SPREAD_FROM: usize = 3;
/// How far ahead of its use memory is asked for.
const AHEAD_BYTES: usize = 2048;

/// See [`crate::kernels::native_tile`].
pub(in crate::kernels) fn native_tile<const T: usize>(
    _: Avx512,
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
        DType::Q5_0 => unsafe { avx512_k::native_q5_0(rows, x) },
        // SAFETY: as above.
        DType::Q5_1 => unsafe { avx512_k::native_q5_1(rows, x) },
        // SAFETY: as above.
        DType::Q2_K => unsafe { avx512_k::native_q2_k(rows, x) },
        // SAFETY: as above.
        DType::Q3_K => unsafe { avx512_k::native_q3_k(rows, x) },
        // SAFETY: as above.
        DType::Q4_K => unsafe { avx512_k::native_q4_k(rows, x) },
        // SAFETY: as above.
        DType::Q5_K => unsafe { avx512_k::native_q5_k(rows, x) },
        // SAFETY: as above.
        DType::Q6_K => unsafe { avx512_k::native_q6_k(rows, x) },
        DType::F32 | DType::F16 | DType::BF16 => unreachable!("only quantised weights come here"),
    }
}

/// See [`crate::kernels::float_tile`].
pub(in crate::kernels) fn float_tile<const T: usize>(
    _: Avx512,
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
        DType::Q5_0 => unsafe { avx512_k::float_q5_0(group, x) },
        // SAFETY: as above.
        DType::Q5_1 => unsafe { avx512_k::float_q5_1(group, x) },
        // SAFETY: as above.
        DType::Q2_K => unsafe { avx512_k::float_q2_k(group, x) },
        // SAFETY: as above.
        DType::Q3_K => unsafe { avx512_k::float_q3_k(group, x) },
        // SAFETY: as above.
        DType::Q4_K => unsafe { avx512_k::float_q4_k(group, x) },
        // SAFETY: as above.
        DType::Q5_K => unsafe { avx512_k::float_q5_k(group, x) },
        // SAFETY: as above.
        DType::Q6_K => unsafe { avx512_k::float_q6_k(group, x) },
    }
}

/// See [`crate::kernels::quantise_block`].
pub(in crate::kernels) fn quantise_block(_: Avx512, x: &[f32; BLOCK]) -> ActBlock {
    // SAFETY: the token proves the features it is compiled for.
    unsafe { quantise(x) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn native_q4_0<const T: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    let mut sums = [_mm512_setzero_ps(); T];
    let mut ahead = Ahead::new(rows.ahead, x.len());
    for (cell, x) in rows.group.as_chunks::<{ 18 * LANES }>().0.iter().zip(x) {
        ask_ahead::<T, _>(cell, &mut ahead);
        let (d, w) = (halves(part(cell, 0)), nibbles(part(cell, 32)));
        let dots = dots::<T, 0, 8>(&w, x, |x| _mm512_set1_epi32(x.minus_eight));
        for ((sum, x), dot) in sums.iter_mut().zip(x).zip(dots) {
            let scale = _mm512_mul_ps(d, _mm512_set1_ps(x.scale));
            *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, *sum);
        }
    }
    spill(sums)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn native_q4_1<const T: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    let mut sums = [_mm512_setzero_ps(); T];
    let mut ahead = Ahead::new(rows.ahead, x.len());
    for (cell, x) in rows.group.as_chunks::<{ 20 * LANES }>().0.iter().zip(x) {
        ask_ahead::<T, _>(cell, &mut ahead);
        let (d, m, w) = (
            halves(part(cell, 0)),
            halves(part(cell, 32)),
            nibbles(part(cell, 64)),
        );
        let dots = dots::<T, 0, 8>(&w, x, |_| _mm512_setzero_si512());
        for ((sum, x), dot) in sums.iter_mut().zip(x).zip(dots) {
            let scale = _mm512_mul_ps(d, _mm512_set1_ps(x.scale));
            *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, *sum);
            *sum = _mm512_fmadd_ps(m, _mm512_set1_ps(x.sum), *sum);
        }
    }
    spill(sums)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn native_q8_0<const T: usize>(rows: Rows<'_>, x: &[[ActBlock; T]]) -> Sums<T> {
    let mut sums = [_mm512_setzero_ps(); T];
    let mut ahead = Ahead::new(rows.ahead, x.len());
    for (cell, x) in rows.group.as_chunks::<{ 34 * LANES }>().0.iter().zip(x) {
        ask_ahead::<T, _>(cell, &mut ahead);
        let (d, w) = (halves(part(cell, 0)), bytes(part(cell, 32)));
        // Stored weights are 128 too large, hence sixteen times the start value of nibbles.
        let dots = dots::<T, 0, 8>(&w, x, |x| {
            _mm512_slli_epi32::<4>(_mm512_set1_epi32(x.minus_eight))
        });
        for ((sum, x), dot) in sums.iter_mut().zip(x).zip(dots) {
            let scale = _mm512_mul_ps(d, _mm512_set1_ps(x.scale));
            *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, *sum);
        }
    }
    spill(sums)
}

/// Asks for the next share of `ahead`, and for the cache lines that follow a cell by [`AHEAD_BYTES`] where few tokens make
/// reading weights what takes time. Groups lie one after another, so this is what will be read next, save at the very end, where it is nobody's.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn ask_ahead<const T: usize, const C: usize>(cell: &[u8; C], ahead: &mut Ahead<'_>) {
    if T >= SPREAD_FROM {
        ahead.ask();
    }
    if T > ASK_TOKENS_MAX {
        return;
    }
    for line in 0..C.div_ceil(64) {
        let address = cell.as_ptr().wrapping_add(AHEAD_BYTES + line * 64);
        // A prefetch reads nothing and never faults, whatever the address.
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
}

/// Quads `FROM..TO` of each token's activations against the registers that hold the same columns, added to what
/// `start` gives for the token.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn dots<const T: usize, const FROM: usize, const TO: usize>(
    w: &[__m512i; 8],
    x: &[ActBlock; T],
    start: impl Fn(&ActBlock) -> __m512i,
) -> [__m512i; T] {
    let mut dots = [_mm512_setzero_si512(); T];
    for (dot, x) in dots.iter_mut().zip(x) {
        *dot = start(x);
    }
    for (w, k) in w[FROM..TO].iter().zip(FROM..) {
        for (dot, x) in dots.iter_mut().zip(x) {
            *dot = in_turn::<T>(_mm512_dpbusd_epi32(*dot, *w, _mm512_set1_epi32(x.quads[k])));
        }
    }
    dots
}

/// The same value, where a tile has many tokens: computed before the next one that goes through here. Left alone, the
/// compiler takes token after token, and eight additions that wait for each other fill the processor's queue; taken in
/// turn, those of eight tokens run beside each other.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn in_turn<const T: usize>(mut sum: __m512i) -> __m512i {
    if T >= IN_TURN_FROM {
        // Not `pure`, which would let it be moved.
        // SAFETY: no instruction is added; the register comes out as it went in.
        unsafe {
            std::arch::asm!("/* {0} */", inout(zmm_reg) sum, options(nomem, nostack, preserves_flags));
        }
    }
    sum
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn float_f32<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    float_plain::<T, 64>(group, x, |w| _mm512_castsi512_ps(load64(w)))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn float_f16<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    float_plain::<T, 32>(group, x, |w| halves(w))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn float_bf16<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    float_plain::<T, 32>(group, x, |w| brains(w))
}

/// Sixteen rows of `N` bytes per column, each widened by `widen`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn float_plain<const T: usize, const N: usize>(
    group: &[u8],
    x: &[[f32; T]],
    widen: impl Fn(&[u8; N]) -> __m512,
) -> Sums<T> {
    let mut sums = [_mm512_setzero_ps(); T];
    for (column, x) in group.as_chunks::<N>().0.iter().zip(x) {
        let w = widen(column);
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum = _mm512_fmadd_ps(w, _mm512_set1_ps(*x), *sum);
        }
    }
    spill(sums)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn float_q4_0<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    let mut sums = [_mm512_setzero_ps(); T];
    let eight = _mm512_set1_ps(8.0);
    for (cell, x) in group
        .as_chunks::<{ 18 * LANES }>()
        .0
        .iter()
        .zip(x.as_chunks::<BLOCK>().0)
    {
        let (d, w) = (halves(part(cell, 0)), nibbles(part(cell, 32)));
        float_columns(&w, x, &mut sums, |q| {
            _mm512_mul_ps(_mm512_sub_ps(_mm512_cvtepi32_ps(q), eight), d)
        });
    }
    spill(sums)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn float_q4_1<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    let mut sums = [_mm512_setzero_ps(); T];
    for (cell, x) in group
        .as_chunks::<{ 20 * LANES }>()
        .0
        .iter()
        .zip(x.as_chunks::<BLOCK>().0)
    {
        let (d, m, w) = (
            halves(part(cell, 0)),
            halves(part(cell, 32)),
            nibbles(part(cell, 64)),
        );
        // Rounded as dequantisation rounds: the product first.
        float_columns(&w, x, &mut sums, |q| {
            _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(q), d), m)
        });
    }
    spill(sums)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn float_q8_0<const T: usize>(group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    let mut sums = [_mm512_setzero_ps(); T];
    let bias = _mm512_set1_epi32(128);
    for (cell, x) in group
        .as_chunks::<{ 34 * LANES }>()
        .0
        .iter()
        .zip(x.as_chunks::<BLOCK>().0)
    {
        let (d, w) = (halves(part(cell, 0)), bytes(part(cell, 32)));
        float_columns(&w, x, &mut sums, |q| {
            _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(q, bias)), d)
        });
    }
    spill(sums)
}

/// Adds 32 columns: `value` turns sixteen unsigned integers into weights. The columns of a block are
/// summed apart, which keeps long rows accurate.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn float_columns<const T: usize>(
    w: &[__m512i; 8],
    x: &[[f32; T]; BLOCK],
    sums: &mut [__m512; T],
    value: impl Fn(__m512i) -> __m512,
) {
    let low_byte = _mm512_set1_epi32(255);
    let mut block = [_mm512_setzero_ps(); T];
    for (quad, x) in w.iter().zip(x.as_chunks::<4>().0) {
        let mut quad = *quad;
        for x in x {
            let w = value(_mm512_and_si512(quad, low_byte));
            quad = _mm512_srli_epi32::<8>(quad);
            for (sum, x) in block.iter_mut().zip(x) {
                *sum = _mm512_fmadd_ps(w, _mm512_set1_ps(*x), *sum);
            }
        }
    }
    for (sum, block) in sums.iter_mut().zip(block) {
        *sum = _mm512_add_ps(*sum, block);
    }
}

/// Same arithmetic as the scalar quantiser, so the same integers.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn quantise(x: &[f32; BLOCK]) -> ActBlock {
    let (low, high) = (load_floats(part(x, 0)), load_floats(part(x, LANES)));
    let amax = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)));
    let inverse = _mm512_set1_ps(if amax > 0.0 { 127.0 / amax } else { 0.0 });
    let (floor, roof) = (_mm512_set1_ps(-127.0), _mm512_set1_ps(127.0));
    // The limits matter only for values that are not finite: -128 must never arise.
    let round = |v| {
        let scaled = _mm512_mul_ps(v, inverse);
        _mm512_cvtps_epi32(_mm512_max_ps(_mm512_min_ps(scaled, roof), floor))
    };
    let packed = _mm256_set_m128i(
        _mm512_cvtepi32_epi8(round(high)),
        _mm512_cvtepi32_epi8(round(low)),
    );
    // The instruction adds eight unsigned bytes at a time: 128 more for each, taken away from the sum.
    let eights = _mm256_sad_epu8(
        _mm256_xor_si256(packed, _mm256_set1_epi8(i8::MIN)),
        _mm256_setzero_si256(),
    );
    let sum = |eights: __m128i| _mm_extract_epi32::<0>(eights) + _mm_extract_epi32::<2>(eights) - 16 * 128;
    let (first, second) = (
        sum(_mm256_castsi256_si128(eights)),
        sum(_mm256_extracti128_si256::<1>(eights)),
    );
    let total = first + second;
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

/// Eight registers of unsigned nibbles in column order: low nibbles are the first half of a block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn nibbles(quads: &[u8; 256]) -> [__m512i; 8] {
    let mask = _mm512_set1_epi8(15);
    let mut w = [_mm512_setzero_si512(); 8];
    for (k, quad) in quads.as_chunks::<64>().0.iter().enumerate() {
        let quad = load64(quad);
        w[k] = _mm512_and_si512(quad, mask);
        w[k + 4] = _mm512_and_si512(_mm512_srli_epi16::<4>(quad), mask);
    }
    w
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn bytes(quads: &[u8; 512]) -> [__m512i; 8] {
    let mut w = [_mm512_setzero_si512(); 8];
    for (w, quad) in w.iter_mut().zip(quads.as_chunks::<64>().0) {
        *w = load64(quad);
    }
    w
}

/// Elements `at..at + N` of an array; the check folds away, as lengths and offsets are constants.
#[inline(always)]
pub(super) fn part<E, const N: usize, const M: usize>(array: &[E; M], at: usize) -> &[E; N] {
    array[at..]
        .first_chunk()
        .expect("offsets are those of the cell layout")
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn load64(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: exactly the 64 bytes of the array are read; no alignment is asked for.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn load32(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: exactly the 32 bytes of the array are read; no alignment is asked for.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn load_floats(values: &[f32; LANES]) -> __m512 {
    // SAFETY: exactly the sixteen values of the array are read; no alignment is asked for.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

/// Sixteen f16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn halves(bytes: &[u8; 32]) -> __m512 {
    _mm512_cvtph_ps(load32(bytes))
}

/// Sixteen bf16: the upper halves of f32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn brains(bytes: &[u8; 32]) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(load32(bytes))))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn spill<const T: usize>(sums: [__m512; T]) -> Sums<T> {
    let mut out = [[0.0; LANES]; T];
    for (out, sum) in out.iter_mut().zip(sums) {
        // SAFETY: `out` has the sixteen values that are stored.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sum) };
    }
    out
}
