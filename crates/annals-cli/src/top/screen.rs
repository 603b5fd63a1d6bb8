//! The screen of the dashboard.
//!
//! Owns layout and look. Everything is readable without colour. Must never be given a text that is not printable.

use annals::Timestamp;
use annals_lines::time;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Clear, Paragraph, Row, Sparkline, Table};

use super::state::{Pane, Rates, State};
use crate::sizes;

/// Height from which the chart of the rate is shown.
const TALL: u16 = 20;
const HELP: [&str; 9] = [
    "q, Esc      quit",
    "p, space    pause and continue",
    "up, down    scroll (also k, j)",
    "PgUp, PgDn  scroll ten rows",
    "Home, End   first and last row",
    "Tab, ←, →   the other list",
    "?           this help",
    "",
    "Lag: number of events after the cursor.",
];

/// Whether colours are used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) colour: bool,
}

impl Look {
    fn ink(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }
}

/// Draws the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State, look: Look) {
    let area = frame.area();
    let chart = if area.height >= TALL { 4 } else { 0 };
    let cursors = cursor_rows(state, area.height);
    let [title, figures, rates, cursor_area, events, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(3),
        Constraint::Length(chart),
        Constraint::Length(cursors),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_title(frame, state, title);
    draw_figures(frame, state, look, figures);
    if chart > 0 {
        draw_chart(frame, state, look, rates);
    }
    draw_cursors(frame, state, look, cursor_area);
    draw_events(frame, state, look, events);
    let keys_line = "q quit   p pause   ↑↓ scroll   Tab other list   ? help";
    frame.render_widget(Line::styled(keys_line, Style::new().add_modifier(Modifier::DIM)), keys);
    if state.shows_help {
        draw_help(frame, area);
    }
}

/// Height of the list of cursors, with its borders and its head: at most a third of the screen.
fn cursor_rows(state: &State, height: u16) -> u16 {
    let wanted = u16::try_from(state.sample.cursors.len().max(1)).unwrap_or(u16::MAX);
    wanted.saturating_add(2).min((height / 3).max(3))
}

fn draw_title(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let strong = Style::new().add_modifier(Modifier::BOLD);
    let mut line = vec![Span::styled("annals top", strong), Span::raw("  ")];
    line.push(Span::raw(state.store.as_str()));
    line.push(Span::raw(format!("  {}", short(state.sample.at))));
    if state.is_paused {
        line.push(Span::styled("  PAUSED", strong.add_modifier(Modifier::REVERSED)));
    }
    frame.render_widget(Line::from(line), area);
}

fn draw_figures(frame: &mut Frame<'_>, state: &State, look: Look, area: Rect) {
    let figures = &state.sample.figures;
    let last = match figures.last_recorded_at {
        Some(last) => format!("   last event {}", ago(last, state.sample.at)),
        None => "   no event yet".to_owned(),
    };
    let held = format!(
        "events {}   streams {}   commits {}{last}",
        sizes::count(figures.head),
        sizes::count(figures.streams),
        sizes::count(figures.commits),
    );
    let disk = format!(
        "log {} ({} allocated)   segments {} ({} sealed)   indexes {} in {} files",
        sizes::bytes(figures.log_bytes),
        sizes::bytes(figures.allocated_bytes),
        sizes::count(figures.segments),
        sizes::count(figures.sealed_segments),
        sizes::bytes(figures.index_bytes),
        sizes::count(figures.index_files),
    );
    let rate = format!("rate {}   1 min {}", rated(state.now()), rated(state.mean()));
    let lines = vec![
        Line::raw(held),
        Line::raw(disk),
        Line::styled(rate, look.ink(Color::Green).add_modifier(Modifier::BOLD)),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}

fn rated(rates: Option<Rates>) -> String {
    match rates {
        Some(Rates { events, bytes }) => {
            format!("{} events/s, {}/s", sizes::count(events), sizes::bytes(bytes))
        }
        None => "- events/s, - B/s".to_owned(),
    }
}

fn draw_chart(frame: &mut Frame<'_>, state: &State, look: Look, area: Rect) {
    let history = state.history(usize::from(area.width.saturating_sub(2)));
    let highest = history.iter().copied().max().unwrap_or(0);
    let title = format!(" events/s, up to {} ", sizes::count(highest));
    let block = Block::new().borders(Borders::ALL).title(title);
    let chart = Sparkline::default().data(history).style(look.ink(Color::Green)).block(block);
    frame.render_widget(chart, area);
}

/// The frame of a list; the one that the arrow keys scroll has a mark.
fn list_block(state: &State, pane: Pane, title: &str) -> Block<'static> {
    let mark = if state.pane == pane { "▶ " } else { "" };
    Block::new().borders(Borders::TOP).title(format!(" {mark}{title} "))
}

