//! Conversion of times to text and back.
//!
//! Owns the printed notation (RFC 3339, microseconds) and the accepted notations. Must never
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

/// The time in RFC 3339, in the time zone of the system with its offset, with microseconds.
pub fn to_local(time: Timestamp) -> String {
    let micros = i64::try_from(time.as_micros()).ok();
    let time = micros.and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
    let time = time.unwrap_or(jiff::Timestamp::MAX).to_zoned(jiff::tz::TimeZone::system());
    time.strftime("%Y-%m-%dT%H:%M:%S.%6f%:z").to_string()
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

/// The time that a text states, which may be relative to `now`: `1h ago`, `2 days ago`, `now`, `today`, `yesterday`, a date,
/// a date and a time of day in UTC, or RFC 3339.
///
/// # Errors
///
/// An error if the text is not a time.
pub fn parse_at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let micros = i64::try_from(now.as_micros()).map_err(|e| e.to_string())?;
    let now_at = jiff::Timestamp::from_microsecond(micros).map_err(|e| e.to_string())?;
    let now_at = now_at.to_zoned(jiff::tz::TimeZone::UTC);
    let at = |time: &jiff::Zoned| {
        let micros = time.timestamp().as_microsecond();
        Timestamp::from_micros(u64::try_from(micros).unwrap_or(0))
    };
    let day =
        |time: jiff::Zoned| time.start_of_day().map(|day| at(&day)).map_err(|e| e.to_string());
    match text {
        "now" => return Ok(now),
        "today" => return day(now_at),
        "yesterday" => return day(now_at.yesterday().map_err(|e| e.to_string())?),
        _ => {}
    }
    if let Some(span) = text.strip_suffix("ago") {
        let span: jiff::Span = span.trim().parse().map_err(|_| EXPECTED.to_owned())?;
        let time = now_at.checked_sub(span.abs()).map_err(|e| e.to_string())?;
        return Ok(at(&time));
    }
    parse(text).or_else(|_| {
        let time: jiff::civil::DateTime = text.parse().map_err(|_| EXPECTED.to_owned())?;
        let time = time.to_zoned(jiff::tz::TimeZone::UTC).map_err(|e| e.to_string())?;
        Ok(at(&time))
    })
}

const EXPECTED: &str = "expected a time such as '1h ago', yesterday, 2026-01-31, '2026-01-31 12:00' or \
                        2026-01-31T12:00:00Z";

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
    fn relative_times_are_counted_from_now_in_utc() {
        let now = parse("2026-03-01T10:05:30Z").unwrap();
        let cases = [
            ("now", "2026-03-01T10:05:30Z"),
            ("1h ago", "2026-03-01T09:05:30Z"),
            ("90 minutes ago", "2026-03-01T08:35:30Z"),
            ("2 days ago", "2026-02-27T10:05:30Z"),
            ("1 month ago", "2026-02-01T10:05:30Z"),
            ("today", "2026-03-01"),
            ("yesterday", "2026-02-28"),
            ("2026-11-25 10:05", "2026-11-25T10:05:00Z"),
            ("2026-11-25T10:05:07", "2026-11-25T10:05:07Z"),
            ("2026-11-25", "2026-11-25"),
            ("2026-01-01T02:00:00+02:00", "2026-01-01"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_at(text, now), parse(expected), "{text}");
        }
        for bad in ["", "ago", "soon", "1 ago", "2026-13-01", "10:05", "99999999 years ago"] {
            assert!(parse_at(bad, now).is_err(), "{bad:?}");
        }
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
