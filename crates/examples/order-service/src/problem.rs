//! Every error of a request, with its status and a body in `application/problem+json` (RFC 9457).
//!
//! Owns the choice of the status. Must never panic, nor show the cause of an internal error.

use std::io::{self, Write};

use annals_es::projection::WaitError;
use annals_es::{AppendError, ExecuteError, LoadError, Position, StoreError, Version};
use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::http::entity_tag;
use crate::order::OrderRefused;

/// Why a request has no success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// The syntax of the request, in its own status.
    #[error("{1}")]
    Request(StatusCode, String),
    #[error("there is no such order")]
    NotFound,
    #[error("{0}")]
    Refused(OrderRefused),
    #[error(
        "the order is at version {actual}, and not at that of If-Match: read it again, and decide anew"
    )]
    Changed { actual: Version },
    #[error("send the ETag of the order that you saw as If-Match")]
    NoIfMatch,
    #[error("the Idempotency-Key was used for another request")]
    KeyReused,
    #[error("the position is ahead of the last one, {head}")]
    PositionAhead { head: Position },
    #[error("the list is not yet complete up to the position; repeat the request")]
    Behind,
    /// The same request may succeed later. With the same Idempotency-Key it has effect once.
    #[error(
        "the service cannot answer at present; repeat the request with the same Idempotency-Key"
    )]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the service has failed")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Self::Request(status, _) => *status,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Refused(OrderRefused::Name(_) | OrderRefused::Line) | Self::KeyReused => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::Refused(_) => StatusCode::CONFLICT,
            Self::Changed { .. } => StatusCode::PRECONDITION_FAILED,
            Self::NoIfMatch => StatusCode::PRECONDITION_REQUIRED,
            Self::PositionAhead { .. } => StatusCode::BAD_REQUEST,
            Self::Behind | Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(crate) fn bad_request(why: impl Into<String>) -> Self {
        Self::Request(StatusCode::BAD_REQUEST, why.into())
    }

    pub(crate) fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(error.into())
    }
}

#[derive(Serialize)]
struct Body {
    title: &'static str,
    status: u16,
    detail: String,
    /// The present version, of a conflict.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if let Self::Unavailable(cause) | Self::Internal(cause) = &self {
            // A service would log it. Nothing can be done if that fails.
            let _ = writeln!(io::stderr(), "{self}: {cause}");
        }
        let status = self.status();
        let version = match &self {
            Self::Changed { actual } => Some(*actual),
            _ => None,
        };
        let body = Body {
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: self.to_string(),
            version,
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem);
        if let Some(version) = version {
            headers.insert(header::ETAG, entity_tag(version));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<ExecuteError<OrderRefused>> for Problem {
    fn from(error: ExecuteError<OrderRefused>) -> Self {
        match error {
            ExecuteError::Refused(OrderRefused::NotPlaced)
            | ExecuteError::VersionMismatch { actual: Version::NONE, .. } => Self::NotFound,
            ExecuteError::Refused(refused) => Self::Refused(refused),
            ExecuteError::VersionMismatch { actual, .. } => Self::Changed { actual },
            ExecuteError::CommandIdReused => Self::KeyReused,
            ExecuteError::TooLarge { .. } => {
                Self::Request(StatusCode::PAYLOAD_TOO_LARGE, error.to_string())
            }
            ExecuteError::Load(error) => error.into(),
            ExecuteError::Contended { .. }
            | ExecuteError::Append(
                AppendError::OutcomeUnknown(_) | AppendError::Store(StoreError::Closed),
            ) => Self::Unavailable(error.into()),
            error => Self::Internal(error.into()),
        }
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Store(StoreError::Closed) => Self::Unavailable(error.into()),
            error => Self::Internal(error.into()),
        }
    }
}

impl From<WaitError> for Problem {
    fn from(error: WaitError) -> Self {
        Self::Unavailable(error.into())
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::Request(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::Request(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::Request(rejection.status(), rejection.body_text())
    }
}
