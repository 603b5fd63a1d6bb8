//! The text form of times (RFC 3339) and of positions (decimal digits).
//!
//! Owns `Display` and `FromStr` of [`Timestamp`] and `FromStr` of [`Position`]. Must never read a
//! clock or a time zone: a time that is written is in UTC, and one that is read states its offset.
//!
//! The calendar arithmetic follows Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"
//! (`days_from_civil` and `civil_from_days`), whose years begin in March.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use super::{Position, Timestamp};

const MICROS_PER_SECOND: u64 = 1_000_000;
const SECONDS_PER_DAY: u64 = 86_400;
/// Days of 400 Gregorian years, after which the calendar repeats.
const DAYS_PER_ERA: u64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_EPOCH: u64 = 719_468;

/// The text is not a time in the form of RFC 3339, or one that a [`Timestamp`] cannot represent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseTimestampError {
    /// The text does not have the form `2026-11-21T22:06:05.863688Z`.
    #[error("expected a time such as 2026-11-21T22:06:05.863688Z or 2026-11-21T23:06:05+01:00")]
    Malformed,
    /// A field has a value that does not exist, such as month 13 or 30 February.
    #[error("the {field} is out of range")]
    OutOfRange {
        /// The field: `month`, `day`, `hour`, `minute`, `second` or `offset`.
        field: &'static str,
    },
    /// The time is before 1970-01-01T00:00:00Z.
    #[error("times before 1970-01-01T00:00:00Z cannot be represented")]
    BeforeEpoch,
    /// The time is after the last one that 64 bits of microseconds can represent.
    #[error("the time is too far in the future to be represented")]
    TooLate,
    /// The fraction of a second has more than six digits that are not zero.
    #[error("the fraction of a second is finer than a microsecond")]
    TooFine,
}

/// Year, month (1 to 12) and day (1 to 31) of a day, counted from 1970-01-01.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_TO_EPOCH;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The day, counted from 1970-01-01; `None` for days before it. Month and day are in range.
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * DAYS_PER_ERA + day_of_era).checked_sub(DAYS_TO_EPOCH)
}

fn days_in_month(year: u64, month: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// RFC 3339 in UTC with six digits of the second: `2026-11-21T22:06:05.863688Z`.
///
/// Years after 9999, which RFC 3339 cannot write, have a sign and at least five digits, as in the
/// expanded form of ISO 8601: `+10000-01-01T00:00:00.000000Z`. [`FromStr`] reads both.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.0 / MICROS_PER_SECOND, self.0 % MICROS_PER_SECOND);
        let (year, month, day) = civil_from_days(seconds / SECONDS_PER_DAY);
        let second_of_day = seconds % SECONDS_PER_DAY;
        let (hour, minute, second) =
            (second_of_day / 3_600, second_of_day / 60 % 60, second_of_day % 60);
        if year > 9_999 {
            f.write_str("+")?;
        }
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

/// The unread rest of a text.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// The value of the next `digits` characters.
    fn number(&mut self, digits: usize) -> Result<u64, ParseTimestampError> {
        let (taken, rest) =
            self.0.split_at_checked(digits).ok_or(ParseTimestampError::Malformed)?;
        if !taken.iter().all(u8::is_ascii_digit) {
            return Err(ParseTimestampError::Malformed);
        }
        self.0 = rest;
        Ok(taken.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
    }

    /// Takes one of these characters.
    fn one_of(&mut self, expected: &[u8]) -> Result<u8, ParseTimestampError> {
        match self.0 {
            [first, rest @ ..] if expected.contains(first) => {
                let first = *first;
                self.0 = rest;
                Ok(first)
            }
            _ => Err(ParseTimestampError::Malformed),
        }
    }

    /// The number of digits that follow.
    fn digits(&self) -> usize {
        self.0.iter().take_while(|byte| byte.is_ascii_digit()).count()
    }

    /// The year: four digits, or a plus sign and five to six.
    fn year(&mut self) -> Result<u64, ParseTimestampError> {
        if self.one_of(b"+").is_err() {
            return self.number(4);
        }
        match self.digits() {
            digits @ 5..=6 => self.number(digits),
            _ => Err(ParseTimestampError::Malformed),
        }
    }

    /// Microseconds of the fraction after the point, if there is one.
    fn fraction(&mut self) -> Result<u64, ParseTimestampError> {
        if self.one_of(b".").is_err() {
            return Ok(0);
        }
        let digits = self.digits();
        let micros = self.number(digits.min(6))?;
        if digits == 0 {
            return Err(ParseTimestampError::Malformed);
        }
        let finer = digits.saturating_sub(6);
        if self.0[..finer].iter().any(|&digit| digit != b'0') {
            return Err(ParseTimestampError::TooFine);
        }
        self.0 = &self.0[finer..];
        Ok((digits..6).fold(micros, |micros, _| micros * 10))
    }

    /// The offset from UTC in seconds, and whether local time is ahead of UTC.
    fn offset(&mut self) -> Result<(bool, u64), ParseTimestampError> {
        let sign = self.one_of(b"Zz+-")?;
        if matches!(sign, b'Z' | b'z') {
            return Ok((true, 0));
        }
        let hours = self.number(2)?;
        self.one_of(b":")?;
        let minutes = self.number(2)?;
        in_range("offset", hours, 0..=23)?;
        in_range("offset", minutes, 0..=59)?;
        Ok((sign == b'+', hours * 3_600 + minutes * 60))
    }
}

fn in_range(
    field: &'static str,
    value: u64,
    range: std::ops::RangeInclusive<u64>,
) -> Result<(), ParseTimestampError> {
    if range.contains(&value) { Ok(()) } else { Err(ParseTimestampError::OutOfRange { field }) }
}

/// Reads RFC 3339 with any offset from UTC, up to microseconds. Leap seconds (`:60`) are refused, as
/// Unix time has no place for them.
impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut rest = Rest(text.as_bytes());
        let year = rest.year()?;
        rest.one_of(b"-")?;
        let month = rest.number(2)?;
        rest.one_of(b"-")?;
        let day = rest.number(2)?;
        rest.one_of(b"Tt ")?;
        let hour = rest.number(2)?;
        rest.one_of(b":")?;
        let minute = rest.number(2)?;
        rest.one_of(b":")?;
        let second = rest.number(2)?;
        let micros = rest.fraction()?;
        let (ahead, offset) = rest.offset()?;
        if !rest.0.is_empty() {
            return Err(ParseTimestampError::Malformed);
        }
        in_range("month", month, 1..=12)?;
        in_range("day", day, 1..=days_in_month(year, month))?;
        in_range("hour", hour, 0..=23)?;
        in_range("minute", minute, 0..=59)?;
        in_range("second", second, 0..=59)?;
        // A local time before 1970 can be a time after 1970 in UTC, and the reverse.
        let second_of_day = hour * 3_600 + minute * 60 + second;
        let days = days_from_civil(year, month, day);
        let seconds = match (days, ahead) {
            (Some(days), true) => (days * SECONDS_PER_DAY + second_of_day).checked_sub(offset),
            (Some(days), false) => Some(days * SECONDS_PER_DAY + second_of_day + offset),
            (None, false) if (year, month, day) == (1969, 12, 31) => {
                (second_of_day + offset).checked_sub(SECONDS_PER_DAY)
            }
            (None, _) => None,
        };
        let seconds = seconds.ok_or(ParseTimestampError::BeforeEpoch)?;
        seconds
            .checked_mul(MICROS_PER_SECOND)
            .and_then(|whole| whole.checked_add(micros))
            .map(Self)
            .ok_or(ParseTimestampError::TooLate)
    }
}

