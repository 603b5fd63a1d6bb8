//! Conversion of times to text and back.
//!
//! Owns the printed notation (RFC 3339, UTC, microseconds) and the accepted notations. Must never
//! read a clock.

use annals::Timestamp;

/// The time in RFC 3339, in UTC, with microseconds.
///
/// Times after the year 9999, which RFC 3339 cannot write, are written as its last moment.
pub fn to_rfc3339(time: Timestamp) -> String {
    let time = i64::try_from(time.as_micros())
        .ok()
        .and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok())
        .unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.6}")
}

/// The time that an RFC 3339 text states; a date alone is the start of that day in UTC.
///
/// Times before 1970 become 1970-01-01, because no earlier time can be stored. Fractions of a
/// microsecond are cut.
///
/// # Errors
///
/// An error if the text is not a time.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    let time = if is_date(text) {
        let date: jiff::civil::Date = text.parse().map_err(|e| format!("{e}"))?;
        date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|e| format!("{e}"))?.timestamp()
    } else {
        text.parse::<jiff::Timestamp>()
            .map_err(|_| "expected a time such as 2026-01-31T12:00:00Z or 2026-01-31".to_owned())?
    };
    Ok(Timestamp::from_micros(u64::try_from(time.as_microsecond()).unwrap_or(0)))
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_microseconds_and_reads_them_back() {
        let time = Timestamp::from_micros(1_767_225_600_000_001);
        assert_eq!(to_rfc3339(time), "2026-01-01T00:00:00.000001Z");
        assert_eq!(parse("2026-01-01T00:00:00.000001Z"), Ok(time));
        assert_eq!(to_rfc3339(Timestamp::from_micros(0)), "1970-01-01T00:00:00.000000Z");
        assert!(to_rfc3339(Timestamp::from_micros(u64::MAX)).starts_with("9999-12-"));
    }

    #[test]
    fn takes_offsets_and_dates_and_refuses_times_without_a_zone() {
        let day = parse("2026-01-01");
        assert_eq!(day, Ok(Timestamp::from_micros(1_767_225_600_000_000)));
        assert_eq!(parse("2026-01-01T02:00:00+02:00"), day);
        assert_eq!(parse("1969-12-31T00:00:00Z"), Ok(Timestamp::from_micros(0)));
        for bad in ["", "yesterday", "2026-13-01", "2026-01-01T00:00:00", "2026-1-1", "٣"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
