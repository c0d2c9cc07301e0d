//! The engine's thread: takes requests, runs the scheduler's plans on the model, hands out events.
//!
//! A panic or an error in a step fails the generations that took part in it and no others.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};

use model::{ForwardError, Guide, Input, KV_BLOCK, Model, Scratch, WantedLogits};

use crate::lookup::{Gate, Offer};
use crate::pace::Pace;
use crate::prefix_cache::PrefixCache;
use crate::scheduler::{Plan, Scheduler, SequenceId};
use crate::sequence::{Goes, Sequence, Start};
use crate::spill::Loaded;
use crate::{Counters, EngineConfig, Event, Place, Request, follow};

/// A request on its way to the thread.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) request: Request,
    /// The request's constraint, compiled.
    pub(crate) guide: Option<Guide>,
    pub(crate) events: Sender<Event>,
    pub(crate) cancelled: Arc<AtomicBool>,
    /// Where it waits, given back when it waits no more.
    pub(crate) place: Place,
}

/// The state of the thread.
pub(crate) struct Worker {
    model: Arc<Model>,
    inbox: Receiver<Submission>,
    counters: Arc<Counters>,
    scheduler: Scheduler,
    pub(crate) prefixes: PrefixCache,
    /// Accepted, without a cache yet, in the order of arrival.
    waiting: VecDeque<(SequenceId, Submission)>,
    /// With a cache; at most the scheduler's limit.
    pub(crate) running: Vec<Sequence>,
    scratch: Scratch,
    n_submitted: SequenceId,
    /// Whether guesses pay; `None` where none are made.
    gate: Option<Gate>,
    pace: Pace,
    clock: Clock,
}

/// Seconds since some moment; tests hold it still.
pub(crate) type Clock = Box<dyn FnMut() -> f64 + Send>;

impl Worker {
    pub(crate) fn new(
        model: Arc<Model>,
        config: &EngineConfig,
        inbox: Receiver<Submission>,
        counters: Arc<Counters>,
        clock: Clock,
    ) -> Self {
        Self {
            gate: config.prompt_lookup.then(Gate::default),
            pace: Pace::new(config.prefill_chunk_tokens),
            clock,
            scratch: Scratch::default(),
            prefixes: PrefixCache::new(&model, config.prefix_cache_bytes, config.spill.as_ref()),
            model,
            inbox,
            counters,
            scheduler: Scheduler::new(config.n_sequences_max, config.prefill_chunk_tokens),
            waiting: VecDeque::new(),
            running: Vec::new(),
            n_submitted: 0,
        }
    }

    /// Runs until the last handle is gone and nothing is left to do.
    pub(crate) fn run(&mut self) {
        while self.turn() {}
    }

    /// Takes what has come and runs one step. False at the end.
    pub(crate) fn turn(&mut self) -> bool {
        if !self.receive() {
            return false;
        }
        self.drop_cancelled();
        self.admit();
        self.set_off();
        self.take_loaded();
        let n_prompt_max = self.pace.piece(self.scheduler.n_decoding());
        let plan = self.scheduler.step(n_prompt_max);
        self.execute(&plan);
        true
    }

    /// Takes what has been submitted; waits only when there is nothing to do. False at the end.
    fn receive(&mut self) -> bool {
        if self.scheduler.is_idle() {
            match self.inbox.recv() {
                Ok(submission) => self.accept(submission),
                Err(_) => return false,
            }
        }
        while let Ok(submission) = self.inbox.try_recv() {
            self.accept(submission);
        }
        true
    }

    fn accept(&mut self, submission: Submission) {
        let id = self.n_submitted;
        self.n_submitted += 1;
        let request = &submission.request;
        self.scheduler.submit(id, request.owner, request.prompt.len());
        self.waiting.push_back((id, submission));
    }

