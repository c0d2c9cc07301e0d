//! The configuration in a hub folder's `config.json`, in the older and the newer spelling.
//!
//! Defaults are those of each family's configuration class in the transformers library.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::{Config, ConfigError, Family, MAX_LAYERS, RopeStyle, head_dim_from};

/// The keys used. Unknown keys are other programs' business.
#[derive(Deserialize)]
struct Json {
    model_type: String,
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    intermediate_size: Option<usize>,
    moe_intermediate_size: Option<usize>,
    #[serde(alias = "num_local_experts")]
    num_experts: Option<usize>,
    num_experts_per_tok: Option<usize>,
    norm_topk_prob: Option<bool>,
    decoder_sparse_step: Option<usize>,
    #[serde(default)]
    mlp_only_layers: Option<Vec<usize>>,
    clip_qkv: Option<f32>,
    rms_norm_eps: Option<f32>,
    rope_theta: Option<f32>,
    rope_parameters: Option<Value>,
    rope_scaling: Option<Value>,
    partial_rotary_factor: Option<f32>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    hidden_act: Option<String>,
    tie_word_embeddings: Option<bool>,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    eos_token_id: Option<Value>,
    use_sliding_window: Option<bool>,
    sliding_window: Option<usize>,
    layer_types: Option<Vec<String>>,
}

impl Config {
    /// Reads the text of a `config.json`.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        let json: Json = serde_json::from_str(text).map_err(|error| ConfigError::Json {
            reason: error.to_string(),
        })?;
        let family = Family::from_name(&json.model_type, Family::hub_name)?;
        refuse_unsupported(&json, family)?;
        let rope_theta = rope_theta(&json)?;
        let d_model = need(json.hidden_size, "hidden_size")?;
        let n_layers = need(json.num_hidden_layers, "num_hidden_layers")?;
        let n_heads = need(json.num_attention_heads, "num_attention_heads")?;
        let head_dim = match json.head_dim {
            Some(stated) => stated,
            None if family == Family::Qwen3 => 128,
            None => head_dim_from(d_model, n_heads)?,
        };
        let sparse_layers = sparse_layers(&json, family, n_layers)?;
        let has_sparse = sparse_layers.contains(&true);
        let d_ff_expert = match family {
            _ if !has_sparse => 0,
            Family::Olmoe => need(json.intermediate_size, "intermediate_size")?,
            _ => need(json.moe_intermediate_size, "moe_intermediate_size")?,
        };
        let config = Self {
            family,
            n_layers,
            d_model,
            n_heads,
            n_kv_heads: json.num_key_value_heads.unwrap_or(n_heads),
            head_dim,
            d_ff: if sparse_layers.contains(&false) {
                need(json.intermediate_size, "intermediate_size")?
            } else {
                0
            },
            d_ff_expert,
            n_experts: if has_sparse {
                need(json.num_experts, "num_experts")?
            } else {
                0
            },
            n_experts_used: if has_sparse {
                need(json.num_experts_per_tok, "num_experts_per_tok")?
            } else {
                0
            },
            norm_topk_prob: json.norm_topk_prob.unwrap_or(false),
            sparse_layers,
            clip_qkv: json.clip_qkv.filter(|_| family == Family::Olmoe),
            rms_eps: json.rms_norm_eps.unwrap_or(match family {
                Family::Olmoe | Family::Olmo2 => 1e-5,
                _ => 1e-6,
            }),
            rope_theta,
            rope_style: RopeStyle::HalfRotate,
            qk_norm: family.qk_norm(),
            attention_bias: family == Family::Qwen2,
            norm_placement: family.norm_placement(),
            tied_head: json.tie_word_embeddings.unwrap_or(false),
            vocab_size: need(json.vocab_size, "vocab_size")?,
            context: need(json.max_position_embeddings, "max_position_embeddings")?,
            eos_ids: eos_ids(json.eos_token_id.as_ref())?,
        };
        config.checked()
    }
}

fn need(value: Option<usize>, key: &'static str) -> Result<usize, ConfigError> {
    value.ok_or(ConfigError::Missing { key })
}

