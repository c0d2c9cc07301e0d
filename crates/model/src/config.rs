//! What a model is made of: one structure for all families, whose differences are data.
//!
//! Read from GGUF metadata ([`Config::from_gguf`]) or from a hub folder's `config.json`
//! ([`Config::from_json`]). Every number is checked against the others; what the decoder does not know (rotary
//! scaling, sliding windows, shared experts) is refused by name, never ignored. Not here: weights and tokens.

mod gguf;
mod json;

#[cfg(test)]
mod tests;

use thiserror::Error;
use weights::gguf::GgufError;

use crate::tokenizer::Tokenizer;

/// Rows of OLMoE's embedding; the mark by which the released models are known.
const OLMOE_VOCAB: usize = 50_304;
/// OLMoE's end token, whatever its files say: several name id 0 (`|||IP_ADDRESS|||`).
const OLMOE_EOS: u32 = 50_279;
/// Rows of OLMoE's embedding that are tokens; those from here on are padding and must never be sampled.
const OLMOE_TOKENS: usize = 50_280;

/// Most layers.
pub const MAX_LAYERS: usize = 1024;
/// Largest width of any kind (hidden state, feed-forward layer).
pub const MAX_WIDTH: usize = 1 << 20;
/// Most attention heads.
pub const MAX_HEADS: usize = 4096;
/// Largest head: keys and values of larger ones have no layout.
pub const MAX_HEAD_DIM: usize = compute::HEAD_DIM_MAX;
/// Most experts of a layer.
pub const MAX_EXPERTS: usize = 4096;
/// Largest vocabulary.
pub const MAX_VOCAB: usize = 1 << 22;
/// Longest context.
pub const MAX_CONTEXT: usize = 1 << 24;

/// A family of models: which tensors there are, and how they are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// AllenAI OLMoE: mixture of experts, norms of the whole query and key projections.
    Olmoe,
    /// AllenAI OLMo 2: norms after attention and feed-forward instead of before.
    Olmo2,
    /// Llama and what shares its shape (SmolLM2).
    Llama,
    /// Qwen 2 and 2.5: biases on query, key and value.
    Qwen2,
    /// Qwen 3, dense: norms of each query and key head.
    Qwen3,
    /// Qwen 3, mixture of experts.
    Qwen3Moe,
}

impl Family {
    /// Every family supported.
    pub const ALL: [Self; 6] = [
        Self::Olmoe,
        Self::Olmo2,
        Self::Llama,
        Self::Qwen2,
        Self::Qwen3,
        Self::Qwen3Moe,
    ];

    /// The name in GGUF's `general.architecture`, which also begins its keys.
    pub fn gguf_name(self) -> &'static str {
        match self {
            Self::Olmoe => "olmoe",
            Self::Olmo2 => "olmo2",
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Qwen3Moe => "qwen3moe",
        }
    }

    /// The `model_type` of a hub folder's `config.json`.
    pub fn hub_name(self) -> &'static str {
        match self {
            Self::Qwen3Moe => "qwen3_moe",
            other => other.gguf_name(),
        }
    }

    fn from_name(found: &str, name: fn(Self) -> &'static str) -> Result<Self, ConfigError> {
        Self::ALL
            .into_iter()
            .find(|family| name(*family) == found)
            .ok_or_else(|| ConfigError::Family {
                found: found.chars().take(64).collect(),
            })
    }

    fn is_sparse(self) -> bool {
        matches!(self, Self::Olmoe | Self::Qwen3Moe)
    }

    fn qk_norm(self) -> QkNorm {
        match self {
            Self::Olmoe | Self::Olmo2 => QkNorm::WholeProjection,
            Self::Qwen3 | Self::Qwen3Moe => QkNorm::PerHead,
            Self::Llama | Self::Qwen2 => QkNorm::None,
        }
    }

    fn norm_placement(self) -> NormPlacement {
        match self {
            Self::Olmo2 => NormPlacement::Post,
            _ => NormPlacement::Pre,
        }
    }
}

