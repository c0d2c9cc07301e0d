//! `/v1/models` and `/health`: what answers here, and whether it does.

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use knowledge::Reader;
use serde::Serialize;
use serde_json::json;

use crate::error::ApiError;
use crate::state::{App, Generation};
use crate::wire::RouterJson;

/// The id that answers from the documents.
pub(crate) const GROUNDED: &str = "hanok";

#[derive(Serialize)]
struct ModelJson {
    id: String,
    object: &'static str,
    created: i64,
    owned_by: &'static str,
    /// Whether answers come from the documents and carry citations.
    grounded: bool,
}

fn models(app: &App) -> Vec<ModelJson> {
    let model = |id: &str, grounded| ModelJson {
        id: id.to_owned(),
        object: "model",
        created: app.started_s,
        owned_by: "hanok",
        grounded,
    };
    let raw = app.model_name.iter().map(|name| model(name, false));
    std::iter::once(model(GROUNDED, true)).chain(raw).collect()
}

/// `GET /v1/models`.
pub(crate) async fn list(State(app): State<App>) -> Response {
    Json(json!({"object": "list", "data": models(&app)})).into_response()
}

/// `GET /v1/models/{id}`.
pub(crate) async fn one(State(app): State<App>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let found = models(&app).into_iter().find(|model| model.id == id);
    found
        .map(|model| Json(model).into_response())
        .ok_or_else(|| unknown(&id))
}

/// 404 for a model nobody knows.
pub(crate) fn unknown(id: &str) -> ApiError {
    const SHOWN: usize = 100;
    let shown: String = id.chars().take(SHOWN).collect();
    let mut error = ApiError::not_found(
        "model_not_found",
        format!("there is no model `{shown}` here; see /v1/models"),
    );
    error.param = Some("model".into());
    error
}

/// `GET /health`: 200 once a configured model has answered; without a model there is nothing to wait for.
pub(crate) async fn health(State(app): State<App>) -> Response {
    match app.generation() {
        ready @ (Generation::Ready | Generation::None) => {
            Json(json!({"status": "ok", "generation": ready.as_str()})).into_response()
        }
        Generation::Starting => not_ready("starting", "the model's self-test is under way"),
        // The reason stays in the log: this address is open to everyone.
        Generation::Failed(_) => not_ready(
            "failed",
            "the model did not pass its self-test; the log has the reason",
        ),
    }
}

fn not_ready(status: &str, reason: &str) -> Response {
    let body = Json(json!({"status": status, "reason": reason}));
    let retry = [(header::RETRY_AFTER, HeaderValue::from_static("1"))];
    (StatusCode::SERVICE_UNAVAILABLE, retry, body).into_response()
}

/// `GET /api/status`.
pub(crate) async fn status(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
) -> Result<Response, ApiError> {
    let status = crate::documents::off_reactor(move || app.status(&reader).map_err(ApiError::from)).await?;
    Ok(Json(status).into_response())
}

/// `GET /api/router`: which experts the model has used since it was loaded.
pub(crate) async fn router(State(app): State<App>) -> Json<RouterJson> {
    let engine = app.assistant.engine();
    let statistics = engine.map(engine::Engine::router_statistics);
    Json(statistics.unwrap_or_default().into())
}

/// `GET /metrics`.
pub(crate) async fn metrics(
    State(app): State<App>,
    Extension(reader): Extension<Reader>,
) -> Result<Response, ApiError> {
    let text = crate::documents::off_reactor(move || {
        let status = app.status(&reader).ok();
        Ok(app.metrics.render(&app, status.as_ref()))
    });
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((kind, text.await?).into_response())
}
