//! Chat templates: a conversation to the text that the model was trained on.
//!
//! Templates are foreign programs in the Jinja language, so they run without input or output, with limits on
//! length, steps and memory, in an environment like that of the transformers library (trimmed blocks, Python
//! methods, `raise_exception`). There is no clock: `strftime_now` is not defined. A model without a template gets
//! its family's, or ChatML where its vocabulary has the markers. Not here: which tokens end an answer.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use minijinja::machinery::{Token, ast, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind};
use thiserror::Error;
use weights::gguf::{GgufError, Metadata};

use crate::ChatMessage;
use crate::tokenizer::Tokenizer;

/// Longest template in bytes; published ones have up to some 20 KB.
pub const MAX_TEMPLATE_BYTES: usize = 1 << 20;
/// Longest conversation in bytes.
pub const MAX_CONVERSATION_BYTES: usize = 16 << 20;
/// Longest JSON file looked into for a template, in bytes.
pub const MAX_JSON_BYTES: u64 = 256 << 20;
/// Steps of one rendering; also bounds its memory to 64 bytes a step.
const FUEL: u64 = 2_000_000;
/// Words and signs of one tag; published templates have up to some 150. The engine's parser, its compiler and the end
/// of a template's life recurse once for each in `not not …` or `a + b + …`, without a limit of their own.
const MAX_TAG_TOKENS: usize = 1000;
/// `elif` of a template; each recurses like a sign.
const MAX_ELIFS: usize = 250;
/// Marks what a template says through `raise_exception`.
const REFUSAL: &str = "refused by the template: ";
/// The only template of an environment.
const NAME: &str = "chat";

/// The format of OLMoE's instruction-tuned models: the end token first and after every answer; the role markers
/// are plain text.
const OLMOE: &str = "{{ '<|endoftext|>' }}\
{% for message in messages %}\
{% if message['role'] == 'assistant' %}\
{{ '<|assistant|>\\n' + message['content'] + '<|endoftext|>' }}{% if not loop.last %}{{ '\\n' }}{% endif %}\
{% else %}\
{{ '<|' + message['role'] + '|>\\n' + message['content'] + '\\n' }}\
{% endif %}\
{% endfor %}\
{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}";

/// ChatML, for models whose vocabulary has its markers.
const CHATML: &str = "{% for message in messages %}\
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}\
{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// The templates of models that bring none.
#[cfg(test)]
pub(crate) const FALLBACKS: [&str; 2] = [OLMOE, CHATML];

/// ChatML's markers.
const CHATML_TOKENS: [&str; 2] = ["<|im_start|>", "<|im_end|>"];

