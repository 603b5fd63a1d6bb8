//! Text encodings of input that was written with editors and shells.
//!
//! Owns the treatment of a byte order mark. Must never change a byte other than a mark.

/// The mark that some editors and shells put before the first character of UTF-8 text.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// The bytes without a UTF-8 byte order mark at their beginning.
///
/// ```
/// assert_eq!(annals_lines::encoding::without_mark(b"\xef\xbb\xbf{}"), b"{}");
/// assert_eq!(annals_lines::encoding::without_mark(b"{}"), b"{}");
/// ```
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK).unwrap_or(bytes)
}

/// If the bytes begin with the mark of an encoding other than UTF-8, names the encoding and the
/// solution.
pub fn foreign(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16: convert it to UTF-8"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_is_taken_off_once_and_at_the_beginning_only() {
        let marked = [MARK, MARK, b"1", MARK].concat();
        assert_eq!(without_mark(&marked), [MARK, b"1", MARK].concat());
        assert_eq!(without_mark(&MARK[..2]), &MARK[..2]);
        assert_eq!(without_mark(b""), b"");
    }

    #[test]
    fn utf_16_is_named() {
        assert!(foreign(b"\xff\xfe{\0}\0").is_some());
        assert!(foreign(b"\xfe\xff\0{\0}").is_some());
        assert!(foreign(MARK).is_none() && foreign(b"{}").is_none() && foreign(b"").is_none());
    }
}
