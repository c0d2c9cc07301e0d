//! Sequences in, tokens out: a bounded queue in front of one model, its scheduler and its thread.
//!
//! Knows nothing of HTTP, JSON, documents or energy. Dropping a [`Generation`] cancels it and frees its cache.

mod follow;
mod lookup;
mod owner;
mod pace;
mod places;
mod prefix;
mod prefix_cache;
mod router;
mod scheduler;
mod sequence;
mod spill;
mod worker;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use model::{Constraint, ConstraintError, Guide, Logprobs, Model, SamplingParams, StopReason};
use stdx::clock::Stopwatch;
use thiserror::Error;

use sequence::Chosen;
use worker::{Clock, Submission, Worker};

pub use owner::{Owner, key_of};
pub use places::{NoPlace, Place, Places};
pub use router::{LayerRouting, RouterStatistics};
pub use spill::SpillConfig;

/// Stack of the engine's thread: the rules of a grammar may nest as deep as its text is long.
const STACK_BYTES: usize = 64 << 20;

/// How the engine runs.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Sequences that take turns at once; more wait in the queue.
    pub n_sequences_max: usize,
    /// Requests that may wait, those of one caller as [`Places`] says; one more is refused with
    /// [`SubmitError::QueueFull`].
    pub n_queued_max: usize,
    /// Prompt tokens processed between two turns, at most. While sequences wait for their next token, as many as stretch
    /// a step to less than three times what it takes without.
    pub prefill_chunk_tokens: usize,
    /// Bytes of keys and values kept, those of running sequences included, so that a prompt that begins alike need not
    /// be processed again; at most a quarter of the memory that this process can have at the start. `Some(0)` keeps
    /// nothing, `None` as much as one full context has, and at least 256 MiB.
    pub prefix_cache_bytes: Option<usize>,
    /// Keep beginnings of prompts on the disk too; `None` forgets them with the process.
    pub spill: Option<SpillConfig>,
    /// Guess the next tokens from the text so far where that saves time; the output is the same either way.
    pub prompt_lookup: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            n_sequences_max: 4,
            n_queued_max: 64,
            prefill_chunk_tokens: 128,
            prefix_cache_bytes: None,
            spill: None,
            prompt_lookup: true,
        }
    }
}

impl EngineConfig {
    /// A model with a memory budget has room for the keys and values of one sequence, and reads nearly all experts for
    /// every piece of a prompt, which is why pieces are then large.
    fn within_budget(self, model: &Model) -> Self {
        if model.residency().is_none() {
            return self;
        }
        Self {
            n_sequences_max: 1,
            prefill_chunk_tokens: self.prefill_chunk_tokens.max(512),
            prefix_cache_bytes: Some(
                self.prefix_cache_bytes
                    .unwrap_or(prefix_cache::context_bytes(model)),
            ),
            ..self
        }
    }
}

/// One generation to run. What it says depends on nothing but itself and the model: not on what else runs.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Prompt token ids; must leave room for at least one new token in the context.
    pub prompt: Vec<u32>,
    /// Upper limit of new tokens; the end of the context is another.
    pub max_tokens: usize,
    /// How to choose tokens.
    pub sampling: SamplingParams,
    /// Texts that end the generation; they are not part of the output.
    pub stop: Vec<String>,
    /// Go on after an end-of-sequence token (benchmarks and parity only); without effect where a constraint ends.
    pub ignore_eos: bool,
    /// Whose request it is.
    pub owner: Owner,
    /// The form that the output must have. Cut off by a limit of tokens or a stop text, it has none.
    pub constraint: Option<Constraint>,
    /// Say with each token how likely it and this many others were; see [`Logprobs`].
    pub n_top_logprobs: Option<usize>,
}

