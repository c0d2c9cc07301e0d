//! `POST /v1/chat/completions`, read: parsed once into types that cannot hold a wrong value.

use model::{ChatMessage, Constraint, SamplingParams};
use serde_json::Value;

use super::form;
use crate::error::ApiError;
use crate::fields::Fields;

/// Messages of one conversation.
const N_MESSAGES_MAX: usize = 2048;
/// Stop texts, as OpenAI's limit.
const N_STOPS_MAX: usize = 4;
/// Bytes of one stop text.
const STOP_BYTES_MAX: usize = 1024;
/// New tokens a client may ask for; a smaller context ends the generation earlier, with "length".
const MAX_TOKENS_MAX: u64 = 1 << 20;
/// Choices of one request; each is a generation of its own.
const N_CHOICES_MAX: u64 = 16;
/// Likely tokens beside each chosen one, as OpenAI's limit.
const N_TOP_LOGPROBS_MAX: u64 = 20;
/// Tokens with a bias.
const N_BIASES_MAX: usize = 1024;
/// Bytes of a user's name.
const USER_BYTES_MAX: usize = 256;
/// Largest bias either way, as OpenAI's limit.
const BIAS_MAX: f64 = 100.0;

/// A checked request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChatRequest {
    pub(crate) model: String,
    /// Never empty; roles are "system", "user" or "assistant".
    pub(crate) messages: Vec<ChatMessage>,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) stop: Vec<String>,
    pub(crate) max_tokens: Option<usize>,
    pub(crate) sampling: SamplingParams,
    /// At least 1.
    pub(crate) n_choices: usize,
    /// How many likely tokens to name beside each chosen one, if logprobs were asked for.
    pub(crate) n_top_logprobs: Option<usize>,
    /// The form that the output must have, and the field that says so.
    pub(crate) constraint: Option<(&'static str, Constraint)>,
    /// What the client calls the person behind it; empty if it does not say.
    pub(crate) user: String,
}

impl ChatRequest {
    pub(crate) fn parse(body: &Value) -> Result<Self, ApiError> {
        let fields = Fields::of(body)?;
        let model = fields.text("model")?;
        let model = model.ok_or_else(|| ApiError::bad_field("model", "`model` is missing"))?;
        refuse_unsupported(&fields)?;
        let stream = fields.flag("stream")?.unwrap_or(false);
        Ok(Self {
            model: model.to_owned(),
            messages: messages(&fields)?,
            stream,
            include_usage: include_usage(&fields, stream)?,
            stop: stop(&fields)?,
            max_tokens: max_tokens(&fields)?,
            sampling: sampling(&fields)?,
            n_choices: n_choices(&fields)?,
            n_top_logprobs: n_top_logprobs(&fields)?,
            constraint: form::constraint(&fields)?,
            user: user(&fields)?,
        })
    }

    /// Refuses what would change a completion and does nothing to an answer from the documents.
    pub(crate) fn check_grounded(&self) -> Result<(), ApiError> {
        let asked = [
            ("n", self.n_choices > 1),
            ("logprobs", self.n_top_logprobs.is_some()),
            ("logit_bias", !self.sampling.logit_bias.is_empty()),
        ];
        let form = self.constraint.as_ref().map(|(field, _)| *field);
        let field = asked
            .into_iter()
            .find_map(|(field, asked)| asked.then_some(field));
        let Some(field) = field.or(form) else {
            return Ok(());
        };
        let message =
            format!("`{field}` is not supported by `hanok`, which quotes; ask a weight by its own name");
        let mut error = ApiError::bad_field(field, message);
        error.code = Some("unsupported_parameter");
        Err(error)
    }
}

/// What would change the answer and cannot be done is refused, never ignored.
fn refuse_unsupported(fields: &Fields<'_>) -> Result<(), ApiError> {
    let empty = |value: &Value| match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    let none = |value: &Value| matches!(value.as_u64(), Some(0)) || empty(value);
    fields.refuse("tools", empty)?;
    fields.refuse("functions", empty)?;
    fields.refuse("tool_choice", |value| {
        matches!(value.as_str(), Some("none" | "auto"))
    })?;
    fields.refuse("best_of", |value| value.as_u64() == Some(1))?;
    fields.refuse("echo", |value| value == &Value::Bool(false))?;
    fields.refuse("stop_token_ids", empty)?;
    fields.refuse("min_tokens", none)?;
    fields.refuse("ignore_eos", |value| value == &Value::Bool(false))?;
    fields.refuse("bad_words", empty)?;
    fields.refuse("prompt_logprobs", none)
}

