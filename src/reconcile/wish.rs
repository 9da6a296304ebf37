//! What is wanted of one service: the levels that people, file and graph set.

use std::time::Duration;

use super::event::{Author, Cause};

/// What people and the file asked for. All of it is a level: nothing here is consumed by acting on it.
#[derive(Debug)]
pub(super) struct Wish {
    /// Asked for by name, whatever its `autostart` and `profiles` say.
    pub named: bool,
    /// Stopped by hand; wins over everything until a start of it.
    pub stopped: bool,
    /// Asked for without its dependencies: conditions are not waited for.
    pub alone: bool,
    /// Counts the restarts that were asked for, by hand or by an edit. A life that began at an earlier count ends.
    pub turn: u32,
    /// Replaces the waits of the stop ladder.
    pub patience: Option<Duration>,
    pub cause: Cause,
}

impl Wish {
    pub fn new() -> Self {
        Wish {
            named: false,
            stopped: false,
            alone: false,
            turn: 0,
            patience: None,
            cause: Cause::new(Author::Runner, "declared"),
        }
    }

    /// Somebody asked for something of this service by its name.
    pub fn is_by_hand(&self) -> bool {
        self.named || self.stopped || self.alone
    }
}

/// What the whole graph makes of the wish. Settled for every service before any acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lot {
    /// Selected, or a dependency of something desired; a stop by hand does not change it.
    pub desired: bool,
    /// Desired and not stopped: should be up as soon as conditions allow.
    pub wanted: bool,
    /// Something it can't do without was stopped by hand.
    pub held: bool,
    /// It lives and must not go on: unwanted, held, or to be restarted.
    pub going: bool,
}
