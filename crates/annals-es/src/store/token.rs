//! Checkpoint tokens of a backend: a position with the proof of the history that it belongs to.
//!
//! Owns the text form: the store's id, the position, and the id of the last event at or before it. A store that was
//! restored to an older state and went on from there has another event at the position. Must never name a backend.

use uuid::Uuid;

use super::{OrderedStore, Position, ReadAll, StoreError, next};

/// The event of the history that a token proves; nil at the start.
async fn last_event<S: OrderedStore>(store: &S, position: Position) -> Result<Uuid, StoreError> {
    if position == Position::START {
        return Ok(Uuid::nil());
    }
    let mut read = store.read_all(ReadAll::new().up_to(position).backwards().limit(1));
    Ok(next(&mut read).await.transpose()?.map_or(Uuid::nil(), |event| event.id()))
}

/// A [checkpoint token](OrderedStore::checkpoint_token) for backends whose stores have an id and keep event ids.
///
/// # Errors
///
/// [`StoreError::PositionAhead`], and those of the store.
pub async fn history_token<S: OrderedStore>(
    store: &S,
    id: Uuid,
    position: Position,
) -> Result<String, StoreError> {
    let head = store.head().await?;
    if position > head {
        return Err(StoreError::PositionAhead { position, head });
    }
    let event = last_event(store, position).await?;
    Ok(format!("{}:{position}:{}", id.simple(), event.simple()))
}

/// The token is of another store, or of another history of this one.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Other(&'static str);

/// The position of a token from [`history_token`], for the store with this id.
///
/// # Errors
///
/// [`StoreError::OtherHistory`] for a token of another store or history, [`StoreError::PositionAhead`],
/// [`StoreError::InvalidArgument`] for a text that is no token, and those of the store.
pub async fn verify_history_token<S: OrderedStore>(
    store: &S,
    id: Uuid,
    token: &str,
) -> Result<Position, StoreError> {
    let parts: Vec<&str> = token.split(':').collect();
    let parsed = match parts[..] {
        [id, position, event] => {
            (id.parse::<Uuid>().ok(), position.parse::<u64>().ok(), event.parse::<Uuid>().ok())
        }
        _ => (None, None, None),
    };
    let (Some(of), Some(position), Some(event)) = parsed else {
        let why = format!("{token:?} is not a checkpoint token");
        return Err(StoreError::InvalidArgument { what: "token", why });
    };
    if of != id {
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
