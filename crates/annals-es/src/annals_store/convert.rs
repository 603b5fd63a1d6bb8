//! Conversions between the values of the seam and those of the engine.
//!
//! Owns the meaning of each engine error to the toolkit. Must never copy the data of an event.

use annals::{Error, ExpectedVersion};

use crate::store::{
    AppendError, Committed, Conflict, ContentType, Expected, FailedCheck, Mark, NewEvent, Position,
    Query, Snapshot, StoreError, Timestamp, Version,
};

pub(super) fn new_event(event: NewEvent) -> annals::NewEvent {
    let content_type = match event.content_type {
        ContentType::Json => annals::ContentType::Json,
        ContentType::Binary => annals::ContentType::Binary,
    };
    let new = annals::NewEvent::new(event.event_type, event.data)
        .metadata(event.metadata)
        .tags(event.tags)
        .schema_version(event.schema_version)
        .content_type(content_type);
    match event.id {
        Some(id) => new.id(id),
        None => new,
    }
}

pub(super) fn expected(expected: Expected) -> ExpectedVersion {
    match expected {
        Expected::Any => ExpectedVersion::Any,
        Expected::NoStream => ExpectedVersion::NoStream,
        Expected::StreamExists => ExpectedVersion::StreamExists,
        Expected::Exact(version) => ExpectedVersion::Exact(version.get()),
    }
}

fn from_expected(expected: ExpectedVersion) -> Expected {
    match expected {
        ExpectedVersion::Any => Expected::Any,
        ExpectedVersion::NoStream => Expected::NoStream,
        ExpectedVersion::StreamExists => Expected::StreamExists,
        ExpectedVersion::Exact(version) => Expected::Exact(Version::new(version)),
    }
}

pub(super) fn query(query: &Query) -> annals::Query {
    query.items().iter().fold(annals::Query::none(), |all, item| {
        let mut of = annals::QueryItem::new().types(&item.types).tags(&item.tags);
        if let Some(stream) = &item.stream {
            of = of.stream(stream.as_str());
        }
        if let Some(category) = &item.category {
            of = of.category(category);
        }
        all.or(of)
    })
}

pub(super) fn appended(done: annals::Appended) -> Committed {
    Committed {
        first_position: Position::new(done.first_position.get()),
        last_position: Position::new(done.last_position.get()),
        versions: vec![Version::new(done.version)],
        recorded_at: Timestamp::from_micros(done.recorded_at.as_micros()),
        already_recorded: done.already_recorded,
    }
}

pub(super) fn committed(done: annals::Committed) -> Committed {
    Committed {
        first_position: Position::new(done.first_position.get()),
        last_position: Position::new(done.last_position.get()),
        versions: done.versions.into_iter().map(Version::new).collect(),
        recorded_at: Timestamp::from_micros(done.recorded_at.as_micros()),
        already_recorded: done.already_recorded,
    }
}

pub(super) fn mark(mark: Mark) -> annals::snapshot::Mark {
    match mark {
        Mark::Version(version) => annals::snapshot::Mark::Version(version.get()),
        Mark::Position(at) => annals::snapshot::Mark::Position(annals::Position::new(at.get())),
    }
}

pub(super) fn to_snapshot(snapshot: Snapshot) -> annals::snapshot::Snapshot {
    annals::snapshot::Snapshot::new(snapshot.key, mark(snapshot.mark), snapshot.state)
        .with_schema_version(snapshot.schema_version)
}

/// `None` for a kind of mark that the toolkit does not use.
pub(super) fn from_snapshot(snapshot: &annals::snapshot::Snapshot) -> Option<Snapshot> {
    let mark = match snapshot.mark() {
        annals::snapshot::Mark::Version(version) => Mark::Version(Version::new(version)),
        annals::snapshot::Mark::Position(at) => Mark::Position(Position::new(at.get())),
        _ => return None,
    };
    Some(Snapshot {
        mark,
        schema_version: snapshot.schema_version(),
        saved_at: Timestamp::from_micros(snapshot.saved_at().as_micros()),
        state: snapshot.state_bytes(),
        key: snapshot.key().to_owned(),
    })
}

pub(super) fn store_error(error: Error) -> StoreError {
    match error {
        Error::Closed => StoreError::Closed,
        Error::Fenced { to, .. } => StoreError::Fenced { to },
        Error::PositionAhead { position, head } => StoreError::PositionAhead {
            position: Position::new(position.get()),
            head: Position::new(head.get()),
        },
        Error::OtherStore { .. } | Error::OtherHistory { .. } => {
            StoreError::OtherHistory(Box::new(error))
        }
        Error::InvalidArgument { what, why } => StoreError::InvalidArgument { what, why },
        other => StoreError::Backend(Box::new(other)),
    }
}

pub(super) fn append_error(error: Error) -> AppendError {
    match error {
        Error::Conflict { failed, .. } => {
            Conflict { failed: failed.into_iter().map(failed_check).collect() }.into()
        }
        Error::IdReused { id, .. } => AppendError::IdReused { id },
        Error::DuplicateId { id } => AppendError::DuplicateId { id },
        Error::EmptyCommit => AppendError::Empty,
        Error::LimitExceeded { what, size, max, hint } => {
            AppendError::TooLarge { what: what.into(), size, max, hint: hint.into() }
        }
        Error::OutcomeUnknown { .. } => AppendError::OutcomeUnknown(Box::new(error)),
        other => store_error(other).into(),
    }
}

fn failed_check(check: annals::FailedCheck) -> FailedCheck {
    use annals::FailedCheck as Of;
    match check {
        Of::WrongExpectedVersion { stream, expected, actual, .. } => FailedCheck::Version {
            stream: stream.into(),
            expected: from_expected(expected),
            actual: Version::new(actual),
        },
        Of::AppendConditionFailed { query, position } | Of::AlreadyExists { query, position } => {
            FailedCheck::Boundary { index: query, position: Position::new(position.get()) }
        }
        Of::CursorNotForward { name, at, to } => FailedCheck::CheckpointNotForward {
            name,
            at: Position::new(at.get()),
            to: Position::new(to.get()),
        },
        other => FailedCheck::Other { what: other.to_string() },
    }
}
