//! `top`: a live dashboard of a store on a terminal.
//!
//! Owns the terminal while it runs, and restores it on every way out: the end, a failure, a panic and a signal. Reads as any
//! reader beside a writer does. Must never print a text of a store that is not printable.

mod sample;
mod screen;
mod state;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::time::{Duration, Instant};

use annals::Store;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::terminal;
use ratatui::{DefaultTerminal, Terminal};

use crate::args::{Format, TopArgs};
use crate::failure::Failure;
use crate::output::Output;
use crate::{interrupt, open};
use sample::Sample;
use screen::Look;
use state::{State, Wish};

/// How often signals are polled for.
const PATIENCE: Duration = Duration::from_millis(250);
/// The size of a frame that is printed as text, where no terminal states one.
const ONCE: (u16, u16) = (100, 30);

/// `annals top`
pub(crate) fn run(args: &TopArgs) -> Result<(), Failure> {
    if !args.once && !io::stdout().is_terminal() {
        return Err(Failure::Usage(
            "standard output is not a terminal; `annals top --once` prints one frame as text"
                .to_owned(),
        ));
    }
    let mut watch = Watch::new(&args.store)?;
    let mut state = State::new(&args.store, watch.take()?);
    if args.once {
        return once(args, &mut watch, &mut state);
    }
    // The second signal ends the process at once.
    interrupt::before_exit(ratatui::restore);
    let mut terminal = ratatui::try_init().map_err(|error| {
        // It may have been changed in part.
        ratatui::restore();
        Failure::Output(error)
    })?;
    let done = live(&mut terminal, args.interval, &mut watch, &mut state);
    ratatui::restore();
    done
}

/// Prints one frame as text, with the rates of one interval.
fn once(args: &TopArgs, watch: &mut Watch<'_>, state: &mut State) -> Result<(), Failure> {
    interrupt::pause(args.interval);
    if interrupt::requested() {
        return Err(Failure::Interrupted);
    }
    state.update(watch.take()?);
    let (width, height) =
        if io::stdout().is_terminal() { terminal::size().unwrap_or(ONCE) } else { ONCE };
    let mut out = Output::new(Format::Text);
    for line in text(state, width, height) {
        out.line(line)?;
    }
    out.flush()
}

/// A frame as lines of text.
fn text(state: &mut State, width: u16, height: u16) -> Vec<String> {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(_drawn) = terminal.draw(|frame| screen::draw(frame, state, Look { colour: false }));
    let cells = terminal.backend().buffer().content();
    let lines = cells.chunks(usize::from(width.max(1))).map(|row| {
        // A wide character is followed by a cell that is part of it.
        let mut covered = 0;
        let mut line = String::new();
        for cell in row {
            if covered == 0 {
                line.push_str(cell.symbol());
                covered = ratatui::text::Span::raw(cell.symbol()).width();
            }
            covered = covered.saturating_sub(1);
        }
        line.trim_end().to_owned()
    });
    let mut lines: Vec<String> = lines.collect();
    // The line of keys has no use on paper.
    lines.pop();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

fn live(
    terminal: &mut DefaultTerminal,
    interval: Duration,
    watch: &mut Watch<'_>,
    state: &mut State,
) -> Result<(), Failure> {
    let look = Look { colour: crate::terminal::allows_colour() };
    let mut due = Instant::now() + interval;
    loop {
        if interrupt::requested() {
            return Err(Failure::Interrupted);
        }
        if left_until(due).is_none() {
            due = Instant::now() + interval;
            if !state.is_paused {
                state.update(watch.take()?);
            }
        }
        terminal.draw(|frame| screen::draw(frame, state, look)).map_err(Failure::Output)?;
        let patience = left_until(due).unwrap_or_default().min(PATIENCE);
        if !event::poll(patience).map_err(Failure::Output)? {
            continue;
        }
        // A change of the size needs no more than the next drawing.
        if let Event::Key(key) = event::read().map_err(Failure::Output)? {
            match state.press(key) {
                Wish::Nothing => {}
                Wish::Quit => return Ok(()),
                Wish::Interrupt => return Err(Failure::Interrupted),
            }
        }
    }
}

/// The time until a moment; `None` once it is reached.
fn left_until(due: Instant) -> Option<Duration> {
    let left = due.saturating_duration_since(Instant::now());
    (!left.is_zero()).then_some(left)
}

/// A store, and the directory that it was opened in.
struct Watch<'a> {
    path: &'a Path,
    store: Store,
    identity: Option<Identity>,
}

/// Distinguishes a directory from another one under the same name.
type Identity = (u64, u64);

impl<'a> Watch<'a> {
    fn new(path: &'a Path) -> Result<Self, Failure> {
        let store = open::for_reading(path)?;
        open::must_be_whole(&store)?;
        Ok(Self { path, store, identity: identity(path) })
    }

    /// Takes a sample. A reader's files stay readable after they are removed, so the directory is looked up first.
    fn take(&mut self) -> Result<Sample, Failure> {
        let path = self.path.display();
        if !open::exists(self.path) {
            return Err(Failure::Fault(format!("{path} was removed while it was watched")));
        }
        if identity(self.path) != self.identity {
            return Err(Failure::Fault(format!(
                "{path} was replaced while it was watched; start again to watch the new store"
            )));
        }
        sample::take(&self.store)
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Only Unix states the identity of a directory in stable Rust.
#[cfg(not(unix))]
fn identity(_path: &Path) -> Option<Identity> {
    None
}