/// Why a conversation could not be rendered.
#[derive(Debug, Error)]
pub enum TemplateError {
    /// The model has no template and its vocabulary fits none that is known.
    #[error(
        "the model has no chat template, and its vocabulary has no ChatML markers; use raw completion, or an instruction-tuned model"
    )]
    Absent,
    /// Template or conversation beyond its limit.
    #[error("{what} has {found} bytes, more than the limit of {limit}; shorten it")]
    Limit {
        /// Which.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The template is not valid Jinja, or uses what is not supported.
    #[error("the model's chat template cannot be used: {reason}; use raw completion, or another model")]
    Syntax {
        /// The parser's words, with the line.
        reason: String,
    },
    /// The template refuses these messages (roles that do not alternate, for instance).
    #[error("the model's chat template refuses the conversation: {reason}")]
    Refused {
        /// The template's words.
        reason: String,
    },
    /// The template failed or ran out of steps.
    #[error("the model's chat template failed: {reason}; use raw completion, or another model")]
    Render {
        /// The engine's words, with the line.
        reason: String,
    },
    /// The metadata's template is no text.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A folder's file cannot be read.
    #[error(transparent)]
    Fs(#[from] stdx::fs::FsError),
    /// A folder's file is not the JSON it should be.
    #[error("{file} is not valid: {reason}; fetch the folder again")]
    Json {
        /// The file.
        file: &'static str,
        /// The parser's words.
        reason: String,
    },
}

/// A chat template, compiled.
pub struct ChatTemplate {
    source: String,
    /// The reason instead, if it does not compile: raw completion works all the same.
    environment: Result<Environment<'static>, String>,
    /// Texts of the begin and end tokens, where the folder states them.
    bos: Option<String>,
    eos: Option<String>,
}

impl ChatTemplate {
    /// Compiles a template. One that is not valid fails when it is used, not here.
    ///
    /// # Errors
    /// When it is too long.
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        limited("the model's chat template", source.len(), MAX_TEMPLATE_BYTES)?;
        let environment = compile(&without_generation_tags(source)).map_err(|error| describe(&error));
        Ok(Self {
            source: source.to_owned(),
            environment,
            bos: None,
            eos: None,
        })
    }

    /// The template of a GGUF file, else its family's, else ChatML if the vocabulary has the markers, else none.
    ///
    /// # Errors
    /// When the template is no text or too long.
    pub fn from_gguf(metadata: &Metadata) -> Result<Option<Self>, TemplateError> {
        if let Some(source) = metadata
            .opt_text("tokenizer.chat_template")?
            .filter(|source| !source.is_empty())
        {
            return Self::new(source).map(Some);
        }
        let tokens = metadata.opt_texts("tokenizer.ggml.tokens")?.unwrap_or_default();
        let has = |text: &str| tokens.iter().any(|token| token == text);
        let olmoe = metadata.opt_text("general.architecture")? == Some("olmoe");
        fallback(olmoe, CHATML_TOKENS.into_iter().all(has))
    }

    /// The template of a hub folder (`chat_template.jinja`, else in `tokenizer_config.json`), else as for GGUF.
    ///
    /// # Errors
    /// When a file cannot be read, is no JSON, or the template is too long.
    pub fn from_folder(folder: &Path) -> Result<Option<Self>, TemplateError> {
        let config = read_json(folder, "tokenizer_config.json")?;
        let template = match read_text(folder, "chat_template.jinja", MAX_TEMPLATE_BYTES as u64)? {
            Some(source) => Some(Self::new(&source)?),
            None => match template_text(&config) {
                Some(source) => Some(Self::new(source)?),
                None => {
                    let olmoe = read_json(folder, "config.json")?["model_type"] == "olmoe";
                    let tokenizer = read_json(folder, "tokenizer.json")?;
                    fallback(olmoe, has_chatml_tokens(&tokenizer))?
                }
            },
        };
        Ok(template.map(|template| Self {
            bos: token_text(&config["bos_token"]),
            eos: token_text(&config["eos_token"]),
            ..template
        }))
    }

    /// The template's text, as the model file has it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders a conversation with the beginning of the answer at the end, for [`Tokenizer::encode_prompt`].
    ///
    /// What looks like a special token inside a message is [shielded](Tokenizer::shield), so a message cannot
    /// end its turn and speak in another's name.
    ///
    /// # Errors
    /// When the template is not valid, refuses the messages, or takes too many steps.
    pub fn render(&self, messages: &[ChatMessage], tokenizer: &Tokenizer) -> Result<String, TemplateError> {
        let environment = self
            .environment
            .as_ref()
            .map_err(|reason| TemplateError::Syntax {
                reason: reason.clone(),
            })?;
        let n_bytes = messages
            .iter()
            .map(|message| message.role.len() + message.content.len())
            .sum();
        limited("the conversation", n_bytes, MAX_CONVERSATION_BYTES)?;
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| shielded(message, tokenizer))
            .collect();
        let special = tokenizer.special_ids();
        let context = Value::from(BTreeMap::from([
            ("messages", Value::from(messages)),
            ("add_generation_prompt", Value::from(true)),
            (
                "bos_token",
                Value::from(token_or(self.bos.as_deref(), special.bos, tokenizer)),
            ),
            (
                "eos_token",
                Value::from(token_or(self.eos.as_deref(), special.eos, tokenizer)),
            ),
            ("pad_token", Value::from(token_or(None, special.pad, tokenizer))),
            ("unk_token", Value::from(token_or(None, special.unk, tokenizer))),
        ]));
        let template = environment.get_template(NAME).map_err(failed)?;
        template.render(context).map_err(failed)
    }
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

fn limited(what: &'static str, found: usize, limit: usize) -> Result<(), TemplateError> {
    if found > limit {
        return Err(TemplateError::Limit { what, found, limit });
    }
    Ok(())
}

/// The template of a model that brings none.
fn fallback(olmoe: bool, chatml: bool) -> Result<Option<ChatTemplate>, TemplateError> {
    match (olmoe, chatml) {
        (true, _) => ChatTemplate::new(OLMOE).map(Some),
        (false, true) => ChatTemplate::new(CHATML).map(Some),
        (false, false) => Ok(None),
    }
}

fn syntax() -> Result<SyntaxConfig, Error> {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
}

/// Refuses what would need more stack than a thread has.
fn refuse_deep(source: &str) -> Result<(), Error> {
    let (mut n_tokens, mut n_elifs) = (0, 0);
    for token in tokenize(source, false, syntax()?) {
        // Broken text is the parser's to explain; it gets no further than this loop.
        let Ok((token, _)) = token else { return Ok(()) };
        match token {
            Token::BlockStart | Token::VariableStart => n_tokens = 0,
            Token::Ident("elif") => n_elifs += 1,
            _ => n_tokens += 1,
        }
        if n_tokens > MAX_TAG_TOKENS || n_elifs > MAX_ELIFS {
            let what = format!(
                "a tag has more than {MAX_TAG_TOKENS} parts, or there are more than {MAX_ELIFS} `elif`"
            );
            return Err(Error::new(ErrorKind::SyntaxError, what));
        }
    }
    Ok(())
}

