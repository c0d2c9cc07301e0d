//! Who runs next: a pure state machine over ids and token counts.
//!
//! Does no work itself, reads no clock and draws no randomness: the same calls give the same plans.
//!
//! * Requests wait in one queue for each partition. Callers take turns, and within a caller's turns its partitions:
//!   who sends many requests waits for himself, not the others, whatever names he gives them.
//! * Every running sequence whose prompt is processed takes part in each step with one token. Beside them,
//!   prompts are processed in turns within a budget of tokens. So between two tokens of a sequence lies one
//!   step of at most `prefill_chunk_tokens + n_running_max` tokens, however long the prompts are and however many
//!   wait.

use std::collections::VecDeque;
use std::ops::Range;

use crate::Owner;

/// Names a sequence; never used twice.
pub(crate) type SequenceId = u64;

/// A sequence as the scheduler sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    id: SequenceId,
    n_prompt: usize,
    /// Prompt tokens already planned, or never to be because they are known.
    n_planned: usize,
    /// Part of its prompt is being read from the disk, or computed by another one.
    is_held: bool,
}

impl Entry {
    fn is_prefilled(&self) -> bool {
        self.n_planned == self.n_prompt
    }
}

/// A piece of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prefill {
    pub(crate) id: SequenceId,
    /// Which prompt tokens.
    pub(crate) tokens: Range<usize>,
    /// Whether the prompt ends here, so that the first new token can be chosen.
    pub(crate) is_last: bool,
}

/// What one step does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Sequences that go on by one token, in the order of their turns.
    pub(crate) decode: Vec<SequenceId>,
    /// Pieces of prompts, at most one for each sequence.
    pub(crate) prefill: Vec<Prefill>,
}

/// What waits of one partition, in order of arrival; never empty.
#[derive(Debug)]
struct Queue {
    partition: u128,
    entries: VecDeque<Entry>,
}

/// What waits of one caller; never empty.
#[derive(Debug)]
struct Line {
    caller: u128,
    /// In order of turns: the partition that had one goes to the back.
    queues: VecDeque<Queue>,
}

impl Line {
    fn push(&mut self, partition: u128, entry: Entry) {
        match self.queues.iter_mut().find(|queue| queue.partition == partition) {
            Some(queue) => queue.entries.push_back(entry),
            None => self.queues.push_back(Queue {
                partition,
                entries: VecDeque::from([entry]),
            }),
        }
    }

    fn pop(&mut self) -> Option<Entry> {
        let mut queue = self.queues.pop_front()?;
        let entry = queue.entries.pop_front();
        if !queue.entries.is_empty() {
            self.queues.push_back(queue);
        }
        entry
    }

    fn remove(&mut self, id: SequenceId) {
        for queue in &mut self.queues {
            queue.entries.retain(|entry| entry.id != id);
        }
        self.queues.retain(|queue| !queue.entries.is_empty());
    }
}

/// The state: queues, and the sequences that take turns.
#[derive(Debug)]
pub(crate) struct Scheduler {
    n_running_max: usize,
    prefill_chunk_tokens: usize,
    /// In order of turns: the caller who had one goes to the back.
    waiting: VecDeque<Line>,
    /// In order of turns: whoever had a piece of prompt processed goes to the back.
    running: VecDeque<Entry>,
}

impl Scheduler {
    /// A scheduler for at most `n_running_max` sequences at once (at least one), processing at most
    /// `prefill_chunk_tokens` prompt tokens (at least one) in a step.
    pub(crate) fn new(n_running_max: usize, prefill_chunk_tokens: usize) -> Self {
        Self {
            n_running_max: n_running_max.max(1),
            prefill_chunk_tokens: prefill_chunk_tokens.max(1),
            waiting: VecDeque::new(),
            running: VecDeque::new(),
        }
    }

    /// Appends a sequence to its partition's queue.
    pub(crate) fn submit(&mut self, id: SequenceId, owner: Owner, n_prompt: usize) {
        let entry = Entry {
            id,
            n_prompt,
            n_planned: 0,
            is_held: false,
        };
        match self.waiting.iter_mut().find(|line| line.caller == owner.caller) {
            Some(line) => line.push(owner.partition, entry),
            None => {
                let mut line = Line {
                    caller: owner.caller,
                    queues: VecDeque::new(),
                };
                line.push(owner.partition, entry);
                self.waiting.push_back(line);
            }
        }
    }

    /// Takes a sequence out, wherever it is: it ended, failed or was cancelled.
    pub(crate) fn remove(&mut self, id: SequenceId) {
        for line in &mut self.waiting {
            line.remove(id);
        }
        self.waiting.retain(|line| !line.queues.is_empty());
        self.running.retain(|entry| entry.id != id);
    }

