//! The cache under a tiny decoder: blocks that are shared, and what rounding to eight bits costs.

use super::*;
use crate::decoder::{Decoder, Input, Scratch, WantedLogits};
use crate::open::DecoderOptions;
use crate::synth::{self, Spec};

fn decoder(name: &str, precision: Precision, kv: KvDType) -> Decoder {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    let options = synth::Options {
        dtype: compute::DType::Q8_0.into(),
        seed: 5,
    };
    let bytes = synth::synth(&Spec::by_name(name).unwrap(), &options, Vec::new(), &mut |_| {}).unwrap();
    stdx::fs::write(&path, bytes).unwrap();
    let options = DecoderOptions {
        threads: 2,
        precision,
        kv,
        ..DecoderOptions::default()
    };
    Decoder::open(&path, &options).unwrap()
}

fn text(n: u32) -> Vec<u32> {
    (0..n).map(|i| (i * i + 31 * i) % 500).collect()
}

/// Logits after each token of a step.
fn step(decoder: &Decoder, cache: &mut KvCache, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut scratch = Scratch::default();
    let input = Input {
        tokens,
        cache,
        logits: WantedLogits::All,
    };
    decoder.forward(&mut [input], &mut scratch, None).unwrap();
    (0..tokens.len())
        .map(|row| scratch.logits(row).to_vec())
        .collect()
}

#[test]
fn a_sequence_goes_on_from_blocks_of_another_as_from_its_own() {
    let tokens = text(2 * KV_BLOCK as u32 + 20);
    for kv in [KvDType::F16, KvDType::Q8_0] {
        let decoder = decoder("tiny-olmoe", Precision::Native, kv);
        let mut whole = decoder.new_cache();
        let want = step(&decoder, &mut whole, &tokens);
        assert!(whole.full_block(2).is_none());
        let mut other = decoder.new_cache();
        for index in 0..2 {
            assert!(other.attach(whole.full_block(index).unwrap()));
        }
        assert_eq!(other.len(), 2 * KV_BLOCK);
        let got = step(&decoder, &mut other, &tokens[2 * KV_BLOCK..]);
        assert_eq!(got, want[2 * KV_BLOCK..], "{}", kv.name());
        // Going back into a shared block writes into a copy of it.
        other.truncate(KV_BLOCK + 3);
        step(&decoder, &mut other, &[1, 2, 3]);
        whole.truncate(2 * KV_BLOCK);
        assert_eq!(step(&decoder, &mut whole, &tokens[2 * KV_BLOCK..]), got);
    }
}

#[test]
fn blocks_of_another_model_are_refused() {
    let (one, other) = (
        decoder("tiny-olmoe", Precision::Native, KvDType::F16),
        decoder("tiny-llama", Precision::Native, KvDType::F16),
    );
    let mut cache = one.new_cache();
    step(&one, &mut cache, &text(KV_BLOCK as u32));
    let mut foreign = other.new_cache();
    assert!(!foreign.attach(cache.full_block(0).unwrap()));
    assert!(foreign.is_empty());
}

#[test]
fn steps_change_nothing_with_eight_bits_either() {
    let tokens = text(300);
    let decoder = decoder("tiny-qwen3", Precision::Native, KvDType::Q8_0);
    let whole = step(&decoder, &mut decoder.new_cache(), &tokens);
    let mut cache = decoder.new_cache();
    let mut rest = &tokens[..];
    let mut got = Vec::new();
    for n in [1, 17, 70, 1, 180, 31] {
        let (now, later) = rest.split_at(n);
        got.extend(step(&decoder, &mut cache, now));
        rest = later;
    }
    assert_eq!(got, whole);
}

/// Logits scaled to a standard deviation, as probabilities.
fn softmax(logits: &[f32], factor: f64) -> Vec<f64> {
    let max = logits.iter().fold(f64::MIN, |m, &v| m.max(f64::from(v) * factor));
    let weights: Vec<f64> = logits
        .iter()
        .map(|&v| (f64::from(v) * factor - max).exp())
        .collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|w| w / total).collect()
}

fn deviation(logits: &[f32]) -> f64 {
    let n = logits.len() as f64;
    let mean = logits.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    (logits.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt()
}

#[test]
fn eight_bits_cost_a_dense_model_less_than_two_ten_thousandths_of_a_nat() {
    let tokens = text(400);
    for name in ["tiny-llama", "tiny-qwen3"] {
        // Exact arithmetic around the cache, so that nothing else is rounded differently.
        let decoder = decoder(name, Precision::F32, KvDType::F16);
        let [exact, rounded] = [KvDType::F16, KvDType::Q8_0].map(|kv| {
            let mut cache = KvCache::new(decoder.config(), Precision::Native, kv);
            (step(&decoder, &mut cache, &tokens), cache.size_bytes())
        });
        // Heads of sixteen share a scale among half as many components as there are in longer ones.
        assert!(
            rounded.1 * 100 < exact.1 * 63,
            "{} of {} bytes",
            rounded.1,
            exact.1
        );
        let (mut divergence, mut worst) = (0.0, 0.0f64);
        for (exact, rounded) in exact.0.iter().zip(&rounded.0) {
            // Tiny random models are undecided; as decided as real ones they show more of an error.
            let factor = (1.5 / deviation(exact)).max(1.0);
            let (p, q) = (softmax(exact, factor), softmax(rounded, factor));
            divergence += p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum::<f64>();
            let errors = exact.iter().zip(rounded).map(|(a, b)| f64::from((a - b).abs()));
            worst = worst.max(errors.fold(0.0, f64::max) * factor);
        }
        let mean = divergence / tokens.len() as f64;
        assert!(mean < 2e-4, "{name}: {mean} nats");
        assert!(worst < 0.2, "{name}: a logit is off by {worst}");
    }
}
