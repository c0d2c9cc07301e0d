//! One generation while it runs: its cache, its sampler, its grammar, its guesses, its text.
//!
//! Decides when a generation is over; whose turn it is decides the scheduler, and whether guesses pay decides
//! [`crate::lookup`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use model::{Guide, KV_BLOCK, KvBlock, KvCache, Logprobs, Model, Sampler, StopReason, StopTexts, Utf8Stream};

use crate::follow::Leader;
use crate::lookup::{self, Acceptance, Offer};
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
    /// The token chosen last, not yet in the cache, and after it the tokens guessed to follow.
    pub(crate) pending: Vec<u32>,
    /// Prompt and output so far.
    history: Vec<u32>,
    guesses: bool,
    acceptance: Acceptance,
    /// How far it is on its way to its first step.
    pub(crate) start: Start,
    /// What it shares of its cache.
    pub(crate) lease: Lease,
    /// Prompt tokens that were known when it began.
    n_cached: usize,
    sampler: Sampler,
    guide: Option<Guide>,
    /// How many likely tokens to name beside each chosen one.
    n_top_logprobs: Option<usize>,
    utf8: Utf8Stream,
    stops: StopTexts,
    ignore_eos: bool,
    n_generated: usize,
    n_max: usize,
    events: Sender<Event>,
    cancelled: Arc<AtomicBool>,
}

/// What a sequence waits for before its first step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Nobody has looked yet.
    New,
    /// Another one computes what its prompt begins with.
    Follows(Leader),
    /// Part of its prompt is being read from the disk.
    Loads,
    /// For nothing more.
    Off,
}

/// Whether a sequence goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goes {
    On,
    Ended,
    Failed,
}

/// What came of one step's logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) goes: Goes,
    /// Tokens chosen, at least one.
    pub(crate) n_tokens: usize,
    /// Guesses among them.
    pub(crate) n_guessed: usize,
}

impl Sequence {
    pub(crate) fn new(
        id: SequenceId,
        submission: Submission,
        model: &Model,
        guesses: bool,
        prefixes: &mut PrefixCache,
    ) -> Self {
        let Submission {
            request,
            guide,
            events,
            cancelled,
            place,
        } = submission;
        // Another one may wait there now.
        drop(place);
        let Request {
            prompt,
            max_tokens,
            sampling,
            stop,
            ignore_eos,
            owner,
            constraint: _,
            n_top_logprobs,
        } = request;
        let mut sampler = Sampler::new(sampling, model.n_sampleable());
        sampler.observe_prompt(&prompt);
        let mut cache = model.new_cache();
        let lease = prefixes.begin(owner.partition, &prompt, &mut cache);
        Self {
            id,
            n_cached: cache.len(),
            cache,
            start: Start::New,
            lease,
            // The last token chosen need not fit the cache any more.
            n_max: max_tokens.min(model.context() - prompt.len()),
            history: prompt.clone(),
            guesses,
            acceptance: Acceptance::default(),
            prompt,
            pending: Vec::new(),
            sampler,
            // The end of a grammar is no text that one could go on after.
            ignore_eos: ignore_eos && guide.is_none(),
            guide,
            n_top_logprobs,
            utf8: Utf8Stream::default(),
            stops: StopTexts::new(&stop),
            n_generated: 0,
            events,
            cancelled,
        }
    }

    /// Prompt tokens that were known when it began.
    pub(crate) fn n_cached(&self) -> usize {
        self.n_cached
    }

    /// Full blocks in its cache.
    pub(crate) fn n_blocks(&self) -> usize {
        self.cache.len() / KV_BLOCK
    }

