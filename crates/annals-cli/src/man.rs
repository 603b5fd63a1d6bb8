//! `man`: man pages.
//!
//! Owns the names of the files. Must never write outside the directory that is named.

#![allow(clippy::disallowed_methods, reason = "the rule is about stores")]

use std::path::Path;

use clap::{Command, CommandFactory as _};

use crate::args::{Cli, ManArgs};
use crate::failure::Failure;

/// `annals man`: `annals.1`, and a page for each command, such as `annals-stream-info.1`.
pub(crate) fn run(args: &ManArgs) -> Result<(), Failure> {
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    write(&cli, &args.directory)
}

fn write(command: &Command, directory: &Path) -> Result<(), Failure> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let path = directory.join(format!("{name}.1"));
    let mut page = Vec::new();
    let rendered =
        clap_mangen::Man::new(command.clone().name(&*name.clone().leak())).render(&mut page);
    rendered
        .and_then(|()| std::fs::write(&path, page))
        .map_err(|e| Failure::Fault(format!("{} cannot be written: {e}", path.display())))?;
    command.get_subcommands().filter(|it| !it.is_hide_set()).try_for_each(|it| write(it, directory))
}
