//! Who runs next: a pure state machine over ids and token counts.
//!
//! Does no work itself, reads no clock and draws no randomness: the same calls give the same plans. Every
//! running sequence whose prompt is processed takes part in each step with one token; beside them, prompts are
//! processed in turns within a budget of tokens, so that a long prompt delays the others by one chunk at most.

use std::collections::VecDeque;
use std::ops::Range;

/// Names a sequence; never used twice.
pub(crate) type SequenceId = u64;

/// A sequence as the scheduler sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    id: SequenceId,
    n_prompt: usize,
    /// Prompt tokens already planned.
    n_planned: usize,
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

/// The state: a queue and the sequences that take turns.
#[derive(Debug)]
pub(crate) struct Scheduler {
    n_running_max: usize,
    prefill_chunk_tokens: usize,
    waiting: VecDeque<Entry>,
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

    /// Appends a sequence to the queue.
    pub(crate) fn submit(&mut self, id: SequenceId, n_prompt: usize) {
        self.waiting.push_back(Entry {
            id,
            n_prompt,
            n_planned: 0,
        });
    }

    /// Takes a sequence out, wherever it is: it ended, failed or was cancelled.
    pub(crate) fn remove(&mut self, id: SequenceId) {
        self.waiting.retain(|entry| entry.id != id);
        self.running.retain(|entry| entry.id != id);
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

    /// Plans the next step; empty only when idle.
    pub(crate) fn step(&mut self) -> Plan {
        while self.running.len() < self.n_running_max {
            let Some(entry) = self.waiting.pop_front() else {
                break;
            };
            self.running.push_back(entry);
        }
        let is_decoding = |entry: &&Entry| entry.is_prefilled();
        let decode = self.running.iter().filter(is_decoding).map(|e| e.id).collect();
        Plan {
            decode,
            prefill: self.plan_prefill(),
        }
    }

    fn plan_prefill(&mut self) -> Vec<Prefill> {
        let mut budget = self.prefill_chunk_tokens;
        let mut planned = Vec::new();
        for _ in 0..self.running.len() {
            let Some(mut entry) = self.running.pop_front() else {
                break;
            };
            if entry.is_prefilled() || budget == 0 {
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

    #[test]
    fn prompts_are_processed_in_chunks_by_turns() {
        let mut scheduler = Scheduler::new(2, 8);
        scheduler.submit(1, 20);
        scheduler.submit(2, 10);
        scheduler.submit(3, 1);
        let prefills: Vec<Vec<Prefill>> = (0..4).map(|_| scheduler.step().prefill).collect();
        assert_eq!(prefills[0], [piece(1, 0..8, false)]);
        assert_eq!(prefills[1], [piece(2, 0..8, false)]);
        assert_eq!(prefills[2], [piece(1, 8..16, false)]);
        assert_eq!(prefills[3], [piece(2, 8..10, true), piece(1, 16..20, true)]);
        assert_eq!(scheduler.step().decode, [2, 1]);
        scheduler.remove(2);
        assert_eq!(scheduler.step().prefill, [piece(3, 0..1, true)]);
        assert_eq!(scheduler.step().decode.len(), 2);
    }

    #[test]
    fn short_prompts_share_a_chunk() {
        let mut scheduler = Scheduler::new(4, 16);
        scheduler.submit(1, 3);
        scheduler.submit(2, 4);
        let plan = scheduler.step();
        assert_eq!(plan.prefill, [piece(1, 0..3, true), piece(2, 0..4, true)]);
        assert!(plan.decode.is_empty());
    }

    #[test]
    fn decoding_goes_on_while_a_long_prompt_is_processed() {
        let mut scheduler = Scheduler::new(2, 4);
        scheduler.submit(1, 1);
        scheduler.step();
        scheduler.submit(2, 100);
        for _ in 0..25 {
            let plan = scheduler.step();
            assert_eq!(plan.decode, [1]);
            assert_eq!(plan.prefill.len(), 1);
        }
        assert_eq!(scheduler.step().decode, [1, 2]);
    }

    #[test]
    fn a_cancelled_sequence_is_in_no_plan() {
        let mut scheduler = Scheduler::new(1, 4);
        scheduler.submit(1, 8);
        scheduler.submit(2, 8);
        scheduler.step();
        scheduler.remove(1);
        assert_eq!(scheduler.step().prefill, [piece(2, 0..4, false)]);
        scheduler.remove(2);
        assert!(scheduler.is_idle());
        assert_eq!(scheduler.step(), Plan::default());
    }

    #[derive(Debug, Clone)]
    enum Act {
        Submit(usize),
        Remove(u64),
        Step,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (1usize..30).prop_map(Act::Submit),
            (0u64..20).prop_map(Act::Remove),
            Just(Act::Step),
            Just(Act::Step),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

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
                    Act::Submit(n) => {
                        scheduler.submit(prompts.len() as u64, n);
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
                        let plan = scheduler.step();
                        prop_assert!(scheduler.n_running() <= n_running);
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
                let plan = scheduler.step();
                for id in plan.decode {
                    scheduler.remove(id);
                    rest.retain(|&other| other != id);
                }
            }
            prop_assert!(rest.is_empty(), "still waiting: {:?}", rest);
        }
    }
}
