//! What `/v1/chat/completions` answers, to OpenAI's letter, plus `grounded` and `hanok`.

use model::StopReason;
use serde::Serialize;

use crate::wire::AskJson;

/// Tokens used.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: usize,
    pub(crate) completion_tokens: usize,
    pub(crate) total_tokens: usize,
}

impl Usage {
    pub(crate) fn new(prompt_tokens: usize, completion_tokens: usize) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
        }
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
    choices: [Choice<'a>; 1],
    usage: Usage,
}

#[derive(Debug, Serialize)]
struct Choice<'a> {
    index: u32,
    message: Message<'a>,
    logprobs: Option<()>,
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
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Debug, Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

/// Why the generation ended, in OpenAI's words.
pub(crate) fn finish_reason(stop: StopReason) -> &'static str {
    match stop {
        StopReason::EndOfSequence | StopReason::StopText => "stop",
        StopReason::Length => "length",
    }
}

impl Envelope {
    /// The answer in one piece.
    pub(crate) fn whole<'a>(
        &'a self,
        content: &'a str,
        finish_reason: &'static str,
        usage: Usage,
        hanok: Option<&'a AskJson>,
    ) -> Completion<'a> {
        let message = Message {
            role: "assistant",
            content,
            refusal: None,
            hanok,
        };
        Completion {
            id: &self.id,
            object: "chat.completion",
            created: self.created,
            model: &self.model,
            grounded: self.grounded,
            choices: [Choice {
                index: 0,
                message,
                logprobs: None,
                finish_reason,
            }],
            usage,
        }
    }

    /// The first chunk: who speaks.
    pub(crate) fn role(&self) -> String {
        let delta = Delta {
            role: Some("assistant"),
            content: Some(""),
        };
        self.chunk(delta, None, None)
    }

    /// A piece of text.
    pub(crate) fn text(&self, text: &str) -> String {
        let delta = Delta {
            role: None,
            content: Some(text),
        };
        self.chunk(delta, None, None)
    }

    /// The end of the text.
    pub(crate) fn end(&self, finish_reason: &'static str, hanok: Option<&AskJson>) -> String {
        self.chunk(Delta::default(), Some(finish_reason), hanok)
    }

    /// The chunk that carries the usage, if it was asked for: no choices, an empty list and never null.
    pub(crate) fn usage(&self, usage: Usage) -> Option<String> {
        let chunk = Chunk {
            usage: Some(Some(usage)),
            ..self.bare(Vec::new(), None)
        };
        self.include_usage.then(|| crate::ask::to_text(&chunk))
    }

    fn chunk(
        &self,
        delta: Delta<'_>,
        finish_reason: Option<&'static str>,
        hanok: Option<&AskJson>,
    ) -> String {
        let choice = ChunkChoice {
            index: 0,
            delta,
            logprobs: None,
            finish_reason,
        };
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
        assert_eq!(envelope.role(), format!("{head}{role}{null}"));
        assert_eq!(
            envelope.text("é"),
            format!("{head}{}{null}", choice(r#"{"content":"é"}"#, "null"))
        );
        assert_eq!(
            envelope.end("length", None),
            format!("{head}{}{null}", choice("{}", r#""length""#))
        );
        let usage = r#""choices":[],"usage":{"prompt_tokens":2,"completion_tokens":3,"total_tokens":5}}"#;
        assert_eq!(envelope.usage(Usage::new(2, 3)), Some(format!("{head}{usage}")));
        let silent = Envelope {
            include_usage: false,
            ..envelope
        };
        assert_eq!(silent.usage(Usage::new(2, 3)), None);
        assert!(!silent.text("x").contains("usage"));
    }
}
