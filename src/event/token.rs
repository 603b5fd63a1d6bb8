//! Checkpoint tokens: positions for storage outside of a store, with a proof of their history.
//!
//! Owns the value and its text form. Must never access a store: the comparison with a history is
//! elsewhere.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::event::Position;

/// The version of the text form.
const VERSION: &str = "1";

/// A position for storage outside of the store, with a proof of its history.
///
/// Created by [`Store::checkpoint_token`](crate::Store::checkpoint_token), and verified by
/// [`Subscribe::after_token`](crate::subscription::Subscribe::after_token),
/// [`ReadAll::after_token`](crate::ReadAll::after_token) and
/// [`Store::verify_token`](crate::Store::verify_token). It contains the id of the store, the
/// position and the checksums of the commit at it, which cover every earlier commit. It is
/// therefore refused by another store, by a store whose log no longer reaches its position, and by
/// a store in which other events were recorded at these positions, for example after an older
/// backup was restored.
///
/// Its text form is stable and takes at most 72 bytes of ASCII: `1-<store>-<position>-<history>`,
/// where 1 is the version of the form, the position is decimal and the others are lower-case
/// hexadecimal. It is not secret, and protects against mistakes, not against forgery.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let store = annals::Store::open(dir.path().join("ledger"))?;
/// use annals::{CheckpointToken, ExpectedVersion, NewEvent};
///
/// let done = store.append("account-1", ExpectedVersion::Any, [NewEvent::new("Opened", "")])?;
/// // Kept in another database, with what was made of the events up to there.
/// let kept = store.checkpoint_token(done.last_position)?.to_string();
///
/// let token: CheckpointToken = kept.parse()?;
/// let mut subscription = store.subscribe().after_token(token).start()?;
/// assert!(subscription.next().expect("it has not ended")?.is_caught_up());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CheckpointToken {
    store: Uuid,
    position: Position,
    history: u64,
}

/// The text is not a checkpoint token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a checkpoint token: {what}")]
pub struct ParseTokenError {
    what: &'static str,
}

impl CheckpointToken {
    pub(crate) fn new(store: Uuid, position: Position, history: u64) -> Self {
        Self { store, position, history }
    }

    /// The position up to which everything is handled.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The id of the store that created it.
    pub fn store_id(&self) -> Uuid {
        self.store
    }

    pub(crate) fn history(&self) -> u64 {
        self.history
    }
}

impl fmt::Display for CheckpointToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (store, position) = (self.store.simple(), self.position.get());
        write!(f, "{VERSION}-{store}-{position}-{:016x}", self.history)
    }
}

impl FromStr for CheckpointToken {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, ParseTokenError> {
        let wrong = |what| ParseTokenError { what };
        let mut parts = text.split('-');
        let mut part = || parts.next().ok_or(wrong("it has too few parts"));
        let (version, store, position, history) = (part()?, part()?, part()?, part()?);
        if version != VERSION {
            return Err(wrong("its version is unknown"));
        }
        if parts.next().is_some() {
            return Err(wrong("it has too many parts"));
        }
        let hexadecimal = |digits: &str, len| {
            digits.len() == len && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        if !hexadecimal(store, 32) || !hexadecimal(history, 16) {
            return Err(wrong("store and history must be hexadecimal, of 32 and 16 digits"));
        }
        let store = Uuid::try_parse(store).map_err(|_| wrong("the store's id is not a UUID"))?;
        let digits = position.bytes().all(|b| b.is_ascii_digit());
        let leads_with_zero = position.len() > 1 && position.starts_with('0');
        let number = position.parse().ok().filter(|_| digits && !leads_with_zero);
        let position = number.ok_or(wrong("the position is not a number"))?;
        let history = u64::from_str_radix(history, 16);
        let history = history.map_err(|_| wrong("the history is not a number"))?;
        Ok(Self { store, position: Position::new(position), history })
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for CheckpointToken {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for CheckpointToken {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_text_round_trips_and_other_text_is_refused() {
        let token = CheckpointToken::new(Uuid::from_u128(0xAB), Position::new(17), 0x1234);
        let text = "1-000000000000000000000000000000ab-17-0000000000001234";
        assert_eq!(token.to_string(), text);
        assert_eq!(text.parse(), Ok(token));
        let most = CheckpointToken::new(Uuid::max(), Position::new(u64::MAX), u64::MAX);
        assert_eq!((most.to_string().len(), most.to_string().parse()), (72, Ok(most)));
        let wrong = [
            "",
            "1",
            "17",
            "2-000000000000000000000000000000ab-17-0000000000001234",
            "1-000000000000000000000000000000AB-17-0000000000001234",
            "1-000000000000000000000000000000ab-017-0000000000001234",
            "1-000000000000000000000000000000ab-+17-0000000000001234",
            "1-000000000000000000000000000000ab--0000000000001234",
            "1-000000000000000000000000000000ab-99999999999999999999-0000000000001234",
            "1-000000000000000000000000000000ab-17-1234",
            "1-000000000000000000000000000000ab-17-0000000000001234-",
            "1-000000000000000000000000000000ab-17-0000000000001234 ",
        ];
        for text in wrong {
            assert!(text.parse::<CheckpointToken>().is_err(), "{text:?}");
        }
        for end in 0..text.len() {
            assert!(text[..end].parse::<CheckpointToken>().is_err(), "{end}");
        }
    }
}
