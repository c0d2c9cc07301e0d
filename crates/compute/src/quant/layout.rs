//! Where the fields of a super-block are: one description for decoding, encoding and the kernels.
//!
//! The kernels see sixteen rows at once, `quant` one; since [`crate::Matrix`] interleaves field by field,
//! byte `at` of a block is the sixteen (or, in a quad, four times sixteen) bytes from `16 * at` of a cell.
//! This file knows positions and bits, not values.

use crate::blocks::{BLOCK, DType, SUPER_BLOCK};

/// Runs of 32 columns in a super-block, each with one block of activations.
pub(crate) const RUNS: usize = SUPER_BLOCK / BLOCK;
/// The most sub-blocks that a type has.
pub(crate) const SUBS_MAX: usize = 16;

/// Some bits of 32 consecutive levels: those of column `l` of the run are in byte `at + l`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    /// First byte.
    pub(crate) at: usize,
    /// The lowest bit's place in the byte.
    pub(crate) shift: u32,
    /// How many bits there are; none for a part that the type does not have.
    pub(crate) bits: u32,
    /// The lowest bit's place in the level.
    pub(crate) to: u32,
}

impl Spot {
    /// The bits in the low end of a byte.
    pub(crate) const fn mask(self) -> u8 {
        (1 << self.bits) - 1
    }
}

/// The fields of one K type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    dtype: DType,
    /// Byte of the f16 that scales the scales.
    pub(crate) d: usize,
    /// Byte of the f16 that scales the offsets, where the type has offsets.
    pub(crate) e: Option<usize>,
    /// First byte of the packed scales and offsets, and how many there are.
    pub(crate) scales: (usize, usize),
    /// Weights that share a scale: 16 or 32.
    pub(crate) sub_len: usize,
    /// Bits of a level.
    pub(crate) level_bits: u32,
    /// The level that stands for zero.
    pub(crate) zero: u8,
    /// The least and the greatest scale.
    pub(crate) scale_range: (i16, i16),
}

/// A K type as a type, so that kernels are compiled for its layout; only those of x86-64 are.
#[cfg(target_arch = "x86_64")]
pub(crate) trait SuperBlock {
    /// Its layout.
    const LAYOUT: Layout;
}

#[cfg(target_arch = "x86_64")]
macro_rules! super_blocks {
    ($($name:ident = $dtype:ident),*) => {
        $(
            #[derive(Debug, Clone, Copy)]
            pub(crate) struct $name;
            impl SuperBlock for $name {
                const LAYOUT: Layout = Layout::of(DType::$dtype);
            }
        )*
    };
}

#[cfg(target_arch = "x86_64")]
super_blocks!(Q2K = Q2_K, Q3K = Q3_K, Q4K = Q4_K, Q5K = Q5_K, Q6K = Q6_K);

/// Integer scales and offsets of the sub-blocks of `N` rows; a scale is a signed byte for every type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Steps<const N: usize> {
    pub(crate) scales: [[i8; N]; SUBS_MAX],
    pub(crate) offsets: [[u8; N]; SUBS_MAX],
}

impl Layout {
    /// The layout of a K type.
    ///
    /// # Panics
    /// For any other type.
    #[inline(always)]
    pub(crate) const fn of(dtype: DType) -> Self {
        let (d, e, scales, sub_len, level_bits, zero, scale_range) = match dtype {
            DType::Q2_K => (80, Some(82), (0, 16), 16, 2, 0, (0, 15)),
            DType::Q3_K => (108, None, (96, 12), 16, 3, 4, (-32, 31)),
            DType::Q4_K => (0, Some(2), (4, 12), 32, 4, 0, (0, 63)),
            DType::Q5_K => (0, Some(2), (4, 12), 32, 5, 0, (0, 63)),
            DType::Q6_K => (208, None, (192, 16), 16, 6, 32, (-128, 127)),
            _ => panic!("only K types have super-blocks"),
        };
        Self {
            dtype,
            d,
            e,
            scales,
            sub_len,
            level_bits,
            zero,
            scale_range,
        }
    }