    /// Sequences that wait for their next token.
    pub(crate) fn n_decoding(&self) -> usize {
        self.running.iter().filter(|entry| entry.is_prefilled()).count()
    }

    /// Sequences that take turns.
    #[cfg(test)]
    pub(crate) fn n_running(&self) -> usize {
        self.running.len()
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Lets sequences run while there is room, one caller after another, and names them.
    pub(crate) fn admit(&mut self) -> Vec<SequenceId> {
        let mut admitted = Vec::new();
        while self.running.len() < self.n_running_max {
            let Some(mut line) = self.waiting.pop_front() else {
                break;
            };
            if let Some(entry) = line.pop() {
                admitted.push(entry.id);
                self.running.push_back(entry);
            }
            if !line.queues.is_empty() {
                self.waiting.push_back(line);
            }
        }
        admitted
    }

    /// The first `n_known` prompt tokens of a sequence that was just admitted need no processing. The last one
    /// always does.
    pub(crate) fn skip(&mut self, id: SequenceId, n_known: usize) {
        if let Some(entry) = self.running.iter_mut().find(|entry| entry.id == id) {
            entry.n_planned = n_known.min(entry.n_prompt.saturating_sub(1));
        }
    }

    /// Leaves a sequence that was just admitted out of all plans until it is released: it keeps its place.
    pub(crate) fn hold(&mut self, id: SequenceId) {
        self.set_held(id, true);
    }

    /// Ends [`Self::hold`].
    pub(crate) fn release(&mut self, id: SequenceId) {
        self.set_held(id, false);
    }

    fn set_held(&mut self, id: SequenceId, is_held: bool) {
        if let Some(entry) = self.running.iter_mut().find(|entry| entry.id == id) {
            entry.is_held = is_held;
        }
    }

    /// Whether there are sequences and all of them are held, so that the next plan would be empty.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.running.is_empty() && self.running.iter().all(|entry| entry.is_held)
    }

    /// Plans the next step of those admitted, with at most `n_prompt_max` prompt tokens (at least one); empty only when
    /// there are none, or all are held.
    pub(crate) fn step(&mut self, n_prompt_max: usize) -> Plan {
        let is_decoding = |entry: &&Entry| entry.is_prefilled();
        let decode = self.running.iter().filter(is_decoding).map(|e| e.id).collect();
        Plan {
            decode,
            prefill: self.plan_prefill(n_prompt_max.max(1)),
        }
    }

