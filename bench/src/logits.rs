//! Rows of logits, compared: how far one distribution is from another, and how sure that is.
//!
//! Only numbers: where the rows come from is the callers' business.

/// The best index and how far it is ahead of the second.
pub(crate) fn first(logits: &[f32]) -> (usize, f64) {
    let (mut best, mut second) = ((0, f32::NEG_INFINITY), f32::NEG_INFINITY);
    for (i, &logit) in logits.iter().enumerate() {
        if logit > best.1 {
            second = best.1;
            best = (i, logit);
        } else if logit > second {
            second = logit;
        }
    }
    (best.0, f64::from(best.1 - second))
}

/// How far an index is ahead of all others; negative if one of them is better.
pub(crate) fn lead(logits: &[f32], index: usize) -> f64 {
    let others = logits.iter().enumerate().filter(|(other, _)| *other != index);
    let best = others.map(|(_, logit)| *logit).fold(f32::NEG_INFINITY, f32::max);
    f64::from(logits[index] - best)
}

pub(crate) fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
    logits.iter().map(|l| f64::from(l - max) - total.ln()).collect()
}

/// KL(exact ‖ other) in nats.
pub(crate) fn divergence(exact: &[f32], other: &[f32]) -> f64 {
    let (p, q) = (log_softmax(exact), log_softmax(other));
    p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum()
}

/// Mean square distance from the mean.
pub(crate) fn variance(logits: &[f32]) -> f64 {
    let n = logits.len() as f64;
    let mean = logits.iter().map(|l| f64::from(*l)).sum::<f64>() / n;
    logits.iter().map(|l| (f64::from(*l) - mean).powi(2)).sum::<f64>() / n
}

/// How much of `exact` the difference is, by root mean squares.
pub(crate) fn relative_error(exact: &[f32], other: &[f32]) -> f64 {
    let square = |v: f64| v * v;
    let error: f64 = exact
        .iter()
        .zip(other)
        .map(|(a, b)| square(f64::from(a - b)))
        .sum();
    let all: f64 = exact.iter().map(|a| square(f64::from(*a))).sum();
    (error / all).sqrt()
}

/// A mean and its standard error, over positions taken as independent.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(crate) struct Mean {
    pub(crate) mean: f64,
    pub(crate) error: f64,
}

impl Mean {
    pub(crate) fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        Self {
            mean,
            error: (squares / (n - 1.0).max(1.0) / n).sqrt(),
        }
    }

    /// Whether it is above 0 by more than two standard errors.
    pub(crate) fn is_clearly_positive(self) -> bool {
        self.mean > 2.0 * self.error
    }
}

impl std::fmt::Display for Mean {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2e} ± {:.1e}", self.mean, self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lead_is_over_the_best_of_the_others() {
        assert_eq!(lead(&[1.0, 4.0, 2.5], 1), 1.5);
        assert_eq!(lead(&[1.0, 4.0, 2.5], 2), -1.5);
    }

    #[test]
    fn the_lead_is_over_the_second() {
        assert_eq!(first(&[1.0, 4.0, 3.5, -2.0]), (1, 0.5));
        assert_eq!(first(&[2.0, 2.0]), (0, 0.0));
    }

    #[test]
    fn a_distribution_is_at_no_distance_from_itself_whatever_is_added_to_all() {
        assert!(divergence(&[1.0, 2.0, 3.0], &[11.0, 12.0, 13.0]).abs() < 1e-12);
        // One of two moves from 1/2 to 1/4: ln 2 less half of ln 3.
        let known = 2.0_f64.ln() - 0.5 * 3.0_f64.ln();
        assert!((divergence(&[0.0, 0.0], &[0.0, 3.0_f32.ln()]) - known).abs() < 1e-6);
    }

    #[test]
    fn errors_are_relative_to_what_is_right() {
        assert!((relative_error(&[3.0, 4.0], &[3.0, 4.5]) - 0.1).abs() < 1e-9);
        assert!((variance(&[1.0, 3.0]) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_mean_is_clearly_positive_beyond_two_errors() {
        let mean = Mean::of(&[1.0, 2.0, 3.0]);
        assert!((mean.mean - 2.0).abs() < 1e-12 && (mean.error - (1.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!(mean.is_clearly_positive());
        assert!(!Mean::of(&[-1.0, 1.0, 0.5]).is_clearly_positive());
    }
}
