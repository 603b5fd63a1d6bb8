//! Events that are found by their ids, and commits that were recorded earlier.
//!
//! Owns the meaning of an id that is recorded: the event that has it is the same, or the id is used by another one.

use annals_es::{AppendError, Committed, ContentType, NewEvent, RecordedEvent, StreamName};
use futures_util::future::try_join_all;
use uuid::Uuid;

use crate::Error;
use crate::message::{self, Stored};
use crate::plan::{self, Plan};
use crate::shared::Shared;

impl Shared {
    /// Where the event with an id is, if the id was given when it was appended.
    pub(crate) async fn place(&self, id: Uuid) -> Result<Option<(u64, usize)>, Error> {
        let found = self.servers.last(&self.name, &self.subjects.id(id)).await?;
        found.map(|found| found.place()).transpose()
    }

    /// A message that is known to exist.
    pub(crate) async fn message(&self, sequence: u64) -> Result<Stored, Error> {
        let found = self.servers.at(&self.name, sequence).await?;
        found.ok_or_else(|| Error::Altered { what: format!("message {sequence} is missing") })
    }

    /// The messages with events of the commit that a message belongs to.
    async fn commit_of(&self, message: &Stored) -> Result<Vec<Stored>, Error> {
        let part = message.part()?;
        let first = message.sequence.saturating_sub(part.number);
        let reads = (first..first + part.parts).map(|sequence| self.message(sequence));
        try_join_all(reads).await
    }

    /// The result of a commit of which one message was found.
    pub(crate) async fn stored_commit(
        &self,
        plan: &Plan,
        message: &Stored,
    ) -> Result<Committed, Error> {
        let messages = self.commit_of(message).await?;
        let mut stored = messages.iter();
        let (Some(first), Some(last)) = (messages.first(), messages.last()) else {
            return Err(Error::Altered { what: "a commit has no messages".into() });
        };
        let mut versions = Vec::with_capacity(plan.parts.len());
        for part in &plan.parts {
            let of_part = if part.events.is_empty() { None } else { stored.next() };
            versions.push(match of_part {
                Some(message) => message.part()?.last_version(),
                None => self.tail(&plan.streams[part.stream].subject).await?.0.version,
            });
        }
        let (at, last) = (first.part()?.recorded_at, (last.sequence, last.part()?.events - 1));
        let (first, last) =
            (message::position_of(first.sequence, 0), message::position_of(last.0, last.1));
        self.signal.committed(last);
        Ok(Committed::new(first, last, versions, at))
    }

    /// The result of an earlier commit, if the events of this one are recorded.
    pub(crate) async fn recorded_earlier(
        &self,
        plan: &Plan,
    ) -> Result<Option<Committed>, AppendError> {
        let places = try_join_all(
            plan.ids().map(|id| async move { Ok::<_, Error>((id, self.place(id).await?)) }),
        );
        let places: Vec<(Uuid, Option<(u64, usize)>)> = places.await?;
        let known = places.iter().find_map(|(id, place)| Some((*id, (*place)?)));
        let Some((known, (sequence, _))) = known else { return Ok(None) };
        let message = self.message(sequence).await?;
        let messages = self.commit_of(&message).await?;
        let mut recorded = Vec::new();
        for message in &messages {
            recorded.extend(message.events()?);
        }
        let new: Vec<(&StreamName, &Uuid, &NewEvent)> = plan
            .parts
            .iter()
            .flat_map(|part| {
                let name = &plan.streams[part.stream].name;
                part.events.iter().map(move |(id, event)| (name, id, event))
            })
            .collect();
        let begins =
            recorded.iter().position(|event| Some(event.id()) == new.first().map(|it| *it.1));
        let same = begins.and_then(|begins| recorded.get(begins..begins + new.len()));
        let Some(same) = same else { return Err(AppendError::IdReused { id: known }) };
        for ((stream, id, event), recorded) in new.iter().zip(same) {
            if **id != recorded.id() || !is_same(recorded, stream, event) {
                let is_known = places.iter().any(|(it, place)| it == *id && place.is_some());
                return Err(AppendError::IdReused { id: if is_known { **id } else { known } });
            }
        }
        let (Some(first), Some(last)) = (same.first(), same.last()) else { return Ok(None) };
        let (mut index, mut versions) = (0, Vec::with_capacity(plan.parts.len()));
        for part in &plan.parts {
            index += part.events.len();
            versions.push(if part.events.is_empty() {
                let subject = &plan.streams[part.stream].subject;
                self.tail(subject).await?.0.version
            } else {
                same[index - 1].version()
            });
        }
        let mut done =
            Committed::new(first.position(), last.position(), versions, first.recorded_at());
        done.already_recorded = true;
        Ok(Some(done))
    }

    /// The event of a stream that has an id.
    pub(crate) async fn find(
        &self,
        stream: &StreamName,
        id: Uuid,
    ) -> Result<Option<RecordedEvent>, Error> {
        if let Some((sequence, index)) = self.place(id).await? {
            let events = self.message(sequence).await?.events()?;
            let event = events.into_iter().nth(index);
            return Ok(event.filter(|it| it.id() == id && it.stream() == stream.as_str()));
        }
        if !plan::may_be_generated(id) {
            return Ok(None);
        }
        let subject = self.subjects.stream(stream);
        let mut scan = self.scan(&subject, 1, self.tail(&subject).await?.0.sequence);
        while let Some(message) = scan.next().await? {
            if let Some(event) = message.events()?.into_iter().find(|event| event.id() == id) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}

fn is_same(recorded: &RecordedEvent, stream: &StreamName, new: &NewEvent) -> bool {
    let is_json = |content_type| content_type == ContentType::Json;
    recorded.stream() == stream.as_str()
        && recorded.event_type() == new.event_type
        && recorded.schema_version() == new.schema_version
        && is_json(recorded.content_type()) == is_json(new.content_type)
        && recorded.data() == new.data
        && recorded.metadata() == new.metadata
        && recorded.tags().eq(new.tags.iter().map(String::as_str))
}
