//! What the router of a mixture of experts has done since the model was loaded.

use engine::RouterStatistics;
use serde::{Deserialize, Serialize};

use super::SCHEMA;

/// `GET /api/router`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouterJson {
    /// Version of this shape.
    pub schema: u32,
    /// Experts of a layer; 0 without a model and for a dense one.
    pub n_experts: usize,
    /// Experts chosen for each token.
    pub n_experts_used: usize,
    /// Routed layers in order.
    pub layers: Vec<LayerRoutingJson>,
}

/// One routed layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerRoutingJson {
    /// The layer's number, from 0.
    pub layer: usize,
    /// Share of the experts that were ever chosen.
    pub used_share: f64,
    /// Entropy of the choices; log2 of the number of experts if all do the same.
    pub entropy_bits: f64,
    /// Times each expert was chosen.
    pub counts: Vec<u64>,
}

impl From<RouterStatistics> for RouterJson {
    fn from(router: RouterStatistics) -> Self {
        let layer = |layer: engine::LayerRouting| LayerRoutingJson {
            layer: layer.layer,
            used_share: layer.used_share(),
            entropy_bits: layer.entropy_bits(),
            counts: layer.counts,
        };
        Self {
            schema: SCHEMA,
            n_experts: router.n_experts,
            n_experts_used: router.n_experts_used,
            layers: router.layers.into_iter().map(layer).collect(),
        }
    }
}
