//! How a path becomes the name of a stream, and a name a path again.
//!
//! | the path | the stream | back |
//! |---|---|---|
//! | UTF-8, short enough | `file-` and the path itself | cut off `file-` |
//! | else, and short enough escaped | `escaped-` and the path, with every byte but printable ASCII as `%` and two hexadecimal digits, `%` too | unescape |
//! | else | `hashed-` and 32 hexadecimal digits | the data of each of its events carries the path |
//!
//! A stream's name has at most 1,024 bytes and a path may have more, so the name cannot contain
//! every path. Two paths with the same hash would share a stream and still be distinguished,
//! because the path in the data is compared.
//!
//! Owns the rule and nothing else: bytes in, bytes out, so that the tests take it as it is.

/// The longest name of a stream, in bytes.
const NAME_BYTES_MAX: usize = 1_024;

const FILE: &str = "file-";
const ESCAPED: &str = "escaped-";
const HASHED: &str = "hashed-";

/// The name of the stream that holds the history of `path`.
pub(crate) fn stream_of(path: &[u8]) -> String {
    if let Ok(path) = std::str::from_utf8(path)
        && FILE.len() + path.len() <= NAME_BYTES_MAX
    {
        return format!("{FILE}{path}");
    }
    let escaped = escape(path);
    if ESCAPED.len() + escaped.len() <= NAME_BYTES_MAX {
        return format!("{ESCAPED}{escaped}");
    }
    format!("{HASHED}{:032x}", fnv1a_128(path))
}

/// Whether the path is not in the stream's name, so that its events must carry it.
pub(crate) fn is_carried_in_data(stream: &str) -> bool {
    stream.starts_with(HASHED)
}

/// The path of `stream`, with the help of the event's data; `None` if [`stream_of`] gives no path
/// this name.
pub(crate) fn path_of(stream: &str, carried: Option<Vec<u8>>) -> Option<Vec<u8>> {
    let path = if let Some(path) = stream.strip_prefix(FILE) {
        path.as_bytes().to_vec()
    } else if let Some(escaped) = stream.strip_prefix(ESCAPED) {
        unescape(escaped)?
    } else {
        carried?
    };
    (stream_of(&path) == stream).then_some(path)
}

/// Any bytes as printable ASCII; [`unescape`] undoes it.
pub(crate) fn escape(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 0xF)]));
        }
    }
    text
}

/// The bytes that [`escape`] made `text` of; `None` if it never makes such a text.
pub(crate) fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        if first == b'%' {
            let (digits, behind) = behind.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = behind;
        } else {
            bytes.push(first);
            rest = behind;
        }
    }
    // One spelling for one text: no `%2f`, no `%41`, no `+1` for digits.
    (escape(&bytes) == text).then_some(bytes)
}

/// FNV-1a with 128 bits: short, and only names depend on it.
fn fnv1a_128(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET, |hash, &byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}
