//! Rotary position embedding (Su et al. 2021): tables of sines and cosines, and the rotation.

/// Which two values of a head form one rotated pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeStyle {
    /// Neighbours `2i` and `2i + 1`, as in the paper; GGUF files of the llama family are permuted for it.
    Interleaved,
    /// `i` and `i + dim / 2`, as in Hugging Face checkpoints.
    HalfRotate,
}

/// Cosines and sines for every position of a context.
#[derive(Debug, Clone)]
pub struct Rope {
    /// `[position][pair]`.
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl Rope {
    /// Table for rotations of `dim` values (even) with base `theta`, positions `0..n_positions`.
    pub fn new(dim: usize, theta: f32, n_positions: usize) -> Self {
        let frequency = |i: usize| f64::from(theta).powf(-(2.0 * i as f64) / dim as f64) as f32;
        Self::from_frequencies(&(0..dim / 2).map(frequency).collect::<Vec<_>>(), n_positions)
    }

    /// Table from the angle per position of each pair: for models that stretch some frequencies.
    ///
    /// The angle is an f32 product, as in the reference implementations; its cosine is then exact.
    pub fn from_frequencies(frequencies: &[f32], n_positions: usize) -> Self {
        let half = frequencies.len();
        let mut cos = Vec::with_capacity(half * n_positions);
        let mut sin = Vec::with_capacity(half * n_positions);
        for position in 0..n_positions {
            for frequency in frequencies {
                let (s, c) = f64::from(position as f32 * frequency).sin_cos();
                cos.push(c as f32);
                sin.push(s as f32);
            }
        }
        Self { cos, sin, half }
    }

    /// Positions in the table.
    pub fn n_positions(&self) -> usize {
        self.cos.len().checked_div(self.half).unwrap_or(usize::MAX)
    }

    /// Values of a head that are rotated.
    pub fn dim(&self) -> usize {
        2 * self.half
    }

    /// Rotates, in place, the first [`Rope::dim`] values of every head in `x` (`heads` × `head_dim`) as at
    /// `position`.
    ///
    /// # Panics
    /// If `position` is not in the table, or heads do not divide `x` or are narrower than the rotation.
    pub fn apply(&self, style: RopeStyle, x: &mut [f32], head_dim: usize, position: usize) {
        assert!(
            head_dim >= self.dim() && x.len().is_multiple_of(head_dim.max(1)),
            "heads of {head_dim}"
        );
        assert!(
            position < self.n_positions(),
            "position {position} of {}",
            self.n_positions()
        );
        let row = position * self.half..(position + 1) * self.half;
        let (cos, sin) = (&self.cos[row.clone()], &self.sin[row]);
        for head in x.chunks_exact_mut(head_dim.max(1)) {
            let head = &mut head[..2 * self.half];
            match style {
                RopeStyle::Interleaved => {
                    for ((pair, c), s) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
                        *pair = [pair[0] * c - pair[1] * s, pair[0] * s + pair[1] * c];
                    }
                }
                RopeStyle::HalfRotate => {
                    let (low, high) = head.split_at_mut(self.half);
                    for (((a, b), c), s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                        (*a, *b) = (*a * c - *b * s, *a * s + *b * c);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_zero_changes_nothing_and_lengths_are_kept() {
        let rope = Rope::new(8, 10_000.0, 16);
        let x: Vec<f32> = (0..24).map(|i| (i as f32).sin()).collect();
        for style in [RopeStyle::Interleaved, RopeStyle::HalfRotate] {
            let mut y = x.clone();
            rope.apply(style, &mut y, 12, 0);
            assert_eq!(x, y);
            rope.apply(style, &mut y, 12, 15);
            assert_eq!(x[8..12], y[8..12], "beyond the rotation");
            let norm = |v: &[f32]| v.iter().map(|a| a * a).sum::<f32>();
            assert!((norm(&x) - norm(&y)).abs() < 1e-5);
        }
    }

    #[test]
    fn the_styles_are_permutations_of_one_rotation() {
        let rope = Rope::new(4, 100.0, 8);
        let mut near = [1.0, 2.0, 3.0, 4.0];
        let mut far = [1.0, 3.0, 2.0, 4.0];
        rope.apply(RopeStyle::Interleaved, &mut near, 4, 5);
        rope.apply(RopeStyle::HalfRotate, &mut far, 4, 5);
        assert_eq!(near, [far[0], far[2], far[1], far[3]]);
        let angle = 5.0f32;
        assert!((near[0] - (angle.cos() - 2.0 * angle.sin())).abs() < 1e-6);
        assert!((far[1] - (3.0 * 0.5f32.cos() - 4.0 * 0.5f32.sin())).abs() < 1e-5);
    }

    #[test]
    fn products_depend_only_on_the_distance() {
        let rope = Rope::new(16, 10_000.0, 64);
        let at = |position| {
            let mut x: Vec<f32> = (0..16).map(|i| (i as f32 * 0.7).cos()).collect();
            rope.apply(RopeStyle::HalfRotate, &mut x, 16, position);
            x
        };
        let dot = |a: usize, b: usize| at(a).iter().zip(at(b)).map(|(x, y)| x * y).sum::<f32>();
        assert!((dot(3, 10) - dot(33, 40)).abs() < 1e-4);
    }
}
