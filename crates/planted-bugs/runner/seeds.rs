//! Runs simulated lives, seed by seed, until one fails or does not end.
//!
//! `planted-bugs` puts this into the copy of the tree as an example, and reads its output: a line
//! before each seed, with the number of checked states; then `passed`, or `caught` and the message.

#![allow(clippy::print_stdout, reason = "this is how it answers")]

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use annals::testing::simulation::{Kind, Life};

/// A life takes milliseconds.
const HANGS_AFTER: Duration = Duration::from_secs(60);

fn main() {
    let mut arguments = std::env::args().skip(1).map(|it| it.parse::<u64>());
    let (Some(Ok(from)), Some(Ok(to))) = (arguments.next(), arguments.next()) else {
        println!("usage: planted_seeds FROM TO");
        return;
    };
    // A life that panics has failed, with the panic's message.
    std::panic::set_hook(Box::new(|_| {}));
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for seed in from..to {
            if sender.send(Life::new(Kind::Everything, seed).run()).is_err() {
                return;
            }
        }
    });
    let mut states = 0;
    for seed in from..to {
        println!("seed {seed} states {states}");
        let caught = match receiver.recv_timeout(HANGS_AFTER) {
            Ok(Ok(report)) => {
                states += report.states;
                continue;
            }
            Ok(Err(failure)) => {
                println!("seed {seed} states {}", states + failure.report.states);
                failure.what.to_string()
            }
            Err(RecvTimeoutError::Timeout) => "does not end".into(),
            Err(RecvTimeoutError::Disconnected) => "ended without an answer".into(),
        };
        println!("caught {}", caught.replace('\n', " "));
        return;
    }
    println!("seed {to} states {states}\npassed");
}
