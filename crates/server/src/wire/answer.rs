//! Questions and answers on the wire.

use assistant::{Answer, AskEvent, Citation, Language, Mode, Outcome, Refusal, Sentence, Turn};
use serde::{Deserialize, Serialize};

use super::{SCHEMA, ValidityJson};

/// What kind of answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeJson {
    /// The documents answer.
    Answer,
    /// The documents answer in part.
    Hedge,
    /// The documents contradict each other.
    Conflict,
    /// The documents don't tell.
    Refuse,
}

impl OutcomeJson {
    /// As written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Hedge => "hedge",
            Self::Conflict => "conflict",
            Self::Refuse => "refuse",
        }
    }
}

impl From<Outcome> for OutcomeJson {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Answer => Self::Answer,
            Outcome::Hedge => Self::Hedge,
            Outcome::Conflict => Self::Conflict,
            Outcome::Refuse => Self::Refuse,
        }
    }
}

/// How the sentences came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModeJson {
    /// Written by the model and verified.
    Generated,
    /// Quoted.
    Extractive,
}

impl ModeJson {
    /// As written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Generated => "generated",
            Self::Extractive => "extractive",
        }
    }
}

impl From<Mode> for ModeJson {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Generated => Self::Generated,
            Mode::Extractive => Self::Extractive,
        }
    }
}

/// The language of the question, ISO 639-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LanguageJson {
    /// English.
    #[serde(rename = "en")]
    English,
    /// Korean.
    #[serde(rename = "ko")]
    Korean,
}

impl From<Language> for LanguageJson {
    fn from(language: Language) -> Self {
        match language {
            Language::English => Self::English,
            Language::Korean => Self::Korean,
        }
    }
}

/// A sentence with the citations that carry it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentenceJson {
    /// Its text.
    pub text: String,
    /// Indices into the answer's citations.
    pub citations: Vec<usize>,
}

impl From<&Sentence> for SentenceJson {
    fn from(sentence: &Sentence) -> Self {
        Self {
            text: sentence.text.clone(),
            citations: sentence.citations.clone(),
        }
    }
}

/// Where a sentence comes from; positions count Unicode scalar values of the stored text, half-open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CitationJson {
    /// The document.
    pub document_id: String,
    /// Its version.
    pub version: String,
    /// Its path.
    pub path: String,
    /// Its title.
    pub title: String,
    /// 1-based page, or null.
    pub page: Option<u32>,
    /// Start.
    pub start: usize,
    /// End (exclusive).
    pub end: usize,
    /// Exactly the stored characters `start..end`.
    pub quote: String,
    /// When the document holds.
    #[serde(flatten)]
    pub validity: ValidityJson,
}

impl From<&Citation> for CitationJson {
    fn from(citation: &Citation) -> Self {
        Self {
            document_id: citation.document_id.clone(),
            version: citation.version.clone(),
            path: citation.path.clone(),
            title: citation.title.clone(),
            page: citation.page,
            start: citation.start,
            end: citation.end,
            quote: citation.quote.clone(),
            validity: ValidityJson::of(citation.validity, citation.holds),
        }
    }
}

/// A document that came near without answering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearJson {
    /// The document.
    pub document_id: String,
    /// Its title.
    pub title: String,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalJson {
    /// For the reader, in the language of the question.
    pub reason: String,
    /// The words of the question that the documents say nothing of.
    #[serde(default)]
    pub missing: Vec<String>,
    /// What came nearest.
    pub nearest: Vec<NearJson>,
}

impl From<&Refusal> for RefusalJson {
    fn from(refusal: &Refusal) -> Self {
        let nearest = refusal.nearest.iter().map(|near| NearJson {
            document_id: near.document_id.clone(),
            title: near.title.clone(),
        });
        Self {
            reason: refusal.reason.clone(),
            missing: refusal.missing.clone(),
            nearest: nearest.collect(),
        }
    }
}

/// Tokens used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageJson {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub completion_tokens: usize,
}

