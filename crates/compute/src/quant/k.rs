//! Super-blocks of 256 weights: their values, and the search for their scales.
//!
//! Sub-blocks are fitted one by one, their scales and offsets become integers of a common f16, and the
//! common f16 are fitted once more to what came out. Bits and places are `layout`'s business.

use half::f16;

use super::fit;
use super::half_at;
use super::layout::{Layout, RUNS, SUBS_MAX, Steps};
use crate::blocks::{BLOCK, DType, SUPER_BLOCK};

/// Writes the values of one block, with the reference implementation's order of operations.
pub(super) fn decode(dtype: DType, block: &[u8], out: &mut [f32]) {
    let layout = Layout::of(dtype);
    let (at, len) = layout.scales;
    let steps = layout.steps(block[at..at + len].as_chunks::<1>().0);
    let (d, e) = (
        half_at(block, layout.d),
        layout.e.map_or(0.0, |e| half_at(block, e)),
    );
    let levels = levels(layout, block);
    let subs = out
        .chunks_exact_mut(layout.sub_len)
        .zip(levels.chunks_exact(layout.sub_len));
    for (j, (out, levels)) in subs.enumerate() {
        let (scale, offset) = (
            d * f32::from(steps.scales[j][0]),
            e * f32::from(steps.offsets[j][0]),
        );
        for (out, &q) in out.iter_mut().zip(levels) {
            let value = scale * (f32::from(q) - f32::from(layout.zero));
            *out = if layout.e.is_some() { value - offset } else { value };
        }
    }
}

fn levels(layout: Layout, block: &[u8]) -> [u8; SUPER_BLOCK] {
    let mut levels = [0; SUPER_BLOCK];
    for (run, levels) in levels.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
        for spot in layout.spots(run) {
            for (level, byte) in levels.iter_mut().zip(&block[spot.at..]) {
                *level |= (byte >> spot.shift & spot.mask()) << spot.to;
            }
        }
    }
    levels
}

/// One block on its way into bytes.
struct Draft {
    d: f32,
    e: f32,
    steps: Steps<1>,
}

impl Draft {
    /// What sub-block `j` multiplies its levels by, and what it takes away.
    fn line(&self, j: usize) -> (f32, f32) {
        (
            self.d * f32::from(self.steps.scales[j][0]),
            self.e * f32::from(self.steps.offsets[j][0]),
        )
    }
}

/// Appends the block that loses least of `x`, errors weighted by `w` (both 256 long).
pub(super) fn encode(dtype: DType, x: &[f32], w: &[f32], out: &mut Vec<u8>) {
    let layout = Layout::of(dtype);
    let start = out.len();
    out.resize(start + dtype.block_bytes(), 0);
    let block = &mut out[start..];
    if !x.iter().all(|x| x.is_finite()) {
        block[layout.d..layout.d + 2].copy_from_slice(&f16::NAN.to_le_bytes());
        return;
    }
    let draft = draft(layout, x, w);
    let better = refit(layout, &draft, x, w);
    let draft = if total_error(layout, &better, x, w) < total_error(layout, &draft, x, w) {
        better
    } else {
        draft
    };
    block[layout.d..layout.d + 2].copy_from_slice(&f16::from_f32(draft.d).to_le_bytes());
    if let Some(e) = layout.e {
        block[e..e + 2].copy_from_slice(&f16::from_f32(draft.e).to_le_bytes());
    }
    let (at, len) = layout.scales;
    layout.pack_steps(&draft.steps, &mut block[at..at + len]);
    for run in 0..RUNS {
        let levels = run_levels(layout, &draft, x, run);
        for spot in layout.spots(run) {
            for (byte, level) in block[spot.at..].iter_mut().zip(levels) {
                *byte |= (level >> spot.to & spot.mask()) << spot.shift;
            }
        }
    }
}

/// The least and the greatest level, zero taken away.
fn range(layout: Layout) -> (f32, f32) {
    let zero = f32::from(layout.zero);
    let top = ((1u32 << layout.level_bits) - 1) as f32;
    (-zero, top - zero)
}

fn subs<'a>(
    layout: Layout,
    x: &'a [f32],
    w: &'a [f32],
) -> impl Iterator<Item = (usize, (&'a [f32], &'a [f32]))> {
    let pairs = x.chunks_exact(layout.sub_len).zip(w.chunks_exact(layout.sub_len));
    pairs.enumerate()
}

/// Stored levels of 32 columns.
fn run_levels(layout: Layout, draft: &Draft, x: &[f32], run: usize) -> [u8; BLOCK] {
    let (low, high) = range(layout);
    std::array::from_fn(|l| {
        let column = run * BLOCK + l;
        let (scale, offset) = draft.line(column / layout.sub_len);
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        let q = fit::level((x[column] + offset) * inverse, low, high);
        (q + f32::from(layout.zero)) as u8
    })
}