    /// Goes on with blocks of its prompt that the disk had, or another sequence; before its first step.
    pub(crate) fn attach(&mut self, blocks: Vec<KvBlock>, prefixes: &mut PrefixCache) {
        prefixes.attach(&self.prompt, &mut self.cache, &mut self.lease, blocks);
        self.n_cached = self.cache.len();
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

    /// Guesses what follows the token chosen last.
    pub(crate) fn guess(&mut self) -> Option<Offer> {
        self.pending.truncate(1);
        // The token chosen after the last guess must still be wanted.
        let n_wanted = (self.n_max - self.n_generated).saturating_sub(1);
        if !self.guesses {
            return None;
        }
        lookup::guess(&self.history, lookup::DRAFT_MAX.min(n_wanted), &mut self.pending);
        (self.pending.len() > 1).then(|| Offer {
            n_drafted: self.pending.len() - 1,
            acceptance: self.acceptance,
        })
    }

    /// Cuts the guess short.
    pub(crate) fn keep_guesses(&mut self, n: usize) {
        self.pending.truncate(1 + n);
    }

    /// Chooses a token from each row of logits in turn, as long as the guesses before it are what was chosen, and
    /// leaves nothing else in the cache.
    pub(crate) fn choose_all<'l>(&mut self, rows: impl Iterator<Item = &'l [f32]>, model: &Model) -> Chosen {
        let guesses = self.pending.split_off(self.pending.len().min(1));
        let n_past = self.cache.len().saturating_sub(guesses.len());
        let mut chosen = Chosen {
            goes: Goes::On,
            n_tokens: 0,
            n_guessed: 0,
        };
        for (i, logits) in rows.enumerate() {
            chosen.goes = self.choose(logits, model);
            chosen.n_tokens += 1;
            let is_guess = guesses.get(i).copied() == self.pending.first().copied();
            if chosen.goes != Goes::On || !is_guess {
                break;
            }
            chosen.n_guessed += 1;
        }
        self.acceptance.note(chosen.n_guessed, guesses.len());
        self.cache.truncate(n_past + chosen.n_guessed);
        chosen
    }

    /// Chooses the next token and says so.
    fn choose(&mut self, logits: &[f32], model: &Model) -> Goes {
        let id = match &self.guide {
            None => self.sampler.sample(logits),
            Some(guide) => self.sampler.sample_among(logits, Some(guide.next())),
        };
        self.pending.clear();
        self.pending.push(id);
        self.history.push(id);
        self.n_generated += 1;
        let mut is_complete = false;
        if let Some(guide) = &mut self.guide {
            if let Err(error) = guide.accept(id) {
                self.fail(&error.to_string());
                return Goes::Failed;
            }
            is_complete = guide.is_complete();
        }
        if model.is_end_of_sequence(id) && !self.ignore_eos {
            let text = self.stops.finish();
            self.say(id, text, None);
            return self.done(StopReason::EndOfSequence);
        }
        let n_top = self.n_top_logprobs;
        let row = &logits[..model.n_sampleable().min(logits.len())];
        let logprobs = n_top.map(|n_top| Box::new(Logprobs::of(row, id, n_top)));
        let passed = self.stops.push(&self.utf8.push(model.token_bytes(id)));
        let mut text = passed.text;
        let stop = if passed.stopped {
            Some(StopReason::StopText)
        } else if is_complete {
            Some(StopReason::EndOfSequence)
        } else if self.n_generated == self.n_max {
            Some(StopReason::Length)
        } else {
            None
        };
        if stop.is_some() && !passed.stopped {
            text.push_str(&self.stops.finish());
        }
        self.say(id, text, logprobs);
        stop.map_or(Goes::On, |stop| self.done(stop))
    }

    fn say(&self, id: u32, text: String, logprobs: Option<Box<Logprobs>>) {
        self.send(Event::Token { id, text, logprobs });
    }

    /// Shares what the cache has come to hold: the prompt and the tokens chosen, but the last.
    pub(crate) fn share(&mut self, prefixes: &mut PrefixCache) {
        let (history, n) = (&self.history, self.cache.len());
        let tokens = || history[..n].to_vec();
        prefixes.keep(&mut self.lease, &self.cache, self.prompt.len(), tokens);
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
