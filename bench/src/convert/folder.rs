//! Small models as they lie on the hub: `config.json`, safetensors in bf16, a tokenizer and its configuration.
//!
//! Random weights in rows of whole blocks of every type, so that no type falls back to another; merges learnt from
//! the text that is compared afterwards. Written from what the hub's files look like, not with the converter's names.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};
use stdx::rng::Rng;

const D_MODEL: usize = 256;
const N_LAYERS: usize = 2;
const N_HEADS: usize = 4;
const D_FF: usize = 512;
const D_FF_EXPERT: usize = 256;
const N_EXPERTS: usize = 8;
const N_EXPERTS_USED: usize = 2;
/// Rows of the embedding: some are left for no token.
const N_ROWS: usize = 640;
/// Pairs that are merged, the most frequent first.
const N_MERGES: usize = 320;
/// Ends a text.
pub(crate) const END_OF_TEXT: &str = "<|endoftext|>";
const END_OF_TURN: &str = "<|im_end|>";
const SPECIAL: [&str; 3] = [END_OF_TEXT, "<|im_start|>", END_OF_TURN];
/// Found as a whole, but part of the text.
const ADDED: &str = "<tool>";
const CHAT_TEMPLATE: &str =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}";

/// Normalisation of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum QkNorm {
    None,
    Whole,
    PerHead,
}

/// A family and the splitting of its tokenizer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Folder {
    /// What the files made of it are called.
    pub(crate) name: &'static str,
    /// `model_type`.
    family: &'static str,
    /// The name that GGUF files give its splitting.
    split: &'static str,
    n_kv_heads: usize,
    head_dim: usize,
    qk_norm: QkNorm,
    is_tied: bool,
    clip: Option<f32>,
    pub(crate) is_sparse: bool,
    /// Files that the weights are spread over.
    n_shards: usize,
}

impl Folder {
    /// A dense family with fewer heads of keys than of queries.
    const QWEN2: Self = Self {
        name: "qwen2",
        family: "qwen2",
        split: "qwen2",
        n_kv_heads: 2,
        head_dim: D_MODEL / N_HEADS,
        qk_norm: QkNorm::None,
        is_tied: false,
        clip: None,
        is_sparse: false,
        n_shards: 1,
    };
    const OLMO2: Self = Self {
        name: "olmo2",
        family: "olmo2",
        split: "dbrx",
        n_kv_heads: N_HEADS,
        qk_norm: QkNorm::Whole,
        ..Self::QWEN2
    };
    const OLMOE: Self = Self {
        name: "olmoe",
        family: "olmoe",
        split: "olmo",
        is_sparse: true,
        n_shards: 2,
        ..Self::OLMO2
    };
    const LLAMA: Self = Self {
        name: "llama",
        family: "llama",
        split: "llama-bpe",
        n_shards: 2,
        ..Self::QWEN2
    };
    /// Heads that are wider than their share of the model.
    const QWEN3: Self = Self {
        name: "qwen3",
        family: "qwen3",
        split: "gpt-2",
        head_dim: 128,
        qk_norm: QkNorm::PerHead,
        ..Self::QWEN2
    };

    /// Every family, and every splitting that has a name.
    pub(crate) fn all() -> [Self; 7] {
        let llama_tied = Self {
            name: "llama-tied",
            split: "smollm",
            is_tied: true,
            n_shards: 1,
            ..Self::LLAMA
        };
        let qwen3moe = Self {
            name: "qwen3moe",
            family: "qwen3_moe",
            split: "qwen2",
            is_sparse: true,
            ..Self::QWEN3
        };
        [
            Self::OLMOE,
            Self::OLMO2,
            Self::LLAMA,
            llama_tied,
            Self::QWEN2,
            Self::QWEN3,
            qwen3moe,
        ]
    }

