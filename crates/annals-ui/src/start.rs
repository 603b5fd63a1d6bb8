//! The start page: what is in the store.
//!
//! Owns its parts. Lists that look at all streams come from `overview`, and may be loaded after the page.

use std::sync::Arc;
use std::time::Duration;

use annals::{Error, Event, Opened, Store, TermCount, Timestamp};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use crate::app::{App, Page, html_response};
use crate::context::Context;
use crate::fault::{self, Fault};
use crate::overview::Lists;
use crate::{histogram, rows, text};

/// How long the page waits for lists, and how long a request for them alone does.
const PAGE_WAITS: Duration = Duration::from_millis(5);
const PART_WAITS: Duration = Duration::from_secs(60);
const SLOW: &str = "The lists take longer than a minute. Try again later.";
const NEWEST: u64 = 10;

/// `/`
pub(crate) async fn start(State(app): State<Arc<App>>, cx: Context) -> Response {
    let lists = app.lists(PAGE_WAITS).await.and_then(Result::ok);
    app.page(cx, move |store, cx| content(store, cx, lists.as_deref())).await
}

/// `/lists`: the lists alone, for the start page and for browsers without scripts.
pub(crate) async fn lists(State(app): State<Arc<App>>, cx: Context) -> Response {
    let lists = match app.lists(PART_WAITS).await {
        Some(Ok(lists)) => lists,
        Some(Err(fault)) => return app.fault(&cx, &fault),
        None => return app.fault(&cx, &Fault::Busy(SLOW)),
    };
    if cx.flag("part") {
        return html_response(StatusCode::OK, show_lists(&cx, &lists));
    }
    app.page(cx, move |_, cx| Ok(Page::new("Streams and types", show_lists(cx, &lists)))).await
}

fn content(store: &Store, cx: &Context, lists: Option<&Lists>) -> Result<Page, Fault> {
    // A reader beside a writer looks for new events first.
    let bars = bars(store, cx)?;
    let newest = store.read_all().backwards().limit(NEWEST).include_hidden();
    let newest = newest.into_iter().collect::<annals::Result<Vec<Event>>>()?;
    let content = html! {
        h1 { "Store" }
        (figures(store)?)
        h2 { "Events over time" }
        (bars)
        h2 { "Newest events" }
        @if newest.is_empty() { p { "There are no events yet." } }
        @else { (rows::events(cx, &newest, true)) }
        @match lists {
            Some(lists) => (show_lists(cx, lists)),
            None => div data-load=(cx.link("lists", &[("part", "1")])) {
                p.faint { "Counting streams and types… " a href=(cx.link("lists", &[])) { "Show them alone" } }
            }
        }
    };
    Ok(Page::new("Start", content))
}

/// Events over time. The edges of bars are looked up in the log, so that cold storage can be in the way of it.
fn bars(store: &Store, cx: &Context) -> Result<Markup, Fault> {
    match histogram::count(store, None, None) {
        Ok(bars) => Ok(histogram::show(cx, &bars)),
        Err(Fault::Store(error @ Error::ColdSegment { .. })) => Ok(html! {
            p.notice { "Not shown: " (text::visible(&fault::described(&error))) "." }
        }),
        Err(fault) => Err(fault),
    }
}

fn figures(store: &Store) -> Result<Markup, Fault> {
    let stats = store.stats();
    let rates = [("minute", 60), ("hour", 3_600), ("day", 86_400)];
    let mut recent = Vec::new();
    for (name, seconds) in rates {
        recent.push((name, events_since(store, Duration::from_secs(seconds))?));
    }
    Ok(html! {
        dl.figures {
            div { dt { "Events" } dd { (text::number(stats.events)) } }
            div { dt { "Streams" } dd { (text::number(stats.streams)) } }
            div { dt { "Commits" } dd { (text::number(stats.commits)) } }
            @for (name, events) in recent {
                div { dt { "Last " (name) } dd { (text::number(events)) } }
            }
            div { dt { "Log" } dd { (text::size(stats.log_bytes)) } }
            div { dt { "Indexes" } dd { (text::size(stats.index_bytes)) } }
            div { dt { "Segments" } dd { (stats.segments) } }
            div { dt { "Opened" } dd { (opened(store.opened())) } }
            div { dt { "Created" } dd { (text::time(stats.created_at)) } }
            div { dt { "Last recorded" } dd {
                @match stats.last_recorded_at { Some(time) => (text::time(time)), None => "never" }
            } }
        }
        @if let Some(late) = stats.clock_behind_by {
            p.notice { "The clock of this machine is " (text::duration(late))
                " earlier than the newest recorded time." }
        }
    })
}

/// The number of events of the last time span, up to now.
fn events_since(store: &Store, span: Duration) -> Result<u64, Fault> {
    let span = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    let before =
        store.position_at(Timestamp::from_micros(text::now().as_micros().saturating_sub(span)))?;
    Ok(store.head().get().saturating_sub(before.get()))
}

/// The result of opening the store, in a few words.
pub(crate) fn opened(opened: &Opened) -> Markup {
    html! {
        @match opened {
            Opened::Created => "created",
            Opened::Clean => "clean",
            Opened::Recovered(recovery) => {
                "recovered"
                @if recovery.dropped_bytes > 0 { ", " (text::size(recovery.dropped_bytes)) " cut off" }
                @if recovery.rebuilt > 0 { ", " (text::counted(recovery.rebuilt, "file")) " rebuilt" }
            },
            Opened::Damaged { expected_position, .. } => {
                strong { "damaged" } " from position " (expected_position)
            },
            _ => "in another way",
        }
    }
}

fn show_lists(cx: &Context, lists: &Lists) -> Markup {
    html! {
        div.columns {
            section { h2 { "Largest streams" } (rows::streams(cx, &lists.largest))
                p { a href=(cx.link("streams", &[("sort", "size")])) { "More" } } }
            section { h2 { "Changed last" } (rows::streams(cx, &lists.changed))
                p { a href=(cx.link("streams", &[("sort", "changed")])) { "More" } } }
            section { h2 { "Types" } (terms(cx, "type", &lists.types)) }
            section { h2 { "Categories" } (terms(cx, "category", &lists.categories)) }
        }
        p.faint { "As of position " (text::number(lists.head.get())) "." }
    }
}

fn terms(cx: &Context, kind: &str, terms: &[TermCount]) -> Markup {
    let most = terms.iter().map(|term| term.events).max().unwrap_or(0).max(1);
    html! {
        table {
            thead { tr { th scope="col" { "Name" } th scope="col" { "Events" } th scope="col" { span.unseen { "Share" } } } }
            tbody { @for term in terms {
                tr data-row {
                    td { a href=(cx.search(kind, &term.name)) { (text::name(&term.name)) } }
                    td.number { (text::number(term.events)) }
                    td { meter min="0" max=(most) value=(term.events) aria-hidden="true" {} }
                }
            } }
        }
    }
}
