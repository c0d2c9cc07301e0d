//! From logits to the next token: biases, penalties, a mask, temperature, top-k, top-p, min-p, and a seeded draw.
//!
//! Knows no model and no grammar: it sees one row of logits at a time and remembers only what was chosen. The order
//! is biases, penalties, mask, temperature, top-k, top-p, min-p, draw. All three filters keep a prefix of the tokens
//! sorted by probability, so only as much of the vocabulary is sorted as the shortest prefix needs. Each draw takes
//! one number from the seed's sequence, so the same seed and the same logits give the same tokens, whatever else
//! runs beside them.

use std::collections::HashMap;

use stdx::rng::Rng;

use crate::token_set::TokenSet;

/// How tokens are chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// 0 (or less) is greedy.
    pub temperature: f32,
    /// Keep the k most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set with this probability (Holtzman et al. 2020); 1 keeps all.
    pub top_p: f32,
    /// Drop tokens less likely than this share of the most likely one; 0 keeps all.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens already seen; 1 is off (Keskar et al. 2019).
    pub repetition_penalty: f32,
    /// OpenAI's presence penalty; 0 is off.
    pub presence_penalty: f32,
    /// OpenAI's frequency penalty; 0 is off.
    pub frequency_penalty: f32,
    /// Added to the logits of single tokens, in this order, before everything else (OpenAI's `logit_bias`).
    pub logit_bias: Vec<(u32, f32)>,
    /// Seed of the generator.
    pub seed: u64,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self::greedy()
    }
}

impl SamplingParams {
    /// Always the most likely token.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }

    fn penalises(&self) -> bool {
        self.repetition_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }
}

/// How many candidates are sorted at first; eight times as many each time the filters need more.
const SORTED_AT_FIRST: usize = 256;

/// What a token of the past counts for.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Times it was generated; tokens of the prompt count for the repetition penalty alone.
    n_generated: u32,
}

/// Chooses the tokens of one sequence.
#[derive(Debug, Clone)]
pub struct Sampler {
    params: SamplingParams,
    rng: Rng,
    n_sampleable: usize,
    seen: HashMap<u32, Seen>,
    /// A row of logits that biases, penalties and mask may change.
    row: Vec<f32>,
    /// (logit, id) of the tokens that may still be chosen.
    candidates: Vec<(f32, u32)>,
}

impl Sampler {
    /// A sampler that never chooses an id of `n_sampleable` or more (padding rows of the embedding).
    pub fn new(params: SamplingParams, n_sampleable: usize) -> Self {
        let rng = Rng::new(params.seed);
        Self {
            params,
            rng,
            n_sampleable,
            seen: HashMap::new(),
            row: Vec::new(),
            candidates: Vec::new(),
        }
    }

    /// Tells the repetition penalty about the prompt.
    pub fn observe_prompt(&mut self, prompt: &[u32]) {
        if self.params.penalises() {
            for &id in prompt {
                self.seen.entry(id).or_default();
            }
        }
    }

