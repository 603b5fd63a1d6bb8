//! The selected actions of a life: numbers and ranges, as on a command line.

use std::fmt;
use std::str::FromStr;

/// Numbers, counted from 1: all of them, or those in some ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// First and last of each range, ascending and disjoint.
    ranges: Vec<(u64, u64)>,
}

impl Selection {
    /// All numbers.
    pub fn all() -> Self {
        Self { ranges: vec![(0, u64::MAX)] }
    }

    /// These numbers, which must be ascending.
    pub fn of(numbers: &[u64]) -> Self {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for &number in numbers {
            match ranges.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
                _ => ranges.push((number, number)),
            }
        }
        Self { ranges }
    }

    /// Whether a number is among them.
    pub fn contains(&self, number: u64) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&number))
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ranges.is_empty() {
            return f.write_str("none");
        }
        for (i, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            match (first, last) {
                (0, &u64::MAX) => write!(f, "{comma}all")?,
                _ if first == last => write!(f, "{comma}{first}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => return Ok(Self::all()),
            "none" => return Ok(Self::of(&[])),
            _ => {}
        }
        let number = |text: &str| text.parse::<u64>().map_err(|e| format!("{text:?}: {e}"));
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            ranges.push((number(first)?, number(last)?));
        }
        Ok(Self { ranges })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selection_round_trips_through_its_text() {
        for text in ["all", "none", "3", "1-4", "1,3-5,9"] {
            let selection: Selection = text.parse().unwrap();
            assert_eq!(selection.to_string(), text);
        }
        let some = Selection::of(&[1, 3, 4, 5, 9]);
        assert_eq!(some.to_string(), "1,3-5,9");
        let found: Vec<u64> = (0..20).filter(|number| some.contains(*number)).collect();
        assert_eq!(found, [1, 3, 4, 5, 9]);
        assert!("1,x".parse::<Selection>().is_err());
        assert!(Selection::all().contains(u64::MAX));
    }
}
