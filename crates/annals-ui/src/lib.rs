//! A read-only web page over an [`annals`] store: what is in it, stream by stream and event by event.
//!
//! [`serve`] runs it alone, beside the service that writes; [`router`](router()) is mounted in a service's own web server.
//! Pages are complete without scripts; a small script adds keys, local time and live updates. Nothing is loaded from
//! elsewhere.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # let store = annals::Store::open(dir.path().join("ledger"))?;
//! use axum::Router;
//!
//! // In a service: at /events, with a token of its own.
//! let page = annals_ui::router(store, annals_ui::Options::new().token("a long random text"));
//! let service: Router = Router::new().nest("/events", page);
//! # let _ = service;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Who sees it
//!
//! Events may be confidential, so the page answers requests to this machine's own names alone, until
//! [`Options::host`] or [`Options::any_host`] names others; give [`Options::token`] wherever other people reach the
//! address. Requests that scripts of other pages make are refused, and no page of another site can frame this one.
//!
//! # Load
//!
//! Every call of the store runs on a thread for blocking work, [`Options::max_reads`] at once. Lists come in pages, exports
//! and live tails are read as fast as the client takes them, and each holds one batch of events in memory.

#![forbid(unsafe_code)]

mod app;
mod assets;
mod consumers;
mod context;
mod cursor;
mod diff;
mod difference;
mod error;
mod event;
mod export;
mod fault;
mod guard;
mod histogram;
mod json;
mod metrics;
mod options;
mod overview;
mod page;
mod rows;
mod search;
mod selection;
mod serve;
mod source;
mod start;
mod status;
mod streams;
mod suggest;
mod tail;
mod text;
mod trace;
mod verifying;

use std::path::Path;
use std::sync::Arc;

use annals::Store;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};

pub use crate::error::Error;
pub use crate::options::Options;
pub use crate::serve::serve;

use crate::app::App;
use crate::context::Context;
use crate::fault::Fault;
use crate::source::Source;

/// The page over an open store, to be mounted in a service's web server, alone or with
/// [`Router::nest`]: links have the prefix under which it is nested.
///
/// The handle may be open for writing: only [`Options::manage_parked`] changes anything. The router must run on a tokio
/// runtime.
pub fn router(store: Store, options: Options) -> Router {
    mounted(App::new(Source::Handle(store), options))
}

/// The page over the store in a directory, which is opened for reading, beside a writer or without one. If the store is
/// removed, replaced or damaged while it is served, requests say so, and later ones open what is there then.
///
/// # Errors
///
/// [`Error::Store`] if the store cannot be opened.
pub fn router_at(store: impl AsRef<Path>, options: Options) -> Result<Router, Error> {
    Ok(mounted(App::new(Source::directory(store.as_ref())?, options)))
}

fn mounted(app: App) -> Router {
    let app = Arc::new(app);
    let router = Router::new()
        .route("/", get(start::start))
        .route("/lists", get(start::lists))
        .route("/streams", get(streams::list))
        .route("/stream", get(streams::show))
        .route("/event", get(event::show))
        .route("/commit", get(event::commit))
        .route("/data", get(event::data))
        .route("/go", get(event::go))
        .route("/search", get(search::show))
        .route("/count", get(search::count))
        .route("/suggest", get(suggest::suggest))
        .route("/export", get(export::export))
        .route("/tail", get(tail::show))
        .route("/tail-events", get(tail::events))
        .route("/diff", get(diff::show))
        .route("/trace", get(trace::show))
        .route("/consumers", get(consumers::show))
        .route("/consumers-data", get(consumers::data))
        .route("/cursor", get(cursor::show))
        .route("/parked", post(consumers::change))
        .route("/status", get(status::show))
        .route("/verify", post(status::verify))
        .route("/verify-state", get(status::state))
        .route("/health", get(metrics::health))
        .route("/metrics", get(metrics::metrics))
        .route("/assets/style.css", get(assets::style))
        .route("/assets/app.js", get(assets::script))
        .route("/assets/icon.svg", get(assets::icon))
        .fallback(no_page);
    let guard = axum::middleware::from_fn_with_state(Arc::clone(&app), guard::check);
    router.layer(guard).with_state(app)
}

async fn no_page(State(app): State<Arc<App>>, cx: Context) -> Response {
    app.fault(&cx, &Fault::NotFound("There is no page at this address.".to_owned()))
}
