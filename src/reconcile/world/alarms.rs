//! What is due by the wall clock, which may be set.

use std::collections::BTreeSet;

use super::World;
use crate::reconcile::fact::{Now, ServiceId};

/// A wall clock that is off by more since the last look was set, or the machine slept: one second.
const SET: u64 = 1_000_000_000;

/// Moves the alarm of a service; `armed` is where that service remembers the one it has.
pub(super) fn set(alarms: &mut BTreeSet<(i64, ServiceId)>, id: ServiceId, armed: &mut Option<i64>, at: Option<i64>) {
    if *armed == at {
        return;
    }
    if let Some(old) = std::mem::replace(armed, at) {
        alarms.remove(&(old, id));
    }
    alarms.extend(at.map(|at| (at, id)));
}

fn ahead(now: Now) -> i64 {
    now.wall_ns.saturating_sub_unsigned(now.mono_ns)
}

impl World {
    /// The next instant by the wall clock (nanoseconds since 1970) at which time alone changes something. A step has to
    /// come as well when that clock is set.
    pub fn next_alarm(&self) -> Option<i64> {
        self.alarms.first().map(|&(at, _)| at)
    }

    /// Whose time has come: when the clock was set, all of them are concerned.
    pub(super) fn alarmed(&self, now: Now) -> impl Iterator<Item = ServiceId> + '_ {
        let is_set = ahead(now).abs_diff(self.ahead_ns) > SET;
        let concerned = move |&&(at, _): &&(i64, ServiceId)| is_set || at <= now.wall_ns;
        self.alarms.iter().take_while(concerned).map(|&(_, id)| id)
    }

    pub(super) fn note_clock(&mut self, now: Now) {
        if ahead(now).abs_diff(self.ahead_ns) > SET {
            self.ahead_ns = ahead(now);
        }
    }
}
