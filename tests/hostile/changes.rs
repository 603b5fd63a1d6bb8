//! Files that another program changes while the store is open. This is outside the contract, and
//! still gives a typed error, the right bytes, or `SIGBUS` for a mapped file that was cut. A change
//! after verification is detected with `Checksums::Always` only.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use annals::{Error, Position, Store};

use super::support::*;

const STORE: &str = "ANNALS_TEST_HOSTILE_CUT_STORE";
const TOUCHED: &str = "ANNALS_TEST_HOSTILE_CUT_TOUCHED";
const SIGBUS: i32 = 7;

fn cut(path: &Path, len: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

#[test]
fn file_cut_before_its_first_read_is_an_error() {
    let place = Place::filled();
    let store = place.open().unwrap();
    // No byte of the sealed segment has been read yet.
    cut(&place.at(SEALED), 16_384);
    let mut errors = 0;
    for position in 1..=6 {
        match store.event_at(Position::new(position)) {
            Ok(event) => assert_eq!(event.unwrap().position().get(), position),
            Err(Error::Corrupt { file, .. }) => {
                assert_eq!(file, place.at(SEALED));
                errors += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(errors > 0, "the events that were cut off cannot be there");
    assert!(read_back(&store).unwrap_err().is_store_damage());
}

/// The child process, not a test: reads, cuts the file that it has read, and reads again.
#[test]
fn child_process_reads_a_file_that_it_cuts() {
    let Some(root) = std::env::var_os(STORE) else { return };
    let touched = std::env::var(TOUCHED).is_ok_and(|it| it == "yes");
    let store = options().read_only(true).open(&root).unwrap();
    if touched {
        assert_eq!(read_back(&store).unwrap(), EVENTS);
    }
    cut(&Path::new(&root).join(SEALED), 0);
    // If other bytes are returned, the child panics and exits with another status.
    match read_back(&store) {
        Ok(_) => panic!("what was cut off was read"),
        Err(error) => assert!(error.is_store_damage(), "{error:?}"),
    }
}

#[test]
fn mapped_file_that_is_cut_is_an_error_or_sigbus_and_never_other_bytes() {
    for (touched, may_be_killed) in [("no", false), ("yes", true)] {
        let place = Place::filled();
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "changes::child_process_reads_a_file_that_it_cuts",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(STORE, place.path())
            .env(TOUCHED, touched)
            .output()
            .unwrap();
        let killed = output.status.signal() == Some(SIGBUS);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() || (killed && may_be_killed), "{touched}: {said}");
        // The rest is refused: acknowledged bytes are missing.
        assert!(place.open().unwrap_err().is_store_damage());
    }
}

#[test]
fn bytes_appended_to_a_sealed_segment_are_ignored() {
    let place = Place::filled();
    let store = place.open().unwrap();
    let sealed = OpenOptions::new().append(true).open(place.at(SEALED)).unwrap();
    std::io::Write::write_all(&mut &sealed, &[0xAA; 10_000]).unwrap();
    assert_eq!(read_back(&store).unwrap(), EVENTS);
    append(&store, EVENTS + 1).unwrap();
    store.close().unwrap();
    // The file does not end with a seal any more, but has all frames: it is sealed again.
    goes_on_with("a sealed segment that grew", &place, EVENTS + 1);
}

#[test]
fn event_overwritten_before_its_verification_is_an_error() {
    let place = Place::filled();
    let store = place.open().unwrap();
    let sealed = OpenOptions::new().write(true).open(place.at(SEALED)).unwrap();
    sealed.write_all_at(&[0xAA; 64], 30_000).unwrap();
    assert!(read_back(&store).unwrap_err().is_store_damage());
}

#[test]
fn event_overwritten_after_its_verification_is_an_error_if_checked_always() {
    let place = Place::filled();
    let store = options().checksums(annals::Checksums::Always).open(place.path()).unwrap();
    let streams = |store: &annals::Store| {
        (0..3).try_for_each(|number| store.read_stream(format!("stream-{number}")).for_each(|_| {}))
    };
    let events =
        |store: &annals::Store| (1..=EVENTS).try_for_each(|at| store.event_at(at.into()).map(drop));
    assert_eq!(read_back(&store).unwrap(), EVENTS);
    streams(&store).unwrap();
    events(&store).unwrap();
    let sealed = OpenOptions::new().write(true).open(place.at(SEALED)).unwrap();
    sealed.write_all_at(&[0xAA; 64], 30_000).unwrap();
    assert!(read_back(&store).unwrap_err().is_store_damage());
    assert!(streams(&store).unwrap_err().is_store_damage());
    assert!(events(&store).unwrap_err().is_store_damage());
}

#[test]
fn event_is_verified_once_by_any_kind_of_read() {
    let place = Place::filled();
    let store = place.open().unwrap();
    let proven = store.event_at(Position::new(1)).unwrap().unwrap();
    let sealed = OpenOptions::new().write(true).open(place.at(SEALED)).unwrap();
    sealed.write_all_at(&[0xAA; 64], 12_000).unwrap();
    sealed.write_all_at(&[0xAA; 64], 30_000).unwrap();
    // The first event was read before the change, the third was not.
    let again = store.event_at(Position::new(1)).unwrap().unwrap();
    assert_eq!(again.data(), proven.data());
    assert!(store.event_at(Position::new(3)).unwrap_err().is_store_damage());
}

#[test]
fn store_goes_on_in_its_renamed_directory() {
    let place = Place::filled();
    let store = place.open().unwrap();
    let elsewhere = place.around().join("elsewhere");
    std::fs::rename(place.path(), &elsewhere).unwrap();
    for number in EVENTS + 1..=EVENTS + 20 {
        append(&store, number).unwrap();
    }
    assert_eq!(read_back(&store).unwrap(), EVENTS + 20);
    store.close().unwrap();
    assert!(!place.path().exists());
    let moved = Store::open(&elsewhere).unwrap();
    assert_eq!(read_back(&moved).unwrap(), EVENTS + 20);
}

#[test]
fn store_of_a_removed_directory_fails_and_read_events_stay_valid() {
    let place = Place::filled();
    let store = place.open().unwrap();
    let event = store.event_at(Position::new(1)).unwrap().unwrap();
    assert_eq!(read_back(&store).unwrap(), EVENTS);
    std::fs::remove_dir_all(place.path()).unwrap();
    let failed = (EVENTS + 1..EVENTS + 20).find_map(|number| append(&store, number).err());
    assert!(matches!(failed, Some(Error::StoreGone { .. })), "{failed:?}");
    assert_eq!(event.data().len(), 9_000);
    assert!(!place.path().exists());
}

fn goes_on_with(name: &str, place: &Place, events: u64) {
    let store = place.open().unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert_eq!(read_back(&store).unwrap(), events, "{name}");
    store.close().unwrap();
    let report = annals::verify(place.path(), |_| {}).unwrap();
    assert_eq!(report.faults, [], "{name}");
}