    fn drop_cancelled(&mut self) {
        let (scheduler, counters) = (&mut self.scheduler, &self.counters);
        self.waiting.retain(|(id, submission)| {
            let is_cancelled = submission.cancelled.load(Ordering::Acquire);
            if is_cancelled {
                scheduler.remove(*id);
                counters.cancelled_total.fetch_add(1, Ordering::AcqRel);
            }
            !is_cancelled
        });
        let cancelled = self.running.extract_if(.., |sequence| sequence.is_cancelled());
        for sequence in cancelled {
            scheduler.remove(sequence.id);
            counters.cancelled_total.fetch_add(1, Ordering::AcqRel);
            self.prefixes.end(sequence.lease);
        }
        self.count_running();
    }

    /// Gives a cache to sequences whose turn has come, with what is in memory of their prompts.
    fn admit(&mut self) {
        for id in self.scheduler.admit() {
            let place = self.waiting.iter().position(|(waiting, _)| *waiting == id);
            let Some((_, submission)) = place.and_then(|place| self.waiting.remove(place)) else {
                continue;
            };
            let guesses = self.gate.is_some();
            let sequence = Sequence::new(id, submission, &self.model, guesses, &mut self.prefixes);
            self.scheduler.hold(id);
            self.running.push(sequence);
        }
        self.count_running();
    }

    /// Lets sequences begin, each after what it had better wait for: another one that computes what its prompt begins
    /// with, then the disk.
    fn set_off(&mut self) {
        for place in 0..self.running.len() {
            match self.running[place].start {
                Start::Off | Start::Loads => continue,
                Start::Follows(leader) if leader.is_ahead(&self.running) => continue,
                Start::New | Start::Follows(_) => {}
            }
            self.take_over(place);
            let leader = follow::leader(&self.running, place);
            let sequence = &mut self.running[place];
            if let Some(leader) = leader {
                sequence.start = Start::Follows(leader);
                continue;
            }
            let (partition, n_known) = (sequence.lease.partition(), sequence.n_blocks());
            if self
                .prefixes
                .ask(sequence.id, &sequence.prompt, partition, n_known)
            {
                sequence.start = Start::Loads;
            } else {
                self.begin(place);
            }
        }
    }

    /// Gives a sequence what others have of its prompt by now.
    fn take_over(&mut self, place: usize) {
        let n_known = self.running[place].n_blocks();
        let source = follow::source(&self.running, place);
        let blocks = source.map_or_else(Vec::new, |(source, n_blocks)| {
            let blocks = (n_known..n_blocks).map_while(|index| source.cache.full_block(index));
            blocks.collect()
        });
        self.running[place].attach(blocks, &mut self.prefixes);
    }

    /// Nothing keeps a sequence from its first step any more.
    fn begin(&mut self, place: usize) {
        let sequence = &mut self.running[place];
        sequence.start = Start::Off;
        self.scheduler.skip(sequence.id, sequence.n_cached());
        self.scheduler.release(sequence.id);
        let n = sequence.n_cached() as u64;
        self.counters.cached_tokens_total.fetch_add(n, Ordering::AcqRel);
    }

    /// Gives sequences what the disk had of their prompts; waits for it only when nobody else can go on.
    fn take_loaded(&mut self) {
        while let Some(loaded) = self.prefixes.try_loaded() {
            self.go_on_with(loaded);
        }
        while self.scheduler.is_blocked() {
            match self.prefixes.loaded() {
                Some(loaded) => self.go_on_with(loaded),
                None => {
                    // The thread that reads is gone: what it would have brought is computed.
                    let loads = |place: &usize| self.running[*place].start == Start::Loads;
                    let places: Vec<usize> = (0..self.running.len()).filter(loads).collect();
                    places.into_iter().for_each(|place| self.begin(place));
                }
            }
        }
    }

    fn go_on_with(&mut self, loaded: Loaded) {
        let Some(place) = self.running.iter().position(|sequence| sequence.id == loaded.id) else {
            // It was cancelled meanwhile.
            return;
        };
        self.running[place].attach(loaded.blocks, &mut self.prefixes);
        self.begin(place);
    }

