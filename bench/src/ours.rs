//! Our engine as it ships: the same steps as the peer's, through the public interface of `engine`.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use engine::{Engine, EngineConfig, Event, Request};
use model::{LoadOptions, Model, SamplingParams};

use crate::worker::Timings;

/// A loaded model behind its engine.
pub(crate) struct Ours {
    engine: Engine,
}

impl Ours {
    pub(crate) fn load(path: &Path, n_threads: usize, n_context: usize) -> Result<Self> {
        let options = LoadOptions {
            threads: n_threads,
            context: Some(n_context),
            ..LoadOptions::default()
        };
        let model = Model::load(path, &options)?;
        // One sequence, nobody to interleave with: chunks as large as the peer's.
        let config = EngineConfig {
            prefill_chunk_tokens: 512,
            ..EngineConfig::default()
        };
        Ok(Self {
            engine: Engine::start(model, config),
        })
    }

    /// Processes `prompt`, then chooses `n_new` tokens; the first of them ends the prompt's time.
    pub(crate) fn generate(&self, prompt: &[u32], n_new: usize) -> Result<Timings> {
        let start = Instant::now();
        let request = Request {
            prompt: prompt.to_vec(),
            max_tokens: n_new,
            sampling: SamplingParams::greedy(),
            stop: Vec::new(),
            ignore_eos: true,
            ..Request::default()
        };
        let mut first = None;
        let mut n_tokens = 0;
        for event in self.engine.submit(request)? {
            match event {
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