fn user(fields: &Fields<'_>) -> Result<String, ApiError> {
    let user = fields.text("user")?.unwrap_or_default();
    if user.len() > USER_BYTES_MAX {
        let message = format!(
            "`user` has {} bytes; at most {USER_BYTES_MAX} are taken",
            user.len()
        );
        return Err(ApiError::bad_field("user", message));
    }
    Ok(user.to_owned())
}

fn n_choices(fields: &Fields<'_>) -> Result<usize, ApiError> {
    let n = fields.whole("n", 1, N_CHOICES_MAX)?.unwrap_or(1);
    // At most sixteen.
    Ok(n as usize)
}

fn n_top_logprobs(fields: &Fields<'_>) -> Result<Option<usize>, ApiError> {
    let wanted = fields.flag("logprobs")?.unwrap_or(false);
    let n_top = fields.whole("top_logprobs", 0, N_TOP_LOGPROBS_MAX)?.unwrap_or(0);
    if n_top > 0 && !wanted {
        let message = "`top_logprobs` is only allowed with `logprobs`: true";
        return Err(ApiError::bad_field("top_logprobs", message));
    }
    Ok(wanted.then_some(n_top as usize))
}

/// Token ids, as text, with what is added to their logits; in the order of the ids.
fn logit_bias(fields: &Fields<'_>) -> Result<Vec<(u32, f32)>, ApiError> {
    let wrong = |message: String| ApiError::bad_field("logit_bias", message);
    let entries = match fields.get("logit_bias") {
        None => return Ok(Vec::new()),
        Some(Value::Object(entries)) => entries,
        Some(_) => {
            return Err(wrong(
                "`logit_bias` must be an object of token ids and numbers".into(),
            ));
        }
    };
    if entries.len() > N_BIASES_MAX {
        let n = entries.len();
        return Err(wrong(format!(
            "`logit_bias` has {n} entries; at most {N_BIASES_MAX} are taken"
        )));
    }
    let mut biases = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let shown: String = key.chars().take(32).collect();
        let id = key.parse().map_err(|_| {
            wrong(format!(
                "`logit_bias` has the key `{shown}`, which is no token id"
            ))
        })?;
        let bias = value
            .as_f64()
            .filter(|bias| (-BIAS_MAX..=BIAS_MAX).contains(bias));
        let bias = bias.ok_or_else(|| {
            wrong(format!(
                "the bias of token {id} must be a number between -{BIAS_MAX} and {BIAS_MAX}"
            ))
        })?;
        // At most a hundred: nothing is lost that a logit could show.
        biases.push((id, bias as f32));
    }
    biases.sort_unstable_by_key(|(id, _)| *id);
    Ok(biases)
}

fn include_usage(fields: &Fields<'_>, stream: bool) -> Result<bool, ApiError> {
    let Some(options) = fields.get("stream_options") else {
        return Ok(false);
    };
    if !stream {
        let message = "`stream_options` is only allowed with `stream`: true";
        return Err(ApiError::bad_field("stream_options", message));
    }
    let options = Fields::of(options)
        .map_err(|_| ApiError::bad_field("stream_options", "`stream_options` must be an object"))?;
    Ok(options.flag("include_usage")?.unwrap_or(false))
}

fn stop(fields: &Fields<'_>) -> Result<Vec<String>, ApiError> {
    let wrong = || {
        let message = format!("`stop` must be a text or a list of at most {N_STOPS_MAX} texts");
        ApiError::bad_field("stop", message)
    };
    let texts = match fields.get("stop") {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) if items.len() <= N_STOPS_MAX => {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>().ok_or_else(wrong)?
        }
        Some(_) => return Err(wrong()),
    };
    if texts
        .iter()
        .any(|text| text.is_empty() || text.len() > STOP_BYTES_MAX)
    {
        let message = format!("a stop text must have 1 to {STOP_BYTES_MAX} bytes");
        return Err(ApiError::bad_field("stop", message));
    }
    Ok(texts)
}

fn max_tokens(fields: &Fields<'_>) -> Result<Option<usize>, ApiError> {
    let new = fields.whole("max_completion_tokens", 1, MAX_TOKENS_MAX)?;
    let old = fields.whole("max_tokens", 1, MAX_TOKENS_MAX)?;
    Ok(new.or(old).and_then(|n| usize::try_from(n).ok()))
}

