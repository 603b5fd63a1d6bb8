//! Cursors with their lag, and parked events of consumer groups.
//!
//! Owns the two changes that the page can make: to discard and to replay parked events, inside a service that allows it.

use std::sync::Arc;

use annals::consumer_group::{ConsumerGroup, Parked};
use annals::{CursorInfo, Store, StreamInfo};
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use maud::{Markup, html};

use crate::app::{App, Page, json_response, respond};
use crate::context::Context;
use crate::fault::Fault;
use crate::{guard, rows, text};

/// Cursors of a page, groups, and parked events of a group that are shown.
const CURSORS: usize = 100;
const GROUPS: usize = 50;
const PARKED: usize = 20;
/// Groups with more records than this are not read on the page.
const MAX_RECORDS: u64 = 10_000;
/// The beginning of the streams that hold parked events.
const CATEGORY: &str = "$parked";
const MAX_FORM: usize = 16 << 10;

/// `/consumers`
pub(crate) async fn show(State(app): State<Arc<App>>, cx: Context) -> Response {
    let shared = Arc::clone(&app);
    app.page(cx, move |store, cx| {
        let (cursors, next) = page_of_cursors(store, cx)?;
        let groups = store.streams().category(CATEGORY).limit(GROUPS as u64 + 1).into_iter();
        let groups = groups.collect::<annals::Result<Vec<_>>>()?;
        let data = match cx.param("after") {
            Some(after) => cx.link("consumers-data", &[("after", after)]),
            None => cx.link("consumers-data", &[]),
        };
        let content = html! {
            h1 { "Consumers" }
            @if cursors.is_empty() { p { "There is no cursor. A consumer that stores its progress has one." } }
            @else { div data-consumers=(data) { (table(cx, store, &cursors)) } }
            (rows::pager(cx.param("after").map(|_| cx.with("after", "")).as_deref(), next.as_deref()))
            h2 { "Parked events" }
            @if groups.is_empty() { p { "No consumer group has parked an event." } }
            @for group in groups.iter().take(GROUPS) { (parked(&shared, store, cx, group)?) }
            @if groups.len() > GROUPS { p { "Only the first " (GROUPS) " groups are shown: "
                a href=(cx.link("streams", &[("category", CATEGORY)])) { "their streams" } } }
            @if let Some(done) = cx.param("done") { p.notice role="status" { (text::visible(done)) } }
        };
        Ok(Page::new("Consumers", content))
    })
    .await
}

/// A page of cursors by name, and the address of the next one.
fn page_of_cursors(
    store: &Store,
    cx: &Context,
) -> Result<(Vec<CursorInfo>, Option<String>), Fault> {
    let mut cursors = store.cursors().list()?;
    if let Some(after) = cx.param("after") {
        cursors.retain(|cursor| cursor.name.as_str() > after);
    }
    let is_more = cursors.len() > CURSORS;
    cursors.truncate(CURSORS);
    let last = cursors.last().filter(|_| is_more);
    let next = last.map(|last| cx.with("after", &last.name));
    Ok((cursors, next))
}

fn table(cx: &Context, store: &Store, cursors: &[CursorInfo]) -> Markup {
    let head = store.head().get().max(1);
    html! {
        div.scroll { table {
            thead { tr {
                th scope="col" { "Cursor" }
                th scope="col" { "Position" }
                th scope="col" { "Lag" }
                th scope="col" { "Done" }
                th scope="col" { "Moved" }
                th scope="col" { "Rate" }
                th scope="col" { "Lag since the page was opened" }
            } }
            tbody { @for cursor in cursors {
                tr data-row data-cursor=(cursor.name) {
                    td { a href=(cx.link("cursor", &[("name", &cursor.name)])) { (text::name(&cursor.name)) } }
                    td.number data-position { (text::number(cursor.position.get())) }
                    td.number data-lag { (text::number(cursor.lag)) }
                    td { meter min="0" max=(head) value=(cursor.position.get()) aria-hidden="true" {} }
                    td { @match cursor.moved_at { Some(time) => (text::time(time)), None => span.faint { "see its moves" } } }
                    td.number data-rate { span.faint { "–" } }
                    td data-trend {}
                }
            } }
        } }
    }
}

/// `/consumers-data`: positions and lags, for the script of the page.
pub(crate) async fn data(State(app): State<Arc<App>>, cx: Context) -> Response {
    let read = app.read(move |store| {
        let (cursors, _) = page_of_cursors(store, &cx)?;
        let cursors = cursors.iter().map(|cursor| {
            let (name, position) = (&cursor.name, cursor.position.get());
            serde_json::json!({ "name": name, "position": position, "lag": cursor.lag })
        });
        Ok(serde_json::Value::Array(cursors.collect()))
    });
    match read.await {
        Ok(cursors) => json_response(&cursors),
        Err(fault) => respond(fault.status(), "text/plain; charset=utf-8", fault.message()),
    }
}

