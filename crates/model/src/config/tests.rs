//! Configurations of every family from both sources, and what must be refused.

use std::io::Cursor;

use compute::{KvDType, Precision};
use serde_json::{Value, json};
use weights::gguf::{GgmlType, Gguf, Writer};

use super::*;
use crate::cache::KvCache;

fn fixture(name: &str) -> String {
    stdx::fs::read_to_string(testkit::fixture_dir(name).join("config.json")).unwrap()
}

fn olmoe_json() -> Value {
    serde_json::from_str(&fixture("olmoe")).unwrap()
}

fn with(changes: &[(&str, Value)]) -> Result<Config, ConfigError> {
    let mut json = olmoe_json();
    for (key, value) in changes {
        json[*key] = value.clone();
    }
    Config::from_json(&json.to_string())
}

/// A file with keys of `arch` and tensors of one element, enough for a configuration.
fn gguf(arch: &str, keys: &[(&str, weights::gguf::Value)], tensors: &[&str]) -> Gguf {
    let mut writer = Writer::new();
    writer.set("general.architecture", arch);
    for (key, value) in [
        ("block_count", 2u32),
        ("embedding_length", 64),
        ("feed_forward_length", 32),
        ("attention.head_count", 4),
        ("context_length", 512),
        ("vocab_size", 100),
        ("expert_feed_forward_length", 16),
    ] {
        writer.set(format!("{arch}.{key}"), value);
    }
    writer.set(format!("{arch}.attention.layer_norm_rms_epsilon"), 1e-5f32);
    for (key, value) in keys {
        writer.set(format!("{arch}.{key}"), value.clone());
    }
    for name in tensors {
        writer.tensor(name, &[1], GgmlType::F32).unwrap();
    }
    let mut body = writer.begin(Vec::new()).unwrap();
    while body.current().is_some() {
        body.write(&[0; 4]).unwrap();
    }
    let bytes = body.finish().unwrap();
    let len = bytes.len() as u64;
    Gguf::parse(Cursor::new(bytes), len).unwrap()
}

fn experts() -> Vec<(&'static str, weights::gguf::Value)> {
    vec![("expert_count", 8u32.into()), ("expert_used_count", 2u32.into())]
}

#[test]
fn every_fixture_is_read() {
    let get = |name: &str| Config::from_json(&fixture(name)).unwrap();
    let olmoe = get("olmoe");
    assert_eq!(
        (olmoe.n_layers, olmoe.d_model, olmoe.head_dim, olmoe.d_ff_expert),
        (3, 64, 16, 32)
    );
    assert_eq!(
        (olmoe.n_experts, olmoe.n_experts_used, olmoe.norm_topk_prob),
        (16, 4, false)
    );
    assert_eq!(
        (olmoe.qk_norm, olmoe.clip_qkv, olmoe.d_ff),
        (QkNorm::WholeProjection, None, 0)
    );
    let renorm = get("olmoe-gqa-renorm");
    assert_eq!(
        (renorm.n_kv_heads, renorm.norm_topk_prob, renorm.clip_qkv),
        (2, true, Some(2.0))
    );
    let olmo2 = get("olmo2");
    assert_eq!(
        (olmo2.norm_placement, olmo2.d_ff, olmo2.rms_eps),
        (NormPlacement::Post, 96, 1e-5)
    );
    let llama = get("llama");
    assert_eq!(
        (llama.tied_head, llama.rope_style, llama.qk_norm),
        (true, RopeStyle::HalfRotate, QkNorm::None)
    );
    assert!(get("qwen2").attention_bias);
    let qwen3 = get("qwen3");
    assert_eq!((qwen3.head_dim, qwen3.q_width(), qwen3.kv_width()), (32, 128, 64));
    assert_eq!((qwen3.qk_norm, qwen3.attention_bias), (QkNorm::PerHead, false));
    let moe = get("qwen3moe");
    assert_eq!(
        (moe.n_experts, moe.d_ff_expert, moe.norm_topk_prob),
        (16, 32, true)
    );
    assert_eq!(moe.sparse_layers, [true; 3]);
}

#[test]
fn dense_layers_among_sparse_ones_are_found() {
    let mut json: Value = serde_json::from_str(&fixture("qwen3moe")).unwrap();
    json["num_hidden_layers"] = json!(6);
    json["decoder_sparse_step"] = json!(2);
    json["mlp_only_layers"] = json!([3]);
    let config = Config::from_json(&json.to_string()).unwrap();
    assert_eq!(config.sparse_layers, [false, true, false, false, false, true]);
    assert_eq!(
        (config.d_ff, config.is_sparse_layer(5), config.is_sparse_layer(6)),
        (96, true, false)
    );
    json["decoder_sparse_step"] = json!(0);
    assert!(Config::from_json(&json.to_string()).is_err());
}

