//! The search for scales: which step and offset lose least when values become small integers.
//!
//! Both fits follow one idea: try rounding with several steps around the obvious one, and for each
//! rounding take the scale (and offset) that least squares gives for it. The error is weighted: a weight
//! is how much a squared error in its column matters.

/// Steps of a tenth of a level that are tried on either side of the obvious scale.
const TRIES: i32 = 9;
/// Rounds of "round again with the fitted scale, fit again" at the end.
const REFITS: usize = 3;
/// Adding and taking away 1.5 · 2^23 rounds an f32 below 2^22 to an integer, ties to even.
const ROUNDER: f32 = 12_582_912.0;

/// The nearest integer to `v`, held inside `low..=high`.
pub(super) fn level(v: f32, low: f32, high: f32) -> f32 {
    (v.clamp(low, high) + ROUNDER) - ROUNDER
}

/// Sums over values `x` with weights `w` and levels `q`.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    wq: f64,
    wqq: f64,
    wxq: f64,
}

/// Partial sums, so that neighbouring values add up independently of each other.
const PARTS: usize = 8;

impl Moments {
    /// Sums with `q = level(x * inverse + shift)`.
    fn of(x: &[f32], w: &[f32], (inverse, shift): (f32, f32), (low, high): (f32, f32)) -> Self {
        let (mut wq, mut wqq, mut wxq) = ([0.0f32; PARTS], [0.0f32; PARTS], [0.0f32; PARTS]);
        for (x, w) in x.as_chunks::<PARTS>().0.iter().zip(w.as_chunks::<PARTS>().0) {
            for i in 0..PARTS {
                let q = level(x[i] * inverse + shift, low, high);
                let weighted = w[i] * q;
                wq[i] += weighted;
                wqq[i] += weighted * q;
                wxq[i] += weighted * x[i];
            }
        }
        let total = |parts: [f32; PARTS]| parts.into_iter().map(f64::from).sum();
        Self {
            wq: total(wq),
            wqq: total(wqq),
            wxq: total(wxq),
        }
    }
}

/// The scale `s` for which `s * q` with `q` in `low..=-low - 1` is nearest to `x`; it may be negative.
/// The value of largest magnitude lies near `low`, the end that has one level more.
pub(super) fn symmetric(x: &[f32], w: &[f32], low: f32) -> f32 {
    let range = (low, -low - 1.0);
    let extreme = x
        .iter()
        .fold(0.0f32, |best, &x| if x.abs() > best.abs() { x } else { best });
    if extreme == 0.0 {
        return 0.0;
    }
    // The squared error of the fitted scale is Σwx² less this.
    let gain = |m: Moments| m.wxq * m.wxq / m.wqq;
    let (mut best, mut scale) = (f64::NEG_INFINITY, extreme / low);
    let mut consider = |inverse: f32| {
        let m = Moments::of(x, w, (inverse, 0.0), range);
        let better = gain(m) > best;
        if better {
            (best, scale) = (gain(m), (m.wxq / m.wqq) as f32);
        }
        (better, scale)
    };
    for step in -TRIES..=TRIES {
        consider((low + 0.1 * step as f32) / extreme);
    }
    let mut current = consider(low / extreme).1;
    for _ in 0..REFITS {
        let (better, fitted) = consider(1.0 / current);
        if !better {
            break;
        }
        current = fitted;
    }
    current
}

/// The scale `s >= 0` and offset `m` for which `s * q - m` with `q` in `0..=top` is nearest to `x`;
/// `m >= 0` unless `any_sign`.
pub(super) fn affine(x: &[f32], w: &[f32], top: f32, any_sign: bool) -> (f32, f32) {
    let mut min = x.iter().copied().fold(f32::MAX, f32::min);
    let max = x.iter().copied().fold(f32::MIN, f32::max);
    if !any_sign {
        min = min.min(0.0);
    }
    if max <= min {
        return (0.0, -min);
    }
    let (mut sw, mut swx, mut swxx) = (0.0f64, 0.0f64, 0.0f64);
    for (&x, &w) in x.iter().zip(w) {
        let (x, w) = (f64::from(x), f64::from(w));
        (sw, swx, swxx) = (sw + w, swx + w * x, swxx + w * x * x);
    }
    let (mut best, mut found) = (f64::INFINITY, ((max - min) / top, -min));
    let mut consider = |inverse: f32, offset: f32| {
        let m = Moments::of(x, w, (inverse, offset * inverse), (0.0, top));
        let determinant = sw * m.wqq - m.wq * m.wq;
        let mut s = (sw * m.wxq - swx * m.wq) / determinant;
        let mut b = (m.wqq * swx - m.wq * m.wxq) / determinant;
        if !any_sign && b > 0.0 {
            (s, b) = (m.wxq / m.wqq, 0.0);
        }
        let error = swxx - 2.0 * (s * m.wxq + b * swx) + s * s * m.wqq + 2.0 * s * b * m.wq + b * b * sw;
        let better = error < best && s > 0.0;
        if better {
            (best, found) = (error, (s as f32, -b as f32));
        }
        (better, found)
    };
    for step in -TRIES..=TRIES {
        consider((top + 0.1 * step as f32) / (max - min), -min);
    }
    let mut current = consider(top / (max - min), -min).1;
    for _ in 0..REFITS {
        let (better, fitted) = consider(1.0 / current.0, current.1);
        if !better {
            break;
        }
        current = fitted;
    }
    current
}

/// Weighted squared error of `scale * q - offset` with the best `q` of the range.
pub(super) fn error(x: &[f32], w: &[f32], scale: f32, offset: f32, (low, high): (f32, f32)) -> f32 {
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let mut parts = [0.0f32; PARTS];
    for (x, w) in x.as_chunks::<PARTS>().0.iter().zip(w.as_chunks::<PARTS>().0) {
        for i in 0..PARTS {
            let q = level((x[i] + offset) * inverse, low, high);
            let miss = x[i] - (scale * q - offset);
            parts[i] += w[i] * miss * miss;
        }
    }
    parts.into_iter().sum()
}
