//! A new version beside the former one.

use std::sync::mpsc;

use annals_es::projection::{ErrorPolicy, Memory, Options, Projection, Runner, State};
use annals_es::{OrderedStore, Position, RecordedEvent};

use crate::support::{
    Fault, Handled, Happened, Log, Refused, append_each, each_once, policy, wait,
};

crate::for_each_store! {
    new_version_takes_over_when_it_has_caught_up,
    version_that_cannot_catch_up_does_not_take_over,
}

/// Waits in the middle of its work until a test allows it to go on.
struct Gated {
    log: Log,
    gate: std::sync::Mutex<mpsc::Receiver<()>>,
}

impl Projection for Gated {
    type Event = Happened;
    type Model = Handled;
    type Error = Refused;

    fn name(&self) -> &str {
        self.log.name
    }

    fn version(&self) -> u32 {
        self.log.version
    }

    fn handle(
        &self,
        handled: &mut Handled,
        event: Happened,
        recorded: &RecordedEvent,
    ) -> Result<(), Refused> {
        if recorded.position().get() == 300 {
            self.gate.lock().expect("one thread uses it").recv().expect("it is opened");
        }
        self.log.handle(handled, event, recorded)
    }
}

fn new_version_takes_over_when_it_has_caught_up<S: OrderedStore>(store: &S) {
    append_each(store, 1..=500);
    let memory = Memory::new(Vec::new());
    let view = memory.view();
    let mut runner = Runner::new(store.clone());
    let former = runner.add(Log::new("log"), memory).expect("it fits");
    let former_thread = runner.spawn_thread().expect("a thread");
    wait(former.wait_until_live()).expect("it catches up");

    let (open, gate) = mpsc::channel();
    let log = Log { version: 2, factor: 10, ..Log::new("log") };
    let memory = Memory::new(Vec::new()).replacing(&view);
    let mut runner = Runner::new(store.clone());
    let gated = Gated { log, gate: gate.into() };
    let options = Options::new().replaces(&former);
    let new = runner.add_with(gated, memory, options).expect("it fits");
    let new_thread = runner.spawn_thread().expect("a thread");
    // The former version serves and follows while the new one catches up.
    wait(former.wait_for(append_each(store, 501..=510))).expect("it follows");
    assert_eq!(*view.read_blocking(), each_once(510));
    assert!(!new.status().active);
    open.send(()).expect("it waits");
    wait(new.wait_until_active()).expect("it takes over");
    wait(former.wait_for(Position::MAX)).expect_err("it is stopped");
    assert_eq!(former.status().state, State::Stopped);
    former_thread.stop().expect("it has ended");
    let times_ten: Handled = each_once(510).iter().map(|it| (it.0, it.1 * 10)).collect();
    wait(new.wait_for(Position::new(510))).expect("it has caught up");
    assert_eq!(*view.read_blocking(), times_ten);
    new_thread.stop().expect("it stops");
}

fn version_that_cannot_catch_up_does_not_take_over<S: OrderedStore>(store: &S) {
    append_each(store, 1..=5);
    let memory = Memory::new(Vec::new());
    let view = memory.view();
    let mut runner = Runner::new(store.clone());
    let former = runner.add(Log::new("log"), memory).expect("it fits");
    let former_thread = runner.spawn_thread().expect("a thread");
    wait(former.wait_until_live()).expect("it catches up");

    let log = Log { version: 2, ..Log::new("log") }.fail(5, [Fault::Error; 9]);
    let mut runner = Runner::new(store.clone());
    let options = policy(ErrorPolicy::pause(), 1).replaces(&former);
    let memory = Memory::new(Vec::new()).replacing(&view);
    let new = runner.add_with(log, memory, options).expect("it fits");
    let new_thread = runner.spawn_thread().expect("a thread");
    wait(new.wait_until_active()).expect_err("it pauses");
    assert_eq!((new.status().state, new.status().active), (State::Paused, false));
    assert_eq!(*view.read_blocking(), each_once(5));
    wait(former.wait_for(append_each(store, 6..=6))).expect("it goes on");
    new_thread.stop().expect("it stops");
    former_thread.stop().expect("it stops");
}