    /// Models that their families allow, but llama.cpp does not compute.
    pub(crate) fn beyond_others() -> [Self; 4] {
        [
            Self {
                name: "olmoe-clipped",
                clip: Some(1.0),
                ..Self::OLMOE
            },
            Self {
                name: "olmoe-grouped",
                n_kv_heads: 2,
                ..Self::OLMOE
            },
            Self {
                name: "olmo2-tied",
                is_tied: true,
                ..Self::OLMO2
            },
            Self {
                name: "qwen2-wide",
                head_dim: 128,
                ..Self::QWEN2
            },
        ]
    }

    /// An OLMoE for the tokenizer that was released with it.
    pub(crate) fn with_released_tokenizer() -> Self {
        Self {
            name: "olmoe-released-tokenizer",
            ..Self::OLMOE
        }
    }

    /// Writes the folder with a small tokenizer.
    pub(crate) fn write(&self, folder: &Path, text: &str) -> Result<()> {
        self.write_with(folder, &tokenizer(self.split, text), END_OF_TURN, N_ROWS)
    }

    /// Writes the folder with this tokenizer, in which `end` ends a text, and an embedding of so many rows.
    pub(crate) fn write_with(
        &self,
        folder: &Path,
        tokenizer: &Value,
        end: &str,
        n_rows: usize,
    ) -> Result<()> {
        stdx::fs::create_dir_all(folder)?;
        let put = |name: &str, value: &Value| stdx::fs::write(folder.join(name), value.to_string());
        put("config.json", &self.config(n_rows))?;
        put("tokenizer.json", tokenizer)?;
        put(
            "tokenizer_config.json",
            &json!({
                "add_bos_token": self.family == "llama", "bos_token": END_OF_TEXT,
                "eos_token": {"content": end}, "chat_template": CHAT_TEMPLATE,
            }),
        )?;
        let tensors = self.tensors(n_rows);
        let per_shard = tensors.len().div_ceil(self.n_shards);
        let mut rng = Rng::new(1);
        let mut places = BTreeMap::new();
        for (n, shard) in tensors.chunks(per_shard).enumerate() {
            let file = if self.n_shards == 1 {
                "model.safetensors".to_owned()
            } else {
                format!("model-{:05}-of-{:05}.safetensors", n + 1, self.n_shards)
            };
            places.extend(shard.iter().map(|tensor| (tensor.name.clone(), file.clone())));
            stdx::fs::write(folder.join(file), safetensors(shard, &mut rng))?;
        }
        if self.n_shards > 1 {
            put(
                "model.safetensors.index.json",
                &json!({"metadata": {}, "weight_map": places}),
            )?;
        }
        Ok(())
    }

    fn config(&self, n_rows: usize) -> Value {
        let mut config = json!({
            "model_type": self.family, "hidden_size": D_MODEL, "num_hidden_layers": N_LAYERS,
            "num_attention_heads": N_HEADS, "num_key_value_heads": self.n_kv_heads, "head_dim": self.head_dim,
            "hidden_act": "silu", "intermediate_size": if self.family == "olmoe" { D_FF_EXPERT } else { D_FF },
            "rms_norm_eps": 1e-5, "rope_theta": 50_000.0, "tie_word_embeddings": self.is_tied,
            "clip_qkv": self.clip, "vocab_size": n_rows, "max_position_embeddings": 512,
        });
        if self.is_sparse {
            config["num_experts"] = json!(N_EXPERTS);
            config["num_experts_per_tok"] = json!(N_EXPERTS_USED);
            config["moe_intermediate_size"] = json!(D_FF_EXPERT);
            config["norm_topk_prob"] = json!(self.family == "qwen3_moe");
        }
        config
    }