/// What a running generation says.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The prompt has been processed.
    Prefilled {
        /// Tokens in the prompt.
        prompt_tokens: usize,
        /// How many of them were in memory already.
        cached_tokens: usize,
    },
    /// A token was chosen. `text` is what became printable with it: empty while a character or a possible
    /// stop text is incomplete. The last token's text includes what was held back; all texts joined are the answer.
    Token {
        /// The token.
        id: u32,
        /// Printable text, never half a character.
        text: String,
        /// How likely it was, if asked for; not for the token that ends the text.
        logprobs: Option<Box<Logprobs>>,
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
    /// The constraint cannot be used.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// The queue is full, or as full as one caller may make it: try again later (HTTP 429).
    #[error(transparent)]
    QueueFull(#[from] NoPlace),
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
    /// Prompt tokens that were in memory already since the start; not among those processed.
    pub cached_tokens_total: u64,
    /// Tokens generated since the start.
    pub generation_tokens_total: u64,
    /// Generations that reached their end.
    pub finished_total: u64,
    /// Generations dropped by their caller.
    pub cancelled_total: u64,
    /// Tokens guessed ahead since the start.
    pub guessed_total: u64,
    /// Guesses that were right, each a step saved.
    pub guessed_right_total: u64,
}

/// Counters shared by the handles and the thread.
#[derive(Debug, Default)]
struct Counters {
    running: AtomicUsize,
    prompt_tokens_total: AtomicU64,
    cached_tokens_total: AtomicU64,
    generation_tokens_total: AtomicU64,
    finished_total: AtomicU64,
    cancelled_total: AtomicU64,
    guessed_total: AtomicU64,
    guessed_right_total: AtomicU64,
}

impl Counters {
    /// Counts what came of one sequence's part in a step with `n_guessed` guesses.
    fn chosen(&self, chosen: Chosen, n_guessed: usize) {
        let add = |counter: &AtomicU64, n: usize| counter.fetch_add(n as u64, Ordering::AcqRel);
        add(&self.generation_tokens_total, chosen.n_tokens);
        add(&self.guessed_total, n_guessed);
        add(&self.guessed_right_total, chosen.n_guessed);
    }
}

/// A handle to the engine's thread; clones share it. When the last handle is dropped, the thread finishes the
/// generations that somebody still holds and ends.
#[derive(Clone)]
pub struct Engine {
    model: Arc<Model>,
    queue: SyncSender<Submission>,
    /// Of those who wait.
    places: Places,
    counters: Arc<Counters>,
}

impl Engine {
    /// Starts the engine's thread. If the system refuses a thread, every request is answered with
    /// [`SubmitError::Stopped`].
    pub fn start(model: Arc<Model>, config: EngineConfig) -> Self {
        let watch = Stopwatch::start();
        Self::start_by(model, &config, Box::new(move || watch.s()))
    }

    /// Starts it by another clock.
    fn start_by(model: Arc<Model>, config: &EngineConfig, clock: Clock) -> Self {
        let config = &config.clone().within_budget(&model);
        let counters = Arc::new(Counters::default());
        // Never full: whoever sends has a place.
        let (queue, inbox) = mpsc::sync_channel(config.n_queued_max.max(1));
        let mut worker = Worker::new(Arc::clone(&model), config, inbox, Arc::clone(&counters), clock);
        let started = std::thread::Builder::new()
            .name("engine".into())
            .stack_size(STACK_BYTES)
            .spawn(move || worker.run());
        if let Err(error) = started {
            tracing::error!(%error, "the engine's thread does not start");
        }
        Self {
            model,
            queue,
            places: Places::new(config.n_queued_max),
            counters,
        }
    }

    /// The model behind the engine.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// How often each expert was chosen since the model was loaded; empty for a dense model.
    pub fn router_statistics(&self) -> RouterStatistics {
        RouterStatistics::of(&self.model)
    }

    /// Queues a generation. Its constraint is compiled first, on the caller's time: within a second
    /// it is accepted or refused.
    ///
    /// # Errors
    /// When the request can never run, the queue is full or the engine has stopped.
    pub fn submit(&self, request: Request) -> Result<Generation, SubmitError> {
        self.check(&request)?;
        let place = self.places.take(request.owner.caller)?;
        let guide = self.guide(&request)?;
        self.enqueue(request, guide, place)
    }

    /// Queues one generation of the same request for each seed. The constraint is compiled once.
    ///
    /// # Errors
    /// As [`Self::submit`]; then none of them runs.
    pub fn submit_choices(&self, request: &Request, seeds: &[u64]) -> Result<Vec<Generation>, SubmitError> {
        self.check(request)?;
        let take = |_| self.places.take(request.owner.caller);
        let places = seeds.iter().map(take).collect::<Result<Vec<Place>, NoPlace>>()?;
        let guide = self.guide(request)?;
        let choices = seeds.iter().zip(places).map(|(&seed, place)| {
            let mut request = request.clone();
            request.sampling.seed = seed;
            self.enqueue(request, guide.clone(), place)
        });
        choices.collect()
    }

    fn check(&self, request: &Request) -> Result<(), SubmitError> {
        let (prompt_tokens, context) = (request.prompt.len(), self.model.context());
        if prompt_tokens == 0 {
            return Err(SubmitError::Empty);
        }
        if prompt_tokens >= context {
            return Err(SubmitError::TooLong {
                prompt_tokens,
                context,
            });
        }
        Ok(())
    }

    fn guide(&self, request: &Request) -> Result<Option<Guide>, SubmitError> {
        let guide = request.constraint.as_ref().map(|c| self.model.guide(c));
        Ok(guide.transpose()?)
    }

    fn enqueue(
        &self,
        request: Request,
        guide: Option<Guide>,
        place: Place,
    ) -> Result<Generation, SubmitError> {
        let cancelled = Arc::new(AtomicBool::new(false));
        // Not bounded by a number of its own: a generation has at most one event for each position of the
        // context and two more, and a slow reader must not stop the engine for the others.
        let (events, receiver) = mpsc::channel();
        let submission = Submission {
            request,
            guide,
            events,
            cancelled: Arc::clone(&cancelled),
            place,
        };
        // It cannot be full.
        let sent = self.queue.try_send(submission);
        sent.map_err(|_| SubmitError::Stopped)?;
        Ok(Generation { receiver, cancelled })
    }

    /// Counters now.
    pub fn stats(&self) -> EngineStats {
        let counters = &self.counters;
        EngineStats {
            running: counters.running.load(Ordering::Acquire),
            waiting: self.places.n_taken(),
            prompt_tokens_total: counters.prompt_tokens_total.load(Ordering::Acquire),
            cached_tokens_total: counters.cached_tokens_total.load(Ordering::Acquire),
            generation_tokens_total: counters.generation_tokens_total.load(Ordering::Acquire),
            finished_total: counters.finished_total.load(Ordering::Acquire),
            cancelled_total: counters.cancelled_total.load(Ordering::Acquire),
            guessed_total: counters.guessed_total.load(Ordering::Acquire),
            guessed_right_total: counters.guessed_right_total.load(Ordering::Acquire),
        }
    }
}

/// A running generation: an iterator of events that blocks until the next one; ends after `Done` or `Failed`.
/// Dropping it cancels it.
#[derive(Debug)]
pub struct Generation {
    receiver: Receiver<Event>,
    cancelled: Arc<AtomicBool>,
}

/// What [`Generation::next_timeout`] found.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// The next event.
    Event(Event),
    /// Nothing yet.
    Waiting,
    /// Nothing follows.
    Ended,
}

impl Generation {
    /// The next event, waiting at most `timeout` for it.
    pub fn next_timeout(&mut self, timeout: Duration) -> Next {
        match self.receiver.recv_timeout(timeout) {
            Ok(event) => Next::Event(event),
            Err(RecvTimeoutError::Timeout) => Next::Waiting,
            Err(RecvTimeoutError::Disconnected) => Next::Ended,
        }
    }
}

impl Iterator for Generation {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.receiver.recv().ok()
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Release);
    }
}
