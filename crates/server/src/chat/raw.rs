//! Raw completion: the weight's own name, its chat template, no documents, no claim to be grounded.
//!
//! Each choice is a generation of its own; their events come through one channel, each with its choice's number.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use engine::{Event, Generation, Next, NoPlace, Owner, Place, Request, SubmitError};
use futures_util::StreamExt as _;
use model::{Model, SamplingParams};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::request::ChatRequest;
use super::response::{Envelope, Said, TokenJson, Usage, finish_reason};
use super::{DONE, envelope, failed_pieces, stream};
use crate::error::ApiError;
use crate::state::{App, Generation as Ready};

/// Events a reader may be behind.
const N_EVENTS_BUFFERED: usize = 64;
/// How long a reader that takes nothing keeps its generation.
const SLOW_READER: Duration = Duration::from_secs(60);
/// How often a silent generation looks whether its reader is still there.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What the seeds of two choices lie apart: far, and by no step that the generator itself takes.
const SEED_STEP: u64 = 0xD1B5_4A32_D192_ED03;

/// Events of all choices of a request, each with the number of its choice.
type Events = mpsc::Receiver<(u32, Event)>;

pub(super) async fn complete(app: &App, request: ChatRequest, owner: Owner) -> Result<Response, ApiError> {
    match app.generation() {
        Ready::Ready => {}
        Ready::Starting => return Err(ApiError::unavailable("the model is still passing its self-test")),
        Ready::None | Ready::Failed(_) => {
            return Err(ApiError::unavailable(
                "the model did not pass its self-test; see /health",
            ));
        }
    }
    let engine = app.assistant.engine();
    let engine = engine.ok_or_else(|| ApiError::unavailable("no model is configured"))?;
    let model = Arc::clone(engine.model());
    let envelope = envelope(&request, false);
    let (streamed, n_choices) = (request.stream, request.n_choices);
    let events = submit(app, request, owner).await?;
    if !streamed {
        return whole(&envelope, events, n_choices, &model).await;
    }
    let request_id = crate::http::current_request_id();
    let opening: Vec<String> = (0..).take(n_choices).map(|index| envelope.role(index)).collect();
    let mut writer = Writer {
        envelope,
        model,
        request_id,
        n_left: n_choices,
        prompt_tokens: 0,
        cached_tokens: None,
        completion_tokens: 0,
    };
    let pieces = ReceiverStream::new(events).scan((), move |(), (index, event)| {
        let over = writer.n_left == 0;
        std::future::ready((!over).then(|| writer.pieces(index, event)))
    });
    Ok(stream(
        futures_util::stream::once(async { opening }).chain(pieces),
    ))
}

/// All choices in one piece.
async fn whole(
    envelope: &Envelope,
    mut events: Events,
    n_choices: usize,
    model: &Model,
) -> Result<Response, ApiError> {
    let mut choices = vec![Said::default(); n_choices];
    let (mut n_left, mut usage, mut n_cached) = (n_choices, Usage::new(0, 0), None);
    while let Some((index, event)) = events.recv().await {
        let Some(said) = choices.get_mut(index as usize) else {
            continue;
        };
        match event {
            Event::Prefilled {
                prompt_tokens,
                cached_tokens,
            } => {
                usage.prompt_tokens = prompt_tokens;
                n_cached = fewest(n_cached, cached_tokens);
            }
            Event::Token { text, logprobs, .. } => {
                said.text.push_str(&text);
                if let Some(logprobs) = logprobs {
                    let tokens = said.logprobs.get_or_insert_default();
                    tokens.push(TokenJson::of(&logprobs, model));
                }
            }
            Event::Done {
                stop,
                completion_tokens,
            } => {
                said.finish_reason = finish_reason(stop);
                usage.completion_tokens += completion_tokens;
                n_left -= 1;
            }
            Event::Failed { reason } => return Err(ApiError::internal(reason)),
        }
        if n_left == 0 {
            let usage = Usage::new(usage.prompt_tokens, usage.completion_tokens);
            let usage = usage.with_cached(n_cached.unwrap_or(0));
            return Ok(Json(envelope.whole(&choices, usage, None)).into_response());
        }
    }
    Err(ApiError::unavailable(
        "the engine stopped before the answer was complete",
    ))
}

/// What all choices found in memory: what only the others found the first has just computed for them.
fn fewest(known: Option<usize>, n_cached: usize) -> Option<usize> {
    Some(known.map_or(n_cached, |known| known.min(n_cached)))
}

