//! Finds the smallest part of a life that still fails: fewer rounds, then fewer actions.

use super::{Failure, Life, Selection};

/// The maximum number of lives that a search runs.
const LIVES: u64 = 2000;

/// Searches for the smallest part of a life that still breaks any promise. `step` receives the
/// number of lives that were run, and the number of actions of the smallest failing one.
pub fn shrink(failure: Failure, mut step: impl FnMut(u64, u64)) -> Failure {
    let mut search = Search { best: failure, lives: 0, step: &mut step };
    search.rounds();
    search.actions();
    search.best
}

struct Search<'a> {
    best: Failure,
    lives: u64,
    step: &'a mut dyn FnMut(u64, u64),
}

impl Search<'_> {
    /// Whether a life fails; if so, it becomes the best result.
    fn fails(&mut self, life: &Life) -> bool {
        self.lives += 1;
        let failed = life.run();
        let fails = failed.is_err();
        if let Err(failure) = failed {
            self.best = failure;
        }
        (self.step)(self.lives, self.best.action);
        fails
    }

    fn rounds(&mut self) {
        for rounds in 1..=self.best.round {
            if self.fails(&Life { rounds, ..self.best.life.clone() }) {
                return;
            }
        }
    }

    /// Removes ever smaller parts of the actions, as long as the rest still fails.
    fn actions(&mut self) {
        let mut kept: Vec<u64> = (1..=self.best.action).collect();
        if !self.fails(&self.with(&kept)) {
            return;
        }
        let mut part = kept.len();
        while part > 0 && self.lives < LIVES {
            let mut from = 0;
            let mut smaller = false;
            while from < kept.len() && self.lives < LIVES {
                let to = kept.len().min(from + part);
                let without = [&kept[..from], &kept[to..]].concat();
                if self.fails(&self.with(&without)) {
                    kept = without;
                    smaller = true;
                } else {
                    from = to;
                }
            }
            // Then removes single actions, until none can be removed.
            if part > 1 || !smaller {
                part /= 2;
            }
        }
    }

    fn with(&self, actions: &[u64]) -> Life {
        Life { actions: Selection::of(actions), ..self.best.life.clone() }
    }
}
