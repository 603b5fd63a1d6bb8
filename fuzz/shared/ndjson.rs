//! NDJSON lines in both directions: a decoded line can be encoded, and decoded to the same.

use annals::{Timestamp, Uuid};
use annals_lines::{Record, cloudevents, lines};

/// Decodes a line as either format. An accepted line is encoded and decoded again.
///
/// # Panics
///
/// If that is not the same.
pub(crate) fn check(line: &[u8]) {
    for record in [lines::decode(line), cloudevents::decode(line)] {
        match record {
            Ok(record) => round_trip(&record),
            Err(bad) => assert!(!bad.what.is_empty()),
        }
    }
}

fn round_trip(record: &Record) {
    let salvaged = lines::SalvagedFrom {
        file: record.stream.clone(),
        offset: 8192,
        commit: None,
        events: Some(2),
        reason: &record.event_type,
    };
    let recorded_at = Timestamp::from_micros(record.size() as u64);
    let row = lines::Row {
        position: 7,
        stream: &record.stream,
        version: 3,
        event_type: &record.event_type,
        id: record.id.unwrap_or(Uuid::from_u128(5)),
        recorded_at: Some(recorded_at),
        commit: Some(6),
        data: &record.data,
        content_type: record.content_type,
        metadata: &record.metadata,
        tags: record.tags.iter().map(String::as_str).collect(),
        schema_version: record.schema_version,
        salvaged_from: record.id.is_none().then_some(salvaged),
    };
    let mut line = Vec::new();
    lines::encode(&row, &mut line).expect("what was read can be written");
    assert!(!line.contains(&b'\n'));
    let again = lines::decode(&line).expect("what was written can be read");
    assert_eq!(again.time(), Ok(recorded_at));
    assert_eq!(again.number(), Ok(Some(row.version)));
    let (commit, recorded_at) = (again.commit.clone(), again.recorded_at.clone());
    let version = again.version.clone();
    let expected = Record { id: Some(row.id), commit, recorded_at, version, ..record.clone() };
    assert_eq!(again, expected);
    assert_eq!(again.to_event(), expected.to_event());
}
