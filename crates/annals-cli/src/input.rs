//! Input: the lines of an import, cut by a separate thread, and the bytes that an argument names.
//!
//! Owns the reading, so that a silent producer blocks neither acknowledgements nor Ctrl-C.
//! Must never hold more than one line, or one argument's bytes, beyond its bound, however long the input is.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::failure::Failure;

/// Number of bytes read at once.
const BUFFER: usize = 256 << 10;
/// Number of reads that may wait for the import.
const AHEAD: usize = 4;

/// A line without its line break.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RawLine {
    /// The number of the line, from 1.
    pub(crate) number: u64,
    /// The size of the line in the input, including the line break.
    pub(crate) size: u64,
    /// The bytes of the line; `None` if it is too long.
    pub(crate) bytes: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(crate) enum Message {
    /// The lines of one read.
    Lines(Vec<RawLine>),
    /// The input cannot be read any further.
    Failed(io::Error),
    /// The input ended.
    End,
}

/// The bytes that an argument stands for: the argument itself, those of a file (`@FILE`), or of standard
/// input (`-`). An input of more than `most` bytes is refused, and is not read to its end.
pub(crate) fn load(given: &str, most: u64) -> Result<Vec<u8>, Failure> {
    let (name, mut source): (_, Box<dyn Read>) = match given.strip_prefix('@') {
        None if given == "-" => ("standard input", Box::new(io::stdin().lock())),
        None => return Ok(given.as_bytes().to_vec()),
        Some(file) => (file, Box::new(open(file)?)),
    };
    let mut bytes = Vec::new();
    match source.by_ref().take(most.saturating_add(1)).read_to_end(&mut bytes) {
        Ok(_) if bytes.len() as u64 > most => Err(Failure::Fault(format!(
            "{name} holds more than {most} bytes, the limit: keep large data elsewhere and refer to it"
        ))),
        Ok(_) => Ok(bytes),
        Err(e) => Err(Failure::Fault(format!("cannot read {name}: {e}"))),
    }
}

fn open(file: &str) -> Result<std::fs::File, Failure> {
    #[expect(clippy::disallowed_methods, reason = "the tool's own input, not the store's files")]
    let opened = std::fs::File::open(file);
    opened.map_err(|e| Failure::Fault(format!("cannot read {file}: {e}")))
}

/// Reads `source` in a separate thread. The thread ends with the input, or with the receiver; it is
/// not joined, because a read cannot be interrupted. If `quoted`, a line goes on while the number of double
/// quotes in it is odd, as in CSV.
pub(crate) fn read(source: Box<dyn Read + Send>, max_line: u64, quoted: bool) -> Receiver<Message> {
    let (sender, receiver) = sync_channel(AHEAD);
    std::thread::spawn(move || {
        let reader = BufReader::with_capacity(BUFFER, source);
        let last = match cut(reader, max_line, quoted, &sender) {
            Ok(true) => Message::End,
            Ok(false) => return,
            Err(error) => Message::Failed(error),
        };
        // Without a receiver, the end is not reported.
        let _receiver_gone = sender.send(last);
    });
    receiver
}

/// Sends every line; returns false if there is no receiver.
fn cut(
    mut reader: impl BufRead,
    max: u64,
    quoted: bool,
    sender: &SyncSender<Message>,
) -> io::Result<bool> {
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    let mut cutter =
        Cutter { max, quoted, in_quotes: false, number: 1, size: 0, line: Some(Vec::new()) };
    loop {
        let buffer = match reader.fill_buf() {
            Ok(buffer) => buffer,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let used = buffer.len();
        let mut lines = Vec::new();
        if used == 0 {
            lines.extend(cutter.last());
        } else {
            cutter.feed(buffer, &mut lines);
        }
        reader.consume(used);
        if !lines.is_empty() && sender.send(Message::Lines(lines)).is_err() {
            return Ok(false);
        }
        if used == 0 {
            return Ok(true);
        }
    }
}

/// Splits the input into lines, independently of the boundaries between reads.
struct Cutter {
    max: usize,
    /// Whether line breaks between double quotes belong to the line.
    quoted: bool,
    in_quotes: bool,
    number: u64,
    /// Bytes of the unfinished line.
    size: u64,
    /// The bytes of the current line; `None` once it is too long.
    line: Option<Vec<u8>>,
}

impl Cutter {
    fn feed(&mut self, mut bytes: &[u8], lines: &mut Vec<RawLine>) {
        while let Some(end) = self.end_in(bytes) {
            self.extend(&bytes[..end]);
            self.size += 1;
            lines.push(self.close());
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes);
    }

    /// Where the line ends; `None` if that is not in these bytes, which are counted then.
    fn end_in(&mut self, bytes: &[u8]) -> Option<usize> {
        if !self.quoted {
            return bytes.iter().position(|&b| b == b'\n');
        }
        bytes.iter().position(|&byte| {
            self.in_quotes ^= byte == b'"';
            byte == b'\n' && !self.in_quotes
        })
    }

    /// The last line of the input, if it has no line break.
    fn last(&mut self) -> Option<RawLine> {
        (self.size > 0).then(|| self.close())
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        if let Some(line) = &mut self.line {
            if line.len() + bytes.len() > self.max {
                self.line = None;
            } else {
                line.extend_from_slice(bytes);
            }
        }
    }

    fn close(&mut self) -> RawLine {
        let mut bytes = self.line.replace(Vec::new());
        if let Some(line) = &mut bytes
            && line.last() == Some(&b'\r')
        {
            line.pop();
        }
        let line = RawLine { number: self.number, size: self.size, bytes };
        self.number += 1;
        self.size = 0;
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &'static [u8], max: u64, capacity: usize) -> Vec<(u64, Option<Vec<u8>>)> {
        cut_into(input, max, capacity, false)
    }

    fn cut_into(
        input: &'static [u8],
        max: u64,
        capacity: usize,
        quoted: bool,
    ) -> Vec<(u64, Option<Vec<u8>>)> {
        let (sender, receiver) = sync_channel(100);
        let done = cut(BufReader::with_capacity(capacity, input), max, quoted, &sender).unwrap();
        assert!(done, "the receiver is there");
        drop(sender);
        let mut found = Vec::new();
        let mut size = 0;
        for message in receiver {
            let Message::Lines(lines) = message else { panic!("no line: {message:?}") };
            size += lines.iter().map(|line| line.size).sum::<u64>();
            found.extend(lines.into_iter().map(|line| (line.number, line.bytes)));
        }
        assert_eq!(size, input.len() as u64);
        found
    }

    #[test]
    fn lines_do_not_depend_on_reads() {
        let expected = [
            (1, Some(b"ab".to_vec())),
            (2, Some(Vec::new())),
            (3, None),
            (4, Some(b"cdef".to_vec())),
            (5, Some(b"g".to_vec())),
        ];
        for capacity in 1..20 {
            assert_eq!(lines(b"ab\r\n\nlonger\ncdef\ng", 4, capacity), expected);
        }
        assert_eq!(lines(b"", 4, 8), []);
        assert_eq!(lines(b"\n", 4, 8), [(1, Some(Vec::new()))]);
    }

    #[test]
    fn line_breaks_in_quotes_belong_to_the_line() {
        let expected = [(1, Some(b"a,\"b\n\"\"c\"\"\r\nd\"".to_vec())), (2, Some(b"e".to_vec()))];
        for capacity in 1..20 {
            let input = b"a,\"b\n\"\"c\"\"\r\nd\"\r\ne\n";
            assert_eq!(cut_into(input, 100, capacity, true), expected);
        }
    }
}
