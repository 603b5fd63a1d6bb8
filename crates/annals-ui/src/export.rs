//! Exports of all selected events, as NDJSON for `annals import`, or as CSV.
//!
//! Owns the form of lines. One batch of lines is in memory, and it is made when the client has taken the one before; a
//! client that takes none holds no thread. Must never end a failed export like a whole one.

use std::io::{Error, Write};
use std::sync::Arc;

use annals::{ContentType, Event, Events, Position};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::stream;
use serde::Serialize;
use serde_json::value::RawValue;
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
                write_header(&mut lines)?;
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

/// An event as `annals export` writes it.
#[derive(Serialize)]
struct Line<'a> {
    position: Position,
    stream: &'a str,
    version: u64,
    #[serde(rename = "type")]
    event_type: &'a str,
    id: String,
    recorded_at: String,
    commit: Position,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_base64: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<&'a str>,
    #[serde(skip_serializing_if = "is_zero")]
    schema_version: u16,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(version: &u16) -> bool {
    *version == 0
}

impl<'a> From<&'a Event> for Line<'a> {
    fn from(event: &'a Event) -> Self {
        let is_json = event.content_type() == ContentType::Json;
        let data = if is_json { verbatim(event.data()) } else { None };
        let metadata = verbatim(event.metadata());
        let has_metadata = !event.metadata().is_empty();
        Self {
            position: event.position(),
            stream: event.stream(),
            version: event.version(),
            event_type: event.event_type(),
            id: event.id().to_string(),
            recorded_at: event.recorded_at().to_string(),
            commit: event.commit(),
            data,
            data_base64: data.is_none().then(|| BASE64_STANDARD.encode(event.data())),
            content_type: (is_json && data.is_none()).then_some("json"),
            metadata,
            metadata_base64: (metadata.is_none() && has_metadata)
                .then(|| BASE64_STANDARD.encode(event.metadata())),
            tags: event.tags().collect(),
            schema_version: event.schema_version(),
        }
    }
}

/// The bytes as JSON source text, if a line can hold them and decoding returns exactly the same bytes.
fn verbatim(bytes: &[u8]) -> Option<&RawValue> {
    let raw: &RawValue = serde_json::from_slice(bytes).ok()?;
    let whole = raw.get().len() == bytes.len();
    (whole && !bytes.iter().any(|b| matches!(b, b'\n' | b'\r'))).then_some(raw)
}

fn write_event(event: &Event, format: Format, out: &mut Vec<u8>) -> Result<(), Error> {
    match format {
        Format::Ndjson => {
            serde_json::to_writer(&mut *out, &Line::from(event))?;
            out.push(b'\n');
            Ok(())
        }
        Format::Csv => write_record(event, out),
    }
}

fn write_header(out: &mut Vec<u8>) -> Result<(), Error> {
    writeln!(out, "position,recorded_at,stream,version,type,id,tags,data,metadata")
}

/// Data and metadata are text where they are, and Base64 after `base64:` elsewhere; tags are a JSON list.
fn write_record(event: &Event, out: &mut Vec<u8>) -> Result<(), Error> {
    let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("base64:{}", BASE64_STANDARD.encode(bytes)),
    };
    let tags: Vec<&str> = event.tags().collect();
    let tags = if tags.is_empty() { String::new() } else { serde_json::to_string(&tags)? };
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record([
        &*event.position().to_string(),
        &*event.recorded_at().to_string(),
        event.stream(),
        &*event.version().to_string(),
        event.event_type(),
        &*event.id().to_string(),
        &*tags,
        &*text(event.data()),
        &*text(event.metadata()),
    ])?;
    writer.flush()
}
