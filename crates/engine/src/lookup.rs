//! Prompt lookup: guessing the next tokens from what the sequence has already read or written.
//!
//! Text that quotes its prompt or repeats itself goes on as it went on before (Saxena 2023). The guess is checked in
//! one step of the model and only what its own choice confirms is kept, so the output is the one without guesses;
//! only the number of steps changes. Guessing costs: tokens of a step beside the first make it slower, in a mixture
//! of experts by every expert that they alone need. So [`Gate`] keeps account of both sides, and guesses are made
//! only while they pay. It reads no clock: times are told to it.

/// Tokens at the end of a sequence that must have stood there before, at most. In six greedy answers of a small model
/// that quote, rewrite code, list and tell, comparing five changed no number of steps by more than 3 %.
const MATCH_MAX: usize = 3;
/// And at least. There, guesses after one token in common began wrong in 34 of 40 cases where nothing was quoted;
/// after two, they began right in 61 of 83 cases everywhere and saved nearly as many steps.
const MATCH_MIN: usize = 2;
/// The longest guess.
pub(crate) const DRAFT_MAX: usize = 8;
/// Tokens searched backwards.
const SEARCHED_MAX: usize = 16 << 10;

/// Appends to `draft` up to `n_max` tokens that followed the last time that the end of `history` stood in it.
/// A repetition that reaches the end goes round.
pub(crate) fn guess(history: &[u32], n_max: usize, draft: &mut Vec<u32>) {
    let Some(start) = continuation(history) else {
        return;
    };
    let first = draft.len();
    for i in 0..n_max {
        let place = start + i;
        let token = match place.checked_sub(history.len()) {
            None => history[place],
            Some(behind) => draft[first + behind],
        };
        draft.push(token);
    }
}

/// Where the longest match goes on, the latest among equals.
fn continuation(history: &[u32]) -> Option<usize> {
    let (&last, before) = history.split_last()?;
    let oldest = before.len().saturating_sub(SEARCHED_MAX);
    let mut best = (MATCH_MIN - 1, None);
    for (place, &token) in before.iter().enumerate().skip(oldest).rev() {
        if token != last {
            continue;
        }
        let (past, end) = (before[..place].iter().rev(), before.iter().rev());
        let n = 1 + past
            .zip(end)
            .take(MATCH_MAX - 1)
            .take_while(|(a, b)| a == b)
            .count();
        if n > best.0 {
            best = (n, Some(place + 1));
        }
        if n == MATCH_MAX {
            break;
        }
    }
    best.1
}

/// How often the tokens guessed for one sequence were right.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acceptance {
    /// Chance that a guess is right when all before it are.
    chance: f64,
}

impl Default for Acceptance {
    fn default() -> Self {
        // Hopeful: what was never tried is worth a try.
        Self { chance: 0.5 }
    }
}

impl Acceptance {
    /// Weight of one guess.
    const WEIGHT: f64 = 0.15;

    /// Notes that `n_right` of `n_drafted` were right; what comes after the first wrong one was never tried.
    pub(crate) fn note(&mut self, n_right: usize, n_drafted: usize) {
        for _ in 0..n_right {
            self.chance += Self::WEIGHT * (1.0 - self.chance);
        }
        if n_right < n_drafted {
            self.chance -= Self::WEIGHT * self.chance;
        }
    }

    /// Right guesses to expect of `n`.
    fn expected(self, n: usize) -> f64 {
        let mut chance = 1.0;
        (0..n)
            .map(|_| {
                chance *= self.chance;
                chance
            })
            .sum()
    }
}

/// A running average.
#[derive(Debug, Clone, Copy, Default)]
struct Average {
    value: f64,
    n: u32,
}

impl Average {
    /// Weight of one value when there are many.
    const WEIGHT: f64 = 0.2;
    /// How many times the average one value may count for: a machine that stood still says nothing of the step.
    const OUTLIER: f64 = 2.0;

    fn add(&mut self, value: f64) {
        self.n = self.n.saturating_add(1);
        let weight = Self::WEIGHT.max(1.0 / f64::from(self.n));
        let value = if self.n == 1 {
            value
        } else {
            value.min(Self::OUTLIER * self.value)
        };
        self.value += weight * (value - self.value);
    }
}

/// A sequence that has a guess.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer {
    /// Tokens guessed.
    pub(crate) n_drafted: usize,
    /// How its guesses have fared.
    pub(crate) acceptance: Acceptance,
}

