//! When it is over: in order after `Finish`; or, for a guardian without a daemon of its own, when its socket is at its end
//! and somebody has to clean up.

use super::guard::Guard;
use super::held::{Held, Life};
use super::orders::{Target, Ticket};
use crate::reconcile::ExitStatus;
use crate::sys::clock;

/// Stopping what is left: SIGTERM, this long, then SIGKILL and the sweep, then this long at most.
const GRACE_NS: u64 = 10_000_000_000;
const LAST_NS: u64 = 5_000_000_000;
/// Exit code when the orders ended unasked (`EX_SOFTWARE` of sysexits.h).
const BROKEN: i32 = 70;

#[derive(Debug)]
pub(super) struct Closing {
    /// Monotonic.
    kill_at_ns: u64,
    end_at_ns: u64,
    killed: bool,
}

impl Closing {
    pub(super) fn due_ns(&self) -> u64 {
        if self.killed { self.end_at_ns } else { self.kill_at_ns }
    }
}

impl Guard {
    /// Services have ended. A hook or a probe that nobody waits for any more may still run.
    pub(super) fn finish(&mut self) {
        self.finished = true;
        self.end_errands();
    }

    /// SIGKILL was not in vain yet.
    fn is_ending_errands(&self) -> bool {
        let has_hope = |held: &Held| held.killing.as_ref().is_some_and(|kill| !kill.given_up);
        self.held.values().any(|held| held.reap_tree && has_hope(held))
    }

    /// Our exit code once there is nothing more to do.
    pub(super) fn over(&mut self) -> Option<i32> {
        let gone = match self.revival {
            // Its last orders count, `Finish` above all: they are read by the time its socket is at its end.
            Some(_) => self.daemon_ended.is_some() && (self.finished || self.link_ended),
            None => self.finished || self.link_ended,
        };
        if !gone {
            return None;
        }
        if self.finished {
            if self.is_ending_errands() {
                return None;
            }
            return Some(self.daemon_ended.map_or(0, code));
        }
        match self.revival {
            Some(_) => self.revive(),
            None => self.close(),
        }
    }

    fn close(&mut self) -> Option<i32> {
        let now = clock::mono_ns();
        if self.closing.is_none() {
            self.begin_closing(now);
        }
        // One look at everything: this is the end of the house, not a hot path.
        self.reaped = true;
        self.settle();
        let living = self.living();
        let closing = self.closing.as_mut()?;
        if living.is_empty() || closing.end_at_ns <= now {
            return Some(BROKEN);
        }
        if !closing.killed && closing.kill_at_ns <= now {
            closing.killed = true;
            closing.end_at_ns = now + LAST_NS;
            for ticket in living {
                self.kill(ticket, Target::Group, true);
            }
        }
        None
    }

    fn begin_closing(&mut self, now: u64) {
        let living = self.living();
        self.note(&format!(
            "the order socket was closed unasked; stopping {} processes",
            living.len()
        ));
        for ticket in living {
            self.signal(ticket, libc::SIGTERM, Target::Group, true);
        }
        self.closing = Some(Closing {
            kill_at_ns: now + GRACE_NS,
            end_at_ns: u64::MAX,
            killed: false,
        });
    }

    /// A second signal while we clean up: no more grace.
    pub(super) fn hasten_closing(&mut self) {
        if let Some(closing) = &mut self.closing {
            closing.kill_at_ns = 0;
        }
    }

    fn living(&self) -> Vec<Ticket> {
        let living = self.held.values().filter(|held| held.life != Life::Empty);
        living.map(|held| held.ticket).collect()
    }
}

pub(super) fn code(status: ExitStatus) -> i32 {
    match status {
        ExitStatus::Code(code) => code,
        ExitStatus::Signal(signal) => 128 + signal.number(),
        ExitStatus::Unknown => BROKEN,
    }
}
