//! Errors on the wire: OpenAI's error object, with the request's id.

use serde::{Deserialize, Serialize};

/// What went wrong, for a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// For people.
    pub message: String,
    /// The family: "invalid_request_error", "authentication_error", "rate_limit_error", "server_error", …
    #[serde(rename = "type")]
    pub kind: String,
    /// The offending field, or null.
    pub param: Option<String>,
    /// For programs, or null.
    pub code: Option<String>,
    /// The request's id, as in the header `x-request-id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// An error response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorJson {
    /// What went wrong.
    pub error: ErrorBody,
}
