//! What all requests share: the store, the settings, and how many threads may read at once.
//!
//! Owns the bounds on work. Must never call the store on a thread of the runtime.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use annals::Store;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use maud::Markup;
use tokio::sync::Semaphore;

use crate::context::Context;
use crate::fault::Fault;
use crate::options::Options;
use crate::overview::Overview;
use crate::page;
use crate::source::Source;
use crate::verifying::Verifying;

/// How long a request waits for its turn to read.
const PATIENCE: Duration = Duration::from_secs(10);
const BUSY: &str = "Other requests are being answered, and this one has waited for ten seconds. \
                    Try again later.";

/// What all requests share.
pub(crate) struct App {
    pub(crate) source: Source,
    pub(crate) options: Options,
    pub(crate) reads: Arc<Semaphore>,
    pub(crate) tails: Arc<Semaphore>,
    pub(crate) exports: Arc<Semaphore>,
    pub(crate) overview: Overview,
    pub(crate) verifying: Arc<Verifying>,
    /// Proves that a form was made by this page.
    pub(crate) form_key: String,
    /// Whether the page may change parked events.
    pub(crate) is_writer: bool,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("source", &self.source).finish_non_exhaustive()
    }
}

impl App {
    pub(crate) fn new(source: Source, options: Options) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self {
            is_writer: options.manage_parked && source.is_writer(),
            verifying: Arc::default(),
            form_key: random_key(),
            reads: semaphore(options.max_reads),
            tails: semaphore(options.max_tails),
            exports: semaphore(options.max_exports),
            overview: Overview::default(),
            source,
            options,
        }
    }

    /// Runs a call of the store on a thread for blocking work, if its turn comes in time.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        job: impl FnOnce(&Store) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let turn = Arc::clone(&self.reads).acquire_owned();
        let turn = tokio::time::timeout(PATIENCE, turn).await;
        let Ok(Ok(permit)) = turn else { return Err(Fault::Busy(BUSY)) };
        let app = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let (store, opening) = app.source.store()?;
            let done = job(&store);
            if let Err(Fault::Store(error)) = &done {
                app.source.report(opening, error);
            }
            done
        });
        done.await.unwrap_or(Err(Fault::Failed("The request failed inside the server.")))
    }

    /// Answers a request with a page, which is made on a thread for blocking work.
    pub(crate) async fn page(
        self: &Arc<Self>,
        context: Context,
        make: impl FnOnce(&Store, &Context) -> Result<Page, Fault> + Send + 'static,
    ) -> Response {
        let (app, cx) = (Arc::clone(self), context.clone());
        let answer = self.read(move |store| {
            let page = make(store, &cx)?;
            Ok((page.status, page::whole(&app, &cx, Some(store), &page.title, &page.content)))
        });
        match answer.await {
            Ok((status, markup)) => html_response(status, markup),
            Err(fault) => self.fault(&context, &fault),
        }
    }

    /// The page for a request that has none.
    pub(crate) fn fault(&self, context: &Context, fault: &Fault) -> Response {
        let markup = page::whole(self, context, None, fault.title(), &fault.markup());
        html_response(fault.status(), markup)
    }
}

/// The content of a page.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) title: String,
    pub(crate) content: Markup,
}

impl Page {
    pub(crate) fn new(title: impl Into<String>, content: Markup) -> Self {
        Self { status: StatusCode::OK, title: title.into(), content }
    }
}

/// A response with HTML.
pub(crate) fn html_response(status: StatusCode, markup: Markup) -> Response {
    respond(status, "text/html; charset=utf-8", markup.into_string())
}

/// A response with JSON.
pub(crate) fn json_response(value: &serde_json::Value) -> Response {
    respond(StatusCode::OK, "application/json", value.to_string())
}

/// A response of one piece.
pub(crate) fn respond(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Body>,
) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// 128 random bits in hexadecimal. Without randomness it is empty, and forms that need it are refused.
fn random_key() -> String {
    let mut bytes = [0; 16];
    match getrandom::fill(&mut bytes) {
        Ok(()) => hexadecimal(&bytes),
        Err(_) => String::new(),
    }
}

/// Two digits for each byte.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