    /// Chooses the next token from one row of logits. NaN counts as impossible; among equal logits the lowest
    /// id is greedy's choice. Only a row without any possible token answers 0.
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        self.sample_among(logits, None)
    }

    /// The same among the tokens of a set: a token outside is never chosen as long as the set holds one that may
    /// be, whatever the logits are.
    pub fn sample_among(&mut self, logits: &[f32], allowed: Option<&TokenSet>) -> u32 {
        let logits = &logits[..self.n_sampleable.min(logits.len())];
        let penalises = self.params.penalises();
        if !penalises && self.params.logit_bias.is_empty() && allowed.is_none() {
            return self.choose(logits);
        }
        let mut row = std::mem::take(&mut self.row);
        row.clear();
        row.extend_from_slice(logits);
        for &(id, bias) in &self.params.logit_bias {
            if let Some(logit) = row.get_mut(id as usize) {
                *logit += bias;
            }
        }
        if penalises {
            self.penalise(&mut row);
        }
        let id = match allowed {
            None => self.choose(&row),
            Some(allowed) => {
                allowed.mask(&mut row);
                let id = self.choose(&row);
                // A row of NaN has no most likely token; the grammar still wants one of its own.
                let first = || allowed.first().filter(|&first| (first as usize) < row.len());
                if allowed.contains(id) {
                    id
                } else {
                    first().unwrap_or(id)
                }
            }
        };
        self.row = row;
        if penalises {
            self.seen.entry(id).or_default().n_generated += 1;
        }
        id
    }

    fn penalise(&self, logits: &mut [f32]) {
        let params = &self.params;
        #[expect(clippy::iter_over_hash_type, reason = "each entry touches its own logit")]
        for (&id, seen) in &self.seen {
            let Some(logit) = logits.get_mut(id as usize) else {
                continue;
            };
            *logit = if *logit > 0.0 {
                *logit / params.repetition_penalty
            } else {
                *logit * params.repetition_penalty
            };
            if seen.n_generated > 0 {
                *logit -= params.presence_penalty + params.frequency_penalty * seen.n_generated as f32;
            }
        }
    }

    fn choose(&mut self, logits: &[f32]) -> u32 {
        if self.params.temperature <= 0.0 {
            return greedy(logits);
        }
        let scale = 1.0 / self.params.temperature;
        self.candidates.clear();
        self.candidates
            .extend((0u32..).zip(logits).filter_map(|(id, &logit)| {
                (logit.is_finite() || logit == f32::INFINITY).then_some((logit * scale, id))
            }));
        if self.candidates.is_empty() {
            return 0;
        }
        self.keep_top_k();
        let max = self.candidates.iter().fold(f32::NEG_INFINITY, |m, c| m.max(c.0));
        if max == f32::INFINITY {
            return greedy(logits);
        }
        for candidate in &mut self.candidates {
            candidate.0 = (candidate.0 - max).exp();
        }
        self.keep_likely();
        self.draw()
    }

    fn keep_top_k(&mut self) {
        let k = self.params.top_k;
        if k > 0 && k < self.candidates.len() {
            self.candidates.select_nth_unstable_by(k - 1, more_likely);
            self.candidates.truncate(k);
        }
    }

    /// Applies top-p and min-p; candidates hold unnormalised probabilities, the largest is 1.
    fn keep_likely(&mut self) {
        let (top_p, min_p) = (self.params.top_p, self.params.min_p);
        if top_p >= 1.0 && min_p <= 0.0 {
            return;
        }
        let total: f64 = self.candidates.iter().map(|c| f64::from(c.0)).sum();
        let enough = if top_p >= 1.0 {
            f64::INFINITY
        } else {
            total * f64::from(top_p)
        };
        let n = self.candidates.len();
        let mut n_sorted = SORTED_AT_FIRST.min(n);
        loop {
            if n_sorted < n {
                self.candidates.select_nth_unstable_by(n_sorted - 1, more_likely);
            }
            self.candidates[..n_sorted].sort_unstable_by(more_likely);
            if let Some(n_kept) = prefix(&self.candidates[..n_sorted], enough, min_p) {
                self.candidates.truncate(n_kept.max(1));
                return;
            }
            if n_sorted == n {
                return;
            }
            n_sorted = (n_sorted * 8).min(n);
        }
    }

    fn draw(&mut self) -> u32 {
        let total: f64 = self.candidates.iter().map(|c| f64::from(c.0)).sum();
        // 53 random bits: 24 would leave rare tokens of a large vocabulary unreachable.
        let unit = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut left = unit * total;
        for &(p, id) in &self.candidates {
            left -= f64::from(p);
            if left < 0.0 {
                return id;
            }
        }
        // Rounding may leave a crumb: the last token with a probability takes it.
        let last = self.candidates.iter().rev().find(|c| c.0 > 0.0);
        last.map_or(0, |c| c.1)
    }
}