/// One id, a list of ids, or nothing.
fn eos_ids(value: Option<&Value>) -> Result<Vec<u32>, ConfigError> {
    let refuse = || ConfigError::Json {
        reason: "`eos_token_id` is neither an id nor a list of ids".to_owned(),
    };
    let id = |value: &Value| {
        value
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .ok_or_else(refuse)
    };
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(ids)) => ids.iter().map(id).collect(),
        Some(value) => Ok(vec![id(value)?]),
    }
}

/// The rotary base, from the newer object or the older key; any scaling is refused.
fn rope_theta(json: &Json) -> Result<f32, ConfigError> {
    let mut theta = json.rope_theta;
    for object in [&json.rope_parameters, &json.rope_scaling].into_iter().flatten() {
        let Value::Object(object) = object else {
            return Err(ConfigError::Json {
                reason: "the rotary parameters are not an object".to_owned(),
            });
        };
        let kind = object.get("rope_type").or_else(|| object.get("type"));
        match kind.map(|kind| kind.as_str()) {
            None | Some(Some("default")) => {}
            Some(kind) => {
                let kind: String = kind.unwrap_or("?").chars().take(64).collect();
                return Err(ConfigError::unsupported(format!(
                    "rotary scaling of type `{kind}`"
                )));
            }
        }
        if object.values().any(Value::is_object) {
            return Err(ConfigError::unsupported(
                "rotary parameters that differ between layers",
            ));
        }
        if object
            .get("factor")
            .and_then(Value::as_f64)
            .is_some_and(|factor| factor != 1.0)
        {
            return Err(ConfigError::unsupported("rotary scaling"));
        }
        if object
            .get("partial_rotary_factor")
            .and_then(Value::as_f64)
            .is_some_and(|part| part != 1.0)
        {
            return Err(ConfigError::unsupported("rotation of only a part of each head"));
        }
        if let Some(stated) = object.get("rope_theta").and_then(Value::as_f64) {
            theta = Some(stated as f32);
        }
    }
    Ok(theta.unwrap_or(10_000.0))
}

fn sparse_layers(json: &Json, family: Family, n_layers: usize) -> Result<Vec<bool>, ConfigError> {
    // Bounded before it is allocated; `checked` refuses what is beyond.
    let layers = 0..n_layers.min(MAX_LAYERS + 1);
    if family != Family::Qwen3Moe {
        return Ok(layers.map(|_| family.is_sparse()).collect());
    }
    let step = json.decoder_sparse_step.unwrap_or(1);
    if step == 0 {
        return Err(ConfigError::invalid(
            "`decoder_sparse_step`",
            step,
            "it must be at least 1",
        ));
    }
    let dense: BTreeSet<usize> = json.mlp_only_layers.iter().flatten().copied().collect();
    Ok(layers
        .map(|layer| !dense.contains(&layer) && (layer + 1).is_multiple_of(step))
        .collect())
}

fn refuse_unsupported(json: &Json, family: Family) -> Result<(), ConfigError> {
    if let Some(act) = json.hidden_act.as_deref().filter(|act| *act != "silu") {
        let act: String = act.chars().take(64).collect();
        return Err(ConfigError::unsupported(format!("the activation `{act}`")));
    }
    // In these families the output projection would have one too.
    if json.attention_bias == Some(true) {
        return Err(ConfigError::unsupported(
            "biases of the attention projections (`attention_bias`)",
        ));
    }
    if json.mlp_bias == Some(true) {
        return Err(ConfigError::unsupported(
            "biases of the feed-forward layers (`mlp_bias`)",
        ));
    }
    if json.partial_rotary_factor.is_some_and(|part| part != 1.0) {
        return Err(ConfigError::unsupported("rotation of only a part of each head"));
    }
    let windowed = json
        .layer_types
        .iter()
        .flatten()
        .any(|kind| kind != "full_attention");
    // Qwen's files state a window that `use_sliding_window` turns off; others have no such switch.
    let qwen = matches!(family, Family::Qwen2 | Family::Qwen3 | Family::Qwen3Moe);
    let active = if qwen {
        json.use_sliding_window == Some(true)
    } else {
        json.sliding_window
            .is_some_and(|window| window < json.max_position_embeddings.unwrap_or(usize::MAX))
    };
    if windowed || active {
        return Err(ConfigError::unsupported("sliding-window attention"));
    }
    Ok(())
}
