//! What led to an event, and what followed from it: all events of a correlation as a timeline.
//!
//! Owns the names of fields in metadata that connect events, and the picture. Must never draw more events than the limit.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use annals::{Event, Query, Store, Uuid};
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, PreEscaped, html};

use crate::app::{App, Page};
use crate::context::Context;
use crate::fault::Fault;
use crate::{json, text};

/// The names under which metadata has a correlation, and the id of a cause: those of annals-es first.
const CORRELATION: [&str; 3] = ["correlation_id", "correlationId", "$correlationId"];
const CAUSATION: [&str; 3] = ["causation_id", "causationId", "$causationId"];
/// The key of the tag under which events of a correlation are found.
const TAG: &str = "correlation:";
/// Events of a timeline.
const LISTED: usize = 200;
/// Streams with a lane of their own; later ones share the last lane.
const LANES: usize = 12;
/// Characters of a name in the picture, and of a cause that is not on the page.
const NAMED: usize = 90;
/// Sizes of the picture.
const ROW: usize = 30;
const LANE: usize = 22;

/// The correlation of an event: of its tag, or else of its metadata.
pub(crate) fn correlation(event: &Event) -> Option<String> {
    let tag = event.tags().find_map(|tag| tag.strip_prefix(TAG));
    tag.map(str::to_owned).or_else(|| json::text_field(event.metadata(), &CORRELATION))
}

/// What metadata states as the cause of an event.
pub(crate) fn cause(event: &Event) -> Option<String> {
    json::text_field(event.metadata(), &CAUSATION)
}

/// `/trace`
pub(crate) async fn show(State(app): State<Arc<App>>, cx: Context) -> Response {
    app.page(cx, |store, cx| {
        let id = cx.required("id")?;
        let events = find(store, id)?;
        let is_more = events.len() > LISTED;
        let events = &events[..events.len().min(LISTED)];
        let content = html! {
            h1 { "Correlation " (text::name(id)) }
            @if events.is_empty() {
                p { "No event carries the tag " code { (TAG) (text::visible(id)) }
                    ". Events are found by it, as " code { "annals-es" } " sets it." }
            } @else {
                @let causes = causes(events);
                p { (text::counted(events.len() as u64, "event")) ", from the first to the last "
                    (text::duration(since_first(events, events.len() - 1))) ". An arrow leads from a cause to its effect." }
                figure.trace { (PreEscaped(picture(cx, events, &causes))) }
                h2 { "The same as a table" }
                (table(cx, events, &causes))
                @if is_more { p { "Later events are not shown: "
                    a href=(cx.search("tag", &format!("{TAG}{id}"))) { "search for all" } } }
            }
        };
        Ok(Page::new("Correlation", content))
    })
    .await
}

/// The events that carry the tag, and before them the one whose id the correlation is; one more than are shown.
fn find(store: &Store, id: &str) -> Result<Vec<Event>, Fault> {
    let query = Query::tagged([format!("{TAG}{id}")]);
    let read = store.read_all().matching(query).limit(LISTED as u64 + 1).include_hidden();
    let mut events = read.into_iter().collect::<annals::Result<Vec<_>>>()?;
    if let Ok(root) = id.parse::<Uuid>()
        && let Some(root) = store.event(root)?
        && events.iter().all(|event| event.position() != root.position())
    {
        events.insert(0, root);
        events.sort_by_key(Event::position);
    }
    Ok(events)
}

/// For each event, the row of its cause, if that is on the page.
fn causes(events: &[Event]) -> Vec<Option<usize>> {
    let rows: HashMap<Uuid, usize> =
        events.iter().enumerate().map(|(row, event)| (event.id(), row)).collect();
    let cause = |event: &Event| rows.get(&cause(event)?.parse().ok()?).copied();
    events.iter().map(cause).collect()
}

fn since_first(events: &[Event], row: usize) -> Duration {
    let at =
        |row: usize| events.get(row).map_or(0, |event: &Event| event.recorded_at().as_micros());
    Duration::from_micros(at(row).saturating_sub(at(0)))
}

/// Rows of events with a lane for each stream, and arrows from causes to effects.
fn picture(cx: &Context, events: &[Event], causes: &[Option<usize>]) -> String {
    let mut streams: Vec<&str> = Vec::new();
    for event in events {
        if !streams.contains(&event.stream()) && streams.len() < LANES {
            streams.push(event.stream());
        }
    }
    let lane = |event: &Event| {
        let found = streams.iter().position(|stream| *stream == event.stream());
        LANE / 2 + LANE * found.unwrap_or(streams.len() - 1)
    };
    let row = |row: usize| ROW / 2 + ROW * row;
    let (left, height) = (LANE * (streams.len() + 1), ROW * events.len());
    let mut svg = format!(
        "<svg width=\"1000\" height=\"{height}\" viewBox=\"0 0 1000 {height}\" role=\"img\" \
         aria-label=\"Timeline of the correlation; the table below has the same\">"
    );
    for at in 0..streams.len() {
        let x = LANE / 2 + LANE * at;
        let _infallible =
            write!(svg, "<line class=\"lane\" x1=\"{x}\" y1=\"0\" x2=\"{x}\" y2=\"{height}\"/>");
    }
    for (at, cause) in causes.iter().enumerate() {
        let Some(cause) = *cause else { continue };
        let (x1, y1, x2, y2) = (lane(&events[cause]), row(cause), lane(&events[at]), row(at));
        let bend = x1.max(x2) + LANE;
        let _infallible = write!(
            svg,
            "<path class=\"cause\" d=\"M{x1},{y1} C{bend},{y1} {bend},{y2} {},{y2}\"/>\
             <path class=\"head\" d=\"M{},{y2} l9,-5 v10 z\"/>",
            x2 + 6,
            x2 + 5,
        );
    }
    for (at, event) in events.iter().enumerate() {
        let (x, y) = (lane(event), row(at));
        let name = format!("{} · {}@{}", event.event_type(), event.stream(), event.version());
        let name = text::plain(&text::shortened(&name, NAMED));
        let offset = text::duration(since_first(events, at));
        let label = html! {
            a href=(cx.event(event.position().get())) { text x=(left + 90) y=(y + 5) { (name) } }
        };
        let _infallible = write!(
            svg,
            "<circle class=\"dot\" cx=\"{x}\" cy=\"{y}\" r=\"5\"/>\
             <text x=\"{left}\" y=\"{}\">+{offset}</text>{}",
            y + 5,
            label.into_string(),
        );
    }
    svg.push_str("</svg>");
    svg
}

fn table(cx: &Context, events: &[Event], causes: &[Option<usize>]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th scope="col" { "Position" }
                th scope="col" { "After the first" }
                th scope="col" { "Stream" }
                th scope="col" { "Type" }
                th scope="col" { "Caused by" }
            } }
            tbody { @for (row, event) in events.iter().enumerate() {
                tr data-row {
                    td.number { a href=(cx.event(event.position().get())) { (text::number(event.position().get())) } }
                    td.number { (text::duration(since_first(events, row))) }
                    td { a href=(cx.stream(event.stream())) { (text::name(event.stream())) } }
                    td { (text::name(event.event_type())) }
                    td { @match causes.get(row).copied().flatten().and_then(|row| events.get(row)) {
                        Some(cause) => { a href=(cx.event(cause.position().get())) { (cause.position()) }
                            " " (text::name(cause.event_type())) },
                        None => { @if let Some(cause) = cause(event) { (text::name(&text::shortened(&cause, NAMED))) span.faint { " (elsewhere)" } } }
                    } }
                }
            } }
        } }
    }
}
