//! From the store back to trees, held against git's.
//!
//! Everything on the store's side is computed from events, including the position at which a git
//! commit ends. Replaying is strict: a path is added where there is none, and changed or deleted
//! only from its former entry.
//!
//! Owns the points of the history that are checked and the comparison.

use std::collections::HashMap;
use std::collections::btree_map::Entry as TreeEntry;
use std::io::Write;
use std::ops::ControlFlow;

use annals::{AsOf, Event, EventRef, Position, Store, Timestamp};

use crate::Result;
use crate::change::{Act, Change, Entry, Metadata};
use crate::git::{Repository, Tree};
use crate::paths::escape;

/// How many streams are read alone, spread evenly over all there are.
const STREAMS: u64 = 64;

/// How many differences of one comparison are printed.
const DIFFERENCES: usize = 10;

/// Where a git commit ends in the store.
struct Mark {
    commit: String,
    position: Position,
    recorded_at: Timestamp,
}

/// A commit to compare, and how it is read from the store.
struct Point<'a> {
    label: String,
    commit: &'a str,
    as_of: AsOf,
}

/// Compares, prints a line each, and returns whether everything matches.
pub(crate) fn check(
    repository: &Repository,
    history: &[String],
    store: &Store,
    out: &mut impl Write,
) -> Result<bool> {
    let marks = marks(store)?;
    let points = points(history, &marks)?;
    let streams = streams(store)?;
    let mut all_match = true;
    for point in &points {
        let expected = repository.tree(point.commit)?;
        let actual = replay(store, point.as_of)?;
        let mut differences = compare(&expected, &actual);
        for stream in &streams {
            differences.extend(check_stream(store, stream, point.as_of, &expected)?);
        }
        all_match &= differences.is_empty();
        report(point, &expected, streams.len(), &differences, out)?;
    }
    Ok(all_match)
}

/// Where each git commit ends, from the events.
fn marks(store: &Store) -> Result<Vec<Mark>> {
    let mut marks = Vec::new();
    let ended = store.read_all().try_for_each(|event: EventRef<'_>| {
        if event.is_last_in_commit() {
            match Metadata::from_json(event.metadata()) {
                Ok(metadata) => marks.push(Mark {
                    commit: metadata.commit,
                    position: event.position(),
                    recorded_at: event.recorded_at(),
                }),
                Err(error) => return ControlFlow::Break(error),
            }
        }
        ControlFlow::Continue(())
    })?;
    match ended {
        ControlFlow::Continue(()) => Ok(marks),
        ControlFlow::Break(error) => Err(error),
    }
}

/// HEAD, three earlier commits, and a commit by its time.
fn points<'a>(history: &'a [String], marks: &'a [Mark]) -> Result<Vec<Point<'a>>> {
    let index: HashMap<&str, usize> =
        history.iter().enumerate().map(|(index, commit)| (commit.as_str(), index)).collect();
    let mut ends = Vec::with_capacity(marks.len());
    for mark in marks {
        let end = index.get(mark.commit.as_str());
        ends.push(*end.ok_or_else(|| format!("{} is not in the history", mark.commit))?);
    }
    if !ends.is_sorted_by(|earlier, later| earlier < later) {
        return Err("the store holds the commits in another order than git".into());
    }

    let last = history.len().saturating_sub(1);
    let mut at = vec![last, last * 3 / 4, last / 2, last / 4];
    at.dedup();
    let mut points = Vec::new();
    for index in at {
        // A commit without changes left nothing: the tree is that of the one before, or none.
        let before = ends.partition_point(|&end| end <= index);
        let position = before.checked_sub(1).map_or(Position::START, |i| marks[i].position);
        points.push(Point {
            label: label(last - index),
            commit: &history[index],
            as_of: AsOf::Position(position),
        });
    }

    // Commits that share a microsecond cannot be distinguished by time, except for the last of
    // them.
    let alone =
        |i: &usize| marks.get(i + 1).is_none_or(|next| next.recorded_at != marks[*i].recorded_at);
    if let Some(i) = (marks.len() / 2..marks.len()).find(alone) {
        points.push(Point {
            label: label(last - ends[i]),
            commit: &marks[i].commit,
            as_of: AsOf::Time(marks[i].recorded_at),
        });
    }
    Ok(points)
}

fn label(before_head: usize) -> String {
    if before_head == 0 { "HEAD".to_owned() } else { format!("HEAD~{before_head}") }
}

/// The tree that the events up to then add up to.
fn replay(store: &Store, as_of: AsOf) -> Result<Tree> {
    let mut tree = Tree::new();
    let ended = store.read_all().as_of(as_of).try_for_each(|event: EventRef<'_>| {
        let done = Change::from_event(event.stream(), event.event_type(), event.data())
            .and_then(|change| apply(&mut tree, change));
        match done {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                ControlFlow::Break(format!("the event at position {}: {error}", event.position()))
            }
        }
    })?;
    match ended {
        ControlFlow::Continue(()) => Ok(tree),
        ControlFlow::Break(error) => Err(error.into()),
    }
}

