//! Q5 and K weights in plain Rust: a run of 32 columns unpacked into levels, scales and offsets.
//!
//! A weight is `scale · (level − zero) − offset`, with one scale and offset for each half of a run. The
//! oracle for the vector kernels of these types, and the unpacking for those levels that have no
//! instruction for it better than what the compiler makes of these loops.

use super::{ActBlock, Sums, scalar};
use crate::blocks::{BLOCK, DType};
use crate::matrix::LANES;
use crate::quant::layout::{Layout, RUNS, Spot};

/// Bytes of 32 levels of sixteen rows.
pub(super) const LEVELS: usize = BLOCK * LANES;

/// Sixteen rows of a run.
pub(super) struct Piece {
    /// Quad `k` from byte `64 * k`: the levels of columns `4k..4k+4` of each row.
    pub(super) levels: [u8; LEVELS],
    /// The level that means zero.
    zero: u8,
    /// Of columns 0..16 and 16..32.
    scales: [[f32; LANES]; 2],
    offsets: [[f32; LANES]; 2],
}

/// Integer sums of a piece times activations, of columns 0..16 and 16..32, zero not yet taken away.
pub(super) type Dots = [[i32; LANES]; 2];

/// See [`super::native_tile`]; `dot` multiplies the levels of a piece.
pub(super) fn native_tile<const T: usize>(
    dtype: DType,
    group: &[u8],
    x: &[[ActBlock; T]],
    dot: impl Fn(&[u8; LEVELS], &ActBlock) -> Dots,
) -> Sums<T> {
    let mut sums = [[0.0; LANES]; T];
    let mut blocks = x.iter();
    each_piece(dtype, group, |piece| {
        let tokens = sums.iter_mut().zip(blocks.next().into_iter().flatten());
        for (sums, x) in tokens {
            let dots = dot(&piece.levels, x);
            for (half, halfsum) in [x.first_sum(), x.second_sum()].into_iter().enumerate() {
                let below = i32::from(piece.zero) * halfsum;
                for lane in 0..LANES {
                    let dot = (dots[half][lane] - below) as f32 * piece.scales[half][lane];
                    sums[lane] += (dot - piece.offsets[half][lane] * halfsum as f32) * x.scale;
                }
            }
        }
    });
    sums
}

/// See [`super::float_tile`].
pub(super) fn float_tile<const T: usize>(dtype: DType, group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    let mut sums = [[0.0; LANES]; T];
    let mut runs = x.as_chunks::<BLOCK>().0.iter();
    each_piece(dtype, group, |piece| {
        let mut block = [[0.0; LANES]; T];
        for (c, x) in runs.next().into_iter().flatten().enumerate() {
            let (scales, offsets) = (&piece.scales[c / 16], &piece.offsets[c / 16]);
            for lane in 0..LANES {
                let level = f32::from(piece.levels[c / 4 * 64 + lane * 4 + c % 4]);
                let w = (level - f32::from(piece.zero)) * scales[lane] - offsets[lane];
                block.iter_mut().zip(x).for_each(|(sums, x)| sums[lane] += w * x);
            }
        }
        for (sums, block) in sums.iter_mut().flatten().zip(block.iter().flatten()) {
            *sums += block;
        }
    });
    sums
}

/// The plain dot product.
pub(super) fn dot(levels: &[u8; LEVELS], x: &ActBlock) -> Dots {
    let mut dots = [[0; LANES]; 2];
    for (k, quad) in levels.as_chunks::<64>().0.iter().enumerate() {
        let x = x.quads[k].to_le_bytes();
        for (dot, w) in dots[k / 4].iter_mut().zip(quad.as_chunks::<4>().0) {
            for i in 0..4 {
                *dot += i32::from(w[i]) * i32::from(x[i].cast_signed());
            }
        }
    }
    dots
}

/// Calls `f` with each run of the group in turn.
fn each_piece(dtype: DType, group: &[u8], mut f: impl FnMut(&Piece)) {
    let cells = group.chunks_exact(dtype.block_bytes() * LANES);
    match dtype {
        DType::Q5_0 => cells.for_each(|cell| f(&fives(cell, 16, [0.0; LANES], 32))),
        DType::Q5_1 => {
            // An offset is taken away, and q5_1 adds its own.
            cells.for_each(|cell| f(&fives(cell, 0, scalar::halves(&cell[32..]).map(|m| -m), 64)));
        }
        _ => {
            let layout = Layout::of(dtype);
            cells.for_each(|cell| super_block(layout, cell, &mut f));
        }
    }
}

/// A block of q5_0 or q5_1 whose fifth bits start at byte `at` of the cell.
fn fives(cell: &[u8], zero: u8, offset: [f32; LANES], at: usize) -> Piece {
    let (fifth, nibbles) = (&cell[at..at + 64], &cell[at + 64..]);
    let mut levels = [0; LEVELS];
    for (k, quad) in levels.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        for (j, level) in quad.iter_mut().enumerate() {
            let nibble = nibbles[k % 4 * 64 + j] >> (k / 4 * 4) & 15;
            // The row's four bytes of fifth bits start at j - j % 4; column 4k + j % 4 is bit of them.
            let bit = fifth[j - j % 4 + k / 2] >> (k % 2 * 4 + j % 4) & 1;
            *level = nibble | bit << 4;
        }
    }
    Piece {
        levels,
        zero,
        scales: [scalar::halves(cell); 2],
        offsets: [offset; 2],
    }
}

fn super_block(layout: Layout, cell: &[u8], f: &mut impl FnMut(&Piece)) {
    let (at, len) = layout.scales;
    let steps = layout.steps(cell[at * LANES..(at + len) * LANES].as_chunks::<LANES>().0);
    let d = scalar::halves(&cell[layout.d * LANES..]);
    let e = layout.e.map(|e| scalar::halves(&cell[e * LANES..]));
    for run in 0..RUNS {
        let mut levels = [0; LEVELS];
        for spot in layout.spots(run) {
            add_spot(spot, cell, &mut levels);
        }
        let sub = |half: usize| (run * BLOCK + half * 16) / layout.sub_len;
        let scaled = |half: usize| std::array::from_fn(|n| d[n] * f32::from(steps.scales[sub(half)][n]));
        let offset = |half: usize| {
            let offsets = &steps.offsets[sub(half)];
            e.map_or([0.0; LANES], |e| {
                std::array::from_fn(|n| e[n] * f32::from(offsets[n]))
            })
        };
        f(&Piece {
            levels,
            zero: layout.zero,
            scales: [scaled(0), scaled(1)],
            offsets: [offset(0), offset(1)],
        });
    }
}

fn add_spot(spot: Spot, cell: &[u8], levels: &mut [u8; LEVELS]) {
    for (level, byte) in levels.iter_mut().zip(&cell[spot.at * LANES..]) {
        *level |= (byte >> spot.shift & spot.mask()) << spot.to;
    }
}
