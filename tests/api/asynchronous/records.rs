//! Records of tasks: the calls, and listings as streams.

use annals::RecordStream;
use futures::stream::FusedStream;

use super::*;

fn value(number: u64) -> Vec<u8> {
    format!("{number}-{}", "x".repeat(100)).into_bytes()
}

/// Puts this number of records under `r/`, in commits of 100.
fn put(store: &Store, records: u64) {
    for from in (0..records).step_by(100) {
        let transaction = (from..records.min(from + 100))
            .fold(store.transaction(), |it, number| {
                it.put(format!("r/{number:05}"), value(number), ExpectedRecord::Any)
            });
        transaction.commit().unwrap();
    }
}

/// Reads a stream of records to its end.
fn drain(mut stream: RecordStream) -> (Vec<annals::Record>, Taken) {
    let read = async move {
        let mut all = Vec::new();
        while let Some(record) = stream.next().await {
            all.push(record.unwrap());
        }
        assert!(stream.is_terminated());
        all
    };
    run(read, || {})
}

#[test]
fn records_of_a_task_are_changed_and_refused_as_in_their_blocking_forms() {
    let disk = disk(&SimStorage::new(1));
    let store = options(&disk).open(ROOT).unwrap();
    fill(&store, 100);
    let records = store.records();
    block_on(async {
        assert_eq!(records.put_async("r", "1", ExpectedRecord::NoRecord).await.unwrap(), 1);
        let lost = records.put_async("r", "2", ExpectedRecord::NoRecord).await;
        assert_eq!(lost.unwrap_err().to_string(), {
            let lost = records.put("r", "2", ExpectedRecord::NoRecord);
            lost.unwrap_err().to_string()
        });
        assert_eq!(records.put_async("r", "2", ExpectedRecord::Exact(1)).await.unwrap(), 2);
        assert_eq!(records.get_async("r").await.unwrap(), records.get("r").unwrap());
        assert_eq!(records.get_async("r").await.unwrap().unwrap().version, 2);
        assert_eq!(records.get_async("unknown").await.unwrap(), None);
        assert!(records.delete_async("r", ExpectedRecord::Exact(1)).await.is_err());
        records.delete_async("r", ExpectedRecord::Exact(2)).await.unwrap();
        assert_eq!(records.get_async("r").await.unwrap(), None);
        let invalid = records.get_async("").await;
        assert!(matches!(invalid, Err(Error::InvalidArgument { what: "key", .. })));
        let long = "k".repeat(1025);
        assert!(matches!(records.get_async(&long).await, Err(Error::LimitExceeded { .. })));
        // Nothing is done before the first poll.
        drop(records.put_async("dropped", "1", ExpectedRecord::Any));
        assert_eq!(records.get_async("dropped").await.unwrap(), None);
        store.clone().close_async().await.unwrap();
        assert!(matches!(records.get_async("r").await, Err(Error::Closed)));
        let closed = records.put_async("r", "1", ExpectedRecord::Any).await;
        assert!(matches!(closed, Err(Error::Closed)), "{closed:?}");
    });
}

#[test]
fn records_of_a_task_are_read_by_a_thread_of_the_store() {
    const RECORDS: u64 = 3_000;
    let disk = disk(&SimStorage::new(1));
    let store = options(&disk).open(ROOT).unwrap();
    put(&store, RECORDS);
    fill(&store, 1_000);
    store.close().unwrap();
    // Each look-up is made by the task first, while files are not open.
    let store = options(&disk).open(ROOT).unwrap();
    assert!(store.stats().segments > 3, "{}", store.stats().segments);
    for key in ["r/00007", "r/02999", "unknown"] {
        let (found, taken) = run(store.records().get_async(key), || {});
        assert_eq!((taken.reads, taken.slow), (0, 0), "{taken:?}");
        assert_eq!(found.unwrap(), store.records().get(key).unwrap());
    }
    store.close().unwrap();
    let store = options(&disk).open(ROOT).unwrap();
    let list = || store.records().list();
    let lists: [&dyn Fn() -> annals::RecordList; 5] = [
        &list,
        &|| list().prefix("r/00").limit(700),
        &|| list().prefix("r/0").after("r/00998"),
        &|| list().limit(0),
        &|| list().prefix("unknown"),
    ];
    for list in lists {
        let (records, taken) = drain(list().into_stream());
        assert_eq!((taken.reads, taken.slow), (0, 0), "{taken:?}");
        assert!(taken.polls > records.len() as u64 / 1_025, "{taken:?} for {}", records.len());
        assert_eq!(records, list().map(Result::unwrap).collect::<Vec<_>>());
    }
    // A listing that has begun goes on.
    let mut begun = list();
    assert_eq!(begun.next().unwrap().unwrap().key, "r/00000");
    assert_eq!(drain(begun.into_stream()).0.len() as u64, RECORDS - 1);
}

