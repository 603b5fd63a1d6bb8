//! The recorded time of a commit, and the refusal of implausible clock readings.
//!
//! Recorded times never decrease, so one commit under a clock in the far future would date every
//! later one there. A commit is refused if the clock reads more than can be explained: by the last
//! recorded time, by the time that passed on the monotonic clock since this process last compared
//! the two, and by how long a store may have been left alone. Must never correct a time.
//!
//! A clock that the application gives ([`Options::clock`]) is not judged: a test may set it to any time.
//!
//! What explains a reading:
//!
//! - *While the store is open*, the monotonic clock. It does not count the time that a machine is
//!   suspended, so the clock may run ahead of it by [`Options::max_clock_jump`].
//! - *Before the first commit of an opening* there is no such clock, and a store may have been closed
//!   for years: the reading may lie [`UNTOUCHED`] after the last recorded time.
//! - *Where the last recorded time proves nothing*, because there is none, or it lies before this
//!   library was written (a machine that starts without a clock, an imported history), the reading
//!   may be anything up to [`FAR`].
//!
//! [`Options::max_clock_jump`]: crate::Options::max_clock_jump
//! [`Options::clock`]: crate::Options::clock

use super::Appends;
use crate::engine::commit::{ClockAnchor, Writer};
use crate::error::{Error, Result};
use crate::event::Timestamp;

/// 2026-11-01: earlier recorded times were not given by a right clock to this library.
const WRITTEN: u64 = 1_793_491_200_000_000;
/// 2076-01-01: the latest accepted time if there is no recorded time to compare with.
const FAR: u64 = 3_345_062_400_000_000;
/// Ten years in µs: how long a store may have been closed.
const UNTOUCHED: u64 = 10 * 366 * 24 * 3600 * 1_000_000;

impl Appends {
    /// The time for the next commit: the one that was given with it, or the clock's.
    ///
    /// # Errors
    ///
    /// [`Error::ClockJumped`] if the clock reads an implausible time.
    pub(super) fn time_to_record(
        &self,
        writer: &mut Writer,
        given: Option<Timestamp>,
    ) -> Result<u64> {
        writer.read_at = None;
        if let Some(given) = given {
            return Ok(given.as_micros());
        }
        let last = writer.log.tip.recorded_at;
        let by_application = self.shared.options().given_time();
        let now = by_application.unwrap_or_else(|| self.shared.storage().now_micros());
        writer.read_at = by_application.is_none().then_some(now);
        // Between two commits little time passes: most are done here.
        let near = now <= last.saturating_add(self.shared.options().max_clock_jump);
        if by_application.is_none() && (!near || writer.clock.is_none()) {
            let limit = self.latest_plausible(writer);
            if now > limit {
                let [last, now, limit] = [last, now, limit].map(Timestamp::from_micros);
                return Err(Error::ClockJumped { last, now, limit });
            }
            let monotonic = self.shared.storage().monotonic_micros();
            writer.clock = Some(ClockAnchor { wall: now, monotonic });
        }
        Ok(last.max(now))
    }

    /// The latest accepted clock reading.
    fn latest_plausible(&self, writer: &Writer) -> u64 {
        let (last, jump) = (writer.log.tip.recorded_at, self.shared.options().max_clock_jump);
        let by_session = match writer.clock {
            Some(anchor) => {
                let passed =
                    self.shared.storage().monotonic_micros().saturating_sub(anchor.monotonic);
                last.max(anchor.wall.saturating_add(passed)).saturating_add(jump)
            }
            None => last.saturating_add(jump.max(UNTOUCHED)),
        };
        if last < WRITTEN { by_session.max(FAR) } else { by_session }
    }
}
