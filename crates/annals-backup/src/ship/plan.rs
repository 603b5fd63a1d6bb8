//! The objects that a segment is divided into while it grows.
//!
//! Owns the choice of what is uploaded again to keep their number small. No input or output.
//!
//! A segment gains a part with each upload, at a low rate very many. When there are too many, the last ones become one:
//! as many as are together at least as long as the part before them. A byte is then uploaded again only into a part at
//! least twice as long, or with [`MOST_PARTS`] others: the parts of a segment of n bytes are about log2(n) at most
//! beyond that number, as in a log-structured merge tree with a fan-out of 2.

use crate::manifest::Part;

/// Parts that a segment may have before some become one.
pub(super) const MOST_PARTS: usize = 32;

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
}