#[test]
fn listing_of_a_task_passes_pages_of_deleted_records() {
    let disk = disk(&SimStorage::new(1));
    let store = options(&disk).open(ROOT).unwrap();
    put(&store, 900);
    for from in [0, 300, 600] {
        let deleted = (from..from + 299).fold(store.transaction(), |it, number| {
            it.delete_record(format!("r/{number:05}"), ExpectedRecord::Any)
        });
        deleted.commit().unwrap();
    }
    let (records, taken) = drain(store.records().list().into_stream());
    let keys: Vec<_> = records.iter().map(|record| record.key.as_str()).collect();
    assert_eq!(keys, ["r/00299", "r/00599", "r/00899"]);
    assert_eq!((taken.reads, taken.slow), (0, 0), "{taken:?}");
    let (one, _) = drain(store.records().list().limit(1).into_stream());
    assert_eq!(one, records[..1]);
}

/// 200 values of 64 KiB: a batch ends long before 256 records.
#[test]
fn listing_of_a_task_holds_few_large_values_at_once() {
    let sim = SimStorage::new(1);
    let disk = disk(&sim);
    let store = Options::new().storage(Arc::new(disk.clone())).open(ROOT).unwrap();
    for number in 0..200 {
        let key = format!("r/{number:03}");
        store.records().put(&key, vec![7; 64 << 10], ExpectedRecord::Any).unwrap();
    }
    let mut stream = store.records().list().into_stream();
    let before = sim.stats().reads;
    for taken in 1..=200 {
        assert!(block_on(stream.next()).unwrap().is_ok());
        // A batch is read when the one before is used up: 16 values, and the one that fills it.
        let read = sim.stats().reads - before;
        assert!(read <= taken + 17, "{read} values are read for {taken}");
    }
    assert!(block_on(stream.next()).is_none());
}

#[test]
fn listing_of_a_task_ends_after_a_close() {
    let disk = disk(&SimStorage::new(1));
    let store = options(&disk).open(ROOT).unwrap();
    put(&store, 1_000);
    let mut stream = store.records().list().into_stream();
    assert!(block_on(stream.next()).unwrap().is_ok());
    store.close().unwrap();
    let (rest, _) = run(stream.collect::<Vec<_>>(), || {});
    let (last, before) = rest.split_last().unwrap();
    assert!(matches!(last, Err(Error::Closed)), "{last:?}");
    assert!(before.len() < 999 && before.iter().all(Result::is_ok));
}

#[test]
fn listing_of_a_task_without_threads_yields_too() {
    let disk = disk(&SimStorage::new(1));
    let store = options(&disk).background(false).open(ROOT).unwrap();
    put(&store, 5_000);
    let (records, taken) = drain(store.records().list().into_stream());
    assert_eq!(records.len(), 5_000);
    assert!(taken.polls >= 4, "{taken:?}");
    // Deleted records are passed in the same portions.
    for record in &records {
        store.records().delete(&record.key, ExpectedRecord::Any).unwrap();
    }
    let (records, taken) = drain(store.records().list().into_stream());
    assert!(records.is_empty() && taken.polls >= 5_000 / 256, "{taken:?}");
}
