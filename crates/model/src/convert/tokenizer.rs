//! A folder's tokenizer as GGUF keys.
//!
//! Vocabulary, merges and splitting from `tokenizer.json`; special tokens and the chat template from the files
//! beside it. The result is compared with the folder's own tokenizer on a text before anything is written.

use std::path::Path;

use serde_json::Value;
use weights::gguf::{Array, Metadata, Writer};

use super::ConvertError;
use crate::config::Config;
use crate::open::CONFIG_FILE;
use crate::tokenizer::{Export, MAX_JSON_BYTES, OLMOE_PLACEHOLDER, Tokenizer, begin_token};

/// What every tokenizer file is called.
const TOKENIZER_FILE: &str = "tokenizer.json";
/// The token that OLMoE's files mean when they name a placeholder.
const END_OF_TEXT: &str = "<|endoftext|>";
/// Letters, digits, spaces, marks, contractions and other scripts: what splittings differ on.
const CHECK: &str = "Hello, world! I'll pay 1234567.89 €  for\n\n\tthat:   ABC's don't\r\n x=[1,22,333]; \
                     한국어 문장 3개, e\u{301}te\u{301} naïve — 中文 ١٢٣ <|endoftext|> _snake_case  \n   end ";

/// A file without a tokenizer.
pub(super) fn none(writer: &mut Writer, config: &Config, notes: &mut Vec<String>) {
    writer.set("tokenizer.ggml.model", "none");
    if let Some(eos) = config.eos_ids.first() {
        writer.set("tokenizer.ggml.eos_token_id", *eos);
    }
    notes.push("the file has no tokenizer: it computes, but cannot read or write text".to_owned());
}

/// Sets the tokenizer's keys.
pub(super) fn describe(
    writer: &mut Writer,
    folder: &Path,
    config: &Config,
    notes: &mut Vec<String>,
) -> Result<(), ConvertError> {
    let path = folder.join(TOKENIZER_FILE);
    let Some(text) = text_of(&path)? else {
        return Err(ConvertError::NoTokenizer { path });
    };
    let mut export = Export::read(&text)?;
    if export.tokens.len() > config.vocab_size {
        return Err(ConvertError::Vocabulary {
            found: export.tokens.len(),
            rows: config.vocab_size,
        });
    }
    export.pad(config.vocab_size);
    let files = Files {
        tokenizer: json(&path, Some(&text))?,
        tokenizer_config: read_json(folder, "tokenizer_config.json")?,
        config: read_json(folder, CONFIG_FILE)?,
        generation: read_json(folder, "generation_config.json")?,
    };
    let mut keys = Metadata::new();
    keys.set("tokenizer.ggml.model", "gpt2");
    keys.set("tokenizer.ggml.pre", export.pre);
    special(&mut keys, &files, &export, config);
    keys.set("tokenizer.ggml.add_bos_token", files.adds_bos());
    templates(&mut keys, folder, &files.tokenizer_config)?;
    if keys.get("tokenizer.chat_template").is_none() {
        notes.push("the folder has no chat template".to_owned());
    }
    keys.set("tokenizer.ggml.tokens", Array::Text(export.tokens));
    keys.set("tokenizer.ggml.token_type", Array::I32(export.types));
    keys.set("tokenizer.ggml.merges", Array::Text(export.merges));
    let written = Tokenizer::from_gguf(&keys)?;
    if written.encode(CHECK) != export.tokenizer.encode(CHECK) {
        return Err(ConvertError::TokenizerDiffers { pre: export.pre });
    }
    for (key, value) in keys.iter() {
        writer.set(key, value.clone());
    }
    Ok(())
}

/// The folder's JSON files; null where absent.
struct Files {
    tokenizer: Value,
    tokenizer_config: Value,
    config: Value,
    generation: Value,
}

impl Files {
    /// Whether the begin token belongs in front of a text: as stated, else as the post-processor does it.
    fn adds_bos(&self) -> bool {
        if let Some(stated) = self.tokenizer_config["add_bos_token"].as_bool() {
            return stated;
        }
        begin_token(&self.tokenizer["post_processor"]).is_some()
    }