    fn plan_prefill(&mut self, n_max: usize) -> Vec<Prefill> {
        let mut budget = self.prefill_chunk_tokens.min(n_max);
        let mut planned = Vec::new();
        for _ in 0..self.running.len() {
            let Some(mut entry) = self.running.pop_front() else {
                break;
            };
            if entry.is_prefilled() || entry.is_held || budget == 0 {
                self.running.push_back(entry);
                continue;
            }
            let n = budget.min(entry.n_prompt - entry.n_planned);
            let tokens = entry.n_planned..entry.n_planned + n;
            entry.n_planned += n;
            budget -= n;
            planned.push((entry, tokens));
        }
        // The rotation above kept the order; those that had their turn now stand behind the others.
        let mut pieces = Vec::with_capacity(planned.len());
        for (entry, tokens) in planned {
            self.running.push_back(entry);
            pieces.push(Prefill {
                id: entry.id,
                tokens,
                is_last: entry.is_prefilled(),
            });
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(id: SequenceId, tokens: Range<usize>, is_last: bool) -> Prefill {
        Prefill { id, tokens, is_last }
    }

    /// Requests of a caller that tells nobody apart.
    fn of(caller: u128) -> Owner {
        Owner { caller, partition: 0 }
    }

    /// Admits and plans, as the worker does when nothing is known of any prompt.
    fn step(scheduler: &mut Scheduler) -> Plan {
        scheduler.admit();
        scheduler.step(usize::MAX)
    }

    #[test]
    fn prompts_are_processed_in_chunks_by_turns() {
        let mut scheduler = Scheduler::new(2, 8);
        scheduler.submit(1, of(0), 20);
        scheduler.submit(2, of(0), 10);
        scheduler.submit(3, of(0), 1);
        let prefills: Vec<Vec<Prefill>> = (0..4).map(|_| step(&mut scheduler).prefill).collect();
        assert_eq!(prefills[0], [piece(1, 0..8, false)]);
        assert_eq!(prefills[1], [piece(2, 0..8, false)]);
        assert_eq!(prefills[2], [piece(1, 8..16, false)]);
        assert_eq!(prefills[3], [piece(2, 8..10, true), piece(1, 16..20, true)]);
        assert_eq!(step(&mut scheduler).decode, [2, 1]);
        scheduler.remove(2);
        assert_eq!(step(&mut scheduler).prefill, [piece(3, 0..1, true)]);
        assert_eq!(step(&mut scheduler).decode.len(), 2);
    }

    #[test]
    fn who_is_held_keeps_his_place_and_holds_up_nobody() {
        let mut scheduler = Scheduler::new(2, 8);
        scheduler.submit(1, of(0), 20);
        scheduler.submit(2, of(0), 10);
        scheduler.submit(3, of(0), 1);
        assert!(!scheduler.is_blocked());
        assert_eq!(scheduler.admit(), [1, 2]);
        scheduler.hold(1);
        assert!(!scheduler.is_blocked());
        assert_eq!(step(&mut scheduler).prefill, [piece(2, 0..8, false)]);
        scheduler.hold(2);
        assert!(scheduler.is_blocked());
        assert_eq!(step(&mut scheduler), Plan::default());
        scheduler.skip(1, 16);
        scheduler.release(1);
        assert!(!scheduler.is_blocked());
        assert_eq!(step(&mut scheduler).prefill, [piece(1, 16..20, true)]);
        scheduler.remove(2);
        assert_eq!(step(&mut scheduler).prefill, [piece(3, 0..1, true)]);
    }

    #[test]
    fn short_prompts_share_a_chunk() {
        let mut scheduler = Scheduler::new(4, 16);
        scheduler.submit(1, of(0), 3);
        scheduler.submit(2, of(0), 4);
        let plan = step(&mut scheduler);
        assert_eq!(plan.prefill, [piece(1, 0..3, true), piece(2, 0..4, true)]);
        assert!(plan.decode.is_empty());
    }

    #[test]
    fn decoding_goes_on_while_a_long_prompt_is_processed() {
        let mut scheduler = Scheduler::new(2, 4);
        scheduler.submit(1, of(0), 1);
        step(&mut scheduler);
        scheduler.submit(2, of(0), 100);
        for _ in 0..25 {
            let plan = step(&mut scheduler);
            assert_eq!(plan.decode, [1]);
            assert_eq!(plan.prefill.len(), 1);
        }
        assert_eq!(step(&mut scheduler).decode, [1, 2]);
    }

    #[test]
    fn a_cancelled_sequence_is_in_no_plan() {
        let mut scheduler = Scheduler::new(1, 4);
        scheduler.submit(1, of(0), 8);
        scheduler.submit(2, of(0), 8);
        step(&mut scheduler);
        scheduler.remove(1);
        assert_eq!(step(&mut scheduler).prefill, [piece(2, 0..4, false)]);
        scheduler.remove(2);
        assert!(scheduler.is_idle());
        assert_eq!(step(&mut scheduler), Plan::default());
    }

    #[test]
    fn callers_take_turns_however_many_requests_one_sends() {
        let mut scheduler = Scheduler::new(1, 8);
        for id in 0..5 {
            scheduler.submit(id, of(7), 1);
        }
        scheduler.submit(5, of(8), 1);
        scheduler.submit(6, of(9), 1);
        scheduler.submit(7, of(8), 1);
        let mut order = Vec::new();
        while let [id] = scheduler.admit()[..] {
            order.push(id);
            scheduler.remove(id);
        }
        assert_eq!(order, [0, 5, 6, 1, 7, 2, 3, 4]);
    }

    #[test]
    fn a_caller_gains_no_turn_by_many_partitions_which_share_its_own() {
        let mut scheduler = Scheduler::new(1, 8);
        // Every request of the first caller has a partition of its own, but for the first two.
        for (id, partition) in [(0, 10), (1, 10), (2, 11), (3, 12), (4, 13)] {
            let owner = Owner { caller: 7, partition };
            scheduler.submit(id, owner, 1);
        }
        for id in [5, 6] {
            // Another caller's partition of the same key is another queue.
            let owner = Owner {
                caller: 8,
                partition: 10,
            };
            scheduler.submit(id, owner, 1);
        }
        scheduler.remove(4);
        let mut order = Vec::new();
        while let [id] = scheduler.admit()[..] {
            order.push(id);
            scheduler.remove(id);
        }
        assert_eq!(order, [0, 5, 2, 6, 3, 1]);
    }

    #[test]
    fn what_is_known_of_a_prompt_is_not_planned_but_its_last_token_is() {
        let mut scheduler = Scheduler::new(2, 8);
        scheduler.submit(1, of(0), 20);
        scheduler.submit(2, of(0), 4);
        assert_eq!(scheduler.admit(), [1, 2]);
        scheduler.skip(1, 16);
        scheduler.skip(2, 4);
        scheduler.skip(3, 1);
        assert_eq!(
            scheduler.step(usize::MAX).prefill,
            [piece(1, 16..20, true), piece(2, 3..4, true)]
        );
    }

    #[derive(Debug, Clone)]
    enum Act {
        Submit(usize, Owner),
        Remove(u64),
        Step,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (1usize..30, 0u128..3, 0u128..2)
                .prop_map(|(n, caller, partition)| Act::Submit(n, Owner { caller, partition })),
            (0u64..20).prop_map(Act::Remove),
            Just(Act::Step),
            Just(Act::Step),
        ]
    }

    /// Whether a sequence's prompt was processed before this plan.
    fn admitted_and_ready(scheduler: &Scheduler, i: usize, plan: &Plan) -> bool {
        let is_in_plan = plan.prefill.iter().any(|piece| piece.id == i as u64);
        let mut running = scheduler.running.iter().filter(|entry| entry.id == i as u64);
        running.any(|entry| entry.is_prefilled() && !is_in_plan)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn the_wait_of_a_caller_does_not_depend_on_the_length_of_the_others_queues(
            crowd in 1usize..60, n_callers in 1u64..6, own in 1usize..4,
        ) {
            // One place, requests of one token: each turn of the others costs one admission.
            let mut scheduler = Scheduler::new(1, 8);
            for i in 0..crowd as u64 {
                scheduler.submit(i, of(u128::from(i % n_callers)), 1);
            }
            let first = crowd as u64;
            for i in 0..own as u64 {
                scheduler.submit(first + i, of(100), 1);
            }
            let mut place_of_last = 0;
            for place in 1.. {
                let [id] = scheduler.admit()[..] else { break };
                scheduler.remove(id);
                if id == first + own as u64 - 1 {
                    place_of_last = place;
                }
            }
            prop_assert!(place_of_last <= own * (n_callers as usize + 1));
        }

        #[test]
        fn limits_hold_prompts_come_whole_and_nobody_starves(
            acts in prop::collection::vec(act(), 1..120),
            n_running in 1usize..5,
            chunk in 1usize..12,
        ) {
            let mut scheduler = Scheduler::new(n_running, chunk);
            let mut prompts: Vec<usize> = Vec::new();
            let mut seen: Vec<usize> = Vec::new();
            let mut gone: Vec<bool> = Vec::new();
            let tail = std::iter::repeat_n(Act::Step, 40);
            for act in acts.into_iter().chain(tail) {
                match act {
                    Act::Submit(n, owner) => {
                        scheduler.submit(prompts.len() as u64, owner, n);
                        prompts.push(n);
                        seen.push(0);
                        gone.push(false);
                    }
                    Act::Remove(id) => {
                        scheduler.remove(id);
                        if let Some(gone) = gone.get_mut(id as usize) {
                            *gone = true;
                        }
                    }
                    Act::Step => {
                        for id in scheduler.admit() {
                            // A third of each prompt is known already.
                            seen[id as usize] = prompts[id as usize] / 3;
                            scheduler.skip(id, seen[id as usize]);
                        }
                        let plan = scheduler.step(usize::MAX);
                        prop_assert!(scheduler.n_running() <= n_running);
                        // Whoever could go on does: nobody is stalled by another's prompt.
                        let ready = (0..prompts.len()).filter(|&i| admitted_and_ready(&scheduler, i, &plan));
                        prop_assert_eq!(ready.count(), plan.decode.len());
                        prop_assert!(plan.prefill.iter().map(|p| p.tokens.len()).sum::<usize>() <= chunk);
                        prop_assert_eq!(plan.decode.is_empty() && plan.prefill.is_empty(), scheduler.is_idle());
                        for id in &plan.decode {
                            prop_assert!(!gone[*id as usize] && seen[*id as usize] == prompts[*id as usize]);
                        }
                        for p in &plan.prefill {
                            let i = p.id as usize;
                            prop_assert!(!gone[i]);
                            prop_assert_eq!(p.tokens.start, seen[i]);
                            seen[i] = p.tokens.end;
                            prop_assert_eq!(p.is_last, seen[i] == prompts[i]);
                        }
                    }
                }
            }
            // With everybody running, forty steps are enough for each prompt of at most 29 tokens per turn.
            let mut rest: Vec<u64> = (0..prompts.len() as u64).filter(|&id| !gone[id as usize]).collect();
            for _ in 0..prompts.len() * 40 + 40 {
                let plan = step(&mut scheduler);
                for id in plan.decode {
                    scheduler.remove(id);
                    rest.retain(|&other| other != id);
                }
            }
            prop_assert!(rest.is_empty(), "still waiting: {:?}", rest);
        }
    }
}
