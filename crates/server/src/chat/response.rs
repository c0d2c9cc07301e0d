//! What `/v1/chat/completions` answers, to OpenAI's letter, plus `grounded` and `hanok`.

use model::{Logprobs, Model, StopReason, TokenLogprob};
use serde::Serialize;

use crate::wire::AskJson;

/// What stands for the logarithm of a vanishing probability, which JSON cannot write; OpenAI's number.
const LOGPROB_MIN: f32 = -9999.0;

/// Tokens used.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: usize,
    pub(crate) completion_tokens: usize,
    pub(crate) total_tokens: usize,
    /// Where some of the prompt was in memory already.
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct PromptDetails {
    cached_tokens: usize,
}

impl Usage {
    pub(crate) fn new(prompt_tokens: usize, completion_tokens: usize) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
            prompt_tokens_details: None,
        }
    }

    /// Says how many tokens of the prompt did not have to be processed again.
    pub(crate) fn with_cached(mut self, cached_tokens: usize) -> Self {
        self.prompt_tokens_details = (cached_tokens > 0).then_some(PromptDetails { cached_tokens });
        self
    }
}

/// What every answer to one request has in common.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) model: String,
    pub(crate) grounded: bool,
    pub(crate) include_usage: bool,
}

/// The whole answer.
#[derive(Debug, Serialize)]
pub(crate) struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    grounded: bool,
    choices: Vec<Choice<'a>>,
    usage: Usage,
}

#[derive(Debug, Serialize)]
struct Choice<'a> {
    index: u32,
    message: Message<'a>,
    logprobs: Option<LogprobsJson<'a>>,
    finish_reason: &'static str,
}

#[derive(Debug, Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
    refusal: Option<()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hanok: Option<&'a AskJson>,
}

/// One piece of a stream.
#[derive(Debug, Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    grounded: bool,
    choices: Vec<ChunkChoice<'a>>,
    /// Absent unless asked for, then null in all chunks but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hanok: Option<&'a AskJson>,
}

#[derive(Debug, Serialize)]
struct ChunkChoice<'a> {
    index: u32,
    delta: Delta<'a>,
    logprobs: Option<LogprobsJson<'a>>,
    finish_reason: Option<&'static str>,
}

impl<'a> ChunkChoice<'a> {
    /// A choice that goes on.
    fn of(index: u32, delta: Delta<'a>) -> Self {
        Self {
            index,
            delta,
            logprobs: None,
            finish_reason: None,
        }
    }
}

#[derive(Debug, Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

/// How likely the tokens of a text were.
#[derive(Debug, Serialize)]
struct LogprobsJson<'a> {
    content: &'a [TokenJson],
    refusal: Option<()>,
}

impl<'a> LogprobsJson<'a> {
    fn of(content: &'a [TokenJson]) -> Self {
        Self {
            content,
            refusal: None,
        }
    }
}

/// One token of a text, and the likely ones in its place.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct TokenJson {
    #[serde(flatten)]
    token: LikelyJson,
    top_logprobs: Vec<LikelyJson>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct LikelyJson {
    token: String,
    /// ln p in the model's own distribution, before temperature, penalties and biases.
    logprob: f32,
    /// The token's part of the text: a character may need several tokens. Null for what is no text.
    bytes: Option<Vec<u8>>,
}

impl TokenJson {
    pub(crate) fn of(logprobs: &Logprobs, model: &Model) -> Self {
        Self {
            token: LikelyJson::of(logprobs.chosen, model),
            top_logprobs: logprobs
                .top
                .iter()
                .map(|&top| LikelyJson::of(top, model))
                .collect(),
        }
    }
}

impl LikelyJson {
    fn of(token: TokenLogprob, model: &Model) -> Self {
        let tokenizer = model.tokenizer();
        let bytes = tokenizer.token_bytes(token.id);
        Self {
            token: String::from_utf8_lossy(bytes).into_owned(),
            logprob: token.logprob.max(LOGPROB_MIN),
            bytes: (!tokenizer.is_special(token.id)).then(|| bytes.to_vec()),
        }
    }
}

/// One choice, whole.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) finish_reason: &'static str,
    /// If asked for.
    pub(crate) logprobs: Option<Vec<TokenJson>>,
}

/// Why the generation ended, in OpenAI's words.
pub(crate) fn finish_reason(stop: StopReason) -> &'static str {
    match stop {
        StopReason::EndOfSequence | StopReason::StopText => "stop",
        StopReason::Length => "length",
    }
}

