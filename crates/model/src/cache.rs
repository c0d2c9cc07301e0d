//! Keys and values of one sequence, all layers.
//!
//! Grows by blocks of [`KV_BLOCK`] tokens with the sequence and never beyond what the decoder's context allows.
//! Sequences that begin with the same tokens can share full blocks; whose they are decides the caller.

use compute::{KV_BLOCK, KvBlock, KvDType, PagedKv, Precision};

use crate::config::Config;

/// The past of one sequence.
#[derive(Debug, Clone)]
pub struct KvCache {
    pub(crate) kv: PagedKv,
    n_tokens: usize,
}

impl KvCache {
    /// An empty cache of the type asked for, or f32 where arithmetic is to be the reference's.
    pub(crate) fn new(config: &Config, precision: Precision, dtype: KvDType) -> Self {
        let dtype = match precision {
            Precision::Native => dtype,
            Precision::F32 => KvDType::F32,
        };
        Self {
            kv: PagedKv::new(dtype, config.n_layers, config.n_kv_heads, config.head_dim),
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

    /// Bytes taken, shared blocks included.
    pub fn size_bytes(&self) -> usize {
        self.kv.size_bytes()
    }

    /// How keys and values are kept.
    pub fn dtype(&self) -> KvDType {
        self.kv.dtype()
    }

    /// Bytes of one block.
    pub fn block_bytes(&self) -> usize {
        self.kv.block_bytes()
    }

    /// The block of tokens `index * KV_BLOCK..(index + 1) * KV_BLOCK`, to be shared; `None` until all of them are
    /// in the cache.
    pub fn full_block(&self, index: usize) -> Option<KvBlock> {
        let is_full = (index + 1) * KV_BLOCK <= self.n_tokens;
        if is_full { self.kv.full_block(index) } else { None }
    }

    /// Appends a full block of another sequence that begins with the same tokens as this one will. False, and
    /// nothing has changed, if this cache does not end with a full block or the block is of another model.
    #[must_use]
    pub fn attach(&mut self, block: KvBlock) -> bool {
        self.drop_unfinished();
        let fits = self.kv.attach(block);
        if fits {
            self.n_tokens += KV_BLOCK;
        }
        fits
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
        self.kv.truncate(self.n_tokens);
    }

    /// A step is complete in all layers.
    pub(crate) fn advance(&mut self, n_tokens: usize) {
        self.n_tokens += n_tokens;
    }
}

#[cfg(test)]
mod tests;
