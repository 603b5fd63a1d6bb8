//! Read-only followers in this process, beside a writer in another process that is killed and
//! started again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use annals::{Error, ExpectedVersion, NewEvent, Options, Store};

use super::life::child::Running;
use super::life::ledger::{Following, Placed};
use super::life::rounds::{Lives, Tally};

const PATIENCE: Duration = Duration::from_secs(60);

/// Follows until `done`, by reading on from the last position; returns everything it saw.
fn follow(store: &Store, done: &AtomicBool, seen: &AtomicU64) -> Vec<Placed> {
    let mut following = Following::default();
    let mut commits = Vec::new();
    loop {
        // Checked before the read, so that the last read comes after the end.
        let last = done.load(Ordering::Acquire);
        let events = store.read_all().after(following.position).start().unwrap();
        let head = events.head().get();
        for event in events {
            commits.extend(following.take(event.unwrap()));
        }
        assert!(following.position >= head, "{} of {head}", following.position);
        assert!(following.is_whole(), "half a commit is visible, up to {head}");
        seen.store(following.position, Ordering::Release);
        if last {
            return commits;
        }
        let next = following.position + 1;
        store.wait_for(next.into(), Duration::from_millis(20)).unwrap();
    }
}

/// Asserts that the writer has made visible what the follower has seen.
fn ask(running: &mut Running, lives: &mut Lives, seen: &AtomicU64) {
    let seen = seen.load(Ordering::Acquire);
    running.ask();
    running.hear_until(|line| {
        lives.ledger.hear(line);
        let Some(head) = line.strip_prefix("head ") else { return false };
        let head: u64 = head.parse().unwrap();
        assert!(seen <= head, "a follower saw {seen}, the writer shows {head}");
        true
    });
}

/// Ends the followers, also if the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Followers see whole commits, in order, each once; nothing that the writer has not made visible;
/// everything acknowledged, soon; and they go on after the writer's death. One follower begins
/// before the first death, and one after it.
#[test]
fn followers_outlive_the_writers_they_follow() {
    println!("seed 7");
    let dir = tempfile::tempdir().unwrap();
    let mut lives = Lives::new(dir.path().join("store"), 7);
    let first = lives.start(true);
    first.hear_until(|line| line.starts_with("ack "));
    let options = Options::new().read_only(true);
    let follower = options.clone().open(&lives.path).unwrap();
    let (done, seen, seen_late) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        let end = End(&done);
        let early = scope.spawn(|| follow(&follower, &done, &seen));
        first.kill(|line| lives.ledger.hear(line));
        let late = options.open(&lives.path).unwrap();
        let late = {
            let (done, seen) = (&done, &seen_late);
            scope.spawn(move || follow(&late, done, seen))
        };
        for round in 0..10 {
            let mut running = lives.start(true);
            let before = lives.ledger.acknowledged() as u64;
            let more = 20 + lives.random.below(200);
            for asked in 1..=4 {
                let ledger = &mut lives.ledger;
                running.hear_until(|line| {
                    ledger.hear(line);
                    ledger.acknowledged() as u64 >= before + more * asked / 4
                });
                ask(&mut running, &mut lives, &seen);
                ask(&mut running, &mut lives, &seen_late);
                // The work of a running writer is no damage.
                lives.verify();
            }
            running.kill(|line| lives.ledger.hear(line));
            let last = lives.ledger.last_acknowledged();
            assert!(follower.wait_for(last.into(), PATIENCE).unwrap(), "round {round}: {last}");
            let refused = follower.append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]);
            assert!(matches!(refused, Err(Error::ReadOnly)), "{refused:?}");
        }
        drop(end);
        let (early, late) = (early.join().unwrap(), late.join().unwrap());
        let mut tally = Tally::default();
        lives.open_and_check(&mut tally);
        assert_eq!(lives.ledger.found(), early);
        assert_eq!(lives.ledger.found(), late);
        let (count, opened) = (early.len(), &lives.ledger.opened);
        println!("{count} commits followed over 11 deaths, {opened:?}");
    });
    lives.verify();
}
