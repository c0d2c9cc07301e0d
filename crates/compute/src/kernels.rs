//! The inner loops of matrix products, one set per instruction set, and the choice between them.
//!
//! A kernel multiplies one group of [`LANES`] interleaved rows (see `matrix`) by a *tile* of `T` tokens,
//! `T` being known at compile time so that the sums stay in registers. Lane `r` of a register is row `r`;
//! the sum of each output runs over the columns in one fixed order, so a result depends neither on how
//! many tokens are multiplied together nor on how threads share the rows.
//!
//! Weights come from files and may hold any byte; activations were quantised here and lie in -127..=127.
//! The unsigned operand of the dot-product instructions is always the weights.

use crate::blocks::DType;
use crate::isa::{Isa, Proof};
use crate::matrix::LANES;

#[cfg(target_arch = "aarch64")]
mod aarch64;
pub(crate) mod attention;
mod pieces;
pub(crate) mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86_64;

/// The widest tile.
pub(crate) const TILE_MAX: usize = 8;

/// Thirty-two activations of one token as small integers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[repr(C, align(16))]
pub(crate) struct ActBlock {
    /// Quad `k` holds columns `4k..4k+4` as signed bytes -127..=127, the first in the low byte.
    pub(crate) quads: [i32; 8],
    /// What one step is worth.
    pub(crate) scale: f32,
    /// Sum of the integers times `scale`: what an offset shared by the block's weights multiplies.
    pub(crate) sum: f32,
    /// Sum of the integers times -8: the start value that makes nibbles 0..=15 mean -8..=7.
    pub(crate) minus_eight: i32,
    /// Sum of the first sixteen integers in the low half, of the others in the high half, each an i16 of
    /// magnitude 16 · 127 at most: what zero points and offsets of sub-blocks multiply.
    pub(crate) half_sums: i32,
}

impl ActBlock {
    /// Both sums in one word.
    pub(crate) fn pack_sums(first: i32, second: i32) -> i32 {
        first & 0xffff | second << 16
    }

    /// Sum of the first sixteen integers.
    pub(crate) fn first_sum(&self) -> i32 {
        i32::from(self.half_sums as i16)
    }

    /// Sum of the last sixteen integers.
    pub(crate) fn second_sum(&self) -> i32 {
        self.half_sums >> 16
    }
}

/// Sums of a tile: `[token][row of the group]`.
pub(crate) type Sums<const T: usize> = [[f32; LANES]; T];

/// A group of rows to multiply, and memory that is read soon after and asked for meanwhile.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) group: &'a [u8],
    pub(crate) ahead: &'a [u8],
}

/// `out = group · x` with int8 activations; `x` holds one array of `T` blocks per weight block.
///
/// # Panics
/// If `dtype` is not quantised.
#[inline]
pub(crate) fn native_tile<const T: usize>(
    isa: Isa,
    dtype: DType,
    rows: Rows<'_>,
    x: &[[ActBlock; T]],
) -> Sums<T> {
    match isa.proof() {
        #[cfg(target_arch = "x86_64")]
        Proof::Avx512(token) => x86_64::avx512::native_tile(token, dtype, rows, x),
        #[cfg(target_arch = "x86_64")]
        Proof::Avx2(token) => x86_64::avx2::native_tile(token, dtype, rows, x),
        #[cfg(target_arch = "aarch64")]
        Proof::Neon(token) => aarch64::native_tile(token, dtype, rows.group, x),
        Proof::Scalar => scalar::native_tile(dtype, rows.group, x),
    }
}

/// `out = group · x` in f32; `x` holds one array of `T` values per column.
#[inline]
pub(crate) fn float_tile<const T: usize>(isa: Isa, dtype: DType, group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    match isa.proof() {
        #[cfg(target_arch = "x86_64")]
        Proof::Avx512(token) => x86_64::avx512::float_tile(token, dtype, group, x),
        #[cfg(target_arch = "x86_64")]
        Proof::Avx2(token) => x86_64::avx2::float_tile(token, dtype, group, x),
        #[cfg(target_arch = "aarch64")]
        Proof::Neon(_) => scalar::float_tile(dtype, group, x),
        Proof::Scalar => scalar::float_tile(dtype, group, x),
    }
}

/// Quantises 32 activations.
pub(crate) fn quantise_block(isa: Isa, x: &[f32; 32]) -> ActBlock {
    match isa.proof() {
        #[cfg(target_arch = "x86_64")]
        Proof::Avx512(token) => x86_64::avx512::quantise_block(token, x),
        #[cfg(target_arch = "x86_64")]
        Proof::Avx2(token) => x86_64::avx2::quantise_block(token, x),
        #[cfg(target_arch = "aarch64")]
        Proof::Neon(_) => scalar::quantise_block(x),
        Proof::Scalar => scalar::quantise_block(x),
    }
}

/// Name of each kernel in use at `isa`: `{arch}-{weights}.{activations}-{level}`.
pub fn kernel_names(isa: Isa) -> Vec<String> {
    let name = |dtype: DType, activations: &str| {
        format!(
            "{}-{}.{activations}-{}",
            std::env::consts::ARCH,
            dtype.name(),
            isa.level().name()
        )
    };
    let native = DType::ALL
        .into_iter()
        .filter(|d| d.is_quantised())
        .map(|d| name(d, "i8"));
    native
        .chain(DType::ALL.into_iter().map(|d| name(d, "f32")))
        .collect()
}

#[cfg(test)]
mod tests;
