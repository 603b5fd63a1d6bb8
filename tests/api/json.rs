//! Errors about JSON name the event or the type.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::ops::ControlFlow;

use annals::{Error, ExpectedVersion, NewEvent, Position, Store};

#[test]
fn data_that_is_not_the_expected_json_is_an_error_with_its_event() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let event = |value: &[u64]| NewEvent::json("Counted", value).unwrap();
    store.append("other", ExpectedVersion::Any, [event(&[1]), event(&[2])]).unwrap();
    store.append("counts", ExpectedVersion::Any, [event(&[3])]).unwrap();
    store.append("counts", ExpectedVersion::Any, [NewEvent::new("Torn", "[4,")]).unwrap();

    let check = |error: Error| {
        let Error::ReadJson { part, stream, version, event_type, position, source } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(*part, "data");
        assert_eq!((stream.as_str(), *version), ("counts", 2));
        assert_eq!((event_type.as_str(), *position), ("Torn", Position::new(4)));
        assert!(source.is_eof());
        let text = error.to_string();
        for part in ["event 4", "\"Torn\"", "version 2", "\"counts\""] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        // The cause is not repeated in the text, since a report of the whole chain prints it.
        assert!(!text.contains("EOF"), "{text}");
        assert!(error.source().unwrap().to_string().contains("EOF"));
    };
    let torn = store.event_at(Position::new(4)).unwrap().unwrap();
    check(torn.json::<Vec<u64>>().unwrap_err());
    let mut failed = None;
    let read = store.read_stream("counts").try_for_each(|event| match event.json::<Vec<u64>>() {
        Ok(_) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    });
    assert!(read.unwrap().is_break());
    check(failed.unwrap());

    // Valid JSON of another shape.
    let event = store.event_at(Position::new(1)).unwrap().unwrap();
    assert_eq!(event.json::<Vec<u64>>().unwrap(), [1]);
    let error = event.json::<BTreeMap<String, u64>>().unwrap_err();
    assert!(matches!(error, Error::ReadJson { version: 1, .. }), "{error:?}");
}

#[test]
fn value_that_cannot_be_json_is_an_error_with_its_type() {
    let by_pair = BTreeMap::from([((1, 2), 3)]);
    let error = NewEvent::json("Mapped", &by_pair).unwrap_err();
    assert!(matches!(&error, Error::WriteJson { event_type, .. } if event_type == "Mapped"));
    assert!(error.to_string().contains("\"Mapped\""), "{error}");
}

#[test]
fn json_metadata_is_read_back_or_is_an_error_with_its_event() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let by = BTreeMap::from([("by", "ann")]);
    let events = [
        NewEvent::new("Opened", "").metadata_json(&by).unwrap(),
        NewEvent::new("Closed", "").metadata("ann"),
    ];
    store.append("account-1", ExpectedVersion::Any, events).unwrap();
    let opened = store.event_at(Position::new(1)).unwrap().unwrap();
    assert_eq!(opened.metadata_json::<BTreeMap<&str, &str>>().unwrap(), by);
    let closed = store.event_at(Position::new(2)).unwrap().unwrap();
    let error = closed.metadata_json::<BTreeMap<&str, &str>>().unwrap_err();
    let Error::ReadJson { part: "metadata", version: 2, .. } = &error else { panic!("{error:?}") };
    assert!(error.to_string().starts_with("the metadata of event 2"), "{error}");
}

#[test]
fn generated_ids_differ_and_are_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let ids: Vec<_> = (0..100).map(|_| store.new_id()).collect();
    assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), 100);
    let events = ids.iter().map(|id| NewEvent::new("Opened", "").id(*id));
    store.append("account-1", ExpectedVersion::Any, events).unwrap();
    let last = store.read_stream("account-1").backwards().into_iter().next().unwrap().unwrap();
    assert_eq!(last.id(), ids[99]);
    assert_eq!(last.id().get_version_num(), 7);
}
