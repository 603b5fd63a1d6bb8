//! The settings of a subscription: where it begins, and which events it delivers.
//!
//! Owns the settings and their limits. Must never read an event: the first call for a message does.

use std::sync::Arc;

use super::changes::ChangeFeed;
use super::commits::Gathering;
use super::reached::Reporter;
use super::{Portion, Subscription};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::Position;
use crate::event::token::CheckpointToken;
use crate::query::Query;
use crate::read::{ChangeNumber, ChangeScan, ReadStream, Scan};

/// The settings of a subscription; see [`Store::subscribe`](crate::Store::subscribe).
#[derive(Debug, Clone)]
#[must_use = "a subscription does nothing before it is started"]
#[allow(clippy::struct_excessive_bools, reason = "each is a question of its own")]
pub struct Subscribe {
    engine: Arc<Engine>,
    from: Start,
    /// The only stream whose events are delivered.
    stream: Option<String>,
    query: Option<Query>,
    batch_size: usize,
    progress_every: u64,
    include_unsynced: bool,
    include_hidden: bool,
    include_metadata: bool,
    manual_progress: bool,
    whole_commits: bool,
}

#[derive(Debug, Clone)]
enum Start {
    After(u64),
    Now,
    Cursor(String),
    Token(CheckpointToken),
    /// After this version of the stream.
    Version(u64),
}

impl Subscribe {
    pub(crate) fn new(engine: Arc<Engine>, stream: Option<String>) -> Self {
        Self {
            engine,
            from: Start::After(0),
            stream,
            query: None,
            batch_size: 256,
            progress_every: Subscription::PROGRESS_EVERY,
            include_unsynced: false,
            include_hidden: false,
            include_metadata: false,
            manual_progress: false,
            whole_commits: false,
        }
    }