/// What the engine understands of a template; [`without_generation_tags`] comes first.
pub(crate) fn parse(source: &str) -> Result<ast::Stmt<'_>, String> {
    let parsed = refuse_deep(source)
        .and_then(|()| syntax())
        .and_then(|syntax| minijinja::machinery::parse(source, NAME, syntax));
    parsed.map_err(|error| describe(&error))
}

/// An environment like transformers': blocks trimmed, Python's methods, no escaping, no files.
fn compile(source: &str) -> Result<Environment<'static>, Error> {
    refuse_deep(source)?;
    let mut environment = Environment::new();
    environment.set_syntax(syntax()?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_fuel(Some(FUEL));
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("{REFUSAL}{message}"),
        ))
    });
    environment.add_template_owned(NAME, source.to_owned())?;
    Ok(environment)
}

fn shielded(message: &ChatMessage, tokenizer: &Tokenizer) -> Value {
    Value::from(BTreeMap::from([
        ("role", Value::from(tokenizer.shield(&message.role).into_owned())),
        (
            "content",
            Value::from(tokenizer.shield(&message.content).into_owned()),
        ),
    ]))
}

/// The text of a special token: as the folder states it, else as the vocabulary has it, else nothing.
fn token_or(stated: Option<&str>, id: Option<u32>, tokenizer: &Tokenizer) -> String {
    match (stated, id) {
        (Some(text), _) => text.to_owned(),
        (None, Some(id)) => tokenizer.decode(&[id], false),
        (None, None) => String::new(),
    }
}

fn failed(error: Error) -> TemplateError {
    match error.detail().and_then(|detail| detail.strip_prefix(REFUSAL)) {
        Some(reason) => TemplateError::Refused {
            reason: reason.to_owned(),
        },
        None => TemplateError::Render {
            reason: describe(&error),
        },
    }
}

/// The engine's words without the source listing.
fn describe(error: &Error) -> String {
    let detail = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("{detail} (line {line})"),
        None => detail,
    }
}

/// Replaces transformers' `{% generation %}` blocks, which only mark text for training.
pub(crate) fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let Some(end) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(end);
        let name = tag
            .trim_start_matches(['{', '%', '-', '+'])
            .trim_end_matches(['-', '+'])
            .trim();
        match name {
            "generation" => out.push_str(&tag.replacen("generation", "if true", 1)),
            "endgeneration" => out.push_str(&tag.replacen("endgeneration", "endif", 1)),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn read_text(folder: &Path, file: &'static str, limit: u64) -> Result<Option<String>, TemplateError> {
    let path = folder.join(file);
    let Ok(metadata) = stdx::fs::metadata(&path) else {
        return Ok(None);
    };
    if metadata.len() > limit {
        let found = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        return Err(TemplateError::Limit {
            what: file,
            found,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        });
    }
    Ok(Some(stdx::fs::read_to_string(&path)?))
}

/// A JSON file of the folder; null if absent.
fn read_json(folder: &Path, file: &'static str) -> Result<serde_json::Value, TemplateError> {
    match read_text(folder, file, MAX_JSON_BYTES)? {
        None => Ok(serde_json::Value::Null),
        Some(text) => serde_json::from_str(&text).map_err(|error| TemplateError::Json {
            file,
            reason: error.to_string(),
        }),
    }
}

/// The template in a `tokenizer_config.json`: a text, or a list of named ones of which `default` counts.
fn template_text(config: &serde_json::Value) -> Option<&str> {
    let template = &config["chat_template"];
    let default = || {
        template
            .as_array()?
            .iter()
            .find(|entry| entry["name"] == "default")?["template"]
            .as_str()
    };
    template.as_str().or_else(default)
}

/// A special token in a `tokenizer_config.json`: a text, or an object that holds it.
///
/// Some OLMoE folders name the placeholder of network addresses (id 0); no model begins or ends with that.
fn token_text(token: &serde_json::Value) -> Option<String> {
    let text = token.as_str().or_else(|| token["content"].as_str())?;
    Some(
        if text == crate::tokenizer::OLMOE_PLACEHOLDER {
            "<|endoftext|>"
        } else {
            text
        }
        .to_owned(),
    )
}

fn has_chatml_tokens(tokenizer: &serde_json::Value) -> bool {
    let added = tokenizer["added_tokens"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    CHATML_TOKENS
        .into_iter()
        .all(|text| added.iter().any(|token| token["content"] == text))
}
