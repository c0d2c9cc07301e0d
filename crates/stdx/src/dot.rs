//! Sums of products of small integers, with the widest registers that this processor has.
//!
//! A program that runs on every machine is compiled for the least of them; here the choice is made when it runs. Whole
//! numbers: the sum is the same on every machine.
#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "vector loads, and entering a feature that was asked for"
    )
)]

/// Sum of `row[i] * query[i]`, modulo 2^32; what is longer in one of them counts nothing.
pub fn dot(row: &[i8], query: &[i16]) -> i32 {
    let n = row.len().min(query.len());
    let (row, query) = (&row[..n], &query[..n]);
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor was just asked whether it has the feature.
        return unsafe { avx2::dot(row, query) };
    }
    plain(row, query)
}

fn plain(row: &[i8], query: &[i16]) -> i32 {
    let products = row.iter().zip(query).map(|(a, b)| i32::from(*a) * i32::from(*b));
    products.fold(0, i32::wrapping_add)
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    /// Numbers that are multiplied at a time.
    const WIDTH: usize = 16;

    /// See [`super::dot`]. Both are equally long.
    #[target_feature(enable = "avx2")]
    pub(super) fn dot(row: &[i8], query: &[i16]) -> i32 {
        let (rows, row_rest) = row.as_chunks::<WIDTH>();
        let (queries, query_rest) = query.as_chunks::<WIDTH>();
        let mut sums = [_mm256_setzero_si256(); 2];
        let (row_pairs, row_last) = rows.as_chunks::<2>();
        let (query_pairs, query_last) = queries.as_chunks::<2>();
        for (row, query) in row_pairs.iter().zip(query_pairs) {
            sums[0] = _mm256_add_epi32(sums[0], products(&row[0], &query[0]));
            sums[1] = _mm256_add_epi32(sums[1], products(&row[1], &query[1]));
        }
        for (row, query) in row_last.iter().zip(query_last) {
            sums[0] = _mm256_add_epi32(sums[0], products(row, query));
        }
        let mut lanes = [0_i32; 8];
        // SAFETY: the array has the size of the register.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), _mm256_add_epi32(sums[0], sums[1])) };
        let rest = super::plain(row_rest, query_rest);
        lanes.into_iter().fold(rest, i32::wrapping_add)
    }

    /// Eight sums of two products each: of a signed byte and 16 bits, which 32 bits hold: 2 · 128 · 32768 is 2^23.
    #[target_feature(enable = "avx2")]
    fn products(row: &[i8; WIDTH], query: &[i16; WIDTH]) -> __m256i {
        // SAFETY: both arrays have the size of what is loaded.
        let (row, query) = unsafe {
            (
                _mm_loadu_si128(row.as_ptr().cast()),
                _mm256_loadu_si256(query.as_ptr().cast()),
            )
        };
        _mm256_madd_epi16(_mm256_cvtepi8_epi16(row), query)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_way_gives_the_same(pairs in prop::collection::vec((any::<i8>(), any::<i16>()), 0..200)) {
            let (row, query): (Vec<i8>, Vec<i16>) = pairs.into_iter().unzip();
            prop_assert_eq!(dot(&row, &query), plain(&row, &query));
        }
    }

    #[test]
    fn the_extremes_are_no_exception() {
        let (row, query) = (vec![i8::MIN; 67], vec![i16::MIN; 67]);
        assert_eq!(dot(&row, &query), 67 * 128 * 32_768);
        assert_eq!(dot(&row, &[]), 0);
    }
}
