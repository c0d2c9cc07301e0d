//! A vocabulary for random weights: every byte, one merge, names for the rest, an end token, a plain chat template.
//!
//! Any text can be encoded; generated tokens print as ` w123`.

use weights::gguf::{Array, Writer};

use crate::config::{Config, Family};
use crate::tokenizer::chars_of_bytes;

/// The numbers of `tokenizer.ggml.token_type`.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const UNUSED: i32 = 5;

/// A line for each message.
const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}\
    {% if add_generation_prompt %}assistant:{% endif %}";

/// Sets the tokenizer's keys and the chat template.
pub(super) fn describe(writer: &mut Writer, config: &Config) {
    let eos = config.eos_ids.first().copied().unwrap_or(0);
    let bytes = chars_of_bytes().into_iter().map(String::from);
    let n_sampleable = config.n_sampleable();
    let rest = (256..config.vocab_size).map(|id| match id {
        256 => "Ġt".to_owned(),
        id if id == eos as usize => "<|endoftext|>".to_owned(),
        id if id >= n_sampleable => format!("[PAD{id}]"),
        id => format!("Ġw{id}"),
    });
    let tokens: Vec<String> = bytes.chain(rest).take(config.vocab_size).collect();
    let types = (0..config.vocab_size).map(|id| match id {
        id if id == eos as usize => CONTROL,
        id if id >= n_sampleable => UNUSED,
        _ => NORMAL,
    });
    let pre = match config.family {
        Family::Olmoe => "olmo",
        Family::Olmo2 => "dbrx",
        Family::Llama => "smollm",
        Family::Qwen2 | Family::Qwen3 | Family::Qwen3Moe => "qwen2",
    };
    writer.set("tokenizer.ggml.model", "gpt2");
    writer.set("tokenizer.ggml.pre", pre);
    writer.set("tokenizer.ggml.token_type", Array::I32(types.collect()));
    writer.set("tokenizer.ggml.tokens", Array::Text(tokens));
    writer.set("tokenizer.ggml.merges", Array::Text(vec!["Ġ t".to_owned()]));
    writer.set("tokenizer.ggml.eos_token_id", eos);
    writer.set("tokenizer.ggml.padding_token_id", eos);
    writer.set("tokenizer.ggml.add_bos_token", false);
    writer.set("tokenizer.chat_template", CHAT_TEMPLATE);
}
