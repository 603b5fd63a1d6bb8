//! The progress bar: on standard error, on a terminal, once work lasts over a second.
//!
//! Owns the look of the bar and the decision to show it. Must never slow work down: it is called often,
//! and draws rarely.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

const PATIENCE: Duration = Duration::from_secs(1);

/// The unit of a bar.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    Bytes,
    Events,
}

#[derive(Debug)]
pub(crate) struct Progress {
    started: Instant,
    enabled: bool,
    unit: Unit,
    /// `None`: the total is unknown, and only a count is shown.
    total: Option<u64>,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new(unit: Unit, total: Option<u64>, quiet: bool) -> Self {
        let enabled = !quiet && std::io::stderr().is_terminal();
        Self { started: Instant::now(), enabled, unit, total, bar: None }
    }

    /// Whether the bar may be shown at all.
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Sets the finished amount, and the total, which may become known late.
    pub(crate) fn set(&mut self, done: u64, total: Option<u64>) {
        if !self.enabled {
            return;
        }
        self.total = total.or(self.total);
        if self.bar.is_none() && self.elapsed() > PATIENCE {
            self.bar = Some(self.draw());
        }
        if let Some(bar) = &self.bar {
            if let Some(total) = self.total {
                bar.set_length(total);
            }
            bar.set_position(done);
        }
    }

    /// Prints text other than the bar, which is drawn again below it.
    pub(crate) fn suspend(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Removes the bar from the screen.
    pub(crate) fn finish(&mut self) {
        self.enabled = false;
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn draw(&self) -> ProgressBar {
        let template = match (self.unit, self.total.is_some()) {
            (Unit::Bytes, true) => {
                "{wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} ETA {eta}"
            }
            (Unit::Bytes, false) => "{spinner} {bytes} {binary_bytes_per_sec} {elapsed}",
            (Unit::Events, true) => "{wide_bar} {human_pos}/{human_len} events {rate} ETA {eta}",
            (Unit::Events, false) => "{spinner} {human_pos} events {rate} {elapsed}",
        };
        let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _infallible = write!(out, "{:.0}/s", state.per_sec());
        };
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .with_key("rate", rate);
        ProgressBar::with_draw_target(self.total, ProgressDrawTarget::stderr())
            .with_style(style)
            .with_elapsed(self.started.elapsed())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Prints a line to standard error. Errors are ignored: there is no other place to report them.
pub(crate) fn report(text: impl std::fmt::Display) {
    let _nobody_left = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints information to standard error that is not a fault.
pub(crate) fn note(text: impl std::fmt::Display) {
    report(format_args!("annals: note: {text}"));
}

/// Prints a possible fault to standard error; the command continues.
pub(crate) fn warn(text: impl std::fmt::Display) {
    report(format_args!("annals: warning: {text}"));
}
