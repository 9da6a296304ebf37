//! When a scheduled service runs: its schedule asks for runs as a person would.
//!
//! What counts is the last time that was taken care of; all that came since then is one run. A period is measured by the
//! monotonic clock, a cron line by the wall clock: the World hears when that is set anew.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::life::Life;
use super::{Machine, Step};
use crate::reconcile::event::{Author, Cause, EventKind};
use crate::reconcile::fact::Now;
use crate::reconcile::snapshot::{Due, StateName};
use crate::reconcile::timers::nanos;
use crate::spec::Schedule;

/// A wall clock that was set back by more was wrong before: times are counted from what it says now. By less, times that
/// come again are not taken twice.
const SET_BACK: Duration = Duration::from_secs(3 * 3600);

/// Up to when the times of a schedule are taken care of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Calendar {
    /// The schedule as written: another one begins anew.
    of: String,
    mono: u64,
    wall: i64,
}

impl Calendar {
    fn from_now(schedule: &Schedule, now: Now) -> Calendar {
        Calendar {
            of: format!("{} {}", schedule.text(), schedule.tz().unwrap_or_default()),
            mono: now.mono_ns,
            wall: now.wall_ns,
        }
    }

    fn next(&self, schedule: &Schedule) -> Option<Due> {
        match schedule.period() {
            Some(period) => Some(Due::Mono(self.mono.saturating_add(nanos(period)))),
            None => schedule.next(self.wall).map(Due::Wall),
        }
    }

    /// The times up to now are taken care of; the beat of a period is kept.
    fn advance(&mut self, schedule: &Schedule, now: Now) {
        self.wall = now.wall_ns;
        self.mono = match schedule.period().map(nanos) {
            Some(period @ 1..) => now.mono_ns - now.mono_ns.saturating_sub(self.mono) % period,
            _ => now.mono_ns,
        };
    }
}

impl Due {
    /// Nanoseconds since 1970, as the clocks stand now.
    pub fn wall_ns(self, now: Now) -> i64 {
        match self {
            Due::Mono(at) => now.wall_ns.saturating_add_unsigned(at.saturating_sub(now.mono_ns)),
            Due::Wall(at) => at,
        }
    }

    /// How long until then.
    pub fn ahead(self, now: Now) -> Duration {
        Duration::from_nanos(u64::try_from(self.wall_ns(now).saturating_sub(now.wall_ns)).unwrap_or(0))
    }

    fn is_reached(self, now: Now) -> bool {
        match self {
            Due::Mono(at) => at <= now.mono_ns,
            Due::Wall(at) => at <= now.wall_ns,
        }
    }
}

impl Machine {
    /// Looks whether its time has come.
    pub(super) fn consult_calendar(&mut self, step: &mut Step) {
        let spec = Arc::clone(&self.spec);
        let Some(schedule) = spec.schedule.as_ref().filter(|_| self.lot.wanted) else {
            self.next_run = None;
            if self.calendar.take().is_some() {
                self.moves += 1;
            }
            return;
        };
        let now = step.now;
        let fresh = Calendar::from_now(schedule, now);
        let mut calendar = match self.calendar.take() {
            Some(calendar) if calendar.of == fresh.of => calendar,
            known => {
                self.moves += 1;
                if known.is_none() && spec.run_at_start && !self.life.is_living() {
                    self.run_by_schedule("run_at_start", step);
                }
                fresh
            }
        };
        if calendar.wall.saturating_sub(now.wall_ns) > nanos(SET_BACK) as i64 {
            calendar.wall = now.wall_ns;
            self.moves += 1;
        }
        let mut next = calendar.next(schedule);
        if next.is_some_and(|due| due.is_reached(now)) {
            self.moves += 1;
            calendar.advance(schedule, now);
            next = calendar.next(schedule);
            self.run_by_schedule(schedule.text(), step);
        }
        self.next_run = next;
        self.calendar = Some(calendar);
    }

    /// A run that is going is not doubled, and one that is due already covers this one.
    fn run_by_schedule(&mut self, detail: &str, step: &mut Step) {
        let cause = Cause::new(Author::Schedule, detail);
        if self.life.is_living() {
            if std::mem::replace(&mut self.overdue_run, self.run) != self.run {
                let message = "its time came while a run was still going: none is started beside it".to_owned();
                self.publish(EventKind::Warned { message }, cause, step);
            }
            return;
        }
        let rests = matches!(
            self.life,
            Life::Stopped | Life::Completed { .. } | Life::Failed { .. } | Life::Backoff { .. }
        );
        if rests && self.wish.turn == self.served {
            self.wish.turn = self.wish.turn.wrapping_add(1);
            self.wish.asked(&cause, step.now.mono_ns);
        }
    }

    /// Wanted, and not before its time.
    pub fn rests(&self) -> bool {
        let begun = self.calendar.is_some() || !self.spec.run_at_start;
        self.spec.schedule.is_some()
            && self.lot.wanted
            && matches!(self.life, Life::Stopped)
            && self.wish.turn == self.served
            && begun
    }

    /// A start by hand: of what rests until its time, a run now.
    pub fn is_startable(&self) -> bool {
        matches!(self.life, Life::Stopped) && self.spec.schedule.is_some()
    }

    pub fn state(&self) -> StateName {
        match self.rests() {
            true => StateName::Waiting,
            false => self.life.name(),
        }
    }

    /// An edit of what it runs counts from its next run on.
    pub fn awaits_its_time(&self) -> bool {
        self.spec.schedule.is_some()
            && matches!(self.life, Life::Stopped | Life::Completed { .. } | Life::Failed { .. })
    }

    /// The wall time at which time alone makes a difference.
    pub fn alarm(&self) -> Option<i64> {
        match self.next_run {
            Some(Due::Wall(at)) if !self.awaited => Some(at),
            Some(Due::Wall(_) | Due::Mono(_)) | None => None,
        }
    }

    pub(super) fn with_period(&self, deadline: Option<u64>) -> Option<u64> {
        match self.next_run {
            Some(Due::Mono(at)) => Some(deadline.map_or(at, |deadline| deadline.min(at))),
            Some(Due::Wall(_)) | None => deadline,
        }
    }

    /// It has ended with no restart due. What has a schedule never has.
    pub(super) fn tell_end(&self, step: &mut Step) {
        if self.spec.schedule.is_none() {
            step.ended.push(self.id);
        }
    }
}
