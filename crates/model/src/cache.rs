//! Keys and values of one sequence, all layers.
//!
//! Grows with the sequence and never beyond what the decoder's context allows. Not shared between sequences.

use compute::{KvDType, KvLayer, Precision};

use crate::config::Config;

/// The past of one sequence.
#[derive(Debug, Clone)]
pub struct KvCache {
    pub(crate) layers: Vec<KvLayer>,
    n_tokens: usize,
}

impl KvCache {
    /// An empty cache: f16, or f32 where arithmetic is to be the reference's.
    pub(crate) fn new(config: &Config, precision: Precision) -> Self {
        let dtype = match precision {
            Precision::Native => KvDType::F16,
            Precision::F32 => KvDType::F32,
        };
        let layer = || KvLayer::new(dtype, config.n_kv_heads, config.head_dim, 0);
        Self {
            layers: (0..config.n_layers).map(|_| layer()).collect(),
            n_tokens: 0,
        }
    }

    /// Tokens in the cache: the position of the next one.
    pub fn len(&self) -> usize {
        self.n_tokens
    }

    /// Whether nothing has been processed yet.
    pub fn is_empty(&self) -> bool {
        self.n_tokens == 0
    }

    /// Bytes taken.
    pub fn size_bytes(&self) -> usize {
        self.layers.iter().map(KvLayer::size_bytes).sum()
    }

    /// Forgets all but the first `n_tokens` tokens, to go on from there with others.
    pub fn truncate(&mut self, n_tokens: usize) {
        if n_tokens < self.n_tokens {
            self.n_tokens = n_tokens;
        }
        self.drop_unfinished();
    }

    /// Takes back what a step that was broken off has left behind.
    pub(crate) fn drop_unfinished(&mut self) {
        for layer in &mut self.layers {
            layer.truncate(self.n_tokens);
        }
    }

    /// A step is complete in all layers.
    pub(crate) fn advance(&mut self, n_tokens: usize) {
        self.n_tokens += n_tokens;
    }
}