/// Decides whether guesses pay, and how long they may be.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// Seconds of a step by its number of tokens.
    cost_s: Vec<Average>,
    /// Steps since one was measured without guesses.
    n_since_plain: u32,
    /// Steps with guesses at hand to let pass before the next trial of a length.
    n_to_wait: u32,
    /// How long the next wait will be.
    patience: u32,
    /// Which length is tried next while guesses pay.
    n_trials: usize,
    /// The best chance among the offers of the last trial that was made although nothing paid.
    tried_at: Option<f64>,
}

impl Gate {
    /// Lengths a guess may be cut to.
    const LENGTHS: [usize; 4] = [1, 2, 4, DRAFT_MAX];
    /// Plain steps to measure before the first guess.
    const PLAIN_MIN: u32 = 3;
    /// Steps after which a plain one is measured anew: the past grows, and with it every step.
    const PLAIN_EVERY: u32 = 64;
    /// A gain smaller than this is noise.
    const GAIN_MIN: f64 = 1.03;
    /// While guesses pay, every so many steps another length is tried.
    const TRIAL_EVERY: u32 = 64;
    /// The first wait after guesses did not pay, and the longest.
    const PATIENCE: (u32, u32) = (8, 256);
    /// Tokens of a step that are told apart.
    const TOKENS_MAX: usize = 512;

    /// Notes how long a step of `n_tokens` took; `with_guesses` if some of them were guessed.
    pub(crate) fn measured(&mut self, n_tokens: usize, with_guesses: bool, s: f64) {
        if n_tokens > Self::TOKENS_MAX || !s.is_finite() {
            return;
        }
        if self.cost_s.len() <= n_tokens {
            self.cost_s.resize(n_tokens + 1, Average::default());
        }
        self.cost_s[n_tokens].add(s.max(0.0));
        self.n_since_plain = if with_guesses {
            self.n_since_plain.saturating_add(1)
        } else {
            0
        };
    }

    /// The longest that guesses may be in a step of `n_sequences`, some of which make `offers`; 0 for none.
    pub(crate) fn length(&mut self, n_sequences: usize, offers: &[Offer]) -> usize {
        let plain = self.cost_s.get(n_sequences).copied().unwrap_or_default();
        let stale = self.n_since_plain >= Self::PLAIN_EVERY;
        if offers.is_empty() || plain.n < Self::PLAIN_MIN || stale {
            return 0;
        }
        let cut = |offer: &Offer, length: usize| offer.n_drafted.min(length);
        let n_tokens = |length| n_sequences + offers.iter().map(|o| cut(o, length)).sum::<usize>();
        let gain = |length: usize| {
            let right = |offer: &Offer| offer.acceptance.expected(cut(offer, length));
            let n = n_sequences as f64;
            let n_right: f64 = offers.iter().map(right).sum();
            (n + n_right) / n * plain.value / self.cost(n_tokens(length)).max(f64::MIN_POSITIVE)
        };
        let best = Self::LENGTHS.into_iter().map(|length| (gain(length), length));
        let best = best.max_by(|a, b| a.0.total_cmp(&b.0));
        let pays = best.filter(|(gain, _)| *gain >= Self::GAIN_MIN);
        let pays = pays.map(|(_, length)| {
            // What a step of so many tokens costs is not known yet: a shorter one tells at a lower price.
            let unknown = |length: &usize| n_tokens(*length) >= self.cost_s.len();
            let shortest = Self::LENGTHS.into_iter().find(unknown);
            shortest.map_or(length, |shortest| length.min(shortest))
        });
        let chance = offers.iter().map(|o| o.acceptance.chance).fold(0.0, f64::max);
        if pays.is_some() {
            (self.patience, self.tried_at) = (0, None);
        } else if self.tried_at.is_some_and(|tried| chance > tried) {
            // The trial was right, or there is another text: the next one need not wait.
            self.n_to_wait = 0;
        }
        if self.n_to_wait > 0 {
            self.n_to_wait -= 1;
            return pays.unwrap_or(0);
        }
        if pays.is_some() {
            // What lengths cost changes, and is known only by trying them.
            self.n_to_wait = Self::TRIAL_EVERY;
            let length = Self::LENGTHS[self.n_trials % Self::LENGTHS.len()];
            self.n_trials = self.n_trials.wrapping_add(1);
            return length;
        }
        // Where nothing pays, ever more seldom, and as short as can be: texts change, and whether guesses are right is known
        // only by making one.
        self.patience = (self.patience * 2).clamp(Self::PATIENCE.0, Self::PATIENCE.1);
        (self.n_to_wait, self.tried_at) = (self.patience, Some(chance));
        Self::LENGTHS[0]
    }