/// Fits every sub-block and rounds the scales and offsets to integers.
fn draft(layout: Layout, x: &[f32], w: &[f32]) -> Draft {
    let (low, high) = range(layout);
    let mut lines = [(0.0f32, 0.0f32); SUBS_MAX];
    for (j, (x, w)) in subs(layout, x, w) {
        lines[j] = if layout.e.is_some() {
            fit::affine(x, w, high, false)
        } else {
            (fit::symmetric(x, w, low), 0.0)
        };
    }
    let largest = |best: f32, v: f32| if v.abs() > best.abs() { v } else { best };
    let scale = lines.iter().map(|line| line.0).fold(0.0, largest);
    let offset = lines.iter().map(|line| line.1).fold(0.0, largest);
    // The end of the range that reaches further from zero takes the largest.
    let (least, greatest) = layout.scale_range;
    let far = if least < 0 { least } else { greatest };
    let mut draft = Draft {
        d: f16::from_f32(scale / f32::from(far)).to_f32(),
        e: f16::from_f32(offset / f32::from(greatest)).to_f32(),
        steps: Steps {
            scales: [[0]; SUBS_MAX],
            offsets: [[0]; SUBS_MAX],
        },
    };
    if layout.e.is_none() {
        draft.e = 0.0;
    }
    for (j, (x, w)) in subs(layout, x, w) {
        let mut best = f32::INFINITY;
        for (s, m) in neighbours(layout, lines[j], (draft.d, draft.e)) {
            let error = fit::error(x, w, draft.d * f32::from(s), draft.e * f32::from(m), (low, high));
            if error < best {
                best = error;
                draft.steps.scales[j] = [s];
                draft.steps.offsets[j] = [m];
            }
        }
    }
    draft
}

/// The integer scales and offsets around a fitted line.
fn neighbours(layout: Layout, line: (f32, f32), units: (f32, f32)) -> impl Iterator<Item = (i8, u8)> {
    let (least, greatest) = layout.scale_range;
    let near = |v: f32, unit: f32, least: i16| {
        let steps = if unit == 0.0 { 0.0 } else { v / unit };
        let middle = fit::level(steps, f32::from(least), f32::from(greatest)) as i16;
        [middle, (middle - 1).max(least), (middle + 1).min(greatest)]
    };
    let offsets = near(line.1, units.1, 0);
    let n_offsets = if layout.e.is_some() { 3 } else { 1 };
    near(line.0, units.0, least).into_iter().flat_map(move |s| {
        // The ranges of the layouts fit a signed and an unsigned byte.
        offsets
            .into_iter()
            .take(n_offsets)
            .map(move |m| (s as i8, m as u8))
    })
}

fn total_error(layout: Layout, draft: &Draft, x: &[f32], w: &[f32]) -> f32 {
    let error = |(j, (x, w)): (usize, (&[f32], &[f32]))| {
        let (scale, offset) = draft.line(j);
        fit::error(x, w, scale, offset, range(layout))
    };
    subs(layout, x, w).map(error).sum()
}

/// The common scale and offset that suit the integers best: least squares over the whole block.
fn refit(layout: Layout, draft: &Draft, x: &[f32], w: &[f32]) -> Draft {
    let (mut aa, mut ab, mut bb, mut ax, mut bx) = (0.0f64, 0.0f64, 0.0f64, 0.0f64, 0.0f64);
    for run in 0..RUNS {
        let levels = run_levels(layout, draft, x, run);
        for (l, q) in levels.into_iter().enumerate() {
            let column = run * BLOCK + l;
            let j = column / layout.sub_len;
            let a = f64::from(draft.steps.scales[j][0]) * (f64::from(q) - f64::from(layout.zero));
            let b = -f64::from(draft.steps.offsets[j][0]);
            let (x, w) = (f64::from(x[column]), f64::from(w[column]));
            aa += w * a * a;
            ab += w * a * b;
            bb += w * b * b;
            ax += w * a * x;
            bx += w * b * x;
        }
    }
    let determinant = aa * bb - ab * ab;
    let (d, e) = if determinant > 1e-9 * aa * bb {
        (
            (ax * bb - bx * ab) / determinant,
            (aa * bx - ab * ax) / determinant,
        )
    } else if aa > 0.0 {
        ((ax - ab * f64::from(draft.e)) / aa, f64::from(draft.e))
    } else {
        (f64::from(draft.d), f64::from(draft.e))
    };
    let half = |v: f64| f16::from_f32(v as f32).to_f32();
    Draft {
        d: half(d),
        e: half(e),
        steps: draft.steps,
    }
}
