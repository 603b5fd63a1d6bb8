//! The reasons for which a command ends early, their exit codes, and advice to the user.
//!
//! Owns the exit codes and the advice. Must never print.

use std::fmt;
use std::io;
use std::path::Path;

use annals::Error;
use annals_lines::time;

pub(crate) const INTERRUPTED: u8 = 130;
const CLOSED_PIPE: u8 = 141;

#[derive(Debug)]
pub(crate) enum Failure {
    /// An argument that can be parsed, but has no meaning here.
    Usage(String),
    /// The data has a fault.
    Fault(String),
    /// What was named is not in the store.
    Missing {
        what: String,
        /// The command that lists what there is, without the store.
        list: &'static str,
    },
    /// The store is damaged; everything that is possible in spite of that was done.
    Damaged(String),
    /// The library returned an error.
    Store(annals::Error),
    /// Standard output cannot be written.
    Output(io::Error),
    /// The reader of the acknowledgements closed the pipe.
    Unacknowledged,
    /// A signal requested the end.
    Interrupted,
    /// The fault was printed already.
    Reported,
}

impl Failure {
    /// What was named is not in the store; `list` is the command that lists what there is.
    pub(crate) fn missing(what: impl fmt::Display, list: &'static str) -> Self {
        Self::Missing { what: format!("there is no {what}"), list }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Store(annals::Error::InvalidArgument { .. }) => 2,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Interrupted => INTERRUPTED,
            Self::Unacknowledged => CLOSED_PIPE,
            Self::Fault(_)
            | Self::Missing { .. }
            | Self::Damaged(_)
            | Self::Store(_)
            | Self::Output(_)
            | Self::Reported => 1,
        }
    }

    /// The message for the user; `None` if there is no fault, or if it was printed already.
    pub(crate) fn message(&self) -> Option<String> {
        let quiet = matches!(self, Self::Interrupted | Self::Unacknowledged | Self::Reported)
            || self.exit_code() == 0;
        (!quiet).then(|| self.to_string())
    }
}

impl Failure {
    /// What to do next about a fault of the store at `path`, one line each.
    pub(crate) fn advice(&self, path: &Path) -> Vec<String> {
        let store = quoted(path);
        match self {
            Self::Damaged(_) => about_damage(&store, true),
            Self::Missing { list, .. } => vec![format!("annals {list} {store}    lists what there is")],
            Self::Store(Error::Corrupt { evidence, .. }) => {
                about_damage(&store, evidence.is_some())
            }
            Self::Store(Error::Locked { .. }) => vec![
                "add --wait to wait until it is closed; reading commands work beside the writer"
                    .to_owned(),
                format!("annals top {store}    watches what the writer does"),
                "a service that starts annals_control::Control makes changes of cursors, streams and snapshots \
                 for this command"
                    .to_owned(),
            ],
            Self::Store(Error::Fenced { .. }) => {
                vec![format!(
                    "work with that place; or, to give up the move: annals fence lift {store}"
                )]
            }
            Self::Store(Error::ColdSegment { .. }) => {
                vec!["pass the backup that has it: --cold URL, or the variable ANNALS_COLD (needs the feature `backup`)".to_owned()]
            }
            Self::Store(Error::WriterPoisoned { .. } | Error::OutcomeUnknown { .. }) => {
                vec![format!("check the disk, then: annals verify {store}")]
            }
            Self::Store(Error::NotAStore { why, .. }) if why.contains("unfinished backup") => {
                vec![format!("annals backup STORE {store}    continues it")]
            }
            _ => Vec::new(),
        }
    }
}

/// `refused`: an opening for writing refuses the store.
fn about_damage(store: &str, refused: bool) -> Vec<String> {
    let mut advice = vec![
        format!("annals verify {store}    lists every fault"),
        format!("annals repair {store} --to NEWDIR    copies what is intact into a new store"),
    ];
    if refused {
        advice.push(format!(
            "annals recover {store} --accept-loss    prints what cutting it off there would lose"
        ));
    }
    advice
}

/// A path as an argument of a shell's command.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%,=\\".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("{text:?}") }
}

/// The text of an error and of its sources.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The process in brackets, if it is known.
pub(crate) fn by_process(holder: Option<u32>) -> String {
    holder.map(|id| format!(" (process {id})")).unwrap_or_default()
}

/// An error in the terms of the command line; the library's texts name functions.
pub(crate) fn described(error: &Error) -> String {
    match error {
        Error::Locked { path, holder } => format!(
            "the store at {} is open for writing elsewhere{}",
            path.display(),
            by_process(*holder)
        ),
        Error::Corrupt { file, offset, expected_position, what, evidence } => format!(
            "{} is damaged at offset {offset}: {what} (expected position {expected_position}{})",
            file.display(),
            evidence.as_ref().map(|e| format!("; {e}")).unwrap_or_default()
        ),
        Error::Fenced { path, to } => {
            format!("the store at {} is fenced: its history goes on at {to:?}", path.display())
        }
        Error::RecordedTime { given, earliest, .. } if given < earliest => format!(
            "the time of recording, {}, is before {}, the time of the previous event",
            time::to_rfc3339(*given),
            time::to_rfc3339(*earliest),
        ),
        Error::RecordedTime { given, latest, .. } => format!(
            "the time of recording, {}, is ahead of the clock, {}",
            time::to_rfc3339(*given),
            time::to_rfc3339(*latest)
        ),
        other => with_causes(other),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what)
            | Self::Fault(what)
            | Self::Missing { what, .. }
            | Self::Damaged(what) => f.write_str(what),
            Self::Store(error) => f.write_str(&described(error)),
            Self::Output(error) => write!(f, "cannot write to standard output: {error}"),
            Self::Unacknowledged => {
                f.write_str("the reader of the acknowledgements closed the pipe")
            }
            Self::Interrupted => f.write_str("interrupted"),
            Self::Reported => f.write_str("reported"),
        }
    }
}

impl From<annals_copy::Error> for Failure {
    fn from(error: annals_copy::Error) -> Self {
        match error {
            annals_copy::Error::Stopped => Self::Interrupted,
            annals_copy::Error::Unsupported { .. } | annals_copy::Error::SamePlace { .. } => {
                Self::Usage(error.to_string())
            }
            annals_copy::Error::CannotKeep { .. } => {
                Self::Fault(format!("{error}; --leave-out copies without them"))
            }
            annals_copy::Error::Map { .. } => Self::Fault(with_causes(&error)),
            error => Self::Fault(error.to_string()),
        }
    }
}

impl From<annals::Error> for Failure {
    fn from(error: annals::Error) -> Self {
        Self::Store(error)
    }
}
