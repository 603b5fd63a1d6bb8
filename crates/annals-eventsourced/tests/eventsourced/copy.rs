//! Copying entities from another event log: interruptions, and what is refused.

use std::error::Error as StdError;
use std::num::NonZeroU64;

use adapter_tests::Life;
use annals::Bytes;
use annals_eventsourced::{AnnalsEventLog, CopyError, copy};
use eventsourced::event_log::EventLog;
use futures::future::Either;
use futures::{Stream, StreamExt, TryStreamExt, stream};

use crate::counter::in_time;

/// Another log, whose only entity has events with these numbers. Its streams wait after the last one, fail or end.
#[derive(Debug, Clone)]
struct Source {
    numbers: Vec<u64>,
    last: u64,
    end: End,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Waits,
    Fails,
    Ends,
}

#[derive(Debug, thiserror::Error)]
#[error("the server is gone")]
struct Gone;

impl Source {
    fn new(numbers: impl IntoIterator<Item = u64>) -> Self {
        let numbers = Vec::from_iter(numbers);
        Self { last: numbers.iter().copied().max().unwrap_or(0), numbers, end: End::Waits }
    }
}

fn data(number: u64) -> Bytes {
    Bytes::from(format!("event {number:0100}"))
}

impl EventLog for Source {
    type Id = u64;
    type Error = Gone;

    async fn persist<E, ToBytes, ToBytesError>(
        &mut self,
        _: &'static str,
        _: &u64,
        _: Option<NonZeroU64>,
        _: &E,
        _: &ToBytes,
    ) -> Result<NonZeroU64, Gone>
    where
        E: Sync,
        ToBytes: Fn(&E) -> Result<Bytes, ToBytesError> + Sync,
        ToBytesError: StdError + Send + Sync + 'static,
    {
        panic!("a copy writes nothing to its source")
    }

    async fn last_seq_no(&self, _: &'static str, _: &u64) -> Result<Option<NonZeroU64>, Gone> {
        Ok(NonZeroU64::new(self.last))
    }

    async fn events_by_id<E, FromBytes, FromBytesError>(
        &self,
        _: &'static str,
        _: &u64,
        seq_no: NonZeroU64,
        from_bytes: FromBytes,
    ) -> Result<impl Stream<Item = Result<(NonZeroU64, E), Gone>> + Send, Gone>
    where
        E: Send,
        FromBytes: Fn(Bytes) -> Result<E, FromBytesError> + Copy + Send + Sync + 'static,
        FromBytesError: StdError + Send + Sync + 'static,
    {
        let numbers = self.numbers.clone().into_iter().filter(move |it| *it >= seq_no.get());
        let event =
            move |number| Ok((NonZeroU64::new(number).unwrap(), from_bytes(data(number)).unwrap()));
        let events = stream::iter(numbers.map(event));
        Ok(events.chain(match self.end {
            End::Waits => Either::Left(stream::pending()),
            End::Fails => Either::Right(stream::iter(Some(Err(Gone)))),
            End::Ends => Either::Right(stream::iter(None)),
        }))
    }

    async fn events_by_type<E, FromBytes, FromBytesError>(
        &self,
        type_name: &'static str,
        seq_no: NonZeroU64,
        from_bytes: FromBytes,
    ) -> Result<impl Stream<Item = Result<(NonZeroU64, E), Gone>> + Send, Gone>
    where
        E: Send,
        FromBytes: Fn(Bytes) -> Result<E, FromBytesError> + Copy + Send + Sync + 'static,
        FromBytesError: StdError + Send + Sync + 'static,
    {
        self.events_by_id(type_name, &0, seq_no, from_bytes).await
    }
}

fn log(life: &Life) -> AnnalsEventLog<u64> {
    AnnalsEventLog::new(life.store().clone())
}

async fn copied(life: &Life, source: &Source) -> Result<u64, CopyError<Gone>> {
    in_time(copy(source, &log(life), "counter", &7)).await
}

/// The bytes of the entity's events in the target.
async fn events(life: &Life, count: usize) -> Vec<Bytes> {
    let bytes = |bytes: Bytes| Ok::<Bytes, Gone>(bytes);
    let log = log(life);
    let events = log.events_by_id("counter", &7, NonZeroU64::MIN, bytes).await.unwrap();
    in_time(events.take(count).map_ok(|it| it.1).try_collect()).await.unwrap()
}

#[tokio::test]
async fn interrupted_copy_goes_on_where_it_stopped() {
    for mut life in Life::each() {
        let mut source = Source { last: 3000, end: End::Fails, ..Source::new(1..=2100) };
        assert!(matches!(copied(&life, &source).await, Err(CopyError::Source(Gone))));
        life.end_step();
        let version = life.store().stream_head("counter-7").unwrap().unwrap().version;
        assert_eq!(version, 2000, "whole commits are kept");
        source.end = End::Ends;
        let ended = copied(&life, &source).await;
        assert!(matches!(ended, Err(CopyError::Ended { expected: 2101 })), "{ended:?}");
        life.end_step();
        source = Source::new(1..=3000);
        assert_eq!(copied(&life, &source).await.unwrap(), 1000);
        life.end_step();
        assert_eq!(copied(&life, &source).await.unwrap(), 0);
        let expected: Vec<_> = (1..=3000).map(data).collect();
        assert_eq!(events(&life, 3000).await, expected);
    }
}

#[tokio::test]
async fn entity_without_events_has_none_in_the_target() {
    for life in Life::each() {
        assert_eq!(copied(&life, &Source::new([])).await.unwrap(), 0);
        assert_eq!(life.store().head().get(), 0);
    }
}

#[tokio::test]
async fn number_that_is_missing_is_an_error() {
    for (numbers, at, other) in
        [(vec![1, 2, 4], 3, 4), (vec![2, 3], 1, 2), (vec![1, 3, 2], 2, 3), (vec![1, 1, 2], 2, 1)]
    {
        for life in Life::each() {
            let refused = copied(&life, &Source::new(numbers.clone())).await;
            let Err(CopyError::Gap { expected, found }) = refused else { panic!("{refused:?}") };
            assert_eq!((expected, found.get()), (at, other));
            assert_eq!(life.store().head().get(), 0);
        }
    }
}
