//! Tests of matrix products: every kernel this machine can run against sums in f64.

use half::f16;
use proptest::prelude::*;

use super::*;
use crate::blocks::DType;
use crate::bytes::AlignedBytes;
use crate::matrix::Matrix;
use crate::quant;

/// What the kernels should give: for native arithmetic the activations are rounded first.
fn oracle(dtype: DType, bytes: &[u8], cols: usize, x: &[f32], precision: Precision) -> Vec<f64> {
    let rows = bytes.len() / dtype.row_bytes(cols).unwrap();
    let mut w = vec![0.0; rows * cols];
    quant::dequantise(dtype, bytes, &mut w).unwrap();
    let rounded: Vec<f32> = if precision == Precision::Native && dtype.is_quantised() {
        let blocks = x
            .as_chunks::<BLOCK>()
            .0
            .iter()
            .map(kernels::scalar::quantise_block);
        blocks
            .flat_map(|b| {
                b.quads
                    .map(i32::to_le_bytes)
                    .into_iter()
                    .flatten()
                    .map(move |q| f32::from(q.cast_signed()) * b.scale)
            })
            .collect()
    } else {
        x.to_vec()
    };
    let dot = |x: &[f32], w: &[f32]| x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
    rounded
        .chunks_exact(cols)
        .flat_map(|x| w.chunks_exact(cols).map(move |w| dot(x, w)))
        .collect()
}

/// The scale of rounding errors: the sum of the magnitudes that were added.
fn magnitudes(dtype: DType, bytes: &[u8], cols: usize, x: &[f32]) -> Vec<f64> {
    let mut w = vec![0.0; bytes.len() / dtype.row_bytes(cols).unwrap() * cols];
    quant::dequantise(dtype, bytes, &mut w).unwrap();
    // Offsets and zero points are added apart from the levels, so their magnitudes count apart.
    let mut zeros = vec![0.0; w.len()];
    quant::dequantise(dtype, &without_levels(dtype, bytes), &mut zeros).unwrap();
    let twice = match dtype {
        DType::F32 | DType::F16 | DType::BF16 => 0.0,
        DType::Q4_1 | DType::Q5_1 | DType::Q2_K | DType::Q4_K | DType::Q5_K => 2.0,
        _ => 1.0,
    };
    let offset = |at: usize| twice * f64::from(zeros[at].abs());
    let wide: Vec<f64> = w
        .iter()
        .enumerate()
        .map(|(i, w)| f64::from(w.abs()) + offset(i))
        .collect();
    let sum = |x: &[f32], w: &[f64]| x.iter().zip(w).map(|(x, w)| f64::from(x.abs()) * w).sum();
    x.chunks_exact(cols)
        .flat_map(|x| wide.chunks_exact(cols).map(move |w| sum(x, w)))
        .collect()
}

/// The bytes of a block that are not levels.
fn head(dtype: DType) -> Range<usize> {
    match dtype {
        DType::Q4_0 | DType::Q5_0 | DType::Q8_0 => 0..2,
        DType::Q4_1 | DType::Q5_1 => 0..4,
        DType::Q4_K | DType::Q5_K => 0..16,
        DType::Q3_K => 96..110,
        DType::Q6_K => 192..210,
        // The scales of q2_k stand before the levels and its two f16 behind them.
        _ => 0..dtype.block_bytes(),
    }
}

/// The same scales and offsets with every level the lowest there is.
fn without_levels(dtype: DType, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        let head = head(dtype);
        let lowest = if dtype == DType::Q8_0 { 0x80 } else { 0 };
        block[..head.start].fill(lowest);
        block[head.end..].fill(lowest);
        if dtype == DType::Q2_K {
            block[16..80].fill(lowest);
        }
    }
    bytes
}

fn product(isa: Isa, m: &Matrix, x: &[f32], n: usize, precision: Precision, threads: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; n * m.rows()];
    let mut scratch = Scratch::with_isa(isa);
    matmul(
        &Pool::new(threads),
        m.as_ref(),
        x,
        n,
        &mut out,
        precision,
        &mut scratch,
    );
    out
}

