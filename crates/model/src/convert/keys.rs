//! The keys of a GGUF file: what it is, its shape, its types.
//!
//! Written so that [`Config::from_gguf`] reads back the same configuration and llama.cpp finds what it needs.

use std::path::Path;

use compute::DType;
use weights::gguf::{Metadata, Writer};

use crate::config::{Config, Family};

/// Version of the blocks' layouts in files.
const QUANTISATION_VERSION: u32 = 2;

/// What the model is.
pub(super) fn general(writer: &mut Writer, folder: &Path, config: &Config) {
    // `.` and `..` are no names.
    let folder = stdx::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_else(|| config.family.gguf_name().to_owned());
    writer.set("general.name", name);
    writer.set("general.type", "model");
}

/// The model's shape.
pub(crate) fn configuration(writer: &mut Writer, config: &Config) {
    let arch = config.family.gguf_name();
    writer.set("general.architecture", arch);
    // OLMoE's readers take the width of an expert from the key of the dense layer.
    let d_ff = if config.d_ff == 0 {
        config.d_ff_expert
    } else {
        config.d_ff
    };
    let mut sizes = vec![
        ("block_count", config.n_layers),
        ("context_length", config.context),
        ("embedding_length", config.d_model),
        ("feed_forward_length", d_ff),
        ("attention.head_count", config.n_heads),
        ("attention.head_count_kv", config.n_kv_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
        ("rope.dimension_count", config.head_dim),
        ("vocab_size", config.vocab_size),
    ];
    if config.n_experts > 0 {
        sizes.push(("expert_count", config.n_experts));
        sizes.push(("expert_used_count", config.n_experts_used));
        sizes.push(("expert_feed_forward_length", config.d_ff_expert));
    }
    for (key, value) in sizes {
        // A configuration's limits are far below 32 bits.
        writer.set(format!("{arch}.{key}"), value as u32);
    }
    writer.set(format!("{arch}.attention.layer_norm_rms_epsilon"), config.rms_eps);
    writer.set(format!("{arch}.rope.freq_base"), config.rope_theta);
    if let Some(clip) = config.clip_qkv {
        writer.set(format!("{arch}.attention.clamp_kqv"), clip);
    }
    if has_odd_router(config) {
        writer.set(format!("{arch}.expert_weights_norm"), config.norm_topk_prob);
    }
}

/// Whether the router scales its weights otherwise than the family's released models do.
fn has_odd_router(config: &Config) -> bool {
    config.n_experts > 0 && config.norm_topk_prob != (config.family == Family::Qwen3Moe)
}

/// Notes what llama.cpp is known not to read: no key of the file could tell it.
pub(super) fn beyond_others(config: &Config, notes: &mut Vec<String>) {
    let family = config.family.gguf_name();
    if has_odd_router(config) {
        notes.push(format!(
            "the router's weights are {}, unlike those of the released {family} models; llama.cpp does not read that",
            if config.norm_topk_prob {
                "scaled to sum to 1"
            } else {
                "not scaled"
            },
        ));
    }
    if config.clip_qkv.is_some() {
        notes.push(format!(
            "queries, keys and values are clipped; llama.cpp does not do that in {family} models and will answer otherwise"
        ));
    }
    let is_olmo = matches!(config.family, Family::Olmoe | Family::Olmo2);
    let refused = [
        (
            "shares keys and values between heads",
            config.family == Family::Olmoe && config.n_kv_heads != config.n_heads,
        ),
        ("uses its embedding as the head", is_olmo && config.tied_head),
        (
            "has heads that are together wider or narrower than the model",
            (is_olmo || config.family == Family::Qwen2) && config.q_width() != config.d_model,
        ),
    ];
    for (what, _) in refused.into_iter().filter(|(_, is_so)| *is_so) {
        notes.push(format!(
            "the model {what}; llama.cpp does not load {family} models of that kind"
        ));
    }
}

/// The keys of a file that is converted to other types: all but those that are about types and parts.
pub(super) fn copied(writer: &mut Writer, metadata: &Metadata) {
    for (key, value) in metadata.iter() {
        if !key.starts_with("split.") && !key.starts_with("quantize.") {
            writer.set(key, value.clone());
        }
    }
}

/// The type of most weights.
pub(crate) fn types(writer: &mut Writer, dtype: DType) {
    writer.set("general.quantization_version", QUANTISATION_VERSION);
    writer.set("general.file_type", file_type(dtype));
}

/// llama.cpp's number for a file that is mostly of this type; where it has several mixtures, the `_M` one.
fn file_type(dtype: DType) -> u32 {
    match dtype {
        DType::F32 => 0,
        DType::F16 => 1,
        DType::Q4_0 => 2,
        DType::Q4_1 => 3,
        DType::Q8_0 => 7,
        DType::Q5_0 => 8,
        DType::Q5_1 => 9,
        DType::Q2_K => 10,
        DType::Q3_K => 12,
        DType::Q4_K => 15,
        DType::Q5_K => 17,
        DType::Q6_K => 18,
        DType::BF16 => 32,
    }
}
