//! The settings of the streams of a store.
//!
//! Owns what a store needs of them, and what must not be: settings that lose events. Must never contact a server.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::stream::{
    Config, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType,
};
use uuid::Uuid;

use crate::message::FORMAT;
use crate::partition::Partition;
use crate::subject::Subjects;
use crate::{Durability, Error};

/// The keys of what the metadata of a stream says about a store.
const FORMAT_KEY: &str = "annals-format";
const ID_KEY: &str = "annals-store";
const PARTITION_KEY: &str = "annals-partition";
/// The place where the history of a fenced store goes on.
pub(crate) const FENCE_KEY: &str = "annals-fence";

/// The settings of the stream of a store, or of a partition of one.
pub(crate) fn of_stream(
    name: &str,
    subjects: &Subjects,
    replicas: usize,
    partition: Option<Partition>,
) -> Config {
    let metadata =
        [(FORMAT_KEY, FORMAT.to_string()), (ID_KEY, Uuid::now_v7().simple().to_string())];
    let mut metadata: HashMap<_, _> =
        metadata.into_iter().map(|(key, it)| (key.to_owned(), it)).collect();
    if let Some(partition) = partition {
        metadata.insert(PARTITION_KEY.to_owned(), partition.to_string());
    }
    Config {
        name: name.to_owned(),
        description: Some("a store of annals-jetstream".into()),
        subjects: subjects.kept(),
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        num_replicas: replicas,
        discard: DiscardPolicy::New,
        max_bytes: -1,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        max_consumers: -1,
        deny_delete: true,
        deny_purge: true,
        allow_direct: true,
        allow_atomic_publish: true,
        metadata,
        ..Config::default()
    }
}

/// The settings of the bucket for checkpoints and snapshots.
pub(crate) fn of_bucket(name: &str, subjects: &Subjects, replicas: usize) -> Config {
    Config {
        name: format!("KV_{name}"),
        description: Some("checkpoints and snapshots of a store of annals-jetstream".into()),
        subjects: vec![subjects.bucket()],
        storage: StorageType::File,
        num_replicas: replicas,
        discard: DiscardPolicy::New,
        max_bytes: -1,
        max_messages: -1,
        // An unanswered writing is found while it is among the last ones of its key.
        max_messages_per_subject: 8,
        max_message_size: -1,
        max_consumers: -1,
        deny_delete: true,
        allow_rollup: true,
        allow_direct: true,
        ..Config::default()
    }
}

/// The id of a store and which partition it is, from the metadata of its stream.
pub(crate) fn identity(
    found: &Config,
    wanted: Option<Partition>,
) -> Result<(Uuid, Option<Partition>), Error> {
    let not_a_store = || Error::NotAStore { name: found.name.clone() };
    let id = found.metadata.get(ID_KEY).and_then(|id| id.parse().ok()).ok_or_else(not_a_store)?;
    let partition = match found.metadata.get(PARTITION_KEY) {
        Some(text) => Some(text.parse::<Partition>().map_err(|()| not_a_store())?),
        None => None,
    };
    if wanted.is_some() && partition != wanted {
        let text = |it: Option<Partition>| it.map_or("no partition".into(), |it| it.to_string());
        return Err(Error::OtherPartition { found: text(partition), wanted: text(wanted) });
    }
    Ok((id, partition))
}

/// Refuses settings that lose what was acknowledged.
pub(crate) fn check_durability(found: &Config, durability: Durability) -> Result<(), Error> {
    let lost =
        |setting: &str| Err(Error::NotDurable { setting: format!("{setting} of {}", found.name) });
    if durability == Durability::AcceptLoss {
        return Ok(());
    }
    if found.storage != StorageType::File {
        return lost("the storage in memory");
    }
    if found.persist_mode == Some(PersistenceMode::Async) {
        return lost("the asynchronous persistence");
    }
    if found.no_ack {
        return lost("the missing acknowledgement");
    }
    if durability == Durability::Replicated && found.num_replicas < 3 {
        return lost("a number of replicas below three");
    }
    Ok(())
}

/// Whether the stream was made by a version of this crate whose checkpoints did not move with a commit.
pub(crate) fn lacks_checkpoints(found: &Config, subjects: &Subjects) -> bool {
    found.metadata.contains_key(FORMAT_KEY) && found.subjects == subjects.kept_before()
}

/// Refuses a stream that is no store, is of another format, loses events, or lacks what the store needs.
pub(crate) fn check(
    found: &Config,
    subjects: &Subjects,
    replicas: Option<usize>,
    durability: Durability,
) -> Result<(), Error> {
    let format = found.metadata.get(FORMAT_KEY).and_then(|it| it.parse::<u32>().ok());
    match format {
        None => return Err(Error::NotAStore { name: found.name.clone() }),
        Some(FORMAT) => {}
        Some(found) => return Err(Error::FormatVersion { found, supported: FORMAT }),
    }
    check_durability(found, durability)?;
    if found.num_replicas != replicas.unwrap_or(found.num_replicas) {
        let what = format!("the number of replicas is {}", found.num_replicas);
        return Err(Error::Altered { what });
    }
    let loses = [
        (found.retention != RetentionPolicy::Limits, "the retention policy"),
        (found.discard != DiscardPolicy::New, "the discard policy"),
        (found.max_age > Duration::ZERO, "the greatest age of messages"),
        (found.max_messages_per_subject > 0, "the number of messages of a subject"),
        (found.allow_rollup && !found.deny_purge, "the permission to purge"),
        (!found.deny_delete, "the permission to delete messages"),
        (!found.deny_purge, "the permission to purge"),
    ];
    if let Some((_, setting)) = loses.iter().find(|(loses, _)| *loses) {
        return Err(Error::NotDurable { setting: format!("{setting} of {}", found.name) });
    }
    let is_fenced = found.metadata.contains_key(FENCE_KEY);
    let subjects = if is_fenced { vec![subjects.fence()] } else { subjects.kept() };
    let lacks = [
        (found.subjects != subjects, "the subjects"),
        (found.subject_transform.is_some(), "the transform of subjects"),
        (found.mirror.is_some() || found.sources.is_some(), "the origin of messages"),
        (!found.allow_direct, "the permission to read from replicas"),
        (!found.allow_atomic_publish, "the permission to publish batches"),
        (found.sealed, "the seal"),
    ];
    match lacks.iter().find(|(lacks, _)| *lacks) {
        Some((_, what)) => Err(Error::Altered { what: (*what).to_owned() }),
        None => Ok(()),
    }
}