impl Envelope {
    /// The answer in one piece, its choices in order.
    pub(crate) fn whole<'a>(
        &'a self,
        choices: &'a [Said],
        usage: Usage,
        hanok: Option<&'a AskJson>,
    ) -> Completion<'a> {
        let choice = |(index, said): (u32, &'a Said)| Choice {
            index,
            message: Message {
                role: "assistant",
                content: &said.text,
                refusal: None,
                hanok,
            },
            logprobs: said.logprobs.as_deref().map(LogprobsJson::of),
            finish_reason: said.finish_reason,
        };
        Completion {
            id: &self.id,
            object: "chat.completion",
            created: self.created,
            model: &self.model,
            grounded: self.grounded,
            choices: (0..).zip(choices).map(choice).collect(),
            usage,
        }
    }

    /// The first chunk of a choice: who speaks.
    pub(crate) fn role(&self, index: u32) -> String {
        let delta = Delta {
            role: Some("assistant"),
            content: Some(""),
        };
        self.chunk(ChunkChoice::of(index, delta), None)
    }

    /// A piece of a choice's text, with its token if logprobs were asked for.
    pub(crate) fn text(&self, index: u32, text: &str, token: Option<&TokenJson>) -> String {
        let delta = Delta {
            role: None,
            content: Some(text),
        };
        let choice = ChunkChoice {
            logprobs: token.map(|token| LogprobsJson::of(std::slice::from_ref(token))),
            ..ChunkChoice::of(index, delta)
        };
        self.chunk(choice, None)
    }

    /// The end of a choice's text.
    pub(crate) fn end(&self, index: u32, finish_reason: &'static str, hanok: Option<&AskJson>) -> String {
        let choice = ChunkChoice {
            finish_reason: Some(finish_reason),
            ..ChunkChoice::of(index, Delta::default())
        };
        self.chunk(choice, hanok)
    }

    /// The chunk that carries the usage, if it was asked for: no choices, an empty list and never null.
    pub(crate) fn usage(&self, usage: Usage) -> Option<String> {
        let chunk = Chunk {
            usage: Some(Some(usage)),
            ..self.bare(Vec::new(), None)
        };
        self.include_usage.then(|| crate::ask::to_text(&chunk))
    }

    fn chunk(&self, choice: ChunkChoice<'_>, hanok: Option<&AskJson>) -> String {
        crate::ask::to_text(&self.bare(vec![choice], hanok))
    }

    fn bare<'a>(&'a self, choices: Vec<ChunkChoice<'a>>, hanok: Option<&'a AskJson>) -> Chunk<'a> {
        Chunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.created,
            model: &self.model,
            grounded: self.grounded,
            choices,
            usage: self.include_usage.then_some(None),
            hanok,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chunks_of_a_stream_are_exactly_these() {
        let envelope = Envelope {
            id: "chatcmpl-1".into(),
            created: 5,
            model: "m".into(),
            grounded: false,
            include_usage: true,
        };
        let head = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":5,"model":"m","grounded":false,"#;
        let null = r#""usage":null}"#;
        let choice = |delta: &str, reason: &str| {
            format!(r#""choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{reason}}}],"#)
        };
        let role = choice(r#"{"role":"assistant","content":""}"#, "null");
        assert_eq!(envelope.role(0), format!("{head}{role}{null}"));
        assert_eq!(
            envelope.text(0, "é", None),
            format!("{head}{}{null}", choice(r#"{"content":"é"}"#, "null"))
        );
        assert_eq!(
            envelope.end(0, "length", None),
            format!("{head}{}{null}", choice("{}", r#""length""#))
        );
        let usage = r#""choices":[],"usage":{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5}}"#;
        assert_eq!(envelope.usage(Usage::new(2, 3)), Some(format!("{head}{usage}")));
        let silent = Envelope {
            include_usage: false,
            ..envelope
        };
        assert_eq!(silent.usage(Usage::new(2, 3)), None);
        assert!(!silent.text(0, "x", None).contains("usage"));
    }
    #[test]
    fn logprobs_have_openais_shape() {
        let likely = |token: &str, logprob, bytes: Option<&[u8]>| LikelyJson {
            token: token.into(),
            logprob,
            bytes: bytes.map(<[u8]>::to_vec),
        };
        let token = TokenJson {
            token: likely("é", -0.5, Some("é".as_bytes())),
            top_logprobs: vec![likely("<|end|>", LOGPROB_MIN, None)],
        };
        let json = serde_json::to_value(LogprobsJson::of(&[token])).unwrap();
        let expected = serde_json::json!({"refusal": null, "content": [{
            "token": "é", "logprob": -0.5, "bytes": [195, 169],
            "top_logprobs": [{"token": "<|end|>", "logprob": -9999.0, "bytes": null}],
        }]});
        assert_eq!(json, expected);
    }
}
