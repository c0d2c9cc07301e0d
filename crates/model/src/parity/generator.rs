//! Runs a decoder over given tokens and keeps everything it computes.

use super::compare::Greedy;
use crate::decoder::{Decoder, Input, Probe, Scratch, WantedLogits};
use crate::error::ForwardError;
use crate::sampler::greedy;

/// Everything from one step over several sequences.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) logits: Vec<f32>,      // (T, V)
    pub(super) hidden: Vec<Vec<f32>>, // (L + 1) × (T, D)
    pub(super) router: Vec<Vec<f32>>, // (L) × (T, E); empty for dense models
}

impl Probe for Run {
    fn hidden(&mut self, _index: usize, states: &[f32]) {
        self.hidden.push(states.to_vec());
    }

    fn router(&mut self, layer: usize, logits: &[f32]) {
        self.router.resize(layer, Vec::new());
        self.router.push(logits.to_vec());
    }
}

impl Run {
    /// All sequences in one step, logits after each token.
    pub(super) fn of(decoder: &Decoder, sequences: &[Vec<u32>]) -> Result<Self, ForwardError> {
        let mut caches: Vec<_> = sequences.iter().map(|_| decoder.new_cache()).collect();
        let mut inputs: Vec<Input<'_>> = sequences
            .iter()
            .zip(&mut caches)
            .map(|(tokens, cache)| Input {
                tokens,
                cache,
                logits: WantedLogits::All,
            })
            .collect();
        let (mut run, mut scratch) = (Self::default(), Scratch::default());
        decoder.forward(&mut inputs, &mut scratch, Some(&mut run))?;
        for row in 0..scratch.n_logits() {
            run.logits.extend_from_slice(scratch.logits(row));
        }
        Ok(run)
    }
}

/// Feeds `tokens` one by one after the first `n_prompt` and compares each choice with the token that follows.
pub(super) fn follow(
    decoder: &Decoder,
    tokens: &[u32],
    n_prompt: usize,
    choices: &mut Greedy,
) -> Result<(), ForwardError> {
    let n_sampleable = decoder.config().n_sampleable();
    let mut steps = Steps::new(decoder);
    let mut fed = 0;
    for at in n_prompt..tokens.len() {
        let logits = steps.feed(&tokens[fed..at])?;
        choices.step(
            at - n_prompt,
            &logits[..n_sampleable.min(logits.len())],
            tokens[at],
        );
        fed = at;
    }
    Ok(())
}

/// The prompt and `n` greedy tokens.
pub(super) fn generate(decoder: &Decoder, prompt: &[u32], n: usize) -> Result<Vec<u32>, ForwardError> {
    let mut tokens = prompt.to_vec();
    let mut steps = Steps::new(decoder);
    let mut fed = 0;
    for _ in 0..n {
        let next = greedy(steps.feed(&tokens[fed..])?);
        fed = tokens.len();
        tokens.push(next);
    }
    Ok(tokens)
}

/// One sequence, step by step.
pub(super) struct Steps<'a> {
    decoder: &'a Decoder,
    cache: crate::cache::KvCache,
    scratch: Scratch,
}

impl<'a> Steps<'a> {
    pub(super) fn new(decoder: &'a Decoder) -> Self {
        Self {
            decoder,
            cache: decoder.new_cache(),
            scratch: Scratch::default(),
        }
    }

    /// Appends tokens; the logits after the last of them.
    pub(super) fn feed(&mut self, tokens: &[u32]) -> Result<&[f32], ForwardError> {
        let input = Input {
            tokens,
            cache: &mut self.cache,
            logits: WantedLogits::Last,
        };
        self.decoder.forward(&mut [input], &mut self.scratch, None)?;
        Ok(self.scratch.logits(0))
    }
}