fn sampling(fields: &Fields<'_>) -> Result<SamplingParams, ApiError> {
    let seed = match fields.seed("seed")? {
        Some(seed) => seed,
        None => random_seed()?,
    };
    let top_k = fields.whole("top_k", 0, u64::from(u32::MAX))?.unwrap_or(0);
    Ok(SamplingParams {
        temperature: fields.number("temperature", 0.0, 2.0)?.unwrap_or(1.0),
        top_k: usize::try_from(top_k).unwrap_or(0),
        top_p: fields.number("top_p", 0.0, 1.0)?.unwrap_or(1.0),
        min_p: fields.number("min_p", 0.0, 1.0)?.unwrap_or(0.0),
        repetition_penalty: fields.number("repetition_penalty", 0.01, 10.0)?.unwrap_or(1.0),
        presence_penalty: fields.number("presence_penalty", -2.0, 2.0)?.unwrap_or(0.0),
        frequency_penalty: fields.number("frequency_penalty", -2.0, 2.0)?.unwrap_or(0.0),
        logit_bias: logit_bias(fields)?,
        seed,
    })
}

fn random_seed() -> Result<u64, ApiError> {
    let hex = stdx::rng::secret_hex(8).map_err(ApiError::internal)?;
    u64::from_str_radix(&hex, 16).map_err(ApiError::internal)
}

fn messages(fields: &Fields<'_>) -> Result<Vec<ChatMessage>, ApiError> {
    let list = fields.list("messages")?;
    if list.is_empty() {
        return Err(ApiError::bad_field(
            "messages",
            "`messages` must hold at least one message",
        ));
    }
    if list.len() > N_MESSAGES_MAX {
        let message = format!(
            "`messages` has {} messages; at most {N_MESSAGES_MAX} are taken",
            list.len()
        );
        return Err(ApiError::bad_field("messages", message));
    }
    list.iter()
        .enumerate()
        .map(|(i, value)| message(i, value))
        .collect()
}

fn message(i: usize, value: &Value) -> Result<ChatMessage, ApiError> {
    let wrong = |what: &str| ApiError::bad_field(format!("messages[{i}]"), format!("`messages[{i}]` {what}"));
    let fields = Fields::of(value).map_err(|_| wrong("must be an object"))?;
    let role = match fields.get("role").and_then(Value::as_str) {
        Some(role @ ("system" | "user" | "assistant")) => role,
        Some("developer") => "system",
        Some("tool" | "function") => return Err(wrong("has the role of a tool; tools are not supported")),
        _ => return Err(wrong("needs a role: system, developer, user or assistant")),
    };
    let content = match fields.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts: Option<Vec<&str>> = parts.iter().map(text_part).collect();
            texts
                .ok_or_else(|| wrong("has a part that is not text; only text is supported"))?
                .concat()
        }
        // An assistant's turn without words is a tool call, and a refusal carries its words elsewhere.
        None if role == "assistant" => fields.text("refusal")?.unwrap_or_default().to_owned(),
        _ => return Err(wrong("needs `content`: a text or a list of text parts")),
    };
    Ok(ChatMessage {
        role: role.to_owned(),
        content,
    })
}