/// The parked events of a group.
fn parked(app: &App, store: &Store, cx: &Context, stream: &StreamInfo) -> Result<Markup, Fault> {
    let name = stream.name.strip_prefix(CATEGORY).and_then(|name| name.strip_prefix('-'));
    let Some(name) = name else { return Ok(html! {}) };
    let records = (stream.version + 1).saturating_sub(stream.first_version);
    let heading = html! { h3 { a href=(cx.stream(&stream.name)) { (text::name(name)) } } };
    if records > MAX_RECORDS {
        return Ok(
            html! { (heading) p { (text::counted(records, "record")) ": too many for this page." } },
        );
    }
    let parked = ConsumerGroup::new(store, name).parked()?;
    Ok(html! {
        (heading)
        p { (text::counted(parked.len() as u64, "parked event")) "." }
        @if !parked.is_empty() {
            (parked_table(app, cx, name, &parked[..parked.len().min(PARKED)]))
            @if parked.len() > PARKED { p.faint { "and " (parked.len() - PARKED) " more" } }
            @if app.is_writer && app.options.replays.contains_key(name) {
                (button(app, cx, name, "replay", None, "Replay all"))
            }
        }
    })
}

fn parked_table(app: &App, cx: &Context, group: &str, parked: &[Parked]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th scope="col" { "Position" }
                th scope="col" { "Event" }
                th scope="col" { "Parked" }
                th scope="col" { "Attempts" }
                th scope="col" { "Error" }
                @if app.is_writer { th scope="col" { "Change" } }
            } }
            tbody { @for parked in parked {
                @let position = parked.event.position().get();
                tr data-row {
                    td.number { a href=(cx.event(position)) { (text::number(position)) } }
                    td { (text::name(parked.event.stream())) "@" (parked.event.version()) " " (text::name(parked.event.event_type())) }
                    td { (text::time(parked.parked_at)) }
                    td.number { (parked.attempts) }
                    td { (text::visible(&text::shortened(&parked.error, 400))) }
                    @if app.is_writer { td { (button(app, cx, group, "discard", Some(position), "Discard")) } }
                }
            } }
        } }
    }
}

/// A form of one button. The key shows that this page made it.
fn button(
    app: &App,
    cx: &Context,
    group: &str,
    action: &str,
    position: Option<u64>,
    label: &str,
) -> Markup {
    html! {
        form method="post" action=(cx.link("parked", &[])) {
            input type="hidden" name="key" value=(app.form_key);
            input type="hidden" name="action" value=(action);
            input type="hidden" name="group" value=(group);
            @if let Some(position) = position { input type="hidden" name="position" value=(position); }
            button { (label) }
        }
    }
}

/// `POST /parked`: discards a parked event, or replays those of a group.
pub(crate) async fn change(State(app): State<Arc<App>>, cx: Context, body: Body) -> Response {
    let shared = Arc::clone(&app);
    let done = match to_bytes(body, MAX_FORM).await {
        Ok(form) => app.read(move |store| changed(&shared, store, &form)).await,
        Err(_) => Err(Fault::BadRequest("The form is too large.".to_owned())),
    };
    let place = match done {
        Ok(done) => HeaderValue::from_str(&cx.link("consumers", &[("done", &done)])),
        Err(fault) => return app.fault(&cx, &fault),
    };
    let mut response = respond(StatusCode::SEE_OTHER, "text/plain", Body::empty());
    if let Ok(place) = place {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

fn changed(app: &App, store: &Store, form: &[u8]) -> Result<String, Fault> {
    if !app.is_writer {
        let text =
            "This page is read-only: the service has not allowed it to change parked events.";
        return Err(Fault::Forbidden(text.to_owned()));
    }
    let form: Vec<(String, String)> = form_urlencoded::parse(form).into_owned().collect();
    let field = |name: &str| {
        form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    };
    if !guard::is_form_key(app, field("key")) {
        let text = "The form is not of this run of the service. Load the page again, and repeat.";
        return Err(Fault::Forbidden(text.to_owned()));
    }
    let group = field("group");
    match field("action") {
        "discard" => {
            let Ok(position) = field("position").parse::<u64>() else {
                return Err(Fault::BadRequest("The position must be a number.".to_owned()));
            };
            let was_parked = ConsumerGroup::new(store, group).discard_parked(position)?;
            let what = if was_parked { "was discarded" } else { "was not parked any more" };
            Ok(format!("The event at position {position} {what}."))
        }
        "replay" => {
            let Some(replay) = app.options.replays.get(group) else {
                return Err(Fault::NotFound(format!(
                    "No running group {group:?} was given to the page."
                )));
            };
            let replayed = replay()?;
            Ok(format!(
                "{} handled, {} parked again.",
                text::counted(replayed.handled, "event"),
                replayed.failed
            ))
        }
        _ => Err(Fault::BadRequest("The action is discard or replay.".to_owned())),
    }
}