#[test]
fn both_spellings_of_the_rotary_base_are_read() {
    assert_eq!(
        with(&[("rope_parameters", Value::Null), ("rope_theta", json!(5e5))])
            .unwrap()
            .rope_theta,
        5e5
    );
    let new = json!({"rope_theta": 1e6, "rope_type": "default"});
    assert_eq!(with(&[("rope_parameters", new)]).unwrap().rope_theta, 1e6);
    assert_eq!(with(&[("rope_parameters", Value::Null)]).unwrap().rope_theta, 1e4);
}

#[test]
fn the_released_olmoe_is_corrected() {
    let config = with(&[("vocab_size", json!(50_304)), ("eos_token_id", json!(0))]).unwrap();
    assert_eq!(
        (config.eos_ids.as_slice(), config.n_sampleable()),
        (&[50_279][..], 50_280)
    );
    assert_eq!(config.end_ids(None), [50_279]);
    let other = with(&[("eos_token_id", json!([3, 5, 999]))]).unwrap();
    assert_eq!((other.end_ids(None), other.n_sampleable()), (vec![3, 5], 512));
}

#[test]
fn what_the_decoder_does_not_know_is_refused_by_name() {
    let cases = [
        ("model_type", json!("mixtral"), "`mixtral`"),
        (
            "rope_parameters",
            json!({"rope_type": "yarn", "rope_theta": 1e4}),
            "`yarn`",
        ),
        (
            "rope_scaling",
            json!({"type": "linear", "factor": 2.0}),
            "`linear`",
        ),
        ("rope_scaling", json!({"rope_type": "llama3"}), "`llama3`"),
        (
            "rope_parameters",
            json!({"full_attention": {"rope_type": "default"}}),
            "differ between layers",
        ),
        ("attention_bias", json!(true), "attention_bias"),
        ("mlp_bias", json!(true), "mlp_bias"),
        ("hidden_act", json!("gelu"), "`gelu`"),
        ("sliding_window", json!(128), "sliding-window"),
        ("layer_types", json!(["sliding_attention"]), "sliding-window"),
        ("partial_rotary_factor", json!(0.5), "part of each head"),
    ];
    for (key, value, words) in cases {
        let message = with(&[(key, value)]).unwrap_err().to_string();
        assert!(message.contains(words), "{key}: {message}");
    }
    let mut qwen: Value = serde_json::from_str(&fixture("qwen2")).unwrap();
    qwen["sliding_window"] = json!(128);
    assert!(Config::from_json(&qwen.to_string()).is_ok());
    qwen["use_sliding_window"] = json!(true);
    assert!(
        Config::from_json(&qwen.to_string())
            .unwrap_err()
            .to_string()
            .contains("sliding-window")
    );
}

#[test]
fn heads_that_keys_and_values_have_no_layout_for_are_refused_by_name() {
    for (head_dim, n_heads) in [(258, 4), (512, 4), (1024, 1)] {
        let heads = [
            ("head_dim", json!(head_dim)),
            ("num_attention_heads", json!(n_heads)),
            ("num_key_value_heads", json!(n_heads)),
        ];
        let error = with(&heads).unwrap_err().to_string();
        let name = format!("attention heads of {head_dim} elements (at most 256)");
        assert!(error.contains(&name), "{error}");
    }
    let largest = with(&[("head_dim", json!(MAX_HEAD_DIM))]).unwrap();
    // What is accepted has a cache.
    let cache = KvCache::new(&largest, Precision::Native, KvDType::Q8_0);
    assert!(cache.is_empty());
}

#[test]
fn impossible_numbers_are_refused() {
    let cases = [
        ("num_hidden_layers", json!(0)),
        ("num_hidden_layers", json!(u64::MAX)),
        ("num_attention_heads", json!(0)),
        ("num_attention_heads", json!(3)),
        ("num_key_value_heads", json!(3)),
        ("num_key_value_heads", json!(0)),
        ("head_dim", json!(15)),
        ("head_dim", json!(0)),
        ("hidden_size", json!(-1)),
        ("hidden_size", json!(u64::MAX)),
        ("num_experts", json!(0)),
        ("num_experts_per_tok", json!(17)),
        ("num_experts_per_tok", json!(0)),
        ("intermediate_size", json!(0)),
        ("vocab_size", json!(0)),
        ("rms_norm_eps", json!(0.0)),
        ("rms_norm_eps", json!(-1e-5)),
        ("clip_qkv", json!(-1.0)),
        ("max_position_embeddings", json!(0)),
        ("eos_token_id", json!("x")),
        ("hidden_size", Value::Null),
        ("vocab_size", Value::Null),
    ];
    for (key, value) in cases {
        assert!(with(&[(key, value.clone())]).is_err(), "{key} = {value}");
    }
    assert!(Config::from_json("").is_err());
    assert!(Config::from_json("[]").is_err());
}