    /// The id of the special token `name` ("eos"), by its text or else as the configuration numbers it.
    fn id(&self, name: &str, export: &Export) -> Option<u32> {
        let stated = &self.tokenizer_config[format!("{name}_token")];
        let text = stated.as_str().or_else(|| stated["content"].as_str());
        let by_text = text.and_then(|text| position(export, text));
        by_text.or_else(|| {
            let key = format!("{name}_token_id");
            [&self.config, &self.generation]
                .into_iter()
                .find_map(|file| ids(&file[&key]).first().copied())
        })
    }
}

/// One id, a list of ids, or nothing.
fn ids(value: &Value) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Value::Array(list) => list.iter().filter_map(id).collect(),
        value => id(value).into_iter().collect(),
    }
}

fn position(export: &Export, text: &str) -> Option<u32> {
    let at = export.tokens.iter().position(|token| token == text)?;
    u32::try_from(at).ok()
}

/// The ids with a meaning; tokens that end a text besides the first are said to end a turn and a message.
fn special(keys: &mut Metadata, files: &Files, export: &Export, config: &Config) {
    let valid = |id: &u32| (*id as usize) < export.tokens.len();
    let is_placeholder = |id: u32| {
        export
            .tokens
            .get(id as usize)
            .is_some_and(|t| t == OLMOE_PLACEHOLDER)
    };
    let corrected = |id: u32| match position(export, END_OF_TEXT) {
        Some(end) if is_placeholder(id) => end,
        _ => id,
    };
    for (name, key) in [("bos", "bos"), ("unk", "unknown"), ("pad", "padding")] {
        if let Some(id) = files.id(name, export).filter(valid) {
            keys.set(format!("tokenizer.ggml.{key}_token_id"), corrected(id));
        }
    }
    let stated = files.id("eos", export).filter(valid).map(corrected);
    let listed = ids(&files.generation["eos_token_id"]);
    let all = stated
        .into_iter()
        .chain(config.eos_ids.iter().copied())
        .chain(listed);
    let mut ends: Vec<u32> = Vec::new();
    for id in all.filter(valid).map(corrected) {
        if !ends.contains(&id) {
            ends.push(id);
        }
    }
    for (id, key) in ends.into_iter().zip(["eos", "eot", "eom"]) {
        keys.set(format!("tokenizer.ggml.{key}_token_id"), id);
    }
}

/// The chat template, from its own file or from `tokenizer_config.json`, and others with names.
fn templates(keys: &mut Metadata, folder: &Path, tokenizer_config: &Value) -> Result<(), ConvertError> {
    let template = &tokenizer_config["chat_template"];
    let mut default = text_of(&folder.join("chat_template.jinja"))?.or(template.as_str().map(str::to_owned));
    let mut names = Vec::new();
    for entry in template.as_array().into_iter().flatten() {
        let (Some(name), Some(text)) = (entry["name"].as_str(), entry["template"].as_str()) else {
            continue;
        };
        if name == "default" {
            default.get_or_insert_with(|| text.to_owned());
        } else {
            keys.set(format!("tokenizer.chat_template.{name}"), text);
            names.push(name.to_owned());
        }
    }
    if !names.is_empty() {
        keys.set("tokenizer.chat_templates", Array::Text(names));
    }
    if let Some(default) = default.filter(|text| !text.is_empty()) {
        keys.set("tokenizer.chat_template", default);
    }
    Ok(())
}

/// A file's text; `None` if it is not there.
fn text_of(path: &Path) -> Result<Option<String>, ConvertError> {
    let Ok(metadata) = stdx::fs::metadata(path) else {
        return Ok(None);
    };
    if metadata.len() > MAX_JSON_BYTES {
        return Err(ConvertError::Json {
            path: path.to_owned(),
            reason: format!("it has more than {MAX_JSON_BYTES} bytes"),
        });
    }
    Ok(Some(stdx::fs::read_to_string(path)?))
}

fn read_json(folder: &Path, name: &str) -> Result<Value, ConvertError> {
    let path = folder.join(name);
    let text = text_of(&path)?;
    json(&path, text.as_deref())
}

fn json(path: &Path, text: Option<&str>) -> Result<Value, ConvertError> {
    text.map_or(Ok(Value::Null), |text| {
        serde_json::from_str(text).map_err(|error| ConvertError::Json {
            path: path.to_owned(),
            reason: error.to_string(),
        })
    })
}
