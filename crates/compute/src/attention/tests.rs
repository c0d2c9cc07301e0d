//! Tests of attention against the formula in f64, position by position.

use super::*;
use proptest::prelude::*;

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

fn check(s: &Shape, dtype: KvDType, threads: usize) -> Vec<f32> {
    let (width, len) = (s.kv_heads * s.head_dim, s.start + s.n);
    let (q, k, v) = (
        wave(s.n * width * s.per_kv, 0.37),
        wave(len * width, 0.11),
        wave(len * width, 0.23),
    );
    let mut kv = KvLayer::new(dtype, s.kv_heads, s.head_dim, 0);
    kv.push(&k[..s.start * width], &v[..s.start * width]);
    kv.push(&k[s.start * width..], &v[s.start * width..]);
    let scale = 1.0 / (s.head_dim as f32).sqrt();
    let mut out = vec![f32::NAN; q.len()];
    let n_heads = s.kv_heads * s.per_kv;
    let job = AttentionJob {
        q: &q,
        n: s.n,
        n_heads,
        kv: &kv,
        start: s.start,
        scale,
        out: &mut out,
    };
    attention(&Pool::new(threads), &mut [job]);
    let tolerance = if dtype == KvDType::F32 { 2e-5 } else { 5e-3 };
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
        n in 1usize..40, start in 0usize..300, kv_heads in 1usize..4, per_kv in 1usize..5,
        head_dim in prop_oneof![Just(8usize), Just(16), Just(20), Just(64)], half: bool,
    ) {
        let dtype = if half { KvDType::F16 } else { KvDType::F32 };
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
fn truncation_forgets_and_pushing_again_restores() {
    let (k, v) = (wave(40 * 32, 0.3), wave(40 * 32, 0.4));
    let mut kv = KvLayer::new(KvDType::F32, 2, 16, 40);
    kv.push(&k, &v);
    let run = |kv: &KvLayer| {
        let (q, mut out) = (wave(32, 0.9), vec![0.0; 32]);
        let job = AttentionJob {
            q: &q,
            n: 1,
            n_heads: 2,
            kv,
            start: 39,
            scale: 0.25,
            out: &mut out,
        };
        attention(&Pool::new(1), &mut [job]);
        out
    };
    let before = run(&kv);
    kv.truncate(21);
    assert_eq!(kv.len(), 21);
    kv.push(&k[21 * 32..], &v[21 * 32..]);
    assert_eq!(before, run(&kv));
}

#[test]
fn full_attention_keeps_sequences_apart() {
    let (n_heads, head_dim, lengths) = (3, 32, [5usize, 1, 0, 150]);
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
    attention_full(&Pool::new(2), &input, &mut out);
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
