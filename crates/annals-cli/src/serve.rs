//! `serve`: the web page over a store.
//!
//! Owns the settings of the page. The page itself is `annals-ui`.

use std::cell::RefCell;
use std::net::SocketAddr;

use annals_ui::{Error, Options};

use crate::args::{Format, ServeArgs};
use crate::failure::Failure;
use crate::output::Output;
use crate::{interrupt, open};

/// The variable that holds the token.
const TOKEN: &str = "ANNALS_TOKEN";

/// `annals serve`
pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    open::must_exist(&args.store)?;
    let token = args.token.clone().or_else(|| std::env::var(TOKEN).ok());
    let has_token = token.is_some();
    let mut options = Options::new();
    if let Some(token) = token {
        options = options.token(token);
    }
    for host in &args.hosts {
        options = options.host(host);
    }
    // The reader of the output may be gone before the address is printed.
    let printed = RefCell::new(Ok(()));
    let ready = |address| *printed.borrow_mut() = announce(address, has_token);
    let stop = || interrupt::requested() || printed.borrow().is_err();
    annals_ui::serve(&args.store, args.listen, options, ready, stop).map_err(
        |error| match error {
            Error::Store(error) => Failure::Store(error),
            Error::TokenNeeded { .. } | Error::EmptyToken => {
                Failure::Usage(format!("{error}; see --token"))
            }
            Error::Listen { source, .. } | Error::Serve { source } => {
                Failure::Fault(format!("cannot serve on {}: {source}; see --listen", args.listen))
            }
            error => Failure::Fault(error.to_string()),
        },
    )?;
    printed.into_inner()?;
    Err(Failure::Interrupted)
}

fn announce(address: SocketAddr, has_token: bool) -> Result<(), Failure> {
    let mut out = Output::new(Format::Text);
    let token = if has_token { "?token=…" } else { "" };
    out.line(format_args!("serving http://{address}/{token}    Ctrl-C ends it"))?;
    out.flush()
}
