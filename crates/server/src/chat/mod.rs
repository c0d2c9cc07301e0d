//! `/v1/chat/completions`: the house's own model id answers from the documents, a weight's own name completes.

mod form;
mod raw;
mod request;
mod response;

use std::convert::Infallible;

use assistant::{Ask, Turn};
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::{Stream, StreamExt as _};
use knowledge::Reader;
use model::ChatMessage;

use crate::ask::{self, Progress};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::http::JsonBody;
use crate::models::GROUNDED;
use crate::principal::Principal;
use crate::state::App;
use crate::wire::{AskJson, AskStreamEvent};
use request::ChatRequest;
use response::{Envelope, Said, Usage};

/// The end of every stream.
const DONE: &str = "[DONE]";

/// `POST /v1/chat/completions`.
pub(crate) async fn completions(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
    Extension(principal): Extension<Principal>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let request = ChatRequest::parse(&body.0)?;
    if request.model == GROUNDED {
        request.check_grounded()?;
        let ask = Ask {
            reader,
            as_of: ask::as_of(&Fields::of(&body.0)?)?,
            caller: principal.caller(),
            ..question(&request.messages)?
        };
        grounded(&app, ask, &request).await
    } else if app.model_name.as_ref() == Some(&request.model) {
        let owner = principal.of_completion(&request.user);
        raw::complete(&app, request, owner).await
    } else {
        Err(crate::models::unknown(&request.model))
    }
}

fn envelope(request: &ChatRequest, grounded: bool) -> Envelope {
    let id = stdx::rng::secret_hex(12).unwrap_or_else(|_| crate::http::current_request_id());
    Envelope {
        id: format!("chatcmpl-{id}"),
        created: stdx::clock::unix_s(),
        model: request.model.clone(),
        grounded,
        include_usage: request.include_usage,
    }
}

async fn grounded(app: &App, ask: Ask, request: &ChatRequest) -> Result<Response, ApiError> {
    let envelope = envelope(request, true);
    if !request.stream {
        let answer = ask::answered(app, ask).await?;
        let usage = usage(&answer);
        let said = Said {
            text: answer.text(),
            finish_reason: "stop",
            logprobs: None,
        };
        return Ok(Json(envelope.whole(&[said], usage, Some(&answer))).into_response());
    }
    let mut progress = ask::start(app, ask)?;
    let first = ask::first_step(&mut progress).await?;
    let request_id = crate::http::current_request_id();
    let opening = vec![envelope.role(0)];
    let mut said_something = false;
    let pieces = ask::steps(first, progress)
        .map(move |step| grounded_pieces(&envelope, &step, &mut said_something, &request_id));
    Ok(stream(
        futures_util::stream::once(async { opening }).chain(pieces),
    ))
}

/// The last message of the user is the question, what comes before it the history.
fn question(messages: &[ChatMessage]) -> Result<Ask, ApiError> {
    let last = messages.iter().rposition(|message| message.role == "user");
    let last =
        last.ok_or_else(|| ApiError::bad_field("messages", "no message of the role user asks anything"))?;
    if messages[last].content.trim().is_empty() {
        return Err(ApiError::bad_field("messages", "the question is empty"));
    }
    let mut history: Vec<Turn> = Vec::new();
    for message in &messages[..last] {
        match message.role.as_str() {
            "user" => history.push(Turn {
                question: message.content.clone(),
                answer: String::new(),
            }),
            "assistant" => {
                if let Some(turn) = history.last_mut() {
                    turn.answer.push_str(&message.content);
                }
            }
            // A system message cannot change how the house answers.
            _ => {}
        }
    }
    let too_many = history.len().saturating_sub(ask::N_HISTORY_MAX);
    history.drain(..too_many);
    ask::check_history(&history).map_err(|error| ApiError::bad_field("messages", error.message))?;
    Ok(Ask {
        question: messages[last].content.clone(),
        history,
        ..Ask::default()
    })
}

fn usage(answer: &AskJson) -> Usage {
    Usage::new(answer.usage.prompt_tokens, answer.usage.completion_tokens)
}

fn grounded_pieces(
    envelope: &Envelope,
    step: &Progress,
    said_something: &mut bool,
    request_id: &str,
) -> Vec<String> {
    match step {
        Progress::Event(AskStreamEvent::Sentence { sentence, .. }) => {
            let space = if *said_something { " " } else { "" };
            *said_something = true;
            vec![envelope.text(0, &format!("{space}{}", sentence.text), None)]
        }
        Progress::Event(_) => Vec::new(),
        Progress::Done(answer) => {
            let mut pieces = Vec::new();
            if !*said_something {
                pieces.push(envelope.text(0, &answer.text(), None));
            }
            pieces.push(envelope.end(0, "stop", Some(answer)));
            pieces.extend(envelope.usage(usage(answer)));
            pieces.push(DONE.to_owned());
            pieces
        }
        Progress::Failed(error) => failed_pieces(error, request_id),
    }
}

/// An error in the middle of a stream: the error object as an event, then the end.
fn failed_pieces(error: &ApiError, request_id: &str) -> Vec<String> {
    error.log(request_id);
    vec![ask::to_text(&error.to_wire(request_id)), DONE.to_owned()]
}

/// Groups of `data:` lines as a response.
fn stream(pieces: impl Stream<Item = Vec<String>> + Send + 'static) -> Response {
    let events = pieces
        .flat_map(futures_util::stream::iter)
        .map(|data| Ok::<_, Infallible>(Event::default().data(data)));
    Sse::new(events).keep_alive(ask::keep_alive()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(role: &str, content: &str) -> ChatMessage {
        ChatMessage {
            role: role.into(),
            content: content.into(),
        }
    }

    #[test]
    fn the_last_user_message_is_the_question_and_the_rest_is_history() {
        let messages = [
            message("system", "be rude"),
            message("assistant", "hello"),
            message("user", "one"),
            message("assistant", "1"),
            message("user", "two"),
        ];
        let ask = question(&messages).unwrap();
        assert_eq!(ask.question, "two");
        let turn = Turn {
            question: "one".into(),
            answer: "1".into(),
        };
        assert_eq!(ask.history, [turn]);
        assert!(question(&messages[..2]).is_err());
        assert!(question(&[message("user", " ")]).is_err());
    }
}
