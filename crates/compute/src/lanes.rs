//! Elementwise loops and reductions over f32, compiled once per instruction set.
//!
//! Each body is plain Rust over [`LANES`] independent lanes, which the compiler turns into the vectors of
//! whatever features the enclosing function enables; [`per_isa`] stamps one copy for each level and
//! chooses among them. Reductions keep sixteen partial sums and add them in one fixed order.

#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "calling a function compiled for more features, under a proof token"
    )
)]

/// Partial sums of a reduction.
pub(crate) const LANES: usize = 16;

/// Stamps a public function that runs `body` compiled for the active instruction set. `FMA` tells the
/// body whether `mul_add` is one instruction there.
macro_rules! per_isa {
    ($(#[$doc:meta])* $vis:vis fn $name:ident$(<const $g:ident: usize>)?($($arg:ident: $ty:ty),* $(,)?)
        $(-> $ret:ty)? = $body:ident;) => {
        $(#[$doc])*
        $vis fn $name$(<const $g: usize>)?($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2$(<const $g: usize>)?($($arg: $ty),*) $(-> $ret)? {
                $body::<true $(, $g)?>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")]
            fn avx512$(<const $g: usize>)?($($arg: $ty),*) $(-> $ret)? {
                $body::<true $(, $g)?>($($arg),*)
            }
            match $crate::isa::Isa::active().proof() {
                // SAFETY: the token proves these features.
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Proof::Avx512(_) => unsafe { avx512$(::<$g>)?($($arg),*) },
                // SAFETY: the token proves these features.
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Proof::Avx2(_) => unsafe { avx2$(::<$g>)?($($arg),*) },
                // NEON is part of every AArch64 target, and so is its fused multiply-add.
                #[cfg(target_arch = "aarch64")]
                $crate::isa::Proof::Neon(_) => $body::<true $(, $g)?>($($arg),*),
                $crate::isa::Proof::Scalar => $body::<false $(, $g)?>($($arg),*),
            }
        }
    };
}
per_isa! {
    /// Sum of products.
    pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 = dot_body;
}
per_isa! {
    /// Sum of values.
    pub(crate) fn sum(x: &[f32]) -> f32 = sum_body;
}
per_isa! {
    /// Largest value; minus infinity for an empty slice. NaN is passed over.
    pub(crate) fn max(x: &[f32]) -> f32 = max_body;
}
per_isa! {
    /// `y += a * x`.
    pub(crate) fn axpy(a: f32, x: &[f32], y: &mut [f32]) = axpy_body;
}
per_isa! {
    /// `x = e^(x - shift)`, and the sum of the results.
    pub(crate) fn exp_minus(x: &mut [f32], shift: f32) -> f32 = exp_minus_body;
}
per_isa! {
    /// `gate = silu(gate) * up`.
    pub(crate) fn silu_mul(gate: &mut [f32], up: &[f32]) = silu_mul_body;
}
per_isa! {
    /// GELU by the error function, in place.
    pub(crate) fn gelu(x: &mut [f32]) = gelu_body;
}

#[inline(always)]
fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Adds partial results pairwise: lane `i` takes lane `i + half` until one is left.
#[inline(always)]
fn fold(mut lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = f(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn dot_body<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            sums[i] = fma::<FMA>(a[i], b[i], sums[i]);
        }
    }
    let rest = a_rest
        .iter()
        .zip(b_rest)
        .fold(0.0, |s, (a, b)| fma::<FMA>(*a, *b, s));
    fold(sums, |a, b| a + b) + rest
}

#[inline(always)]
fn sum_body<const FMA: bool>(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for x in chunks {
        for i in 0..LANES {
            sums[i] += x[i];
        }
    }
    fold(sums, |a, b| a + b) + rest.iter().sum::<f32>()
}

#[inline(always)]
fn max_body<const FMA: bool>(x: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut best = [f32::NEG_INFINITY; LANES];
    for x in chunks {
        for i in 0..LANES {
            best[i] = larger(best[i], x[i]);
        }
    }
    rest.iter().copied().fold(fold(best, larger), larger)
}

#[inline(always)]
fn axpy_body<const FMA: bool>(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = fma::<FMA>(a, *x, *y);
    }
}

#[inline(always)]
fn exp_minus_body<const FMA: bool>(x: &mut [f32], shift: f32) -> f32 {
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    let mut sums = [0.0; LANES];
    for x in chunks {
        for i in 0..LANES {
            x[i] = exp::<FMA>(x[i] - shift);
            sums[i] += x[i];
        }
    }
    let mut total = fold(sums, |a, b| a + b);
    for x in rest {
        *x = exp::<FMA>(*x - shift);
        total += *x;
    }
    total
}

#[inline(always)]
fn silu_mul_body<const FMA: bool>(gate: &mut [f32], up: &[f32]) {
    for (g, u) in gate.iter_mut().zip(up) {
        *g = *g / (1.0 + exp::<FMA>(-*g)) * u;
    }
}

#[inline(always)]
fn gelu_body<const FMA: bool>(x: &mut [f32]) {
    for v in x {
        *v = 0.5 * *v * (1.0 + erf::<FMA>(*v * std::f32::consts::FRAC_1_SQRT_2));
    }
}

/// e^x to about 2 ULP, without branches: 2^n times a Taylor polynomial of the rest, which lies within
/// half of ln 2. Below -87.3 the result is 0 (never denormal), above 88.7 it is infinity.
#[inline(always)]
fn exp<const FMA: bool>(x: f32) -> f32 {
    /// Adding this rounds to an integer, which then stands in the low bits: 1.5 · 2^23.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts, the first with few enough bits that `n` times it is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let clamped = x.clamp(-87.3, 88.72);
    let shifted = fma::<FMA>(clamped, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma::<FMA>(n, -LN_2_LOW, fma::<FMA>(n, -LN_2_HIGH, clamped));
    let mut p = 1.0 / 5040.0;
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = fma::<FMA>(p, r, c);
    }
    // 2^n in two factors, because n reaches 128.
    let half = (shifted.to_bits().cast_signed() << 9 >> 9) - (ROUND.to_bits() & 0x7f_ffff).cast_signed();
    let (a, b) = (half >> 1, half - (half >> 1));
    let power = |n: i32| f32::from_bits(((n + 127) << 23).cast_unsigned());
    let y = p * power(a) * power(b);
    let y = if x < -87.3 { 0.0 } else { y };
    let y = if x > 88.72 { f32::INFINITY } else { y };
    if x.is_nan() { x } else { y }
}

/// The error function within 3e-7: Abramowitz & Stegun 1964, equation 7.1.26, and near zero, where that
/// loses digits to cancellation, the Maclaurin series.
#[inline(always)]
fn erf<const FMA: bool>(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / fma::<FMA>(a, 0.327_591_1, 1.0);
    let mut p = 1.061_405_4;
    for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        p = fma::<FMA>(p, t, c);
    }
    let far = (1.0 - p * t * exp::<FMA>(-a * a)).copysign(x);
    let square = x * x;
    let mut p = -1.0 / 75_600.0;
    for c in [
        1.0 / 9360.0,
        -1.0 / 1320.0,
        1.0 / 216.0,
        -1.0 / 42.0,
        0.1,
        -1.0 / 3.0,
        1.0,
    ] {
        p = fma::<FMA>(p, square, c);
    }
    let near = x * p * std::f32::consts::FRAC_2_SQRT_PI;
    if a < 0.75 { near } else { far }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(from: f32, to: f32, n: usize) -> impl Iterator<Item = f32> {
        (0..=n).map(move |i| from + (to - from) * i as f32 / n as f32)
    }

    #[test]
    fn exp_is_within_a_few_ulp_and_honest_at_the_ends() {
        for x in sweep(-87.0, 88.5, 100_000) {
            let (want, got) = (f64::from(x).exp(), [exp::<true>(x), exp::<false>(x)]);
            for got in got {
                let error = (f64::from(got) - want).abs() / want;
                assert!(error < 3.0e-7, "e^{x}: {got} instead of {want}");
            }
        }
        assert_eq!(exp::<true>(0.0), 1.0);
        assert_eq!(exp::<true>(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp::<true>(f32::INFINITY), f32::INFINITY);
        assert!(exp::<true>(f32::NAN).is_nan());
    }

    /// erf by its Maclaurin series in f64, which converges well below 4.
    fn erf_series(x: f64) -> f64 {
        let (mut term, mut total) = (x, x);
        for n in 1..200 {
            let n = f64::from(n);
            term *= -x * x / n;
            total += term / (2.0 * n + 1.0);
        }
        total * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn erf_is_within_three_ten_millionths() {
        for x in sweep(-4.0, 4.0, 20_000) {
            let error = (f64::from(erf::<true>(x)) - erf_series(f64::from(x))).abs();
            assert!(error < 3.0e-7, "erf({x}) is off by {error}");
        }
        assert_eq!(erf::<true>(f32::INFINITY), 1.0);
        assert_eq!(erf::<true>(-20.0), -1.0);
    }
}