/// The most likely tokens first, the lower id first among equals.
fn more_likely(a: &(f32, u32), b: &(f32, u32)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// Length of the prefix that top-p and min-p keep; `None` when it reaches beyond `sorted`.
fn prefix(sorted: &[(f32, u32)], enough: f64, min_p: f32) -> Option<usize> {
    let mut sum = 0.0;
    for (i, &(p, _)) in sorted.iter().enumerate() {
        if p < min_p {
            return Some(i);
        }
        sum += f64::from(p);
        if sum >= enough {
            return Some(i + 1);
        }
    }
    None
}

/// The lowest id with the highest logit; NaN never wins.
pub fn greedy(logits: &[f32]) -> u32 {
    let mut best = 0;
    let mut max = f32::NEG_INFINITY;
    for (id, &logit) in (0u32..).zip(logits) {
        if logit > max {
            max = logit;
            best = id;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn params(temperature: f32) -> SamplingParams {
        SamplingParams {
            temperature,
            ..SamplingParams::greedy()
        }
    }

    /// The filters by their definitions: everything sorted, everything summed.
    fn allowed(logits: &[f32], params: &SamplingParams) -> Vec<u32> {
        let mut sorted: Vec<(f32, u32)> = (0u32..)
            .zip(logits)
            .map(|(id, l)| (l / params.temperature, id))
            .collect();
        sorted.sort_by(more_likely);
        if params.top_k > 0 {
            sorted.truncate(params.top_k);
        }
        let max = sorted[0].0;
        let p: Vec<f64> = sorted.iter().map(|c| f64::from((c.0 - max).exp())).collect();
        let total: f64 = p.iter().sum();
        let mut before = 0.0;
        let mut kept = Vec::new();
        for (i, (_, id)) in sorted.iter().enumerate() {
            // A little slack: sums in another order round differently.
            if i > 0
                && (before > total * f64::from(params.top_p) * (1.0 + 1e-6) || p[i] < f64::from(params.min_p))
            {
                break;
            }
            before += p[i];
            kept.push(*id);
        }
        kept
    }

    #[test]
    fn greedy_takes_the_lowest_id_among_ties_and_ignores_nan() {
        let mut sampler = Sampler::new(SamplingParams::greedy(), 4);
        assert_eq!(sampler.sample(&[f32::NAN, 1.0, 1.0, 0.0]), 1);
        assert_eq!(sampler.sample(&[f32::NAN; 4]), 0);
    }

    #[test]
    fn padding_rows_are_never_chosen() {
        let mut logits = vec![0.0; 16];
        logits[12] = 100.0;
        for temperature in [0.0, 1.0] {
            let mut sampler = Sampler::new(params(temperature), 10);
            assert!((0..200).all(|_| sampler.sample(&logits) < 10));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_tokens() {
        let logits: Vec<f32> = (0..1000).map(|i| ((i * 37) % 101) as f32 / 20.0).collect();
        let draw = |seed| {
            let mut sampler = Sampler::new(SamplingParams { seed, ..params(1.0) }, 1000);
            (0..50).map(|_| sampler.sample(&logits)).collect::<Vec<_>>()
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }

    #[test]
    fn draws_follow_the_softmax() {
        let logits = [0.0, 1.0, 2.0];
        let weights: Vec<f64> = logits.iter().map(|l: &f32| f64::from(*l).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut counts = [0.0; 3];
        let mut sampler = Sampler::new(params(1.0), 3);
        for _ in 0..20_000 {
            counts[sampler.sample(&logits) as usize] += 1.0 / 20_000.0;
        }
        for (count, weight) in counts.iter().zip(&weights) {
            assert!((count - weight / total).abs() < 0.02, "{counts:?}");
        }
    }

    #[test]
    fn repetition_penalty_sees_the_prompt_and_the_others_only_what_was_generated() {
        let mut repeated = Sampler::new(
            SamplingParams {
                repetition_penalty: 2.0,
                ..SamplingParams::greedy()
            },
            3,
        );
        repeated.observe_prompt(&[0]);
        assert_eq!(repeated.sample(&[3.0, 2.0, 1.8]), 1);
        assert_eq!(repeated.sample(&[3.0, 2.0, 1.8]), 2);

        let mut present = Sampler::new(
            SamplingParams {
                presence_penalty: 2.0,
                ..SamplingParams::greedy()
            },
            3,
        );
        present.observe_prompt(&[0]);
        assert_eq!(present.sample(&[3.0, 2.0, 0.0]), 0);
        assert_eq!(present.sample(&[3.0, 2.0, 0.0]), 1);

        let mut frequent = Sampler::new(
            SamplingParams {
                frequency_penalty: 0.6,
                ..SamplingParams::greedy()
            },
            2,
        );
        let chosen: Vec<u32> = (0..3).map(|_| frequent.sample(&[1.0, 0.0])).collect();
        assert_eq!(chosen, [0, 0, 1]);
    }

    #[test]
    fn a_bias_comes_before_everything_else() {
        let biased = |bias: &[(u32, f32)], repetition_penalty| {
            let mut sampler = Sampler::new(
                SamplingParams {
                    logit_bias: bias.to_vec(),
                    repetition_penalty,
                    ..SamplingParams::greedy()
                },
                3,
            );
            sampler.observe_prompt(&[2]);
            sampler.sample(&[3.0, 2.0, 1.0])
        };
        assert_eq!(biased(&[(0, -100.0)], 1.0), 1);
        assert_eq!(
            biased(&[(2, 100.0), (7, 100.0)], 1.0),
            2,
            "an id outside changes nothing"
        );
        // 1 + 3 halved is less than 3.
        assert_eq!(biased(&[(2, 3.0)], 2.0), 0);
    }

    #[test]
    fn a_mask_holds_even_where_no_logit_is_a_number() {
        let allowed = TokenSet::of([2, 3]);
        for temperature in [0.0, 1.0] {
            let mut sampler = Sampler::new(params(temperature), 4);
            assert_eq!(sampler.sample_among(&[f32::NAN; 4], Some(&allowed)), 2);
            assert_eq!(
                sampler.sample_among(&[9.0, 9.0, f32::NEG_INFINITY, -1e30], Some(&allowed)),
                3
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn a_masked_draw_is_the_draw_from_the_allowed_tokens_alone(
            logits in prop::collection::vec(-8.0f32..8.0, 2..200),
            temperature in prop::sample::select(vec![0.0f32, 0.7, 1.5]),
            top_k in 0usize..9,
            seed: u64,
            pick in prop::collection::vec(any::<bool>(), 200),
        ) {
            let ids: Vec<u32> = (0u32..).zip(&logits).zip(&pick).filter(|(_, p)| **p).map(|((id, _), _)| id).collect();
            prop_assume!(!ids.is_empty());
            let alone: Vec<f32> = ids.iter().map(|&id| logits[id as usize]).collect();
            let params = SamplingParams { top_k, seed, ..params(temperature) };
            let mut masked = Sampler::new(params.clone(), logits.len());
            let mut small = Sampler::new(params, alone.len());
            let allowed = TokenSet::of(ids.iter().copied());
            for _ in 0..10 {
                let id = masked.sample_among(&logits, Some(&allowed));
                prop_assert_eq!(id, ids[small.sample(&alone) as usize]);
            }
        }

        #[test]
        fn every_draw_is_one_that_the_filters_allow(
            logits in prop::collection::vec(-8.0f32..8.0, 1..700),
            temperature in 0.2f32..2.0,
            top_k in 0usize..40,
            top_p in 0.05f32..1.0,
            min_p in 0.0f32..0.5,
            seed: u64,
        ) {
            let params = SamplingParams { top_k, top_p, min_p, seed, ..params(temperature) };
            let allowed = allowed(&logits, &params);
            let mut sampler = Sampler::new(params, logits.len());
            for _ in 0..20 {
                let id = sampler.sample(&logits);
                prop_assert!(allowed.contains(&id), "{} not in {:?}", id, allowed);
            }
        }

        #[test]
        fn no_row_of_logits_panics(
            logits in prop::collection::vec(prop::num::f32::ANY, 1..50),
            temperature in 0.0f32..2.0,
            top_k in 0usize..60,
            top_p in 0.0f32..1.2,
        ) {
            let params = SamplingParams { top_k, top_p, repetition_penalty: 1.1, ..params(temperature) };
            let mut sampler = Sampler::new(params, logits.len());
            for _ in 0..5 {
                prop_assert!((sampler.sample(&logits) as usize) < logits.len());
            }
        }
    }
}
