//! Errors of annals as errors of the event store.
//!
//! Owns the choice of the variant. Must never drop a cause: upstream's variants hold text, so the text has the whole
//! chain.

use std::error::Error as StdError;
use std::io::ErrorKind;

use annals::{Error, FailedCheck};
use nautilus_event_store::EventStoreError;

/// The writer stops the trader on every error, and reports a full disk apart. Recovery quarantines a run only for
/// damage.
pub(crate) fn from_annals(error: &Error) -> EventStoreError {
    let text = with_causes(error);
    match error {
        Error::DiskFull { .. } => EventStoreError::Disk(text),
        Error::Io { source, .. } if is_disk_pressure(source.kind()) => EventStoreError::Disk(text),
        Error::Corrupt { .. } | Error::Unsupported { .. } => EventStoreError::Corrupted(text),
        _ => EventStoreError::Backend(text),
    }
}

/// Why a commit to a run failed. `seq` is that of the first entry.
pub(crate) fn of_commit(error: &Error, seq: u64) -> EventStoreError {
    let checks = error.failed_checks();
    if checks.iter().any(|it| matches!(it, FailedCheck::WrongRecordVersion { .. })) {
        return EventStoreError::Closed;
    }
    let version = checks.iter().find_map(|it| match it {
        FailedCheck::WrongExpectedVersion { actual, .. } => Some(*actual),
        _ => None,
    });
    match version {
        Some(high_watermark) => EventStoreError::OutOfOrder { high_watermark, seq },
        None => from_annals(error),
    }
}

pub(crate) fn backend(text: impl Into<String>) -> EventStoreError {
    EventStoreError::Backend(text.into())
}

pub(crate) fn corrupted(what: impl AsRef<str>, why: &dyn std::fmt::Display) -> EventStoreError {
    EventStoreError::Corrupted(format!("{}: {why}", what.as_ref()))
}

fn is_disk_pressure(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::FileTooLarge | ErrorKind::QuotaExceeded)
}

fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn io_error(kind: ErrorKind) -> Error {
        Error::Io { operation: "write", path: "segment".into(), source: kind.into() }
    }

    #[test]
    fn full_disk_in_each_form_is_a_disk_error() {
        let full = Error::DiskFull { path: "segment".into(), needed: Some(1) };
        assert!(matches!(from_annals(&full), EventStoreError::Disk(_)));
        for kind in [ErrorKind::StorageFull, ErrorKind::FileTooLarge, ErrorKind::QuotaExceeded] {
            assert!(matches!(from_annals(&io_error(kind)), EventStoreError::Disk(_)), "{kind}");
        }
    }

    #[test]
    fn other_io_error_is_a_backend_error_with_its_cause() {
        let EventStoreError::Backend(text) = from_annals(&io_error(ErrorKind::PermissionDenied))
        else {
            panic!("no backend error")
        };
        let cause = io::Error::from(ErrorKind::PermissionDenied).to_string();
        assert!(text.contains("segment") && text.contains(&cause), "{text}");
    }
}
