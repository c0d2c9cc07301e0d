//! The page: rendered here, made livelier by one small script, and usable without it.

mod document;
mod strings;
mod templates;

use std::collections::BTreeMap;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::{Extension, Form};
use knowledge::{AsOf, Reader};
use minijinja::{Value, context};
use serde::Deserialize;

use crate::ask;
use crate::documents::{Values, load, number, off_reactor, parse_day};
use crate::error::ApiError;
use crate::guard::{local_path, percent_encode};
use crate::jobs::Order;
use crate::principal::Principal;
use crate::state::App;
use crate::wire::{AskJson, DocumentJson, StatusJson, TurnJson, UnreadJson};
use strings::{COOKIE, asked_for, words};
pub(crate) use strings::{Lang, language};
pub(crate) use templates::Templates;
use templates::{Context, value};

/// Earlier turns the page without script carries along.
const N_TURNS_CARRIED: usize = 6;
/// Files that were not read, as they are listed; more are counted.
const UNREAD_MAX: usize = 200;
/// Pages shown as pictures for one quote.
const LEAVES_MAX: usize = 4;
/// Characters of them together.
const TURNS_CHARS_MAX: usize = 40_000;

/// How a page is asked for.
struct View {
    lang: Lang,
    remember: bool,
}

impl View {
    fn of(headers: &HeaderMap, uri: &Uri) -> Self {
        Self {
            lang: language(headers, uri.query()),
            remember: asked_for(uri.query()).is_some(),
        }
    }
}

