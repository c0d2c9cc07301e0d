//! Blocks of 32 weights with one scale: q4_0, q4_1, q5_0, q5_1, q8_0.
//!
//! The plain encoders round as the reference quantiser does, byte for byte; the weighted ones search.

use half::f16;

use super::{fit, half_at};
use crate::blocks::{BLOCK, DType};

/// Writes the values of one block.
pub(super) fn decode(dtype: DType, b: &[u8], out: &mut [f32]) {
    let d = half_at(b, 0);
    match dtype {
        DType::Q4_0 => nibbles(&b[2..], 0, out, |q| (q - 8.0) * d),
        DType::Q4_1 => {
            let m = half_at(b, 2);
            nibbles(&b[4..], 0, out, |q| q * d + m);
        }
        DType::Q5_0 => nibbles(&b[6..], fifth_bits(b, 2), out, |q| (q - 16.0) * d),
        DType::Q5_1 => {
            let m = half_at(b, 2);
            nibbles(&b[8..], fifth_bits(b, 4), out, |q| q * d + m);
        }
        _ => {
            for (out, &q) in out.iter_mut().zip(&b[2..]) {
                *out = f32::from(q.cast_signed()) * d;
            }
        }
    }
}

/// Bit `c` belongs to column `c`.
fn fifth_bits(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

/// Low nibbles are the first half of the block, high nibbles the second.
fn nibbles(packed: &[u8], fifth: u32, out: &mut [f32], value: impl Fn(f32) -> f32) {
    let (low, high) = out.split_at_mut(BLOCK / 2);
    for (c, ((&q, l), h)) in packed.iter().zip(low).zip(high).enumerate() {
        let bit = |c: usize| (fifth >> c & 1) as u8 * 16;
        *l = value(f32::from(q & 15 | bit(c)));
        *h = value(f32::from(q >> 4 | bit(c + BLOCK / 2)));
    }
}

/// Appends one block, rounded as the reference quantiser rounds.
pub(super) fn encode(dtype: DType, v: &[f32], out: &mut Vec<u8>) {
    match dtype {
        DType::Q4_0 => encode_symmetric::<4>(extreme(v) / -8.0, v, out),
        DType::Q5_0 => encode_symmetric::<5>(extreme(v) / -16.0, v, out),
        DType::Q4_1 | DType::Q5_1 => {
            let min = v.iter().copied().fold(f32::MAX, f32::min);
            let max = v.iter().copied().fold(-f32::MAX, f32::max);
            if dtype == DType::Q4_1 {
                encode_affine::<4>((max - min) / 15.0, min, v, out);
            } else {
                encode_affine::<5>((max - min) / 31.0, min, v, out);
            }
        }
        _ => encode_q8_0(v, out),
    }
}

/// Appends one block whose scale (and offset) is searched for, errors weighted by `w`.
///
/// Eight bits leave nothing to search for: q8_0 is rounded as always.
pub(super) fn encode_weighted(dtype: DType, v: &[f32], w: &[f32], out: &mut Vec<u8>) {
    if dtype == DType::Q8_0 || !v.iter().all(|x| x.is_finite()) {
        return encode(dtype, v, out);
    }
    let stored = |x: f32| f16::from_f32(x).to_f32();
    match dtype {
        DType::Q4_0 => encode_symmetric::<4>(stored(fit::symmetric(v, w, -8.0)), v, out),
        DType::Q5_0 => encode_symmetric::<5>(stored(fit::symmetric(v, w, -16.0)), v, out),
        DType::Q4_1 => {
            let (d, m) = fit::affine(v, w, 15.0, true);
            encode_affine::<4>(stored(d), stored(-m), v, out);
        }
        _ => {
            let (d, m) = fit::affine(v, w, 31.0, true);
            encode_affine::<5>(stored(d), stored(-m), v, out);
        }
    }
}

fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// The value of largest magnitude: it becomes the lowest level, so that one end of the range is exact.
fn extreme(v: &[f32]) -> f32 {
    v.iter()
        .fold(0.0f32, |best, &x| if x.abs() > best.abs() { x } else { best })
}

fn encode_symmetric<const BITS: u32>(d: f32, v: &[f32], out: &mut Vec<u8>) {
    let (id, zero) = (inverse(d), (1u32 << (BITS - 1)) as f32);
    out.extend(f16::from_f32(d).to_le_bytes());
    push_levels::<BITS>(v, out, |x| x * id + (zero + 0.5));
}

fn encode_affine<const BITS: u32>(d: f32, min: f32, v: &[f32], out: &mut Vec<u8>) {
    let id = inverse(d);
    out.extend(f16::from_f32(d).to_le_bytes());
    out.extend(f16::from_f32(min).to_le_bytes());
    push_levels::<BITS>(v, out, |x| (x - min) * id + 0.5);
}

/// `level` adds the half; the cast drops the fraction and saturates.
fn push_levels<const BITS: u32>(v: &[f32], out: &mut Vec<u8>, level: impl Fn(f32) -> f32) {
    let top = ((1u32 << BITS) - 1) as u8;
    let mut levels = [0; BLOCK];
    levels
        .iter_mut()
        .zip(v)
        .for_each(|(q, &x)| *q = (level(x) as u8).min(top));
    if BITS > 4 {
        let fifth = |bits: u32, (c, q): (usize, &u8)| bits | u32::from(q >> 4) << c;
        out.extend(levels.iter().enumerate().fold(0, fifth).to_le_bytes());
    }
    let (low, high) = levels.split_at(BLOCK / 2);
    out.extend(low.iter().zip(high).map(|(l, h)| l & 15 | h << 4));
}

fn encode_q8_0(v: &[f32], out: &mut Vec<u8>) {
    let amax = v.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let d = amax / 127.0;
    let id = inverse(d);
    out.extend(f16::from_f32(d).to_le_bytes());
    out.extend(v.iter().map(|x| ((x * id).round() as i8).cast_unsigned()));
}
