//! Boundaries: queries that must match nothing, nothing new, or a certain event last.
//!
//! Written events are searched before the writer's lock is taken; under it, only those accepted since.
//! A match stays a match, and later events are seen under the lock, so exactly one of two commits that
//! exclude each other succeeds.

use super::Appends;
use super::check::Refusal;
use super::prepare::{Boundary, ExpectedMatch};
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
    /// The newest match of each boundary; empty if none has one.
    found: Vec<Option<u64>>,
}

impl Boundary {
    pub(crate) fn new(query: Query, expected: ExpectedMatch) -> Self {
        let query = match expected {
            ExpectedMatch::Nothing => query.anywhere(),
            ExpectedMatch::NothingNew | ExpectedMatch::At(_) => query,
        };
        Self { query, expected }
    }

    /// The position down to which a search for the newest match goes, if the commit is accepted.
    pub(super) fn searched_from(&self) -> u64 {
        let floor = self.query.floor();
        match self.expected {
            ExpectedMatch::At(position) => floor.max(position.saturating_sub(1)),
            ExpectedMatch::NothingNew | ExpectedMatch::Nothing => floor,
        }
    }

    /// What a newest match at `newest` fails, as the boundary with the index `query`; `None` if it is
    /// what is expected.
    fn failed_by(&self, query: usize, newest: Option<u64>) -> Option<FailedCheck> {
        let newest = newest.map(Position::new);
        match (self.expected, newest) {
            (ExpectedMatch::At(expected), _) => {
                let expected = Some(Position::new(expected)).filter(|p| *p != Position::START);
                (newest != expected).then_some(FailedCheck::NewestMatchMoved {
                    query,
                    expected,
                    actual: newest,
                })
            }
            (_, None) => None,
            (ExpectedMatch::Nothing, Some(position)) => {
                Some(FailedCheck::AlreadyExists { query, position })
            }
            (ExpectedMatch::NothingNew, Some(position)) => {
                Some(FailedCheck::AppendConditionFailed { query, position })
            }
        }
    }
}

impl Appends {
    /// Searches the written events for matches, if they were not searched before.
    pub(super) fn scan_boundaries(
        &self,
        boundaries: &[Boundary],
        scanned: &mut Scanned,
    ) -> Result<()> {
        if boundaries.is_empty() {
            return Ok(());
        }
        let upto = self.positions.written();
        let mut show = |position, look: &mut Look<'_>| self.contents.show_written(position, look);
        for (number, boundary) in boundaries.iter().enumerate() {
            let query = &boundary.query;
            let after = query.floor().max(scanned.upto);
            let newest = newest_match(&self.contents, query, after, upto, &mut show)?;
            if newest.is_some() {
                scanned.found.resize(boundaries.len(), None);
                scanned.found[number] = newest;
            }
        }
        scanned.upto = upto;
        Ok(())
    }

    /// Searches the events accepted since, and adds the boundaries that fail to `refusal`.
    pub(super) fn check_boundaries(
        &self,
        writer: &Writer,
        boundaries: &[Boundary],
        scanned: &Scanned,
        refusal: &mut Refusal,
    ) -> Result<()> {
        if boundaries.is_empty() {
            return Ok(());
        }
        let tip = writer.log.tip.next_position - 1;
        let mut show = |position, look: &mut Look<'_>| {
            self.with_record(writer, position, |record| look(record)).map(drop)
        };
        if !self.contents.with_catalog(|catalog| catalog.active.index.keeps_terms()) {
            index_terms(&self.contents, tip, tip, &mut show)?;
            self.contents.change_catalog(|catalog| catalog.active.index.keep_terms());
        }
        for (query, boundary) in boundaries.iter().enumerate() {
            let before = scanned.found.get(query).copied().flatten();
            let after = boundary.query.floor().max(scanned.upto);
            let newer = newest_match(&self.contents, &boundary.query, after, tip, &mut show)?;
            let newest = newer.or(before);
            if let Some(check) = boundary.failed_by(query, newest) {
                refusal.lost_to_event(newest.unwrap_or(0), check);
            }
        }
        Ok(())
    }
}
