//! Checkpoint tokens: a position with the proof of the history that it belongs to.
//!
//! Owns the text form: the store's id, the position, and the id of the last event at or before it. A stream that was
//! restored to an older state and went on from there has another event at the position.

use annals_es::{OrderedStore, Position, ReadAll, StoreError, next};
use uuid::Uuid;

use crate::{JetStreamStore, check};

async fn last_event(store: &JetStreamStore, position: Position) -> Result<Uuid, StoreError> {
    if position == Position::START {
        return Ok(Uuid::nil());
    }
    let mut read = store.read_all(ReadAll::new().up_to(position).backwards().limit(1));
    Ok(next(&mut read).await.transpose()?.map_or(Uuid::nil(), |event| event.id()))
}

pub(crate) async fn of(store: &JetStreamStore, position: Position) -> Result<String, StoreError> {
    let head = store.head().await?;
    if position > head {
        return Err(StoreError::PositionAhead { position, head });
    }
    let event = last_event(store, position).await?;
    Ok(format!("{}:{position}:{}", store.id().simple(), event.simple()))
}

/// The token is of another store, or of another history of this one.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Other(&'static str);

pub(crate) async fn verify(store: &JetStreamStore, token: &str) -> Result<Position, StoreError> {
    let parts: Vec<&str> = token.split(':').collect();
    let parsed = match parts[..] {
        [id, position, event] => {
            (id.parse::<Uuid>().ok(), position.parse::<u64>().ok(), event.parse::<Uuid>().ok())
        }
        _ => (None, None, None),
    };
    let (Some(id), Some(position), Some(event)) = parsed else {
        return Err(check::invalid("token", format!("{token:?} is not a checkpoint token")));
    };
    if id != store.id() {
        return Err(StoreError::OtherHistory(Box::new(Other("it is of another store"))));
    }
    let (position, head) = (Position::new(position), store.head().await?);
    if position > head {
        return Err(StoreError::PositionAhead { position, head });
    }
    if last_event(store, position).await? != event {
        let other = Other("the event at its position is another one");
        return Err(StoreError::OtherHistory(Box::new(other)));
    }
    Ok(position)
}
