//! Lines of JSON with a limit.
//!
//! Owns the limit. Must never collect more than it permits.

use std::io::{self, BufRead, Read as _, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest line, in bytes, its line break included.
pub(crate) const MAX: u64 = 64 << 10;

/// A line that was read.
#[derive(Debug)]
pub(crate) enum Line<T> {
    Value(T),
    /// It is too long or not of this form; the reason.
    Bad(String),
    /// The other side sends no more.
    End,
}

pub(crate) fn read<T: DeserializeOwned>(from: &mut impl BufRead) -> io::Result<Line<T>> {
    let mut line = Vec::new();
    from.take(MAX).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(Line::End);
    }
    if line.last() != Some(&b'\n') {
        let what =
            if line.len() as u64 == MAX { "a line is too long" } else { "a line has no end" };
        return Ok(Line::Bad(what.to_owned()));
    }
    Ok(match serde_json::from_slice(&line) {
        Ok(value) => Line::Value(value),
        Err(error) => Line::Bad(error.to_string()),
    })
}

pub(crate) fn write(to: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    to.write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_up_to_a_limit() {
        let mut input = b"7\n\"x\n12".as_slice();
        assert!(matches!(read::<u64>(&mut input), Ok(Line::Value(7))));
        assert!(matches!(read::<u64>(&mut input), Ok(Line::Bad(_))));
        assert!(matches!(read::<u64>(&mut input), Ok(Line::Bad(what)) if what.contains("no end")));
        assert!(matches!(read::<u64>(&mut input), Ok(Line::End)));
        let long = vec![b'1'; 1 << 20];
        let mut input = long.as_slice();
        assert!(
            matches!(read::<u64>(&mut input), Ok(Line::Bad(what)) if what.contains("too long"))
        );
        assert_eq!(input.len(), (1 << 20) - (64 << 10), "the rest is not read");
    }
}
