//! One question answered from the documents: retrieval, evidence gate, prompt, generation, quote check, outcome.
//!
//! Knows nothing of HTTP. The only room that joins `engine` and `knowledge`.

mod answer;
mod conflict;
mod evidence;
mod extract;
mod generate;
mod language;
mod prompt;
mod sources;
mod verify;
mod words;

use std::sync::Arc;

use engine::Engine;
use knowledge::{AsOf, Embed, Hit, Reader, SearchMode, Store, StoreError, Validity, View};
use thiserror::Error;

pub use language::Language;

/// An earlier question of the same conversation and what was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The question.
    pub question: String,
    /// The answer's text.
    pub answer: String,
}

/// One question.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// The question as typed.
    pub question: String,
    /// Earlier turns, oldest first.
    pub history: Vec<Turn>,
    /// Answer by quoting alone, without the model.
    pub extractive: bool,
    /// Who asks: only what it may read is looked at. Unless set, what everyone may read.
    pub reader: Reader,
    /// Which documents are looked at: unless set, those that hold today.
    pub as_of: AsOf,
    /// Whose turn in the engine's queue it takes; see [`engine::Owner::caller`].
    pub caller: u128,
}

/// The engine's partition of answers to those who have these rights. They share beginnings of prompts: who may read the
/// same passages learns nothing from their being in memory.
pub fn partition_of(reader: &Reader) -> u128 {
    engine::key_of(&["grounded", &reader.key()])
}

/// What kind of answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The documents answer.
    Answer,
    /// The documents answer in part.
    Hedge,
    /// The documents contradict each other.
    Conflict,
    /// The documents don't tell.
    Refuse,
}

/// How the sentences came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Written by the model and verified.
    Generated,
    /// Quoted.
    Extractive,
}

/// A sentence of the answer with the citations that carry it (indices into [`Answer::citations`], never empty).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// Its text.
    pub text: String,
    /// Indices.
    pub citations: Vec<usize>,
}

/// Where a sentence comes from. `quote` is exactly the stored characters `start..end` of the document's version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Citation {
    /// The document.
    pub document_id: String,
    /// Its version.
    pub version: String,
    /// Its path.
    pub path: String,
    /// Its title.
    pub title: String,
    /// 1-based page of the quote's start.
    pub page: Option<u32>,
    /// Start in the stored text, in Unicode scalar values.
    pub start: usize,
    /// End (exclusive).
    pub end: usize,
    /// The quoted characters.
    pub quote: String,
    /// When the document holds.
    pub validity: Validity,
    /// Whether it holds today.
    pub holds: bool,
}

/// A document that came near without answering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearDocument {
    /// The document.
    pub document_id: String,
    /// Its title.
    pub title: String,
}

/// Why there is no answer, in the language of the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// One or two sentences for the reader.
    pub reason: String,
    /// The words of the question that the documents say nothing of, or all that it is about.
    pub missing: Vec<String>,
    /// What came nearest.
    pub nearest: Vec<NearDocument>,
}

/// Tokens used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub completion_tokens: usize,
}

/// Milliseconds since the question came in.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timing {
    /// Until the passages were found.
    pub retrieve: f64,
    /// Until the first sentence (or the refusal) could be shown.
    pub first: f64,
    /// Until the end.
    pub total: f64,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Its kind.
    pub outcome: Outcome,
    /// How it came about.
    pub mode: Mode,
    /// The language of the question.
    pub language: Language,
    /// Its sentences; empty for a refusal.
    pub sentences: Vec<Sentence>,
    /// Its sources.
    pub citations: Vec<Citation>,
    /// For a refusal: why.
    pub refusal: Option<Refusal>,
    /// Tokens used.
    pub usage: Usage,
    /// Times.
    pub timing: Timing,
    /// What the reader should know, one sentence each ("3 of 5 passages fitted the model's context").
    pub notes: Vec<String>,
}

/// What happens while an answer is made. A verified sentence is final: it is never taken back.
#[derive(Debug, Clone, PartialEq)]
pub enum AskEvent {
    /// Passages were found.
    Retrieved {
        /// How many.
        passages: usize,
    },
    /// The model writes; so many tokens so far.
    Writing {
        /// Tokens so far.
        tokens: usize,
    },
    /// A verified sentence with its citations.
    Sentence {
        /// The sentence; its indices point into the citations sent so far.
        sentence: Sentence,
        /// Citations not sent before, in order.
        new_citations: Vec<Citation>,
    },
}

/// Whether the caller still wants the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Yes.
    Yes,
    /// No: stop now.
    No,
}

/// Errors of a question (a refusal is not one).
#[derive(Debug, Error)]
pub enum AskError {
    /// The question is empty.
    #[error("the question is empty")]
    EmptyQuestion,
    /// The question is longer than the limit.
    #[error("the question has {chars} characters; at most {max} are taken")]
    QuestionTooLong {
        /// Its characters.
        chars: usize,
        /// The limit.
        max: usize,
    },
    /// The documents cannot be searched.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The caller went away.
    #[error("the question was cancelled")]
    Cancelled,
}

/// Answers questions from one store.
pub struct Assistant {
    store: Arc<Store>,
    engine: Option<Engine>,
    embedder: Option<Arc<dyn Embed>>,
    /// Takes the embedder's place as soon as there are vectors of it.
    next_embedder: Option<Arc<dyn Embed>>,
}

impl Assistant {
    /// An assistant over `store`; without an engine it quotes, without an embedder it searches by words alone.
    pub fn new(store: Arc<Store>, engine: Option<Engine>, embedder: Option<Arc<dyn Embed>>) -> Self {
        Self {
            store,
            engine,
            embedder,
            next_embedder: None,
        }
    }

    /// With an embedder whose vectors are yet to be made: until then the other one, if there is one, finds.
    pub fn with_next_embedder(mut self, next: Option<Arc<dyn Embed>>) -> Self {
        self.next_embedder = next;
        self
    }

    /// Its documents.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Its engine.
    pub fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    /// The embedder that finds: whose vectors the documents have.
    pub fn embedder(&self) -> Option<&Arc<dyn Embed>> {
        let next = self.next_embedder.as_ref();
        let has_taken_over = next.filter(|next| self.store.check_embedder(next.as_ref()).is_ok());
        has_taken_over.or(self.embedder.as_ref())
    }

    /// The embedder that is to find, whosever vectors the documents have.
    pub fn wanted_embedder(&self) -> Option<&Arc<dyn Embed>> {
        self.next_embedder.as_ref().or(self.embedder.as_ref())
    }

    /// Searches what `view` shows, by the embedder whose vectors the documents have at that moment.
    ///
    /// # Errors
    /// As for [`View::search`].
    pub fn search(
        &self,
        view: &View<'_>,
        question: &str,
        k: usize,
        mode: SearchMode,
    ) -> Result<Vec<Hit>, StoreError> {
        match view.search(question, k, mode, self.embedder().map(AsRef::as_ref)) {
            // Another one's vectors took their place in this very moment.
            Err(StoreError::OtherEmbedder { .. }) => {
                view.search(question, k, mode, self.embedder().map(AsRef::as_ref))
            }
            other => other,
        }
    }

    /// Answers. `on_event` sees each verified sentence as soon as it stands and may say that nobody listens any more.
    ///
    /// # Errors
    /// When the question cannot be taken or the documents cannot be read.
    pub fn ask(&self, ask: &Ask, on_event: &mut dyn FnMut(AskEvent) -> Wanted) -> Result<Answer, AskError> {
        answer::ask(self, ask, on_event)
    }
}
