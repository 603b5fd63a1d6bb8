//! The page of a search.
//!
//! Owns the form and the pages of its results. Must never wait for the number of matches before it shows the first ones.

use std::sync::Arc;

use annals::{Event, Store};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use crate::app::{App, Page, respond};
use crate::context::Context;
use crate::fault::Fault;
use crate::overview::Lists;
use crate::selection::{Malformed, Selection};
use crate::{rows, suggest, text};

/// Events of a page.
const LISTED: usize = 50;

/// `/search`
pub(crate) async fn show(State(app): State<Arc<App>>, cx: Context) -> Response {
    let lists = app.kept_lists();
    app.page(cx, move |store, cx| {
        let is_asked = cx.param("q").is_some() || cx.param("since").is_some();
        let (status, below) = match Selection::of(cx) {
            Err(malformed) => (StatusCode::BAD_REQUEST, malformed.markup()),
            Ok(_) if !is_asked => (StatusCode::OK, language()),
            Ok(selection) => (StatusCode::OK, results(store, cx, &selection)?),
        };
        let is_wrong = status == StatusCode::BAD_REQUEST;
        let content = html! {
            h1 { "Search" }
            (form(cx, lists.as_deref(), "search", is_wrong))
            (below)
        };
        Ok(Page { status, title: "Search".to_owned(), content })
    })
    .await
}

/// The form of a search, or of a live tail.
pub(crate) fn form(cx: &Context, lists: Option<&Lists>, page: &str, is_wrong: bool) -> Markup {
    html! {
        form.filter action=(cx.link(page, &[])) {
            label { "Query " input name="q" value=[cx.param("q")] list="terms" autocomplete="off"
                spellcheck="false" data-suggest=(cx.link("suggest", &[]))
                aria-invalid=[is_wrong.then_some("true")] aria-describedby=[is_wrong.then_some("wrong")]
                placeholder="type:Deposited tag:owner:42 or category:audit"; }
            datalist #terms { @for term in suggest::frequent(lists) { option value=(text::plain(&term)) {} } }
            @if page == "search" {
                label { "From " input name="since" value=[cx.param("since")] size="20" placeholder="2026-11-25 10:05"; }
                label { "To " input name="until" value=[cx.param("until")] size="20" placeholder="2026-11-25, UTC"; }
            }
            label { input type="checkbox" name="hidden" value="1" checked[cx.flag("hidden")]; " also hidden" }
            button { "Show" }
        }
    }
}

/// The query language, in a few lines.
pub(crate) fn language() -> Markup {
    html! {
        dl.facts {
            dt { code { "type:A,B" } } dd { "events of any of these types" }
            dt { code { "tag:x tag:y" } } dd { "events that carry all of these tags" }
            dt { code { "stream:account-1" } } dd { "events of one stream" }
            dt { code { "category:account" } } dd { "events of streams whose name up to the first - is this" }
            dt { code { "after:1000" } } dd { "only events after this position" }
            dt { code { "type:A tag:x or category:c" } } dd { "alternatives" }
            dt { code { "tag:\"two words\"" } } dd { "a value with white space, commas or quotes" }
            dt { code { "all" } } dd { "every event" }
        }
    }
}

fn results(store: &Store, cx: &Context, selection: &Selection) -> Result<Markup, Fault> {
    let last = cx.number("before")?.map_or(u64::MAX, |before| before.saturating_sub(1));
    let mut events = Vec::new();
    if last > 0 {
        let read = selection.read_up_to(store, last)?.backwards().limit(LISTED as u64 + 1);
        events = read.into_iter().collect::<annals::Result<Vec<Event>>>()?;
    }
    let is_more = events.len() > LISTED;
    events.truncate(LISTED);
    let oldest = events.last().filter(|_| is_more);
    let older = oldest.map(|event| cx.with("before", &event.position().to_string()));
    let is_first_page = cx.param("before").is_none();
    let newest = (!is_first_page).then(|| cx.with("before", ""));
    let page_of = |page: &str, more: &[(&str, &str)]| {
        let mut params: Vec<_> = ["q", "since", "until", "hidden"]
            .into_iter()
            .filter_map(|name| cx.param(name).map(|value| (name, value)))
            .collect();
        params.extend(more);
        cx.link(page, &params)
    };
    Ok(html! {
        p {
            @if is_more || !is_first_page {
                span data-load=(page_of("count", &[])) {
                    a href=(page_of("count", &[])) { "Count the matches" }
                }
            } @else { (text::counted(events.len() as u64, "event")) }
            " · " a href=(page_of("export", &[("format", "ndjson")])) { "Export as NDJSON" }
            " · " a href=(page_of("export", &[("format", "csv")])) { "as CSV" }
            " · " a href=(page_of("tail", &[])) { "Follow live" }
        }
        @if events.is_empty() { p { "No event matches." } }
        @else { (rows::events(cx, &events, true)) }
        (rows::pager(newest.as_deref(), older.as_deref()))
    })
}

/// `/count`: the number of matches, as text.
pub(crate) async fn count(State(app): State<Arc<App>>, cx: Context) -> Response {
    let selection = match Selection::of(&cx) {
        Ok(selection) => selection,
        Err(malformed) => return malformed_response(&malformed),
    };
    match app.read(move |store| Ok(selection.read(store)?.count()?)).await {
        Ok(events) => {
            respond(StatusCode::OK, "text/plain; charset=utf-8", text::counted(events, "event"))
        }
        Err(fault) => respond(fault.status(), "text/plain; charset=utf-8", fault.message()),
    }
}

/// A malformed selection, for requests that are no pages.
pub(crate) fn malformed_response(malformed: &Malformed) -> Response {
    let text = format!("{}\n", malformed.message());
    respond(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", text)
}
