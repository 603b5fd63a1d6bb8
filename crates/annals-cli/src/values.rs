//! Values of options: versions, times, sizes.
//!
//! Owns their notation and the message for what does not follow it. Must never guess.

use std::time::Duration;

use annals::{AsOf, ExpectedRecord, ExpectedVersion, Options, Position, Timestamp, Uuid};
use annals_lines::time;
use jiff::{SignedDuration, Span, SpanRelativeTo};

use crate::args::Limit;

pub(crate) fn expected(text: &str) -> Result<ExpectedVersion, String> {
    match text {
        "any" => Ok(ExpectedVersion::Any),
        "none" => Ok(ExpectedVersion::NoStream),
        "exists" => Ok(ExpectedVersion::StreamExists),
        number => number
            .parse()
            .map(ExpectedVersion::Exact)
            .map_err(|_| "expected any, none, exists or a version".to_owned()),
    }
}

pub(crate) fn expected_record(text: &str) -> Result<ExpectedRecord, String> {
    match text {
        "any" => Ok(ExpectedRecord::Any),
        "none" => Ok(ExpectedRecord::NoRecord),
        "exists" => Ok(ExpectedRecord::Exists),
        number => number
            .parse()
            .map(ExpectedRecord::Exact)
            .map_err(|_| "expected any, none, exists or a version".to_owned()),
    }
}

pub(crate) fn event_id(text: &str) -> Result<Uuid, String> {
    match text.parse::<Uuid>() {
        Ok(id) if id.is_nil() => {
            Err("the nil UUID is not a valid id; without --id, one is generated".to_owned())
        }
        parsed => parsed.map_err(|e| e.to_string()),
    }
}

fn is_position(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn position(digits: &str) -> Result<AsOf, String> {
    let number = digits.parse::<u64>().map_err(|e| e.to_string())?;
    Ok(Position::new(number).into())
}

pub(crate) fn as_of(text: &str) -> Result<AsOf, String> {
    if is_position(text) { position(text) } else { time::parse(text).map(AsOf::Time) }
}

#[cfg(feature = "backup")]
pub(crate) fn until(text: &str) -> Result<annals::shipping::Until, String> {
    use annals::shipping::Until;
    match as_of(text)? {
        AsOf::Position(position) => Ok(Until::Position(position)),
        AsOf::Time(time) => Ok(Until::Time(time)),
        _ => Err("expected a position or a time".to_owned()),
    }
}

/// The time of the clock.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_micros(u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap_or(0))
}

/// A time, which may be relative to now.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    time::parse_at(text, now())
}

/// A moment in the history of a stream: `@3` is a version, digits are a position, and the rest is a time.
pub(crate) fn moment_of_stream(text: &str) -> Result<AsOf, String> {
    if let Some(version) = text.strip_prefix('@') {
        let version = version.parse().map_err(|_| "expected a version after @, such as @3")?;
        return Ok(AsOf::Version(version));
    }
    if is_position(text) { position(text) } else { moment(text).map(AsOf::Time) }
}

pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        other => return Err(format!("unknown unit {other:?}: use K, M or G")),
    };
    let number: u64 = digits.parse().map_err(|_| "expected a size such as 128M".to_owned())?;
    match number.checked_mul(1 << shift) {
        Some(0) => Err("is zero".to_owned()),
        Some(bytes) => Ok(bytes),
        None => Err("is too large".to_owned()),
    }
}

pub(crate) fn segment_size(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    if (Options::MIN_SEGMENT_SIZE..=Options::MAX_SEGMENT_SIZE).contains(&bytes) {
        Ok(bytes)
    } else {
        Err("a segment takes 64K to 1G".to_owned())
    }
}

/// A span of time; a day has 24 hours.
fn duration(text: &str, expected: &str) -> Result<SignedDuration, String> {
    let span: Span = text.parse().map_err(|_| expected.to_owned())?;
    span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|e| e.to_string())
}

pub(crate) fn age(text: &str) -> Result<Limit<Duration>, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    match duration(text, "expected none, or an age such as 30d or 12h")?.try_into() {
        Ok(age) if Duration::as_micros(&age) > 0 => Ok(Limit(Some(age))),
        _ => Err("an age must be at least a microsecond".to_owned()),
    }
}

pub(crate) fn wait(text: &str) -> Result<Duration, String> {
    if text == "forever" {
        return Ok(Duration::MAX);
    }
    let time = duration(text, "expected forever, or a duration such as 30s or 5m")?;
    time.try_into().map_err(|_| "must not be negative".to_owned())
}

#[cfg(feature = "top")]
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected a duration from 100ms to 1h, such as 2s";
    let time = duration(text, EXPECTED)?;
    let allowed = Duration::from_millis(100)..=Duration::from_secs(3600);
    Duration::try_from(time).ok().filter(|time| allowed.contains(time)).ok_or(EXPECTED.to_owned())
}

pub(crate) fn count(text: &str) -> Result<Limit<u64>, String> {
    match text.parse() {
        _ if text == "none" => Ok(Limit(None)),
        Ok(0) => Err("must be at least 1; to hide a stream, archive it".to_owned()),
        Ok(events) => Ok(Limit(Some(events))),
        Err(_) => Err("expected none, or a number of events".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_bounds() {
        assert_eq!(size("96M"), Ok(96 << 20));
        assert_eq!(size("17"), Ok(17));
        for bad in ["", "K", "0", "1T", "1 K", "-1", "99999999999G", "1é"] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
        assert!(segment_size("63K").is_err() && segment_size("2G").is_err());
    }

    #[test]
    fn digits_are_a_position_and_the_rest_is_a_time() {
        assert_eq!(as_of("12"), Ok(AsOf::Position(Position::new(12))));
        assert!(matches!(as_of("2026-01-01"), Ok(AsOf::Time(_))), "a date is a time");
        for bad in ["", "-1", "99999999999999999999", "tomorrow"] {
            assert!(as_of(bad).is_err(), "{bad:?}");
        }
    }
    #[test]
    fn ages_have_units_and_limits_can_be_taken_away() {
        let days = |days: u64| Ok(Limit(Some(Duration::from_secs(days * 86_400))));
        assert_eq!(age("30d"), days(30));
        assert_eq!(age("2 weeks 1 day"), days(15));
        assert_eq!(age("PT24H"), days(1));
        assert_eq!(age("none"), Ok(Limit(None)));
        for bad in ["", "30", "0s", "-1d", "1 month", "1y", "tomorrow", "1ns"] {
            assert!(age(bad).is_err(), "{bad:?}");
        }
        assert_eq!((count("7"), count("none")), (Ok(Limit(Some(7))), Ok(Limit(None))));
        for bad in ["", "0", "-1", "many", "99999999999999999999"] {
            assert!(count(bad).is_err(), "{bad:?}");
        }
    }
}
