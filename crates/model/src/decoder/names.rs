//! What each weight is called in GGUF files and in Hugging Face checkpoints.
//!
//! Names only: which weights a family has is decided where they are loaded.

/// Where names come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// GGUF: `blk.0.attn_q.weight`.
    Gguf,
    /// Hugging Face: `model.layers.0.self_attn.q_proj.weight`.
    HuggingFace,
}

/// A weight outside the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global {
    Embedding,
    Norm,
    Head,
}

/// A weight of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    AttentionNorm,
    Query,
    Key,
    Value,
    Output,
    QueryNorm,
    KeyNorm,
    /// After attention, before the sum (OLMo 2).
    AttentionPostNorm,
    FeedForwardNorm,
    /// After the feed-forward layer, before the sum (OLMo 2).
    FeedForwardPostNorm,
    Gate,
    Up,
    Down,
    Router,
    ExpertGate,
    ExpertUp,
    ExpertDown,
}

impl Naming {
    pub(crate) fn global(self, global: Global) -> &'static str {
        match (self, global) {
            (Self::Gguf, Global::Embedding) => "token_embd.weight",
            (Self::Gguf, Global::Norm) => "output_norm.weight",
            (Self::Gguf, Global::Head) => "output.weight",
            (Self::HuggingFace, Global::Embedding) => "model.embed_tokens.weight",
            (Self::HuggingFace, Global::Norm) => "model.norm.weight",
            (Self::HuggingFace, Global::Head) => "lm_head.weight",
        }
    }

    /// The name of a layer's weight without `.weight` or `.bias`. Experts of a GGUF file are one stack.
    pub(crate) fn stem(self, layer: usize, part: Part) -> String {
        match self {
            Self::Gguf => format!("blk.{layer}.{}", gguf(part)),
            Self::HuggingFace => format!("model.layers.{layer}.{}", hugging_face(part)),
        }
    }

    /// The name of one expert's weight where experts are stored one by one.
    pub(crate) fn expert(self, layer: usize, part: Part, expert: usize) -> Option<String> {
        let projection = match (self, part) {
            (Self::HuggingFace, Part::ExpertGate) => "gate_proj",
            (Self::HuggingFace, Part::ExpertUp) => "up_proj",
            (Self::HuggingFace, Part::ExpertDown) => "down_proj",
            _ => return None,
        };
        Some(format!(
            "model.layers.{layer}.mlp.experts.{expert}.{projection}.weight"
        ))
    }
}

fn gguf(part: Part) -> &'static str {
    match part {
        Part::AttentionNorm => "attn_norm",
        Part::Query => "attn_q",
        Part::Key => "attn_k",
        Part::Value => "attn_v",
        Part::Output => "attn_output",
        Part::QueryNorm => "attn_q_norm",
        Part::KeyNorm => "attn_k_norm",
        Part::AttentionPostNorm => "post_attention_norm",
        Part::FeedForwardNorm => "ffn_norm",
        Part::FeedForwardPostNorm => "post_ffw_norm",
        Part::Gate => "ffn_gate",
        Part::Up => "ffn_up",
        Part::Down => "ffn_down",
        Part::Router => "ffn_gate_inp",
        Part::ExpertGate => "ffn_gate_exps",
        Part::ExpertUp => "ffn_up_exps",
        Part::ExpertDown => "ffn_down_exps",
    }
}

fn hugging_face(part: Part) -> &'static str {
    match part {
        Part::AttentionNorm => "input_layernorm",
        Part::Query => "self_attn.q_proj",
        Part::Key => "self_attn.k_proj",
        Part::Value => "self_attn.v_proj",
        Part::Output => "self_attn.o_proj",
        Part::QueryNorm => "self_attn.q_norm",
        Part::KeyNorm => "self_attn.k_norm",
        // The same name means the norm before the feed-forward layer where a family has that one.
        Part::AttentionPostNorm | Part::FeedForwardNorm => "post_attention_layernorm",
        Part::FeedForwardPostNorm => "post_feedforward_layernorm",
        Part::Gate => "mlp.gate_proj",
        Part::Up => "mlp.up_proj",
        Part::Down => "mlp.down_proj",
        Part::Router => "mlp.gate",
        Part::ExpertGate => "mlp.experts.gate_proj",
        Part::ExpertUp => "mlp.experts.up_proj",
        Part::ExpertDown => "mlp.experts.down_proj",
    }
}
