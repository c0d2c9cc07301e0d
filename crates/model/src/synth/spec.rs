//! The shapes that can be made, and their GGUF keys.

use weights::gguf::Writer;

use super::{SynthError, WeightType};
use crate::config::{Config, Family, NormPlacement, QkNorm, RopeStyle};
use crate::convert::keys;

/// A shape with a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Name on the command line.
    pub name: &'static str,
    /// Extents.
    pub config: Config,
}

impl Spec {
    /// Every name.
    pub const NAMES: [&'static str; 9] = [
        "olmoe-1b-7b",
        "tiny-olmoe",
        "tiny-olmoe-256",
        "tiny-olmo2",
        "tiny-llama",
        "tiny-llama-256",
        "tiny-qwen2",
        "tiny-qwen3",
        "tiny-qwen3moe",
    ];

    /// The shape of that name.
    ///
    /// # Errors
    /// When there is none; the message lists all.
    pub fn by_name(name: &str) -> Result<Self, SynthError> {
        let known = Self::NAMES.into_iter().find(|known| *known == name);
        let config = known.and_then(|name| match name {
            "olmoe-1b-7b" => Some(olmoe_1b_7b()),
            "tiny-olmoe" => Some(tiny(Family::Olmoe)),
            "tiny-olmoe-256" => Some(tiny_olmoe_256()),
            "tiny-olmo2" => Some(tiny(Family::Olmo2)),
            "tiny-llama" => Some(tiny(Family::Llama)),
            "tiny-llama-256" => Some(tiny_llama_256()),
            "tiny-qwen2" => Some(tiny(Family::Qwen2)),
            "tiny-qwen3" => Some(tiny(Family::Qwen3)),
            "tiny-qwen3moe" => Some(tiny(Family::Qwen3Moe)),
            _ => None,
        });
        match (known, config) {
            (Some(name), Some(config)) => Ok(Self { name, config }),
            _ => Err(SynthError::Spec {
                found: name.chars().take(64).collect(),
                known: Self::NAMES.join(", "),
            }),
        }
    }
}

/// OLMoE-1B-7B as released (arXiv 2409.02060, table 10): 6,919,161,856 parameters.
fn olmoe_1b_7b() -> Config {
    Config {
        n_layers: 16,
        d_model: 2048,
        n_heads: 16,
        n_kv_heads: 16,
        head_dim: 128,
        d_ff_expert: 1024,
        n_experts: 64,
        n_experts_used: 8,
        sparse_layers: vec![true; 16],
        vocab_size: 50_304,
        context: 4096,
        eos_ids: vec![50_279],
        ..tiny(Family::Olmoe)
    }
}

/// A small shape whose rows are whole super-blocks of 256.
fn tiny_olmoe_256() -> Config {
    Config {
        n_layers: 8,
        d_model: 256,
        head_dim: 64,
        d_ff_expert: 256,
        n_experts: 4,
        n_experts_used: 2,
        sparse_layers: vec![true; 8],
        ..tiny(Family::Olmoe)
    }
}

/// A dense model of such rows: no router turns a rounding of weights or activations into another model, so it shows
/// what a type of weights itself costs.
fn tiny_llama_256() -> Config {
    Config {
        n_layers: 8,
        d_model: 512,
        n_heads: 8,
        n_kv_heads: 4,
        head_dim: 64,
        d_ff: 1024,
        sparse_layers: vec![false; 8],
        ..tiny(Family::Llama)
    }
}

/// The smallest shape of a family whose rows are whole blocks of 32.
fn tiny(family: Family) -> Config {
    let sparse = matches!(family, Family::Olmoe | Family::Qwen3Moe);
    let per_head = matches!(family, Family::Qwen3 | Family::Qwen3Moe);
    Config {
        family,
        n_layers: 3,
        d_model: 64,
        n_heads: 4,
        n_kv_heads: if matches!(family, Family::Olmoe | Family::Olmo2) {
            4
        } else {
            2
        },
        head_dim: if per_head { 32 } else { 16 },
        d_ff: if sparse { 0 } else { 96 },
        d_ff_expert: if sparse { 32 } else { 0 },
        n_experts: if sparse { 16 } else { 0 },
        n_experts_used: if sparse { 4 } else { 0 },
        norm_topk_prob: family == Family::Qwen3Moe,
        sparse_layers: vec![sparse; 3],
        clip_qkv: None,
        rms_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_style: if family == Family::Llama {
            RopeStyle::Interleaved
        } else {
            RopeStyle::HalfRotate
        },
        qk_norm: match family {
            Family::Olmoe | Family::Olmo2 => QkNorm::WholeProjection,
            Family::Qwen3 | Family::Qwen3Moe => QkNorm::PerHead,
            Family::Llama | Family::Qwen2 => QkNorm::None,
        },
        attention_bias: family == Family::Qwen2,
        norm_placement: if family == Family::Olmo2 {
            NormPlacement::Post
        } else {
            NormPlacement::Pre
        },
        tied_head: matches!(family, Family::Llama | Family::Qwen2),
        vocab_size: 512,
        context: 512,
        eos_ids: vec![511],
    }
}

/// Sets the keys that readers of the family expect.
pub(super) fn describe(writer: &mut Writer, spec: &Spec, dtype: WeightType) {
    let config = &spec.config;
    writer.set(
        "general.name",
        format!("synthetic {} {}", spec.name, dtype.name()),
    );
    writer.set("general.type", "model");
    writer.set("general.license", "apache-2.0");
    writer.set("general.quantization_version", 2u32);
    writer.set("general.file_type", dtype.file_type());
    keys::configuration(writer, config);
}
