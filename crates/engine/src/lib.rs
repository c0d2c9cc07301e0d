//! Sequences in, tokens out: a bounded queue in front of one model, its scheduler and its thread.
//!
//! Knows nothing of HTTP, JSON, documents or energy. Dropping a [`Generation`] cancels it and frees its cache.

use std::sync::Arc;

use model::{Model, SamplingParams, StopReason};
use thiserror::Error;

/// How the engine runs.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Sequences that take turns at once; more wait in the queue.
    pub n_sequences_max: usize,
    /// Requests that may wait; one more is refused with [`SubmitError::QueueFull`].
    pub n_queued_max: usize,
    /// Prompt tokens processed between two turns, so that a long prompt does not stall the others.
    pub prefill_chunk_tokens: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            n_sequences_max: 4,
            n_queued_max: 64,
            prefill_chunk_tokens: 128,
        }
    }
}

/// One generation to run.
#[derive(Debug, Clone)]
pub struct Request {
    /// Prompt token ids; must leave room for at least one new token in the context.
    pub prompt: Vec<u32>,
    /// Upper limit of new tokens.
    pub max_tokens: usize,
    /// How to choose tokens.
    pub sampling: SamplingParams,
    /// Texts that end the generation; they are not part of the output.
    pub stop: Vec<String>,
    /// Go on after an end-of-sequence token (benchmarks and parity only).
    pub ignore_eos: bool,
}

/// What a running generation says.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The prompt has been processed.
    Prefilled {
        /// Tokens in the prompt.
        prompt_tokens: usize,
    },
    /// A token was chosen. `text` is what became printable with it: empty while a character or a possible
    /// stop text is incomplete.
    Token {
        /// The token.
        id: u32,
        /// Printable text, never half a character.
        text: String,
    },
    /// The end; nothing follows.
    Done {
        /// Why it ended.
        stop: StopReason,
        /// New tokens, the one that ended it included.
        completion_tokens: usize,
    },
    /// The generation failed; nothing follows.
    Failed {
        /// A sentence for the log and the user.
        reason: String,
    },
}

/// Why a request was not accepted.
#[derive(Debug, Error)]
pub enum SubmitError {
    /// The prompt and one new token do not fit the context.
    #[error("the prompt has {prompt_tokens} tokens, but the model's context holds {context}")]
    TooLong {
        /// Tokens in the prompt.
        prompt_tokens: usize,
        /// Tokens that fit.
        context: usize,
    },
    /// The prompt is empty.
    #[error("the prompt is empty")]
    Empty,
    /// The queue is full: try again later (HTTP 429).
    #[error("the queue is full ({waiting} requests are waiting)")]
    QueueFull {
        /// Requests waiting.
        waiting: usize,
    },
    /// The engine has stopped (HTTP 503).
    #[error("the engine has stopped")]
    Stopped,
}

/// Counters for metrics.
#[derive(Debug, Clone, Copy, Default)]
pub struct EngineStats {
    /// Sequences that take turns now.
    pub running: usize,
    /// Requests in the queue.
    pub waiting: usize,
    /// Prompt tokens processed since the start.
    pub prompt_tokens_total: u64,
    /// Tokens generated since the start.
    pub generation_tokens_total: u64,
    /// Generations that reached their end.
    pub finished_total: u64,
    /// Generations dropped by their caller.
    pub cancelled_total: u64,
}

/// A handle to the engine's thread; clones share it. The thread ends when the last handle is dropped.
#[derive(Clone)]
pub struct Engine {
    model: Arc<Model>,
}

impl Engine {
    /// Starts the engine's thread.
    pub fn start(model: Arc<Model>, config: EngineConfig) -> Self {
        let _ = config;
        Self { model }
    }

    /// The model behind the engine.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Queues a generation.
    ///
    /// # Errors
    /// When the request can never run, the queue is full or the engine has stopped.
    pub fn submit(&self, request: Request) -> Result<Generation, SubmitError> {
        let _ = request;
        Err(SubmitError::Stopped)
    }

    /// Counters now.
    pub fn stats(&self) -> EngineStats {
        EngineStats::default()
    }
}

/// A running generation: an iterator of events that blocks until the next one; ends after `Done` or `Failed`.
pub struct Generation {}

impl Iterator for Generation {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        None
    }
}
