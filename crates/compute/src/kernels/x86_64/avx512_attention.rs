//! The columns of attention with 512-bit vectors: one register is one column.
//!
//! Up to sixteen chains of sums run beside each other, which leaves half of the registers for columns and
//! weights.

#![expect(
    unsafe_code,
    reason = "vector loads and stores, and entering a feature under its token"
)]

use std::arch::x86_64::*;

use crate::isa::Avx512;
use crate::kernels::attention::{Checked, Columns, Numbers, SCALED, SPAN};
use crate::matrix::LANES;

/// Sums of `T` rows in `V` groups.
type Chains<const T: usize, const V: usize> = [[__m512; V]; T];

/// See [`crate::kernels::attention::weigh`].
pub(in crate::kernels) fn weigh<const T: usize>(_: Avx512, mut checked: Checked<'_, T>) {
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

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn weigh_f32<const T: usize>(columns: Columns<'_>, weights: *const f32, sums: *mut f32) {
    // SAFETY: passed on from the caller; `load` is called on a whole column.
    unsafe { strips::<T, 4>(columns, None, weights, sums, |from| _mm512_loadu_ps(from.cast())) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn weigh_f16<const T: usize>(columns: Columns<'_>, weights: *const f32, sums: *mut f32) {
    // SAFETY: passed on from the caller; `load` is called on a whole column.
    unsafe {
        strips::<T, 2>(columns, None, weights, sums, |from| {
            _mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))
        })
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn weigh_i8<const T: usize>(columns: Columns<'_>, weights: *const f32, sums: *mut f32) {
    // SAFETY: passed on from the caller.
    unsafe { strips::<T, 1>(columns, None, weights, sums, |from| bytes(from)) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn weigh_scaled<const T: usize>(
    columns: Columns<'_>,
    scales: &[u8],
    weights: *const f32,
    sums: *mut f32,
) {
    // SAFETY: passed on from the caller.
    unsafe { strips::<T, 1>(columns, Some(scales), weights, sums, |from| bytes(from)) }
}

/// Sixteen signed bytes.
///
/// # Safety
/// `from` must be valid for reads of sixteen bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn bytes(from: *const u8) -> __m512 {
    // SAFETY: promised by the caller; no alignment is asked for.
    let sixteen = unsafe { _mm_loadu_si128(from.cast()) };
    _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(sixteen))
}

/// All groups, a few at a time. `SIZE` is the bytes of a number.
///
/// # Safety
/// As `Checked` promises; `load` may read sixteen numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn strips<const T: usize, const SIZE: usize>(
    columns: Columns<'_>,
    scales: Option<&[u8]>,
    weights: *const f32,
    sums: *mut f32,
    load: impl Fn(*const u8) -> __m512 + Copy,
) {
    let mut first = 0;
    while first < columns.n_groups {
        // SAFETY: the groups `first..first + V` exist, and the rest is passed on from the caller.
        unsafe {
            match (T, columns.n_groups - first) {
                (1..=4, 4..) => strip::<T, 4, SIZE>(&columns, scales, first, weights, sums, load),
                (_, 2..) => strip::<T, 2, SIZE>(&columns, scales, first, weights, sums, load),
                _ => strip::<T, 1, SIZE>(&columns, scales, first, weights, sums, load),
            }
        }
        first += match (T, columns.n_groups - first) {
            (1..=4, 4..) => 4,
            (_, 2..) => 2,
            _ => 1,
        };
    }
}

/// `V` groups from group `first` on.
///
/// # Safety
/// As [`strips`]; the groups must exist.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn strip<const T: usize, const V: usize, const SIZE: usize>(
    columns: &Columns<'_>,
    scales: Option<&[u8]>,
    first: usize,
    weights: *const f32,
    sums: *mut f32,
    load: impl Fn(*const u8) -> __m512 + Copy,
) {
    let mut from = [columns.bytes.as_ptr(); V];
    let mut totals: Chains<T, V> = [[_mm512_setzero_ps(); V]; T];
    for v in 0..V {
        // SAFETY: the group exists.
        from[v] = unsafe { from[v].add((first + v) * columns.group_bytes) };
        for (t, totals) in totals.iter_mut().enumerate() {
            // SAFETY: each row has sixteen sums for each group.
            totals[v] = unsafe { _mm512_loadu_ps(sums.add(t * SPAN + (first + v) * LANES)) };
        }
    }
    let Some(scales) = scales else {
        // SAFETY: the groups have `len` columns and the rows as many weights.
        totals = unsafe { products::<T, V, SIZE>(from, columns.len, weights, totals, load) };
        // SAFETY: as where they were loaded.
        return unsafe { store(totals, first, sums) };
    };
    for start in (0..columns.len).step_by(SCALED) {
        let n = SCALED.min(columns.len - start);
        let zero = [[_mm512_setzero_ps(); V]; T];
        // SAFETY: the columns `start..start + n` exist, and so do their weights.
        let run = unsafe {
            let from = from.map(|from| from.add(start * LANES * SIZE));
            products::<T, V, SIZE>(from, n, weights.add(start), zero, load)
        };
        for v in 0..V {
            let at = (first + v) * columns.group_bytes + start / SCALED * LANES * 4;
            // SAFETY: each group has sixteen scales for each run of columns.
            let scale = unsafe { _mm512_loadu_ps(scales.as_ptr().add(at).cast()) };
            for (t, totals) in totals.iter_mut().enumerate() {
                totals[v] = _mm512_fmadd_ps(run[t][v], scale, totals[v]);
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn products<const T: usize, const V: usize, const SIZE: usize>(
    from: [*const u8; V],
    n: usize,
    weights: *const f32,
    mut totals: Chains<T, V>,
    load: impl Fn(*const u8) -> __m512 + Copy,
) -> Chains<T, V> {
    for c in 0..n {
        for v in 0..V {
            // SAFETY: column `c` is there.
            let column = load(unsafe { from[v].add(c * LANES * SIZE) });
            for (t, totals) in totals.iter_mut().enumerate() {
                // SAFETY: each row has a weight for each column.
                let weight = _mm512_set1_ps(unsafe { *weights.add(t * SPAN + c) });
                totals[v] = _mm512_fmadd_ps(column, weight, totals[v]);
            }
        }
    }
    totals
}

/// Writes sums back.
///
/// # Safety
/// Each row must have sixteen sums for each of the groups from `first` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn store<const T: usize, const V: usize>(totals: Chains<T, V>, first: usize, sums: *mut f32) {
    for (t, totals) in totals.into_iter().enumerate() {
        for (v, total) in totals.into_iter().enumerate() {
            // SAFETY: promised by the caller.
            unsafe { _mm512_storeu_ps(sums.add(t * SPAN + (first + v) * LANES), total) };
        }
    }
}
