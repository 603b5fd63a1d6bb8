//! A short test of appending, reading, verifying and reopening.

use annals::*;

#[test]
fn appended_events_are_read_back_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    for round in 0..3_u64 {
        let store = Options::new().segment_size(64 << 10).open(&path).unwrap();
        for i in 0..200_u64 {
            let done = store
                .append(
                    format!("s-{}", i % 7),
                    ExpectedVersion::Any,
                    [NewEvent::new("T", vec![7; 100]), NewEvent::new("U", "x").tag("a")],
                )
                .unwrap();
            assert_eq!(done.last_position.get(), round * 400 + i * 2 + 2);
        }
        let all: Vec<_> = store.read_all().into_iter().collect::<Result<_>>().unwrap();
        assert_eq!(all.len() as u64, (round + 1) * 400);
        for (event, expected) in all.iter().zip(1..) {
            assert_eq!(event.position().get(), expected);
        }
        let mut n = 0;
        for s in 0..7 {
            let mut version = 0;
            for event in store.read_stream(format!("s-{s}")) {
                version += 1;
                assert_eq!(event.unwrap().version(), version);
                n += 1;
            }
        }
        assert_eq!(n, (round + 1) * 400);
        let stats = store.stats();
        assert_eq!((stats.events, stats.streams), ((round + 1) * 400, 7));
        store.close().unwrap();
        let report = verify(&path, |_| {}).unwrap();
        assert_eq!(report.faults, []);
        assert_eq!(report.events, (round + 1) * 400);
    }
    let store = Options::new().segment_size(64 << 10).open(&path).unwrap();
    assert_eq!(*store.opened(), Opened::Clean);
}
