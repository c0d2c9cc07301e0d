//! Tests of the vector operations against the formulas in f64.

use super::*;

fn wave(n: usize, step: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * step + 0.5).sin() * 3.0).collect()
}

/// Lengths around the vector widths.
const LENGTHS: [usize; 9] = [1, 2, 7, 15, 16, 17, 31, 64, 577];

#[track_caller]
fn close(got: f32, want: f64, tolerance: f64) {
    assert!(
        (f64::from(got) - want).abs() <= tolerance,
        "{got} instead of {want}"
    );
}

#[test]
fn norms_follow_their_formulas() {
    for n in LENGTHS {
        let (x, w, b) = (wave(n, 0.3), wave(n, 0.7), wave(n, 1.1));
        let wide = |v: &f32| f64::from(*v);
        let mean_square = x.iter().map(|v| wide(v).powi(2)).sum::<f64>() / n as f64;
        let mean = x.iter().map(wide).sum::<f64>() / n as f64;
        let variance = x.iter().map(|v| (wide(v) - mean).powi(2)).sum::<f64>() / n as f64;
        let (mut rms, mut layer) = (vec![0.0; n], vec![0.0; n]);
        rms_norm(&x, &w, 1e-5, &mut rms);
        layer_norm(&x, &w, &b, 1e-5, &mut layer);
        let mut in_place = x.clone();
        rms_norm_rows(&mut in_place, &w, 1e-5);
        assert_eq!(rms, in_place);
        for i in 0..n {
            close(
                rms[i],
                wide(&x[i]) / (mean_square + 1e-5).sqrt() * wide(&w[i]),
                1e-5,
            );
            if n > 1 {
                let want = (wide(&x[i]) - mean) / (variance + 1e-5).sqrt() * wide(&w[i]) + wide(&b[i]);
                close(layer[i], want, 2e-5);
            }
        }
    }
}

#[test]
fn softmax_sums_to_one_and_zeroes_what_is_masked() {
    for n in LENGTHS {
        let mut x = wave(n, 0.9);
        x.push(f32::NEG_INFINITY);
        let max = x.iter().copied().fold(f32::MIN, f32::max);
        let total: f64 = x.iter().map(|v| f64::from(v - max).exp()).sum();
        let mut y = x.clone();
        softmax(&mut y);
        for (x, y) in x.iter().zip(&y) {
            close(*y, f64::from(x - max).exp() / total, 1e-6);
        }
        assert_eq!(y[n], 0.0);
    }
    let mut masked = [f32::NEG_INFINITY; 4];
    softmax(&mut masked);
    assert_eq!(masked, [0.25; 4]);
    softmax(&mut []);
}

#[test]
fn activation_functions_follow_their_formulas() {
    for n in LENGTHS {
        let (x, up) = (wave(n, 0.31), wave(n, 0.17));
        let (mut gate, mut gelu) = (x.clone(), x.clone());
        silu_mul(&mut gate, &up);
        gelu_erf(&mut gelu);
        for i in 0..n {
            let v = f64::from(x[i]);
            close(gate[i], v / (1.0 + (-v).exp()) * f64::from(up[i]), 5e-6);
        }
    }
    let mut known = [0.0, 1.0, -1.0, 3.0, 100.0, -100.0];
    gelu_erf(&mut known);
    for (got, want) in known
        .into_iter()
        .zip([0.0, 0.841_344_75, -0.158_655_25, 2.995_950_3, 100.0, 0.0])
    {
        close(got, want, 1e-6);
    }
    let mut far = [-200.0, 200.0];
    silu_mul(&mut far, &[1.0, 1.0]);
    assert_eq!(far, [0.0, 200.0]);
}

#[test]
fn dot_products_and_sums_agree_with_f64() {
    for n in LENGTHS {
        let (a, mut b) = (wave(n, 0.5), wave(n, 0.6));
        let want: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
        close(dot_f32(&a, &b), want, 1e-3);
        let before = b.clone();
        axpy(2.0, &a, &mut b);
        for i in 0..n {
            close(b[i], f64::from(before[i]) + 2.0 * f64::from(a[i]), 1e-5);
        }
        add(&before, &mut b);
        l2_normalise(&mut b);
        close(dot_f32(&b, &b), 1.0, 1e-5);
    }
    let mut zero = [0.0; 3];
    l2_normalise(&mut zero);
    assert_eq!(zero, [0.0; 3]);
}

#[test]
fn the_lowest_index_wins_ties() {
    assert_eq!(argmax(&[1.0, 3.0, 3.0, 2.0]), 1);
    assert_eq!(argmax(&[f32::NAN, 1.0]), 1);
    assert_eq!(argmax(&[]), 0);
    assert_eq!(argmax(&[f32::NEG_INFINITY; 2]), 0);
    let top = top_k(&[0.0, 5.0, -0.0, f32::NAN, 5.0], 4);
    assert_eq!(top, [(1, 5.0), (4, 5.0), (0, 0.0), (2, 0.0)]);
    assert_eq!(top_k(&[1.0], 3), [(0, 1.0)]);
    assert!(top_k(&[1.0], 0).is_empty());
}
