//! Letting the model write, and showing only what the check lets through.

use engine::{Engine, Event, Owner, Request};
use knowledge::{StoreStatus, View};
use model::SamplingParams;

use crate::evidence::Evidence;
use crate::prompt::Prompt;
use crate::sources::SourceSentence;
use crate::verify;
use crate::{Usage, Wanted};

/// Tokens of a reply at most.
pub(crate) const REPLY_TOKENS_MAX: usize = 160;
/// Verified sentences after which the model is stopped.
const SENTENCES_MAX: usize = 4;
/// Written sentences in a row that fail the check before the model is stopped.
const REJECTED_MAX: usize = 3;

/// What came of it.
#[derive(Debug)]
pub(crate) enum Written {
    /// The model wrote to its end; zero or more sentences were verified.
    Done,
    /// The caller went away.
    Cancelled,
    /// The engine did not take the request or failed; nothing was shown that is not verified.
    Failed(String),
}

/// A run of the model over one prompt.
pub(crate) struct Writer<'a> {
    pub(crate) view: &'a View<'a>,
    pub(crate) status: &'a StoreStatus,
    pub(crate) evidence: &'a Evidence,
    /// Sentences of the passages that are in the prompt.
    pub(crate) sentences: &'a [SourceSentence],
    /// Who asks, and whose rights the prompt was made with: beginnings of prompts are shared among equals only.
    pub(crate) owner: Owner,
}

/// What the writer reports.
pub(crate) enum Progress<'a> {
    /// So many tokens so far.
    Tokens(usize),
    /// A written sentence and the run of source sentences that carries it.
    Verified(&'a str, std::ops::Range<usize>),
}

impl Writer<'_> {
    /// Runs the model; `on_progress` is told of tokens and verified sentences.
    pub(crate) fn run(
        &self,
        engine: &Engine,
        prompt: Prompt,
        usage: &mut Usage,
        on_progress: &mut dyn FnMut(Progress<'_>) -> Wanted,
    ) -> Written {
        usage.prompt_tokens = prompt.tokens.len();
        let request = Request {
            prompt: prompt.tokens,
            max_tokens: REPLY_TOKENS_MAX,
            sampling: SamplingParams::greedy(),
            stop: vec!["\n\n\n".into(), "Question:".into(), "질문:".into()],
            ignore_eos: false,
            owner: self.owner,
            ..Request::default()
        };
        let generation = match engine.submit(request) {
            Ok(generation) => generation,
            Err(error) => return Written::Failed(error.to_string()),
        };
        let mut draft = Draft::default();
        for event in generation {
            let (ended, text) = match event {
                Event::Prefilled { .. } => continue,
                Event::Token { text, .. } => (false, text),
                Event::Done {
                    completion_tokens, ..
                } => {
                    usage.completion_tokens = completion_tokens;
                    (true, String::new())
                }
                Event::Failed { reason } => return Written::Failed(reason),
            };
            if !ended {
                usage.completion_tokens += 1;
                if on_progress(Progress::Tokens(usage.completion_tokens)) == Wanted::No {
                    return Written::Cancelled;
                }
            }
            draft.text.push_str(&text);
            while let Some(sentence) = draft.take_sentence(ended) {
                if self.show(&sentence, &mut draft, on_progress) == Wanted::No {
                    return Written::Cancelled;
                }
                if draft.is_enough() {
                    return Written::Done;
                }
            }
        }
        Written::Done
    }

    fn show(
        &self,
        sentence: &str,
        draft: &mut Draft,
        on_progress: &mut dyn FnMut(Progress<'_>) -> Wanted,
    ) -> Wanted {
        if !draft.is_new(sentence) {
            // A model that repeats itself has nothing more to say.
            draft.rejected = REJECTED_MAX;
            return Wanted::Yes;
        }
        match verify::support(self.view, self.status, self.evidence, self.sentences, sentence) {
            Some(run) => {
                draft.accept(sentence);
                on_progress(Progress::Verified(sentence, run))
            }
            None => {
                draft.rejected += 1;
                Wanted::Yes
            }
        }
    }
}

/// The text being written.
#[derive(Default)]
struct Draft {
    text: String,
    shown: Vec<String>,
    rejected: usize,
}

impl Draft {
    /// Cuts the first finished sentence off the front; at the end, whatever is left.
    fn take_sentence(&mut self, ended: bool) -> Option<String> {
        let chars: Vec<char> = self.text.chars().collect();
        let ranges = knowledge::sentence::split(&self.text);
        // A sentence is finished when another one has begun behind it.
        let finished = ranges.len() > 1 || (ended && !ranges.is_empty());
        let range = ranges.into_iter().next().filter(|_| finished)?;
        let sentence: String = chars[range.start..range.end.min(chars.len())].iter().collect();
        self.text = chars[range.end.min(chars.len())..].iter().collect();
        Some(clean(&sentence))
    }

    fn is_new(&self, sentence: &str) -> bool {
        !self.shown.iter().any(|s| s == sentence)
    }

    fn accept(&mut self, sentence: &str) {
        self.rejected = 0;
        self.shown.push(sentence.to_owned());
    }

    fn is_enough(&self) -> bool {
        self.shown.len() >= SENTENCES_MAX || self.rejected >= REJECTED_MAX
    }
}

/// A written sentence without list marks, passage marks and surrounding quotes.
fn clean(sentence: &str) -> String {
    let mut text = sentence
        .trim()
        .trim_start_matches(['-', '*', '•', '#', '>', ' '])
        .to_owned();
    for mark in 1..=9 {
        text = text.replace(&format!("[{mark}]"), "");
    }
    for label in ["Answer:", "A:", "답변:", "답:"] {
        if let Some(rest) = text.strip_prefix(label) {
            text = rest.to_owned();
        }
    }
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace(" .", ".")
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn marks_of_lists_and_passages_fall_away() {
        assert_eq!(
            clean("- Answer: A refund takes 3 days [1]."),
            "A refund takes 3 days."
        );
        assert_eq!(clean("답: 환불은 3일 걸립니다 [2]."), "환불은 3일 걸립니다.");
    }
}