#[test]
fn gguf_keys_and_tensors_tell_the_rest() {
    let llama = Config::from_gguf(&gguf("llama", &[], &[])).unwrap();
    assert_eq!(
        (llama.rope_style, llama.tied_head, llama.attention_bias),
        (RopeStyle::Interleaved, true, false)
    );
    assert_eq!(
        (llama.n_kv_heads, llama.rope_theta, llama.vocab_size),
        (4, 1e4, 100)
    );
    let qwen = Config::from_gguf(&gguf("qwen2", &[], &["output.weight", "blk.0.attn_q.bias"])).unwrap();
    assert_eq!(
        (qwen.rope_style, qwen.tied_head, qwen.attention_bias),
        (RopeStyle::HalfRotate, false, true)
    );
    let mut keys = experts();
    keys.push(("attention.clamp_kqv", 8f32.into()));
    let olmoe = Config::from_gguf(&gguf("olmoe", &keys, &[])).unwrap();
    assert_eq!(
        (olmoe.norm_topk_prob, olmoe.clip_qkv, olmoe.d_ff_expert),
        (false, Some(8.0), 16)
    );
    let qwen3moe = Config::from_gguf(&gguf("qwen3moe", &experts(), &[])).unwrap();
    assert!(qwen3moe.norm_topk_prob);
    let mut keys = experts();
    keys.push(("expert_weights_norm", false.into()));
    assert!(
        !Config::from_gguf(&gguf("qwen3moe", &keys, &[]))
            .unwrap()
            .norm_topk_prob
    );
    keys.push(("attention.key_length", 32u32.into()));
    assert_eq!(
        Config::from_gguf(&gguf("qwen3moe", &keys, &[])).unwrap().head_dim,
        32
    );
}

#[test]
fn gguf_with_unknown_parts_is_refused_by_name() {
    let refused = |arch: &str, keys: &[(&str, weights::gguf::Value)], tensors: &[&str]| {
        Config::from_gguf(&gguf(arch, keys, tensors))
            .unwrap_err()
            .to_string()
    };
    assert!(refused("gemma3", &[], &[]).contains("`gemma3`"));
    assert!(refused("llama", &[("rope.scaling.type", "yarn".into())], &[]).contains("`yarn`"));
    assert!(refused("llama", &[("rope.scaling.factor", 4f32.into())], &[]).contains("linear"));
    assert!(refused("llama", &[], &["rope_freqs.weight"]).contains("llama3"));
    assert!(refused("llama", &experts(), &[]).contains("experts"));
    assert!(refused("olmo2", &[("attention.sliding_window", 64u32.into())], &[]).contains("sliding-window"));
    assert!(refused("llama", &[("rope.dimension_count", 8u32.into())], &[]).contains("part of each head"));
    assert!(refused("llama", &[], &["blk.0.attn_output.bias"]).contains("attn_output.bias"));
    assert!(refused("llama", &[("block_count", 0u32.into())], &[]).contains("layers"));
    assert!(refused("llama", &[("block_count", u32::MAX.into())], &[]).contains("layers"));
    assert!(refused("llama", &[("attention.head_count", 0u32.into())], &[]).contains("heads"));
    assert!(refused("llama", &[("embedding_length", "x".into())], &[]).contains("llama.embedding_length"));
    assert!(refused("olmoe", &[], &[]).contains("olmoe.expert_count"));
}

#[test]
fn smollm2_is_read() {
    let Some(path) = testkit::need_model(testkit::SMOLLM2_FILE) else {
        return;
    };
    let config = Config::from_gguf(&Gguf::open(path).unwrap()).unwrap();
    assert_eq!(
        (config.n_layers, config.d_model, config.n_heads, config.n_kv_heads),
        (30, 576, 9, 3)
    );
    assert_eq!(
        (config.rope_theta, config.vocab_size, config.context),
        (1e5, 49_152, 8192)
    );
    assert_eq!((config.tied_head, config.eos_ids.as_slice()), (true, &[2][..]));
}
