//! What a token costs by the file's own tensor table: bytes of weights read, and multiply-adds.
//!
//! Read from the file rather than from our engine, so that the share of the roof does not depend on the
//! code it judges.

use std::path::Path;

use anyhow::{Context as _, Result};
use weights::gguf::Gguf;

/// Bytes of one key or value number in the cache (f16).
const KV_BYTES: f64 = 2.0;

/// Cost of a token.
#[derive(Debug, Clone)]
pub(crate) struct Traffic {
    /// Bytes of weights that one token of decoding reads, the chosen experts only.
    pub(crate) weight_bytes: f64,
    /// Those of them that are experts'.
    pub(crate) expert_bytes: f64,
    /// Share of the experts that a token uses; 1 where there are none.
    pub(crate) expert_share: f64,
    /// Bytes of keys and values that one token reads for each token of context.
    pub(crate) kv_bytes_per_context: f64,
    /// Multiply-adds of one token outside attention, the chosen experts only.
    pub(crate) macs: f64,
    /// The same without the output head, which a prompt needs once.
    pub(crate) macs_without_head: f64,
    /// Size of the vocabulary.
    pub(crate) n_vocabulary: u64,
    /// The context the model was made for.
    pub(crate) n_context: usize,
}

impl Traffic {
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let file = Gguf::open(path)?;
        let metadata = file.metadata();
        let architecture = metadata.text("general.architecture")?.to_owned();
        let number = |key: &str| {
            let value = metadata.get(&format!("{architecture}.{key}"));
            value.and_then(weights::gguf::Value::as_u64).map(|n| n as f64)
        };
        let share = match (number("expert_used_count"), number("expert_count")) {
            (Some(used), Some(all)) if all > 0.0 => used / all,
            _ => 1.0,
        };
        let tied = file.tensor("output.weight").is_none();
        let mut traffic = Self {
            weight_bytes: 0.0,
            expert_bytes: 0.0,
            expert_share: share,
            kv_bytes_per_context: 0.0,
            macs: 0.0,
            macs_without_head: 0.0,
            n_vocabulary: 0,
            n_context: 0,
        };
        for tensor in file.tensors() {
            let embeddings = tensor.name == "token_embd.weight";
            if embeddings {
                traffic.n_vocabulary = tensor.dims.get(1).copied().context("embeddings are a matrix")?;
            }
            // One row of the embeddings is nothing, unless the same matrix is the output head.
            if embeddings && !tied {
                continue;
            }
            let is_expert = tensor.name.contains("_exps.");
            let share = if is_expert { share } else { 1.0 };
            traffic.weight_bytes += tensor.n_bytes as f64 * share;
            if is_expert {
                traffic.expert_bytes += tensor.n_bytes as f64 * share;
            }
            if tensor.dims.len() > 1 {
                let macs = tensor.n_elements() as f64 * share;
                traffic.macs += macs;
                if !embeddings && tensor.name != "output.weight" {
                    traffic.macs_without_head += macs;
                }
            }
        }
        traffic.n_context = number("context_length").context("no context length")? as usize;
        let heads = number("attention.head_count").context("no head count")?;
        let kv_heads = number("attention.head_count_kv").unwrap_or(heads);
        let width = number("embedding_length").context("no embedding length")?;
        let layers = number("block_count").context("no block count")?;
        let head = number("attention.key_length").unwrap_or(width / heads);
        traffic.kv_bytes_per_context = layers * kv_heads * head * 2.0 * KV_BYTES;
        Ok(traffic)
    }

    /// Bytes that one step of `n` sequences with `context` tokens each reads: every weight in use once. Experts in
    /// use are counted as if each token drew its own evenly, which random weights come close to.
    pub(crate) fn step_bytes(&self, n: usize, context: usize) -> f64 {
        let all_experts = self.expert_bytes / self.expert_share;
        let used = 1.0 - (1.0 - self.expert_share).powf(n as f64);
        let others = self.weight_bytes - self.expert_bytes;
        others + all_experts * used + self.kv_bytes_per_context * (n * context) as f64
    }
}