#[track_caller]
fn check(dtype: DType, bytes: &[u8], cols: usize, x: &[f32]) {
    let (n, rows) = (x.len() / cols, bytes.len() / dtype.row_bytes(cols).unwrap());
    let matrix = Matrix::new(dtype, rows, cols, AlignedBytes::copy_of(bytes)).unwrap();
    let sizes = magnitudes(dtype, bytes, cols, x);
    for precision in [Precision::Native, Precision::F32] {
        let want = oracle(dtype, bytes, cols, x, precision);
        for isa in Isa::available() {
            let got = product(isa, &matrix, x, n, precision, 1);
            for ((got, want), size) in got.iter().zip(&want).zip(&sizes) {
                // Where weights are infinite or their products leave the range of f32 only survival counts.
                if want.is_finite() && *size < 1e37 {
                    let error = (f64::from(*got) - want).abs();
                    let name = (isa.level().name(), dtype.name(), precision);
                    assert!(
                        error <= 2e-6 * size + 1e-30,
                        "{name:?}: {got} instead of {want} (±{size})"
                    );
                }
            }
        }
    }
}

fn dtypes() -> impl Strategy<Value = DType> {
    proptest::sample::select(DType::ALL.to_vec())
}

/// About `blocks` blocks of 32 columns, whole blocks of the type.
fn columns(dtype: DType, blocks: usize) -> usize {
    (blocks * 32).next_multiple_of(dtype.block_len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_kernel_agrees_with_the_oracle_on_any_bytes(
        dtype in dtypes(), rows in 1usize..40, blocks in 1usize..5, odd in 0usize..32, n in 1usize..20, seed: u64,
    ) {
        let cols = if dtype.is_quantised() { columns(dtype, blocks) } else { blocks * 32 - odd };
        let mut rng = stdx::rng::Rng::new(seed);
        let bytes: Vec<u8> = (0..rows * dtype.row_bytes(cols).unwrap()).map(|_| rng.next_u64() as u8).collect();
        let x: Vec<f32> = (0..n * cols).map(|_| (rng.next_u64() as i32 as f32) / 2e8).collect();
        check(dtype, &bytes, cols, &x);
    }

    #[test]
    fn every_kernel_agrees_with_the_oracle_on_plain_weights(
        dtype in dtypes(), rows in 1usize..40, blocks in 1usize..9, n in 1usize..20, seed: u64,
    ) {
        let cols = columns(dtype, blocks);
        let mut rng = stdx::rng::Rng::new(seed);
        let mut noise = |n: usize| (0..n).map(|_| (rng.next_u64() as i32 as f32) / 2e9).collect::<Vec<f32>>();
        let bytes = quant::quantise(dtype, &noise(rows * cols)).unwrap();
        check(dtype, &bytes, cols, &noise(n * cols));
    }
}

#[test]
fn extreme_integers_do_not_saturate() {
    // Byte of the scale, bytes that are zero (offsets), bytes of sub-scales and what they hold, levels.
    for (dtype, d, none, steps, step, fill) in [
        (DType::Q8_0, 0, 0..0, 0..0, 0, 0x80u8),
        (DType::Q8_0, 0, 0..0, 0..0, 0, 0x7f),
        (DType::Q4_0, 0, 0..0, 0..0, 0, 0xff),
        (DType::Q4_1, 0, 2..4, 0..0, 0, 0xff),
        (DType::Q5_0, 0, 0..0, 0..0, 0, 0xff),
        (DType::Q5_0, 0, 0..0, 0..0, 0, 0x00),
        (DType::Q5_1, 0, 2..4, 0..0, 0, 0xff),
        (DType::Q2_K, 80, 82..84, 0..16, 0xff, 0xff),
        (DType::Q3_K, 108, 0..0, 96..108, 0xff, 0xff),
        (DType::Q3_K, 108, 0..0, 96..108, 0x00, 0x00),
        (DType::Q4_K, 0, 2..4, 4..16, 0xff, 0xff),
        (DType::Q5_K, 0, 2..4, 4..16, 0xff, 0xff),
        (DType::Q6_K, 208, 0..0, 192..208, 0x80, 0xff),
        (DType::Q6_K, 208, 0..0, 192..208, 0x80, 0x00),
        (DType::Q6_K, 208, 0..0, 192..208, 0x7f, 0xff),
    ] {
        let mut block = vec![fill; dtype.block_bytes()];
        block[none].fill(0);
        block[steps].fill(step);
        block[d..d + 2].copy_from_slice(&f16::from_f32(1.0).to_le_bytes());
        let cols = columns(dtype, 4);
        let bytes = block.repeat(16 * cols / dtype.block_len());
        for sign in [1.0, -1.0] {
            // Kernels may treat few tokens and many differently.
            for n in [1, 2, 3, 8] {
                check(dtype, &bytes, cols, &vec![sign; cols * n]);
            }
        }
    }
}

#[test]
fn activations_that_are_not_finite_do_no_harm() {
    for dtype in DType::ALL {
        let cols = columns(dtype, 2);
        let bytes = quant::quantise(dtype, &vec![0.5; cols * 3]).unwrap();
        let matrix = Matrix::new(dtype, 3, cols, AlignedBytes::copy_of(&bytes)).unwrap();
        for bad in [
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::MAX,
            f32::MIN_POSITIVE / 8.0,
        ] {
            for isa in Isa::available() {
                let mut x = vec![0.25; 2 * cols];
                x[5] = bad;
                let got = product(isa, &matrix, &x, 2, Precision::Native, 1);
                let want = cols as f32 * 0.125;
                assert!(
                    got[3..].iter().all(|v| (v - want).abs() < 0.0125 * want),
                    "the other token: {got:?}"
                );
            }
        }
    }
}

/// Noise of a fixed seed.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = stdx::rng::Rng::new(seed);
    (0..n).map(|_| (rng.next_u64() as i32 as f32) / 2e9).collect()
}

