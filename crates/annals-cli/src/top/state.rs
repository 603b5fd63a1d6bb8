//! What the dashboard remembers between two samples: rates, and what the keys chose.
//!
//! Owns the arithmetic of rates and the meaning of keys. Must never draw or read a store.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::sample::Sample;
use crate::text;

/// Number of samples of which figures are kept.
const KEPT: usize = 600;
/// Time over which the mean rate is computed.
const WINDOW: Duration = Duration::from_secs(60);

/// A list that can be scrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    Cursors,
    Events,
}

/// What a key asks for beside a change of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    Quit,
    Interrupt,
}

#[derive(Debug)]
pub(super) struct State {
    /// The store's path, printable.
    pub(super) store: String,
    pub(super) sample: Sample,
    past: VecDeque<Past>,
    /// Positions of cursors at the sample before.
    positions: HashMap<String, u64>,
    pub(super) is_paused: bool,
    pub(super) shows_help: bool,
    pub(super) pane: Pane,
    /// The first row shown of each pane.
    pub(super) first: [usize; 2],
}

#[derive(Debug, Clone, Copy)]
struct Past {
    taken: std::time::Instant,
    head: u64,
    log_bytes: u64,
}

/// Events and bytes of the log per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rates {
    pub(super) events: u64,
    pub(super) bytes: u64,
}

impl State {
    pub(super) fn new(store: &Path, sample: Sample) -> Self {
        let past = VecDeque::from([Past::of(&sample)]);
        Self {
            store: text::printed(&store.display().to_string()),
            sample,
            past,
            positions: HashMap::new(),
            is_paused: false,
            shows_help: false,
            pane: Pane::Events,
            first: [0, 0],
        }
    }

    /// Takes over the next sample.
    pub(super) fn update(&mut self, sample: Sample) {
        let before = std::mem::replace(&mut self.sample, sample);
        self.positions = before.cursors.into_iter().map(|c| (c.name, c.position)).collect();
        if self.past.len() == KEPT {
            self.past.pop_front();
        }
        self.past.push_back(Past::of(&self.sample));
    }

    /// The rates between the last two samples; `None` after the first one.
    pub(super) fn now(&self) -> Option<Rates> {
        let before = self.past.len().checked_sub(2)?;
        Some(self.past[before].until(self.past.back()?))
    }

    /// The mean rates of the last minute, or of the time since the start if that is less.
    pub(super) fn mean(&self) -> Option<Rates> {
        let last = self.past.back()?;
        let recent = |past: &&Past| last.taken.duration_since(past.taken) <= WINDOW;
        let first = self.past.iter().find(recent)?;
        (first.taken < last.taken).then(|| first.until(last))
    }

    /// Events per second of the last `most` intervals, the newest last.
    pub(super) fn history(&self, most: usize) -> Vec<u64> {
        let pairs = self.past.iter().zip(self.past.iter().skip(1));
        let rates: Vec<u64> = pairs.map(|(a, b)| a.until(b).events).collect();
        rates[rates.len().saturating_sub(most)..].to_vec()
    }

    /// Events per second that a cursor went forward since the sample before.
    pub(super) fn cursor_rate(&self, name: &str, position: u64) -> Option<u64> {
        let before = *self.positions.get(name)?;
        let at = self.past.len().checked_sub(2)?;
        let passed = self.past.back()?.taken.duration_since(self.past[at].taken);
        Some(per_second(position.saturating_sub(before), passed))
    }

    /// Does what a key asks for.
    pub(super) fn press(&mut self, key: KeyEvent) -> Wish {
        if key.kind == KeyEventKind::Release {
            return Wish::Nothing;
        }
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Wish::Interrupt;
            }
            KeyCode::Esc if self.shows_help => self.shows_help = false,
            KeyCode::Char('q') | KeyCode::Esc => return Wish::Quit,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('?' | 'h') => self.shows_help = !self.shows_help,
            KeyCode::Tab | KeyCode::Left | KeyCode::Right => {
                self.pane = match self.pane {
                    Pane::Cursors => Pane::Events,
                    Pane::Events => Pane::Cursors,
                };
            }
            KeyCode::Up | KeyCode::Char('k') => self.scroll(|first| first.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.scroll(|first| first.saturating_add(1)),
            KeyCode::PageUp => self.scroll(|first| first.saturating_sub(10)),
            KeyCode::PageDown => self.scroll(|first| first.saturating_add(10)),
            KeyCode::Home => self.scroll(|_| 0),
            KeyCode::End => self.scroll(|_| usize::MAX),
            _ => {}
        }
        Wish::Nothing
    }

    fn scroll(&mut self, to: impl Fn(usize) -> usize) {
        let first = &mut self.first[self.pane as usize];
        *first = to(*first);
    }

    /// The first row of a pane with room for `height` of `rows` rows; corrects what the keys set.
    pub(super) fn first_row(&mut self, pane: Pane, rows: usize, height: usize) -> usize {
        let first = &mut self.first[pane as usize];
        *first = (*first).min(rows.saturating_sub(height));
        *first
    }
}

impl Past {
    fn of(sample: &Sample) -> Self {
        let figures = &sample.figures;
        Self { taken: sample.taken, head: figures.head, log_bytes: figures.log_bytes }
    }

    fn until(&self, later: &Self) -> Rates {
        let passed = later.taken.duration_since(self.taken);
        Rates {
            events: per_second(later.head.saturating_sub(self.head), passed),
            bytes: per_second(later.log_bytes.saturating_sub(self.log_bytes), passed),
        }
    }
}

/// A rate, rounded to a whole number; a short time counts as a millisecond.
fn per_second(amount: u64, passed: Duration) -> u64 {
    let millis = passed.as_millis().max(1);
    u64::try_from((u128::from(amount) * 1000 + millis / 2) / millis).unwrap_or(u64::MAX)
}
