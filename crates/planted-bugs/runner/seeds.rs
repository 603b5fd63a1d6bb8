//! Runs simulated lives, seed by seed, until one shows a mismatch, panics or does not end.
//!
//! `planted-bugs` puts this into the copy of the tree as an example, and reads what it prints: a
//! line before each seed, with the states that were checked so far; then `passed`, or `caught` and
//! what was said.

#![allow(clippy::print_stdout, reason = "this is how it answers")]

use std::panic::catch_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// A life takes milliseconds.
const HANGS_AFTER: Duration = Duration::from_secs(60);

fn main() {
    let mut arguments = std::env::args().skip(1).map(|it| it.parse::<u64>());
    let (Some(Ok(from)), Some(Ok(to))) = (arguments.next(), arguments.next()) else {
        println!("usage: planted_seeds FROM TO");
        return;
    };
    // A panic is an answer here, and its message is told with it.
    std::panic::set_hook(Box::new(|_| {}));
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for seed in from..to {
            let answer = catch_unwind(|| annals::testing::simulation::run(seed));
            let answer = match answer {
                Ok(checked) => checked.map_err(|mismatch| mismatch.to_string()),
                Err(panic) => Err(format!("panicked: {}", message(&*panic))),
            };
            if sender.send(answer).is_err() {
                return;
            }
        }
    });
    let mut states = 0;
    for seed in from..to {
        println!("seed {seed} states {states}");
        let caught = match receiver.recv_timeout(HANGS_AFTER) {
            Ok(Ok(checked)) => {
                states += checked;
                continue;
            }
            Ok(Err(what)) => what,
            Err(RecvTimeoutError::Timeout) => "does not end".into(),
            Err(RecvTimeoutError::Disconnected) => "ended without an answer".into(),
        };
        println!("caught {}", caught.replace('\n', " "));
        return;
    }
    println!("seed {to} states {states}\npassed");
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}
