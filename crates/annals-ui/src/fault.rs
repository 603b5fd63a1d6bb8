//! Why a request has no page, as a page.
//!
//! Owns status codes and the wording. Must never show more of an error than its text and its causes.

use std::error::Error as _;

use annals::Error;
use axum::http::StatusCode;
use maud::{Markup, html};

use crate::text;

/// Why a request has no page.
#[derive(Debug)]
pub(crate) enum Fault {
    /// A parameter is malformed, with what to give instead.
    BadRequest(String),
    /// What the request names is not in the store.
    NotFound(String),
    /// The request is not allowed, with the reason.
    Forbidden(String),
    /// A limit of the server is reached.
    Busy(&'static str),
    /// The server itself failed.
    Failed(&'static str),
    /// The store returned an error.
    Store(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl Fault {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::Store(Error::InvalidArgument { .. }) => {
                StatusCode::BAD_REQUEST
            }
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(error) if ends_handle(error) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed(_) | Self::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(crate) fn title(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "The request is malformed",
            Self::NotFound(_) => "Not found",
            Self::Forbidden(_) => "Not allowed",
            Self::Busy(_) => "Too many requests at once",
            Self::Failed(_) => "The server failed",
            Self::Store(Error::Corrupt { .. }) => "The store is damaged",
            Self::Store(Error::NotAStore { .. }) => "There is no store",
            Self::Store(Error::StoreGone { .. } | Error::OtherHistory { .. }) => {
                "The store was removed or replaced"
            }
            Self::Store(_) => "The store cannot be read",
        }
    }

    /// The reason in one text.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::BadRequest(what) | Self::NotFound(what) | Self::Forbidden(what) => what.clone(),
            Self::Busy(what) | Self::Failed(what) => (*what).to_owned(),
            Self::Store(error) => described(error),
        }
    }

    /// The content of the page.
    pub(crate) fn markup(&self) -> Markup {
        html! {
            h1 { (self.title()) }
            p.fault { (text::visible(&self.message())) }
            @if let Self::Store(error) = self {
                @if ends_handle(error) {
                    p { "The page keeps running. Load it again to look for the store at the same place." }
                }
                @if matches!(error, Error::Corrupt { .. }) {
                    p { "The health page can list every fault; " code { "annals repair" } " copies what is intact." }
                }
            }
        }
    }
}

/// An error with its causes.
pub(crate) fn described(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Whether a handle that returned this error may be of no further use, and the store is to be opened again.
pub(crate) fn ends_handle(error: &Error) -> bool {
    matches!(
        error,
        Error::StoreGone { .. }
            | Error::OtherHistory { .. }
            | Error::OtherStore { .. }
            | Error::Closed
            | Error::Corrupt { .. }
            | Error::NotAStore { .. }
            | Error::Unsupported { .. }
            | Error::Io { .. }
    )
}