fn text_part(part: &Value) -> Option<&str> {
    match part {
        Value::String(text) => Some(text),
        Value::Object(map) if map.get("type").and_then(Value::as_str) == Some("text") => {
            map.get("text").and_then(Value::as_str)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(extra: &Value) -> Result<ChatRequest, ApiError> {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "seed": 1});
        let map = body.as_object_mut().unwrap();
        for (key, value) in extra.as_object().unwrap() {
            map.insert(key.clone(), value.clone());
        }
        ChatRequest::parse(&body)
    }

    #[test]
    fn defaults_are_openais() {
        let request = with(&json!({"temperature": null, "user": "x", "n": 1, "tools": []})).unwrap();
        assert_eq!(request.user, "x");
        assert_eq!(with(&json!({})).unwrap().user, "");
        assert!(with(&json!({"user": "x".repeat(257)})).is_err());
        assert!(with(&json!({"user": 7})).is_err());
        assert_eq!((request.sampling.temperature, request.sampling.top_p), (1.0, 1.0));
        assert_eq!(
            (request.stream, request.include_usage, request.max_tokens),
            (false, false, None)
        );
    }

    #[test]
    fn every_form_of_stop_and_content_is_read() {
        let request = with(&json!({
            "stop": ["a", "b"], "max_completion_tokens": 5, "max_tokens": 9, "seed": -1,
            "messages": [
                {"role": "developer", "content": [{"type": "text", "text": "be "}, {"type": "text", "text": "kind"}]},
                {"role": "assistant", "content": null}, {"role": "user", "content": "q"}
            ]
        }));
        let request = request.unwrap();
        assert_eq!(request.stop, ["a", "b"]);
        assert_eq!(request.max_tokens, Some(5));
        assert_eq!(request.sampling.seed, u64::MAX);
        assert_eq!(request.messages[0].role, "system");
        assert_eq!(request.messages[0].content, "be kind");
    }

    #[test]
    fn the_sampling_surface_is_read() {
        let request = with(&json!({
            "n": 3, "logprobs": true, "top_logprobs": 2, "logit_bias": {"7": -100, "5": 1.5},
            "presence_penalty": 0.5, "frequency_penalty": -0.5, "repetition_penalty": 1.2, "min_p": 0.1, "top_k": 4,
        }))
        .unwrap();
        assert_eq!((request.n_choices, request.n_top_logprobs), (3, Some(2)));
        assert_eq!(request.sampling.logit_bias, [(5, 1.5), (7, -100.0)]);
        let sampling = &request.sampling;
        assert_eq!(
            (sampling.presence_penalty, sampling.frequency_penalty),
            (0.5, -0.5)
        );
        assert_eq!((sampling.repetition_penalty, sampling.top_k), (1.2, 4));
        assert_eq!(with(&json!({"logprobs": true})).unwrap().n_top_logprobs, Some(0));
        assert_eq!(
            with(&json!({"logprobs": false, "top_logprobs": 0}))
                .unwrap()
                .n_top_logprobs,
            None
        );
    }

    #[test]
    fn an_answer_from_the_documents_takes_no_other_form() {
        assert!(
            with(&json!({"n": 1, "temperature": 0.3}))
                .unwrap()
                .check_grounded()
                .is_ok()
        );
        let cases = [
            (json!({"n": 2}), "n"),
            (json!({"logprobs": true}), "logprobs"),
            (json!({"logit_bias": {"1": 1}}), "logit_bias"),
            (
                json!({"response_format": {"type": "json_object"}}),
                "response_format",
            ),
        ];
        for (extra, param) in cases {
            let error = with(&extra).unwrap().check_grounded().unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{extra}");
        }
    }

    #[test]
    fn a_wrong_value_is_refused_with_the_name_of_its_field() {
        let cases = [
            (json!({"model": null}), "model"),
            (json!({"model": 7}), "model"),
            (json!({"messages": []}), "messages"),
            (json!({"messages": "hi"}), "messages"),
            (json!({"messages": [{"role": "user"}]}), "messages[0]"),
            (
                json!({"messages": [{"role": "king", "content": "x"}]}),
                "messages[0]",
            ),
            (
                json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
                "messages[0]",
            ),
            (json!({"temperature": -0.1}), "temperature"),
            (json!({"temperature": 1e300}), "temperature"),
            (json!({"temperature": "hot"}), "temperature"),
            (json!({"top_p": 1.5}), "top_p"),
            (json!({"max_tokens": -1}), "max_tokens"),
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"max_tokens": 1.5}), "max_tokens"),
            (
                json!({"max_tokens": 18_446_744_073_709_551_615_u64}),
                "max_tokens",
            ),
            (json!({"seed": 1.5}), "seed"),
            (json!({"presence_penalty": 3}), "presence_penalty"),
            (json!({"frequency_penalty": -3}), "frequency_penalty"),
            (json!({"stop": ["a", "b", "c", "d", "e"]}), "stop"),
            (json!({"stop": [1]}), "stop"),
            (json!({"stop": ""}), "stop"),
            (json!({"n": 0}), "n"),
            (json!({"n": 17}), "n"),
            (json!({"stream": "yes"}), "stream"),
            (
                json!({"stream_options": {"include_usage": true}}),
                "stream_options",
            ),
            (json!({"tools": [{}]}), "tools"),
            (json!({"logprobs": 1}), "logprobs"),
            (json!({"top_logprobs": 3}), "top_logprobs"),
            (json!({"logprobs": true, "top_logprobs": 21}), "top_logprobs"),
            (json!({"logit_bias": [1]}), "logit_bias"),
            (json!({"logit_bias": {"x": 1}}), "logit_bias"),
            (json!({"logit_bias": {"-1": 1}}), "logit_bias"),
            (json!({"logit_bias": {"1": 101}}), "logit_bias"),
            (json!({"logit_bias": {"1": "much"}}), "logit_bias"),
            (json!({"tool_choice": "required"}), "tool_choice"),
            (json!({"ignore_eos": true}), "ignore_eos"),
            (json!({"min_tokens": 5}), "min_tokens"),
        ];
        for (extra, param) in cases {
            let error = with(&extra).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{extra}");
            assert_eq!(error.status.as_u16(), 400, "{extra}");
        }
    }
}
