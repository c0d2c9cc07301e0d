//! The self-test of a model: a model that loads is not yet a model that answers.
//!
//! A short greedy generation must yield tokens. It goes through the engine's own queue, so it also shows that the
//! engine's thread is alive.

use assistant::Assistant;
use engine::{Event, Request};
use model::{ChatMessage, SamplingParams};

use crate::state::Generation;

/// Tokens the self-test asks for.
const N_TOKENS: usize = 8;

/// Runs it; blocks until the generation has ended.
pub(crate) fn run(assistant: &Assistant) -> Generation {
    match generate(assistant) {
        Ok(()) => Generation::Ready,
        Err(reason) => {
            tracing::error!("the model did not pass its self-test: {reason}");
            Generation::Failed(reason)
        }
    }
}

fn generate(assistant: &Assistant) -> Result<(), String> {
    let engine = assistant.engine().ok_or("no engine")?;
    let greeting = ChatMessage {
        role: "user".into(),
        content: "Say hello.".into(),
    };
    // A base model has no chat template; plain text is test enough for it.
    let prompt = match engine.model().render_chat(&[greeting]) {
        Ok(text) if !text.is_empty() => engine.model().tokenize_prompt(&text),
        _ => engine.model().tokenize_prompt("Hello"),
    };
    let request = Request {
        prompt,
        max_tokens: N_TOKENS,
        sampling: SamplingParams::greedy(),
        stop: Vec::new(),
        ignore_eos: true,
        ..Request::default()
    };
    let generation = engine.submit(request).map_err(|error| error.to_string())?;
    judge(generation)
}

/// Whether the events of a generation are those of a model that answers.
fn judge(events: impl Iterator<Item = Event>) -> Result<(), String> {
    let mut text = String::new();
    let mut n_tokens = 0;
    let mut done = false;
    for event in events {
        match event {
            Event::Prefilled { .. } => {}
            Event::Token { text: piece, .. } => {
                n_tokens += 1;
                text.push_str(&piece);
            }
            Event::Done { .. } => done = true,
            Event::Failed { reason } => return Err(reason),
        }
    }
    if !done {
        return Err("the generation ended without a word".into());
    }
    if n_tokens == 0 {
        return Err("the model wrote no token".into());
    }
    // All replacement characters: weights that do not belong to this tokenizer.
    if !text.is_empty() && text.chars().all(|c| c == '\u{FFFD}' || c == '\0') {
        return Err("the model wrote no readable text".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::StopReason;

    fn token(text: &str) -> Event {
        Event::Token {
            id: 1,
            text: text.into(),
            logprobs: None,
        }
    }

    fn done() -> Event {
        Event::Done {
            stop: StopReason::Length,
            completion_tokens: 1,
        }
    }

    #[test]
    fn only_a_model_that_writes_readable_tokens_passes() {
        assert!(judge([token("Hi"), done()].into_iter()).is_ok());
        assert!(judge([token(""), done()].into_iter()).is_ok());
        assert!(judge([done()].into_iter()).is_err());
        assert!(judge([token("Hi")].into_iter()).is_err());
        assert!(judge([token("\u{FFFD}"), done()].into_iter()).is_err());
        let failed = Event::Failed {
            reason: "logits are not finite".into(),
        };
        assert_eq!(judge([failed].into_iter()).unwrap_err(), "logits are not finite");
    }
}
