//! Exports of all selected events, as NDJSON for `annals import`, or as CSV.
//!
//! One batch of lines is in memory, and it is made when the client has taken the one before; a client that takes none
//! holds no thread. Must never end a failed export like a whole one.

use std::io::Error;
use std::sync::Arc;

use annals::{Event, Events};
use annals_lines::lines::{self, Row};
use annals_lines::{columns, time};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;

use crate::app::{App, respond};
use crate::context::Context;
use crate::fault::Fault;
use crate::search::malformed_response;
use crate::selection::Selection;

/// Bytes after which a batch ends; one event may exceed them.
const BATCH: usize = 64 << 10;
const BUSY: &str = "Other exports are running. Try again when one of them has ended.";

/// The form of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Ndjson,
    Csv,
}

/// The state of an export.
struct Export {
    app: Arc<App>,
    /// Events that are still to be written; `None` after the last one.
    events: Option<Events>,
    format: Format,
    is_first: bool,
    _permit: OwnedSemaphorePermit,
}

/// `/export`
pub(crate) async fn export(State(app): State<Arc<App>>, cx: Context) -> Response {
    let selection = match Selection::of(&cx) {
        Ok(selection) => selection,
        Err(malformed) => return malformed_response(&malformed),
    };
    let (format, content_type, name) = match cx.param("format") {
        Some("csv") => (Format::Csv, "text/csv; charset=utf-8", "events.csv"),
        None | Some("ndjson") => (Format::Ndjson, "application/x-ndjson", "events.ndjson"),
        Some(other) => {
            let text = format!("The format {other:?} is none of ndjson and csv.");
            return app.fault(&cx, &Fault::BadRequest(text));
        }
    };
    let Ok(permit) = Arc::clone(&app.exports).try_acquire_owned() else {
        return app.fault(&cx, &Fault::Busy(BUSY));
    };
    let started = app.read(move |store| Ok(selection.read(store)?.start()?)).await;
    let events = match started {
        Ok(events) => events,
        Err(fault) => return app.fault(&cx, &fault),
    };
    let export = Export { app, events: Some(events), format, is_first: true, _permit: permit };
    let batches = stream::try_unfold(export, Export::next);
    let mut response = respond(StatusCode::OK, content_type, Body::from_stream(batches));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

impl Export {
    /// The next batch. An error ends the connection before the end of the answer, so that the client notices.
    async fn next(mut self) -> Result<Option<(Vec<u8>, Self)>, Error> {
        let Some(mut events) = self.events.take() else { return Ok(None) };
        let (format, is_first) = (self.format, self.is_first);
        let made = self.app.read(move |_| {
            let mut lines = Vec::with_capacity(BATCH + BATCH / 4);
            if is_first && format == Format::Csv {
                columns::head(&columns::every(), &mut lines);
            }
            while lines.len() < BATCH {
                let Some(event) = events.next() else { return Ok((lines, None)) };
                write_event(&event?, format, &mut lines)?;
            }
            Ok((lines, Some(events)))
        });
        let (lines, rest) = made.await.map_err(|fault| Error::other(fault.message()))?;
        self.events = rest;
        self.is_first = false;
        if lines.is_empty() { Ok(None) } else { Ok(Some((lines, self))) }
    }
}

impl From<Error> for Fault {
    fn from(_: Error) -> Self {
        // Lines are written to memory.
        Self::Failed("A line cannot be written.")
    }
}

/// Adds the line of an event, as `annals export` and `annals query --format csv` write it.
fn write_event(event: &Event, format: Format, out: &mut Vec<u8>) -> Result<(), Error> {
    let event = event.as_ref();
    let row = Row::from(&event);
    match format {
        Format::Ndjson => {
            lines::encode(&row, out)?;
            out.push(b'\n');
        }
        Format::Csv => {
            let time = time::to_rfc3339(event.recorded_at());
            columns::encode(&row, &time, &columns::every(), out);
        }
    }
    Ok(())
}
