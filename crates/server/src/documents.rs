//! Search, documents and jobs over HTTP.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::extract::{Path, Query, State};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::{Stream, StreamExt as _};
use knowledge::{AsOf, Date, DocumentText, Reader, SearchMode, StoreError};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use crate::error::ApiError;
use crate::principal::Principal;
use crate::state::{App, Shared};
use crate::wire::{
    DocumentTextJson, DocumentsJson, JobsJson, SCHEMA, SearchJson, SearchModeJson, SuggestionsJson,
};

/// Passages a search may ask for.
pub(crate) const K_MAX: usize = 200;
/// Passages a search returns unless it says otherwise.
pub(crate) const K_DEFAULT: usize = 10;
/// Characters of a question to the search.
pub(crate) const QUERY_CHARS_MAX: usize = 4000;

/// Suggestions that may be asked for, and those given unless it is said otherwise.
pub(crate) const SUGGESTIONS_MAX: usize = 50;
const SUGGESTIONS_DEFAULT: usize = 8;

/// The values after the question mark.
pub(crate) type Values = Query<BTreeMap<String, String>>;

/// Runs blocking work away from the reactor.
pub(crate) async fn off_reactor<T, F>(work: F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, ApiError> + Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .map_err(ApiError::internal)?
}

/// The best passages, as HTTP and the local socket both give them.
pub(crate) fn find(
    app: &Shared,
    reader: &Reader,
    question: &str,
    k: usize,
    mode: SearchModeJson,
    as_of: AsOf,
) -> Result<SearchJson, StoreError> {
    let view = app.assistant.store().view_as_of(reader, as_of)?;
    let hits = app
        .assistant
        .search(&view, question, k.clamp(1, K_MAX), SearchMode::from(mode))?;
    Ok(SearchJson::from(hits.as_slice()))
}

/// Titles and headings that what is typed may become, as HTTP and the local socket both give them.
pub(crate) fn suggest(
    app: &Shared,
    reader: &Reader,
    beginning: &str,
    k: usize,
) -> Result<SuggestionsJson, StoreError> {
    let view = app.assistant.store().view(reader)?;
    Ok(view.suggest(beginning, k.clamp(1, SUGGESTIONS_MAX))?.into())
}

/// Removes a document, and its file if it was uploaded here; false if there is none that the reader may see.
pub(crate) fn remove(app: &Shared, reader: &Reader, id: &str) -> Result<bool, StoreError> {
    let store = app.assistant.store();
    let seen = store.view(reader)?.documents()?;
    let Some(path) = seen
        .into_iter()
        .find(|info| info.document_id == id)
        .map(|info| info.path)
    else {
        return Ok(false);
    };
    let path = std::path::PathBuf::from(path);
    let removed = store.remove(id)?;
    if removed
        && path.parent() == Some(app.uploads_dir.as_path())
        && let Err(error) = stdx::fs::remove_file(&path)
    {
        tracing::warn!("an uploaded file stays behind: {error}");
    }
    Ok(removed)
}

/// `GET /api/suggest?q=&k=`.
pub(crate) async fn suggestions(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
    Extension(principal): Extension<Principal>,
    values: Values,
) -> Result<Response, ApiError> {
    let beginning = values.get("q").cloned().unwrap_or_default();
    if beginning.chars().count() > QUERY_CHARS_MAX {
        return Err(ApiError::bad_field(
            "q",
            format!("`q` is longer than {QUERY_CHARS_MAX} characters"),
        ));
    }
    let k = match number(&values, "k")? {
        None => SUGGESTIONS_DEFAULT,
        Some(k) if (1..=SUGGESTIONS_MAX).contains(&k) => k,
        Some(_) => {
            return Err(ApiError::bad_field(
                "k",
                format!("`k` must lie between 1 and {SUGGESTIONS_MAX}"),
            ));
        }
    };
    let place = app.requests.take(principal.caller())?;
    let found = off_reactor(move || {
        let _held = place;
        Ok(suggest(&app, &reader, &beginning, k)?)
    });
    Ok(Json(found.await?).into_response())
}

/// `GET /api/search?q=&k=&mode=&as_of=&include_expired=`.
pub(crate) async fn search(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
    Extension(principal): Extension<Principal>,
    values: Values,
) -> Result<Response, ApiError> {
    let question = values.get("q").cloned().unwrap_or_default();
    if question.trim().is_empty() {
        return Err(ApiError::bad_field("q", "`q` is missing: what to search for"));
    }
    if question.chars().count() > QUERY_CHARS_MAX {
        return Err(ApiError::bad_field(
            "q",
            format!("`q` is longer than {QUERY_CHARS_MAX} characters"),
        ));
    }
    let k = match number(&values, "k")? {
        None => K_DEFAULT,
        Some(k) if (1..=K_MAX).contains(&k) => k,
        Some(_) => {
            return Err(ApiError::bad_field(
                "k",
                format!("`k` must lie between 1 and {K_MAX}"),
            ));
        }
    };
    let mode = match values.get("mode").map(String::as_str) {
        None | Some("hybrid" | "") => SearchModeJson::Hybrid,
        Some("lexical") => SearchModeJson::Lexical,
        Some("dense") => SearchModeJson::Dense,
        Some(_) => {
            return Err(ApiError::bad_field(
                "mode",
                "`mode` must be lexical, dense or hybrid",
            ));
        }
    };
    let as_of = as_of(&values)?;
    let place = app.requests.take(principal.caller())?;
    let found = off_reactor(move || {
        let _held = place;
        Ok(find(&app, &reader, &question, k, mode, as_of)?)
    });
    Ok(Json(found.await?).into_response())
}

