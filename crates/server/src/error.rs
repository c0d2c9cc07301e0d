//! Errors of the HTTP edge: a status, a code, a text for the client and another for the log.
//!
//! A handler returns [`ApiError`]; the outermost layer renders it, because only that one knows the request's id
//! and whether a person or a program asked. Rooms below keep their own error types.

use std::borrow::Cow;
use std::error::Error;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::wire::{ErrorBody, ErrorJson};

/// Seconds after which a client may try again when the queue is full.
const RETRY_AFTER_S: u64 = 2;

/// A failed request.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    /// 4xx or 5xx.
    pub(crate) status: StatusCode,
    /// For programs; made only where a client would act on it.
    pub(crate) code: Option<&'static str>,
    /// The offending field.
    pub(crate) param: Option<Cow<'static, str>>,
    /// For the client.
    pub(crate) message: String,
    /// For the log.
    internal: Option<String>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            param: None,
            message: message.into(),
            internal: None,
        }
    }

    /// 400: the client has to change the request.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, None, message)
    }

    /// 400 for one field.
    pub(crate) fn bad_field(param: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let mut error = Self::bad_request(message);
        error.param = Some(param.into());
        error
    }

    /// 404.
    pub(crate) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Some(code), message)
    }

    /// 413.
    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Some("too_large"), message)
    }

    /// 429 with Retry-After.
    pub(crate) fn queue_full() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            Some("queue_full"),
            "too many requests are waiting; try again in a moment",
        )
    }

    /// 503 with Retry-After.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Some("unavailable"), message)
    }

    /// 507: nothing can be written now.
    pub(crate) fn disk_full() -> Self {
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            Some("disk_full"),
            "the disk is full: make room, then try again; questions go on meanwhile",
        )
    }

    /// 500: the client sees only that something failed, the log the whole chain.
    pub(crate) fn internal(error: impl std::fmt::Display) -> Self {
        let mut api = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Some("internal_error"),
            "something went wrong inside; the log has the details under this request's id",
        );
        api.internal = Some(error.to_string());
        api
    }

    /// OpenAI's family name for the status.
    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// The error object with the request's id.
    pub(crate) fn to_wire(&self, request_id: &str) -> ErrorJson {
        ErrorJson {
            error: ErrorBody {
                message: self.message.clone(),
                kind: self.kind().to_owned(),
                param: self.param.as_deref().map(str::to_owned),
                code: self.code.map(str::to_owned),
                request_id: Some(request_id.to_owned()),
            },
        }
    }

    /// Writes what the client does not see to the log.
    pub(crate) fn log(&self, request_id: &str) {
        if let Some(internal) = &self.internal {
            tracing::error!(request_id, status = self.status.as_u16(), "{internal}");
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        let retry = matches!(
            self.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        );
        if retry {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<knowledge::StoreError> for ApiError {
    fn from(error: knowledge::StoreError) -> Self {
        if error.is_bad_input() {
            return Self::bad_request(error.to_string());
        }
        if error.is_no_space() {
            return Self::disk_full();
        }
        Self::internal(chain(&error))
    }
}

impl From<assistant::AskError> for ApiError {
    fn from(error: assistant::AskError) -> Self {
        use assistant::AskError;
        match error {
            AskError::EmptyQuestion | AskError::QuestionTooLong { .. } => {
                Self::bad_field("question", error.to_string())
            }
            AskError::Cancelled => Self::unavailable("the question was cancelled"),
            AskError::Store(error) => error.into(),
        }
    }
}

impl From<engine::NoPlace> for ApiError {
    fn from(refused: engine::NoPlace) -> Self {
        let mut api = Self::queue_full();
        if refused.own > 0 {
            api.message = format!(
                "{} of your requests are in work or waiting, as many as one caller may have now; try again in a moment",
                refused.own
            );
        }
        api
    }
}

impl From<engine::SubmitError> for ApiError {
    fn from(error: engine::SubmitError) -> Self {
        use engine::SubmitError;
        match error {
            SubmitError::TooLong { .. } => {
                let mut api = Self::bad_field("messages", error.to_string());
                api.code = Some("context_length_exceeded");
                api
            }
            SubmitError::Constraint(_) => Self::bad_field("response_format", error.to_string()),
            SubmitError::Empty => Self::bad_field("messages", error.to_string()),
            SubmitError::QueueFull(refused) => refused.into(),
            SubmitError::Stopped => Self::unavailable("the engine has stopped; restart the server"),
        }
    }
}

/// An error with its sources in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_and_a_stopped_engine_say_when_to_come_again() {
        let respond = |error: engine::SubmitError| {
            let response = ApiError::from(error).into_response();
            let retry = response.headers().get(header::RETRY_AFTER).cloned();
            (response.status().as_u16(), retry.is_some())
        };
        assert_eq!(respond(engine::NoPlace { own: 0, taken: 64 }.into()), (429, true));
        assert_eq!(respond(engine::SubmitError::Stopped), (503, true));
        assert_eq!(respond(engine::SubmitError::Empty), (400, false));
    }
}