/// A page with the state of the house on top.
async fn show(
    app: &App,
    reader: &Reader,
    view: &View,
    name: &'static str,
    mut values: Context,
) -> Result<Response, ApiError> {
    let status = {
        let (app, reader) = (app.clone(), reader.clone());
        off_reactor(move || Ok(app.status(&reader)?)).await?
    };
    values.insert("status_text", Value::from(status_text(&status, view.lang)));
    values.insert("status", value(&status));
    values.insert("reindex_text", Value::from(reindex_text(&status, view.lang)));
    values.insert("script", Value::from(true));
    values.insert(
        "today",
        Value::from(app.assistant.store().today().get().to_string()),
    );
    values.insert("signed_in", Value::from(app.needs_token()));
    let html = app.templates.render(name, view.lang, Value::from_pairs(values));
    let html = html.map_err(|error| ApiError::internal(format!("{error:#}")))?;
    let mut response = Html(html).into_response();
    if view.remember {
        let cookie = format!(
            "{COOKIE}={}; SameSite=Lax; Path=/; Max-Age=31536000",
            view.lang.code()
        );
        let cookie = HeaderValue::from_str(&cookie).map_err(ApiError::internal)?;
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

fn status_text(status: &StatusJson, lang: Lang) -> String {
    let text = &words(lang)[&format!("status_{}", status.generation)];
    text.replace("{n}", status.model.as_deref().unwrap_or_default())
}

/// How far a new index is, if one is being made.
fn reindex_text(status: &StatusJson, lang: Lang) -> Option<String> {
    const MINUTE_S: f64 = 60.0;
    let progress = status.reindex.as_ref()?;
    let words = words(lang);
    let mut text = words[&format!("reindex_{}", progress.stage.as_str())]
        .replace("{n}", &progress.done.to_string())
        .replace("{of}", &progress.total.to_string());
    if let Some(left_s) = progress.left_s {
        let minutes = (left_s / MINUTE_S).ceil().max(1.0);
        text.push_str(&words["reindex_left"].replace("{n}", &format!("{minutes:.0}")));
    }
    Some(words["status_reindex"].replace("{n}", &text))
}

/// `GET /`.
pub(crate) async fn home(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let values = Context::from([("here", Value::from("ask")), ("history", Value::from("[]"))]);
    show(&app, &reader, &View::of(&headers, &uri), "home.html", values).await
}

/// What the form sends without script.
#[derive(Deserialize)]
pub(crate) struct AskForm {
    question: String,
    #[serde(default)]
    history: String,
    extractive: Option<String>,
    #[serde(default)]
    as_of: String,
    include_expired: Option<String>,
}

impl AskForm {
    fn as_of(&self) -> Result<AsOf, ApiError> {
        let day = Some(self.as_of.trim()).filter(|day| !day.is_empty());
        Ok(AsOf {
            day: day.map(parse_day).transpose()?,
            include_expired: self.include_expired.is_some(),
        })
    }
}

/// `POST /ask`: the whole answer on a new page.
pub(crate) async fn ask(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    uri: Uri,
    Form(form): Form<AskForm>,
) -> Result<Response, ApiError> {
    let mut turns: Vec<TurnJson> = serde_json::from_str(&form.history).unwrap_or_default();
    shorten(&mut turns);
    let extractive = form.extractive.is_some();
    let question = assistant::Ask {
        question: form.question.clone(),
        history: turns.iter().cloned().map(Into::into).collect(),
        extractive,
        reader: reader.clone(),
        as_of: form.as_of()?,
        caller: principal.caller(),
    };
    let answer: AskJson = ask::answered(&app, question).await?;
    let mut values = Context::from([
        ("here", Value::from("ask")),
        ("question", Value::from(form.question.clone())),
        ("turns", value(&turns)),
        ("answer", value(&answer)),
        ("extractive", Value::from(extractive)),
        ("as_of", Value::from(form.as_of.clone())),
        ("include_expired", Value::from(form.include_expired.is_some())),
    ]);
    turns.push(TurnJson {
        question: form.question,
        answer: answer.text(),
    });
    shorten(&mut turns);
    values.insert("history", Value::from(ask::to_text(&turns)));
    show(&app, &reader, &View::of(&headers, &uri), "home.html", values).await
}

/// Keeps the latest turns that fit.
fn shorten(turns: &mut Vec<TurnJson>) {
    let mut n_chars = 0;
    let kept = turns.iter().rev().take(N_TURNS_CARRIED).take_while(|turn| {
        n_chars += turn.question.chars().count() + turn.answer.chars().count();
        n_chars <= TURNS_CHARS_MAX
    });
    let kept = kept.count();
    turns.drain(..turns.len() - kept);
}

/// `GET /documents`.
pub(crate) async fn documents(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let (listed, unread) = {
        let (app, reader) = (app.clone(), reader.clone());
        off_reactor(move || {
            let view = app.assistant.store().view(&reader)?;
            Ok((view.documents()?, view.unread()?))
        })
        .await?
    };
    let listed: Vec<DocumentJson> = listed.iter().map(DocumentJson::from).collect();
    let n_unread = unread.len();
    let unread: Vec<UnreadJson> = unread.iter().take(UNREAD_MAX).map(UnreadJson::from).collect();
    let jobs = app.jobs.list(&reader).jobs;
    let values = Context::from([
        ("here", Value::from("documents")),
        ("documents", value(&listed)),
        ("unread", value(&unread)),
        ("n_unread", Value::from(n_unread)),
        ("jobs", value(jobs.get(..10).unwrap_or(&jobs))),
    ]);
    show(&app, &reader, &View::of(&headers, &uri), "documents.html", values).await
}

/// What the button beside a file that was not read sends.
#[derive(Deserialize)]
pub(crate) struct RetryForm {
    path: String,
}

/// `POST /documents/retry`: reads a file once more.
pub(crate) async fn retry(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
    Form(form): Form<RetryForm>,
) -> Result<Response, ApiError> {
    off_reactor(move || {
        let store = app.assistant.store();
        // What one may not see one may not try again either.
        let mut unread = store.view(&reader)?.unread()?.into_iter();
        let Some(unread) = unread.find(|unread| unread.path == form.path) else {
            return Err(ApiError::not_found("file_not_found", "there is no such file"));
        };
        store.retry(&unread)?;
        let name = unread.place.file_name().unwrap_or_default();
        let order = Order {
            name: name.to_string_lossy().into_owned(),
            bytes: 0,
            paths: vec![unread.place.clone()],
            retry: false,
            accepted: None,
        };
        app.jobs
            .submit(&reader, order, None)
            .ok_or_else(ApiError::queue_full)
    })
    .await?;
    Ok(Redirect::to("/documents").into_response())
}

/// `GET /quality?months=`.
pub(crate) async fn quality(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    uri: Uri,
    values: Values,
) -> Result<Response, ApiError> {
    let report = crate::quality::report(&app, (&reader, &principal), &values).await?;
    let values = Context::from([("here", Value::from("quality")), ("report", value(&report))]);
    show(&app, &reader, &View::of(&headers, &uri), "quality.html", values).await
}

/// `POST /documents/{id}/delete`.
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    off_reactor(move || Ok(crate::documents::remove(&app, &reader, &id)?)).await?;
    Ok(Redirect::to("/documents").into_response())
}

/// `GET /document/{id}?version=&start=&end=&from=`.
pub(crate) async fn document(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
    Path(id): Path<String>,
    Query(values): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let quote = match (number(&values, "start")?, number(&values, "end")?) {
        (Some(start), Some(end)) if start < end => Some((start, end)),
        _ => None,
    };
    let from = document::window_start(number(&values, "from")?, quote);
    let version = values
        .get("version")
        .filter(|version| !version.is_empty())
        .cloned();
    let old = is_old(&app, &reader, &id, version.as_deref()).await?;
    let document = load(&app, &reader, id.clone(), version.clone()).await?;
    let leaves = match quote {
        Some(quote) => {
            let found = crate::pictures::of_span(&app, &reader, id.clone(), version.clone(), quote).await?;
            found.map(|marks| marks.pages).unwrap_or_default()
        }
        None => Vec::new(),
    };
    let part = document::part(&document, from, quote);
    let view = View::of(&headers, &uri);
    let link = |from: usize| {
        let version = version
            .as_deref()
            .map(|v| format!("version={}&", percent_encode(v)))
            .unwrap_or_default();
        let quote = quote
            .map(|(start, end)| format!("start={start}&end={end}&"))
            .unwrap_or_default();
        format!("/document/{}?{version}{quote}from={from}", percent_encode(&id))
    };
    let whole = part.from == 0 && part.to == part.of;
    let text = words(view.lang)["document_part"]
        .replace("{from}", &(part.from + 1).to_string())
        .replace("{to}", &part.to.to_string())
        .replace("{of}", &part.of.to_string());
    let context = Context::from([
        ("document", value(DocumentJson::from(&document.info))),
        ("old", Value::from(old)),
        ("leaves", value(leaves.get(..LEAVES_MAX).unwrap_or(&leaves))),
        ("sheets", value(&part.sheets)),
        ("before", Value::from(document::before(part.from).map(link))),
        ("after", Value::from((part.to < part.of).then(|| link(part.to)))),
        ("part", Value::from((!whole).then_some(text))),
    ]);
    show(&app, &reader, &view, "document.html", context).await
}

/// Whether a version is asked for that is not the present one.
async fn is_old(app: &App, reader: &Reader, id: &str, version: Option<&str>) -> Result<bool, ApiError> {
    let Some(version) = version.map(str::to_owned) else {
        return Ok(false);
    };
    let (app, reader, id) = (app.clone(), reader.clone(), id.to_owned());
    off_reactor(move || {
        let present = app.assistant.store().view(&reader)?.document(&id, None)?;
        Ok(present.is_none_or(|document| document.info.version != version))
    })
    .await
}

/// `GET /login`.
pub(crate) async fn login(State(app): State<App>, headers: HeaderMap, uri: Uri, values: Values) -> Response {
    let next = values.get("next").map_or("/", |next| local_path(next));
    sign_in_page(&app, language(&headers, uri.query()), next, false)
}

/// The sign-in form; a stranger sees nothing else of the house.
pub(crate) fn sign_in_page(app: &App, lang: Lang, next: &str, wrong: bool) -> Response {
    stranger_page(app, "login.html", lang, context! { next, wrong })
}

/// An error for a person.
pub(crate) fn error_page(app: &App, lang: Lang, error: &ApiError, request_id: &str) -> Response {
    stranger_page(
        app,
        "error.html",
        lang,
        context! { message => error.message.clone(), request_id },
    )
}

fn stranger_page(app: &App, name: &str, lang: Lang, values: Value) -> Response {
    match app.templates.render(name, lang, values) {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!("{error:#}");
            "something went wrong".into_response()
        }
    }
}
