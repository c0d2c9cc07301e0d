//! Our engine as it ships: the same steps as the peer's, through the public interface of `engine`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail};
use engine::{Engine, EngineConfig, Event, Request};
use model::{LoadOptions, Model, PackOptions, SamplingParams};

use crate::worker::Timings;

/// A loaded model behind its engine.
pub(crate) struct Ours {
    engine: Engine,
}

impl Ours {
    pub(crate) fn load(
        path: &Path,
        n_threads: usize,
        n_context: usize,
        n_sequences: usize,
        pack: Option<PathBuf>,
        memory_budget: Option<u64>,
    ) -> Result<Self> {
        let options = LoadOptions {
            threads: n_threads,
            context: Some(n_context),
            pack: PackOptions {
                folder: pack,
                ..PackOptions::default()
            },
            memory_budget,
            ..LoadOptions::default()
        };
        let model = Model::load(path, &options)?;
        // Nobody whose turn could be late: chunks as large as the peer's.
        let config = EngineConfig {
            prefill_chunk_tokens: 512,
            n_sequences_max: n_sequences.max(1),
            // Random weights repeat themselves, and guessing what repeats would flatter us.
            prompt_lookup: false,
            ..EngineConfig::default()
        };
        Ok(Self {
            engine: Engine::start(model, config),
        })
    }

    /// Experts that were there when they were needed, and all that were needed.
    pub(crate) fn experts(&self) -> (u64, u64) {
        let stats = self.engine.model().residency().unwrap_or_default();
        (stats.hits, stats.needed)
    }

    /// Decodes all prompts together; tokens per second from the moment each sequence has its first new token to
    /// the moment the first of them ends.
    ///
    /// The prompts are processed before: while some decode, others' prompts come along in small pieces, and the first
    /// would be over before the last begins.
    pub(crate) fn generate_together(&self, prompts: &[Vec<u32>], n_new: usize) -> Result<f64> {
        for prompt in prompts {
            self.generate(prompt, 0, 1)?;
        }
        let generations: Result<Vec<_>, _> = prompts
            .iter()
            .map(|prompt| self.engine.submit(request(prompt, n_new + 1)))
            .collect();
        let mut listeners = Vec::new();
        for generation in generations? {
            listeners.push(std::thread::spawn(move || -> Vec<Instant> {
                generation
                    .filter(|event| matches!(event, Event::Token { .. }))
                    .map(|_| Instant::now())
                    .collect()
            }));
        }
        let mut times = Vec::new();
        for listener in listeners {
            let Ok(of_one) = listener.join() else {
                bail!("a listener panicked")
            };
            if of_one.len() != n_new + 1 {
                bail!(
                    "our engine chose {} tokens instead of {}",
                    of_one.len(),
                    n_new + 1
                );
            }
            times.push(of_one);
        }
        let (Some(start), Some(end)) = (
            times.iter().map(|t| t[0]).max(),
            times.iter().map(|t| t[n_new]).min(),
        ) else {
            bail!("there are no prompts")
        };
        let between = times.iter().flatten().filter(|t| **t > start && **t <= end);
        Ok(between.count() as f64 / (end - start).as_secs_f64())
    }

    /// Processes `prompt`, of which the first `n_past` tokens were processed before, then chooses `n_new` tokens; the
    /// first of them ends the prompt's time.
    pub(crate) fn generate(&self, prompt: &[u32], n_past: usize, n_new: usize) -> Result<Timings> {
        let start = Instant::now();
        let mut first = None;
        let mut n_tokens = 0;
        for event in self.engine.submit(request(prompt, n_new))? {
            match event {
                Event::Prefilled { cached_tokens, .. } if cached_tokens != n_past => {
                    bail!("our engine remembered {cached_tokens} tokens of the prompt instead of {n_past}")
                }
                Event::Token { .. } => {
                    n_tokens += 1;
                    first.get_or_insert_with(Instant::now);
                }
                Event::Failed { reason } => bail!("our engine failed: {reason}"),
                Event::Prefilled { .. } | Event::Done { .. } => {}
            }
        }
        let Some(first) = first else {
            bail!("our engine chose no token")
        };
        if n_tokens != n_new {
            bail!("our engine chose {n_tokens} tokens instead of {n_new}");
        }
        Ok(Timings {
            first_s: (first - start).as_secs_f64(),
            rest_s: first.elapsed().as_secs_f64(),
        })
    }
}

/// Always the most likely token, `n_new` times.
fn request(prompt: &[u32], n_new: usize) -> Request {
    Request {
        prompt: prompt.to_vec(),
        max_tokens: n_new,
        sampling: SamplingParams::greedy(),
        ignore_eos: true,
        ..Request::default()
    }
}
