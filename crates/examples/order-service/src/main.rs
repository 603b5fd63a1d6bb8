//! Serves orders until ctrl-c or SIGTERM.
//!
//! ```text
//! cargo run -p order-service [DIRECTORY [ADDRESS]]
//! ```
//!
//! `DIRECTORY` has the events and the read model (default: a temporary one, removed at the end), `ADDRESS` is that of
//! the server (default: `127.0.0.1:8080`).

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;

use annals_es::Clock;
use order_service::Service;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".into());

    let stop = stop_signal()?;
    let service = Service::open(&directory, Clock::system()).await?;
    let listener = TcpListener::bind(address).await?;
    print_introduction(&mut io::stdout().lock(), &format!("http://{}", listener.local_addr()?))?;
    service.serve(listener, stop).await?;
    writeln!(io::stdout(), "stopped: requests, process, projection, store")?;
    Ok(())
}

fn print_introduction(out: &mut impl Write, url: &str) -> io::Result<()> {
    writeln!(out, "orders at {url}, until ctrl-c; try:")?;
    writeln!(out, "  curl -i {url}/orders --json '{{\"customer\": \"ann\"}}'")?;
    writeln!(
        out,
        "  curl -i {url}/orders/ID/lines -H 'If-Match: \"1\"' --json '{{\"item\": \"tea\", \"quantity\": 2, \"cents\": 450}}'"
    )?;
    writeln!(out, "  curl '{url}/orders?status=open&position=POSITION'")
}

/// Is ready at ctrl-c or SIGTERM.
#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};

    // Registered here, so that a signal while the store is opened is not lost.
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Is ready at ctrl-c.
#[cfg(not(unix))]
fn stop_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    Ok(async {
        // Without a handler for ctrl-c, the service runs until it is killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