    fn execute(&mut self, plan: &Plan) {
        let turns = turns(plan, &self.running);
        if turns.is_empty() {
            return;
        }
        let mut over = Vec::new();
        let n_guessed = self.guess(&turns);
        self.reserve(&turns);
        let start_s = (self.clock)();
        let attempted = self.attempt(&turns);
        self.measure(&turns, n_guessed, start_s);
        match attempted {
            Ok(()) => self.hand_out(&turns, &mut over),
            // Nobody fails for what another one brought along: each on its own. A step that failed has left
            // nothing in the caches.
            Err(_) if turns.len() > 1 => turns.iter().for_each(|turn| self.execute_one(turn, &mut over)),
            Err(reason) => self.fail(&turns[0], &reason, &mut over),
        }
        self.forget(&over);
    }

    /// Lets sequences guess ahead in a step that reads no prompt, as far as it pays; returns tokens guessed.
    fn guess(&mut self, turns: &[Turn]) -> usize {
        let Some(gate) = &mut self.gate else {
            return 0;
        };
        if turns.iter().any(|turn| turn.prefill.is_some()) {
            return 0;
        }
        let running = &mut self.running;
        let offers: Vec<Offer> = turns
            .iter()
            .filter_map(|turn| running[turn.place].guess())
            .collect();
        let length = gate.length(turns.len(), &offers);
        let kept = turns.iter().map(|turn| {
            running[turn.place].keep_guesses(length);
            running[turn.place].pending.len() - 1
        });
        kept.sum()
    }

    /// Keeps room for the keys and values that nobody shares: blocks being filled, and what this step adds.
    fn reserve(&mut self, turns: &[Turn]) {
        let own = self.running.iter().enumerate().map(|(place, sequence)| {
            let turn = turns.iter().find(|turn| turn.place == place);
            let n_new = turn.map_or(0, |turn| match &turn.prefill {
                Some(piece) => piece.len(),
                None => sequence.pending.len(),
            });
            let n_blocks = (sequence.cache.len() + n_new).div_ceil(KV_BLOCK);
            n_blocks.saturating_sub(sequence.lease.n_shared())
        });
        self.prefixes.reserve(own.sum());
    }

    /// Tells the pace how long a step took, and the gate if it read no prompt.
    fn measure(&mut self, turns: &[Turn], n_guessed: usize, start_s: f64) {
        let s = (self.clock)() - start_s;
        let prompts = turns.iter().filter_map(|turn| turn.prefill.as_ref());
        let n_prompt: usize = prompts.clone().map(ExactSizeIterator::len).sum();
        if n_guessed == 0 {
            self.pace.measured(turns.len() - prompts.count(), n_prompt, s);
        }
        if let Some(gate) = &mut self.gate
            && n_prompt == 0
        {
            gate.measured(turns.len() + n_guessed, n_guessed > 0, s);
        }
    }

    fn execute_one(&mut self, turn: &Turn, over: &mut Vec<SequenceId>) {
        match self.attempt(std::slice::from_ref(turn)) {
            Ok(()) => self.hand_out(std::slice::from_ref(turn), over),
            Err(reason) => self.fail(turn, &reason, over),
        }
    }

    fn fail(&mut self, turn: &Turn, reason: &str, over: &mut Vec<SequenceId>) {
        tracing::error!(%reason, "a generation failed");
        self.scratch = Scratch::default();
        let sequence = &self.running[turn.place];
        sequence.fail(reason);
        over.push(sequence.id);
    }

    /// One step of the model; a panic in it is an error like any other.
    fn attempt(&mut self, turns: &[Turn]) -> Result<(), String> {
        guarded(|| self.forward(turns))
    }