    /// Everything after this position. Default: [`Position::START`]. A position after the head is an
    /// error at the start, because events would be skipped if the position belongs to another
    /// history. A reader beside a writer follows the writer first, so that a position that the writer
    /// acknowledged is visible.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent, Position};
    ///
    /// let events = ["Opened", "Closed"].map(|event_type| NewEvent::new(event_type, ""));
    /// store.append("account-1", ExpectedVersion::Any, events)?;
    /// let mut subscription = store.subscribe().after(Position::new(1)).start()?;
    /// let message = subscription.next().expect("it has not ended")?;
    /// assert_eq!(message.events()[0].event_type(), "Closed");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn after(mut self, position: impl Into<Position>) -> Self {
        self.from = Start::After(position.into().get());
        self
    }

    /// Everything after the position of a token, which is verified at the start: a consumer that
    /// stores its position elsewhere thereby detects that the store was restored to an older state
    /// or is another one.
    pub fn after_token(mut self, token: CheckpointToken) -> Self {
        self.from = Start::Token(token);
        self
    }

    /// The stream's event at this version and all later ones; for a subscription to one stream, see
    /// [`Store::subscribe_stream`](crate::Store::subscribe_stream). 0 and 1 are the first event, and
    /// the version after the last one begins with the next event. A greater version is an error at the
    /// start, because events would be skipped.
    ///
    /// The event is found in the indexes: what precedes it is not scanned.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent};
    ///
    /// let events = ["Opened", "Deposited", "Closed"].map(|it| NewEvent::new(it, ""));
    /// store.append("account-1", ExpectedVersion::Any, events)?;
    /// let mut events = store.subscribe_stream("account-1").from_version(3).start()?.events();
    /// assert_eq!(events.next().expect("it has not ended")?.event_type(), "Closed");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_version(self, version: u64) -> Self {
        self.after_version(version.saturating_sub(1))
    }

    /// The stream's events after this version, as [`from_version`](Self::from_version) with the next one:
    /// for a consumer that has stored the version of the last event it handled. 0 is before the first.
    pub fn after_version(mut self, version: u64) -> Self {
        self.from = Start::Version(version);
        self
    }

    /// Only what becomes visible after [`Subscribe::start`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent};
    ///
    /// store.append("account-1", ExpectedVersion::Any, [NewEvent::new("Opened", "")])?;
    /// let mut events = store.subscribe().from_now().start()?.events();
    /// store.append("account-1", ExpectedVersion::Any, [NewEvent::new("Closed", "")])?;
    /// assert_eq!(events.next().expect("it has not ended")?.event_type(), "Closed");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_now(mut self) -> Self {
        self.from = Start::Now;
        self
    }

    /// Everything after the position of this cursor at [`Subscribe::start`]; everything, if it was
    /// never set. The subscription only reads the cursor: the consumer moves it after its work.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent};
    ///
    /// let events = ["Opened", "Closed"].map(|event_type| NewEvent::new(event_type, ""));
    /// store.append("account-1", ExpectedVersion::Any, events)?;
    /// store.cursors().advance("emailer", 1)?;
    /// let mut subscription = store.subscribe().from_cursor("emailer").start()?;
    /// let message = subscription.next().expect("it has not ended")?;
    /// assert_eq!(message.events()[0].event_type(), "Closed");
    /// store.cursors().advance("emailer", message.scanned_through)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_cursor(mut self, name: impl Into<String>) -> Self {
        self.from = Start::Cursor(name.into());
        self
    }

    /// Only events that the query matches, and in a subscription to one stream, only those of the
    /// stream. Other events are scanned too, and
    /// [`Message::scanned_through`](crate::subscription::Message::scanned_through) includes them.
    pub fn matching(mut self, query: Query) -> Self {
        self.query = Some(query);
        self
    }

    /// At most this many events in a message, 1 to 65,536, and with
    /// [`whole_commits`](Self::whole_commits) the rest of the last commit. Default: 256.
    pub fn batch_size(mut self, events: usize) -> Self {
        self.batch_size = events;
        self
    }

    /// Whole commits: the selected events of a commit are delivered in one message, never in two, and
    /// [`Message::commits`](crate::subscription::Message::commits) groups them and returns the first
    /// and the last position and the time of each commit.
    ///
    /// A message ends with the first commit that reaches [`batch_size`](Self::batch_size): with 1 it
    /// has one commit, with the default up to 255 events and one commit. Memory is bounded by the size
    /// of a commit, a quarter of a segment. With a query, only matching events are delivered, and those
    /// of one commit together. As a stream, a large commit is read in several polls.
    ///
    /// A subscription that begins at a position within a commit delivers the rest of this commit:
    /// [`CommitEvents::is_complete`](crate::subscription::CommitEvents::is_complete) is false, and
    /// the first delivered position is after `first_position()`. Every `scanned_through` of such a
    /// subscription is a place at which it can begin without splitting a commit again.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent, Query};
    ///
    /// for amount in ["5", "7"] {
    ///     store
    ///         .transaction()
    ///         .append("account-1", ExpectedVersion::Any, [NewEvent::new("Withdrawn", amount)])
    ///         .append("audit", ExpectedVersion::Any, [NewEvent::new("Checked", "")])
    ///         .append("account-2", ExpectedVersion::Any, [NewEvent::new("Deposited", amount)])
    ///         .commit()?;
    /// }
    /// let transfers = Query::types(["Withdrawn", "Deposited"]);
    /// let mut subscription = store.subscribe().matching(transfers).whole_commits().start()?;
    /// let message = subscription.next().expect("it has not ended")?;
    /// for commit in message.commits() {
    ///     let [withdrawn, deposited] = commit.events() else { panic!("both, and no other") };
    ///     assert_eq!(withdrawn.data(), deposited.data());
    ///     assert_eq!(commit.last_position().get() - commit.first_position().get(), 2);
    ///     assert!(!commit.is_complete(), "the query leaves one event out");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn whole_commits(mut self) -> Self {
        self.whole_commits = true;
        self
    }

    /// The number of positions without a match after which a filtered subscription reports its
    /// progress, 1 to [`Subscription::PROGRESS_EVERY`], which is the default. With 1 it reports each
    /// time it has scanned the visible events: for consumers that display their progress, or whose
    /// progress is waited for. Each progress message wakes the consumer, and costs an append if the
    /// consumer stores it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent, Query, subscription::MessageKind};
    ///
    /// let deposits = Query::types(["Deposited"]);
    /// let mut subscription = store.subscribe().matching(deposits).progress_every(1).start()?;
    /// assert!(subscription.next().expect("it has not ended")?.is_caught_up());
    /// let done = store.append("account-1", ExpectedVersion::Any, [NewEvent::new("Opened", "")])?;
    /// let message = subscription.next().expect("it has not ended")?;
    /// assert!(matches!(message.kind, MessageKind::Progress));
    /// assert_eq!(message.scanned_through, done.last_position);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn progress_every(mut self, positions: u64) -> Self {
        self.progress_every = positions;
        self
    }

    /// Also events that are written and not durable yet: a crash can remove them, and their
    /// positions can then be given to other events.
    pub fn include_unsynced(mut self) -> Self {
        self.include_unsynced = true;
        self
    }

    /// Also events that are hidden by truncation, archiving or a stream's metadata.
    pub fn include_hidden(mut self) -> Self {
        self.include_hidden = true;
        self
    }

    /// Also changes to what reads show of streams: truncation, archiving and streams' metadata, as
    /// [`MessageKind::StreamChanged`](crate::subscription::MessageKind::StreamChanged) in their order among
    /// the events. With a query, changes to streams whose name or category it does not exclude.
    ///
    /// The first changes are those after the last event at or before the starting position: a
    /// subscription that continues after a restart may deliver them again.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent, StreamChangeKind, subscription::MessageKind};
    ///
    /// store.append("account-1", ExpectedVersion::Any, [NewEvent::new("Opened", "")])?;
    /// store.archive("account-1")?;
    /// let mut subscription = store.subscribe().after(1).include_metadata().start()?;
    /// let message = subscription.next().expect("it has not ended")?;
    /// let MessageKind::StreamChanged(changes) = message.kind else { panic!("it was archived") };
    /// assert_eq!(changes[0].stream, "account-1");
    /// assert_eq!(changes[0].change, StreamChangeKind::Archived);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn include_metadata(mut self) -> Self {
        self.include_metadata = true;
        self
    }

    /// The consumer confirms what it has handled with [`Progress::advance`](super::Progress::advance), and asking for the next
    /// message confirms nothing: for a consumer that hands events to other threads, collects several
    /// messages for one transaction, or polls a stream ahead.
    pub fn manual_progress(mut self) -> Self {
        self.manual_progress = true;
        self
    }

    /// The position before the stream's event that follows `version`.
    fn position_after(&self, version: u64) -> Result<u64> {
        let Some(stream) = &self.stream else {
            let why = "a version has a meaning in one stream only; begin with subscribe_stream";
            return Err(Error::InvalidArgument { what: "from_version", why: why.into() });
        };
        self.engine.refresh()?;
        let visible = self.engine.visible(self.include_unsynced);
        let last = self.engine.contents().head_at(stream, visible)?.version;
        if version > last {
            return Err(Error::VersionAhead { stream: stream.clone(), version, last });
        }
        let next = ReadStream::new(Arc::clone(&self.engine), stream.clone())
            .from_version(version + 1)
            .include_hidden()
            .include_unsynced()
            .limit(1);
        // Without a visible one, every later event of the stream is after the visible ones.
        Ok(match next.start()?.next().transpose()? {
            Some(event) => visible.min(event.position().get() - 1),
            None => visible,
        })
    }

    /// Starts the subscription. The first call for a message reads.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`]; [`Error::InvalidArgument`] for a setting out of its range;
    /// [`Error::PositionAhead`] for a position after the head; [`Error::VersionAhead`] for a version
    /// after the stream's last; those of reads for a version; those of
    /// [`Store::verify_token`](crate::Store::verify_token) for a token.
    pub fn start(mut self) -> Result<Subscription> {
        const SIZES: std::ops::RangeInclusive<usize> = 1..=65_536;
        if !SIZES.contains(&self.batch_size) {
            let why = format!("{} is not within {SIZES:?} events", self.batch_size);
            return Err(Error::InvalidArgument { what: "batch_size", why });
        }
        let intervals = 1..=Subscription::PROGRESS_EVERY;
        if !intervals.contains(&self.progress_every) {
            let why = format!("{} is not within {intervals:?} positions", self.progress_every);
            return Err(Error::InvalidArgument { what: "progress_every", why });
        }
        self.engine.check_open()?;
        if let Some(stream) = &self.stream {
            let query = self.query.take().unwrap_or_else(Query::all);
            self.query = Some(query.within(stream));
        }
        let mut passed = ChangeNumber::NONE;
        let after = match self.from {
            Start::Version(version) => self.position_after(version)?,
            Start::After(position) => {
                self.engine.check_not_ahead(position, self.include_unsynced)?;
                position
            }
            Start::Token(token) => self.engine.verify_token(&token)?,
            Start::Now => {
                self.engine.refresh()?;
                // Read before the position: events and changes that precede such a change are
                // visible too.
                passed = self.engine.contents().last_change();
                self.engine.visible(self.include_unsynced)
            }
            Start::Cursor(name) => {
                self.engine.refresh()?;
                self.engine.contents().with_metadata(|metadata| metadata.cursor(&name)).unwrap_or(0)
            }
        };
        let changes = self.include_metadata.then(|| {
            let (engine, query) = (Arc::clone(&self.engine), self.query.clone());
            ChangeFeed::new(ChangeScan::new(engine, after, passed, query))
        });
        #[cfg(feature = "async")]
        let filtered = self.query.is_some();
        let (unsynced, manual) = (self.include_unsynced, self.manual_progress);
        Ok(Subscription {
            reporter: Reporter::new(&self.engine, unsynced, manual, after),
            changes,
            commits: self.whole_commits.then(Gathering::default),
            scan: Scan::new(Arc::clone(&self.engine), after, self.query, self.include_hidden),
            engine: self.engine,
            batch_size: self.batch_size,
            include_unsynced: self.include_unsynced,
            progress_every: self.progress_every,
            scanned_through: after,
            told: after,
            untold_since: None,
            behind: true,
            portion: Portion::LARGE,
            yielded: false,
            #[cfg(feature = "async")]
            polled: super::stream::Polled::new(filtered),
            failed: None,
            ended: false,
            signal: Arc::default(),
        })
    }
}