    /// Seconds that a step of `n_tokens` takes: measured, or between its measured neighbours, or as little as the
    /// next smaller one, so that every length is tried once.
    fn cost(&self, n_tokens: usize) -> f64 {
        let known = |(n, average): (usize, &Average)| (average.n > 0).then_some((n, average.value));
        let split = (n_tokens + 1).min(self.cost_s.len());
        let (below, above) = self.cost_s.split_at(split);
        let low = below.iter().enumerate().rev().find_map(known);
        let high = above.iter().enumerate().find_map(known);
        match (low, high) {
            (Some((n, s)), _) if n == n_tokens => s,
            (Some((n_low, low)), Some((n, high))) => {
                let n_high = split + n;
                low + (high - low) * (n_tokens - n_low) as f64 / (n_high - n_low) as f64
            }
            (Some((_, s)), None) | (None, Some((_, s))) => s,
            (None, None) => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drafted(history: &[u32], n_max: usize) -> Vec<u32> {
        let mut draft = vec![99];
        guess(history, n_max, &mut draft);
        draft.split_off(1)
    }

    #[test]
    fn the_longest_latest_match_goes_on() {
        assert_eq!(drafted(&[1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3], 2), [4, 9]);
        assert_eq!(drafted(&[7, 2, 3, 4, 8, 2, 3, 5, 1, 2, 3], 1), [5]);
        assert_eq!(drafted(&[1, 2, 3, 4], 4), Vec::<u32>::new());
        assert_eq!(
            drafted(&[5, 1, 6, 1], 4),
            Vec::<u32>::new(),
            "one token in common is no match"
        );
        assert_eq!(drafted(&[], 4), Vec::<u32>::new());
    }

    #[test]
    fn a_repetition_goes_round() {
        assert_eq!(drafted(&[0, 4, 5, 4, 5], 5), [4, 5, 4, 5, 4]);
        assert_eq!(drafted(&[8, 8, 8, 8], 3), [8, 8, 8]);
    }

    proptest! {
        #[test]
        fn a_guess_is_what_followed_a_true_match(history in prop::collection::vec(0u32..4, 0..40), n in 1usize..9) {
            let draft = drafted(&history, n);
            prop_assert!(draft.is_empty() || draft.len() == n);
            let pairs = history.windows(2).rev();
            let repeats = history.len() >= 2 && pairs.clone().skip(1).any(|pair| Some(pair) == pairs.clone().next());
            prop_assert_eq!(!draft.is_empty(), repeats);
            // Continued by its guess, the history repeats itself: the draft follows a match of two.
            if let Some(&token) = draft.first() {
                let end = &history[history.len() - 2..];
                prop_assert!(history.windows(3).any(|w| &w[..2] == end && w[2] == token));
            }
        }
    }

    const HOPEFUL: Acceptance = Acceptance { chance: 0.9 };

    /// A gate that has seen steps cost `1 + slope * (tokens - 1)`, and how it decides `n` times; every guess is
    /// measured.
    fn decisions(slope: f64, acceptance: Acceptance, n: usize) -> Vec<usize> {
        let cost = |n_tokens: usize| 1.0 + slope * (n_tokens - 1) as f64;
        let mut gate = Gate::default();
        (0..n)
            .map(|_| {
                let offer = Offer {
                    n_drafted: DRAFT_MAX,
                    acceptance,
                };
                let length = gate.length(1, &[offer]);
                gate.measured(1 + length, length > 0, cost(1 + length));
                length
            })
            .collect()
    }

    #[test]
    fn nothing_is_guessed_before_plain_steps_are_known() {
        let first: Vec<usize> = decisions(0.0, HOPEFUL, 8);
        assert_eq!(first[..3], [0, 0, 0]);
        assert!(first[3..].is_sorted() && first.ends_with(&[8]), "{first:?}");
    }

    #[test]
    fn cheap_guesses_are_long_dear_ones_short_and_hopeless_ones_rare() {
        let last = |slope, acceptance| *decisions(slope, acceptance, 60).last().unwrap();
        assert_eq!(last(0.02, HOPEFUL), 8);
        // At 0.7 a token, two more of it are worth 1.7 more tokens and cost 1.4 more.
        assert!((1..=4).contains(&last(0.7, HOPEFUL)));
        let hopeless = decisions(1.0, Acceptance { chance: 0.3 }, 2000);
        let n_tried = hopeless.iter().filter(|length| **length > 0).count();
        assert!((5..30).contains(&n_tried), "{n_tried}");
    }

    /// What `n` tokens take, in plain steps, where each guessed token makes a step longer by `slope` and the first
    /// `right` of every guess come true.
    fn steps_taken(slope: f64, right: usize, n: usize) -> f64 {
        let (mut gate, mut acceptance) = (Gate::default(), Acceptance::default());
        let (mut taken, mut tokens) = (0.0, 0);
        while tokens < n {
            let offer = Offer {
                n_drafted: DRAFT_MAX,
                acceptance,
            };
            let length = gate.length(1, &[offer]);
            let step = 1.0 + slope * length as f64;
            gate.measured(1 + length, length > 0, step);
            acceptance.note(right.min(length), length);
            taken += step;
            tokens += 1 + right.min(length);
        }
        taken
    }

    #[test]
    fn guesses_that_never_come_true_cost_little_from_the_first_token_on() {
        // From a dense model, where a token beside the first costs little, to experts of which each needs its own.
        for slope in [0.02, 0.1, 0.3, 0.6, 0.9] {
            for n in [64, 128, 512, 4096] {
                let taken = steps_taken(slope, 0, n);
                assert!(taken <= 1.03 * n as f64 + 2.0 * slope, "{slope}: {taken} for {n}");
            }
        }
    }

    #[test]
    fn guesses_that_come_true_pay_soon_even_where_they_are_dear() {
        for (slope, at_least) in [(0.02, 5.0), (0.3, 2.0), (0.6, 1.3)] {
            let gain = 256.0 / steps_taken(slope, DRAFT_MAX, 256);
            assert!(gain >= at_least, "{slope}: {gain}");
        }
    }

    #[test]
    fn a_gate_that_closed_opens_when_guesses_pay_again() {
        let mut gate = Gate::default();
        let mut step = |acceptance: Acceptance, slope: f64| {
            let offer = Offer {
                n_drafted: DRAFT_MAX,
                acceptance,
            };
            let length = gate.length(1, &[offer]);
            gate.measured(1 + length, length > 0, 1.0 + slope * length as f64);
            length
        };
        for _ in 0..300 {
            step(Acceptance { chance: 0.1 }, 1.0);
        }
        for _ in 0..6000 {
            step(HOPEFUL, 0.0);
        }
        let n_long = (0..100).filter(|_| step(HOPEFUL, 0.0) == DRAFT_MAX).count();
        assert!(n_long > 90, "{n_long}");
    }

    #[test]
    fn several_sequences_are_weighed_together() {
        let mut gate = Gate::default();
        for _ in 0..5 {
            gate.measured(4, false, 1.0);
        }
        let offer = |chance| Offer {
            n_drafted: 4,
            acceptance: Acceptance { chance },
        };
        for _ in 0..5 {
            gate.measured(8, true, 1.5);
        }
        // One of four with nearly four tokens more: 8/4 tokens in 1.5 times the time.
        assert!(gate.length(4, &[offer(0.99)]) > 0);
        let hopeless = (0..5).filter(|_| gate.length(4, &[offer(0.05)]) > 0).count();
        assert_eq!(hopeless, 0);
    }

    #[test]
    fn a_step_that_stood_still_does_not_close_the_gate() {
        let mut average = Average::default();
        (0..20).for_each(|_| average.add(1.0));
        average.add(1000.0);
        assert!(average.value < 1.3, "{}", average.value);
    }

    #[test]
    fn acceptance_follows_what_happened() {
        let mut acceptance = Acceptance::default();
        (0..30).for_each(|_| acceptance.note(0, 8));
        assert!(acceptance.expected(8) < 0.02);
        acceptance.note(8, 8);
        (0..5).for_each(|_| acceptance.note(8, 8));
        assert!(acceptance.expected(8) > 6.0);
    }
}