fn head<const N: usize>(names: [&'static str; N]) -> Row<'static> {
    Row::new(names).style(Style::new().add_modifier(Modifier::UNDERLINED))
}

fn rows_of(area: Rect) -> usize {
    usize::from(area.height.saturating_sub(2))
}

fn draw_cursors(frame: &mut Frame<'_>, state: &mut State, look: Look, area: Rect) {
    let (total, height) = (state.sample.cursors.len(), rows_of(area));
    let first = state.first_row(Pane::Cursors, total, height);
    let rows = state.sample.cursors.iter().skip(first).take(height).map(|cursor| {
        let rate = state.cursor_rate(&cursor.name, cursor.position);
        let moved = cursor.moved_at.map_or_else(|| "-".to_owned(), |at| ago(at, state.sample.at));
        let lag = if cursor.lag > 0 { look.ink(Color::Yellow) } else { Style::new() };
        Row::new([
            Cell::new(cursor.name.clone()).style(look.ink(Color::Cyan)),
            Cell::new(sizes::count(cursor.position)),
            Cell::new(sizes::count(cursor.lag)).style(lag),
            Cell::new(rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate}/s"))),
            Cell::new(moved),
        ])
    });
    let widths = [
        Constraint::Min(10),
        Constraint::Length(16),
        Constraint::Length(16),
        Constraint::Length(12),
        Constraint::Length(16),
    ];
    let title = match (total, state.sample.more_cursors) {
        (0, _) => "no cursors".to_owned(),
        (_, 0) => format!("{total} cursors"),
        (_, more) => format!("{total} cursors with the largest lag, and {more} more"),
    };
    let block = list_block(state, Pane::Cursors, &title);
    let table = Table::new(rows, widths)
        .header(head(["cursor", "position", "lag", "rate", "last move"]))
        .block(block);
    frame.render_widget(table, area);
}

fn draw_events(frame: &mut Frame<'_>, state: &mut State, look: Look, area: Rect) {
    let (total, height) = (state.sample.newest.len(), rows_of(area));
    let first = state.first_row(Pane::Events, total, height);
    let rows = state.sample.newest.iter().skip(first).take(height).map(|event| {
        let data = event.data.as_str();
        Row::new([
            Cell::new(event.position.to_string()),
            Cell::new(short(event.recorded_at)),
            Cell::new(Line::from(vec![
                Span::styled(event.stream.as_str(), look.ink(Color::Cyan)),
                Span::raw(format!("@{}", event.version)),
            ])),
            Cell::new(event.event_type.as_str()).style(look.ink(Color::Yellow)),
            Cell::new(data),
        ])
    });
    let digits = state.sample.newest.first().map_or(8, |event| event.position.to_string().len());
    let widths = [
        Constraint::Length(u16::try_from(digits.max(8)).unwrap_or(20)),
        Constraint::Length(20),
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Fill(4),
    ];
    let block = list_block(state, Pane::Events, "newest events");
    let table = Table::new(rows, widths)
        .header(head(["position", "time (UTC)", "stream@version", "type", "data"]))
        .block(block);
    frame.render_widget(table, area);
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let height = u16::try_from(HELP.len()).unwrap_or(9) + 2;
    let area = area.centered(Constraint::Length(44), Constraint::Length(height));
    frame.render_widget(Clear, area);
    let lines: Vec<Line<'_>> = HELP.iter().map(|&line| Line::raw(line)).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" keys ")), area);
}

/// A time in UTC without fractions of a second.
fn short(time: Timestamp) -> String {
    let text = time::to_rfc3339(time);
    text.get(..19).map_or(text.clone(), |seconds| seconds.replace('T', " "))
}

/// The time that passed, in its largest unit.
fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_micros().saturating_sub(then.as_micros()) / 1_000_000;
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}
