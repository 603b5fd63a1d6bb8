//! Boundaries: queries that must match nothing, or nothing new.
//!
//! Written events are searched before the writer's lock is taken; under it, only those accepted since.
//! A match stays a match, and later events are seen under the lock, so exactly one of two commits that
//! exclude each other succeeds.

use super::Appends;
use super::check::Refusal;
use super::prepare::Boundary;
use crate::engine::commit::Writer;
use crate::engine::matching::{Look, index_terms, newest_match};
use crate::error::{FailedCheck, Result};
use crate::event::Position;
use crate::query::Query;

/// The result of the search before the lock was taken.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// The last position searched.
    upto: u64,
    /// The boundaries that are crossed already, in order, and the newest match of each.
    found: Vec<(usize, u64)>,
}

impl Boundary {
    /// The query fails the commit if it matches after its own position, or anywhere.
    pub(crate) fn new(query: Query, anywhere: bool) -> Self {
        let query = if anywhere { query.anywhere() } else { query };
        Self { query, anywhere }
    }
}

impl Appends {
    /// Searches the written events for matches.
    pub(super) fn scan_boundaries(&self, boundaries: &[Boundary]) -> Result<Scanned> {
        if boundaries.is_empty() {
            return Ok(Scanned::default());
        }
        let upto = self.positions.written();
        let mut show = |position, look: &mut Look<'_>| self.contents.show_written(position, look);
        let mut found = Vec::new();
        for (number, boundary) in boundaries.iter().enumerate() {
            let query = &boundary.query;
            let newest = newest_match(&self.contents, query, query.floor(), upto, &mut show)?;
            found.extend(newest.map(|position| (number, position)));
        }
        Ok(Scanned { upto, found })
    }

    /// Searches the events accepted since, and returns the crossed boundaries.
    pub(super) fn check_boundaries(
        &self,
        writer: &Writer,
        boundaries: &[Boundary],
        scanned: Scanned,
    ) -> Result<Refusal> {
        let mut refusal = Refusal::default();
        if boundaries.is_empty() {
            return Ok(refusal);
        }
        let tip = writer.log.tip.next_position - 1;
        let mut show = |position, look: &mut Look<'_>| {
            self.with_record(writer, position, |record| look(record)).map(drop)
        };
        if !self.contents.with_catalog(|catalog| catalog.active.index.keeps_terms()) {
            index_terms(&self.contents, tip, tip, &mut show)?;
            self.contents.change_catalog(|catalog| catalog.active.index.keep_terms());
        }
        let mut found = scanned.found.into_iter().peekable();
        for (query, boundary) in boundaries.iter().enumerate() {
            let before = found.next_if(|(number, _)| *number == query).map(|(_, newest)| newest);
            let after = boundary.query.floor().max(scanned.upto);
            let newer = newest_match(&self.contents, &boundary.query, after, tip, &mut show)?;
            let Some(newest) = newer.or(before) else { continue };
            let position = Position::new(newest);
            let check = if boundary.anywhere {
                FailedCheck::AlreadyExists { query, position }
            } else {
                FailedCheck::AppendConditionFailed { query, position }
            };
            refusal.lost_to_event(newest, check);
        }
        Ok(refusal)
    }
}
