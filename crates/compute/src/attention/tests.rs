//! Tests of attention against the formula in f64, position by position.

use proptest::prelude::*;

use super::*;
use crate::kv::KvDType;

fn wave(n: usize, step: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * step).sin() * 1.5).collect()
}

struct Shape {
    n: usize,
    start: usize,
    kv_heads: usize,
    per_kv: usize,
    head_dim: usize,
}

/// Softmax of all visible scores, then the weighted mean of the values.
fn oracle(s: &Shape, q: &[f32], k: &[f32], v: &[f32], scale: f32, causal: bool) -> Vec<f64> {
    let (heads, d) = (s.kv_heads * s.per_kv, s.head_dim);
    let mut out = vec![0.0; s.n * heads * d];
    for (i, out) in out.chunks_exact_mut(d).enumerate() {
        let (token, head) = (i / heads, i % heads);
        let seen = if causal {
            s.start + token + 1
        } else {
            k.len() / (s.kv_heads * d)
        };
        let at = |p: usize| (p * s.kv_heads + head / s.per_kv) * d;
        let dot = |p: usize| {
            (0..d)
                .map(|j| f64::from(q[i * d + j]) * f64::from(k[at(p) + j]))
                .sum::<f64>()
        };
        let weights: Vec<f64> = (0..seen).map(|p| (dot(p) * f64::from(scale)).exp()).collect();
        let total: f64 = weights.iter().sum();
        for (p, w) in weights.iter().enumerate() {
            out.iter_mut()
                .enumerate()
                .for_each(|(j, o)| *o += w / total * f64::from(v[at(p) + j]));
        }
    }
    out
}

/// Queries, keys, values, and the latter two in a cache.
fn inputs(s: &Shape, dtype: KvDType) -> (Vec<f32>, Vec<f32>, Vec<f32>, PagedKv) {
    let (width, len) = (s.kv_heads * s.head_dim, s.start + s.n);
    let (q, k, v) = (
        wave(s.n * width * s.per_kv, 0.37),
        wave(len * width, 0.11),
        wave(len * width, 0.23),
    );
    let mut kv = PagedKv::new(dtype, 1, s.kv_heads, s.head_dim);
    kv.push(0, &k[..s.start * width], &v[..s.start * width]);
    kv.push(0, &k[s.start * width..], &v[s.start * width..]);
    (q, k, v, kv)
}

/// The results of the last `n` tokens, computed alone.
fn check_last(s: &Shape, n: usize, dtype: KvDType) -> Vec<f32> {
    let (q, _, _, kv) = inputs(s, dtype);
    let n_heads = s.kv_heads * s.per_kv;
    let mut out = vec![f32::NAN; n * n_heads * s.head_dim];
    let job = AttentionJob {
        q: &q[q.len() - out.len()..],
        n,
        n_heads,
        kv: kv.layer(0),
        start: s.start + s.n - n,
        scale: 1.0 / (s.head_dim as f32).sqrt(),
        out: &mut out,
    };
    attention(&Pool::new(2), &mut [job]);
    out
}

