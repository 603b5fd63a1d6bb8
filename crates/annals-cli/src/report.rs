//! The result of an import as text: on standard output, or on standard error if standard output is in
//! use or the import failed.
//!
//! Owns the wording, and whether an import counts as complete. Must never call an incomplete one
//! complete.

use std::time::Duration;

use annals::Error;

use crate::args::Format;
use crate::failure::{self, Failure};
use crate::groups::Bad;
use crate::import::End;
use crate::output::Output;
use crate::progress::{report, warn};
use crate::settle::Tally;

/// Number of bad lines that are listed.
const LISTED: u64 = 10;

/// The skipped lines.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Good lines that belong to the commit of a bad line.
    pub(crate) skipped_lines: u64,
    bad_lines: u64,
}

impl Report {
    /// Counts a skipped line, and prints the first few.
    pub(crate) fn bad(&mut self, bad: &Bad) {
        self.bad_lines += 1;
        match self.bad_lines {
            ..=LISTED => warn(format_args!("skipped {}", described(bad))),
            n if n == LISTED + 1 => warn("skipped more bad lines, not listed"),
            _ => {}
        }
    }

    /// Prints the result, and returns the exit code.
    pub(crate) fn conclude(
        self,
        end: End,
        mut tally: Tally,
        closed: Result<(), Failure>,
        elapsed: Duration,
        acknowledges: bool,
        quiet: bool,
    ) -> Result<(), Failure> {
        let failure = tally.failure.take();
        let unprinted = tally.unprinted.take();
        let verdict = match (failure, end) {
            (Some((line, error)), _) => Err(lost(line, &error)),
            (None, End::Bad(bad)) => Err(Failure::Fault(described(&bad))),
            (None, End::Failed(failure)) => Err(failure),
            (None, End::Interrupted) => Err(Failure::Interrupted),
            (None, End::Complete | End::Stopped) => match unprinted {
                Some(e) if e.kind() == std::io::ErrorKind::BrokenPipe => {
                    Err(Failure::Unacknowledged)
                }
                Some(e) => Err(Failure::Output(e)),
                None => closed,
            },
        };
        if quiet {
            return verdict;
        }
        let summary = self.summary(&tally, elapsed);
        // The result is printed to standard output, unless acknowledgements are, or the import failed.
        if verdict.is_ok() && !acknowledges {
            let mut out = Output::new(Format::Text);
            out.line(summary)?;
            return out.flush();
        }
        report(summary);
        if verdict.is_err() {
            report(match tally.last_line {
                Some(line) => format!(
                    "annals: the import stopped; the last line stored is {line}, and --resume \
                     continues after it"
                ),
                None => "annals: the import stopped; nothing was stored".to_owned(),
            });
        }
        verdict
    }

    fn summary(&self, tally: &Tally, elapsed: Duration) -> String {
        let skipped = match self.bad_lines {
            0 => String::new(),
            bad => format!(", {} skipped: {bad} bad", counted(bad + self.skipped_lines, "line")),
        };
        let nothing = tally.events == 0 && tally.already_recorded > 0;
        let seconds = elapsed.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = (tally.events + tally.already_recorded) as f64 / seconds.max(1e-6);
        format!(
            "imported {} in {} ({} already recorded{skipped}){} in {seconds:.1} s, \
             {rate:.0} events/s",
            counted(tally.events, "event"),
            counted(tally.commits, "commit"),
            tally.already_recorded,
            if nothing { ", nothing changed" } else { "" }
        )
    }
}

fn lost(line: u64, error: &Error) -> Failure {
    Failure::Fault(format!(
        "{}; import again with --resume, or from line {line} on (events with ids are not stored \
         twice)",
        failure::described(error)
    ))
}

fn described(bad: &Bad) -> String {
    if bad.first_line == bad.last_line {
        format!("line {}: {}", bad.first_line, bad.what)
    } else {
        format!("lines {} to {}: {}", bad.first_line, bad.last_line, bad.what)
    }
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
