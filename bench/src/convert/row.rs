//! What was found of one converted file, and how far it may be from what is right.

use serde::Serialize;

use crate::agree::TIE;
use crate::logits::{divergence, first, relative_error};

/// How far llama.cpp may be from a reference.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Least share of positions, ties aside, with the reference's most likely token.
    top1: f64,
    /// Largest mean divergence in nats.
    kl: f64,
    /// Largest relative error of a position's logits, by the median: a router that turns around spoils few.
    error: f64,
}

impl Bounds {
    /// The same weights in f32; llama.cpp keeps keys and values in f16.
    pub(crate) const EXACT: Self = Self {
        top1: 1.0,
        kl: 2e-5,
        error: 5e-3,
    };

    /// The same quantised weights: llama.cpp rounds activations to 8 bits.
    pub(crate) fn rounded(is_sparse: bool) -> Self {
        Self {
            top1: 0.9,
            // A router that turns around costs a whole position.
            kl: if is_sparse { 0.02 } else { 0.01 },
            error: 0.06,
        }
    }
}

/// Rows of logits that are right.
pub(crate) struct Reference<'a> {
    pub(crate) name: &'static str,
    pub(crate) logits: &'a [f32],
    pub(crate) bounds: Bounds,
}

/// llama.cpp's logits beside the reference's.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Figures {
    tokens: usize,
    reference: &'static str,
    top1: f64,
    kl: f64,
    error: f64,
}

/// One file.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) file: String,
    /// Tensors by type.
    pub(crate) types: String,
    /// None where llama.cpp gave no logits.
    pub(crate) figures: Option<Figures>,
    /// Median relative error of llama.cpp's logits against our f32 arithmetic on the folder: what the type costs.
    pub(crate) error_to_folder: Option<f64>,
    /// Why figures beyond the bounds are right.
    pub(crate) excuse: Option<&'static str>,
    /// What is wrong, in words; empty if nothing is.
    pub(crate) faults: Vec<String>,
}

impl Row {
    /// A file that got nowhere.
    pub(crate) fn stopped(file: &str, why: String) -> Self {
        Self {
            file: file.to_owned(),
            types: String::new(),
            figures: None,
            error_to_folder: None,
            excuse: None,
            faults: vec![why],
        }
    }

    /// A file with llama.cpp's logits after `n_tokens` tokens.
    pub(crate) fn judged(
        file: &str,
        types: String,
        n_tokens: usize,
        theirs: &[f32],
        reference: &Reference<'_>,
    ) -> Self {
        let (found, expected) = (theirs.len(), reference.logits.len());
        if found != expected {
            return Self::stopped(
                file,
                format!("llama.cpp gave {found} logits instead of {expected}"),
            );
        }
        let figures = Figures::of(n_tokens, theirs, reference);
        let Bounds { top1, kl, error } = reference.bounds;
        // What is no number is not within, whichever way it is compared.
        let is_within = figures.top1 >= top1 && figures.kl <= kl && figures.error <= error;
        let fault = format!(
            "beyond the bounds: top-1 {top1}, KL {kl:.0e}, error {} %",
            error * 100.0
        );
        Self {
            file: file.to_owned(),
            types,
            figures: Some(figures),
            error_to_folder: None,
            excuse: None,
            faults: if is_within { Vec::new() } else { vec![fault] },
        }
    }

    /// A file of which the converter says that llama.cpp refuses it or computes otherwise: so it must be.
    pub(crate) fn excused(mut self) -> Self {
        if self.faults.is_empty() {
            self.faults
                .push("the converter says that llama.cpp does not read this, but it does".to_owned());
            return self;
        }
        self.faults.clear();
        self.excuse = Some(match self.figures {
            Some(_) => "computes otherwise, as the converter says",
            None => "refused, as the converter says",
        });
        self
    }
}

impl Figures {
    fn of(n_tokens: usize, theirs: &[f32], reference: &Reference<'_>) -> Self {
        let width = (theirs.len() / n_tokens.max(1)).max(1);
        let (mut same, mut decided, mut kl) = (0.0, 0.0, 0.0);
        for (exact, theirs) in reference
            .logits
            .chunks_exact(width)
            .zip(theirs.chunks_exact(width))
        {
            kl += divergence(exact, theirs) / n_tokens as f64;
            let (best, lead) = first(exact);
            if lead >= TIE {
                decided += 1.0;
                same += f64::from(u8::from(first(theirs).0 == best));
            }
        }
        Self {
            tokens: n_tokens,
            reference: reference.name,
            top1: same / decided,
            kl,
            error: median_error(reference.logits, theirs, n_tokens),
        }
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:28} {:24}", self.file, self.types)?;
        if let Some(figures) = &self.figures {
            let Figures {
                tokens,
                reference,
                top1,
                kl,
                error,
            } = figures;
            write!(
                f,
                " {tokens} tokens, llama.cpp against {reference}: top-1 {top1:.3}, KL {kl:.1e}, error {:.2} %",
                error * 100.0
            )?;
        }
        if let Some(error) = self.error_to_folder {
            write!(f, "; against the folder {:.1} %", error * 100.0)?;
        }
        if let Some(excuse) = self.excuse {
            write!(f, "; {excuse}")?;
        }
        if !self.faults.is_empty() {
            write!(f, " FAILED: {}", self.faults.join("; "))?;
        }
        Ok(())
    }
}

/// The median over positions of the relative error of their logits.
pub(crate) fn median_error(exact: &[f32], other: &[f32], n_tokens: usize) -> f64 {
    let width = (exact.len() / n_tokens.max(1)).max(1);
    let rows = exact.chunks_exact(width).zip(other.chunks_exact(width));
    let mut errors: Vec<f64> = rows.map(|(exact, other)| relative_error(exact, other)).collect();
    errors.sort_by(f64::total_cmp);
    errors.get(errors.len() / 2).copied().unwrap_or(f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(theirs: &[f32]) -> Row {
        let reference = Reference {
            name: "a test",
            logits: &[1.0, 2.0, 3.0, 3.0, 1.0, 0.0],
            bounds: Bounds::EXACT,
        };
        Row::judged("a.f32", String::new(), 2, theirs, &reference)
    }

    #[test]
    fn what_is_beyond_a_bound_or_no_number_is_a_fault() {
        assert!(row(&[1.0, 2.0, 3.0, 3.0, 1.0, 0.0]).faults.is_empty());
        assert_eq!(row(&[1.0, 3.0, 2.0, 3.0, 1.0, 0.0]).faults.len(), 1);
        assert_eq!(row(&[1.1, 2.2, 3.3, 3.3, 1.1, 0.0]).faults.len(), 1);
        assert_eq!(row(&[f32::NAN; 6]).faults.len(), 1);
        assert_eq!(row(&[1.0, 2.0, 3.0]).faults.len(), 1);
    }

    #[test]
    fn an_excuse_needs_something_to_excuse() {
        let good = row(&[1.0, 2.0, 3.0, 3.0, 1.0, 0.0]).excused();
        assert_eq!(good.faults.len(), 1, "what was said is wrong");
        assert!(row(&[3.0, 2.0, 1.0, 3.0, 1.0, 0.0]).excused().faults.is_empty());
        let refused = Row::stopped("a.f32", "llama.cpp refuses a.f32".into()).excused();
        assert_eq!(refused.excuse, Some("refused, as the converter says"));
    }
}