    fn tensors(&self, n_rows: usize) -> Vec<Tensor> {
        let mut list = List(Vec::new());
        // A tied embedding is the head too, whose logits shall have a spread of 2.
        let head = 2.0 / (D_MODEL as f32).sqrt();
        let embedding = if self.is_tied { head } else { 1.0 };
        list.add(
            "model.embed_tokens.weight".into(),
            &[n_rows, D_MODEL],
            0.0,
            embedding,
        );
        list.norm("model.norm".into(), D_MODEL, 1.0);
        if !self.is_tied {
            list.add("lm_head.weight".into(), &[n_rows, D_MODEL], 0.0, head);
        }
        for layer in 0..N_LAYERS {
            self.attention(&mut list, layer);
            self.feed_forward(&mut list, layer);
        }
        list.0
    }

    /// Queries and keys so large that attention chooses: a wrong order of their rows must not go unseen.
    fn attention(&self, list: &mut List, layer: usize) {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let (queries, keys) = (N_HEADS * self.head_dim, self.n_kv_heads * self.head_dim);
        let gain = 1.5;
        for (part, rows, gain) in [("q", queries, gain), ("k", keys, gain), ("v", keys, 1.0)] {
            list.matrix(name(&format!("self_attn.{part}_proj")), rows, D_MODEL, gain);
            if self.family == "qwen2" {
                list.add(name(&format!("self_attn.{part}_proj.bias")), &[rows], 0.0, 0.2);
            }
        }
        list.matrix(name("self_attn.o_proj"), D_MODEL, queries, 1.0);
        let (q_norm, k_norm) = match self.qk_norm {
            QkNorm::None => return,
            QkNorm::Whole => (queries, keys),
            QkNorm::PerHead => (self.head_dim, self.head_dim),
        };
        list.norm(name("self_attn.q_norm"), q_norm, gain);
        list.norm(name("self_attn.k_norm"), k_norm, gain);
    }

    fn feed_forward(&self, list: &mut List, layer: usize) {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let norms = if self.family == "olmo2" {
            ["post_attention_layernorm", "post_feedforward_layernorm"]
        } else {
            ["input_layernorm", "post_attention_layernorm"]
        };
        for norm in norms {
            list.norm(name(norm), D_MODEL, 1.0);
        }
        let (experts, width) = if self.is_sparse {
            list.matrix(name("mlp.gate"), N_EXPERTS, D_MODEL, 1.0);
            let experts = (0..N_EXPERTS).map(|expert| name(&format!("mlp.experts.{expert}")));
            (experts.collect(), D_FF_EXPERT)
        } else {
            (vec![name("mlp")], D_FF)
        };
        for expert in experts {
            list.matrix(format!("{expert}.gate_proj"), width, D_MODEL, 1.0);
            list.matrix(format!("{expert}.up_proj"), width, D_MODEL, 1.0);
            list.matrix(format!("{expert}.down_proj"), D_MODEL, width, 1.0);
        }
    }
}

/// A tensor of normal numbers.
struct Tensor {
    name: String,
    shape: Vec<usize>,
    mean: f32,
    deviation: f32,
}

struct List(Vec<Tensor>);

impl List {
    fn add(&mut self, name: String, shape: &[usize], mean: f32, deviation: f32) {
        self.0.push(Tensor {
            name,
            shape: shape.to_vec(),
            mean,
            deviation,
        });
    }

    /// A matrix whose outputs are `gain` times as large as its inputs.
    fn matrix(&mut self, name: String, rows: usize, columns: usize, gain: f32) {
        let deviation = gain / (columns as f32).sqrt();
        self.add(format!("{name}.weight"), &[rows, columns], 0.0, deviation);
    }

    fn norm(&mut self, name: String, len: usize, mean: f32) {
        self.add(format!("{name}.weight"), &[len], mean, 0.1);
    }
}

