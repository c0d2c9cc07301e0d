//! Mixture of experts: routing, and the experts' SwiGLU with each expert's weights read once per step.
//!
//! Router arithmetic is always f32: a routing decision that a rounding turns around changes the model. The sums over
//! experts run in the order of their numbers, so a token's result doesn't depend on what else is in the step.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use compute::{Job, Precision, matmul, matmul_jobs, ops};

use super::{Decoder, Experts, LinearInput, Probe, Scratch, for_each_row, resize};

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
    pub(super) fn run_experts(&self, experts: &Experts, scratch: &mut Scratch) {
        let f = self.config.d_ff_expert;
        let runs = runs(&scratch.experts.choices);
        self.gate_and_up(experts, &runs, scratch);
        self.silu_mul(&mut scratch.gate, &scratch.up, f);
        self.down(experts, &runs, scratch);
        self.sum(scratch);
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
    fn gate_and_up(&self, experts: &Experts, runs: &[Run], scratch: &mut Scratch) {
        let (d, f) = (self.config.d_model, self.config.d_ff_expert);
        let Scratch {
            normed,
            gate,
            up,
            compute,
            experts: Buffers { choices, tokens, .. },
            ..
        } = scratch;
        tokens.clear();
        tokens.extend(choices.iter().map(|choice| choice.token as u32));
        resize(gate, choices.len() * f); // (T·K, F)
        resize(up, choices.len() * f); // (T·K, F)
        let mut jobs = Vec::with_capacity(2 * runs.len());
        let parts = split(gate, runs, f).into_iter().zip(split(up, runs, f));
        for ((expert, rows), (gate, up)) in runs.iter().zip(parts) {
            let (n, of_expert) = (rows.len(), expert * f..(expert + 1) * f);
            // A single token is the same input to all its experts: no rows to choose from.
            let of_x = (normed.len() > d).then_some(&tokens[rows.clone()]);
            for (matrix, out) in [(&experts.gate, gate), (&experts.up, up)] {
                jobs.push(Job {
                    w: matrix.rows_view(of_expert.clone()),
                    x: normed,
                    n,
                    rows: of_x,
                    out,
                });
            }
        }
        matmul_jobs(&self.pool, &mut jobs, self.precision, compute);
    }

    /// results = down(gate) for every expert in use, in one fork-join.
    fn down(&self, experts: &Experts, runs: &[Run], scratch: &mut Scratch) {
        let (d, f) = (self.config.d_model, self.config.d_ff_expert);
        let Scratch {
            gate,
            compute,
            experts: Buffers { choices, results, .. },
            ..
        } = scratch;
        resize(results, choices.len() * d); // (T·K, D)
        let mut jobs = Vec::with_capacity(runs.len());
        for ((expert, rows), out) in runs.iter().zip(split(results, runs, d)) {
            let x = &gate[rows.start * f..rows.end * f];
            jobs.push(Job {
                w: experts.down.rows_view(expert * d..(expert + 1) * d),
                x,
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

/// Cuts a buffer with `width` values for each choice into the runs' parts.
fn split<'a>(mut buffer: &'a mut [f32], runs: &[Run], width: usize) -> Vec<&'a mut [f32]> {
    let mut parts = Vec::with_capacity(runs.len());
    for (_, rows) in runs {
        let (part, rest) = buffer.split_at_mut(rows.len() * width);
        parts.push(part);
        buffer = rest;
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
