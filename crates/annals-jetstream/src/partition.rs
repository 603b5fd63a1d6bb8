//! The partition of a stream.
//!
//! Owns the rule that the streams of a category are together. Must never contact a server.

use std::fmt;
use std::str::FromStr;

use annals_es::StreamName;

/// One of a number of partitions, from 1 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Partition {
    number: u32,
    of: u32,
}

/// The number of the partition of a category, as it is written in names: by its hash, FNV-1a with 64 bits.
fn number_of(category: &str, of: u32) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in category.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    u32::try_from(hash % u64::from(of.max(1))).map_or(1, |number| number + 1)
}

impl Partition {
    /// All of a number of partitions, at least one.
    pub(crate) fn all(of: u32) -> impl Iterator<Item = Self> {
        let of = of.max(1);
        (1..=of).map(move |number| Self { number, of })
    }

    pub(crate) fn number(self) -> u32 {
        self.number
    }

    /// The index of the partition that has a stream, of a number of them.
    pub(crate) fn index_of(stream: &str, of: usize) -> usize {
        let category = stream.split_once('-').map_or(stream, |(category, _)| category);
        number_of(category, u32::try_from(of).unwrap_or(u32::MAX)) as usize - 1
    }

    /// Whether a stream is here.
    pub(crate) fn has(self, stream: &StreamName) -> bool {
        Self::index_of(stream.as_str(), self.of as usize) + 1 == self.number as usize
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.number, self.of)
    }
}

impl FromStr for Partition {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (number, of) = text.split_once(" of ").ok_or(())?;
        let (number, of) = (number.parse().map_err(|_| ())?, of.parse().map_err(|_| ())?);
        if (1..=of).contains(&number) { Ok(Self { number, of }) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn category_has_one_partition_for_ever() {
        for of in [1, 2, 7, 64] {
            let all: Vec<Partition> = Partition::all(of).collect();
            for stream in ["account-1", "account-2", "audit", "a-b-c", "-", "größe-1"] {
                let name = stream.into();
                assert_eq!(all.iter().filter(|it| it.has(&name)).count(), 1, "{stream}");
            }
            let of_two = ["account-1", "account-2"].map(|it| Partition::index_of(it, of as usize));
            assert_eq!(of_two[0], of_two[1]);
            for partition in all {
                assert_eq!(partition.to_string().parse(), Ok(partition));
            }
        }
        // What is stored is found by the same rule.
        assert_eq!((number_of("account", 8), number_of("order", 8), number_of("", 8)), (5, 8, 6));
    }

    #[test]
    fn other_text_is_no_partition() {
        for text in ["", "1", "0 of 3", "4 of 3", "x of 3", "1 of 0", "-1 of 3"] {
            assert_eq!(text.parse::<Partition>(), Err(()), "{text:?}");
        }
    }
}
