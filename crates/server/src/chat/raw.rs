//! Raw completion: the weight's own name, its chat template, no documents, no claim to be grounded.

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use engine::{Event, Generation, Next, Request};
use futures_util::StreamExt as _;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::request::ChatRequest;
use super::response::{Envelope, Usage, finish_reason};
use super::{DONE, envelope, failed_pieces, stream};
use crate::error::ApiError;
use crate::state::{App, Generation as Ready};

/// Events a reader may be behind.
const N_EVENTS_BUFFERED: usize = 64;
/// How long a reader that takes nothing keeps its generation.
const SLOW_READER: Duration = Duration::from_secs(60);
/// How often a silent generation looks whether its reader is still there.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) async fn complete(app: &App, request: ChatRequest) -> Result<Response, ApiError> {
    match app.generation() {
        Ready::Ready => {}
        Ready::Starting => return Err(ApiError::unavailable("the model is still passing its self-test")),
        Ready::None | Ready::Failed(_) => {
            return Err(ApiError::unavailable(
                "the model did not pass its self-test; see /health",
            ));
        }
    }
    let envelope = envelope(&request, false);
    let streamed = request.stream;
    let mut events = submit(app, request).await?;
    if streamed {
        let request_id = crate::http::current_request_id();
        let opening = vec![envelope.role()];
        let mut prompt_tokens = 0;
        let pieces = ReceiverStream::new(events)
            .map(move |event| pieces(&envelope, event, &mut prompt_tokens, &request_id));
        return Ok(stream(
            futures_util::stream::once(async { opening }).chain(pieces),
        ));
    }
    let (mut text, mut prompt_tokens) = (String::new(), 0);
    while let Some(event) = events.recv().await {
        match event {
            Event::Prefilled { prompt_tokens: n, .. } => prompt_tokens = n,
            Event::Token { text: piece, .. } => text.push_str(&piece),
            Event::Done {
                stop,
                completion_tokens,
            } => {
                let usage = Usage::new(prompt_tokens, completion_tokens);
                let whole = envelope.whole(&text, finish_reason(stop), usage, None);
                return Ok(Json(whole).into_response());
            }
            Event::Failed { reason } => return Err(ApiError::internal(reason)),
        }
    }
    Err(ApiError::unavailable(
        "the engine stopped before the answer was complete",
    ))
}

/// Renders, tokenises and queues off the reactor; the events come through a channel whose closing cancels.
async fn submit(app: &App, request: ChatRequest) -> Result<mpsc::Receiver<Event>, ApiError> {
    let place = crate::ask::take_place(app)?;
    let app = app.clone();
    let generation = tokio::task::spawn_blocking(move || start(&app, request)).await;
    let (generation, answering) = generation.map_err(ApiError::internal)??;
    let (sender, receiver) = mpsc::channel(N_EVENTS_BUFFERED);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let _held = (place, answering);
        forward(generation, &sender, &runtime);
    });
    Ok(receiver)
}

/// Passes events on. A reader that went away ends it, also while the generation still waits for its turn, and
/// dropping the generation frees its cache.
fn forward(mut generation: Generation, sender: &mpsc::Sender<Event>, runtime: &Handle) {
    loop {
        match generation.next_timeout(LOOK_EVERY) {
            Next::Event(event) => {
                let sent = runtime.block_on(sender.send_timeout(event, SLOW_READER));
                if sent.is_err() {
                    return;
                }
            }
            Next::Waiting if sender.is_closed() => return,
            Next::Waiting => {}
            Next::Ended => return,
        }
    }
}

fn start(app: &App, request: ChatRequest) -> Result<(Generation, crate::jobs::Answering), ApiError> {
    let engine = app.assistant.engine();
    let engine = engine.ok_or_else(|| ApiError::unavailable("no model is configured"))?;
    let model = engine.model();
    let text = model.render_chat(&request.messages).map_err(|error| {
        ApiError::bad_field(
            "messages",
            format!("the model's chat template refuses these messages: {error}"),
        )
    })?;
    let prompt = model.tokenize_prompt(&text);
    let room = model.context().saturating_sub(prompt.len()).max(1);
    let generation = engine.submit(Request {
        max_tokens: request.max_tokens.unwrap_or(room).min(room),
        prompt,
        sampling: request.sampling,
        stop: request.stop,
        ignore_eos: false,
        partition: engine::PARTITION_DEFAULT,
    })?;
    Ok((generation, app.jobs.answering()))
}

fn pieces(envelope: &Envelope, event: Event, prompt_tokens: &mut usize, request_id: &str) -> Vec<String> {
    match event {
        Event::Prefilled { prompt_tokens: n, .. } => {
            *prompt_tokens = n;
            Vec::new()
        }
        Event::Token { text, .. } if text.is_empty() => Vec::new(),
        Event::Token { text, .. } => vec![envelope.text(&text)],
        Event::Done {
            stop,
            completion_tokens,
        } => {
            let mut pieces = vec![envelope.end(finish_reason(stop), None)];
            pieces.extend(envelope.usage(Usage::new(*prompt_tokens, completion_tokens)));
            pieces.push(DONE.to_owned());
            pieces
        }
        Event::Failed { reason } => failed_pieces(&ApiError::internal(reason), request_id),
    }
}
