//! Times as text.

use std::fmt;

use super::Timestamp;

/// As RFC 3339 in UTC, to the microsecond: `2026-11-28T09:18:51.000000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: u64 = 24 * 3600 * 1_000_000;
        let (year, month, day) = date(self.as_micros() / DAY);
        let micros = self.as_micros() % DAY;
        let seconds = micros / 1_000_000;
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let micros = micros % 1_000_000;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

/// Year, month and day of a day, counted from 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    // Counted from March, a leap day is the last of its year, and of its 400 years.
    const ERA: u64 = 146_097;
    let days = days + 719_468;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + later, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamp_is_shown_as_a_date() {
        let shown = |micros| Timestamp::from_micros(micros).to_string();
        assert_eq!(shown(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(shown(951_782_400_000_001), "2000-02-29T00:00:00.000001Z");
        assert_eq!(shown(1_793_491_200_000_000), "2026-11-01T00:00:00.000000Z");
        assert_eq!(shown(3_345_062_399_999_999), "2075-12-31T23:59:59.999999Z");
        assert_eq!(shown(4_107_542_400_000_000), "2100-03-01T00:00:00.000000Z");
        assert!(shown(u64::MAX).ends_with('Z'));
        let days = (1..200_000).map(|day| (date(day - 1), date(day)));
        let next = |(y, m, d): (u64, u64, u64)| [(y, m, d + 1), (y, m + 1, 1), (y + 1, 1, 1)];
        assert!(days.into_iter().all(|(before, after)| next(before).contains(&after)));
    }
}