/// Renders, tokenises, compiles and queues off the reactor; the events come through a channel whose closing cancels.
async fn submit(app: &App, request: ChatRequest, owner: Owner) -> Result<Events, ApiError> {
    let places = (0..request.n_choices).map(|_| app.requests.take(owner.caller));
    let places = places.collect::<Result<Vec<Place>, NoPlace>>()?;
    let app = app.clone();
    let generations = tokio::task::spawn_blocking(move || {
        let generations = start(&app, request, owner)?;
        Ok::<_, ApiError>((generations, app.jobs.answering()))
    });
    let (generations, answering) = generations.await.map_err(ApiError::internal)??;
    let held = Arc::new((places, answering));
    let (sender, receiver) = mpsc::channel(N_EVENTS_BUFFERED);
    for (index, generation) in (0..).zip(generations) {
        let (sender, runtime, held) = (sender.clone(), Handle::current(), Arc::clone(&held));
        tokio::task::spawn_blocking(move || {
            let _held = held;
            forward(index, generation, &sender, &runtime);
        });
    }
    Ok(receiver)
}

/// Passes events on. A reader that went away ends it, also while the generation still waits for its turn, and
/// dropping the generation frees its cache.
fn forward(index: u32, mut generation: Generation, sender: &mpsc::Sender<(u32, Event)>, runtime: &Handle) {
    loop {
        match generation.next_timeout(LOOK_EVERY) {
            Next::Event(event) => {
                let sent = runtime.block_on(sender.send_timeout((index, event), SLOW_READER));
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

/// One generation for each choice, or none.
fn start(app: &App, request: ChatRequest, owner: Owner) -> Result<Vec<Generation>, ApiError> {
    let engine = app.assistant.engine();
    let engine = engine.ok_or_else(|| ApiError::unavailable("no model is configured"))?;
    let model = engine.model();
    check_biases(&request.sampling, model)?;
    let text = model.render_chat(&request.messages).map_err(|error| {
        ApiError::bad_field(
            "messages",
            format!("the model's chat template refuses these messages: {error}"),
        )
    })?;
    let prompt = model.tokenize_prompt(&text);
    let room = model.context().saturating_sub(prompt.len()).max(1);
    let (field, constraint) = request.constraint.unzip();
    let base = Request {
        max_tokens: request.max_tokens.unwrap_or(room).min(room),
        prompt,
        sampling: request.sampling,
        stop: request.stop,
        ignore_eos: false,
        constraint,
        n_top_logprobs: request.n_top_logprobs,
        owner,
    };
    let refused = |error| match (error, field) {
        (SubmitError::Constraint(error), Some(field)) => ApiError::bad_field(field, error.to_string()),
        (error, _) => error.into(),
    };
    let seed = |index: u64| base.sampling.seed.wrapping_add(index.wrapping_mul(SEED_STEP));
    let seeds: Vec<u64> = (0..).take(request.n_choices).map(seed).collect();
    engine.submit_choices(&base, &seeds).map_err(refused)
}

fn check_biases(sampling: &SamplingParams, model: &Model) -> Result<(), ApiError> {
    let n_tokens = model.n_sampleable();
    let unknown = sampling
        .logit_bias
        .iter()
        .find(|(id, _)| *id as usize >= n_tokens);
    let Some((id, _)) = unknown else {
        return Ok(());
    };
    let message = format!(
        "`logit_bias` names token {id}, but this model's tokens end at {}",
        n_tokens - 1
    );
    Err(ApiError::bad_field("logit_bias", message))
}

/// Turns events into the pieces of one stream.
struct Writer {
    envelope: Envelope,
    model: Arc<Model>,
    request_id: String,
    /// Choices that have not ended; 0 also after a failure: nothing follows.
    n_left: usize,
    prompt_tokens: usize,
    cached_tokens: Option<usize>,
    completion_tokens: usize,
}

impl Writer {
    fn pieces(&mut self, index: u32, event: Event) -> Vec<String> {
        match event {
            Event::Prefilled {
                prompt_tokens,
                cached_tokens,
            } => {
                self.prompt_tokens = prompt_tokens;
                self.cached_tokens = fewest(self.cached_tokens, cached_tokens);
                Vec::new()
            }
            Event::Token {
                ref text,
                logprobs: None,
                ..
            } if text.is_empty() => Vec::new(),
            Event::Token { text, logprobs, .. } => {
                let token = logprobs.map(|logprobs| TokenJson::of(&logprobs, &self.model));
                vec![self.envelope.text(index, &text, token.as_ref())]
            }
            Event::Done {
                stop,
                completion_tokens,
            } => {
                self.completion_tokens += completion_tokens;
                self.n_left -= 1;
                let mut pieces = vec![self.envelope.end(index, finish_reason(stop), None)];
                if self.n_left == 0 {
                    let usage = Usage::new(self.prompt_tokens, self.completion_tokens)
                        .with_cached(self.cached_tokens.unwrap_or(0));
                    pieces.extend(self.envelope.usage(usage));
                    pieces.push(DONE.to_owned());
                }
                pieces
            }
            Event::Failed { reason } => {
                self.n_left = 0;
                failed_pieces(&ApiError::internal(reason), &self.request_id)
            }
        }
    }
}