/// Which elements of a head are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeStyle {
    /// Neighbours `(2i, 2i+1)`: llama in GGUF, whose query and key rows the converter permutes.
    Interleaved,
    /// `(i, i + S/2)`: everything else.
    HalfRotate,
}

/// Norm of queries and keys before rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// No norm.
    None,
    /// One RMS norm over all heads together, with a weight for each element of the projection.
    WholeProjection,
    /// An RMS norm of each head, all sharing one weight of a head's size.
    PerHead,
}

/// Where a layer's two RMS norms stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlacement {
    /// Before attention and before the feed-forward layer.
    Pre,
    /// After each, before the sum with the residual stream; none before.
    Post,
}

/// Everything the decoder needs to know besides weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The family.
    pub family: Family,
    /// Layers.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Elements of a head; even. `n_heads * head_dim` need not be `d_model`.
    pub head_dim: usize,
    /// Width of a dense feed-forward layer; 0 if every layer has experts.
    pub d_ff: usize,
    /// Width of one expert; 0 if there are none.
    pub d_ff_expert: usize,
    /// Experts of a sparse layer; 0 if there are none.
    pub n_experts: usize,
    /// Experts chosen for each token.
    pub n_experts_used: usize,
    /// Whether the chosen experts' probabilities are scaled to sum to 1.
    pub norm_topk_prob: bool,
    /// Which layers have experts; length `n_layers`.
    pub sparse_layers: Vec<bool>,
    /// Queries, keys and values are clamped to ± this, where the family does so.
    pub clip_qkv: Option<f32>,
    /// Epsilon of every RMS norm.
    pub rms_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
    /// Which elements rotate together.
    pub rope_style: RopeStyle,
    /// Norm of queries and keys.
    pub qk_norm: QkNorm,
    /// Whether query, key and value projections have biases (the output projection never has).
    pub attention_bias: bool,
    /// Where the norms stand.
    pub norm_placement: NormPlacement,
    /// Whether the embedding serves as the output head.
    pub tied_head: bool,
    /// Rows of the embedding and the output head.
    pub vocab_size: usize,
    /// Positions the model was trained for.
    pub context: usize,
    /// Tokens that end a text, as the file names them, corrected where files are known to be wrong.
    pub eos_ids: Vec<u32>,
}

impl Config {
    /// Tokens below this id may be sampled; rows of the head from here on are padding.
    pub fn n_sampleable(&self) -> usize {
        if self.is_released_olmoe() {
            OLMOE_TOKENS
        } else {
            self.vocab_size
        }
    }

