//! Errors about JSON name the event.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::ops::ControlFlow;

use annals::{Error, ExpectedVersion, NewEvent, Position, Store};

#[test]
fn data_that_is_not_the_json_asked_for_is_named_by_its_event() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let event = |value: &[u64]| NewEvent::json("Counted", value).unwrap();
    store.append("other", ExpectedVersion::Any, [event(&[1]), event(&[2])]).unwrap();
    store.append("counts", ExpectedVersion::Any, [event(&[3])]).unwrap();
    store.append("counts", ExpectedVersion::Any, [NewEvent::new("Torn", "[4,")]).unwrap();

    let check = |error: Error| {
        let Error::ReadJson { stream, version, event_type, position, source } = &error else {
            panic!("{error:?}");
        };
        assert_eq!((stream.as_str(), *version), ("counts", 2));
        assert_eq!((event_type.as_str(), *position), ("Torn", Position::new(4)));
        assert!(source.is_eof());
        let text = error.to_string();
        for part in ["event 4", "\"Torn\"", "version 2", "\"counts\"", "EOF"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(error.source().is_some());
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

    // JSON of another shape.
    let event = store.event_at(Position::new(1)).unwrap().unwrap();
    assert_eq!(event.json::<Vec<u64>>().unwrap(), [1]);
    let error = event.json::<BTreeMap<String, u64>>().unwrap_err();
    assert!(matches!(error, Error::ReadJson { version: 1, .. }), "{error:?}");
}

#[test]
fn value_that_is_no_json_is_named_by_its_type() {
    let by_pair = BTreeMap::from([((1, 2), 3)]);
    let error = NewEvent::json("Mapped", &by_pair).unwrap_err();
    assert!(matches!(&error, Error::WriteJson { event_type, .. } if event_type == "Mapped"));
    assert!(error.to_string().contains("\"Mapped\""), "{error}");
}
