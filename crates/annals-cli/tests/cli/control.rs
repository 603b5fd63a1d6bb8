//! Changes beside a live service that offers a control socket.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use annals::Store;
use annals::snapshot::Snapshot;
use annals_control::Control;

use super::support::{Scratch, import, lines, run};

#[test]
fn service_with_a_control_socket_makes_the_changes() {
    let scratch = Scratch::new();
    let path = scratch.store("s");
    import(&path, lines(1..22)).ok();
    let service = Store::open(&path).unwrap();
    service.snapshots().save(&Snapshot::new("s-1", 2, b"state".to_vec())).unwrap();
    let set = ["cursor", "set", &path, "emailer", "7"];
    run(&set).fails(1, "open for writing elsewhere");
    let control = Control::start(&service).unwrap();
    run(&set).ok();
    assert_eq!(service.cursors().get("emailer").unwrap().unwrap().get(), 7);
    run(&["cursor", "set", &path, "emailer", "3"]).fails(1, "(use --reset to allow it)");
    run(&["cursor", "set", &path, "emailer", "3", "--reset"]).ok();
    run(&["cursor", "delete", &path, "emailer"]).ok();
    assert_eq!(service.cursors().get("emailer").unwrap(), None);
    let info = || service.stream_info("s-1").unwrap().unwrap();
    run(&["stream", "truncate", &path, "s-1", "--before", "2"]).ok();
    assert_eq!(info().first_version, 2);
    run(&["stream", "archive", &path, "s-1"]).ok();
    assert!(info().archived);
    run(&["stream", "unarchive", &path, "s-1"]).ok();
    run(&["stream", "metadata", &path, "s-1", "--max-age", "1h", "--max-count", "1"]).ok();
    run(&["stream", "metadata", &path, "s-1", "--max-age", "none"]).ok();
    assert_eq!((info().metadata.max_age, info().metadata.max_count), (None, Some(1)));
    run(&["snapshot", "delete", &path, "s-1"]).ok();
    run(&["snapshot", "delete", &path, "s-1"]).fails(1, "there is no snapshot of");
    // Events are none of the socket's business.
    run(&["append", &path, "s-1", "T"]).fails(1, "open for writing elsewhere");
    control.stop();
    run(&set).fails(1, "annals_control::Control");
    service.close().unwrap();
    run(&set).ok();
}