fn apply(tree: &mut Tree, Change { path, act }: Change) -> Result<()> {
    let name = escape(&path);
    match tree.entry(path) {
        TreeEntry::Vacant(vacant) => {
            if let Act::Added { new } = act {
                vacant.insert(new);
                return Ok(());
            }
            Err(format!("{name} is changed, and is not there").into())
        }
        TreeEntry::Occupied(mut occupied) => {
            if act.old() != Some(occupied.get()) {
                return Err(format!("{name} is not what the event says it was").into());
            }
            match act.into_new() {
                Some(new) => drop(occupied.insert(new)),
                None => drop(occupied.remove()),
            }
            Ok(())
        }
    }
}

/// The first differences, in words.
fn compare(expected: &Tree, actual: &Tree) -> Vec<String> {
    let missing_or_other = expected.iter().filter_map(|(path, entry)| {
        let found = actual.get(path);
        (found != Some(entry)).then(|| difference(path, Some(entry), found))
    });
    let extra = actual
        .iter()
        .filter(|(path, _)| !expected.contains_key(*path))
        .map(|(path, entry)| difference(path, None, Some(entry)));
    missing_or_other.chain(extra).collect()
}

fn difference(path: &[u8], git: Option<&Entry>, events: Option<&Entry>) -> String {
    let say = |entry: Option<&Entry>| {
        entry.map_or_else(|| "nothing".to_owned(), |entry| format!("{} {}", entry.mode, entry.oid))
    };
    format!("{}: git has {}, the events {}", escape(path), say(git), say(events))
}

/// The names of some streams, those of deleted paths among them.
fn streams(store: &Store) -> Result<Vec<String>> {
    let step = usize::try_from(store.stats().streams / STREAMS)?.max(1);
    let mut names = Vec::new();
    for stream in store.streams().into_iter().step_by(step) {
        names.push(stream?.name);
    }
    Ok(names)
}

/// Reads one stream alone, whole and as of a commit: its versions have no gaps, its head is right,
/// and its last event up to the commit gives git's entry at the path.
fn check_stream(
    store: &Store,
    stream: &str,
    as_of: AsOf,
    expected: &Tree,
) -> Result<Option<String>> {
    let whole = store.read_stream(stream).into_iter().collect::<annals::Result<Vec<Event>>>()?;
    let then =
        store.read_stream(stream).as_of(as_of).into_iter().collect::<annals::Result<Vec<_>>>()?;
    let wrong = |what: &str| Ok(Some(format!("stream {stream:?}: {what}")));

    let head = store.stream_head(stream)?.map(|head| (head.version, head.last_position));
    if head != whole.last().map(|last| (last.version(), last.position())) {
        return wrong("its head is not its last event");
    }
    if !whole.iter().zip(1..).all(|(event, version)| event.version() == version) {
        return wrong("its versions are not 1, 2, 3 …");
    }
    let count = u64::try_from(then.len())?;
    if !then.iter().zip(&whole).all(|(then, now)| then.position() == now.position()) {
        return wrong("its past is not a part of its whole");
    }
    let by_version = store.read_stream(stream).as_of(AsOf::Version(count)).into_iter().count();
    if by_version != then.len() {
        return wrong("as of a version it has another length than that version");
    }

    let Some(first) = whole.first() else {
        return wrong("it is listed and has no events");
    };
    let path = change_in(first)?.path;
    let mut tree = Tree::new();
    for event in &then {
        apply(&mut tree, change_in(event)?)?;
    }
    let (git, events) = (expected.get(&path), tree.get(&path));
    Ok((git != events)
        .then(|| format!("stream {stream:?} alone: {}", difference(&path, git, events))))
}

fn change_in(event: &Event) -> Result<Change> {
    Change::from_event(event.stream(), event.event_type(), event.data())
}

fn report(
    point: &Point<'_>,
    expected: &Tree,
    streams: usize,
    differences: &[String],
    out: &mut impl Write,
) -> Result<()> {
    let as_of = match point.as_of {
        AsOf::Position(position) => format!("position {position}"),
        AsOf::Time(time) => format!("time {} µs", time.as_micros()),
        _ => return Err("a point is looked at by position or by time".into()),
    };
    writeln!(
        out,
        "{:<11} {} as of {as_of}: {} paths, {streams} streams alone, {}",
        point.label,
        point.commit.get(..12).unwrap_or(point.commit),
        expected.len(),
        if differences.is_empty() { "same" } else { "DIFFERENT" },
    )?;
    for difference in differences.iter().take(DIFFERENCES) {
        writeln!(out, "  {difference}")?;
    }
    if let Some(more) = differences.len().checked_sub(DIFFERENCES).filter(|more| *more > 0) {
        writeln!(out, "  and {more} more")?;
    }
    Ok(())
}
