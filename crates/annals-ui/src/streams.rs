//! The list of streams, and the page of one stream.
//!
//! Owns the pages of both. Must never collect more than one page of names or events.

use std::sync::Arc;

use annals::{Event, Store, StreamInfo, category_of};
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use crate::app::{App, Page};
use crate::context::Context;
use crate::fault::Fault;
use crate::{rows, text};

/// Streams, or events, of a page.
const LISTED: usize = 50;

/// `/streams`
pub(crate) async fn list(State(app): State<Arc<App>>, cx: Context) -> Response {
    app.page(cx, |store, cx| {
        let prefix = cx.param("prefix").unwrap_or_default();
        let mut streams = store.streams().prefix(prefix);
        if let Some(category) = cx.param("category") {
            streams = streams.category(category);
        }
        if cx.flag("hidden") {
            streams = streams.include_hidden();
        }
        let (found, next) = match cx.param("sort") {
            Some("size") => (streams.largest(LISTED)?, None),
            Some("changed") => (streams.last_changed(LISTED)?, None),
            Some("name") | None => by_name(cx, streams)?,
            Some(other) => {
                let text = format!("The order {other:?} is none of name, size and changed.");
                return Err(Fault::BadRequest(text));
            }
        };
        Ok(Page::new("Streams", listing(cx, &found, next.as_deref())))
    })
    .await
}

/// A page of streams by name, and the address of the next one.
fn by_name(
    cx: &Context,
    streams: annals::Streams,
) -> Result<(Vec<StreamInfo>, Option<String>), Fault> {
    let streams = match cx.param("after") {
        Some(after) => streams.after(after),
        None => streams,
    };
    let more = streams.limit(LISTED as u64 + 1);
    let mut found = more.into_iter().collect::<annals::Result<Vec<_>>>()?;
    let is_more = found.len() > LISTED;
    found.truncate(LISTED);
    let last = found.last().filter(|_| is_more);
    let next = last.map(|last| cx.with("after", &last.name));
    Ok((found, next))
}

fn listing(cx: &Context, found: &[StreamInfo], next: Option<&str>) -> Markup {
    let sort = cx.param("sort").unwrap_or("name");
    html! {
        h1 { "Streams" }
        form.filter action=(cx.link("streams", &[])) {
            label { "Begins with " input name="prefix" value=[cx.param("prefix")]; }
            label { "Category " input name="category" value=[cx.param("category")]; }
            label { "Order " select name="sort" {
                @for (value, label) in [("name", "name"), ("size", "most events"), ("changed", "changed last")] {
                    option value=(value) selected[value == sort] { (label) }
                }
            } }
            label { input type="checkbox" name="hidden" value="1" checked[cx.flag("hidden")]; " also hidden" }
            button { "Show" }
        }
        @if found.is_empty() { p { "No stream is found. Names are compared byte by byte." } }
        @else { (rows::streams(cx, found)) }
        @if sort != "name" && found.len() == LISTED {
            p.faint { "The first " (LISTED) " are shown. The order by name has all." }
        }
        (rows::pager(cx.param("after").map(|_| cx.with("after", "")).as_deref(), next))
    }
}

/// `/stream`
pub(crate) async fn show(State(app): State<Arc<App>>, cx: Context) -> Response {
    app.page(cx, |store, cx| {
        let name = cx.required("name")?;
        let Some(info) = store.stream_info(name)? else { return Err(unknown(name)) };
        let (events, older) = newest_first(store, cx, name)?;
        Ok(Page::new(text::shortened(name, 80), stream(cx, &info, &events, older.as_deref())))
    })
    .await
}

/// The fault of a stream without events.
pub(crate) fn unknown(name: &str) -> Fault {
    let name = text::shortened(name, 200);
    Fault::NotFound(format!(
        "There is no stream {name:?}. The list of streams can be searched by the beginning of names."
    ))
}

/// A page of a stream's events, and the address of the next one.
fn newest_first(
    store: &Store,
    cx: &Context,
    name: &str,
) -> Result<(Vec<Event>, Option<String>), Fault> {
    let mut read = store.read_stream(name).backwards().limit(LISTED as u64 + 1);
    if let Some(before) = cx.number("before")? {
        if before <= 1 {
            return Ok((Vec::new(), None));
        }
        read = read.up_to_version(before - 1);
    }
    if cx.flag("hidden") {
        read = read.include_hidden();
    }
    let mut events = read.into_iter().collect::<annals::Result<Vec<_>>>()?;
    let is_more = events.len() > LISTED;
    events.truncate(LISTED);
    let last = events.last().filter(|_| is_more);
    let older = last.map(|last| cx.with("before", &last.version().to_string()));
    Ok((events, older))
}

fn stream(cx: &Context, info: &StreamInfo, events: &[Event], older: Option<&str>) -> Markup {
    let category = category_of(&info.name);
    let (last, first) =
        (info.version.to_string(), info.version.saturating_sub(1).max(1).to_string());
    let differences = cx.link("diff", &[("stream", &info.name), ("from", &first), ("to", &last)]);
    html! {
        h1 { (text::name(&info.name)) (rows::marks(info)) }
        dl.figures {
            div { dt { "Events" } dd { (text::number(info.version)) } }
            div { dt { "Last position" } dd {
                a href=(cx.event(info.last_position.get())) { (text::number(info.last_position.get())) }
            } }
            div { dt { "Category" } dd {
                a href=(cx.search("category", category)) { (text::name(category)) }
            } }
            @if let Some(age) = info.metadata.max_age { div { dt { "Shown for" } dd { (text::duration(age)) } } }
            @if let Some(count) = info.metadata.max_count { div { dt { "Shown" } dd { "the last " (count) } } }
        }
        p {
            a href=(differences) { "Differences" } " · "
            a href=(cx.link("tail", &[("q", &crate::context::condition_text("stream", &info.name))])) { "Follow live" }
            " · "
            @if cx.flag("hidden") { a href=(cx.with("hidden", "")) { "Without hidden events" } }
            @else { a href=(cx.with("hidden", "1")) { "With hidden events" } }
        }
        @if events.is_empty() { p { "No event is shown." } }
        @else { (rows::events(cx, events, false)) }
        (rows::pager(cx.param("before").map(|_| cx.with("before", "")).as_deref(), older))
    }
}
