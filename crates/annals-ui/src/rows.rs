//! Tables of events, and of streams.
//!
//! Owns their columns. Must never read from the store.

use annals::{Event, StreamInfo};
use maud::{Markup, html};

use crate::context::Context;
use crate::{json, text};

/// Characters of data on one line.
const PREVIEW: usize = 120;

/// A table of events; `with_stream` is left out on the page of one stream.
pub(crate) fn events(cx: &Context, events: &[Event], with_stream: bool) -> Markup {
    html! {
        div.scroll { table.events {
            thead { tr {
                th scope="col" { "Position" }
                th scope="col" { "Recorded" }
                @if with_stream { th scope="col" { "Stream" } }
                th scope="col" { "Version" }
                th scope="col" { "Type" }
                th scope="col" { "Data" }
                th scope="col" { "Tags" }
            } }
            tbody #events { @for event in events { (event_row(cx, event, with_stream)) } }
        } }
    }
}

/// A row of such a table.
pub(crate) fn event_row(cx: &Context, event: &Event, with_stream: bool) -> Markup {
    let position = event.position().get();
    html! {
        tr data-row {
            td.number { a href=(cx.event(position)) { (text::number(position)) } }
            td { (text::time(event.recorded_at())) }
            @if with_stream { td { a href=(cx.stream(event.stream())) { (text::name(event.stream())) } } }
            td.number { (event.version()) }
            td { (text::name(event.event_type())) }
            td.preview { (json::preview(event.data(), PREVIEW)) }
            td { (tags(cx, event)) }
        }
    }
}

/// The tags of an event, each with a link to its events.
pub(crate) fn tags(cx: &Context, event: &Event) -> Markup {
    const LISTED: usize = 8;
    const SHOWN: usize = 32;
    let all: Vec<&str> = event.tags().collect();
    html! {
        @for tag in all.iter().take(LISTED) {
            a.tag href=(cx.search("tag", tag)) { (text::name(&text::shortened(tag, SHOWN))) } " "
        }
        @if all.len() > LISTED { "and " (all.len() - LISTED) " more" }
    }
}

/// A table of streams.
pub(crate) fn streams(cx: &Context, streams: &[StreamInfo]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th scope="col" { "Stream" }
                th scope="col" { "Events" }
                th scope="col" { "Last position" }
            } }
            tbody { @for stream in streams {
                @let last = stream.last_position.get();
                tr data-row {
                    td { a href=(cx.stream(&stream.name)) { (text::name(&stream.name)) } (marks(stream)) }
                    td.number { (text::number(stream.version)) }
                    td.number { a href=(cx.event(last)) { (text::number(last)) } }
                }
            } }
        } }
    }
}

/// What reads hide of a stream.
pub(crate) fn marks(stream: &StreamInfo) -> Markup {
    html! {
        @if stream.archived { " " span.mark { "archived" } }
        @else if stream.first_version > 1 { " " span.mark { "shown from version " (stream.first_version) } }
    }
}

/// Links to the pages of newer and older entries.
pub(crate) fn pager(newer: Option<&str>, older: Option<&str>) -> Markup {
    html! {
        nav.pager aria-label="More" {
            @if let Some(newer) = newer { a rel="prev" href=(newer) { "← Newest" } }
            @if let Some(older) = older { a rel="next" href=(older) { "Older →" } }
        }
    }
}
