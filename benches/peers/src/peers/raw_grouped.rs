//! The bare loop with a group layer: threads put their frames into one buffer, one of them writes
//! and syncs it, the others wait. It is the lower bound of the cost of a group commit.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex};

use super::{lock, raw};
use crate::input::New;
use crate::peer::{About, Can, Mode, Peer, Result, Setup};

pub const ABOUT: About = About {
    name: "raw-grouped",
    title: "raw, grouped",
    package: "",
    engine: None,
    can: Can { durable: true, threads: true, ..Can::NONE },
    durable: "as raw, a sync for all frames that came meanwhile",
    buffered: "",
    layout: "as raw; one buffer, one lock, one condition variable; the first that waits leads",
    less: "as raw",
    open,
};

struct Grouped {
    file: File,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Frames that wait to be written.
    buffer: Vec<u8>,
    /// The other buffer, while there is no leader.
    spare: Vec<u8>,
    offset: u64,
    position: u64,
    /// The number of frames handed in, and of durable ones.
    taken: u64,
    durable: u64,
    leading: bool,
    failed: bool,
}

fn open(setup: &Setup<'_>) -> Result<Box<dyn Peer>> {
    let file = raw::prepare(&setup.dir.join("raw"), Mode::Durable, setup.events)?;
    let state = State {
        buffer: Vec::new(),
        spare: Vec::new(),
        offset: 0,
        position: 1,
        taken: 0,
        durable: 0,
        leading: false,
        failed: false,
    };
    Ok(Box::new(Grouped { file, state: Mutex::new(state), changed: Condvar::new() }))
}

impl Grouped {
    fn write(&self, frames: &[u8], offset: u64) -> Result {
        self.file.write_all_at(frames, offset)?;
        self.file.sync_data()?;
        Ok(())
    }
}

impl Peer for Grouped {
    fn append(&self, events: &[New<'_>]) -> Result {
        let mut state = lock(&self.state);
        let inner = &mut *state;
        raw::encode(&mut inner.buffer, &mut inner.position, events);
        state.taken += 1;
        let mine = state.taken;
        while state.durable < mine {
            if state.failed {
                return Err("a group could not be written".into());
            }
            if state.leading {
                state = self.changed.wait(state).map_err(|_| "a leader panicked")?;
                continue;
            }
            state.leading = true;
            let (upto, offset) = (state.taken, state.offset);
            let spare = std::mem::take(&mut state.spare);
            let mut frames = std::mem::replace(&mut state.buffer, spare);
            drop(state);
            let written = self.write(&frames, offset);
            state = lock(&self.state);
            state.offset += frames.len() as u64;
            frames.clear();
            state.spare = frames;
            state.leading = false;
            state.failed = written.is_err();
            state.durable = upto;
            self.changed.notify_all();
            written?;
        }
        Ok(())
    }

    fn head(&self) -> Result<u64> {
        Ok(lock(&self.state).position - 1)
    }

    fn close(self: Box<Self>) -> Result {
        self.file.sync_all()?;
        Ok(())
    }
}
