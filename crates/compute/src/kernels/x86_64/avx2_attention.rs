//! The columns of attention with 256-bit vectors: AVX2, FMA and F16C.
//!
//! Eight chains of sums run beside each other where there are as many (two cycles each on two units of
//! four cycles' latency): eight halves of groups for one row, one half for eight rows.

#![expect(
    unsafe_code,
    reason = "vector loads and stores, and entering a feature under its token"
)]

use std::arch::x86_64::*;

use crate::isa::Avx2;
use crate::kernels::attention::{Checked, Columns, Numbers, SCALED, SPAN};
use crate::matrix::LANES;

/// Numbers of half a group.
const HALF: usize = LANES / 2;

/// Sums of `T` rows in `V` halves of groups.
type Chains<const T: usize, const V: usize> = [[__m256; V]; T];

/// See [`crate::kernels::attention::weigh`].
pub(in crate::kernels) fn weigh<const T: usize>(_: Avx2, mut checked: Checked<'_, T>) {
    let (columns, weights, sums) = (checked.columns, checked.weights(), checked.sums());
    match columns.numbers {
        // SAFETY: the token proves the features; `Checked` says that all columns, weights and sums are there.
        Numbers::F32 => unsafe { weigh_f32::<T>(columns, weights, sums) },
        // SAFETY: as above.
        Numbers::F16 => unsafe { weigh_f16::<T>(columns, weights, sums) },
        // SAFETY: as above.
        Numbers::I8 => unsafe { weigh_i8::<T>(columns, weights, sums) },
        // SAFETY: as above, the scales included.
        Numbers::ScaledI8(scales) => unsafe { weigh_scaled::<T>(columns, scales, weights, sums) },
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn weigh_f32<const T: usize>(columns: Columns<'_>, weights: *const f32, sums: *mut f32) {
    // SAFETY: passed on from the caller; `load` is called on eight numbers of a column.
    unsafe { strips::<T, 4>(columns, None, weights, sums, |from| _mm256_loadu_ps(from.cast())) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn weigh_f16<const T: usize>(columns: Columns<'_>, weights: *const f32, sums: *mut f32) {
    // SAFETY: passed on from the caller; `load` is called on eight numbers of a column.
    unsafe {
        strips::<T, 2>(columns, None, weights, sums, |from| {
            _mm256_cvtph_ps(_mm_loadu_si128(from.cast()))
        })
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn weigh_i8<const T: usize>(columns: Columns<'_>, weights: *const f32, sums: *mut f32) {
    // SAFETY: passed on from the caller.
    unsafe { strips::<T, 1>(columns, None, weights, sums, |from| bytes(from)) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn weigh_scaled<const T: usize>(
    columns: Columns<'_>,
    scales: &[u8],
    weights: *const f32,
    sums: *mut f32,
) {
    // SAFETY: passed on from the caller.
    unsafe { strips::<T, 1>(columns, Some(scales), weights, sums, |from| bytes(from)) }
}

/// Eight signed bytes.
///
/// # Safety
/// `from` must be valid for reads of eight bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn bytes(from: *const u8) -> __m256 {
    // SAFETY: promised by the caller; no alignment is asked for.
    let eight = unsafe { _mm_loadl_epi64(from.cast()) };
    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight))
}

/// All groups, as many halves at a time as make eight chains. `SIZE` is the bytes of a number.
///
/// # Safety
/// As `Checked` promises; `load` may read eight numbers.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn strips<const T: usize, const SIZE: usize>(
    columns: Columns<'_>,
    scales: Option<&[u8]>,
    weights: *const f32,
    sums: *mut f32,
    load: impl Fn(*const u8) -> __m256 + Copy,
) {
    let n = columns.n_groups * 2;
    let mut first = 0;
    while first < n {
        // SAFETY: the halves `first..first + V` exist, and the rest is passed on from the caller.
        unsafe {
            match (T, n - first) {
                (1, 8..) => strip::<T, 8, SIZE>(&columns, scales, first, weights, sums, load),
                (2, 4..) => strip::<T, 4, SIZE>(&columns, scales, first, weights, sums, load),
                (8, _) => {
                    let later = 4 * SPAN;
                    strip::<4, 2, SIZE>(&columns, scales, first, weights, sums, load);
                    strip::<4, 2, SIZE>(&columns, scales, first, weights.add(later), sums.add(later), load);
                }
                _ => strip::<T, 2, SIZE>(&columns, scales, first, weights, sums, load),
            }
        }
        first += match (T, n - first) {
            (1, 8..) => 8,
            (2, 4..) => 4,
            _ => 2,
        };
    }
}

/// `V` halves of groups from half `first` on.
///
/// # Safety
/// As [`strips`]; the halves must exist.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn strip<const T: usize, const V: usize, const SIZE: usize>(
    columns: &Columns<'_>,
    scales: Option<&[u8]>,
    first: usize,
    weights: *const f32,
    sums: *mut f32,
    load: impl Fn(*const u8) -> __m256 + Copy,
) {
    let mut from = [columns.bytes.as_ptr(); V];
    let mut totals: Chains<T, V> = [[_mm256_setzero_ps(); V]; T];
    for v in 0..V {
        let (group, half) = ((first + v) / 2, (first + v) % 2);
        // SAFETY: the half starts inside its group, which exists.
        from[v] = unsafe { from[v].add(group * columns.group_bytes + half * HALF * SIZE) };
        for (t, totals) in totals.iter_mut().enumerate() {
            // SAFETY: each row has eight sums for each half.
            totals[v] = unsafe { _mm256_loadu_ps(sums.add(t * SPAN + (first + v) * HALF)) };
        }
    }
    let Some(scales) = scales else {
        // SAFETY: the halves have `len` columns and the rows as many weights.
        totals = unsafe { products::<T, V, SIZE>(from, columns.len, weights, totals, load) };
        // SAFETY: as where they were loaded.
        return unsafe { store(totals, first, sums) };
    };
    for start in (0..columns.len).step_by(SCALED) {
        let n = SCALED.min(columns.len - start);
        let zero = [[_mm256_setzero_ps(); V]; T];
        // SAFETY: the columns `start..start + n` exist, and so do their weights.
        let run = unsafe {
            let from = from.map(|from| from.add(start * LANES * SIZE));
            products::<T, V, SIZE>(from, n, weights.add(start), zero, load)
        };
        for v in 0..V {
            let (group, half) = ((first + v) / 2, (first + v) % 2);
            let at = group * columns.group_bytes + (start / SCALED * LANES + half * HALF) * 4;
            // SAFETY: each group has sixteen scales for each run of columns.
            let scale = unsafe { _mm256_loadu_ps(scales.as_ptr().add(at).cast()) };
            for (t, totals) in totals.iter_mut().enumerate() {
                totals[v] = _mm256_fmadd_ps(run[t][v], scale, totals[v]);
            }
        }
    }
    // SAFETY: as where they were loaded.
    unsafe { store(totals, first, sums) }
}

/// `totals[t][v] += Σ_c weights[t][c] · column c of from[v]`.
///
/// # Safety
/// `n` columns must be readable from each of `from`, and `n` weights of each row.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn products<const T: usize, const V: usize, const SIZE: usize>(
    from: [*const u8; V],
    n: usize,
    weights: *const f32,
    mut totals: Chains<T, V>,
    load: impl Fn(*const u8) -> __m256 + Copy,
) -> Chains<T, V> {
    for c in 0..n {
        for v in 0..V {
            // SAFETY: column `c` is there.
            let column = load(unsafe { from[v].add(c * LANES * SIZE) });
            for (t, totals) in totals.iter_mut().enumerate() {
                // SAFETY: each row has a weight for each column.
                let weight = unsafe { _mm256_broadcast_ss(&*weights.add(t * SPAN + c)) };
                totals[v] = _mm256_fmadd_ps(column, weight, totals[v]);
            }
        }
    }
    totals
}

/// Writes sums back.
///
/// # Safety
/// Each row must have eight sums for each of the halves from `first` on.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn store<const T: usize, const V: usize>(totals: Chains<T, V>, first: usize, sums: *mut f32) {
    for (t, totals) in totals.into_iter().enumerate() {
        for (v, total) in totals.into_iter().enumerate() {
            // SAFETY: promised by the caller.
            unsafe { _mm256_storeu_ps(sums.add(t * SPAN + (first + v) * HALF), total) };
        }
    }
}
