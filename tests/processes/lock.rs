//! Processes that compete for the lock of one store.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use annals::{Error, ExpectedVersion, NewEvent, Options};

use super::life::child::{Running, command};
use super::life::writer::{Life, say};

const LIFE: Life = Life { seed: 0, number: 0, synced: true };

/// The child tries until it holds the lock, appends, and keeps the store open until it is killed.
pub(crate) fn fight(path: &Path) {
    let store = loop {
        match Options::new().segment_size(Options::MIN_SEGMENT_SIZE).open(path) {
            Ok(store) => break store,
            Err(Error::Locked { path: locked, .. }) => {
                assert_eq!(locked, path);
                say("locked");
            }
            Err(error) => panic!("{error:?}"),
        }
    };
    let event = NewEvent::new("Won", std::process::id().to_le_bytes().to_vec());
    let done = store.append("fight", ExpectedVersion::Any, [event]).unwrap();
    say(&format!("won {}", done.version));
    // Blocks until the parent kills this process or ends itself.
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// The lines of one process, apart from those of others.
fn listen(children: &mut [Option<Running>]) -> Receiver<(usize, String)> {
    let (sender, lines) = channel();
    for (index, child) in children.iter_mut().enumerate() {
        let (from, sender) = (child.as_mut().unwrap().take_lines(), sender.clone());
        thread::spawn(move || {
            for line in from {
                if sender.send((index, line)).is_err() {
                    return;
                }
            }
        });
    }
    lines
}

fn contest(processes: usize) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let mut children: Vec<Option<Running>> =
        (0..processes).map(|_| Some(Running::start(command("fight", &path, LIFE)))).collect();
    let lines = listen(&mut children);
    let mut winners = Vec::new();
    while winners.len() < processes {
        let (mut holder, mut locked) = (None, vec![0; processes]);
        // Every other process is refused twice while the lock is held.
        loop {
            let (from, line) = lines.recv_timeout(Duration::from_secs(60)).unwrap();
            match line.split_once(' ') {
                Some(("won", version)) => {
                    assert_eq!(holder, None, "{from} has it too");
                    assert!(!winners.contains(&from));
                    assert_eq!(version, (winners.len() + 1).to_string());
                    holder = Some(from);
                    locked.fill(0);
                }
                None if line == "locked" => locked[from] += 1,
                _ => {}
            }
            let others = |index: &usize| !winners.contains(index) && Some(*index) != holder;
            if holder.is_some() && (0..processes).filter(others).all(|index| locked[index] >= 2) {
                break;
            }
        }
        let mine = Options::new().open(&path);
        assert!(matches!(mine, Err(Error::Locked { .. })), "{mine:?}");
        let holder = holder.unwrap();
        winners.push(holder);
        children[holder].take().unwrap().kill(|_| {});
    }
    let store = Options::new().open(&path).unwrap();
    assert_eq!(store.head().get(), processes as u64);
    drop(store);
    assert_eq!(annals::verify(&path, |_| {}).unwrap().faults, []);
}

#[test]
fn one_of_two_processes_holds_the_lock_until_it_is_killed() {
    contest(2);
}

#[test]
fn one_of_eight_processes_holds_the_lock_until_it_is_killed() {
    contest(8);
}
