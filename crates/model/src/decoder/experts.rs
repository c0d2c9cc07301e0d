//! Mixture of experts: routing, and the experts' SwiGLU with each expert's weights read once per step.
//!
//! Router arithmetic is always f32: a routing decision that a rounding turns around changes the model. The sums over
//! experts run in the order of their numbers, so a token's result doesn't depend on what else is in the step.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use compute::{Job, MatrixRef, Precision, matmul, matmul_jobs, ops};

use super::{
    Decoder, ExpertWeights, Experts, FeedForward, LinearInput, Probe, Scratch, for_each_row, resize,
};
use crate::error::ForwardError;
use crate::residency::ExpertCache;

/// Tokens of a step up to which the next layer's experts are guessed from them; more need nearly all experts anyway.
const GUESS_TOKENS_MAX: usize = 4;
/// Experts that are guessed for a layer.
const GUESSES: usize = 8;

/// How often each expert was chosen, by layer.
#[derive(Debug)]
pub struct RouterStatistics {
    n_experts: usize,
    counts: Vec<AtomicU64>, // (L, E)
}

impl RouterStatistics {
    pub(super) fn new(n_layers: usize, n_experts: usize) -> Self {
        Self {
            n_experts,
            counts: (0..n_layers * n_experts).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Times that each expert of a layer was chosen; empty for dense models and unknown layers.
    pub fn layer(&self, layer: usize) -> Vec<u64> {
        let start = layer.saturating_mul(self.n_experts);
        let counts = self.counts.iter().skip(start).take(self.n_experts);
        counts.map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// One addition for each expert in use, however many tokens chose it.
    fn count(&self, layer: usize, choices: &[Choice]) {
        for run in choices.chunk_by(|a, b| a.expert == b.expert) {
            let place = layer * self.n_experts + run[0].expert;
            self.counts[place].fetch_add(run.len() as u64, Ordering::Relaxed);
        }
    }
}

/// One expert's work for one token.
#[derive(Debug, Clone, Copy)]
struct Choice {
    expert: usize,
    token: usize,
    weight: f32,
}

/// Buffers of the routed layers.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    router_logits: Vec<f32>, // (T, E)
    probabilities: Vec<f32>, // (E)
    /// Sorted by expert, then token: each expert's tokens are neighbours.
    choices: Vec<Choice>, // (T·K)
    /// Where each token's choices are, in the order of the experts.
    places: Vec<usize>, // (T, K)
    cursors: Vec<usize>,     // (T)
    /// The token of each choice.
    tokens: Vec<u32>, // (T·K)
    results: Vec<f32>,       // (T·K, D)
    guess: Guess,
}

/// Buffers for guessing what the next layer will choose.
#[derive(Debug, Default)]
struct Guess {
    normed: Vec<f32>, // (T, D)
    logits: Vec<f32>, // (T, E)
}

impl Buffers {
    pub(super) fn router_logits(&self) -> &[f32] {
        &self.router_logits
    }
}

impl Decoder {
    /// Chooses K experts for each row of `normed`.
    pub(super) fn route(&self, layer: usize, experts: &Experts, scratch: &mut Scratch) {
        let config = &self.config;
        let Scratch {
            normed,
            compute,
            experts: buffers,
            ..
        } = scratch;
        let Buffers {
            router_logits,
            probabilities,
            choices,
            places,
            cursors,
            ..
        } = buffers;
        let n = normed.len() / config.d_model;
        resize(router_logits, n * config.n_experts);
        matmul(
            &self.pool,
            experts.router.as_ref(),
            normed,
            n,
            router_logits,
            Precision::F32,
            compute,
        );
        choices.clear();
        for (token, logits) in router_logits.chunks_exact(config.n_experts).enumerate() {
            probabilities.clear();
            probabilities.extend_from_slice(logits);
            ops::softmax(probabilities);
            let chosen = ops::top_k(probabilities, config.n_experts_used);
            let total: f32 = chosen.iter().map(|(_, p)| p).sum();
            let scale = if config.norm_topk_prob { 1.0 / total } else { 1.0 };
            for (expert, p) in chosen {
                choices.push(Choice {
                    expert,
                    token,
                    weight: p * scale,
                });
            }
        }
        choices.sort_unstable_by_key(|choice| (choice.expert, choice.token));
        self.statistics.count(layer, choices);
        let per_token = config.n_experts_used;
        places.clear();
        places.resize(n * per_token, 0);
        cursors.clear();
        cursors.resize(n, 0);
        for (place, choice) in choices.iter().enumerate() {
            places[choice.token * per_token + cursors[choice.token]] = place;
            cursors[choice.token] += 1;
        }
    }

    /// projected = Σ over the chosen experts of weight · down(silu(gate(normed)) * up(normed)).
    ///
    /// # Errors
    /// When an expert that is not in memory cannot be read.
    pub(super) fn run_experts(
        &self,
        layer: usize,
        experts: &Experts,
        scratch: &mut Scratch,
    ) -> Result<(), ForwardError> {
        let (d, f) = (self.config.d_model, self.config.d_ff_expert);
        let Buffers {
            choices,
            tokens,
            results,
            ..
        } = &mut scratch.experts;
        let runs = runs(choices);
        tokens.clear();
        tokens.extend(choices.iter().map(|choice| choice.token as u32));
        resize(results, choices.len() * d); // (T·K, D)
        resize(&mut scratch.gate, choices.len() * f); // (T·K, F)
        resize(&mut scratch.up, choices.len() * f); // (T·K, F)
        match &experts.weights {
            ExpertWeights::InMemory { gate, up, down } => {
                let of_run = |(expert, rows): Run| Use {
                    gate: gate.rows_view(expert * f..(expert + 1) * f),
                    up: up.rows_view(expert * f..(expert + 1) * f),
                    down: down.rows_view(expert * d..(expert + 1) * d),
                    rows,
                };
                self.use_experts(&runs.into_iter().map(of_run).collect::<Vec<_>>(), scratch);
            }
            ExpertWeights::OnDemand(_) => {
                if let Some(cache) = &self.expert_cache {
                    self.use_from_disk(cache, layer, &runs, scratch)?;
                }
            }
        }
        self.sum(scratch);
        Ok(())
    }

    /// Computes with those experts that are in memory while others are read, and guesses what the next layer needs.
    fn use_from_disk(
        &self,
        cache: &ExpertCache,
        layer: usize,
        runs: &[Run],
        scratch: &mut Scratch,
    ) -> Result<(), ForwardError> {
        let _turn = cache.turn();
        let used: Vec<usize> = runs.iter().map(|(expert, _)| *expert).collect();
        let plan = cache.plan(layer, &used);
        let mut plan = plan.iter();
        let mut next = plan.next().map(|experts| (experts, cache.wave(layer, experts)));
        while let Some((experts, wave)) = next {
            next = plan.next().map(|experts| (experts, cache.wave(layer, experts)));
            if next.is_none() {
                self.guess_next(cache, layer, scratch);
            }
            let loaded = wave.wait().map_err(|reason| ForwardError::Weights { reason })?;
            let mut uses = Vec::with_capacity(loaded.len());
            for (expert, weights) in experts.iter().zip(&loaded) {
                let run = runs.iter().find(|(of, _)| of == expert);
                uses.extend(run.map(|(_, rows)| Use {
                    gate: weights.gate.as_ref(),
                    up: weights.up.as_ref(),
                    down: weights.down.as_ref(),
                    rows: rows.clone(),
                }));
            }
            uses.sort_by_key(|part| part.rows.start);
            self.use_experts(&uses, scratch);
        }
        Ok(())
    }

    /// Tells the cache what the next layer will probably choose: what its router says of this layer's input, or, of
    /// many tokens, what it chose most.
    fn guess_next(&self, cache: &ExpertCache, layer: usize, scratch: &mut Scratch) {
        let next = layer + 1;
        let Some(of_next) = self.layers.get(next) else {
            return;
        };
        let FeedForward::Experts(experts) = &of_next.feed_forward else {
            return;
        };
        let Scratch {
            x,
            compute,
            experts:
                Buffers {
                    guess: Guess { normed, logits },
                    ..
                },
            ..
        } = scratch;
        let (d, n_experts) = (self.config.d_model, self.config.n_experts);
        let n = x.len() / d;
        if n > GUESS_TOKENS_MAX {
            let mut guesses = cache.most_used(next);
            guesses.truncate(GUESSES);
            return cache.likely(next, &guesses);
        }
        normed.clear();
        normed.extend_from_slice(x);
        if let Some(weight) = &of_next.feed_forward_norm {
            ops::rms_norm_rows(normed, weight, self.config.rms_eps);
        }
        resize(logits, n * n_experts);
        matmul(
            &self.pool,
            experts.router.as_ref(),
            normed,
            n,
            logits,
            Precision::F32,
            compute,
        );
        let mut total = vec![0.0; n_experts];
        for row in logits.chunks_exact_mut(n_experts) {
            ops::softmax(row);
            ops::add(row, &mut total);
        }
        let guesses = ops::top_k(&total, GUESSES.min(n_experts));
        cache.likely(
            next,
            &guesses.into_iter().map(|(expert, _)| expert).collect::<Vec<_>>(),
        );
    }

    /// results = down(silu(gate(normed)) * up(normed)) for the choices of these experts, which are in ascending order.
    fn use_experts(&self, uses: &[Use<'_>], scratch: &mut Scratch) {
        self.gate_and_up(uses, scratch);
        let f = self.config.d_ff_expert;
        for rows in joined(uses) {
            let values = rows.start * f..rows.end * f;
            self.silu_mul(&mut scratch.gate[values.clone()], &scratch.up[values], f);
        }
        self.down(uses, scratch);
    }

    /// Shows a probe what each expert in use was multiplied by in the step that just ran.
    pub(super) fn show_experts(&self, layer: usize, scratch: &Scratch, probe: &mut dyn Probe) {
        let (d, f) = (self.config.d_model, self.config.d_ff_expert);
        let choices = &scratch.experts.choices;
        for (expert, rows) in runs(choices) {
            let tokens = choices[rows.clone()].iter().map(|choice| choice.token);
            let x: Vec<f32> = tokens
                .flat_map(|token| &scratch.normed[token * d..(token + 1) * d])
                .copied()
                .collect();
            probe.input(layer, LinearInput::Expert(expert), &x, rows.len());
            let gate = &scratch.gate[rows.start * f..rows.end * f];
            probe.input(layer, LinearInput::ExpertOutput(expert), gate, rows.len());
        }
    }

    /// gate, up = their products for every expert in use, in one fork-join.
    fn gate_and_up(&self, uses: &[Use<'_>], scratch: &mut Scratch) {
        let (d, f) = (self.config.d_model, self.config.d_ff_expert);
        let Scratch {
            normed,
            gate,
            up,
            compute,
            experts: Buffers { tokens, .. },
            ..
        } = scratch;
        let mut jobs = Vec::with_capacity(2 * uses.len());
        let parts = split(gate, uses, f).into_iter().zip(split(up, uses, f));
        for (of_expert, (gate, up)) in uses.iter().zip(parts) {
            let rows = of_expert.rows.clone();
            // A single token is the same input to all its experts: no rows to choose from.
            let of_x = (normed.len() > d).then_some(&tokens[rows.clone()]);
            for (w, out) in [(of_expert.gate, gate), (of_expert.up, up)] {
                jobs.push(Job {
                    w,
                    x: normed,
                    n: rows.len(),
                    rows: of_x,
                    out,
                });
            }
        }
        matmul_jobs(&self.pool, &mut jobs, self.precision, compute);
    }

    /// results = down(gate) for every expert in use, in one fork-join.
    fn down(&self, uses: &[Use<'_>], scratch: &mut Scratch) {
        let (d, f) = (self.config.d_model, self.config.d_ff_expert);
        let Scratch {
            gate,
            compute,
            experts: Buffers { results, .. },
            ..
        } = scratch;
        let mut jobs = Vec::with_capacity(uses.len());
        for (of_expert, out) in uses.iter().zip(split(results, uses, d)) {
            let rows = &of_expert.rows;
            jobs.push(Job {
                w: of_expert.down,
                x: &gate[rows.start * f..rows.end * f],
                n: rows.len(),
                rows: None,
                out,
            });
        }
        matmul_jobs(&self.pool, &mut jobs, self.precision, compute);
    }

    /// projected = each token's results by weight, in the order of the experts.
    fn sum(&self, scratch: &mut Scratch) {
        let (d, per_token) = (self.config.d_model, self.config.n_experts_used);
        let Scratch {
            normed,
            projected,
            experts:
                Buffers {
                    choices,
                    places,
                    results,
                    ..
                },
            ..
        } = scratch;
        resize(projected, normed.len()); // (T, D)
        for_each_row(&self.pool, projected, d, |token, sum| {
            sum.fill(0.0);
            for &place in &places[token * per_token..(token + 1) * per_token] {
                ops::axpy(choices[place].weight, &results[place * d..(place + 1) * d], sum);
            }
        });
    }
}

/// An expert in use and its choices.
type Run = (usize, Range<usize>);

/// An expert's weights and the choices to compute with them.
struct Use<'a> {
    rows: Range<usize>,
    gate: MatrixRef<'a>, // (F, D)
    up: MatrixRef<'a>,   // (F, D)
    down: MatrixRef<'a>, // (D, F)
}

/// The choices of all, neighbours joined.
fn joined(uses: &[Use<'_>]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for rows in uses.iter().map(|of_expert| of_expert.rows.clone()) {
        match ranges.last_mut() {
            Some(last) if last.end == rows.start => last.end = rows.end,
            _ => ranges.push(rows),
        }
    }
    ranges
}

/// The experts in use, each with its range of choices.
fn runs(choices: &[Choice]) -> Vec<Run> {
    let mut start = 0;
    let same = |a: &Choice, b: &Choice| a.expert == b.expert;
    choices
        .chunk_by(same)
        .map(|run| {
            let rows = start..start + run.len();
            start = rows.end;
            (run[0].expert, rows)
        })
        .collect()
}

/// Takes out of a buffer with `width` values for each choice the parts of these experts, which are in ascending order.
fn split<'a>(mut buffer: &'a mut [f32], uses: &[Use<'_>], width: usize) -> Vec<&'a mut [f32]> {
    let mut parts = Vec::with_capacity(uses.len());
    let mut at = 0;
    for rows in uses.iter().map(|of_expert| &of_expert.rows) {
        let (_, from_here) = buffer.split_at_mut((rows.start - at) * width);
        let (part, rest) = from_here.split_at_mut(rows.len() * width);
        parts.push(part);
        buffer = rest;
        at = rows.end;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_hold_each_experts_choices() {
        let choice = |expert, token| Choice {
            expert,
            token,
            weight: 1.0,
        };
        let choices = [choice(1, 0), choice(1, 2), choice(4, 1)];
        assert_eq!(runs(&choices), [(1, 0..2), (4, 2..3)]);
        assert!(runs(&[]).is_empty());
    }
}
