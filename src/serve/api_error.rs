//! Errors of HTTP requests, in the JSON form of OpenAI's API.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::protocol::shortened;
use crate::error::Error;

/// An HTTP response that reports an error.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    message: String,
    /// The field of the request that is wrong (`param`).
    field: Option<&'static str>,
    /// The machine-readable error code (`code`).
    code: Option<&'static str>,
}

impl ApiError {
    /// Creates an error with this status; long messages are cut.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: shortened(&message.into()), field: None, code: None }
    }

    /// Creates an error with status 400.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Creates an error with status 503 and a `Retry-After` header.
    pub fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// Returns the error with the field of the request that caused it.
    pub fn of(self, field: &'static str) -> Self {
        Self { field: Some(field), ..self }
    }

    /// Returns the error with a machine-readable code.
    pub fn named(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// Whether the status is 503: the client may try again later.
    pub fn is_busy(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
    }

    /// Whether the status is 413: something was larger than a limit.
    pub fn is_too_large(&self) -> bool {
        self.status == StatusCode::PAYLOAD_TOO_LARGE
    }

    /// Returns the JSON of the response body: `{"error": …}`.
    pub fn json(&self) -> Value {
        let kind = if self.status.is_server_error() { "server_error" } else { "invalid_request_error" };
        json!({"error": {"message": self.message, "type": kind, "param": self.field, "code": self.code}})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, &self.json());
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}

/// Builds a JSON response.
pub fn json_response(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// The text of an error of the library, which names what a client or the server has in place of the library's functions.
pub fn for_client(error: Error) -> String {
    let own_name = |name: &str| match name {
        "open_raw" => Some("/v1/stream"),
        "lexicon" => Some("hearken serve --lexicon FILE"),
        "language_model" => Some("hearken serve --lm FILE"),
        _ => None,
    };
    error.rename_remedy(own_name).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Stage;

    #[test]
    fn errors_for_clients_name_no_functions_of_the_library() {
        let error = |name| Error::new(Stage::Audio, "expected audio").hint("for raw PCM").remedy(name);
        assert_eq!(for_client(error("open_raw")), "expected audio (for raw PCM: `/v1/stream`)");
        assert!(for_client(error("lexicon")).ends_with("`hearken serve --lexicon FILE`)"));
    }
}
