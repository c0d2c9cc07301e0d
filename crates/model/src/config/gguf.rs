//! The configuration in GGUF metadata, and what only the tensor table tells.
//!
//! Key names are those of the GGUF specification; which of them a family uses follows its converter.

use weights::gguf::{Gguf, Metadata};

use super::{Config, ConfigError, Family, RopeStyle, head_dim_from};

/// GGUF's number for routers with a softmax over all experts.
const GATING_SOFTMAX: u64 = 1;

impl Config {
    /// Reads the configuration of a GGUF file.
    pub fn from_gguf(file: &Gguf) -> Result<Self, ConfigError> {
        let metadata = file.metadata();
        let family = Family::from_name(metadata.text("general.architecture")?, Family::gguf_name)?;
        let keys = Keys {
            metadata,
            prefix: family.gguf_name(),
        };
        refuse_unsupported(&keys, file)?;
        let n_layers = keys.size("block_count")?;
        let d_model = keys.size("embedding_length")?;
        let n_heads = keys.size("attention.head_count")?;
        let head_dim = match keys.opt_size("attention.key_length")? {
            Some(stated) => stated,
            None => head_dim_from(d_model, n_heads)?,
        };
        refuse_odd_heads(&keys, head_dim)?;
        let experts = Experts::read(&keys, family)?;
        let config = Self {
            family,
            n_layers,
            d_model,
            n_heads,
            n_kv_heads: keys.opt_size("attention.head_count_kv")?.unwrap_or(n_heads),
            head_dim,
            d_ff: if family.is_sparse() {
                0
            } else {
                keys.size("feed_forward_length")?
            },
            d_ff_expert: experts.d_ff,
            n_experts: experts.n,
            n_experts_used: experts.n_used,
            norm_topk_prob: experts.norm_topk_prob,
            sparse_layers: vec![family.is_sparse(); n_layers.min(super::MAX_LAYERS + 1)],
            clip_qkv: keys.opt_f32("attention.clamp_kqv")?.filter(|clip| *clip != 0.0),
            rms_eps: keys.f32("attention.layer_norm_rms_epsilon")?,
            rope_theta: keys.opt_f32("rope.freq_base")?.unwrap_or(10_000.0),
            rope_style: match family {
                Family::Llama => RopeStyle::Interleaved,
                _ => RopeStyle::HalfRotate,
            },
            qk_norm: family.qk_norm(),
            attention_bias: file.tensor("blk.0.attn_q.bias").is_some(),
            norm_placement: family.norm_placement(),
            tied_head: file.tensor("output.weight").is_none(),
            vocab_size: vocab_size(&keys, file)?,
            context: keys.size("context_length")?,
            eos_ids: metadata
                .opt_u32("tokenizer.ggml.eos_token_id")?
                .into_iter()
                .collect(),
        };
        config.checked()
    }
}

/// A family's keys.
struct Keys<'a> {
    metadata: &'a Metadata,
    prefix: &'static str,
}

impl Keys<'_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    fn size(&self, key: &str) -> Result<usize, ConfigError> {
        Ok(self.metadata.u32(&self.name(key))? as usize)
    }

    fn opt_size(&self, key: &str) -> Result<Option<usize>, ConfigError> {
        Ok(self
            .metadata
            .opt_u32(&self.name(key))?
            .map(|value| value as usize))
    }

    fn f32(&self, key: &str) -> Result<f32, ConfigError> {
        Ok(self.metadata.f32(&self.name(key))?)
    }

    fn opt_f32(&self, key: &str) -> Result<Option<f32>, ConfigError> {
        Ok(self.metadata.opt_f32(&self.name(key))?)
    }
}

#[derive(Default)]
struct Experts {
    n: usize,
    n_used: usize,
    d_ff: usize,
    norm_topk_prob: bool,
}

