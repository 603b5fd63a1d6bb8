//! What is known of the terminal that standard output goes to, directly or through a pager.
//!
//! Owns the decision to use colour and the width of a line. Must never write to the terminal.

use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;

/// The width of the terminal of the pager that standard output goes to.
static PAGED: OnceLock<Option<usize>> = OnceLock::new();

/// Notes that a pager takes standard output from now on.
#[cfg(unix)]
pub(crate) fn goes_through_pager(width: Option<usize>) {
    let _set_once = PAGED.set(width);
}

/// Whether a person reads the output on a terminal.
pub(crate) fn is_output() -> bool {
    PAGED.get().is_some() || io::stdout().is_terminal()
}

/// Whether the output has colours.
pub(crate) fn has_colour() -> bool {
    is_output() && allows_colour()
}

/// Whether the environment allows colours: `NO_COLOR` forbids them.
pub(crate) fn allows_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The number of columns, if a terminal that states one shows the output.
pub(crate) fn width() -> Option<usize> {
    if let Some(width) = PAGED.get() {
        return *width;
    }
    if !is_output() {
        return None;
    }
    let (terminal_size::Width(columns), _) = terminal_size::terminal_size()?;
    Some(usize::from(columns)).filter(|&columns| columns > 0)
}
