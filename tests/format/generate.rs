//! Writes the golden files that are missing. They are written once and never change; a format
//! version 2 gets a directory of its own.

use std::fs;
use std::path::Path;

use annals::{
    ContentType, ExpectedRecord, ExpectedVersion, NewEvent, Options, Store, StreamMetadata, Uuid,
};

use crate::support::{GOLDEN, golden, ndjson, open};

#[test]
#[ignore = "writes golden files"]
fn missing_golden_files_are_written() {
    let writers: [fn(&Path); 12] = [
        write_basic,
        write_sealed,
        write_metadata,
        write_long,
        write_records,
        write_extended,
        write_heads,
        write_record_table,
        write_record_hashes,
        write_plain_records,
        write_large_records,
        write_cursor_times,
    ];
    for (name, write) in GOLDEN.iter().zip(writers) {
        let path = golden(name);
        if path.exists() {
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        write(&path);
        let store = open(&path);
        fs::write(golden(&format!("{name}.ndjson")), ndjson(&store)).unwrap();
        store.close().unwrap();
        for name in ["LOCK", "STATUS"] {
            fs::remove_file(path.join(name)).unwrap();
        }
    }
    crate::hexdump::write_into_the_specification();
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0000 | number)
}

fn json(event_type: &str, data: &str) -> NewEvent {
    NewEvent::new(event_type, data).content_type(ContentType::Json)
}

/// A list of more than 1024 ordinals in an index file, and a stream with shortcuts in a checkpoint.
fn write_long(path: &Path) {
    let store = Options::new().segment_size(96 << 10).open(path).unwrap();
    let mut number = 1;
    let mut append = || {
        let events = (number..number + 30).map(|number| NewEvent::new("T", "").id(id(number)));
        store.append("l-1", ExpectedVersion::Any, events).unwrap();
        number += 30;
    };
    while store.stats().segments < 2 {
        append();
    }
    append();
    store.close().unwrap();
}

