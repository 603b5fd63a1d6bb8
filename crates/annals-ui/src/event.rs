//! The page of one event, its bytes, the page of a commit, and the field that finds any of them.
//!
//! Owns how an event is named. Must never send bytes of a store in a form that a browser runs.

use std::sync::Arc;

use annals::{Event, Position, Query, Store, Uuid};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use maud::{Markup, html};

use crate::app::{App, Page, respond};
use crate::context::Context;
use crate::fault::Fault;
use crate::{json, rows, text, trace};

/// Events of a commit on the page of an event, and on the page of the commit.
const MATES: u64 = 10;
const COMMIT_PAGE: u64 = 100;

/// The name of an event: a position, an id, or a stream and a version.
enum Name<'a> {
    Position(u64),
    Id(Uuid),
    Version(&'a str, u64),
}

impl<'a> Name<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim();
        if let Ok(position) = text.parse() {
            return Some(Self::Position(position));
        }
        if let Ok(id) = text.parse::<Uuid>() {
            return Some(Self::Id(id));
        }
        let (stream, version) = text.rsplit_once('@').filter(|(stream, _)| !stream.is_empty())?;
        Some(Self::Version(stream, version.parse().ok()?))
    }

    fn find(&self, store: &Store) -> annals::Result<Option<Event>> {
        match *self {
            Self::Position(position) => store.event_at(Position::new(position)),
            Self::Id(id) => store.event(id),
            Self::Version(stream, version) => at_version(store, stream, version),
        }
    }
}

/// The event of a stream at a version, hidden or not.
pub(crate) fn at_version(
    store: &Store,
    stream: &str,
    version: u64,
) -> annals::Result<Option<Event>> {
    let read = store.read_stream(stream).from_version(version).limit(1).include_hidden();
    let found = read.into_iter().next().transpose()?;
    Ok(found.filter(|event| event.version() == version))
}

/// The event that the parameter `at` names.
fn named(store: &Store, cx: &Context) -> Result<Event, Fault> {
    let text = cx.required("at")?;
    let Some(name) = Name::parse(text) else {
        let text = format!("{text:?} names no event: give a position, an id, or STREAM@VERSION.");
        return Err(Fault::BadRequest(text));
    };
    if let Some(event) = name.find(store)? {
        return Ok(event);
    }
    Err(Fault::NotFound(match name {
        Name::Position(position) if position > store.head().get() => {
            format!(
                "There is no position {position} yet: the store ends at position {}.",
                store.head()
            )
        }
        Name::Position(position) => format!("There is no event at position {position}."),
        Name::Id(id) => format!("There is no event with the id {id}."),
        Name::Version(stream, version) => {
            format!("The stream {:?} has no version {version}.", text::shortened(stream, 200))
        }
    }))
}

/// `/event`
pub(crate) async fn show(State(app): State<Arc<App>>, cx: Context) -> Response {
    app.page(cx, |store, cx| {
        let event = named(store, cx)?;
        let title = format!("{} at {}", event.event_type(), event.position());
        Ok(Page::new(title, content(store, cx, &event)?))
    })
    .await
}

fn content(store: &Store, cx: &Context, event: &Event) -> Result<Markup, Fault> {
    let (stream, version) = (event.stream(), event.version());
    let previous = match version {
        0 | 1 => None,
        _ => at_version(store, stream, version - 1)?,
    };
    let next = at_version(store, stream, version + 1)?;
    let position = event.position().to_string();
    let download = |part| cx.link("data", &[("at", &position), ("part", part)]);
    let name = format!("{stream}@{version}");
    Ok(html! {
        h1 { (text::name(event.event_type())) " " span.faint { "at position " (text::number(event.position().get())) } }
        nav.pager aria-label="Events of the stream" {
            @if let Some(previous) = previous {
                a rel="prev" href=(cx.event(previous.position().get())) { "← Version " (previous.version()) }
            }
            a href=(cx.stream(stream)) { (text::name(stream)) }
            @if let Some(next) = next {
                a rel="next" href=(cx.event(next.position().get())) { "Version " (next.version()) " →" }
            }
        }
        dl.facts {
            dt { "Stream" } dd { a href=(cx.stream(stream)) { (text::name(&name)) } }
            dt { "Type" } dd { a href=(cx.search("type", event.event_type())) { (text::name(event.event_type())) } }
            dt { "Recorded" } dd { (text::time(event.recorded_at())) }
            dt { "Id" } dd { code { (event.id()) } }
            @if event.schema_version() > 0 { dt { "Schema version" } dd { (event.schema_version()) } }
            @if event.tags().next().is_some() {
                dt { "Tags" } dd { @for tag in event.tags() {
                    a.tag href=(cx.search("tag", tag)) { (text::name(tag)) } " "
                } }
            }
            (causes(store, cx, event)?)
            dt { "Commit" } dd { (mates(store, cx, event)?) }
        }
        @if version > 1 {
            p { a href=(cx.link("diff", &[("stream", stream), ("from", &(version - 1).to_string()), ("to", &version.to_string())])) {
                "Differences to version " (version - 1)
            } }
        }
        h2 { "Data" }
        (json::show(event.data(), &download("data")))
        @if !event.metadata().is_empty() {
            h2 { "Metadata" }
            (json::show(event.metadata(), &download("metadata")))
        }
    })
}

