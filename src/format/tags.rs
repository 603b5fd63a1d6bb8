//! The tags in a record: each tag's length and bytes, one after the other.
//!
//! ```text
//! narrow   length u8, bytes       every tag has at most 255 bytes
//! wide     length u16, bytes      at least one tag has more
//! ```
//!
//! A flag of the record states the form. Owns both forms. Must never trust a length that it reads.

use byteorder::{ByteOrder, LittleEndian as LE};

use super::Defect;

/// The largest length of all tags of a record, with their lengths: it is stored in 16 bits.
pub(crate) const MAX_TAGS_LEN: usize = u16::MAX as usize;
/// The longest tag in the narrow form.
const MAX_NARROW: usize = u8::MAX as usize;
/// The largest number of tags in records of earlier versions, none of them empty or wide.
const MAX_PLAIN_TAGS: usize = 64;

/// What a record needs to hold an event's tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measured {
    /// Their length with the lengths of each.
    pub(crate) len: usize,
    /// Whether they need the wide form.
    pub(crate) wide: bool,
    /// Whether earlier versions refuse a record with them.
    pub(crate) extended: bool,
}

/// Measures tags in one pass.
pub(crate) fn measure(tags: &[String]) -> Measured {
    let (mut len, mut wide, mut empty) = (0_usize, false, false);
    for tag in tags {
        len = len.saturating_add(tag.len());
        wide |= tag.len() > MAX_NARROW;
        empty |= tag.is_empty();
    }
    Measured {
        len: len.saturating_add(tags.len() * if wide { 2 } else { 1 }),
        wide,
        extended: wide || empty || tags.len() > MAX_PLAIN_TAGS,
    }
}

/// Appends the tags. The caller has checked that they are within [`MAX_TAGS_LEN`].
#[expect(clippy::cast_possible_truncation, reason = "lengths are within the checked limits")]
pub(super) fn encode(out: &mut Vec<u8>, tags: &[String], wide: bool) {
    for tag in tags {
        if wide {
            out.extend_from_slice(&(tag.len() as u16).to_le_bytes());
        } else {
            out.push(tag.len() as u8);
        }
        out.extend_from_slice(tag.as_bytes());
    }
}

/// The first tag of a section, and the rest; `None` if it is cut short.
fn split(section: &[u8], wide: bool) -> Option<(&[u8], &[u8])> {
    let (len, rest) = if wide {
        let (len, rest) = section.split_at_checked(2)?;
        (LE::read_u16(len).into(), rest)
    } else {
        let (&len, rest) = section.split_first()?;
        (usize::from(len), rest)
    };
    rest.split_at_checked(len)
}

/// Checks that the section is whole tags of UTF-8, in the form that they need.
pub(super) fn verify(section: &[u8], wide: bool) -> Result<(), Defect> {
    let (mut rest, mut longest) = (section, 0);
    while !rest.is_empty() {
        let (tag, tail) = split(rest, wide).ok_or(Defect::Invalid("a tag is cut short"))?;
        if std::str::from_utf8(tag).is_err() {
            return Err(Defect::Invalid("a tag is not UTF-8"));
        }
        longest = longest.max(tag.len());
        rest = tail;
    }
    if wide && longest <= MAX_NARROW {
        return Err(Defect::Invalid("the tags are in a form that they do not need"));
    }
    Ok(())
}

/// The tags of an event, in the order they were given.
#[derive(Debug, Clone)]
pub struct Tags<'a> {
    rest: &'a [u8],
    wide: bool,
}

impl<'a> Tags<'a> {
    /// The tags in a section that [`verify`] has accepted.
    pub(super) fn new(section: &'a [u8], wide: bool) -> Self {
        Self { rest: section, wide }
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (tag, rest) = split(self.rest, self.wide)?;
        self.rest = rest;
        Some(std::str::from_utf8(tag).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(tags: &[String]) -> bool {
        let (Measured { len, wide, .. }, mut out) = (measure(tags), Vec::new());
        encode(&mut out, tags, wide);
        assert_eq!(out.len(), len);
        verify(&out, wide).unwrap();
        assert!(Tags::new(&out, wide).eq(tags.iter().map(String::as_str)));
        wide
    }

    #[test]
    fn tags_round_trip_in_the_form_that_they_need() {
        let of = |lens: &[usize]| lens.iter().map(|&len| "t".repeat(len)).collect::<Vec<_>>();
        for lens in [&[][..], &[0], &[1, 0, 255], &[0; 300]] {
            assert!(!round_trip(&of(lens)), "{lens:?}");
        }
        for lens in [&[256][..], &[0, 700, 1], &[65_533]] {
            assert!(round_trip(&of(lens)), "{lens:?}");
        }
        assert_eq!(measure(&of(&[65_533])).len, MAX_TAGS_LEN);
    }

    #[test]
    fn tags_of_earlier_versions_are_not_extended() {
        let of = |count, len| vec!["t".repeat(len); count];
        let extended = |tags: Vec<String>| measure(&tags).extended;
        assert!(!extended(of(64, 255)) && !extended(Vec::new()));
        assert!(extended(of(65, 1)) && extended(of(1, 0)) && extended(of(1, 256)));
    }

    #[test]
    fn tags_that_are_cut_short_or_in_the_other_form_are_refused() {
        for wide in [false, true] {
            let mut section = Vec::new();
            encode(&mut section, &["a".into(), "t".repeat(255 + usize::from(wide))], wide);
            verify(&section, wide).unwrap();
            assert!(verify(&section, !wide).is_err());
            assert!(verify(&section[..section.len() - 1], wide).is_err());
            section[if wide { 2 } else { 1 }] = 0xFF;
            assert_eq!(verify(&section, wide), Err(Defect::Invalid("a tag is not UTF-8")));
        }
        let mut needless = Vec::new();
        encode(&mut needless, &["a".into()], true);
        assert!(verify(&needless, true).is_err());
    }
}