/// Reads decimal digits, as [`Display`](fmt::Display) writes them.
impl FromStr for Position {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<u64, ParseTimestampError> {
        text.parse::<Timestamp>().map(Timestamp::as_micros)
    }

    #[test]
    fn known_times_are_written_as_rfc_3339() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (1_763_762_765_863_688, "2025-11-21T22:06:05.863688Z"),
            (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
            (253_402_300_800_000_000, "+10000-01-01T00:00:00.000000Z"),
        ] {
            assert_eq!(Timestamp::from_micros(micros).to_string(), text);
            assert_eq!(parse(text), Ok(micros));
        }
        let last = Timestamp::from_micros(u64::MAX);
        assert_eq!(last.to_string().parse(), Ok(last));
    }

    #[test]
    fn offsets_and_short_fractions_are_read() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01t00:00:00.5z", 500_000),
            ("1970-01-01 01:00:00.25+01:00", 250_000),
            ("1969-12-31T23:30:00-00:30", 0),
            ("1969-12-31T23:59:59.000001-00:01", 59_000_001),
            ("1970-01-01T00:00:00.1234560000Z", 123_456),
        ] {
            assert_eq!(parse(text), Ok(micros), "{text}");
        }
    }

    #[test]
    fn text_that_is_no_time_is_refused_with_a_reason() {
        use ParseTimestampError::{BeforeEpoch, Malformed, OutOfRange, TooFine, TooLate};
        for (text, error) in [
            ("", Malformed),
            ("2026-11-21", Malformed),
            ("2026-11-21T22:06:05", Malformed),
            ("2026-11-21T22:06:05.Z", Malformed),
            ("2026-11-21T22:06:05Zx", Malformed),
            ("26-11-21T22:06:05Z", Malformed),
            ("２026-11-21T22:06:05Z", Malformed),
            ("+9999999-01-01T00:00:00Z", Malformed),
            ("2026-13-01T00:00:00Z", OutOfRange { field: "month" }),
            ("2026-02-29T00:00:00Z", OutOfRange { field: "day" }),
            ("2026-02-00T00:00:00Z", OutOfRange { field: "day" }),
            ("2026-01-01T24:00:00Z", OutOfRange { field: "hour" }),
            ("2026-01-01T00:60:00Z", OutOfRange { field: "minute" }),
            ("2026-12-31T23:59:60Z", OutOfRange { field: "second" }),
            ("2026-01-01T00:00:00+24:00", OutOfRange { field: "offset" }),
            ("1969-12-31T23:59:59Z", BeforeEpoch),
            ("1970-01-01T00:00:00+00:01", BeforeEpoch),
            ("0000-01-01T00:00:00Z", BeforeEpoch),
            ("+999999-01-01T00:00:00Z", TooLate),
            ("2026-01-01T00:00:00.0000001Z", TooFine),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_time_survives_its_text_form(micros in any::<u64>(), near in 0..4_000_000_000_000_000_u64) {
            for micros in [micros, near] {
                let time = Timestamp::from_micros(micros);
                prop_assert_eq!(time.to_string().parse(), Ok(time));
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused_without_a_panic(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn positions_survive_their_text_form(number in any::<u64>()) {
            prop_assert_eq!(Position::new(number).to_string().parse(), Ok(Position::new(number)));
        }
    }
}