/// Milliseconds since the question came in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct MsJson {
    /// Until the passages were found.
    pub retrieve: f64,
    /// Until the first sentence (or the refusal) could be shown.
    pub first: f64,
    /// Until the end.
    pub total: f64,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AskJson {
    /// Always [`SCHEMA`].
    pub schema: u32,
    /// Its kind.
    pub outcome: OutcomeJson,
    /// How it came about.
    pub mode: ModeJson,
    /// The language of the question.
    pub language: LanguageJson,
    /// Its sentences; empty for a refusal.
    pub sentences: Vec<SentenceJson>,
    /// Its sources.
    pub citations: Vec<CitationJson>,
    /// Why there is no answer, or null.
    pub refusal: Option<RefusalJson>,
    /// Tokens used.
    pub usage: UsageJson,
    /// Times.
    pub ms: MsJson,
    /// What the reader should know, one sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl AskJson {
    /// The answer as one text: its sentences, or the refusal's reason.
    pub fn text(&self) -> String {
        match &self.refusal {
            Some(refusal) if self.sentences.is_empty() => refusal.reason.clone(),
            _ => {
                let texts: Vec<&str> = self.sentences.iter().map(|s| s.text.as_str()).collect();
                texts.join(" ")
            }
        }
    }
}

impl From<&Answer> for AskJson {
    fn from(answer: &Answer) -> Self {
        Self {
            schema: SCHEMA,
            outcome: answer.outcome.into(),
            mode: answer.mode.into(),
            language: answer.language.into(),
            sentences: answer.sentences.iter().map(SentenceJson::from).collect(),
            citations: answer.citations.iter().map(CitationJson::from).collect(),
            refusal: answer.refusal.as_ref().map(RefusalJson::from),
            usage: UsageJson {
                prompt_tokens: answer.usage.prompt_tokens,
                completion_tokens: answer.usage.completion_tokens,
            },
            ms: MsJson {
                retrieve: finite(answer.timing.retrieve),
                first: finite(answer.timing.first),
                total: finite(answer.timing.total),
            },
            notes: answer.notes.clone(),
        }
    }
}

/// JSON has no NaN; a time that could not be measured is 0.
fn finite(ms: f64) -> f64 {
    if ms.is_finite() { ms } else { 0.0 }
}

/// An earlier turn of the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnJson {
    /// The question.
    pub question: String,
    /// The answer's text.
    pub answer: String,
}

impl From<TurnJson> for Turn {
    fn from(turn: TurnJson) -> Self {
        Self {
            question: turn.question,
            answer: turn.answer,
        }
    }
}

/// What happens while an answer is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum AskStreamEvent {
    /// Passages were found.
    Retrieved {
        /// How many.
        passages: usize,
    },
    /// The model writes.
    Writing {
        /// Tokens so far.
        tokens: usize,
    },
    /// A verified sentence; it is never taken back.
    Sentence {
        /// The sentence; its indices point into the citations sent so far.
        sentence: SentenceJson,
        /// Citations not sent before, in order.
        citations: Vec<CitationJson>,
    },
}

impl AskStreamEvent {
    /// The name of the server-sent event.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Retrieved { .. } => "retrieved",
            Self::Writing { .. } => "writing",
            Self::Sentence { .. } => "sentence",
        }
    }
}

impl From<&AskEvent> for AskStreamEvent {
    fn from(event: &AskEvent) -> Self {
        match event {
            AskEvent::Retrieved { passages } => Self::Retrieved { passages: *passages },
            AskEvent::Writing { tokens } => Self::Writing { tokens: *tokens },
            AskEvent::Sentence {
                sentence,
                new_citations,
            } => Self::Sentence {
                sentence: sentence.into(),
                citations: new_citations.iter().map(CitationJson::from).collect(),
            },
        }
    }
}

impl From<AskStreamEvent> for AskEvent {
    fn from(event: AskStreamEvent) -> Self {
        match event {
            AskStreamEvent::Retrieved { passages } => Self::Retrieved { passages },
            AskStreamEvent::Writing { tokens } => Self::Writing { tokens },
            AskStreamEvent::Sentence { sentence, citations } => Self::Sentence {
                sentence: Sentence {
                    text: sentence.text,
                    citations: sentence.citations,
                },
                new_citations: citations.into_iter().map(Citation::from).collect(),
            },
        }
    }
}

impl From<CitationJson> for Citation {
    fn from(citation: CitationJson) -> Self {
        Self {
            document_id: citation.document_id,
            version: citation.version,
            path: citation.path,
            title: citation.title,
            page: citation.page,
            start: citation.start,
            end: citation.end,
            quote: citation.quote,
            holds: citation.validity.holds,
            validity: citation.validity.into(),
        }
    }
}
