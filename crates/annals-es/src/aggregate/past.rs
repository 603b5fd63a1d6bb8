//! The past of aggregates: a state at a point, and what has changed between two of them.
//!
//! Owns the choice of versions. The computation of a state, with snapshots, is that of every load.

use std::fmt;

use super::error::LoadError;
use super::repository::Repository;
use super::{Aggregate, Loaded};
use crate::store::{EventStore, ReadStream};
use crate::timeline::{AnyPoint, Change, Point};

impl<A: Aggregate, S: EventStore> Repository<A, S> {
    /// The state of an aggregate at a version, when the store was at a position, or at a time: the newest snapshot at or
    /// before that point, if there is one, and the events after it. A point after the last event gives the present
    /// state.
    ///
    /// # Errors
    ///
    /// Those of [`Repository::load`].
    pub async fn load_at(
        &self,
        id: impl fmt::Display,
        point: impl Point<S>,
    ) -> Result<Loaded<A>, LoadError> {
        let stream = self.stream(id);
        let version = AnyPoint::version(point, self.store(), &stream).await?;
        self.loaded(&stream, version).await
    }

    /// The states of an aggregate at two points, and the events between them. A later point that is before the earlier
    /// one counts as equal to it.
    ///
    /// # Errors
    ///
    /// Those of [`Repository::load`].
    pub async fn between(
        &self,
        id: impl fmt::Display,
        earlier: impl Point<S>,
        later: impl Point<S>,
    ) -> Result<Change<Loaded<A>, S::Events>, LoadError> {
        let stream = self.stream(id);
        let earlier = AnyPoint::version(earlier, self.store(), &stream).await?;
        let later = AnyPoint::version(later, self.store(), &stream).await?;
        let before = self.loaded(&stream, earlier).await?;
        // Events that were appended after `before` was loaded do not come between.
        let after = self.loaded(&stream, later.max(before.version)).await?;
        let between = ReadStream::of(&stream).from(before.version.next()).up_to(after.version);
        let events = self.store().read_stream(between);
        Ok(Change::new(before, after, events))
    }
}
