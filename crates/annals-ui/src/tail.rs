//! New events as they are committed, as server-sent events.
//!
//! Owns what a slow client costs: a position. The next batch is read when the client has taken the one before; a client
//! that is too far from the head skips events, and their number is sent to it. Must never hold a thread while it waits.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use annals::Event;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use maud::html;
use tokio::sync::OwnedSemaphorePermit;

use crate::app::{App, Page, respond};
use crate::context::Context;
use crate::fault::Fault;
use crate::selection::Selection;
use crate::{rows, search};

/// Events of a batch.
const BATCH: u64 = 50;
/// Events that a client may be from the head before it skips to the newest ones.
const MAX_LAG: u64 = 20_000;
/// Events that are shown when a tail begins.
const FIRST: u64 = 20;
/// How often a tail looks for new events.
const LOOKS_EVERY: Duration = Duration::from_millis(100);
/// How long nothing is sent at most, so that a client that is gone is noticed.
const KEPT_ALIVE_EVERY: Duration = Duration::from_secs(15);
const BUSY: &str = "Too many live tails are open. Close one, or try again later; \
                    annals_ui::Options::max_tails sets their number.";

/// `/tail`
pub(crate) async fn show(State(app): State<Arc<App>>, cx: Context) -> Response {
    let lists = app.kept_lists();
    app.page(cx, move |store, cx| {
        let selection = Selection::of(cx);
        let newest = match &selection {
            Ok(selection) => {
                let read = selection.filtered(store.read_all()).backwards().limit(FIRST);
                read.into_iter().collect::<annals::Result<Vec<Event>>>()?
            }
            Err(_) => Vec::new(),
        };
        let is_wrong = selection.is_err();
        let head = store.head().to_string();
        let mut params: Vec<_> = ["q", "hidden"]
            .into_iter()
            .filter_map(|name| cx.param(name).map(|value| (name, value)))
            .collect();
        params.push(("after", &head));
        let content = html! {
            h1 { "Live" }
            (search::form(cx, lists.as_deref(), "tail", is_wrong))
            @match &selection {
                Err(malformed) => (malformed.markup()),
                Ok(_) => {
                    p data-tail=(cx.link("tail-events", &params)) {
                        button #pause type="button" hidden aria-pressed="false" { "Pause" }
                        " " span #tail-state role="status" {
                            "New events appear with scripts only. Load the page again to see them."
                        }
                    }
                    (rows::events(cx, &newest, true))
                }
            }
        };
        let status = if is_wrong { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        Ok(Page { status, title: "Live".to_owned(), content })
    })
    .await
}

/// The state of a tail.
struct Tail {
    app: Arc<App>,
    cx: Context,
    selection: Selection,
    after: u64,
    is_over: bool,
    _permit: OwnedSemaphorePermit,
}

/// `/tail-events`
pub(crate) async fn events(
    State(app): State<Arc<App>>,
    cx: Context,
    headers: HeaderMap,
) -> Response {
    let selection = match Selection::of(&cx) {
        Ok(selection) => selection,
        Err(malformed) => return search::malformed_response(&malformed),
    };
    let Ok(permit) = Arc::clone(&app.tails).try_acquire_owned() else {
        let mut refusal =
            respond(StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", BUSY);
        // The memory of a connection that is kept open for another request is free at once.
        refusal.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return refusal;
    };
    // A browser that connects again sends the last position that it has seen.
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let after = match seen.map_or_else(|| cx.number("after"), |seen| Ok(Some(seen))) {
        Ok(after) => after,
        Err(fault) => return app.fault(&cx, &fault),
    };
    let head = app.read(|store| Ok(store.read_all().limit(0).start()?.head().get())).await;
    let after = match head {
        Ok(head) => after.unwrap_or(head).min(head),
        Err(fault) => return app.fault(&cx, &fault),
    };
    let tail = Tail { app, cx, selection, after, is_over: false, _permit: permit };
    let messages = stream::unfold(tail, Tail::next);
    Sse::new(messages).keep_alive(KeepAlive::new().interval(KEPT_ALIVE_EVERY)).into_response()
}

/// What is sent next.
enum Batch {
    Skipped(u64),
    Events(Vec<Event>),
}

impl Tail {
    /// The next message; waits until there is one. An error is sent, and ends the tail.
    async fn next(mut self) -> Option<(Result<sse::Event, Infallible>, Self)> {
        if self.is_over {
            return None;
        }
        let message = loop {
            match self.batch().await {
                // Reads are cheap where nothing is new, and notice a store that is gone.
                Ok(Batch::Events(events)) if events.is_empty() => {
                    tokio::time::sleep(LOOKS_EVERY).await;
                }
                Ok(Batch::Events(events)) => {
                    let rows: String = events
                        .iter()
                        .rev()
                        .map(|event| rows::event_row(&self.cx, event, true).into_string())
                        .collect();
                    // A line break would end the field; rows have none of their own.
                    let rows = rows.replace(['\r', '\n'], " ");
                    break sse::Event::default().id(self.after.to_string()).data(rows);
                }
                Ok(Batch::Skipped(events)) => {
                    let id = self.after.to_string();
                    break sse::Event::default().event("skipped").id(id).data(events.to_string());
                }
                Err(fault) => break self.end(&fault),
            }
        };
        Some((Ok(message), self))
    }

    fn end(&mut self, fault: &Fault) -> sse::Event {
        self.is_over = true;
        let text = fault.message().replace(['\r', '\n'], " ");
        sse::Event::default().event("ended").data(text)
    }

    async fn batch(&mut self) -> Result<Batch, Fault> {
        let (selection, after) = (self.selection.clone(), self.after);
        let read = self.app.read(move |store| {
            let read = selection.filtered(store.read_all().after(after)).limit(BATCH);
            let events = read.start()?;
            let head = events.head().get();
            if head.saturating_sub(after) > MAX_LAG {
                let skipped = head - FIRST - after;
                return Ok((head - FIRST, Batch::Skipped(skipped)));
            }
            let events = events.collect::<annals::Result<Vec<Event>>>()?;
            let through = match events.last() {
                Some(last) if events.len() as u64 == BATCH => last.position().get(),
                _ => head,
            };
            Ok((through, Batch::Events(events)))
        });
        let (through, batch) = read.await?;
        // Another store in the same place may be shorter than the one before.
        self.after = through;
        Ok(batch)
    }
}
