//! Questions over HTTP: bounded, off the reactor, cancelled when nobody listens any more.

use std::convert::Infallible;
use std::time::Duration;

use assistant::{Ask, AskError, AskEvent, Refusal, Turn, Wanted};
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::{Stream, StreamExt as _};
use knowledge::quality::RefusedQuestion;
use knowledge::{AsOf, Reader};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::error::ApiError;
use crate::fields::Fields;
use crate::http::JsonBody;
use crate::principal::Principal;
use crate::state::{App, Generation};
use crate::wire::{AskJson, AskStreamEvent, LanguageJson};

/// Events a listener may be behind; an answer has fewer. One that reads nothing at all loses its answer.
const N_EVENTS_BUFFERED: usize = 1024;
/// Earlier turns a client may send.
pub(crate) const N_HISTORY_MAX: usize = 64;
/// Characters of all earlier turns together.
const N_HISTORY_CHARS_MAX: usize = 200_000;
/// How often a silent stream says that it lives: proxies cut silent ones.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// What comes out of a question.
#[derive(Debug)]
pub(crate) enum Progress {
    /// On the way.
    Event(AskStreamEvent),
    /// The answer; nothing follows.
    Done(Box<AskJson>),
    /// No answer; nothing follows.
    Failed(ApiError),
}

/// Starts answering. Dropping the receiver cancels the question.
///
/// # Errors
/// 429 when too many questions are in work or waiting.
pub(crate) fn start(app: &App, ask: Ask) -> Result<mpsc::Receiver<Progress>, ApiError> {
    let place = app.requests.take(ask.caller)?;
    let (sender, receiver) = mpsc::channel(N_EVENTS_BUFFERED);
    let app = app.clone();
    tokio::spawn(async move {
        let turn = tokio::select! {
            turn = app.asks.clone().acquire_owned() => turn,
            () = sender.closed() => return,
        };
        let failed = sender.clone();
        let answered = tokio::task::spawn_blocking(move || {
            let _held = (place, turn);
            answer(&app, ask, &sender);
        });
        if answered.await.is_err() {
            let error = ApiError::internal("the thread that answers has panicked");
            let _ = failed.try_send(Progress::Failed(error));
        }
    });
    Ok(receiver)
}

fn answer(app: &App, mut ask: Ask, sender: &mpsc::Sender<Progress>) {
    let _answering = app.jobs.answering();
    let broken = matches!(app.generation(), Generation::Failed(_));
    let note = broken && !ask.extractive;
    ask.extractive |= broken;
    let mut on_event = |event: AskEvent| {
        let writing = matches!(event, AskEvent::Writing { .. });
        // A count of tokens may be dropped when the listener is slow; a sentence may not.
        if writing && sender.capacity() < N_EVENTS_BUFFERED / 2 {
            return if sender.is_closed() {
                Wanted::No
            } else {
                Wanted::Yes
            };
        }
        match sender.try_send(Progress::Event((&event).into())) {
            Ok(()) => Wanted::Yes,
            Err(_) => Wanted::No,
        }
    };
    let mut refusal = None;
    let end = match app.assistant.ask(&ask, &mut on_event) {
        Ok(answer) => {
            refusal.clone_from(&answer.refusal);
            let mut answer = AskJson::from(&answer);
            if note {
                answer.notes.push(self_test_note(answer.language).to_owned());
            }
            app.metrics.answer(&answer);
            Progress::Done(Box::new(answer))
        }
        Err(AskError::Cancelled) if sender.is_closed() => return,
        Err(error) => Progress::Failed(error.into()),
    };
    let _ = sender.try_send(end);
    if let Some(refusal) = refusal {
        remember(app, &ask, &refusal);
    }
}

/// Keeps what was asked for in vain, after the answer is out.
fn remember(app: &App, ask: &Ask, refusal: &Refusal) {
    let nearest: Vec<&str> = refusal
        .nearest
        .iter()
        .map(|near| near.document_id.as_str())
        .collect();
    let refused = RefusedQuestion {
        reader: &ask.reader,
        question: &ask.question,
        missing: &refusal.missing,
        nearest: &nearest,
    };
    if let Err(error) = app.assistant.store().note_refusal(&refused) {
        tracing::warn!("a refused question was not kept: {}", crate::error::chain(&error));
    }
}

fn self_test_note(language: LanguageJson) -> &'static str {
    match language {
        LanguageJson::English => "The model did not pass its self-test, so this answer is quoted.",
        LanguageJson::Korean => "모델이 자체 점검을 통과하지 못해 문서를 인용하여 답했습니다.",
    }
}

/// The whole answer.
pub(crate) async fn answered(app: &App, ask: Ask) -> Result<AskJson, ApiError> {
    let mut progress = start(app, ask)?;
    while let Some(step) = progress.recv().await {
        match step {
            Progress::Event(_) => {}
            Progress::Done(answer) => return Ok(*answer),
            Progress::Failed(error) => return Err(error),
        }
    }
    Err(ApiError::unavailable("the question was cancelled"))
}

/// The first step of a question, so that an error found at once still has its own status; a question that waits
/// gives `None` and the stream starts.
pub(crate) async fn first_step(
    progress: &mut mpsc::Receiver<Progress>,
) -> Result<Option<Progress>, ApiError> {
    const PATIENCE: Duration = Duration::from_secs(2);
    match tokio::time::timeout(PATIENCE, progress.recv()).await {
        Ok(Some(Progress::Failed(error))) => Err(error),
        Ok(step) => Ok(step),
        Err(_) => Ok(None),
    }
}