    /// Where the low and the high bits of the levels of run `run` (columns `32 * run..`) are.
    #[inline(always)]
    pub(crate) const fn spots(self, run: usize) -> [Spot; 2] {
        let (half, turn, bit) = (run / 4, run as u32 % 4, run as u32);
        let nothing = at(0, 0, 0, 0);
        match self.dtype {
            DType::Q2_K => [at(16 + 32 * half, 2 * turn, 2, 0), nothing],
            DType::Q3_K => [at(32 + 32 * half, 2 * turn, 2, 0), at(0, bit, 1, 2)],
            DType::Q4_K => [at(16 + 32 * (run / 2), 4 * (bit % 2), 4, 0), nothing],
            DType::Q5_K => [at(48 + 32 * (run / 2), 4 * (bit % 2), 4, 0), at(16, bit, 1, 4)],
            _ => [
                at(64 * half + 32 * (run % 2), 4 * (turn / 2), 4, 0),
                at(128 + 32 * half, 2 * turn, 2, 4),
            ],
        }
    }

    /// Unpacks the scales and offsets of `N` rows; `packed[i]` is byte `i` of each row's packed field.
    ///
    /// Inlined always: with sixteen rows the loops become vector instructions of the caller's level.
    #[inline(always)]
    pub(crate) fn steps<const N: usize>(self, packed: &[[u8; N]]) -> Steps<N> {
        let mut steps = Steps {
            scales: [[0; N]; SUBS_MAX],
            offsets: [[0; N]; SUBS_MAX],
        };
        let (scales, offsets) = (&mut steps.scales, &mut steps.offsets);
        match self.dtype {
            DType::Q2_K => {
                for j in 0..SUBS_MAX {
                    for n in 0..N {
                        scales[j][n] = (packed[j][n] & 15).cast_signed();
                        offsets[j][n] = packed[j][n] >> 4;
                    }
                }
            }
            DType::Q3_K => {
                for j in 0..SUBS_MAX {
                    for n in 0..N {
                        let low = packed[j % 8][n] >> (j / 8 * 4) & 15;
                        let high = packed[8 + j % 4][n] >> (j / 4 * 2) & 3;
                        scales[j][n] = (low | high << 4).wrapping_sub(32).cast_signed();
                    }
                }
            }
            DType::Q4_K | DType::Q5_K => {
                for j in 0..4 {
                    for n in 0..N {
                        let (a, b, c) = (packed[j][n], packed[j + 4][n], packed[j + 8][n]);
                        scales[j][n] = (a & 63).cast_signed();
                        offsets[j][n] = b & 63;
                        scales[j + 4][n] = (c & 15 | a >> 6 << 4).cast_signed();
                        offsets[j + 4][n] = c >> 4 | b >> 6 << 4;
                    }
                }
            }
            _ => {
                for j in 0..SUBS_MAX {
                    for n in 0..N {
                        scales[j][n] = packed[j][n].cast_signed();
                    }
                }
            }
        }
        steps
    }

    /// The inverse of [`Layout::steps`] for one row; `packed` is the zeroed field.
    pub(super) fn pack_steps(self, steps: &Steps<1>, packed: &mut [u8]) {
        let scale = |j: usize| steps.scales[j][0].cast_unsigned();
        let offset = |j: usize| steps.offsets[j][0];
        match self.dtype {
            DType::Q2_K => (0..16).for_each(|j| packed[j] = scale(j) | offset(j) << 4),
            DType::Q3_K => {
                for j in 0..16 {
                    let s = scale(j).wrapping_add(32);
                    packed[j % 8] |= (s & 15) << (j / 8 * 4);
                    packed[8 + j % 4] |= s >> 4 << (j / 4 * 2);
                }
            }
            DType::Q4_K | DType::Q5_K => {
                for j in 0..4 {
                    packed[j] = scale(j) | scale(j + 4) >> 4 << 6;
                    packed[j + 4] = offset(j) | offset(j + 4) >> 4 << 6;
                    packed[j + 8] = scale(j + 4) & 15 | offset(j + 4) << 4;
                }
            }
            _ => (0..16).for_each(|j| packed[j] = scale(j)),
        }
    }
}

const fn at(at: usize, shift: u32, bits: u32, to: u32) -> Spot {
    Spot { at, shift, bits, to }
}