fn matrix(dtype: DType, rows: usize, cols: usize, seed: u64) -> Matrix {
    let bytes = quant::quantise(dtype, &noise(rows * cols, seed)).unwrap();
    Matrix::new(dtype, rows, cols, AlignedBytes::copy_of(&bytes)).unwrap()
}

#[test]
fn threads_and_batching_change_no_bit() {
    for dtype in DType::ALL {
        let (m, x) = (matrix(dtype, 200, 256, 1), noise(21 * 256, 2));
        for precision in [Precision::Native, Precision::F32] {
            for isa in Isa::available() {
                let one = product(isa, &m, &x, 21, precision, 1);
                assert_eq!(one, product(isa, &m, &x, 21, precision, 3), "{}", dtype.name());
                for (token, want) in x.chunks_exact(256).zip(one.chunks_exact(200)) {
                    assert_eq!(product(isa, &m, token, 1, precision, 2), want, "{}", dtype.name());
                }
            }
        }
    }
}

#[test]
fn many_tokens_in_several_runs_agree_with_one_at_a_time() {
    let (m, n) = (matrix(DType::Q4_1, 32, 2048, 1), 150);
    let x = noise(n * 2048, 2);
    let all = product(Isa::active(), &m, &x, n, Precision::Native, 2);
    for token in [0, 77, 149] {
        let own = product(
            Isa::active(),
            &m,
            &x[token * 2048..(token + 1) * 2048],
            1,
            Precision::Native,
            1,
        );
        assert_eq!(own, all[token * 32..(token + 1) * 32]);
    }
}

