//! The kernels in plain Rust: the oracle for the others, and what runs where nothing better does.

use half::{bf16, f16};

use super::{ActBlock, Sums, pieces};
use crate::blocks::{BLOCK, DType};
use crate::matrix::LANES;

/// See [`super::native_tile`].
pub(crate) fn native_tile<const T: usize>(dtype: DType, group: &[u8], x: &[[ActBlock; T]]) -> Sums<T> {
    if !matches!(dtype, DType::Q4_0 | DType::Q4_1 | DType::Q8_0) {
        return pieces::native_tile(dtype, group, x, pieces::dot);
    }
    let mut sums = [[0.0; LANES]; T];
    for (cell, blocks) in group.chunks_exact(dtype.block_bytes() * LANES).zip(x) {
        let d = halves(cell);
        for (sums, x) in sums.iter_mut().zip(blocks) {
            let (dots, m) = match dtype {
                DType::Q4_0 => (dot_nibbles(&cell[32..], x, x.minus_eight), [0.0; LANES]),
                DType::Q4_1 => (dot_nibbles(&cell[64..], x, 0), halves(&cell[32..])),
                _ => (dot_bytes(&cell[32..], x, x.minus_eight * 16), [0.0; LANES]),
            };
            for lane in 0..LANES {
                sums[lane] += dots[lane] as f32 * (d[lane] * x.scale);
                if dtype == DType::Q4_1 {
                    sums[lane] += m[lane] * x.sum;
                }
            }
        }
    }
    sums
}

/// See [`super::float_tile`].
pub(crate) fn float_tile<const T: usize>(dtype: DType, group: &[u8], x: &[[f32; T]]) -> Sums<T> {
    if dtype.is_quantised() && !matches!(dtype, DType::Q4_0 | DType::Q4_1 | DType::Q8_0) {
        return pieces::float_tile(dtype, group, x);
    }
    let mut sums = [[0.0; LANES]; T];
    let cells = group.chunks_exact(dtype.block_bytes() * LANES);
    for (cell, x) in cells.zip(x.chunks_exact(dtype.block_len())) {
        let mut block = [[0.0; LANES]; T];
        for (col, x) in x.iter().enumerate() {
            let w = column(dtype, cell, col);
            for (sums, x) in block.iter_mut().zip(x) {
                sums.iter_mut().zip(&w).for_each(|(s, w)| *s += w * x);
            }
        }
        for (sums, block) in sums.iter_mut().flatten().zip(block.iter().flatten()) {
            *sums += block;
        }
    }
    sums
}

/// Symmetric quantisation: the largest magnitude becomes 127.
pub(crate) fn quantise_block(x: &[f32; BLOCK]) -> ActBlock {
    let amax = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let scale = amax / 127.0;
    let inverse = if amax > 0.0 { 127.0 / amax } else { 0.0 };
    let mut quads = [0; BLOCK / 4];
    let mut halves = [0; 2];
    for (k, (quad, x)) in quads.iter_mut().zip(x.chunks_exact(4)).enumerate() {
        // The clamp matters only for values that are not finite: a kernel must never see -128.
        let q = [x[0], x[1], x[2], x[3]].map(|v| (v * inverse).round_ties_even().clamp(-127.0, 127.0) as i8);
        halves[k / 4] += q.iter().map(|&q| i32::from(q)).sum::<i32>();
        *quad = i32::from_le_bytes(q.map(i8::cast_unsigned));
    }
    let total = halves[0] + halves[1];
    ActBlock {
        quads,
        scale,
        sum: scale * total as f32,
        minus_eight: -8 * total,
        half_sums: ActBlock::pack_sums(halves[0], halves[1]),
    }
}

pub(super) fn halves(bytes: &[u8]) -> [f32; LANES] {
    std::array::from_fn(|lane| f16::from_le_bytes([bytes[2 * lane], bytes[2 * lane + 1]]).to_f32())
}

fn dot_nibbles(quads: &[u8], x: &ActBlock, start: i32) -> [i32; LANES] {
    let mut dots = [start; LANES];
    for (k, quad) in quads.chunks_exact(4 * LANES).enumerate() {
        let (low, high) = (x.quads[k].to_le_bytes(), x.quads[k + 4].to_le_bytes());
        for (dot, w) in dots.iter_mut().zip(quad.chunks_exact(4)) {
            for i in 0..4 {
                *dot += i32::from(w[i] & 15) * i32::from(low[i].cast_signed());
                *dot += i32::from(w[i] >> 4) * i32::from(high[i].cast_signed());
            }
        }
    }
    dots
}

fn dot_bytes(quads: &[u8], x: &ActBlock, start: i32) -> [i32; LANES] {
    let mut dots = [start; LANES];
    for (quad, x) in quads.chunks_exact(4 * LANES).zip(&x.quads) {
        let x = x.to_le_bytes();
        for (dot, w) in dots.iter_mut().zip(quad.chunks_exact(4)) {
            for i in 0..4 {
                *dot += i32::from(w[i]) * i32::from(x[i].cast_signed());
            }
        }
    }
    dots
}

/// The sixteen weights of column `col` of a cell of a plain type, q4_0, q4_1 or q8_0.
fn column(dtype: DType, cell: &[u8], col: usize) -> [f32; LANES] {
    let nibble = |quads: &[u8], lane: usize| {
        let byte = quads[col % 16 / 4 * 64 + lane * 4 + col % 4];
        f32::from(if col < BLOCK / 2 { byte & 15 } else { byte >> 4 })
    };
    match dtype {
        DType::F32 => std::array::from_fn(|lane| {
            let b = &cell[4 * lane..];
            f32::from_le_bytes([b[0], b[1], b[2], b[3]])
        }),
        DType::F16 => halves(cell),
        DType::BF16 => {
            std::array::from_fn(|lane| bf16::from_le_bytes([cell[2 * lane], cell[2 * lane + 1]]).to_f32())
        }
        DType::Q4_0 => {
            let d = halves(cell);
            std::array::from_fn(|lane| (nibble(&cell[32..], lane) - 8.0) * d[lane])
        }
        DType::Q4_1 => {
            let (d, m) = (halves(cell), halves(&cell[32..]));
            std::array::from_fn(|lane| nibble(&cell[64..], lane) * d[lane] + m[lane])
        }
        _ => {
            let d = halves(cell);
            std::array::from_fn(|lane| {
                f32::from((cell[32 + col / 4 * 64 + lane * 4 + col % 4] ^ 0x80).cast_signed()) * d[lane]
            })
        }
    }
}
