//! Periods of time as ranges of positions.
//!
//! Owns the meaning of `--since` and `--until`.

use annals::{Position, Store, Timestamp};

use crate::args::Period;

/// The positions of a period: exclusive start, inclusive end. `--since` includes events of that moment, and so does
/// `--until`.
pub(crate) fn of(store: &Store, period: &Period) -> annals::Result<(u64, u64)> {
    let after = match period.since {
        // Times are whole microseconds.
        Some(since) => match since.as_micros().checked_sub(1) {
            Some(before) => store.position_at(Timestamp::from_micros(before))?.get(),
            None => 0,
        },
        None => 0,
    };
    let up_to =
        period.until.map_or(Ok(Position::new(u64::MAX)), |until| store.position_at(until))?;
    Ok((after, up_to.get()))
}
