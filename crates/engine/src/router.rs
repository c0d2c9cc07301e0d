//! What the router of a mixture of experts has done so far: counts, and how evenly they fall.
//!
//! Read from the model's counters; nothing is counted here.

use model::Model;

/// One routed layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRouting {
    /// The layer's number, from 0.
    pub layer: usize,
    /// Times each expert was chosen (E).
    pub counts: Vec<u64>,
}

impl LayerRouting {
    /// The share of experts that were chosen at all; 0 when none was.
    pub fn used_share(&self) -> f64 {
        let used = self.counts.iter().filter(|count| **count > 0).count();
        used as f64 / self.counts.len().max(1) as f64
    }

    /// Shannon's entropy of the choices in bits: 0 when one expert does everything, log2 E when all do the same.
    pub fn entropy_bits(&self) -> f64 {
        let total: u64 = self.counts.iter().sum();
        let term = |count: u64| {
            let p = count as f64 / total as f64;
            -p * p.log2()
        };
        let sum: f64 = self.counts.iter().filter(|n| **n > 0).map(|n| term(*n)).sum();
        // A sum of one term may be minus zero.
        sum.max(0.0)
    }
}

/// All routed layers of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouterStatistics {
    /// Experts of a layer; 0 for a dense model.
    pub n_experts: usize,
    /// Experts chosen for each token.
    pub n_experts_used: usize,
    /// The routed layers in order.
    pub layers: Vec<LayerRouting>,
}

impl RouterStatistics {
    pub(crate) fn of(model: &Model) -> Self {
        let config = model.decoder().config();
        let routed = (0..config.n_layers).filter(|&layer| config.sparse_layers.get(layer) == Some(&true));
        let layer = |layer| LayerRouting {
            layer,
            counts: model.router_statistics().layer(layer),
        };
        Self {
            n_experts: config.n_experts,
            n_experts_used: config.n_experts_used,
            layers: routed.map(layer).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evenness_has_its_two_ends() {
        let layer = |counts: &[u64]| LayerRouting {
            layer: 0,
            counts: counts.to_vec(),
        };
        let even = layer(&[5, 5, 5, 5]);
        assert_eq!((even.used_share(), even.entropy_bits()), (1.0, 2.0));
        let one = layer(&[0, 9, 0, 0]);
        assert_eq!((one.used_share(), one.entropy_bits()), (0.25, 0.0));
        let none = layer(&[0; 4]);
        assert_eq!((none.used_share(), none.entropy_bits()), (0.0, 0.0));
    }
}