    /// All tokens that end a text: the configuration's own and those that the tokenizer marks as such.
    pub fn end_ids(&self, tokenizer: Option<&Tokenizer>) -> Vec<u32> {
        let mut ids = self.eos_ids.clone();
        if !self.is_released_olmoe() {
            ids.extend(tokenizer.iter().flat_map(|tokenizer| tokenizer.end_ids()));
        }
        ids.retain(|id| (*id as usize) < self.vocab_size);
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Whether layer `layer` has experts.
    pub fn is_sparse_layer(&self, layer: usize) -> bool {
        self.sparse_layers.get(layer).copied().unwrap_or(false)
    }

    /// Width of all query heads together.
    pub fn q_width(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub fn kv_width(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    fn is_released_olmoe(&self) -> bool {
        self.family == Family::Olmoe && self.vocab_size == OLMOE_VOCAB
    }

    /// Checks the numbers against each other and corrects what files are known to have wrong.
    fn checked(mut self) -> Result<Self, ConfigError> {
        within("the number of layers", self.n_layers, MAX_LAYERS)?;
        within("the width", self.d_model, MAX_WIDTH)?;
        within("the number of attention heads", self.n_heads, MAX_HEADS)?;
        within("the number of key-value heads", self.n_kv_heads, MAX_HEADS)?;
        within("the size of a head", self.head_dim, MAX_WIDTH)?;
        if self.head_dim > MAX_HEAD_DIM {
            let what = format!(
                "attention heads of {} elements (at most {MAX_HEAD_DIM})",
                self.head_dim
            );
            return Err(ConfigError::unsupported(what));
        }
        within("the vocabulary", self.vocab_size, MAX_VOCAB)?;
        within("the context", self.context, MAX_CONTEXT)?;
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            let reason = format!("they do not divide the {} attention heads", self.n_heads);
            return Err(ConfigError::invalid(
                "the number of key-value heads",
                self.n_kv_heads,
                reason,
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            let reason = "rotation needs an even number of elements";
            return Err(ConfigError::invalid("the size of a head", self.head_dim, reason));
        }
        positive("the epsilon of the norms", self.rms_eps)?;
        positive("the rotary base", self.rope_theta)?;
        if let Some(clip) = self.clip_qkv {
            positive("the clamp of queries, keys and values", clip)?;
        }
        self.check_feed_forward()?;
        if self.is_released_olmoe() {
            self.eos_ids = vec![OLMOE_EOS];
        }
        Ok(self)
    }

    fn check_feed_forward(&self) -> Result<(), ConfigError> {
        if self.sparse_layers.len() != self.n_layers {
            let reason = format!("there are {} layers", self.n_layers);
            return Err(ConfigError::invalid(
                "the list of sparse layers",
                self.sparse_layers.len(),
                reason,
            ));
        }
        if self.sparse_layers.contains(&false) {
            within("the feed-forward width", self.d_ff, MAX_WIDTH)?;
        }
        if self.sparse_layers.contains(&true) {
            within("the number of experts", self.n_experts, MAX_EXPERTS)?;
            within("the width of an expert", self.d_ff_expert, MAX_WIDTH)?;
            within(
                "the number of experts for each token",
                self.n_experts_used,
                self.n_experts,
            )?;
        }
        Ok(())
    }
}

/// Width of a head when the file does not state it.
fn head_dim_from(d_model: usize, n_heads: usize) -> Result<usize, ConfigError> {
    match d_model.checked_div(n_heads) {
        Some(head_dim) if head_dim * n_heads == d_model => Ok(head_dim),
        _ => {
            let reason = format!("they do not divide the width {d_model}, and no head size is stated");
            Err(ConfigError::invalid(
                "the number of attention heads",
                n_heads,
                reason,
            ))
        }
    }
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<(), ConfigError> {
    if (1..=limit).contains(&found) {
        return Ok(());
    }
    Err(ConfigError::invalid(
        what,
        found,
        format!("it must lie in 1..={limit}"),
    ))
}

fn positive(what: &'static str, found: f32) -> Result<(), ConfigError> {
    if found.is_finite() && found > 0.0 {
        return Ok(());
    }
    Err(ConfigError::invalid(
        what,
        found,
        "it must be positive and finite",
    ))
}

/// Why a configuration was refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A metadata key is missing or of the wrong type.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// `config.json` is not the JSON it should be.
    #[error("config.json is not valid: {reason}; fetch the folder again")]
    Json {
        /// The parser's words.
        reason: String,
    },
    /// A family that is not supported.
    #[error(
        "model family `{found}` is not supported; supported are olmoe, olmo2, llama, qwen2, qwen3 and qwen3moe: choose a model of one of these"
    )]
    Family {
        /// What the file says.
        found: String,
    },
    /// A key that is needed is absent from `config.json`.
    #[error("config.json has no `{key}`; the folder is incomplete, fetch it again")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A number that cannot be.
    #[error("{what} is {found}, which cannot be: {reason}; the file is corrupt or not a model of its family")]
    Invalid {
        /// Which number.
        what: &'static str,
        /// What the file says.
        found: String,
        /// Why not.
        reason: String,
    },
    /// Something the decoder does not do.
    #[error("the model uses {what}, which is not supported yet; choose a model without it")]
    Unsupported {
        /// What.
        what: String,
    },
}

impl ConfigError {
    fn invalid(what: &'static str, found: impl ToString, reason: impl Into<String>) -> Self {
        Self::Invalid {
            what,
            found: found.to_string(),
            reason: reason.into(),
        }
    }

    fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into() }
    }
}
