//! Points of the past: a version of a stream, a position, or a time.
//!
//! Owns the translation of a point into what a read is limited by. Must never compute a state.

use std::future::Future;

use crate::store::{
    EventStore, OrderedStore, Position, ReadStream, StoreError, StreamName, Timestamp, Version,
    next,
};

/// A point of the past: a [`Version`] of the stream, a [`Position`] of the store, or a [`Timestamp`], which means all
/// events that were recorded at or before it. A point after the last event means the present.
///
/// A time needs a store with one order over all streams; a version and a position are points of every store.
pub trait Point<S: EventStore>: Copy + Send + Sync + sealed::Point<S> {}

impl<S: EventStore, P: sealed::Point<S> + Copy + Send + Sync> Point<S> for P {}

mod sealed {
    use super::{EventStore, Future, Position, StoreError, StreamName, Version};

    pub trait Point<S: EventStore>: Sized {
        /// The version that a stream had at this point.
        fn version(
            self,
            store: &S,
            stream: &StreamName,
        ) -> impl Future<Output = Result<Version, StoreError>> + Send;

        /// The position of the point; for a version, that of the event in `stream`.
        fn position(
            self,
            store: &S,
            stream: Option<&StreamName>,
        ) -> impl Future<Output = Result<Position, NoPosition>> + Send;
    }

    /// Why a point has no position.
    #[derive(Debug)]
    pub enum NoPosition {
        Store(StoreError),
        /// The point is a version, and there is no single stream.
        NoStream,
        /// The event of this version is hidden.
        Hidden(Version),
    }

    impl From<StoreError> for NoPosition {
        fn from(error: StoreError) -> Self {
            Self::Store(error)
        }
    }
}

pub(crate) use sealed::{NoPosition, Point as AnyPoint};

impl<S: EventStore> AnyPoint<S> for Version {
    async fn version(self, _: &S, _: &StreamName) -> Result<Version, StoreError> {
        Ok(self)
    }

    async fn position(
        self,
        store: &S,
        stream: Option<&StreamName>,
    ) -> Result<Position, NoPosition> {
        let stream = stream.ok_or(NoPosition::NoStream)?;
        if self == Self::NONE {
            return Ok(Position::START);
        }
        let last = ReadStream::of(stream).up_to(self).backwards().limit(1);
        if let Some(event) = next(&mut store.read_stream(last)).await.transpose()? {
            return Ok(event.position());
        }
        match store.stream_version(stream).await? {
            Self::NONE => Ok(Position::START),
            present => Err(NoPosition::Hidden(self.min(present))),
        }
    }
}

impl<S: EventStore> AnyPoint<S> for Position {
    async fn version(self, store: &S, stream: &StreamName) -> Result<Version, StoreError> {
        let last = ReadStream::of(stream).up_to_position(self).backwards().limit(1);
        let last = next(&mut store.read_stream(last)).await.transpose()?;
        Ok(last.map_or(Version::NONE, |event| event.version()))
    }

    async fn position(self, _: &S, _: Option<&StreamName>) -> Result<Position, NoPosition> {
        Ok(self)
    }
}

impl<S: OrderedStore> AnyPoint<S> for Timestamp {
    async fn version(self, store: &S, stream: &StreamName) -> Result<Version, StoreError> {
        let position = store.position_at(self).await?;
        position.version(store, stream).await
    }

    async fn position(self, store: &S, _: Option<&StreamName>) -> Result<Position, NoPosition> {
        Ok(store.position_at(self).await?)
    }
}
