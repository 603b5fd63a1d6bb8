//! A writer in a child process that is killed, followed by a reader, and competed with for its
//! lock.
//!
//! The child is this test binary, run again with an environment variable that makes it write.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use annals::{Error, ExpectedVersion, NewEvent, Uuid};

use super::support::{Place, check_prefix};

const WRITE_TO: &str = "ANNALS_TEST_CHILD_WRITES_TO";

/// The child process, not a test: appends from several threads until it is killed, and prints each
/// acknowledged position.
#[test]
fn child_process_appends_until_it_is_killed() {
    let Ok(path) = std::env::var(WRITE_TO) else { return };
    let options = annals::Options::new().segment_size(annals::Options::MIN_SEGMENT_SIZE);
    let store = options.open(path).unwrap();
    let start = store.head().get();
    thread::scope(|scope| {
        for thread in 0..3_u64 {
            let store = &store;
            scope.spawn(move || {
                for round in 0.. {
                    // The data of each event holds the number of its id and the size of its commit.
                    let number = (start << 32) + (thread << 28) + round * 4;
                    let event = |i: u64| {
                        let id = Uuid::from_u128(u128::from(number + i) + (1 << 90));
                        let size = usize::try_from(round % 7 * 150).unwrap();
                        NewEvent::new("Acknowledged", vec![(number + i) as u8; size]).id(id)
                    };
                    let last = if round % 3 == 0 {
                        let transaction = store
                            .transaction()
                            .append(
                                format!("a-{thread}"),
                                ExpectedVersion::Any,
                                [event(0), event(1)],
                            )
                            .append("b", ExpectedVersion::Any, [event(2)]);
                        transaction.commit().unwrap().last_position
                    } else {
                        store.append("b", ExpectedVersion::Any, [event(0)]).unwrap().last_position
                    };
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "ack {last} {number}").unwrap();
                    out.flush().unwrap();
                }
            });
        }
    });
}

struct Writer {
    child: Child,
    lines: BufReader<ChildStdout>,
    acknowledged: Vec<(u64, u64)>,
}

impl Writer {
    fn start(place: &Place) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "processes::child_process_appends_until_it_is_killed",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(WRITE_TO, place.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines, acknowledged: Vec::new() }
    }

    /// Reads acknowledgements up to a number of them or to the end of the output.
    fn read_to(&mut self, count: usize) {
        let mut line = String::new();
        while self.acknowledged.len() < count {
            line.clear();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return;
            }
            // A line that the kill has cut short does not count.
            let mut words = line.strip_suffix('\n').unwrap_or("").split(' ');
            if let (Some("ack"), Some(position), Some(number)) =
                (words.next(), words.next(), words.next())
            {
                self.acknowledged.push((position.parse().unwrap(), number.parse().unwrap()));
            }
        }
    }

    fn kill(mut self) -> Vec<(u64, u64)> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.read_to(usize::MAX);
        std::mem::take(&mut self.acknowledged)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn killed_writer_loses_nothing_acknowledged() {
    let place = Place::new();
    let mut all = Vec::new();
    for round in 0..8 {
        let mut writer = Writer::start(&place);
        writer.read_to(1 + round * 37 % 200);
        all.extend(writer.kill());
        let store = place.open();
        let head = check_prefix(&store).unwrap();
        for (position, number) in &all {
            assert!(*position <= head, "{position} was acknowledged, the head is {head}");
            let event = store.event(Uuid::from_u128(u128::from(*number) + (1 << 90))).unwrap();
            let event = event.unwrap_or_else(|| panic!("event {number} is lost"));
            assert!(event.position().get() <= *position);
            assert!(event.data().iter().all(|&byte| byte == *number as u8));
        }
        // The next child continues this store, whether or not it was closed.
        store.append("between", ExpectedVersion::Any, [NewEvent::new("Between", "")]).unwrap();
        if round % 2 == 0 {
            store.close().unwrap();
        }
    }
    assert!(all.len() > 200, "only {} acknowledgements", all.len());
    let report = annals::verify(place.path(), |_| {}).unwrap();
    assert_eq!(report.faults, []);
}

#[test]
fn follower_sees_a_growing_prefix_and_every_acknowledged_commit() {
    let place = Place::new();
    place.open().close().unwrap();
    let mut writer = Writer::start(&place);
    writer.read_to(1);
    let options = Place::options().read_only(true);
    let follower = options.clone().open(place.path()).unwrap();
    let locked = Place::options().open(place.path());
    let Err(Error::Locked { holder, .. }) = locked else { panic!("{locked:?}") };
    if cfg!(target_os = "linux") {
        assert_eq!(holder, Some(writer.child.id()), "the process that holds the lock");
    }
    let (mut head, mut count) = (0, 1);
    for round in 0..12 {
        count += 40;
        writer.read_to(count);
        let acknowledged = writer.acknowledged.iter().map(|(position, _)| *position).max().unwrap();
        let found = check_prefix(&follower).unwrap();
        assert!(found >= head.max(acknowledged), "{found} after {head} and {acknowledged}");
        head = found;
        let (position, number) = writer.acknowledged[count / 2];
        let event = follower.event(Uuid::from_u128(u128::from(number) + (1 << 90))).unwrap();
        assert!(event.is_some_and(|event| event.position().get() <= position));
        let refused = follower.append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]);
        assert!(matches!(refused, Err(Error::ReadOnly)), "{refused:?}");
        if round % 4 == 3 {
            // A reader that is opened now sees the same.
            let late = options.clone().open(place.path()).unwrap();
            assert!(check_prefix(&late).unwrap() >= head);
        }
    }
    assert!(follower.wait_for((head + 50).into(), Duration::from_secs(60)).unwrap());
    let acknowledged = writer.kill().iter().map(|(position, _)| *position).max().unwrap();
    // After the writer's end, its acknowledged commits can still be read.
    assert!(check_prefix(&follower).unwrap() >= acknowledged);
    assert!(follower.stats().segments > 2, "{:?}", follower.stats());
}
