//! How likely the model found a token: natural logarithms of its own probabilities.
//!
//! Of the raw distribution, that is before biases, penalties, masks and temperature, over the tokens that may be
//! chosen at all. Not the distribution that was drawn from.

/// A token and the logarithm of its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenLogprob {
    /// The token.
    pub id: u32,
    /// ln p; minus infinity where the probability is zero.
    pub logprob: f32,
}

/// What the model thought of one position.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprobs {
    /// The token that was chosen.
    pub chosen: TokenLogprob,
    /// The most likely tokens, the most likely first, the lower id first among equals.
    pub top: Vec<TokenLogprob>,
}

impl Logprobs {
    /// Reads one row of logits (V, padding left out). NaN counts as impossible.
    pub fn of(logits: &[f32], chosen: u32, n_top: usize) -> Self {
        let number = |logit: f32| if logit.is_nan() { f32::NEG_INFINITY } else { logit };
        let max = logits
            .iter()
            .fold(f32::NEG_INFINITY, |max, &l| max.max(number(l)));
        let logprob = |logit: f32, log_total: f64| {
            if max == f32::NEG_INFINITY {
                return f32::NEG_INFINITY;
            }
            // Rounded once, at the end; at most 0 up to rounding.
            (f64::from(number(logit)) - f64::from(max) - log_total) as f32
        };
        // An infinite logit shares the probability with its equals alone.
        let weight = |logit: f32| match number(logit) {
            l if l == max => 1.0,
            l => (f64::from(l) - f64::from(max)).exp(),
        };
        let log_total = logits.iter().map(|&l| weight(l)).sum::<f64>().ln();
        let of = |id: u32, logit: f32| TokenLogprob {
            id,
            logprob: if number(logit) == max && max == f32::INFINITY {
                (-log_total) as f32
            } else {
                logprob(logit, log_total).min(0.0)
            },
        };
        let chosen_logit = logits.get(chosen as usize).copied().unwrap_or(f32::NAN);
        Self {
            chosen: of(chosen, chosen_logit),
            top: top(logits, n_top).into_iter().map(|(id, l)| of(id, l)).collect(),
        }
    }
}

/// The `n` highest logits with their ids.
fn top(logits: &[f32], n: usize) -> Vec<(u32, f32)> {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(n + 1);
    for (id, &logit) in (0u32..).zip(logits) {
        let beaten = best.len() == n && best.last().is_none_or(|worst| logit <= worst.1);
        if logit.is_nan() || beaten {
            continue;
        }
        let place = best.partition_point(|other| other.1 >= logit);
        best.insert(place, (id, logit));
        best.truncate(n);
    }
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn infinite_and_missing_logits_have_their_limits() {
        let of = |logits: &[f32], chosen| Logprobs::of(logits, chosen, 2).chosen.logprob;
        assert_eq!(of(&[f32::INFINITY, 0.0], 0), 0.0);
        assert_eq!(of(&[f32::INFINITY, 0.0], 1), f32::NEG_INFINITY);
        assert_eq!(of(&[f32::NAN, 0.0], 0), f32::NEG_INFINITY);
        assert_eq!(of(&[f32::NEG_INFINITY; 3], 1), f32::NEG_INFINITY);
        assert_eq!(of(&[1.0], 7), f32::NEG_INFINITY);
        assert!(Logprobs::of(&[f32::NAN; 4], 0, 3).top.is_empty());
    }

    proptest! {
        #[test]
        fn probabilities_sum_to_one_and_the_top_is_sorted(
            logits in prop::collection::vec(-30.0f32..30.0, 1..60),
            n_top in 0usize..8,
        ) {
            let all = Logprobs::of(&logits, 0, logits.len());
            let total: f64 = all.top.iter().map(|t| f64::from(t.logprob).exp()).sum();
            prop_assert!((total - 1.0).abs() < 1e-4, "{}", total);
            prop_assert!(all.top.iter().all(|t| t.logprob <= 0.0));
            let some = Logprobs::of(&logits, 0, n_top);
            prop_assert_eq!(&some.top[..], &all.top[..n_top.min(logits.len())]);
            for pair in all.top.windows(2) {
                let (a, b) = (logits[pair[0].id as usize], logits[pair[1].id as usize]);
                prop_assert!(a > b || (a == b && pair[0].id < pair[1].id));
            }
            prop_assert!(all.top.contains(&all.chosen));
        }
    }
}
