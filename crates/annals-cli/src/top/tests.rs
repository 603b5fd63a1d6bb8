//! Screens of the dashboard, drawn into memory.

use std::path::Path;
use std::time::{Duration, Instant};

use annals::Timestamp;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::sample::{Cursor, Figures, Newest, Sample};
use super::state::{Pane, Rates, State, Wish};
use super::text;

const NOON: u64 = 1_767_268_800_000_000;

/// A sample of a store with `head` events and `cursors` cursors, taken some seconds after `start`.
fn sample(start: Instant, seconds: u64, head: u64, cursors: usize) -> Sample {
    let newest = (1..=head).rev().take(50).map(|position| Newest {
        position,
        recorded_at: Timestamp::from_micros(NOON),
        stream: format!("account-{position}"),
        version: 1,
        event_type: "Opened".to_owned(),
        data: "{\"n\":1}".to_owned(),
    });
    Sample {
        taken: start + Duration::from_secs(seconds),
        at: Timestamp::from_micros(NOON + seconds * 1_000_000),
        figures: Figures {
            head,
            streams: 7,
            commits: head,
            log_bytes: head * 1024,
            allocated_bytes: 1 << 20,
            index_bytes: 3 << 10,
            index_files: 2,
            segments: 3,
            sealed_segments: 2,
            last_recorded_at: (head > 0).then_some(Timestamp::from_micros(NOON)),
        },
        cursors: (0..cursors)
            .map(|number| Cursor {
                name: format!("reader-{number}"),
                position: head / 2,
                lag: head - head / 2,
                moved_at: Some(Timestamp::from_micros(NOON)),
            })
            .collect(),
        more_cursors: 0,
        newest: newest.collect(),
    }
}

/// A dashboard after two samples, ten seconds apart.
fn dashboard(cursors: usize) -> State {
    let start = Instant::now();
    let mut state = State::new(Path::new("led\x1bger"), sample(start, 0, 1000, cursors));
    state.update(sample(start, 10, 13_000, cursors));
    state
}

fn press(state: &mut State, code: KeyCode) -> Wish {
    state.press(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn screen_shows_rates_sizes_cursors_and_newest_events() {
    let lines = text(&mut dashboard(1), 100, 30);
    let screen = lines.join("\n");
    for part in [
        r"annals top  led\u{1b}ger  2026-01-01 12:00:10",
        "events 13,000   streams 7   commits 13,000   last event 10 s ago",
        "log 12.7 MiB (1.00 MiB allocated)   segments 3 (2 sealed)   indexes 3.00 KiB in 2 files",
        "rate 1,200 events/s, 1.17 MiB/s   1 min 1,200 events/s, 1.17 MiB/s",
        "events/s, up to 1,200",
        "1 cursors",
        "▶ newest events",
    ] {
        assert!(screen.contains(part), "{part:?} is not in\n{screen}");
    }
    let row = |start: &str| lines.iter().find(|line| line.starts_with(start)).expect("a row");
    let words: Vec<&str> = row("reader-0").split_whitespace().collect();
    assert_eq!(words, ["reader-0", "6,500", "6,500", "600/s", "10", "s", "ago"]);
    let words: Vec<&str> = row("13000").split_whitespace().collect();
    assert_eq!(words[..5], ["13000", "2026-01-01", "12:00:00", "account-13000@1", "Opened"]);
}

#[test]
fn rates_are_unknown_until_the_second_sample_and_the_mean_forgets_after_a_minute() {
    let start = Instant::now();
    let mut state = State::new(Path::new("s"), sample(start, 0, 0, 0));
    assert_eq!((state.now(), state.mean()), (None, None));
    assert!(text(&mut state, 100, 30).join("\n").contains("rate - events/s"));
    state.update(sample(start, 1, 1000, 0));
    state.update(sample(start, 61, 1000, 0));
    assert_eq!(state.now(), Some(Rates { events: 0, bytes: 0 }));
    assert_eq!(state.mean(), Some(Rates { events: 0, bytes: 0 }));
    assert_eq!(state.history(9), [1000, 0]);
    // Samples are kept for a bounded time.
    for seconds in 62..2000 {
        state.update(sample(start, seconds, 1000, 0));
    }
    assert_eq!(state.history(usize::MAX).len(), 599);
}

#[test]
fn keys_scroll_the_selected_list_within_its_bounds() {
    let mut state = dashboard(40);
    let shown = |state: &mut State, name: &str| {
        text(state, 100, 30).iter().any(|line| line.split_whitespace().next() == Some(name))
    };
    assert!(shown(&mut state, "13000") && shown(&mut state, "reader-0"));
    press(&mut state, KeyCode::Down);
    assert!(!shown(&mut state, "13000") && shown(&mut state, "12999"));
    assert!(shown(&mut state, "reader-0"), "only the selected list moves");
    press(&mut state, KeyCode::End);
    assert!(shown(&mut state, "12951"), "the oldest event that is kept");
    press(&mut state, KeyCode::Up);
    assert!(!shown(&mut state, "12951"), "the end is not passed");
    press(&mut state, KeyCode::Home);
    assert!(shown(&mut state, "13000"));
    press(&mut state, KeyCode::Tab);
    assert_eq!(state.pane, Pane::Cursors);
    press(&mut state, KeyCode::PageDown);
    assert!(!shown(&mut state, "reader-9") && shown(&mut state, "reader-10"));
    assert!(shown(&mut state, "13000"));
}

#[test]
fn keys_pause_help_and_quit() {
    let mut state = dashboard(1);
    assert_eq!(press(&mut state, KeyCode::Char('p')), Wish::Nothing);
    assert!(state.is_paused && text(&mut state, 100, 30)[0].ends_with("PAUSED"));
    press(&mut state, KeyCode::Char('?'));
    assert!(text(&mut state, 100, 30).join("\n").contains("pause and continue"));
    assert_eq!(press(&mut state, KeyCode::Esc), Wish::Nothing, "it closes the help");
    assert!(!text(&mut state, 100, 30).join("\n").contains("pause and continue"));
    assert_eq!(press(&mut state, KeyCode::Char('q')), Wish::Quit);
    let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(state.press(key), Wish::Interrupt);
}

#[test]
fn every_size_of_a_terminal_is_drawn() {
    for cursors in [0, 1, 300] {
        let mut state = dashboard(cursors);
        state.shows_help = true;
        for (width, height) in [(1, 1), (5, 2), (20, 5), (80, 8), (80, 19), (80, 24), (300, 100)] {
            let lines = text(&mut state, width, height);
            assert!(lines.len() <= usize::from(height));
        }
    }
}

#[test]
fn wide_characters_do_not_shift_the_columns_of_the_text() {
    let mut state = dashboard(0);
    state.sample.newest[0].stream = "口座".to_owned();
    let lines = text(&mut state, 100, 30);
    let row = lines.iter().find(|line| line.starts_with("13000")).expect("a row");
    assert!(row.contains("口座@1 "), "{row}");
}
