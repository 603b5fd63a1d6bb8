//! The list of behaviours that apply to a store, and their run under the standard test interface.
//!
//! Owns the choice of behaviours by capability. Must never know a store.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use annals_es::{AtomicCheckpoints, Boundaries, OrderedStore, SeveralStreams};
use libtest_mimic::{Arguments, Trial};

use crate::Backend;
use crate::behaviours::{
    atomic_checkpoints, boundaries, checkpoints, events, expectations, idempotency, limits,
    ordered, positions, several_streams, snapshots, streams, subscriptions,
};

/// A behaviour: its group, its name and what runs it.
pub(crate) type Behaviour<B> = (&'static str, &'static str, fn(&B));

/// The behaviours that a store has to show.
///
/// [`Suite::new`] has those of every [`EventStore`](annals_es::EventStore). Each further method adds those of a
/// capability, and exists where the store implements its trait.
///
/// ```
/// use annals_conformance::Suite;
/// use annals_es::MemoryStore;
///
/// let suite = Suite::new("memory", MemoryStore::new).ordered().several_streams().boundaries();
/// assert!(suite.len() > 60);
/// ```
#[must_use = "a suite is run by `run`"]
pub struct Suite<B> {
    name: String,
    make: Arc<dyn Fn() -> B + Send + Sync>,
    behaviours: Vec<Behaviour<B>>,
    missing: Option<String>,
}

impl<B: Backend> Suite<B> {
    /// The behaviours of single streams and snapshots, for the backends that `make` returns. The name stands before
    /// the names of the tests.
    pub fn new(name: impl Into<String>, make: impl Fn() -> B + Send + Sync + 'static) -> Self {
        let behaviours = [
            expectations::all(),
            events::all(),
            streams::all(),
            idempotency::all(),
            snapshots::all(),
            limits::all(),
        ];
        Self {
            name: name.into(),
            make: Arc::new(make),
            behaviours: behaviours.concat(),
            missing: None,
        }
    }

    /// Ignores every test, because something that the backend needs is missing, such as a server.
    pub fn missing(mut self, what: impl Into<String>) -> Self {
        self.missing = Some(what.into());
        self
    }

    /// The number of behaviours.
    pub fn len(&self) -> usize {
        self.behaviours.len()
    }

    /// Whether the suite has no behaviours, which is never so.
    pub fn is_empty(&self) -> bool {
        self.behaviours.is_empty()
    }

    /// Leaves a behaviour out, and says why in the source. A name that does not exist is an error of the caller.
    ///
    /// # Panics
    ///
    /// If there is no behaviour of this name.
    pub fn without(mut self, name: &str) -> Self {
        let before = self.behaviours.len();
        self.behaviours.retain(|(_, it, _)| *it != name);
        assert!(self.behaviours.len() < before, "there is no behaviour {name:?}");
        self
    }

    fn trials(self) -> Vec<Trial> {
        let Self { name, make, behaviours, missing } = self;
        let trial = |(group, behaviour, run): Behaviour<B>| {
            let make = Arc::clone(&make);
            let test = move || {
                run(&make());
                Ok(())
            };
            Trial::test(format!("{name}::{group}::{behaviour}"), test)
                .with_ignored_flag(missing.is_some())
        };
        behaviours.into_iter().map(trial).collect()
    }
}

impl<B: Backend<Store: OrderedStore>> Suite<B> {
    /// Adds reads over all streams, queries, subscriptions and checkpoints.
    pub fn ordered(mut self) -> Self {
        self.behaviours.extend(ordered::all());
        self.behaviours.extend(subscriptions::all());
        self.behaviours.extend(checkpoints::all());
        self
    }

    /// Adds that positions are 1, 2, 3 and so on, in the order of commits: for stores that promise it.
    pub fn dense_positions(mut self) -> Self {
        self.behaviours.extend(positions::all());
        self
    }
}

impl<B: Backend<Store: SeveralStreams>> Suite<B> {
    /// Adds commits to several streams.
    pub fn several_streams(mut self) -> Self {
        self.behaviours.extend(several_streams::all());
        self
    }
}

impl<B: Backend<Store: Boundaries>> Suite<B> {
    /// Adds commits that fail if a query matches.
    pub fn boundaries(mut self) -> Self {
        self.behaviours.extend(boundaries::all());
        self
    }
}

impl<B: Backend<Store: AtomicCheckpoints>> Suite<B> {
    /// Adds checkpoints that move with a commit.
    pub fn atomic_checkpoints(mut self) -> Self {
        self.behaviours.extend(atomic_checkpoints::all());
        self
    }
}

impl<B> fmt::Debug for Suite<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite")
            .field("name", &self.name)
            .field("behaviours", &self.behaviours.len())
            .finish_non_exhaustive()
    }
}

/// Runs suites with the arguments of the command line, as the harness of `cargo test` would: the whole `main` of a test
/// binary with `harness = false`.
///
/// ```no_run
/// use annals_conformance::{Suite, run};
/// use annals_es::MemoryStore;
///
/// fn main() -> std::process::ExitCode {
///     let memory = Suite::new("memory", MemoryStore::new).ordered().several_streams();
///     run([memory.into()])
/// }
/// ```
pub fn run(suites: impl IntoIterator<Item = AnySuite>) -> ExitCode {
    let (mut trials, mut ignored) = (Vec::new(), Vec::new());
    for suite in suites {
        trials.extend(suite.trials);
        ignored.extend(suite.missing);
    }
    let arguments = Arguments::from_args();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !arguments.list {
        ignored.dedup();
        for missing in ignored {
            // The outcome of the tests does not depend on the message.
            let _ = writeln!(std::io::stderr(), "tests are ignored: {missing}");
        }
    }
    conclusion.exit_code()
}

/// A suite without the type of its backend.
pub struct AnySuite {
    trials: Vec<Trial>,
    missing: Option<String>,
}

impl AnySuite {
    /// Tests of one store alone, beside its suite. `missing`: something that they need is not there, and they are
    /// ignored.
    pub fn tests(
        tests: impl IntoIterator<Item = (&'static str, fn())>,
        missing: Option<String>,
    ) -> Self {
        let trial = |(name, test): (&'static str, fn())| {
            let run = move || {
                test();
                Ok(())
            };
            Trial::test(name, run).with_ignored_flag(missing.is_some())
        };
        Self { trials: tests.into_iter().map(trial).collect(), missing }
    }
}

impl<B: Backend> From<Suite<B>> for AnySuite {
    fn from(suite: Suite<B>) -> Self {
        Self { missing: suite.missing.clone(), trials: suite.trials() }
    }
}

impl fmt::Debug for AnySuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnySuite").field("tests", &self.trials.len()).finish_non_exhaustive()
    }
}
