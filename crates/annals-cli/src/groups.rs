//! Groups lines into commits.
//!
//! Owns the grouping, as a state machine without input or output. Must never pass on a part of a commit
//! as a whole one.

use annals::{Options, Timestamp};
use annals_lines::{BadLine, CommitKey, CommitOf, Record};

/// Lines without a commit of their own are committed once they have this size, in bytes.
const MAX_BATCH_BYTES: usize = 8 << 20;
/// A commit of this size does not fit into a segment, so it is not collected any further.
const MAX_COMMIT_BYTES: u64 = Options::MAX_SEGMENT_SIZE / 4;

/// An event and the line it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) line: u64,
    pub(crate) record: Record,
    /// The time at which the event is recorded; `None`: when it is stored.
    pub(crate) time: Option<Timestamp>,
    /// Its version in its stream: as stated in the line, or the number of lines of the stream up to it.
    /// 0 if it is not needed.
    pub(crate) number: u64,
}

/// A line that cannot be stored, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bad {
    pub(crate) first_line: u64,
    pub(crate) last_line: u64,
    pub(crate) what: String,
}

/// The next step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Store these lines; they may be split into several commits.
    Batch(Vec<Entry>),
    /// Store all of these lines in one commit.
    Commit(Vec<Entry>),
    /// A line was bad.
    Bad(Bad),
    /// The number of good lines that are skipped because they belong to the commit of a bad line.
    Skipped(u64),
}

#[derive(Debug)]
enum Open {
    Nothing,
    Batch { entries: Vec<Entry>, bytes: usize },
    Commit { key: CommitKey, entries: Vec<Entry>, bytes: u64, spoiled: bool, skipped: u64 },
}

#[derive(Debug)]
pub(crate) struct Groups {
    batch: usize,
    open: Open,
    /// The commit of the previous line could not be read; the next line may belong to it.
    doubt: Option<u64>,
}

impl Groups {
    pub(crate) fn new(batch: usize) -> Self {
        Self { batch, open: Open::Nothing, doubt: None }
    }

    /// Adds the next line.
    pub(crate) fn push(
        &mut self,
        line: u64,
        decoded: Result<Entry, BadLine>,
        steps: &mut Vec<Step>,
    ) {
        match decoded {
            Ok(entry) => self.good(entry, steps),
            Err(bad) => self.bad(line, bad, steps),
        }
    }

    /// The input paused: lines that may be split do not wait any longer.
    pub(crate) fn pause(&mut self, steps: &mut Vec<Step>) {
        if matches!(self.open, Open::Batch { .. }) {
            self.close(steps);
        }
    }