fn write_basic(path: &Path) {
    let store = open(path);
    let opened = json("AccountOpened", r#"{"initialDeposit":1000}"#)
        .metadata(r#"{"by":"ann"}"#)
        .tag("owner:42")
        .schema_version(1)
        .id(id(1));
    store.append("account-1", ExpectedVersion::NoStream, [opened]).unwrap();
    store.close().unwrap();

    let store = open(path);
    second_session(&store);
    store.close().unwrap();

    let store = open(path);
    third_session(&store);
    store.close().unwrap();
}

fn second_session(store: &Store) {
    let debited = json("MoneyDebited", r#"{"amount":250}"#).tags(["transfer:7", "owner:42"]);
    let opened = json("AccountOpened", r#"{"initialDeposit":0}"#).tag("owner:43").schema_version(1);
    let credited = json("MoneyCredited", r#"{"amount":250}"#).tags(["transfer:7", "owner:43"]);
    store
        .transaction()
        .append("account-1", ExpectedVersion::Exact(1), [debited.id(id(2))])
        .append("account-2", ExpectedVersion::NoStream, [opened.id(id(3)), credited.id(id(4))])
        .check("fx-rates", ExpectedVersion::NoStream)
        .commit()
        .unwrap();
    let every_byte: Vec<u8> = (0..=255).collect();
    let events = [
        NewEvent::new("Stored", &every_byte).metadata(vec![0, 255, 128]).id(id(5)),
        NewEvent::new("Emptied", "").id(id(6)),
        NewEvent::new("Touched", [0; 9].as_slice()).metadata("").schema_version(u16::MAX).id(id(7)),
    ];
    store.append("blob", ExpectedVersion::Any, events).unwrap();
}

fn third_session(store: &Store) {
    let named = json("Größe✓", "{\n\t\"größe\": \"\\u00e9 \\\" 🦀\"\n}")
        .tags(["farbe:grün", "名前", "farbe:grün"])
        .id(id(8));
    store.append("größe-日本-🦀", ExpectedVersion::Any, [named]).unwrap();
    let tags = (0..64).map(|number| format!("tag-{number}"));
    let longest = NewEvent::new("T".repeat(255), "x").tags(tags).id(id(9));
    store.append("s".repeat(1024), ExpectedVersion::Any, [longest]).unwrap();
    let not_json = NewEvent::new("Claimed", vec![0xFF, 0xFE]).content_type(ContentType::Json);
    let flags =
        [not_json.tag("t".repeat(255)), json("Claimed", ""), json("Claimed", "\u{1}\u{7f}")];
    let flags = flags.into_iter().zip(10..).map(|(event, number)| event.id(id(number)));
    store.append("-", ExpectedVersion::NoStream, flags).unwrap();
    // The store generates the id.
    store.append("account-1", ExpectedVersion::StreamExists, [json("Closed", "null")]).unwrap();
}

/// Two sealed segments and an active one.
fn write_sealed(path: &Path) {
    let store = open(path);
    let mut number = 1000_u128;
    while store.stats().sealed_segments < 2 {
        let streams = ["user", "order", "audit", "sensor"];
        let mut transaction = store.transaction();
        for part in 0..=number % 3 {
            let name = streams[usize::try_from((number + part) % 4).unwrap()];
            let stream = format!("{name}-{}", (number * 7 + part) % 23);
            let event = if number.is_multiple_of(5) {
                NewEvent::new("Measured", vec![u8::try_from(number % 251).unwrap(); 500])
            } else {
                json("Changed", &format!(r#"{{"n":{number},"text":"{}"}}"#, "abc".repeat(120)))
            };
            let event = event.tag(format!("batch:{}", number / 50)).tag(format!("part:{part}"));
            transaction = transaction.append(stream, ExpectedVersion::Any, [event.id(id(number))]);
            number += 1;
        }
        transaction.commit().unwrap();
    }
    store.close().unwrap();
    let store = open(path);
    let last = NewEvent::new("Last", "after two sealed segments").id(id(9999));
    store.append("user-1", ExpectedVersion::Any, [last]).unwrap();
    store.close().unwrap();
}

/// Cursors and hidden streams, in a sealed segment and an active one.
fn write_metadata(path: &Path) {
    let store = open(path);
    let mut number = 1_u128;
    while store.stats().sealed_segments < 1 {
        let event = NewEvent::new("Measured", vec![7; 900]).id(id(number));
        let stream = format!("sensor-{}", number % 5);
        let done = store
            .transaction()
            .append(stream, ExpectedVersion::Any, [event])
            .reset_cursor(format!("reader-{}", number % 3), u64::try_from(number).unwrap() - 1)
            .commit()
            .unwrap();
        if number == 20 {
            store.truncate_before("sensor-0", 3).unwrap();
            store.archive("sensor-1").unwrap();
            store.cursors().advance("größe", done.last_position).unwrap();
        }
        number += 1;
    }
    store.close().unwrap();
    let store = open(path);
    store.set_stream_metadata("sensor-2", StreamMetadata::new().max_count(4)).unwrap();
    store.unarchive("sensor-1").unwrap();
    store.archive("sensor-3").unwrap();
    store.cursors().delete("reader-1").unwrap();
    store.close().unwrap();
}

/// Records in a sealed segment and an active one, put and deleted, alone and beside events and cursors.
fn write_records(path: &Path) {
    let store = open(path);
    let mut number = 1_u128;
    while store.stats().sealed_segments < 1 {
        let event = NewEvent::new("Measured", vec![7; 900]).id(id(number));
        store
            .transaction()
            .append("sensor-1", ExpectedVersion::Any, [event])
            .put("sum/größe", number.to_string(), ExpectedRecord::Any)
            .put(format!("view/{}", number % 5), vec![3; 40], ExpectedRecord::Any)
            .commit()
            .unwrap();
        if number == 20 {
            store.records().delete("view/1", ExpectedRecord::Exists).unwrap();
            store.records().put("once", "", ExpectedRecord::NoRecord).unwrap();
            store.cursors().advance("reader", 7).unwrap();
        }
        number += 1;
    }
    store.close().unwrap();
    let store = open(path);
    store.records().put("once", vec![255; 3000], ExpectedRecord::Exact(1)).unwrap();
    store.records().put("new", "1", ExpectedRecord::NoRecord).unwrap();
    store.records().delete("view/2", ExpectedRecord::Exists).unwrap();
    store.close().unwrap();
}

/// Events without a type, with empty, long and many tags, and with given and generated ids, in a sealed
/// segment and an active one.
fn write_extended(path: &Path) {
    let store = open(path);
    let events = |number: u128| {
        let plain = json("Measured", &format!(r#"{{"n":{number}}}"#));
        let long = "l".repeat(300);
        [
            NewEvent::new("", "no type").id(id(number)),
            plain.clone().tags(["", "", "x"]).id(id(number + 1)),
            plain.clone().tags([&*long, "", "größe"]),
            plain.tags((0..70).map(|tag| format!("n{tag}"))).id(id(number + 2)),
        ]
    };
    let mut number = 1;
    while store.stats().sealed_segments < 1 {
        store.append("sensor-1", ExpectedVersion::Any, events(number)).unwrap();
        store.append("filler", ExpectedVersion::Any, [NewEvent::new("F", vec![7; 2900])]).unwrap();
        number += 3;
    }
    store.append("sensor-2", ExpectedVersion::NoStream, events(number)).unwrap();
    store.close().unwrap();
}

/// Streams that end in a level file, in an index file, and in the segment that a checkpoint ends in.
fn write_heads(path: &Path) {
    let store = open(path);
    let mut number = 1_u128;
    let mut fill = |streams: u128, sealed: u64| {
        while store.stats().sealed_segments < sealed {
            let stream = format!("order-{}", number % streams);
            let event = NewEvent::new("Placed", vec![7; 1900]).id(id(number));
            store.append(stream, ExpectedVersion::Any, [event]).unwrap();
            number += 1;
        }
    };
    fill(40, 2);
    store.compact().unwrap();
    fill(20, 3);
    for (stream, number) in [("order-7", 1000), ("order-new", 1001)] {
        let event = NewEvent::new("Placed", "1").id(id(number));
        store.append(stream, ExpectedVersion::Any, [event]).unwrap();
    }
    store.close().unwrap();
}

/// Records in an index file, in a checkpoint, and in both.
fn write_record_table(path: &Path) {
    let store = open(path);
    let mut number = 1_u128;
    while store.stats().sealed_segments < 1 {
        let event = NewEvent::new("Measured", vec![7; 4000]).id(id(number));
        store.append("sensor-1", ExpectedVersion::Any, [event]).unwrap();
        let key = format!("view/{}", number % 3);
        store.records().put(&key, number.to_string(), ExpectedRecord::Any).unwrap();
        number += 1;
    }
    for key in ["view/1", "view/3", "sum/größe", "view/4"] {
        store.records().put(key, vec![3; 40], ExpectedRecord::Any).unwrap();
    }
    store.records().delete("view/4", ExpectedRecord::Exists).unwrap();
    store.close().unwrap();
}

/// Records in a level file, in an index file, and in both.
fn write_record_hashes(path: &Path) {
    let store = open(path);
    let mut number = 1_u64;
    let mut fill = |sealed: u64, keys: [u64; 2]| {
        while store.stats().sealed_segments < sealed {
            let event = NewEvent::new("Measured", vec![7; 6000]).id(id(number.into()));
            store.append("sensor-1", ExpectedVersion::Any, [event]).unwrap();
            let [first, count] = keys;
            let key = format!("view/größe-{}", first + number % count);
            store.records().put(&key, number.to_string(), ExpectedRecord::Any).unwrap();
            number += 1;
        }
    };
    fill(2, [0, 20]);
    store.compact().unwrap();
    fill(3, [15, 9]);
    store.records().delete("view/größe-2", ExpectedRecord::Exists).unwrap();
    store.close().unwrap();
}

/// A segment that takes a record with a value over 64 KiB but for its features: by a version before those.
fn write_plain_records(path: &Path) {
    let store = Options::new().segment_size(272 << 10).open(path).unwrap();
    store.append("sensor-1", ExpectedVersion::Any, [json("Measured", "1").id(id(1))]).unwrap();
    store.records().put("view/1", "1", ExpectedRecord::NoRecord).unwrap();
    store.close().unwrap();
}

/// Records with values over 64 KiB, one of them replaced by a short one.
fn write_large_records(path: &Path) {
    let store = Options::new().segment_size(288 << 10).open(path).unwrap();
    store.append("sensor-1", ExpectedVersion::Any, [json("Measured", "1").id(id(1))]).unwrap();
    store.records().put("view/1", vec![3; (64 << 10) + 1], ExpectedRecord::NoRecord).unwrap();
    store.records().put("view/2", vec![5; 70_000], ExpectedRecord::NoRecord).unwrap();
    store.records().put("view/2", "short", ExpectedRecord::Exists).unwrap();
    store.close().unwrap();
}

/// Cursors whose last moves are in a sealed segment, in the active one, and both.
fn write_cursor_times(path: &Path) {
    let store = open(path);
    let mut number = 1_u128;
    while store.stats().sealed_segments < 1 {
        let event = NewEvent::new("Measured", vec![7; 4_000]).id(id(number));
        let done = store.append("sensor-1", ExpectedVersion::Any, [event]).unwrap();
        if number < 3 {
            store.cursors().advance("early", done.last_position).unwrap();
        }
        number += 1;
    }
    let cursors = store.cursors();
    cursors.advance("both", 1).unwrap();
    cursors.advance("gone", 1).unwrap();
    cursors.delete("gone").unwrap();
    store.close().unwrap();
    let store = open(path);
    store.cursors().advance("both", 2).unwrap();
    store.cursors().advance("late", 3).unwrap();
    store.close().unwrap();
}