fn check(s: &Shape, dtype: KvDType, threads: usize) -> Vec<f32> {
    let (q, k, v, kv) = inputs(s, dtype);
    let scale = 1.0 / (s.head_dim as f32).sqrt();
    let mut out = vec![f32::NAN; q.len()];
    let job = AttentionJob {
        q: &q,
        n: s.n,
        n_heads: s.kv_heads * s.per_kv,
        kv: kv.layer(0),
        start: s.start,
        scale,
        out: &mut out,
    };
    attention(&Pool::new(threads), &mut [job]);
    let tolerance = match dtype {
        KvDType::F32 => 2e-5,
        KvDType::F16 => 5e-3,
        KvDType::Q8_0 => 4e-2,
    };
    for (got, want) in out.iter().zip(oracle(s, &q, &k, &v, scale, true)) {
        assert!(
            (f64::from(*got) - want).abs() < tolerance,
            "{got} instead of {want}"
        );
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn causal_attention_follows_its_formula(
        n in 1usize..40, start in 0usize..600, kv_heads in 1usize..4, per_kv in 1usize..10,
        head_dim in prop_oneof![Just(8usize), Just(16), Just(20), Just(64), Just(80)],
        dtype in prop::sample::select(&[KvDType::F32, KvDType::F16, KvDType::Q8_0][..]),
    ) {
        check(&Shape { n, start, kv_heads, per_kv, head_dim }, dtype, 2);
    }
}

#[test]
fn threads_and_batching_change_no_bit() {
    let shape = |n, start| Shape {
        n,
        start,
        kv_heads: 3,
        per_kv: 3,
        head_dim: 64,
    };
    let one = check(&shape(40, 100), KvDType::F16, 1);
    assert_eq!(one, check(&shape(40, 100), KvDType::F16, 3));
}

#[test]
fn spans_that_are_shared_out_give_the_bits_of_spans_that_are_not() {
    for dtype in [KvDType::F16, KvDType::Q8_0] {
        for per_kv in [1, 2, 5] {
            let shape = |n, start| Shape {
                n,
                start,
                kv_heads: 2,
                per_kv,
                head_dim: 48,
            };
            // Twenty tokens are too many to share out their spans; the last three of them are not.
            let many = check(&shape(20, 700), dtype, 2);
            let few = check_last(&shape(20, 700), 3, dtype);
            assert_eq!(few, many[many.len() - few.len()..]);
        }
    }
}

#[test]
fn truncation_forgets_and_pushing_again_restores() {
    let (k, v) = (wave(40 * 32, 0.3), wave(40 * 32, 0.4));
    let mut kv = PagedKv::new(KvDType::F32, 1, 2, 16);
    kv.push(0, &k, &v);
    let run = |kv: &PagedKv| {
        let (q, mut out) = (wave(32, 0.9), vec![0.0; 32]);
        let job = AttentionJob {
            q: &q,
            n: 1,
            n_heads: 2,
            kv: kv.layer(0),
            start: 39,
            scale: 0.25,
            out: &mut out,
        };
        attention(&Pool::new(1), &mut [job]);
        out
    };
    let before = run(&kv);
    kv.truncate(21);
    assert_eq!(kv.layer(0).len(), 21);
    kv.push(0, &k[21 * 32..], &v[21 * 32..]);
    assert_eq!(before, run(&kv));
}

#[test]
fn full_attention_keeps_sequences_apart_and_forgets_the_call_before() {
    let mut scratch = FullScratch::default();
    for (n_heads, head_dim, lengths) in [
        (3, 32, [5usize, 1, 0, 150]),
        (2, 24, [80, 3, 17, 1]),
        (3, 32, [150, 2, 6, 40]),
    ] {
        check_full(n_heads, head_dim, lengths, &mut scratch);
    }
}

fn check_full(n_heads: usize, head_dim: usize, lengths: [usize; 4], scratch: &mut FullScratch) {
    let total = lengths.iter().sum::<usize>() * n_heads * head_dim;
    let (q, k, v) = (wave(total, 0.2), wave(total, 0.31), wave(total, 0.17));
    let mut out = vec![0.0; total];
    let input = FullAttention {
        q: &q,
        k: &k,
        v: &v,
        lengths: &lengths,
        n_heads,
        head_dim,
        scale: 0.2,
    };
    attention_full(&Pool::new(2), &input, scratch, &mut out);
    let mut at = 0;
    for n in lengths {
        let own = at..at + n * n_heads * head_dim;
        let shape = Shape {
            n,
            start: 0,
            kv_heads: n_heads,
            per_kv: 1,
            head_dim,
        };
        let want = oracle(
            &shape,
            &q[own.clone()],
            &k[own.clone()],
            &v[own.clone()],
            0.2,
            false,
        );
        for (got, want) in out[own.clone()].iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 2e-5, "{got} instead of {want}");
        }
        at = own.end;
    }
}
