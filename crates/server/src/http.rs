//! What every request and response shares: ids, error bodies, security headers, counting.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use stdx::clock::Stopwatch;
use tracing::Instrument as _;

use crate::error::ApiError;
use crate::state::App;

tokio::task_local! {
    static REQUEST_ID: String;
}

static N_REQUESTS: AtomicU64 = AtomicU64::new(1);

/// No script but ours, no style but ours, nothing from anywhere else, no frame around the page.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The id of the request being handled, for a stream that outlives its handler.
pub(crate) fn current_request_id() -> String {
    REQUEST_ID.try_with(Clone::clone).unwrap_or_default()
}

fn new_request_id(app: &App) -> String {
    let n = N_REQUESTS.fetch_add(1, Ordering::Relaxed);
    // The first digits of a hash: ids are unique within a process and say nothing about it.
    let seed = format!("{}{n}", app.session);
    stdx::hash::short_id('r', seed.as_bytes())
}

/// The outermost layer: gives the request an id, renders errors, adds the headers, counts.
pub(crate) async fn outermost(
    State(app): State<App>,
    matched: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let watch = Stopwatch::start();
    let id = new_request_id(&app);
    let method = request.method().clone();
    let asked = Asked::of(&request);
    let route = matched.map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let span = tracing::info_span!("request", request_id = %id, %method, %route);
    let handled = REQUEST_ID.scope(id.clone(), next.run(request)).instrument(span);
    let mut response = render_error(&app, &asked, &id, handled.await);
    add_headers(response.headers_mut(), &id);
    app.metrics
        .request(&route, &method, response.status().as_u16(), watch.s());
    response
}

/// What of a request decides how an error looks.
struct Asked {
    wants_page: bool,
    headers: HeaderMap,
    query: Option<String>,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let path = request.uri().path();
        let program = path.starts_with("/v1/") || path.starts_with("/api/") || path == "/metrics";
        let accept = request.headers().get(header::ACCEPT);
        let html = accept.is_some_and(|accept| accept.as_bytes().windows(9).any(|part| part == b"text/html"));
        Self {
            wants_page: html && !program,
            headers: request.headers().clone(),
            query: request.uri().query().map(str::to_owned),
        }
    }
}

fn render_error(app: &App, asked: &Asked, id: &str, response: Response) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let error = match parts.extensions.remove::<ApiError>() {
        Some(error) => error,
        // A handler that made its own error body (the health check).
        None if parts
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|t| t == "application/json") =>
        {
            return Response::from_parts(parts, body);
        }
        None => ApiError::new(status, None, refused_by_framework(status)),
    };
    error.log(id);
    let mut rendered = if asked.wants_page {
        let language = crate::page::language(&asked.headers, asked.query.as_deref());
        crate::page::error_page(app, language, &error, id)
    } else {
        Json(error.to_wire(id)).into_response()
    };
    *rendered.status_mut() = status;
    for name in [header::RETRY_AFTER, header::WWW_AUTHENTICATE, header::ALLOW] {
        if let Some(value) = parts.headers.remove(&name) {
            rendered.headers_mut().insert(name, value);
        }
    }
    rendered
}

fn refused_by_framework(status: StatusCode) -> &'static str {
    match status {
        StatusCode::METHOD_NOT_ALLOWED => "this address does not take that method",
        StatusCode::PAYLOAD_TOO_LARGE => "the request is larger than the limit",
        StatusCode::NOT_FOUND => "there is nothing at this address",
        _ => "the request cannot be read",
    }
}

fn add_headers(headers: &mut HeaderMap, id: &str) {
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
}

/// The body as JSON. The content type is not asked for: `curl -d` sends another one, and the check of the origin
/// already keeps foreign pages out.
pub(crate) struct JsonBody(pub(crate) Value);

impl FromRequest<App> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, app).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                ApiError::too_large(format!(
                    "the request is larger than the limit of {} bytes",
                    crate::serve::JSON_BODY_BYTES_MAX
                ))
            } else {
                ApiError::bad_request("the request's body ended early")
            }
        })?;
        // serde_json stops at a depth of 128, so a deep body is an error, not a stack overflow.
        let value = serde_json::from_slice(&bytes)
            .map_err(|error| ApiError::bad_request(format!("the body is not valid JSON: {error}")))?;
        Ok(Self(value))
    }
}
