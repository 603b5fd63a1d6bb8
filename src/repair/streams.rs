//! Versions: the new version of each event of a stream, and the missing ones.

use std::collections::{BTreeMap, HashMap};

use super::report::{Moved, Range, StreamLoss};

/// The versions that the walk has reached in a stream.
#[derive(Debug, Default, Clone, Copy)]
struct Track {
    /// The stream's version in the damaged store, up to the current place of the walk.
    old: u64,
    /// The stream's version in the new store.
    new: u64,
}

#[derive(Debug, Default)]
pub(super) struct StreamLosses {
    tracks: HashMap<Box<str>, Track>,
    losses: BTreeMap<Box<str>, StreamLoss>,
    /// The highest version that something records, for streams in which the walk did not reach it.
    known: HashMap<Box<str>, u64>,
}

impl StreamLosses {
    /// The stream's version in the damaged store, up to the current place of the walk.
    pub(super) fn old_version(&self, stream: &str) -> u64 {
        self.tracks.get(stream).map_or(0, |track| track.old)
    }

    /// The version in the new store of the last kept event up to version `old`.
    pub(super) fn new_version(&self, stream: &str, old: u64) -> u64 {
        let Some(loss) = self.losses.get(stream) else {
            return self.tracks.get(stream).map_or(0, |track| old.min(track.new));
        };
        let run = loss.versions.iter().rev().find(|run| run.first <= old);
        run.map_or(0, |run| run.new_first + old.min(run.last) - run.first)
    }

    /// Takes the event with version `old`, which follows those taken before; returns its new version.
    pub(super) fn take(&mut self, stream: &str, old: u64) -> u64 {
        if !self.tracks.contains_key(stream) {
            self.tracks.insert(stream.into(), Track::default());
        }
        let Some(track) = self.tracks.get_mut(stream) else { return 0 };
        let before = *track;
        *track = Track { old, new: before.new + 1 };
        if old > before.old + 1 {
            let loss = loss_of(&mut self.losses, stream, before);
            loss.missing.push(Range { first: before.old + 1, last: old - 1 });
            loss.versions.push(Moved { first: old, last: old, new_first: before.new + 1 });
        } else if let Some(last) =
            self.losses.get_mut(stream).and_then(|loss| loss.versions.last_mut())
        {
            last.last = old;
        }
        before.new + 1
    }

    /// Notes that something records this version of the stream.
    pub(super) fn know(&mut self, stream: &str, version: u64) {
        if version > self.old_version(stream) {
            let known = self.known.entry(stream.into()).or_default();
            *known = version.max(*known);
        }
    }

    /// The streams that lost events.
    pub(super) fn finish(mut self) -> Vec<StreamLoss> {
        for (stream, version) in self.known {
            let track = self.tracks.get(&stream).copied().unwrap_or_default();
            if version > track.old {
                let loss = loss_of(&mut self.losses, &stream, track);
                loss.missing.push(Range { first: track.old + 1, last: version });
            }
        }
        self.losses.into_values().collect()
    }
}

fn loss_of<'a>(
    losses: &'a mut BTreeMap<Box<str>, StreamLoss>,
    stream: &str,
    before: Track,
) -> &'a mut StreamLoss {
    losses.entry(stream.into()).or_insert_with(|| StreamLoss {
        stream: stream.to_owned(),
        missing: Vec::new(),
        // Up to its first loss, a stream keeps its versions.
        versions: (before.old > 0)
            .then_some(Moved { first: 1, last: before.old, new_first: 1 })
            .into_iter()
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repaired_versions_stay_until_the_first_loss_and_are_dense_after_it() {
        let mut streams = StreamLosses::default();
        let taken: Vec<u64> = [1, 2, 5, 6, 8].map(|old| streams.take("a", old)).into();
        assert_eq!(taken, [1, 2, 3, 4, 5]);
        assert_eq!((streams.take("b", 1), streams.take("c", 3)), (1, 1));
        assert_eq!([0, 2, 4, 5, 7, 9].map(|old| streams.new_version("a", old)), [0, 2, 2, 3, 4, 5]);
        streams.know("a", 8);
        streams.know("b", 4);
        streams.know("d", 2);
        let losses = streams.finish();
        let range = |first, last| Range { first, last };
        let moved = |first, last, new_first| Moved { first, last, new_first };
        let missing: Vec<_> =
            losses.iter().map(|loss| (&*loss.stream, loss.missing.clone())).collect();
        assert_eq!(
            missing,
            [
                ("a", vec![range(3, 4), range(7, 7)]),
                ("b", vec![range(2, 4)]),
                ("c", vec![range(1, 2)]),
                ("d", vec![range(1, 2)]),
            ]
        );
        assert_eq!(losses[0].versions, [moved(1, 2, 1), moved(5, 6, 3), moved(8, 8, 5)]);
        assert_eq!(losses[1].versions, [moved(1, 1, 1)]);
        assert_eq!(losses[2].versions, [moved(3, 3, 1)]);
        assert_eq!(losses[3].versions, []);
    }
}