#[test]
fn views_select_their_rows_even_across_groups() {
    let m = matrix(DType::Q4_0, 100, 64, 3);
    let x = noise(3 * 64, 4);
    let pool = Pool::new(2);
    let whole = product(Isa::active(), &m, &x, 3, Precision::Native, 1);
    for range in [0..100, 0..16, 16..48, 5..7, 30..77, 99..100, 50..50] {
        let mut out = vec![f32::NAN; 3 * range.len()];
        let view = m.rows_view(range.clone());
        matmul(
            &pool,
            view,
            &x,
            3,
            &mut out,
            Precision::Native,
            &mut Scratch::new(),
        );
        for token in 0..3 {
            let want = &whole[token * 100..][range.clone()];
            assert_eq!(&out[token * range.len()..][..range.len()], want, "{range:?}");
        }
    }
}

#[test]
fn jobs_of_mixed_types_and_sizes_share_one_call() {
    let (a, b, c) = (
        matrix(DType::Q4_0, 48, 64, 1),
        matrix(DType::F32, 7, 64, 2),
        matrix(DType::Q8_0, 20, 32, 3),
    );
    let (x, y) = (noise(5 * 64, 4), noise(32, 5));
    let (mut out_a, mut out_b, mut out_c, mut none) = ([0.0; 240], [0.0; 35], [0.0; 20], [0.0; 0]);
    let pool = Pool::new(2);
    let mut scratch = Scratch::new();
    for _ in 0..3 {
        let mut jobs = [
            Job {
                w: a.as_ref(),
                x: &x,
                n: 5,
                rows: None,
                out: &mut out_a,
            },
            Job {
                w: a.as_ref(),
                x: &[],
                n: 0,
                rows: None,
                out: &mut none,
            },
            Job {
                w: b.as_ref(),
                x: &x,
                n: 5,
                rows: None,
                out: &mut out_b,
            },
            Job {
                w: c.as_ref(),
                x: &y,
                n: 1,
                rows: None,
                out: &mut out_c,
            },
        ];
        matmul_jobs(&pool, &mut jobs, Precision::Native, &mut scratch);
    }
    let active = Isa::active();
    assert_eq!(out_a[..], product(active, &a, &x, 5, Precision::Native, 1));
    assert_eq!(out_b[..], product(active, &b, &x, 5, Precision::Native, 1));
    assert_eq!(out_c[..], product(active, &c, &y, 1, Precision::Native, 1));
    let mut again = [0.0; 240];
    matmul_many(
        &pool,
        &mut [(a.as_ref(), &mut again)],
        &x,
        5,
        Precision::Native,
        &mut scratch,
    );
    assert_eq!(again, out_a);
}

#[test]
fn jobs_that_share_rows_give_what_copies_of_the_rows_give() {
    let x = noise(9 * 64, 4);
    let pool = Pool::new(2);
    for (dtype, precision) in [
        (DType::Q4_0, Precision::Native),
        (DType::Q8_0, Precision::F32),
        (DType::F16, Precision::Native),
    ] {
        let (a, b) = (matrix(dtype, 48, 64, 1), matrix(dtype, 16, 64, 2));
        let rows: Vec<Vec<u32>> = vec![(0..9).rev().collect(), vec![3, 3, 8], vec![]];
        let mut outs = [vec![0.0; 9 * 48], vec![0.0; 3 * 16], Vec::new()];
        let mut jobs: Vec<Job<'_>> = outs
            .iter_mut()
            .zip(&rows)
            .zip([&a, &b, &a])
            .map(|((out, rows), w)| Job {
                w: w.as_ref(),
                x: &x,
                n: rows.len(),
                rows: Some(rows),
                out,
            })
            .collect();
        matmul_jobs(&pool, &mut jobs, precision, &mut Scratch::new());
        for ((out, rows), w) in outs.iter().zip(&rows).zip([&a, &b, &a]) {
            let copy: Vec<f32> = rows
                .iter()
                .flat_map(|&row| x[row as usize * 64..][..64].to_vec())
                .collect();
            assert_eq!(*out, product(Isa::active(), w, &copy, rows.len(), precision, 1));
        }
    }
}
