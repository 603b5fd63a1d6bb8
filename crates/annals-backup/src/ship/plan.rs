//! The objects that a segment is divided into while it grows.
//!
//! Owns the choice of what is uploaded again to keep their number small. No input or output.
//!
//! A segment gains a part with each upload, at a low rate very many. When there are too many, the last ones become one:
//! as many as are together at least as long as the part before them. A byte is then uploaded again only into a part at
//! least twice as long, or with [`MOST_PARTS`] others: the parts of a segment of n bytes are about log2(n) at most
//! beyond that number, as in a log-structured merge tree with a fan-out of 2. A full segment has few parts for good: long
//! ones stay, and the rest is uploaded again as one.

use crate::manifest::Part;

/// Parts that a segment may have before some become one.
pub(super) const MOST_PARTS: usize = 32;

/// Parts that a full segment may have.
const MOST_PARTS_OF_FULL: u64 = 5;

/// The number of leading parts of a full segment of `len` bytes that stay as they are. What follows them is uploaded as one
/// part: compressing a long part a second time would cost more than reading one object more.
pub(super) fn parts_of_full(parts: &[Part], len: u64) -> usize {
    let is_long = |part: &&Part| part.to - part.from >= len.div_ceil(MOST_PARTS_OF_FULL - 1);
    parts.iter().take_while(is_long).count()
}

/// The number of leading parts that stay as they are; what follows them is uploaded as one part that ends at `to`.
pub(super) fn parts_to_keep(parts: &[Part], to: u64) -> usize {
    if parts.len() < MOST_PARTS {
        return parts.len();
    }
    let mut keep = parts.len() - 1;
    while keep > 0 {
        let (before, rest) = (&parts[keep - 1], to - parts[keep].from);
        if before.to - before.from > rest {
            break;
        }
        keep -= 1;
    }
    keep
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(from: u64, to: u64) -> Part {
        Part { object: String::new(), from, to, stored: 0, digest: String::new() }
    }

    #[test]
    fn number_of_parts_and_bytes_uploaded_again_stay_small() {
        let (mut parts, mut uploaded, mut most) = (Vec::<Part>::new(), 0, 0);
        let total = 100_000;
        for end in 1..=total {
            let keep = parts_to_keep(&parts, end);
            let from = parts.get(keep).map_or(end - 1, |part| part.from);
            parts.truncate(keep);
            parts.push(part(from, end));
            uploaded += end - from;
            most = most.max(parts.len());
        }
        assert!(most <= MOST_PARTS, "{most} parts");
        assert!(uploaded < 20 * total, "each byte was uploaded {} times", uploaded / total);
        assert!(parts.windows(2).all(|two| two[0].to == two[1].from));
        assert_eq!((parts[0].from, parts.last().map(|part| part.to)), (0, Some(total)));
    }

    #[test]
    fn full_segment_keeps_its_long_first_parts_alone() {
        let kept = |ends: &[u64], len| {
            let starts = std::iter::once(&0).chain(ends);
            let parts: Vec<_> = starts.zip(ends).map(|(from, to)| part(*from, *to)).collect();
            parts_of_full(&parts, len)
        };
        assert_eq!(kept(&[], 100), 0);
        assert_eq!(kept(&[24, 60], 100), 0);
        assert_eq!(kept(&[25, 60, 80], 100), 2);
        assert_eq!(kept(&[25, 50, 75, 100], 100), 4);
        assert_eq!(kept(&[25, 50, 76], 101), 0);
        assert_eq!(kept(&[26, 52, 78], 101), 3);
    }
}
