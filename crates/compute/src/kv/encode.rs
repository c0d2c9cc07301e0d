//! Writing keys and values into a block, rounded as its type asks.
//!
//! A position's row is rounded with vectors; its keys then go to their lane of every column one by one,
//! which is a store each into a tile that stays in the nearest cache.

use super::{HEAD_DIM_MAX, KvDType, Layout, SCALE_BYTES};
use crate::kernels::attention::SCALED;
use crate::lanes;
use crate::matrix::LANES;

/// Writes one head's positions from `first` on into its run of a block; `k` and `v` are `[n][kv head][head_dim]`.
pub(super) fn write(layout: &Layout, bytes: &mut [u8], head: usize, first: usize, k: &[f32], v: &[f32]) {
    let (dim, width) = (layout.head_dim, layout.n_kv_heads * layout.head_dim);
    let (keys, values) = bytes.split_at_mut(layout.keys_bytes());
    let own = head * dim..(head + 1) * dim;
    let rows = k.chunks_exact(width).zip(v.chunks_exact(width));
    for (position, (k, v)) in (first..).zip(rows) {
        let tile = &mut keys[position / LANES * layout.tile_bytes()..][..layout.tile_bytes()];
        write_key(layout, tile, position % LANES, &k[own.clone()]);
        write_value(layout, values, position, &v[own.clone()]);
    }
}

/// Writes one lane of a tile.
fn write_key(layout: &Layout, tile: &mut [u8], lane: usize, x: &[f32]) {
    match layout.dtype {
        KvDType::F32 => spread(tile, lane, x.iter().map(|x| x.to_le_bytes())),
        KvDType::F16 => {
            let mut halves = [0; HEAD_DIM_MAX];
            lanes::to_f16(x, &mut halves[..x.len()]);
            spread(tile, lane, halves[..x.len()].iter().map(|x| x.to_le_bytes()));
        }
        KvDType::Q8_0 => {
            let (scales, columns) = tile.split_at_mut(layout.tile_scale_bytes());
            let quantised = Quantised::of(x);
            spread(scales, lane, quantised.scales(x.len()));
            spread(
                columns,
                lane,
                quantised.integers[..x.len()].iter().map(|x| [x.cast_unsigned()]),
            );
        }
    }
}

/// Writes one column of each group.
fn write_value(layout: &Layout, values: &mut [u8], position: usize, x: &[f32]) {
    let (scales, values) = values.split_at_mut(layout.value_scale_bytes());
    let column = LANES * layout.dtype.size();
    let columns = values
        .chunks_exact_mut(layout.group_bytes())
        .map(|group| &mut group[position * column..][..column]);
    match layout.dtype {
        KvDType::F32 => {
            for (to, x) in columns.zip(x.chunks(LANES)) {
                gather(to, x.iter().map(|x| x.to_le_bytes()));
            }
        }
        KvDType::F16 => {
            let mut halves = [0; HEAD_DIM_MAX];
            lanes::to_f16(x, &mut halves[..x.len()]);
            for (to, x) in columns.zip(halves[..x.len()].chunks(LANES)) {
                gather(to, x.iter().map(|x| x.to_le_bytes()));
            }
        }
        KvDType::Q8_0 => {
            let quantised = Quantised::of(x);
            for (to, x) in columns.zip(quantised.integers[..x.len()].chunks(LANES)) {
                gather(to, x.iter().map(|x| [x.cast_unsigned()]));
            }
            let scales = scales.chunks_exact_mut(layout.block_len * SCALE_BYTES);
            for (to, scale) in scales.zip(quantised.scales(x.len())) {
                to[position * SCALE_BYTES..][..SCALE_BYTES].copy_from_slice(&scale);
            }
        }
    }
}

/// Writes numbers into one lane of columns that follow one another.
fn spread<const N: usize>(columns: &mut [u8], lane: usize, numbers: impl Iterator<Item = [u8; N]>) {
    for (column, number) in columns.chunks_exact_mut(N * LANES).zip(numbers) {
        column[lane * N..][..N].copy_from_slice(&number);
    }
}

/// Writes numbers one after another.
fn gather<const N: usize>(to: &mut [u8], numbers: impl Iterator<Item = [u8; N]>) {
    for (to, number) in to.as_chunks_mut::<N>().0.iter_mut().zip(numbers) {
        *to = number;
    }
}

/// A head's row as integers with a scale for each 32: the largest magnitude becomes 127.
struct Quantised {
    integers: [i8; HEAD_DIM_MAX],
    scales: [f32; HEAD_DIM_MAX / SCALED],
}

impl Quantised {
    fn of(x: &[f32]) -> Self {
        let mut row = Self {
            integers: [0; HEAD_DIM_MAX],
            scales: [0.0; HEAD_DIM_MAX / SCALED],
        };
        let to = row.integers.chunks_mut(SCALED).zip(&mut row.scales);
        for (x, (integers, scale)) in x.chunks(SCALED).zip(to) {
            // Infinity saturates, so that what is read back is always a number.
            let largest = lanes::largest_magnitude(x).min(f32::MAX / 2.0);
            *scale = largest / 127.0;
            let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
            lanes::to_i8(x, inverse.min(f32::MAX), &mut integers[..x.len()]);
        }
        row
    }

    /// Bytes of the scales of a row of `n` components.
    fn scales(&self, n: usize) -> impl Iterator<Item = [u8; SCALE_BYTES]> {
        self.scales[..n.div_ceil(SCALED)]
            .iter()
            .map(|scale| scale.to_le_bytes())
    }
}
