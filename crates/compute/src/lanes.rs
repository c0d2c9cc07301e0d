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
    /// `x = e^(x - shift)`, and the sum of the results. No value may exceed `shift`.
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
per_isa! {
    /// `y = a * y + b * x`.
    pub(crate) fn blend(a: f32, y: &mut [f32], b: f32, x: &[f32]) = blend_body;
}
per_isa! {
    /// `out = x * y`, where `y` is as many f32 as bytes.
    pub(crate) fn mul_bytes(x: &[f32], y: &[u8], out: &mut [f32]) = mul_bytes_body;
}
per_isa! {
    /// Rounds to f16, ties to even; too large is infinite.
    pub(crate) fn to_f16(x: &[f32], out: &mut [u16]) = to_f16_body;
}
per_isa! {
    /// Largest magnitude; 0 for an empty slice. NaN is passed over.
    pub(crate) fn largest_magnitude(x: &[f32]) -> f32 = largest_magnitude_body;
}
per_isa! {
    /// `out = x * factor`, rounded and held within ±127; NaN becomes 0.
    pub(crate) fn to_i8(x: &[f32], factor: f32, out: &mut [i8]) = to_i8_body;
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
fn blend_body<const FMA: bool>(a: f32, y: &mut [f32], b: f32, x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = fma::<FMA>(a, *y, b * *x);
    }
}

#[inline(always)]
fn mul_bytes_body<const FMA: bool>(x: &[f32], y: &[u8], out: &mut [f32]) {
    for ((x, y), out) in x.iter().zip(y.as_chunks::<4>().0).zip(out) {
        *out = x * f32::from_le_bytes(*y);
    }
}

#[inline(always)]
fn to_f16_body<const FMA: bool>(x: &[f32], out: &mut [u16]) {
    for (x, out) in x.iter().zip(out) {
        *out = f16_bits(*x);
    }
}

/// Without branches, so that vectors can do it.
#[inline(always)]
fn f16_bits(x: f32) -> u16 {
    /// 65536, 2^-14 and infinity as f32: where f16 ends, where its normal numbers begin.
    const ABOVE: u32 = 0x4780_0000;
    const NORMAL: u32 = 0x3880_0000;
    const INFINITE: u32 = 0x7f80_0000;
    let magnitude = x.to_bits() & 0x7fff_ffff;
    // Half a step less one, and one more if the last bit kept is odd; the exponent's bias falls by 112.
    let rounded = magnitude.wrapping_add(0xfff + (magnitude >> 13 & 1));
    let normal = rounded.wrapping_sub(112 << 23) >> 13;
    // The last bit of a half is 2^-24, as is the step of f16 below its normal numbers.
    let small = (f32::from_bits(magnitude) + 0.5)
        .to_bits()
        .wrapping_sub(0.5f32.to_bits());
    let large = if magnitude > INFINITE { 0x7e00 } else { 0x7c00 };
    let bits = if magnitude < NORMAL { small } else { normal };
    let bits = if magnitude >= ABOVE { large } else { bits };
    (bits | (x.to_bits() >> 16 & 0x8000)) as u16
}

#[inline(always)]
fn largest_magnitude_body<const FMA: bool>(x: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut best = [0.0; LANES];
    for x in chunks {
        for i in 0..LANES {
            best[i] = larger(best[i], x[i].abs());
        }
    }
    rest.iter()
        .fold(fold(best, larger), |best, x| larger(best, x.abs()))
}

#[inline(always)]
fn to_i8_body<const FMA: bool>(x: &[f32], factor: f32, out: &mut [i8]) {
    for (x, out) in x.iter().zip(out) {
        *out = (x * factor).round_ties_even().clamp(-127.0, 127.0) as i8;
    }
}

#[inline(always)]
fn exp_minus_body<const FMA: bool>(x: &mut [f32], shift: f32) -> f32 {
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    let mut sums = [0.0; LANES];
    for x in chunks {
        for i in 0..LANES {
            x[i] = exp_down::<FMA>(x[i] - shift);
            sums[i] += x[i];
        }
    }
    let mut total = fold(sums, |a, b| a + b);
    for x in rest {
        *x = exp_down::<FMA>(*x - shift);
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

/// `x Φ(x)`, where Φ is the normal distribution: `max(x, 0) - |x| Φ(-|x|)`, which never subtracts what is nearly equal.
/// Φ of what is below zero by Abramowitz & Stegun 1964, equation 7.1.26, within 8e-8.
#[inline(always)]
fn gelu_body<const FMA: bool>(x: &mut [f32]) {
    for v in x {
        // Further out the tail is 0 already, and infinity times 0 would be NaN.
        let a = if v.abs() > 30.0 { 30.0 } else { v.abs() };
        let t = 1.0 / fma::<FMA>(a, 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2, 1.0);
        let mut p = 1.061_405_4;
        for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
            p = fma::<FMA>(p, t, c);
        }
        let tail = 0.5 * t * p * exp_down::<FMA>(-0.5 * a * a);
        let positive = if *v < 0.0 { 0.0 } else { *v };
        *v = fma::<FMA>(-a, tail, positive);
    }
}

/// Adding this to a number below 2^22 rounds it to an integer, which then stands in the low bits: 1.5 · 2^23.
const ROUND: f32 = 12_582_912.0;
/// Below this e^x is taken for 0, before it is denormal.
const EXP_MIN: f32 = -87.3;
/// ln 2 in two parts, the first with few enough bits that `n` times it is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// [`exp`] of what is not above 0, bit for bit and for less: 2^n is one factor, and nothing is too large.
#[inline(always)]
fn exp_down<const FMA: bool>(x: f32) -> f32 {
    // Not `max`, which would turn NaN into a number.
    let held = if x < EXP_MIN { EXP_MIN } else { x };
    let (shifted, p) = exp_parts::<FMA>(held);
    // The integer's low bits become the exponent; those above them leave at the top.
    let y = p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    if x < EXP_MIN { 0.0 } else { y }
}

/// `n` such that e^x is 2^n times the second result, as an integer in the low bits of a number near [`ROUND`].
#[inline(always)]
fn exp_parts<const FMA: bool>(x: f32) -> (f32, f32) {
    let shifted = fma::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma::<FMA>(n, -LN_2_LOW, fma::<FMA>(n, -LN_2_HIGH, x));
    let mut p = 1.0 / 5040.0;
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = fma::<FMA>(p, r, c);
    }
    (shifted, p)
}

