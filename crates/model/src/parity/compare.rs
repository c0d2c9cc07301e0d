//! Differences between two runs: values, routing decisions, greedy tokens.

use super::{Divergence, Row, TIE_MARGIN};

/// Largest absolute difference; infinite where one side is not a number or the lengths differ.
pub(super) fn max_abs(found: &[f32], expected: &[f32]) -> f32 {
    if found.len() != expected.len() {
        return f32::INFINITY;
    }
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |max, d| if d.is_nan() { f32::INFINITY } else { d.max(max) })
}

/// Root mean square of the difference over that of the expected values, for each row of `width` values; the median.
///
/// The median, because a routing decision that rightly flips within rounding changes its token altogether.
pub(super) fn rms_relative(found: &[f32], expected: &[f32], width: usize) -> f32 {
    let square = |v: f32| f64::from(v) * f64::from(v);
    let of_row = |(found, expected): (&[f32], &[f32])| {
        let difference: f64 = found.iter().zip(expected).map(|(a, b)| square(a - b)).sum();
        let size: f64 = expected.iter().map(|&b| square(b)).sum();
        // Written so that what is no number counts as infinitely far off.
        if size > 0.0 && difference.is_finite() {
            (difference / size).sqrt() as f32
        } else {
            f32::INFINITY
        }
    };
    let rows = found
        .chunks_exact(width.max(1))
        .zip(expected.chunks_exact(width.max(1)));
    let mut rows: Vec<f32> = rows.map(of_row).collect();
    rows.sort_unstable_by(f32::total_cmp);
    rows.get(rows.len() / 2).copied().unwrap_or(f32::INFINITY)
}

/// Routing decisions of one layer: rows of router logits, `k` experts each.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Routing {
    pub(super) n_mismatch: usize,
    pub(super) n_ties: usize,
}

/// Compares which experts are chosen. A decision differs within a tie if each expert that only one side chose lies
/// within [`TIE_MARGIN`] of the expected `k`-th logit.
pub(super) fn routing(found: &[f32], expected: &[f32], n_experts: usize, k: usize) -> Routing {
    let mut routing = Routing::default();
    for (found, expected) in found
        .chunks_exact(n_experts)
        .zip(expected.chunks_exact(n_experts))
    {
        let (ours, theirs) = (chosen(found, k), chosen(expected, k));
        if ours == theirs {
            continue;
        }
        let border = theirs.iter().map(|&e| expected[e]).fold(f32::INFINITY, f32::min);
        let odd = (0..n_experts).filter(|e| ours.contains(e) != theirs.contains(e));
        if odd
            .map(|e| (expected[e] - border).abs())
            .all(|margin| margin <= TIE_MARGIN)
        {
            routing.n_ties += 1;
        } else {
            routing.n_mismatch += 1;
        }
    }
    routing
}

/// Indices of the `k` largest, ascending.
fn chosen(logits: &[f32], k: usize) -> Vec<usize> {
    let mut best: Vec<usize> = compute::ops::top_k(logits, k)
        .into_iter()
        .map(|(e, _)| e)
        .collect();
    best.sort_unstable();
    best
}

/// Follows greedy tokens beside the reference's.
#[derive(Debug, Default)]
pub(super) struct Greedy {
    tie: Option<Divergence>,
    mismatch: Option<Divergence>,
}

impl Greedy {
    /// Compares one choice; `expected` is the reference's token.
    pub(super) fn step(&mut self, step: usize, logits: &[f32], expected: u32) {
        let own = crate::sampler::greedy(logits);
        if own == expected {
            return;
        }
        let at = |id: u32| logits.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY);
        let divergence = Divergence {
            step,
            margin: at(own) - at(expected),
        };
        let slot = if divergence.margin <= TIE_MARGIN {
            &mut self.tie
        } else {
            &mut self.mismatch
        };
        slot.get_or_insert(divergence);
    }

    /// Writes the verdict into a row.
    pub(super) fn finish(self, row: &mut Row) {
        row.greedy_match = Some(self.mismatch.is_none());
        row.first_divergence = self.mismatch.or(self.tie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_that_is_no_number_is_infinite() {
        assert_eq!(max_abs(&[1.0, 2.0], &[1.5, 2.0]), 0.5);
        assert_eq!(max_abs(&[f32::NAN], &[1.0]), f32::INFINITY);
        assert_eq!(max_abs(&[1.0], &[1.0, 2.0]), f32::INFINITY);
    }

    #[test]
    fn a_swap_within_the_margin_is_a_tie() {
        let expected = [3.0, 2.0, 1.999, 0.0];
        let near = [3.0, 1.999, 2.0, 0.0];
        let far = [3.0, 0.0, 1.0, 2.5];
        assert_eq!(
            routing(&near, &expected, 4, 2),
            Routing {
                n_mismatch: 0,
                n_ties: 1
            }
        );
        assert_eq!(
            routing(&far, &expected, 4, 2),
            Routing {
                n_mismatch: 1,
                n_ties: 0
            }
        );
        assert_eq!(routing(&expected, &expected, 4, 2), Routing::default());
    }

    #[test]
    fn greedy_reports_a_mismatch_before_a_tie() {
        let mut greedy = Greedy::default();
        greedy.step(0, &[1.0, 1.001], 0);
        greedy.step(1, &[1.0, 2.0], 0);
        let mut row = Row::new(std::path::Path::new("."), "llama", "f32", "fixture");
        greedy.finish(&mut row);
        assert_eq!(row.greedy_match, Some(false));
        assert_eq!(row.first_divergence, Some(Divergence { step: 1, margin: 1.0 }));
    }
}