    /// The input ended, and the open commit ends with it.
    pub(crate) fn close(&mut self, steps: &mut Vec<Step>) {
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => {}
            Open::Batch { entries, .. } => steps.push(Step::Batch(entries)),
            Open::Commit { spoiled: true, skipped, .. } => {
                if skipped > 0 {
                    steps.push(Step::Skipped(skipped));
                }
            }
            Open::Commit { entries, .. } => steps.push(Step::Commit(entries)),
        }
    }

    fn good(&mut self, entry: Entry, steps: &mut Vec<Step>) {
        let (doubt, line) = (self.doubt.take(), entry.line);
        let Some(key) = entry.record.commit.clone() else {
            return self.good_alone(entry, steps);
        };
        if self.is_new(&key) {
            self.begin(key, steps);
            if let Some(doubtful) = doubt {
                self.spoil();
                steps.push(Step::Bad(Bad {
                    first_line: line,
                    last_line: line,
                    what: format!(
                        "skipped with its commit, because line {doubtful} may belong to the same \
                         commit"
                    ),
                }));
                return;
            }
        }
        let Open::Commit { entries, bytes, spoiled, skipped, .. } = &mut self.open else {
            return;
        };
        if *spoiled {
            *skipped += 1;
            return;
        }
        *bytes += entry.record.size() as u64;
        let first = entries.first().map_or((line, entry.time), |first| (first.line, first.time));
        let what = if *bytes > MAX_COMMIT_BYTES {
            format!("the commit takes more than {MAX_COMMIT_BYTES} bytes")
        } else if first.1 != entry.time {
            "the lines of one commit have different times of recording".to_owned()
        } else {
            entries.push(entry);
            return;
        };
        self.spoil();
        steps.push(Step::Bad(Bad { first_line: first.0, last_line: line, what }));
    }

    fn good_alone(&mut self, entry: Entry, steps: &mut Vec<Step>) {
        // A commit has one recorded time.
        let goes_on = match &self.open {
            Open::Batch { entries, .. } => entries.first().is_none_or(|it| it.time == entry.time),
            _ => false,
        };
        if !goes_on {
            self.close(steps);
        }
        if matches!(self.open, Open::Nothing) {
            self.open = Open::Batch { entries: Vec::new(), bytes: 0 };
        }
        let Open::Batch { entries, bytes } = &mut self.open else {
            return;
        };
        *bytes += entry.record.size();
        entries.push(entry);
        if entries.len() >= self.batch || *bytes >= MAX_BATCH_BYTES {
            self.close(steps);
        }
    }

    fn bad(&mut self, line: u64, bad: BadLine, steps: &mut Vec<Step>) {
        self.doubt = None;
        match bad.commit {
            CommitOf::Unknown => {
                self.spoil();
                self.doubt = Some(line);
            }
            CommitOf::Known(None) => {
                if matches!(self.open, Open::Commit { .. }) {
                    self.close(steps);
                }
            }
            CommitOf::Known(Some(key)) => {
                if self.is_new(&key) {
                    self.begin(key, steps);
                }
                self.spoil();
            }
        }
        steps.push(Step::Bad(Bad { first_line: line, last_line: line, what: bad.what }));
    }

    fn is_new(&self, wanted: &CommitKey) -> bool {
        !matches!(&self.open, Open::Commit { key, .. } if key == wanted)
    }

    fn begin(&mut self, key: CommitKey, steps: &mut Vec<Step>) {
        self.close(steps);
        self.open = Open::Commit { key, entries: Vec::new(), bytes: 0, spoiled: false, skipped: 0 };
    }

    /// Drops the open commit, if there is one; a batch continues without the bad line.
    fn spoil(&mut self) {
        if let Open::Commit { entries, spoiled, skipped, .. } = &mut self.open {
            *spoiled = true;
            *skipped += entries.len() as u64;
            *entries = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The groups of a sequence of lines: `x` = no commit, a digit = of that commit, `!` before it
    /// = bad, `?` = broken.
    fn steps(lines: &str, batch: usize) -> String {
        let mut groups = Groups::new(batch);
        let mut steps = Vec::new();
        for (number, line) in (1..).zip(lines.split_whitespace()) {
            let commit = match line.trim_start_matches('!') {
                "x" => String::new(),
                digit => format!(",\"commit\":{digit}"),
            };
            let line = match line {
                "?" => "{".to_owned(),
                bad if bad.starts_with('!') => format!("{{\"stream\":\"s\"{commit}}}"),
                _ => format!("{{\"stream\":\"s\",\"type\":\"t\",\"data\":1{commit}}}"),
            };
            let decoded = annals_lines::lines::decode(line.as_bytes());
            let entry = |record| Entry { line: number, record, time: None, number: 0 };
            groups.push(number, decoded.map(entry), &mut steps);
        }
        groups.close(&mut steps);
        steps.iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    fn shown(step: &Step) -> String {
        let lines = |entries: &[Entry]| {
            entries.iter().map(|e| e.line.to_string()).collect::<Vec<_>>().join(",")
        };
        match step {
            Step::Batch(entries) => format!("batch({})", lines(entries)),
            Step::Commit(entries) => format!("commit({})", lines(entries)),
            Step::Bad(bad) => format!("bad({})", bad.first_line),
            Step::Skipped(count) => format!("skipped({count})"),
        }
    }

    #[test]
    fn lines_group_by_commit_and_batch() {
        for (lines, expected) in [
            ("", ""),
            ("x x x x x", "batch(1,2) batch(3,4) batch(5)"),
            ("1 1 1 2 1", "commit(1,2,3) commit(4) commit(5)"),
            ("x 1 1 x", "batch(1) commit(2,3) batch(4)"),
        ] {
            assert_eq!(steps(lines, 2), expected, "{lines}");
        }
    }

    #[test]
    fn a_bad_line_takes_its_commit_along_and_no_other() {
        for (lines, expected) in [
            ("x !x x", "bad(2) batch(1,3)"),
            ("1 1 !1 1 2", "bad(3) skipped(3) commit(5)"),
            ("!1 1 2", "bad(1) skipped(1) commit(3)"),
            ("1 !2 2 3", "commit(1) bad(2) skipped(1) commit(4)"),
            ("1 !x 2", "commit(1) bad(2) commit(3)"),
            ("x !1 x", "batch(1) bad(2) batch(3)"),
        ] {
            assert_eq!(steps(lines, 9), expected, "{lines}");
        }
    }

    #[test]
    fn a_broken_line_takes_every_commit_along_that_it_may_be_of() {
        for (lines, expected) in [
            ("x ? x", "bad(2) batch(1,3)"),
            ("1 ? 1 2", "bad(2) skipped(2) commit(4)"),
            ("1 ? 2 2 3", "bad(2) skipped(1) bad(3) skipped(1) commit(5)"),
            ("x ? 1 1 x", "bad(2) batch(1) bad(3) skipped(1) batch(5)"),
            ("1 ? x 2", "bad(2) skipped(1) batch(3) commit(4)"),
            ("? ? 1", "bad(1) bad(2) bad(3)"),
        ] {
            assert_eq!(steps(lines, 9), expected, "{lines}");
        }
    }
}