/// Which documents are looked at, by the values `as_of` and `include_expired`.
pub(crate) fn as_of(values: &BTreeMap<String, String>) -> Result<AsOf, ApiError> {
    let day = values.get("as_of").filter(|day| !day.is_empty());
    Ok(AsOf {
        day: day.map(|day| parse_day(day)).transpose()?,
        include_expired: values.get("include_expired").is_some_and(|flag| is_on(flag)),
    })
}

/// A day, as people and programs write it.
pub(crate) fn parse_day(text: &str) -> Result<Date, ApiError> {
    let parsed = text.trim().parse();
    parsed.map_err(|error| ApiError::bad_field("as_of", format!("`as_of` is {error}")))
}

/// A flag in an address: there, and not said to be off.
fn is_on(flag: &str) -> bool {
    !matches!(flag, "0" | "false")
}

/// A whole number among the values.
pub(crate) fn number(
    values: &BTreeMap<String, String>,
    name: &'static str,
) -> Result<Option<usize>, ApiError> {
    let Some(text) = values.get(name).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let number = text.parse();
    number
        .map(Some)
        .map_err(|_| ApiError::bad_field(name, format!("`{name}` must be a whole number")))
}

/// `GET /api/documents`.
pub(crate) async fn list(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
) -> Result<Response, ApiError> {
    let documents = off_reactor(move || Ok(app.assistant.store().view(&reader)?.documents()?)).await?;
    Ok(Json(DocumentsJson::from(documents.as_slice())).into_response())
}

/// The document, or a 404 that says which part is missing.
pub(crate) async fn load(
    app: &App,
    reader: &Reader,
    id: String,
    version: Option<String>,
) -> Result<DocumentText, ApiError> {
    let (app, reader) = (app.clone(), reader.clone());
    let missing = ApiError::not_found(
        "document_not_found",
        "there is no such document, or not in this version",
    );
    let read = move || {
        Ok(app
            .assistant
            .store()
            .view(&reader)?
            .document(&id, version.as_deref())?)
    };
    let found = off_reactor(read).await?;
    found.ok_or(missing)
}

/// `GET /api/documents/{id}?version=&start=&end=`: the text, or the part between two positions.
pub(crate) async fn one(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
    Path(id): Path<String>,
    values: Values,
) -> Result<Response, ApiError> {
    let start = number(&values, "start")?.unwrap_or(0);
    let end = number(&values, "end")?.unwrap_or(usize::MAX);
    let version = values.get("version").filter(|v| !v.is_empty()).cloned();
    let document = load(&app, &reader, id, version).await?;
    Ok(Json(DocumentTextJson::part(&document, start, end)).into_response())
}

/// `DELETE /api/documents/{id}`.
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let removed = {
        let id = id.clone();
        off_reactor(move || Ok(remove(&app, &reader, &id)?)).await?
    };
    if !removed {
        return Err(ApiError::not_found(
            "document_not_found",
            "there is no such document",
        ));
    }
    Ok(Json(json!({"schema": SCHEMA, "document_id": id, "removed": true})).into_response())
}

/// `GET /api/jobs`.
pub(crate) async fn jobs(State(app): State<App>, Extension(reader): Extension<Reader>) -> Json<JobsJson> {
    Json(app.jobs.list(&reader))
}

/// `GET /api/jobs/events`: the whole board, then each change.
pub(crate) async fn job_events(State(app): State<App>, Extension(reader): Extension<Reader>) -> Response {
    // Subscribed before the board is read: a change may come twice, never not at all.
    let watch = app.jobs.watch();
    let board = board_event(&app, &reader);
    let changes = futures_util::stream::unfold((watch, app, reader), |(mut watch, app, reader)| async move {
        let event = loop {
            match watch.recv().await {
                Ok(job) if app.jobs.is_shown(&reader, job.id) => {
                    break Event::default().event("job").data(crate::ask::to_text(&job));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => break board_event(&app, &reader),
                Err(RecvError::Closed) => return None,
            }
        };
        Some((event, (watch, app, reader)))
    });
    let events = futures_util::stream::once(async { board }).chain(changes);
    Sse::new(fallible(events))
        .keep_alive(crate::ask::keep_alive())
        .into_response()
}

fn board_event(app: &App, reader: &Reader) -> Event {
    Event::default()
        .event("jobs")
        .data(crate::ask::to_text(&app.jobs.list(reader)))
}

fn fallible(
    events: impl Stream<Item = Event> + Send,
) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    events.map(Ok)
}
