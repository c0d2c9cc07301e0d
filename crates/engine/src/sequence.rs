//! One generation while it runs: its cache, its sampler, its text.
//!
//! Decides when a generation is over; whose turn it is decides the scheduler.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use model::{KvCache, Model, Sampler, StopReason, StopTexts, Utf8Stream};

use crate::prefix::Lease;
use crate::prefix_cache::PrefixCache;
use crate::scheduler::SequenceId;
use crate::worker::Submission;
use crate::{Event, Request};

/// A generation with everything that belongs to it.
pub(crate) struct Sequence {
    pub(crate) id: SequenceId,
    pub(crate) cache: KvCache,
    pub(crate) prompt: Vec<u32>,
    /// The token chosen last, not yet in the cache.
    pub(crate) last: [u32; 1],
    /// Tokens chosen so far.
    generated: Vec<u32>,
    /// What it shares of its cache.
    pub(crate) lease: Lease,
    /// Prompt tokens that were in memory when it began.
    pub(crate) n_cached: usize,
    sampler: Sampler,
    utf8: Utf8Stream,
    stops: StopTexts,
    ignore_eos: bool,
    n_generated: usize,
    n_max: usize,
    events: Sender<Event>,
    cancelled: Arc<AtomicBool>,
}

/// Whether a sequence goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goes {
    On,
    Ended,
}

impl Sequence {
    pub(crate) fn new(
        id: SequenceId,
        submission: Submission,
        model: &Model,
        prefixes: &mut PrefixCache,
    ) -> Self {
        let Submission {
            request,
            events,
            cancelled,
        } = submission;
        let Request {
            prompt,
            max_tokens,
            sampling,
            stop,
            ignore_eos,
            partition,
        } = request;
        let mut sampler = Sampler::new(sampling, model.n_sampleable());
        sampler.observe_prompt(&prompt);
        let mut cache = model.new_cache();
        let lease = prefixes.begin(partition, &prompt, &mut cache);
        Self {
            id,
            n_cached: cache.len(),
            cache,
            lease,
            generated: Vec::new(),
            // The last token chosen need not fit the cache any more.
            n_max: max_tokens.min(model.context() - prompt.len()),
            prompt,
            last: [0],
            sampler,
            utf8: Utf8Stream::default(),
            stops: StopTexts::new(&stop),
            ignore_eos,
            n_generated: 0,
            events,
            cancelled,
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// The prompt is in the cache.
    pub(crate) fn prefilled(&self) -> Goes {
        self.send(Event::Prefilled {
            prompt_tokens: self.prompt.len(),
            cached_tokens: self.n_cached,
        });
        if self.n_max == 0 {
            return self.done(StopReason::Length);
        }
        Goes::On
    }

    /// Chooses the next token and says so.
    pub(crate) fn choose(&mut self, logits: &[f32], model: &Model) -> Goes {
        let id = self.sampler.sample(logits);
        self.last = [id];
        self.generated.push(id);
        self.n_generated += 1;
        if model.is_end_of_sequence(id) && !self.ignore_eos {
            let text = self.stops.finish();
            self.send(Event::Token { id, text });
            return self.done(StopReason::EndOfSequence);
        }
        let passed = self.stops.push(&self.utf8.push(model.token_bytes(id)));
        let mut text = passed.text;
        if passed.stopped {
            self.send(Event::Token { id, text });
            return self.done(StopReason::StopText);
        }
        if self.n_generated == self.n_max {
            text.push_str(&self.stops.finish());
            self.send(Event::Token { id, text });
            return self.done(StopReason::Length);
        }
        self.send(Event::Token { id, text });
        Goes::On
    }

    /// Shares what the cache has come to hold: the prompt and the tokens chosen, but the last.
    pub(crate) fn share(&mut self, prefixes: &mut PrefixCache) {
        let (prompt, generated, n) = (&self.prompt, &self.generated, self.cache.len());
        let tokens = || prompt.iter().chain(generated).copied().take(n).collect();
        prefixes.keep(&mut self.lease, &self.cache, tokens);
    }

    /// Says that the generation failed.
    pub(crate) fn fail(&self, reason: &str) {
        self.send(Event::Failed {
            reason: reason.to_owned(),
        });
    }

    fn done(&self, stop: StopReason) -> Goes {
        self.send(Event::Done {
            stop,
            completion_tokens: self.n_generated,
        });
        Goes::Ended
    }

    fn send(&self, event: Event) {
        // Nobody listens any more: the cancellation flag says so too, and the next step clears it away.
        let _ = self.events.send(event);
    }
}