/// The bytes of a safetensors file in bf16.
fn safetensors(tensors: &[Tensor], rng: &mut Rng) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for tensor in tensors {
        let start = data.len();
        for _ in 0..tensor.shape.iter().product() {
            let value = tensor.deviation.mul_add(rng.normal_f32(), tensor.mean);
            data.extend_from_slice(&value.to_le_bytes()[2..]);
        }
        let entry = json!({"dtype": "BF16", "shape": tensor.shape, "data_offsets": [start, data.len()]});
        header.insert(tensor.name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let n_header = header.len() as u64;
    [&n_header.to_le_bytes(), header.as_bytes(), &data].concat()
}

/// A `tokenizer.json` with merges learnt from `text`.
fn tokenizer(split: &str, text: &str) -> Value {
    let mut tokens: Vec<String> = (0..=255).map(|byte| char_of(byte).to_string()).collect();
    // A space belongs to the word after it.
    let text = text.replace(' ', "\0 ");
    let mut words: Vec<Vec<String>> = text
        .split('\0')
        .map(|word| word.bytes().map(|byte| char_of(byte).to_string()).collect())
        .collect();
    let mut merges = Vec::new();
    while merges.len() < N_MERGES {
        let mut pairs: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for pair in words.iter().flat_map(|word| word.windows(2)) {
            *pairs.entry((&pair[0], &pair[1])).or_default() += 1;
        }
        let Some(((left, right), _)) = pairs.iter().max_by_key(|(_, n)| **n) else {
            break;
        };
        let (left, right) = ((*left).to_owned(), (*right).to_owned());
        let merged = format!("{left}{right}");
        for word in &mut words {
            merge(word, &left, &right);
        }
        if !tokens.contains(&merged) {
            tokens.push(merged);
        }
        merges.push(json!([left, right]));
    }
    let n = tokens.len();
    let vocab: serde_json::Map<_, _> = tokens.into_iter().zip((0..).map(Value::from)).collect();
    let added = SPECIAL.iter().chain([&ADDED]).enumerate().map(|(i, content)| {
        json!({"id": n + i, "content": content, "special": *content != ADDED, "normalized": false,
               "single_word": false, "lstrip": false, "rstrip": false})
    });
    json!({
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": matches!(split, "olmo" | "qwen2").then(|| json!({"type": "NFC"})),
        "pre_tokenizer": pre_tokenizer(split),
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": merges, "ignore_merges": split == "llama-bpe"},
    })
}

/// Joins neighbours.
fn merge(word: &mut Vec<String>, left: &str, right: &str) {
    let mut at = 0;
    while at + 1 < word.len() {
        if word[at] == left && word[at + 1] == right {
            word[at].push_str(right);
            word.remove(at + 1);
        }
        at += 1;
    }
}

/// The splitting as released `tokenizer.json` files have it.
fn pre_tokenizer(split: &str) -> Value {
    let byte_level = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    let sequence = |first: Value, use_regex| json!({"type": "Sequence", "pretokenizers": [first, byte_level(use_regex)]});
    // cl100k's, with so many digits together.
    let pattern = |digits: &str| {
        let regex = format!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        );
        json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
    };
    match split {
        "smollm" => sequence(json!({"type": "Digits", "individual_digits": true}), true),
        "llama-bpe" | "dbrx" => sequence(pattern("{1,3}"), false),
        "qwen2" => sequence(pattern(""), false),
        _ => byte_level(true),
    }
}

/// The character that stands for a byte in vocabularies: itself where it can be seen, else one from 256 on.
fn char_of(byte: u8) -> char {
    let is_seen = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if is_seen(byte) {
        return char::from(byte);
    }
    let n_before = (0..byte).filter(|byte| !is_seen(*byte)).count();
    char::from_u32(256 + n_before as u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stand_as_in_gpt_2() {
        assert_eq!(
            [b' ', b'\n', b'a', 0xAD, 0, 0xFF].map(char_of),
            ['Ġ', 'Ċ', 'a', 'Ń', 'Ā', 'ÿ']
        );
    }

    #[test]
    fn frequent_pairs_become_tokens() {
        let tokenizer = tokenizer("gpt-2", "abab abab 한국 한국");
        let merges = &tokenizer["model"]["merges"];
        assert_eq!(merges[0], json!(["a", "b"]));
        assert!(merges.as_array().is_some_and(|merges| merges.len() > 5));
    }
}
