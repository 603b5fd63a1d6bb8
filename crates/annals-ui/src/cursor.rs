//! The moves of one cursor, newest first, with its lag over time as a picture.
//!
//! Must never hold more moves than a page shows.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use annals::{CursorMove, Store, Timestamp};
use axum::extract::State;
use axum::response::Response;
use maud::{Markup, PreEscaped, html};

use crate::app::{App, Page};
use crate::context::Context;
use crate::fault::Fault;
use crate::{rows, text};

/// Moves of a page.
const MOVES: u64 = 100;
/// The most moves that are passed over to come to a page.
const MAX_SKIPPED: u64 = 1_000_000;
const WIDTH: u128 = 960;
const HEIGHT: u128 = 120;

/// `/cursor?name=`
pub(crate) async fn show(State(app): State<Arc<App>>, cx: Context) -> Response {
    app.page(cx, |store, cx| {
        let name = cx.required("name")?;
        let skip = cx.number("skip")?.unwrap_or(0);
        if skip > MAX_SKIPPED {
            let most = text::number(MAX_SKIPPED);
            return Err(Fault::BadRequest(format!(
                "At most {most} moves are passed over here. See annals cursor history."
            )));
        }
        // One more than is shown: whether there is another page, and how far the oldest one moved.
        let (first, most) = (index(skip), index(MOVES + 1));
        let moves = store.cursors().history(name).skip(first).take(most);
        let moves = moves.collect::<annals::Result<Vec<_>>>()?;
        let listed = store.cursors().get(name)?;
        if moves.is_empty() {
            return Err(Fault::NotFound(match skip {
                0 => format!("There is no cursor {name:?}, and there was none."),
                _ => format!("The cursor {name:?} has no more than {skip} moves."),
            }));
        }
        let content = html! {
            h1 { "Cursor " (text::name(name)) }
            @match listed {
                Some(position) => {
                    p { "At position " (text::number(position.get())) ", lag "
                        (text::number(store.head().get().saturating_sub(position.get()))) ". "
                        a href=(cx.link("search", &[("q", &format!("after:{position}"))])) { "Events after it" } }
                }
                None => { p { "It was deleted." } }
            }
            (content(cx, store, &moves, skip))
        };
        Ok(Page::new(text::shortened(name, 80), content))
    })
    .await
}

fn index(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn content(cx: &Context, store: &Store, moves: &[CursorMove], skip: u64) -> Markup {
    let shown = &moves[..moves.len().min(index(MOVES))];
    let newest = (skip > 0).then(|| cx.with("skip", ""));
    let is_more = moves.len() > shown.len();
    let older = is_more.then(|| cx.with("skip", &(skip + MOVES).to_string()));
    html! {
        (picture(shown))
        (table(cx, store, shown, moves))
        (rows::pager(newest.as_deref(), older.as_deref()))
    }
}

fn table(cx: &Context, store: &Store, shown: &[CursorMove], moves: &[CursorMove]) -> Markup {
    let head = store.head().get();
    html! {
        div.scroll { table {
            thead { tr {
                th scope="col" { "Moved" }
                th scope="col" { "Position" }
                th scope="col" { "Events" }
                th scope="col" { "Lag" }
                th scope="col" { "Since the move before" }
            } }
            tbody { @for (at, moved) in shown.iter().enumerate() {
                @let before = moves.get(at + 1);
                tr data-row {
                    td { (text::time(moved.recorded_at)) }
                    td.number { @match moved.position.map(annals::Position::get) {
                        None => i { "deleted" },
                        Some(position) if (1..=head).contains(&position) => a href=(cx.event(position)) { (text::number(position)) },
                        Some(position) => (text::number(position)),
                    } }
                    td.number { (distance(moved, before)) }
                    td.number { @if let Some(lag) = moved.lag() { (text::number(lag)) } }
                    td.number { @if let Some(before) = before { (text::duration(between(before.recorded_at, moved.recorded_at))) } }
                }
            } }
        } }
    }
}

/// How far a cursor moved: forward, or back.
fn distance(moved: &CursorMove, before: Option<&CursorMove>) -> String {
    let Some(to) = moved.position else { return String::new() };
    let from = before.and_then(|before| before.position).map_or(0, annals::Position::get);
    match to.get().checked_sub(from) {
        Some(forward) => format!("+{}", text::number(forward)),
        None => format!("−{}", text::number(from - to.get())),
    }
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_micros(to.as_micros().saturating_sub(from.as_micros()))
}

/// The lag after each move, over time.
fn picture(moves: &[CursorMove]) -> Markup {
    let points: Vec<(u64, u64)> =
        moves.iter().rev().filter_map(|it| Some((it.recorded_at.as_micros(), it.lag()?))).collect();
    let (Some(&(first, _)), Some(&(last, _))) = (points.first(), points.last()) else {
        return html! {};
    };
    let most = points.iter().map(|(_, lag)| *lag).max().unwrap_or(0);
    if points.len() < 2 {
        return html! {};
    }
    let span = u128::from(last.saturating_sub(first)).max(1);
    let mut line = String::new();
    for (time, lag) in points {
        let x = u128::from(time.saturating_sub(first)) * WIDTH / span;
        let y = HEIGHT - u128::from(lag) * HEIGHT / u128::from(most.max(1));
        let _infallible = write!(line, "{x},{y} ");
    }
    let line = line.trim_end();
    let svg = format!(
        "<svg viewBox=\"0 -2 {WIDTH} {}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"Lag over time\"><polyline points=\"{line}\"/></svg>",
        HEIGHT + 4
    );
    html! {
        figure.bars {
            (PreEscaped(svg))
            figcaption {
                "Lag after each of these moves, at most " (text::counted(most, "event")) ", from "
                (text::time(Timestamp::from_micros(first))) " to " (text::time(Timestamp::from_micros(last)))
            }
        }
    }
}