impl Experts {
    fn read(keys: &Keys<'_>, family: Family) -> Result<Self, ConfigError> {
        let stated = keys.opt_size("expert_count")?.unwrap_or(0);
        if !family.is_sparse() {
            if stated > 0 {
                return Err(ConfigError::unsupported(format!(
                    "experts in the family {}",
                    keys.prefix
                )));
            }
            return Ok(Self::default());
        }
        // OLMoE's converter writes the width of an expert as that of the feed-forward layer.
        let d_ff = match keys.opt_size("expert_feed_forward_length")? {
            Some(width) => width,
            None if family == Family::Olmoe => keys.size("feed_forward_length")?,
            None => keys.size("expert_feed_forward_length")?,
        };
        // Absent from most files: the family's released models decide.
        let norm_topk_prob = keys.metadata.opt_bool(&keys.name("expert_weights_norm"))?;
        Ok(Self {
            n: keys.size("expert_count")?,
            n_used: keys.size("expert_used_count")?,
            d_ff,
            norm_topk_prob: norm_topk_prob.unwrap_or(family == Family::Qwen3Moe),
        })
    }
}

fn vocab_size(keys: &Keys<'_>, file: &Gguf) -> Result<usize, ConfigError> {
    // The embedding's rows are what the decoder indexes; the keys are hearsay.
    let rows = file
        .tensor("token_embd.weight")
        .and_then(|info| info.dims.get(1).copied());
    match rows.and_then(|rows| usize::try_from(rows).ok()) {
        Some(rows) => Ok(rows),
        None => keys.size("vocab_size"),
    }
}

fn refuse_odd_heads(keys: &Keys<'_>, head_dim: usize) -> Result<(), ConfigError> {
    if keys
        .opt_size("attention.value_length")?
        .is_some_and(|value| value != head_dim)
    {
        return Err(ConfigError::unsupported(
            "value heads of another size than key heads",
        ));
    }
    if keys
        .opt_size("rope.dimension_count")?
        .is_some_and(|rotated| rotated != head_dim)
    {
        return Err(ConfigError::unsupported("rotation of only a part of each head"));
    }
    Ok(())
}

fn refuse_unsupported(keys: &Keys<'_>, file: &Gguf) -> Result<(), ConfigError> {
    let metadata = keys.metadata;
    match metadata.opt_text(&keys.name("rope.scaling.type"))? {
        None | Some("none" | "") => {}
        Some(kind) => {
            return Err(ConfigError::unsupported(format!(
                "rotary scaling of type `{}`",
                short(kind)
            )));
        }
    }
    for key in ["rope.scaling.factor", "rope.scale_linear"] {
        if keys
            .opt_f32(key)?
            .is_some_and(|factor| factor != 0.0 && factor != 1.0)
        {
            return Err(ConfigError::unsupported("linear rotary scaling"));
        }
    }
    for name in ["rope_freqs.weight", "blk.0.rope_freqs.weight"] {
        if file.tensor(name).is_some() {
            return Err(ConfigError::unsupported(
                "rotary scaling of type `llama3` (tensor `rope_freqs.weight`)",
            ));
        }
    }
    let window = keys.opt_size("attention.sliding_window")?.unwrap_or(0);
    if window > 0 && window < keys.opt_size("context_length")?.unwrap_or(usize::MAX) {
        return Err(ConfigError::unsupported(format!(
            "sliding-window attention ({window} positions)"
        )));
    }
    for (key, what) in [
        ("expert_shared_count", "shared experts"),
        ("leading_dense_block_count", "dense layers before the sparse ones"),
        ("expert_group_count", "groups of experts"),
    ] {
        if keys.opt_size(key)?.unwrap_or(0) > 0 {
            return Err(ConfigError::unsupported(what));
        }
    }
    if keys
        .opt_f32("expert_weights_scale")?
        .is_some_and(|scale| scale != 0.0 && scale != 1.0)
    {
        return Err(ConfigError::unsupported("scaled expert weights"));
    }
    if metadata
        .opt_u64(&keys.name("expert_gating_func"))?
        .is_some_and(|kind| kind != GATING_SOFTMAX)
    {
        return Err(ConfigError::unsupported("a router other than softmax"));
    }
    for part in [
        "attn_output.bias",
        "ffn_gate.bias",
        "ffn_up.bias",
        "ffn_down.bias",
    ] {
        if file.tensor(&format!("blk.0.{part}")).is_some() {
            return Err(ConfigError::unsupported(format!("the bias `{part}`")));
        }
    }
    Ok(())
}

/// Foreign text in a message, cut to a readable length.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}
