//! Arithmetic on vectors of f32: norms, activation functions, softmax, choices.
//!
//! Loops are written over fixed lanes in plain Rust and compiled once per instruction set (see
//! `lanes`); results do not depend on the number of threads because nothing here uses any.

use crate::lanes;

/// `out = x / sqrt(mean(x²) + eps) * weight` (Zhang & Sennrich 2019, in the order of the Hugging Face
/// implementation: normalised first, then weighted).
///
/// # Panics
/// If the lengths differ.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert!(
        x.len() == weight.len() && x.len() == out.len(),
        "a norm has one weight and one result per value"
    );
    let scale = inverse_rms(x, eps);
    for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
        *out = x * scale * w;
    }
}

/// [`rms_norm`] of each run of `weight.len()` values in place: for queries and keys per head, or rows of
/// a batch.
///
/// # Panics
/// If the runs do not divide `x`.
pub fn rms_norm_rows(x: &mut [f32], weight: &[f32], eps: f32) {
    assert!(
        x.len().is_multiple_of(weight.len().max(1)),
        "rows of {} in {} values",
        weight.len(),
        x.len()
    );
    for row in x.chunks_exact_mut(weight.len().max(1)) {
        let scale = inverse_rms(row, eps);
        row.iter_mut().zip(weight).for_each(|(x, w)| *x = *x * scale * w);
    }
}

fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    let mean = dot_f32(x, x) / x.len().max(1) as f32;
    1.0 / (mean + eps).sqrt()
}

/// `out = (x - mean) / sqrt(variance + eps) * weight + bias` (Ba et al. 2016; biased variance).
///
/// # Panics
/// If the lengths differ.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let n = x.len();
    assert!(
        n == weight.len() && n == bias.len() && n == out.len(),
        "a norm has one weight and bias per value"
    );
    let mean = lanes::sum(x) / n.max(1) as f32;
    for (out, x) in out.iter_mut().zip(x) {
        *out = x - mean;
    }
    let variance = dot_f32(out, out) / n.max(1) as f32;
    let scale = 1.0 / (variance + eps).sqrt();
    for ((out, w), b) in out.iter_mut().zip(weight).zip(bias) {
        *out = *out * scale * w + b;
    }
}

/// Softmax in place. Minus infinity becomes 0; if every value is minus infinity the result is uniform.
pub fn softmax(x: &mut [f32]) {
    let max = lanes::max(x);
    if max == f32::NEG_INFINITY {
        let share = 1.0 / x.len() as f32;
        return x.fill(share);
    }
    let total = lanes::exp_minus(x, max);
    let scale = 1.0 / total;
    x.iter_mut().for_each(|v| *v *= scale);
}

/// `gate = silu(gate) * up`, where `silu(v) = v / (1 + e^-v)`: the inner step of SwiGLU (Shazeer 2020).
///
/// # Panics
/// If the lengths differ.
pub fn silu_mul(gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len(), "gate and up have the same width");
    lanes::silu_mul(gate, up);
}

/// `x / 2 * (1 + erf(x / sqrt 2))` in place: GELU by the error function, within 2e-7 (of `x` beyond 1).
pub fn gelu_erf(x: &mut [f32]) {
    lanes::gelu(x);
}

/// Sum of products, over sixteen partial sums.
///
/// # Panics
/// If the lengths differ.
pub fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "a dot product takes vectors of one length");
    lanes::dot(a, b)
}

/// `y += a * x`.
///
/// # Panics
/// If the lengths differ.
pub fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "a sum takes vectors of one length");
    lanes::axpy(a, x, y);
}

/// `y += x`.
///
/// # Panics
/// If the lengths differ.
pub fn add(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "a sum takes vectors of one length");
    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
}

/// Scales `x` to length 1; a zero vector stays zero.
pub fn l2_normalise(x: &mut [f32]) {
    let norm = dot_f32(x, x).sqrt();
    if norm > 0.0 {
        let scale = 1.0 / norm;
        x.iter_mut().for_each(|v| *v *= scale);
    }
}

/// Index of the largest value, the lowest one on ties; NaN never wins. 0 for an empty slice.
pub fn argmax(x: &[f32]) -> usize {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    x.iter().position(|&v| v == max).unwrap_or(0)
}

/// The `k` largest values with their indices, largest first, the lower index first on ties; NaN is
/// smaller than everything. Fewer if `x` is shorter.
pub fn top_k(x: &[f32], k: usize) -> Vec<(usize, f32)> {
    let key = |v: f32| if v.is_nan() { f32::NEG_INFINITY } else { v };
    let before = |a: &(usize, f32), b: &(usize, f32)| key(b.1).total_cmp(&key(a.1)).then(a.0.cmp(&b.0));
    let k = k.min(x.len());
    if k == 0 {
        return Vec::new();
    }
    // Zeros of either sign are ties, which `total_cmp` would not say.
    let mut all: Vec<(usize, f32)> = x.iter().map(|&v| v + 0.0).enumerate().collect();
    if k < all.len() {
        all.select_nth_unstable_by(k - 1, before);
        all.truncate(k);
    }
    all.sort_unstable_by(before);
    all
}

#[cfg(test)]
mod tests;
