//! Boundaries: queries that must match nothing, or nothing new.
//!
//! What is written already is searched before the writer's lock is taken; under it, only what has
//! been accepted since. A match that was found stays one, and what is accepted later is seen under
//! the lock: so exactly one of two commits wins that exclude each other.

use super::Appends;
use super::check::Refusal;
use super::prepare::Boundary;
use crate::engine::commit::Writer;
use crate::engine::matching::{Look, index_terms, newest_match};
use crate::error::{FailedCheck, Result};
use crate::event::Position;
use crate::query::Query;

/// What was found before the lock was taken.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// Everything up to this position was looked at.
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
    /// Looks for matches among what is written.
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

    /// Looks at what was accepted since, and tells which boundaries are crossed.
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
