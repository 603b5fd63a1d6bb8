//! The page of the differences between two events of a stream, and between the events in between.
//!
//! Owns which events are compared.

use std::sync::Arc;

use annals::{Event, Query, Store};
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use crate::app::{App, Page};
use crate::context::Context;
use crate::fault::Fault;
use crate::{difference, event, streams, text};

/// Steps in between that are shown.
const STEPS: usize = 25;

/// `/diff`
pub(crate) async fn show(State(app): State<Arc<App>>, cx: Context) -> Response {
    app.page(cx, |store, cx| {
        let name = cx.required("stream")?;
        let Some(info) = store.stream_info(name)? else { return Err(streams::unknown(name)) };
        let last = info.version;
        let to = cx.number("to")?.unwrap_or(last).clamp(1, last);
        let from = cx.number("from")?.unwrap_or(to.saturating_sub(1)).clamp(1, last);
        let (from, to) = (from.min(to), from.max(to));
        let kind = cx.param("type");
        let before = at_or_before(store, name, from, kind)?;
        let after = at_or_before(store, name, to, kind)?;
        let content = html! {
            h1 { "Differences in " a href=(cx.stream(name)) { (text::name(name)) } }
            (form(cx, name, (from, to), last, kind))
            @match (before, after) {
                (Some(before), Some(after)) => {
                    (sides(cx, &before, &after))
                    (difference::show(before.data(), after.data()))
                    (steps(store, cx, &before, &after, kind)?)
                },
                _ => p { "There is no event of this type at or before version " (from) "." }
            }
        };
        Ok(Page::new("Differences", content))
    })
    .await
}

/// The last event at or before a version, of a type if one is given.
fn at_or_before(
    store: &Store,
    stream: &str,
    version: u64,
    kind: Option<&str>,
) -> Result<Option<Event>, Fault> {
    let Some(kind) = kind else { return Ok(event::at_version(store, stream, version)?) };
    let read = store.read_stream(stream).up_to_version(version).matching(Query::types([kind]));
    Ok(read.backwards().limit(1).include_hidden().into_iter().next().transpose()?)
}

/// Two sliders over the versions of the stream; the script of the page shows the result at once.
fn form(cx: &Context, name: &str, at: (u64, u64), last: u64, kind: Option<&str>) -> Markup {
    html! {
        form.slider action=(cx.link("diff", &[])) data-slider {
            input type="hidden" name="stream" value=(name);
            @for (label, field, value) in [("Before: version", "from", at.0), ("After: version", "to", at.1)] {
                label for=(field) { (label) }
                input #(field) type="range" name=(field) min="1" max=(last) value=(value);
                output for=(field) { (value) " of " (last) }
            }
            label for="type" { "Only type" }
            input #type name="type" value=[kind];
            button { "Compare" }
        }
    }
}

fn sides(cx: &Context, before: &Event, after: &Event) -> Markup {
    html! {
        dl.facts {
            @for (side, event) in [("Before", before), ("After", after)] {
                dt { (side) }
                dd {
                    a href=(cx.event(event.position().get())) { "version " (event.version()) }
                    " " (text::name(event.event_type())) ", " (text::time(event.recorded_at()))
                }
            }
        }
    }
}

/// Each event after the first one, up to the second, beside the one before it.
fn steps(
    store: &Store,
    cx: &Context,
    before: &Event,
    after: &Event,
    kind: Option<&str>,
) -> Result<Markup, Fault> {
    if after.version() <= before.version() + 1 {
        return Ok(html! {});
    }
    let read = store.read_stream(before.stream()).from_version(before.version());
    let mut read = read.up_to_version(after.version()).include_hidden().limit(STEPS as u64 + 2);
    if let Some(kind) = kind {
        read = read.matching(Query::types([kind]));
    }
    let events = read.into_iter().collect::<annals::Result<Vec<Event>>>()?;
    Ok(html! {
        h2 { "Step by step" }
        @for pair in events.windows(2).take(STEPS) {
            @if let [before, after] = pair { h3 {
                a href=(cx.event(after.position().get())) { "Version " (after.version()) }
                " " (text::name(after.event_type())) " " span.faint { (text::time(after.recorded_at())) }
            }
            (difference::show(before.data(), after.data())) }
        }
        @if events.len() > STEPS + 1 { p { "Later steps are not shown: move the sliders." } }
    })
}
