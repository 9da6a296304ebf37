//! What is wanted of one service: the levels that people, file and graph set.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{Author, Cause};
use crate::spec::{Scaled, ServiceName};

/// What people and the file asked for. All of it is a level: nothing here is consumed by acting on it.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// Asked for by name, whatever its `autostart` and `profiles` say.
    pub named: bool,
    /// Stopped by hand; wins over everything until a start of it.
    pub stopped: bool,
    /// Asked for without its dependencies: conditions are not waited for.
    pub alone: bool,
    /// Counts the restarts that were asked for, by hand or by an edit. A life that began at an earlier count ends.
    pub turn: u32,
    /// The turn that was asked for of this very service: it waits for no other replica.
    pub at_once: Option<u32>,
    /// The turn that somebody asked for last, beside those that edits bring.
    pub asked_turn: u32,
    /// Replaces the waits of the stop ladder.
    pub patience: Option<Duration>,
    /// Who asked last, and when (monotonic; 0: an earlier runner was asked).
    pub cause: Cause,
    pub asked_at: u64,
}

impl Wish {
    pub fn new(now: u64) -> Self {
        Wish {
            named: false,
            stopped: false,
            alone: false,
            turn: 0,
            at_once: None,
            asked_turn: 0,
            patience: None,
            cause: Cause::new(Author::Runner, "declared"),
            asked_at: now,
        }
    }

    /// Another restart is asked for.
    pub fn turn_again(&mut self) {
        self.turn = self.turn.wrapping_add(1);
        self.asked_turn = self.turn;
    }

    /// Who asked for what it is now.
    pub fn asked(&mut self, cause: &Cause, now: u64) {
        self.cause = cause.clone();
        self.asked_at = now;
    }

    /// The file says something else of it now. What was stopped by hand is so because of that, whatever the file says.
    pub fn edited(&mut self, cause: &Cause, now: u64) {
        if !self.stopped {
            self.asked(cause, now);
        }
    }

    pub fn by_hand(&self) -> ByHand {
        ByHand {
            named: self.named,
            stopped: self.stopped,
            alone: self.alone,
        }
    }
}

/// What somebody asked for of one service by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByHand {
    #[serde(default)]
    pub named: bool,
    #[serde(default)]
    pub stopped: bool,
    #[serde(default)]
    pub alone: bool,
}

impl ByHand {
    pub fn is_any(self) -> bool {
        self.named || self.stopped || self.alone
    }
}

/// What people asked for by hand, for the durable store: it outlives whoever was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wishes {
    /// Everything that starts by itself.
    #[serde(default)]
    pub all: bool,
    #[serde(default)]
    pub profiles: BTreeSet<String>,
    #[serde(default)]
    pub services: BTreeMap<ServiceName, ByHand>,
    /// By the name under which they are declared.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scales: BTreeMap<ServiceName, Scaled>,
}

impl Turn {
    /// It goes on as it is, for now.
    pub fn is_deferred(self) -> bool {
        matches!(self, Turn::Waits | Turn::Halted)
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
    /// Whether its restart has to wait for other replicas.
    pub turn: Turn,
}

/// When a replica may be restarted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Turn {
    /// Whenever it likes, if it is to be restarted at all.
    #[default]
    Free,
    /// Its turn has come. It keeps that until it is down: what goes with it could be what it waits for.
    Taken,
    /// Others come first.
    Waits,
    /// The same, and one of them has failed.
    Halted,
}