/// The steps as a stream, the one already taken first.
pub(crate) fn steps(
    first: Option<Progress>,
    progress: mpsc::Receiver<Progress>,
) -> impl Stream<Item = Progress> + Send {
    futures_util::stream::iter(first).chain(ReceiverStream::new(progress))
}

/// Comments while nothing else is said.
pub(crate) fn keep_alive() -> KeepAlive {
    KeepAlive::new().interval(KEEP_ALIVE).text("working")
}

/// `POST /api/ask`.
pub(crate) async fn api_ask(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
    Extension(principal): Extension<Principal>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let fields = Fields::of(&body.0)?;
    let ask = Ask {
        caller: principal.caller(),
        ..parse(&fields, reader)?
    };
    if !fields.flag("stream")?.unwrap_or(false) {
        return Ok(Json(answered(&app, ask).await?).into_response());
    }
    let mut progress = start(&app, ask)?;
    let first = first_step(&mut progress).await?;
    let request_id = crate::http::current_request_id();
    let events = steps(first, progress).map(move |step| Ok::<_, Infallible>(sse(&step, &request_id)));
    Ok(Sse::new(events).keep_alive(keep_alive()).into_response())
}

fn sse(step: &Progress, request_id: &str) -> Event {
    match step {
        Progress::Event(event) => Event::default().event(event.name()).data(to_text(event)),
        Progress::Done(answer) => Event::default().event("done").data(to_text(answer)),
        Progress::Failed(error) => {
            error.log(request_id);
            Event::default()
                .event("error")
                .data(to_text(&error.to_wire(request_id)))
        }
    }
}

/// JSON of a wire type, which cannot fail: no maps with odd keys, no non-finite numbers.
pub(crate) fn to_text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

fn parse(fields: &Fields<'_>, reader: Reader) -> Result<Ask, ApiError> {
    let question = fields.text("question")?;
    let question = question.ok_or_else(|| ApiError::bad_field("question", "`question` is missing"))?;
    if question.trim().is_empty() {
        return Err(ApiError::bad_field("question", "the question is empty"));
    }
    Ok(Ask {
        question: question.to_owned(),
        history: history(fields.list("history")?)?,
        extractive: fields.flag("extractive")?.unwrap_or(false),
        reader,
        as_of: as_of(fields)?,
        ..Ask::default()
    })
}

/// Which documents are looked at, by the fields `as_of` and `include_expired`.
pub(crate) fn as_of(fields: &Fields<'_>) -> Result<AsOf, ApiError> {
    let day = fields.text("as_of")?.map(crate::documents::parse_day);
    Ok(AsOf {
        day: day.transpose()?,
        include_expired: fields.flag("include_expired")?.unwrap_or(false),
    })
}

fn history(turns: &[Value]) -> Result<Vec<Turn>, ApiError> {
    if turns.len() > N_HISTORY_MAX {
        let message = format!(
            "`history` has {} turns; at most {N_HISTORY_MAX} are taken",
            turns.len()
        );
        return Err(ApiError::bad_field("history", message));
    }
    let turns: Result<Vec<Turn>, ApiError> = turns
        .iter()
        .map(|turn| {
            let fields = Fields::of(turn)?;
            let part = |name| -> Result<String, ApiError> {
                let text = fields.text(name)?;
                Ok(text.unwrap_or_default().to_owned())
            };
            Ok(Turn {
                question: part("question")?,
                answer: part("answer")?,
            })
        })
        .collect();
    let turns = turns.map_err(|error| ApiError::bad_field("history", error.message))?;
    check_history(&turns)?;
    Ok(turns)
}

/// Refuses a conversation longer than anyone reads.
pub(crate) fn check_history(turns: &[Turn]) -> Result<(), ApiError> {
    let n_chars: usize = turns
        .iter()
        .map(|t| t.question.chars().count() + t.answer.chars().count())
        .sum();
    if n_chars > N_HISTORY_CHARS_MAX {
        let message =
            format!("the earlier turns have {n_chars} characters; at most {N_HISTORY_CHARS_MAX} are taken");
        return Err(ApiError::bad_field("history", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::http::header;
    use knowledge::{Access, Store};

    use super::*;
    use crate::state::AppConfig;

    #[test]
    fn one_question_too_many_is_told_when_to_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Access::Write).unwrap();
        let assistant = assistant::Assistant::new(Arc::new(store), None, None);
        let app = App::new(AppConfig::new(Arc::new(assistant), dir.path().join("uploads"))).unwrap();
        let caller = Principal::Anyone.caller();
        let mut held = Vec::new();
        let refused = loop {
            match app.requests.take(caller) {
                Ok(place) => held.push(place),
                Err(error) => break error,
            }
        };
        assert_eq!(held.len(), 34);
        let ask = || Ask {
            caller,
            ..Ask::default()
        };
        let error = start(&app, ask()).unwrap_err();
        assert!(error.message.contains("34 of your requests"), "{}", error.message);
        let response = ApiError::from(refused).into_response();
        assert_eq!(response.status().as_u16(), 429);
        assert!(response.headers().contains_key(header::RETRY_AFTER));
        // What keeps one out lets the others in, those included who send completions with the same token.
        for other in [
            Principal::Local.caller(),
            Principal::Anyone.of_completion("").caller,
        ] {
            held.push(app.requests.take(other).unwrap());
        }
        drop(held);
        assert!(app.requests.take(caller).is_ok());
    }
}
