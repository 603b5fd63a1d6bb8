//! The pager that shows long output on a terminal, as that of `git` does.
//!
//! Owns the choice of the program and its end. Must never be started where no person reads: then nothing changes.

use std::process::Child;

use crate::failure::Failure;

/// The exit code of a shell that finds no such program.
#[cfg(unix)]
const NOT_FOUND: i32 = 127;

/// A pager that takes standard output; nothing if there is none.
#[must_use]
#[derive(Debug, Default)]
pub(crate) struct Pager {
    child: Option<Child>,
}

impl Pager {
    /// Starts the pager of the environment, if standard output is a terminal.
    #[cfg(unix)]
    pub(crate) fn start() -> Self {
        use crate::{interrupt, progress, terminal};
        if !terminal::is_output() {
            return Self::default();
        }
        let Some(program) = chosen(|name| std::env::var_os(name)) else {
            return Self::default();
        };
        let width = terminal::width();
        let mut child = match command(&program).spawn() {
            Ok(child) => child,
            // Without less, output is printed as it is.
            Err(e) => {
                if program != "less" {
                    progress::warn(format_args!(
                        "the pager {} cannot be run: {e}",
                        program.display()
                    ));
                }
                return Self::default();
            }
        };
        // The end that is dropped here is copied to standard output, which is the only one that keeps the pipe open.
        if let Some(pipe) = child.stdin.take()
            && rustix::stdio::dup2_stdout(&pipe).is_ok()
        {
            interrupt::leave_to_pager();
            terminal::goes_through_pager(width);
        }
        Self { child: Some(child) }
    }

    /// There is no pager on this system.
    #[cfg(not(unix))]
    pub(crate) fn start() -> Self {
        Self::default()
    }

    /// Ends the output, and waits until the pager is closed.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        #[cfg(unix)]
        if let Some(mut child) = self.child {
            use std::io::Write as _;
            // A pager that was closed reads no more.
            let _closed_before = std::io::stdout().flush();
            #[expect(clippy::disallowed_methods, reason = "the rule is about stores")]
            let nothing = std::fs::File::options().write(true).open("/dev/null");
            let closed = nothing.is_ok_and(|file| rustix::stdio::dup2_stdout(file).is_ok());
            if closed && child.wait().is_ok_and(|ended| ended.code() == Some(NOT_FOUND)) {
                return Err(Failure::Fault(
                    "the pager cannot be run; --no-pager prints without one".to_owned(),
                ));
            }
        }
        #[cfg(not(unix))]
        let _none = self.child;
        Ok(())
    }
}

/// The pager's command line; `None`: no pager.
#[cfg(unix)]
fn chosen(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<std::ffi::OsString> {
    let chosen = ["ANNALS_PAGER", "PAGER"].into_iter().find_map(variable);
    let chosen = chosen.unwrap_or_else(|| "less".into());
    (!chosen.is_empty() && chosen != "cat").then_some(chosen)
}

/// The command of a pager: a program, or a line for the shell.
#[cfg(unix)]
fn command(line: &std::ffi::OsStr) -> std::process::Command {
    use std::os::unix::ffi::OsStrExt as _;
    use std::process::{Command, Stdio};
    let is_name = line.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"/._-+".contains(b));
    let mut command = if is_name {
        Command::new(line)
    } else {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(line);
        shell
    };
    // Quit if it fits on one screen, pass colours on, leave the screen as it is.
    for (name, value) in [("LESS", "FRX"), ("LV", "-c")] {
        if std::env::var_os(name).is_none() {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::piped());
    command
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn own_variable_comes_first_and_an_empty_one_means_no_pager() {
        let found = |own: Option<&str>, common: Option<&str>| {
            let chosen = chosen(|name| match name {
                "ANNALS_PAGER" => own.map(Into::into),
                _ => common.map(Into::into),
            });
            chosen.map(|it| it.into_string().expect("UTF-8"))
        };
        assert_eq!(found(None, None).as_deref(), Some("less"));
        assert_eq!(found(None, Some("more")).as_deref(), Some("more"));
        assert_eq!(found(Some("less -S"), Some("more")).as_deref(), Some("less -S"));
        for none in ["", "cat"] {
            assert_eq!(found(Some(none), Some("more")), None);
            assert_eq!(found(None, Some(none)), None);
        }
    }
}
