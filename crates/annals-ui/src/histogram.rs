//! Events over time, as bars.
//!
//! Owns the division of time into bars, which needs one look-up for each edge and reads no event.

use std::fmt::Write as _;
use std::time::Duration;

use annals::{Position, Store, Timestamp};
use maud::{Markup, PreEscaped, html};

use crate::context::Context;
use crate::fault::Fault;
use crate::text;

/// Number of bars.
const BARS: u64 = 48;
const WIDTH: u64 = 960;
const HEIGHT: u64 = 120;

/// Events of a period of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bar {
    /// Inclusive.
    from: Timestamp,
    /// Inclusive.
    to: Timestamp,
    events: u64,
}

/// Counts the events of a period of time in bars of equal length. Without bounds: from the first event to the last.
pub(crate) fn count(
    store: &Store,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
) -> Result<Vec<Bar>, Fault> {
    let since = match since {
        Some(since) => since,
        None => match store.event_at(Position::new(1))? {
            Some(first) => first.recorded_at(),
            None => return Ok(Vec::new()),
        },
    };
    let until = match until {
        Some(until) => until,
        None => store.event_at(store.head())?.map_or(since, |last| last.recorded_at()),
    };
    let (first, last) = (since.as_micros(), until.as_micros());
    if last < first {
        return Ok(Vec::new());
    }
    let bars = BARS.min((last - first).saturating_add(1));
    let mut before = match first.checked_sub(1) {
        Some(before) => store.position_at(Timestamp::from_micros(before))?.get(),
        None => 0,
    };
    let span = u128::from(last - first) + 1;
    let edge = |bar: u64| {
        let offset = span * u128::from(bar) / u128::from(bars);
        first.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX))
    };
    let mut counted = Vec::new();
    for bar in 0..bars {
        let (from, to) = (edge(bar), edge(bar + 1).saturating_sub(1));
        let (from, to) = (Timestamp::from_micros(from), Timestamp::from_micros(to));
        let through = store.position_at(to)?.get();
        counted.push(Bar { from, to, events: through.saturating_sub(before) });
        before = through.max(before);
    }
    Ok(counted)
}

/// The bars as a picture, each a link to its events, and as a table.
pub(crate) fn show(cx: &Context, bars: &[Bar]) -> Markup {
    let (Some(first), Some(last)) = (bars.first(), bars.last()) else {
        return html! { p.faint { "There is no event in this period." } };
    };
    let most = bars.iter().map(|bar| bar.events).max().unwrap_or(0);
    let length =
        Duration::from_micros((first.to.as_micros() - first.from.as_micros()).saturating_add(1));
    html! {
        figure.bars {
            (PreEscaped(picture(cx, bars, most)))
            figcaption {
                (text::time(first.from)) " to " (text::time(last.to)) ", "
                (text::duration(length)) " a bar, at most " (text::counted(most, "event"))
            }
        }
        details {
            summary { "The same as a table" }
            table {
                thead { tr { th scope="col" { "From" } th scope="col" { "Events" } } }
                tbody { @for bar in bars.iter().filter(|bar| bar.events > 0) {
                    tr {
                        td { a href=(link(cx, bar)) { (text::time(bar.from)) } }
                        td.number { (text::number(bar.events)) }
                    }
                } }
            }
        }
    }
}

fn link(cx: &Context, bar: &Bar) -> String {
    let (since, until) = (bar.from.to_string(), bar.to.to_string());
    cx.link("search", &[("q", "all"), ("since", &since), ("until", &until)])
}

/// The bars as SVG. A bar with events has at least two units, so that one event can be seen.
fn picture(cx: &Context, bars: &[Bar], most: u64) -> String {
    let step = WIDTH / bars.len().max(1) as u64;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Events over time\">"
    );
    for (x, bar) in (0..).step_by(usize::try_from(step).unwrap_or(1)).zip(bars) {
        if bar.events == 0 {
            continue;
        }
        let height = u128::from(bar.events) * u128::from(HEIGHT) / u128::from(most.max(1));
        let height = u64::try_from(height).unwrap_or(HEIGHT).max(2);
        let address = html! { (link(cx, bar)) }.into_string();
        let title = format!("{} from {}", text::counted(bar.events, "event"), bar.from);
        let _infallible = write!(
            svg,
            "<a href=\"{address}\"><title>{title}</title><rect x=\"{x}\" y=\"{}\" width=\"{}\" \
             height=\"{height}\"/></a>",
            HEIGHT - height,
            step.saturating_sub(1).max(1),
        );
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use annals::{ExpectedVersion, NewEvent, Options};

    use super::*;

    /// A store with an event at each of these microseconds.
    fn store(times: &[u64]) -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicU64::new(0));
        let now = Arc::clone(&clock);
        let options =
            Options::new().clock(move || Timestamp::from_micros(now.load(Ordering::Relaxed)));
        let store = options.open(dir.path().join("store")).unwrap();
        for time in times {
            clock.store(*time, Ordering::Relaxed);
            store.append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
        }
        (dir, store)
    }

    #[test]
    fn every_event_is_in_one_bar() {
        let start = 1_700_000_000_000_000;
        let times: Vec<u64> = (0..100).map(|i| start + i * i * 977).collect();
        let (_dir, store) = store(&times);
        let bars = count(&store, None, None).unwrap();
        assert_eq!(bars.len() as u64, BARS);
        assert_eq!(bars.iter().map(|bar| bar.events).sum::<u64>(), 100);
        for bar in &bars {
            let inside = |time: &&u64| (bar.from.as_micros()..=bar.to.as_micros()).contains(*time);
            assert_eq!(times.iter().filter(inside).count() as u64, bar.events);
        }
        let middle = Some(Timestamp::from_micros(times[50]));
        let later = count(&store, middle, None).unwrap();
        assert_eq!(later.iter().map(|bar| bar.events).sum::<u64>(), 50);
    }

    #[test]
    fn moments_and_empty_stores_have_few_bars() {
        let (_dir, empty) = store(&[]);
        assert_eq!(count(&empty, None, None).unwrap(), []);
        let (_dir, one) = store(&[1_700_000_000_000_000; 3]);
        let bars = count(&one, None, None).unwrap();
        assert_eq!(bars.len(), 1);
        assert_eq!(bars[0].events, 3);
        let end = Some(Timestamp::from_micros(u64::MAX));
        assert_eq!(count(&one, Some(Timestamp::default()), end).unwrap().len() as u64, BARS);
    }
}
