//! When an expert is likely to be needed next.
//!
//! The best expert to give up is the one needed last (Belády 1966). That is not known, but how often each was used
//! lately is, and layers come round in a fixed order.

/// Steps over which use is averaged: texts keep to their subject for about so long.
const MEMORY_STEPS: f32 = 32.0;
/// How likely it is that a guessed expert is needed.
const GUESS: f32 = 0.6;

/// How often each expert was used lately, and what is guessed of the next layer.
#[derive(Debug)]
pub(super) struct Forecast {
    n_experts: usize,
    n_layers: usize,
    /// Share of steps in which each was used, as of its last update.
    shares: Vec<f32>, // (L·E)
    /// The layer's step of that update.
    updated: Vec<u32>, // (L·E)
    /// The layer's step for which it is guessed to be needed.
    expected: Vec<u32>, // (L·E)
    /// Steps of each layer.
    steps: Vec<u32>, // (L)
    /// The layer that computes now.
    layer: usize,
}

impl Forecast {
    pub(super) fn new(n_layers: usize, n_experts: usize, n_experts_used: usize) -> Self {
        let n = n_layers * n_experts;
        Self {
            n_experts,
            n_layers,
            shares: vec![n_experts_used as f32 / n_experts.max(1) as f32; n],
            updated: vec![0; n],
            expected: vec![0; n],
            steps: vec![0; n_layers],
            layer: 0,
        }
    }

    /// A step of a layer uses `experts`.
    pub(super) fn used(&mut self, layer: usize, experts: &[usize]) {
        self.layer = layer;
        self.steps[layer] = self.steps[layer].wrapping_add(1);
        for expert in experts {
            let key = layer * self.n_experts + expert;
            self.shares[key] = self.share(key) + 1.0 / MEMORY_STEPS;
            self.updated[key] = self.steps[layer];
        }
    }

    /// The next step of its layer is guessed to need an expert.
    pub(super) fn expect(&mut self, key: usize) {
        self.expected[key] = self.steps[key / self.n_experts].wrapping_add(1);
    }

    /// Share of steps in which an expert is used, as of now.
    fn share(&self, key: usize) -> f32 {
        let steps = self.steps[key / self.n_experts].wrapping_sub(self.updated[key]);
        self.shares[key] * (1.0 - 1.0 / MEMORY_STEPS).powf(steps as f32)
    }

    /// Steps until an expert is likely to be needed; a step is once through all layers.
    pub(super) fn steps_until(&self, key: usize) -> f32 {
        let layer = key / self.n_experts;
        // The layer that computes now has what it needs pinned: its next turn is a whole step away.
        let layers = (layer + self.n_layers - self.layer - 1) % self.n_layers + 1;
        let is_expected = self.expected[key] == self.steps[layer].wrapping_add(1);
        let share = if is_expected { GUESS } else { self.share(key) };
        layers as f32 / self.n_layers as f32 + 1.0 / share.max(1e-6) - 1.0
    }

    /// The experts of a layer, the most used first.
    pub(super) fn most_used(&self, layer: usize) -> Vec<usize> {
        let share = |expert: &usize| self.share(layer * self.n_experts + expert);
        let mut experts: Vec<usize> = (0..self.n_experts).collect();
        experts.sort_by(|a, b| share(b).total_cmp(&share(a)));
        experts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_often_is_needed_soon_and_what_was_used_once_is_forgotten() {
        let mut forecast = Forecast::new(1, 4, 1);
        forecast.used(0, &[2]);
        for _ in 0..100 {
            forecast.used(0, &[1]);
        }
        assert!(forecast.steps_until(1) < 1.2, "{}", forecast.steps_until(1));
        assert!(forecast.steps_until(2) > 20.0, "{}", forecast.steps_until(2));
        assert_eq!(forecast.most_used(0)[..2], [1, 2]);
    }

    #[test]
    fn of_equals_the_layer_that_has_just_run_is_needed_last() {
        let mut forecast = Forecast::new(3, 2, 1);
        forecast.used(1, &[]);
        let until = |layer: usize| forecast.steps_until(layer * 2);
        assert!(until(2) < until(0) && until(0) < until(1));
    }

    #[test]
    fn a_guess_counts_for_one_step() {
        let mut forecast = Forecast::new(2, 8, 1);
        forecast.used(0, &[0]);
        let before = forecast.steps_until(9);
        forecast.expect(9);
        assert!(forecast.steps_until(9) < before / 2.0);
        forecast.used(1, &[0]);
        assert!(forecast.steps_until(9) >= before);
    }
}