/// e^x to about 2 ULP, without branches: 2^n times a Taylor polynomial of the rest, which lies within
/// half of ln 2. Below -87.3 the result is 0 (never denormal), above 88.7 it is infinity.
#[inline(always)]
fn exp<const FMA: bool>(x: f32) -> f32 {
    let (shifted, p) = exp_parts::<FMA>(x.clamp(EXP_MIN, 88.72));
    // 2^n in two factors, because n reaches 128.
    let half = (shifted.to_bits().cast_signed() << 9 >> 9) - (ROUND.to_bits() & 0x7f_ffff).cast_signed();
    let (a, b) = (half >> 1, half - (half >> 1));
    let power = |n: i32| f32::from_bits(((n + 127) << 23).cast_unsigned());
    let y = p * power(a) * power(b);
    let y = if x < EXP_MIN { 0.0 } else { y };
    let y = if x > 88.72 { f32::INFINITY } else { y };
    if x.is_nan() { x } else { y }
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
        for x in sweep(-90.0, 0.0, 100_000) {
            assert_eq!(exp_down::<true>(x), exp::<true>(x), "{x}");
            assert_eq!(exp_down::<false>(x), exp::<false>(x), "{x}");
        }
        assert_eq!(exp_down::<true>(0.0), 1.0);
        assert_eq!(exp_down::<true>(f32::NEG_INFINITY), 0.0);
        assert!(exp_down::<true>(f32::NAN).is_nan());
        assert_eq!(exp::<true>(0.0), 1.0);
        assert_eq!(exp::<true>(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp::<true>(f32::INFINITY), f32::INFINITY);
        assert!(exp::<true>(f32::NAN).is_nan());
    }

    #[test]
    fn rounding_to_f16_is_that_of_the_standard() {
        let mut bits = 0u32;
        // An odd step below 2^16 meets all exponents and all ways to round.
        while let Some(next) = bits.checked_add(4093) {
            let x = f32::from_bits(bits);
            let want = half::f16::from_f32(x);
            for got in [x, -x].map(f16_bits) {
                let same = (got & 0x7fff) == want.to_bits() & 0x7fff || x.is_nan() && got & 0x7fff > 0x7c00;
                assert!(same, "{x}: {got:#x} instead of {want}");
            }
            bits = next;
        }
        for x in [
            65519.996f32,
            65520.0,
            6.1e-5,
            5.9e-8,
            2.9e-8,
            3.0e-8,
            2049.0,
            2051.0,
            -0.0,
        ] {
            assert_eq!(f16_bits(x), half::f16::from_f32(x).to_bits(), "{x}");
        }
        let mut out = [0; 3];
        to_f16(&[1.0, -2.0, f32::INFINITY], &mut out);
        assert_eq!(out, [0x3c00, 0xc000, 0x7c00]);
    }

    #[test]
    fn small_integers_are_rounded_and_saturate() {
        let mut out = [0; 6];
        to_i8(&[0.5, 1.5, -2.4, 1e9, -1e9, f32::NAN], 1.0, &mut out);
        assert_eq!(out, [0, 2, -2, 127, -127, 0]);
        assert_eq!(largest_magnitude(&[1.0, -3.0, f32::NAN]), 3.0);
        assert_eq!(largest_magnitude(&[]), 0.0);
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
    fn gelu_is_within_two_ten_millionths_and_exact_far_out() {
        for x in sweep(-5.0, 5.0, 50_000) {
            let exact = f64::from(x);
            let want = 0.5 * exact * (1.0 + erf_series(exact * std::f64::consts::FRAC_1_SQRT_2));
            for got in [gelu_of::<true>(x), gelu_of::<false>(x)] {
                let error = (f64::from(got) - want).abs();
                assert!(
                    error < 2.0e-7 * exact.abs().max(1.0),
                    "gelu({x}) is {got}, not {want}"
                );
            }
        }
        for (x, want) in [
            (0.0, 0.0),
            (20.0, 20.0),
            (1e30, 1e30),
            (f32::INFINITY, f32::INFINITY),
        ] {
            assert_eq!(gelu_of::<true>(x), want);
        }
        for x in [-20.0, -1e30, f32::NEG_INFINITY] {
            assert_eq!(gelu_of::<true>(x), 0.0);
        }
        assert!(gelu_of::<true>(f32::NAN).is_nan());
    }

    fn gelu_of<const FMA: bool>(x: f32) -> f32 {
        let mut one = [x];
        gelu_body::<FMA>(&mut one);
        one[0]
    }
}