    fn forward(&mut self, turns: &[Turn]) -> Result<(), ForwardError> {
        let mut inputs = Vec::with_capacity(turns.len());
        let mut next = turns.iter().peekable();
        for (place, sequence) in self.running.iter_mut().enumerate() {
            let Some(turn) = next.next_if(|turn| turn.place == place) else {
                continue;
            };
            let tokens = match &turn.prefill {
                Some(piece) => &sequence.prompt[piece.clone()],
                None => &sequence.pending[..],
            };
            inputs.push(Input {
                tokens,
                cache: &mut sequence.cache,
                logits: match (turn.chooses, &turn.prefill) {
                    (false, _) => WantedLogits::None,
                    (true, Some(_)) => WantedLogits::Last,
                    (true, None) => WantedLogits::All,
                },
            });
        }
        self.model.forward(&mut inputs, &mut self.scratch)
    }

    /// Chooses tokens from the logits of a step, in the order of `turns`; notes who is at the end.
    fn hand_out(&mut self, turns: &[Turn], over: &mut Vec<SequenceId>) {
        let mut row = 0;
        for turn in turns {
            let sequence = &mut self.running[turn.place];
            if let Some(piece) = &turn.prefill {
                let n = piece.len() as u64;
                self.counters.prompt_tokens_total.fetch_add(n, Ordering::AcqRel);
            }
            if !turn.chooses {
                sequence.share(&mut self.prefixes);
                continue;
            }
            let n_rows = if turn.prefill.is_some() {
                1
            } else {
                sequence.pending.len()
            };
            let rows = (row..row + n_rows).map(|row| self.scratch.logits(row));
            row += n_rows;
            let mut goes = if turn.prefill.is_some() {
                sequence.prefilled()
            } else {
                Goes::On
            };
            if goes == Goes::On {
                let chosen = sequence.choose_all(rows, &self.model);
                goes = chosen.goes;
                self.counters.chosen(chosen, n_rows - 1);
            }
            // Only now: guesses that were wrong have left the cache.
            sequence.share(&mut self.prefixes);
            if goes == Goes::Ended {
                self.counters.finished_total.fetch_add(1, Ordering::AcqRel);
            }
            if goes != Goes::On {
                over.push(sequence.id);
            }
        }
    }

    fn forget(&mut self, ids: &[SequenceId]) {
        for &id in ids {
            self.scheduler.remove(id);
        }
        let over = self.running.extract_if(.., |sequence| ids.contains(&sequence.id));
        over.for_each(|sequence| self.prefixes.end(sequence.lease));
        self.count_running();
    }

    fn count_running(&self) {
        self.counters.running.store(self.running.len(), Ordering::Release);
    }
}

/// What one sequence does in a step.
struct Turn {
    /// Index into the running sequences; turns are in this order.
    place: usize,
    /// Prompt tokens, or `None` to go on by the token chosen last.
    prefill: Option<std::ops::Range<usize>>,
    /// Whether a new token is chosen at the end.
    chooses: bool,
}

/// The plan in the order of the running sequences.
fn turns(plan: &Plan, running: &[Sequence]) -> Vec<Turn> {
    let turn = |(place, sequence): (usize, &Sequence)| {
        if let Some(piece) = plan.prefill.iter().find(|piece| piece.id == sequence.id) {
            return Some(Turn {
                place,
                prefill: Some(piece.tokens.clone()),
                chooses: piece.is_last,
            });
        }
        plan.decode.contains(&sequence.id).then_some(Turn {
            place,
            prefill: None,
            chooses: true,
        })
    };
    running.iter().enumerate().filter_map(turn).collect()
}

/// Runs a step; what goes wrong becomes a sentence.
fn guarded(step: impl FnOnce() -> Result<(), ForwardError>) -> Result<(), String> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(payload) => Err(format!(
            "the engine met a bug in itself: {}",
            panic_text(payload.as_ref())
        )),
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_sentence() {
        let reason = guarded(|| panic!("index out of bounds")).unwrap_err();
        assert_eq!(reason, "the engine met a bug in itself: index out of bounds");
        assert_eq!(guarded(|| Ok(())), Ok(()));
    }
}