/// The correlation and the cause, as metadata states them.
fn causes(store: &Store, cx: &Context, event: &Event) -> Result<Markup, Fault> {
    let correlation = trace::correlation(event);
    let cause = trace::cause(event);
    let found = match cause.as_deref().map(str::parse::<Uuid>) {
        Some(Ok(id)) => store.event(id)?,
        _ => None,
    };
    Ok(html! {
        @if let Some(correlation) = correlation {
            dt { "Correlation" } dd {
                a href=(cx.link("trace", &[("id", &correlation)])) { (text::name(&correlation)) }
            }
        }
        @if let Some(cause) = cause {
            dt { "Caused by" } dd {
                @match found {
                    Some(found) => a href=(cx.event(found.position().get())) {
                        (text::name(found.event_type())) " at position " (found.position())
                    },
                    None => { (text::name(&cause)) span.faint { " (not an event of this store)" } }
                }
            }
        }
    })
}

/// The other events of the commit.
fn mates(store: &Store, cx: &Context, event: &Event) -> Result<Markup, Fault> {
    let (first, last) = (event.commit().get(), event.commit_end().get());
    if first == last {
        return Ok(html! { "this event alone" });
    }
    // Those around this event, of a large commit.
    let shown = event.position().get().saturating_sub(MATES / 2).max(first);
    let shown = shown.min(last.saturating_sub(MATES - 1)).max(first);
    let read = store.read_all().after(shown - 1).up_to(last).limit(MATES).include_hidden();
    let mates = read.into_iter().collect::<annals::Result<Vec<_>>>()?;
    Ok(html! {
        a href=(cx.link("commit", &[("at", &first.to_string())])) {
            (text::counted(last - first + 1, "event"))
        }
        ul { @for mate in &mates {
            li {
                a href=(cx.event(mate.position().get()))
                    aria-current=[(mate.position() == event.position()).then_some("true")] { (mate.position()) }
                " " (text::name(mate.stream())) "@" (mate.version()) " " (text::name(mate.event_type()))
            }
        } }
        @if last - first >= MATES { p.faint { "and " (last - first + 1 - MATES) " more" } }
    })
}

/// `/commit`
pub(crate) async fn commit(State(app): State<Arc<App>>, cx: Context) -> Response {
    app.page(cx, |store, cx| {
        let event = named(store, cx)?;
        let (first, last) = (event.commit().get(), event.commit_end().get());
        let after = cx.number("after")?.unwrap_or(0).clamp(first - 1, last);
        let read = store.read_all().after(after).up_to(last).limit(COMMIT_PAGE).include_hidden();
        let events = read.into_iter().collect::<annals::Result<Vec<_>>>()?;
        let through = after + events.len() as u64;
        let next = (through < last).then(|| cx.with("after", &through.to_string()));
        let content = html! {
            h1 { "Commit at position " (text::number(first)) }
            dl.facts {
                dt { "Recorded" } dd { (text::time(event.recorded_at())) }
                dt { "Events" } dd { (text::number(last - first + 1)) " from position " (first) " to " (last) }
            }
            (rows::events(cx, &events, true))
            nav.pager aria-label="More" { @if let Some(next) = next { a rel="next" href=(next) { "Next →" } } }
            nav.pager aria-label="Commits" {
                @if first > 1 { a href=(cx.link("commit", &[("at", &(first - 1).to_string())])) { "← Commit before" } }
                @if last < store.head().get() {
                    a href=(cx.link("commit", &[("at", &(last + 1).to_string())])) { "Commit after →" }
                }
            }
        };
        Ok(Page::new(format!("Commit at {first}"), content))
    })
    .await
}

/// `/data`: the bytes of an event, to be saved.
pub(crate) async fn data(State(app): State<Arc<App>>, cx: Context) -> Response {
    let asked = cx.clone();
    let found = app
        .read(move |store| {
            let event = named(store, &asked)?;
            let (part, bytes) = match asked.required("part")? {
                "data" => ("data", event.data_bytes()),
                "metadata" => ("metadata", event.metadata_bytes()),
                _ => return Err(Fault::BadRequest("The part is data or metadata.".to_owned())),
            };
            Ok((format!("attachment; filename=\"event-{}-{part}\"", event.position()), bytes))
        })
        .await;
    match found {
        Ok((disposition, bytes)) => {
            let mut response =
                respond(StatusCode::OK, "application/octet-stream", Body::from(bytes));
            if let Ok(disposition) = HeaderValue::from_str(&disposition) {
                response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
            }
            response
        }
        Err(fault) => app.fault(&cx, &fault),
    }
}

/// `/go`: goes to the event, the stream or the search that a text means.
pub(crate) async fn go(State(app): State<Arc<App>>, cx: Context) -> Response {
    let asked = cx.clone();
    let place = app
        .read(move |store| {
            let text = asked.param("to").unwrap_or_default().trim();
            if text.is_empty() {
                return Ok(asked.link("search", &[]));
            }
            // A stream may have a name that looks like a position or a query.
            if store.stream_info(text)?.is_some() {
                return Ok(asked.stream(text));
            }
            if Name::parse(text).is_some() {
                return Ok(asked.link("event", &[("at", text)]));
            }
            match text.parse::<Query>() {
                Err(_) if !text.contains(':') => Ok(asked.link("streams", &[("prefix", text)])),
                _ => Ok(asked.link("search", &[("q", text)])),
            }
        })
        .await;
    match place.map(|place| HeaderValue::from_str(&place)) {
        Ok(Ok(place)) => {
            let mut response = respond(StatusCode::SEE_OTHER, "text/plain", Body::empty());
            response.headers_mut().insert(header::LOCATION, place);
            response
        }
        Ok(Err(_)) => app.fault(&cx, &Fault::BadRequest("The text is no address.".to_owned())),
        Err(fault) => app.fault(&cx, &fault),
    }
}
