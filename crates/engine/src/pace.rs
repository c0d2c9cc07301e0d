//! How much of a prompt a step takes along while other sequences wait for their next token.
//!
//! A step with a piece of a prompt takes longer than one without, on a mixture of experts even for a few tokens:
//! they touch more experts. [`Pace`] keeps account of both kinds and fits the piece, so that those who wait notice
//! little. Where nobody waits, pieces are as large as the configuration allows. It reads no clock: times are told
//! to it.

/// How many times as long as a step without prompts a step with a piece of one may take.
const STRETCH: f64 = 2.5;
/// The piece before anything is known.
const FIRST: f64 = 16.0;
/// The smallest piece: a prompt must come to its end.
const LEAST: f64 = 2.0;
/// The most that one measurement changes the piece.
const CHANGE: (f64, f64) = (0.5, 1.25);
/// Weight of one measurement of a step without prompts.
const WEIGHT: f64 = 0.2;
/// Numbers of sequences that are told apart.
const N_MAX: usize = 32;

/// The account.
#[derive(Debug)]
pub(crate) struct Pace {
    most: f64,
    piece: f64,
    /// Seconds of a step without prompts, by the number of sequences in it, less one.
    plain_s: [Option<f64>; N_MAX],
}

impl Pace {
    /// Pieces of at most `most` tokens.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most: (most as f64).max(1.0),
            piece: FIRST,
            plain_s: [None; N_MAX],
        }
    }

    /// Prompt tokens that a step may take along beside `n_waiting` sequences' next tokens.
    pub(crate) fn piece(&self, n_waiting: usize) -> usize {
        let piece = if n_waiting == 0 {
            self.most
        } else {
            self.piece.min(self.most)
        };
        piece as usize
    }

    /// A step with `n_waiting` sequences' next tokens and `n_prompt` tokens of prompts took `s` seconds.
    pub(crate) fn measured(&mut self, n_waiting: usize, n_prompt: usize, s: f64) {
        let Some(place) = n_waiting.min(N_MAX).checked_sub(1) else {
            return;
        };
        if n_prompt == 0 {
            let known = self.plain_s[place].get_or_insert(s);
            *known += (s - *known) * WEIGHT;
            return;
        }
        let Some(plain_s) = self.plain(place) else {
            return;
        };
        let change = (STRETCH * plain_s / s.max(1e-9)).clamp(CHANGE.0, CHANGE.1);
        // The end of a prompt, smaller than what was allowed, says nothing against larger pieces and much for smaller
        // ones.
        let of = if change < 1.0 {
            (n_prompt as f64).min(self.piece)
        } else {
            self.piece
        };
        if change < 1.0 || n_prompt >= self.piece as usize {
            self.piece = (of * change).clamp(LEAST, self.most.max(LEAST));
        }
    }

    /// Seconds of a step without prompts: of as many sequences, or of the nearest number known.
    fn plain(&self, place: usize) -> Option<f64> {
        let known = (0..N_MAX).filter_map(|at| self.plain_s[at].map(|s| (at.abs_diff(place), s)));
        known.min_by_key(|(distance, _)| *distance).map(|(_, s)| s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step of a mixture of experts: some fixed time, and what takes longer of computing with each token and reading
    /// each expert that is touched.
    fn step_s(n_tokens: usize) -> f64 {
        let touched = 1.0 - (7.0_f64 / 8.0).powi(n_tokens as i32);
        0.012 + (0.0125 * n_tokens as f64).max(0.19 * touched)
    }

    fn run(pace: &mut Pace, n_waiting: usize, n_steps: usize) -> f64 {
        let mut worst = 0.0_f64;
        for step in 0..n_steps {
            let piece = pace.piece(n_waiting);
            let s = step_s(n_waiting + piece);
            pace.measured(n_waiting, piece, s);
            if step >= 10 {
                worst = worst.max(s);
            }
        }
        worst
    }

    #[test]
    fn those_who_wait_notice_little_and_prompts_come_to_their_end() {
        for n_waiting in [1, 2, 4, 8] {
            let mut pace = Pace::new(128);
            pace.measured(n_waiting, 0, step_s(n_waiting));
            let worst = run(&mut pace, n_waiting, 200);
            let stretch = worst / step_s(n_waiting);
            assert!(stretch < 3.0, "{n_waiting}: {stretch}");
            assert!(pace.piece(n_waiting) >= 2, "{n_waiting}");
            // A machine that grows faster soon takes more.
            let before = pace.piece(n_waiting);
            for _ in 0..50 {
                pace.measured(n_waiting, pace.piece(n_waiting), step_s(n_waiting));
            }
            assert!(pace.piece(n_waiting) > before);
        }
    }

    #[test]
    fn nobody_waits_for_nothing() {
        let mut pace = Pace::new(128);
        assert_eq!(pace.piece(0), 128);
        pace.measured(1, 0, 1.0);
        for _ in 0..100 {
            pace.measured(1, pace.piece(1), 1e6);
        }
        assert_eq!((pace.piece(0), pace.piece(1)), (128, 2));
        assert_eq!(Pace::new(3).piece(7), 3);
        assert_eq!(Pace::new(0).piece(7), 1);
    }

    #[test]
    fn before_a_plain_step_is_known_pieces_are_small() {
        let mut pace = Pace::new(512);
        assert_eq!(run(&mut pace, 3, 20), step_s(3 + 16));
        assert_eq!(pace.piece(3), 16);
        // One of another number of sequences will do.
        pace.measured(1, 0, step_s(1));
        run(&mut pace, 3, 20);
        assert!(pace.piece(3) < 16);
    }

    #[test]
    fn the_end_of_a_prompt_does_not_shrink_pieces() {
        let mut pace = Pace::new(128);
        pace.measured(2, 0, 1.0);
        let before = pace.piece(2);
        pace.measured(2, 1, 1.1);
        assert_eq!(pace.piece(2), before);
    }
}
