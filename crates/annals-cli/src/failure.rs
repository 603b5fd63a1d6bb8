//! Why a command ends early, and with which exit code.
//!
//! Owns the exit codes. Must never print.

use std::fmt;
use std::io;

pub(crate) const INTERRUPTED: u8 = 130;
const CLOSED_PIPE: u8 = 141;

#[derive(Debug)]
pub(crate) enum Failure {
    /// An argument that parsed, and still has no meaning.
    Usage(String),
    /// The data is at fault.
    Fault(String),
    /// The library refused.
    Store(annals::Error),
    /// Standard output does not take what is printed.
    Output(io::Error),
    /// The reader of the acknowledgements went away.
    Unacknowledged,
    /// A signal asked to end.
    Interrupted,
    /// The fault is on the screen already.
    Reported,
}

impl Failure {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Store(annals::Error::InvalidArgument { .. }) => 2,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Interrupted => INTERRUPTED,
            Self::Unacknowledged => CLOSED_PIPE,
            Self::Fault(_) | Self::Store(_) | Self::Output(_) | Self::Reported => 1,
        }
    }

    /// What to tell the user; nothing where nothing is wrong, or where it was told.
    pub(crate) fn message(&self) -> Option<String> {
        let quiet = matches!(self, Self::Interrupted | Self::Unacknowledged | Self::Reported)
            || self.exit_code() == 0;
        (!quiet).then(|| self.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) | Self::Fault(what) => f.write_str(what),
            Self::Store(error) => error.fmt(f),
            Self::Output(error) => write!(f, "cannot write to standard output: {error}"),
            Self::Unacknowledged => f.write_str("the reader of the acknowledgements is gone"),
            Self::Interrupted => f.write_str("interrupted"),
            Self::Reported => f.write_str("reported"),
        }
    }
}

impl From<annals::Error> for Failure {
    fn from(error: annals::Error) -> Self {
        Self::Store(error)
    }
}
