//! One service: what is wanted of it, what is known of it, and the one comparison of the two.
//!
//! Law: a `Machine` knows nothing of other services. What they allow it to do comes in as [`Permit`].

mod calendar;
mod daemons;
mod ends;
mod hooks;
mod life;
mod limits;
mod lived;
mod memory;
mod outputs;
mod ports;
mod preparing;
mod probing;
mod starts;
mod stops;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::action::{Action, Purpose};
use super::event::{Author, Cause, Event, EventKind};
use super::fact::{ExitStatus, Incarnation, Now, ServiceId};
use super::failure::Failure;
use super::restart::{History, Rng};
use super::snapshot::{Due, RunEnd};
use super::wish::{Lot, Wish};
use crate::spec::{Change, Given, Service, ServiceName, Signal};

pub(super) use ends::Exit;
pub(super) use life::Life;
use life::{Body, Gate};
pub use memory::Memory;
pub(super) use memory::{Adopted, Bonded};

/// A reload command that takes longer is ended.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub id: ServiceId,
    /// The definition in force.
    pub spec: Arc<Service>,
    pub wish: Wish,
    pub lot: Lot,
    pub life: Life,
    /// Number of the latest run.
    pub run: u32,
    /// When its program was to be executed: what has changed before, it has seen. 0: not known.
    pub ordered_at: u64,
    /// The turn of the wish that the latest run answers.
    pub served: u32,
    pub history: History,
    pub last_end: Option<RunEnd>,
    /// The signal that was sent by hand last, to which run, and who did it.
    pub sent: Option<(u32, Signal, Cause)>,
    /// Why the reload command was run that is under way.
    reloaded_for: Option<Cause>,
    /// The run that runner itself has ended for a failure, and what that was.
    pub failed_for: Option<(u32, String)>,
    /// What the PID file of a run that is up holds now, where that is not believed.
    pub doubt: Option<(u32, String)>,
    /// It is remembered as living, and the hands have not said yet what is there: nothing is done about it before.
    pub awaited: bool,
    /// The run that was taken over from an earlier daemon.
    pub adopted_run: u32,
    /// A run whose ports are not the declared ones, and what it is with those.
    actual: Option<(u32, Arc<Service>)>,
    /// The first run that answers what was asked for last.
    pub asked_run: u32,
    /// Of a scheduled service that is wanted, and when its next run is due by it.
    calendar: Option<calendar::Calendar>,
    pub next_run: Option<Due>,
    /// The run that was said to be going when another was due.
    overdue_run: u32,
    /// What the log of the latest run has told, by name.
    pub outputs: BTreeMap<String, String>,
    /// The outputs of others that the latest run was started with, or that the next one is to be.
    pub given: Given,
    /// Its files were edited while nothing was there yet that could be told.
    stale_files: bool,
    /// The run whose `on_failure` is under way.
    pub alarming: Option<Incarnation>,
    /// When the life became what it is, and why.
    pub since: u64,
    pub cause: Cause,
    /// Counts changes of `life`, so that others can see that there was one.
    pub moves: u64,
}

/// All that a machine may reach during a step.
pub(super) struct Step<'a> {
    pub now: Now,
    pub out: &'a mut Vec<Action>,
    pub rng: &'a mut Rng,
    /// SIGKILL at once: somebody is tired of waiting.
    pub hasten: bool,
    /// Services that ended by themselves with no restart due during this step.
    pub ended: &'a mut Vec<ServiceId>,
}

/// What the other services allow.
#[derive(Debug)]
pub(super) enum Permit {
    /// Start and stop as you like.
    Free,
    /// Something stands in the way, in words (only asked for when nobody was told yet).
    Blocked(Vec<String>),
    /// What it needs failed for good.
    Doomed(Failure),
}

/// Whether a process of the old definition has to make way for one of the new.
fn is_replaced(old: &Service, new: &Service) -> bool {
    old.differences(new)
        .iter()
        .any(|difference| difference.class == Change::Restart)
}

impl Machine {
    pub fn new(id: ServiceId, spec: Arc<Service>, now: Now, cause: Cause) -> Self {
        Machine {
            id,
            spec,
            wish: Wish::new(now.mono_ns),
            lot: Lot::default(),
            life: Life::Stopped,
            run: 0,
            ordered_at: 0,
            served: 0,
            history: History::default(),
            last_end: None,
            sent: None,
            reloaded_for: None,
            failed_for: None,
            doubt: None,
            awaited: false,
            adopted_run: 0,
            actual: None,
            asked_run: 0,
            calendar: None,
            next_run: None,
            overdue_run: 0,
            outputs: BTreeMap::new(),
            given: Given::new(),
            stale_files: false,
            alarming: None,
            since: now.mono_ns,
            cause,
            moves: 0,
        }
    }

    pub fn name(&self) -> &ServiceName {
        &self.spec.name
    }

    pub fn incarnation(&self) -> Incarnation {
        Incarnation {
            service: self.id,
            run: self.run,
        }
    }

    /// Whether a fact about this incarnation is about the current one.
    pub fn is_current(&self, id: Incarnation) -> bool {
        id.run == self.run && self.life.has_run()
    }

    /// A restart or a new start was asked for and has not begun.
    pub fn is_due(&self) -> bool {
        self.lot.wanted && self.run > 0 && self.wish.turn != self.served
    }

    /// It was to be restarted for edits alone, has not been yet, and runs what this definition says.
    pub fn is_again_what_it_was(&self, spec: &Service) -> bool {
        let waits = self.lot.turn.is_deferred() && self.wish.asked_turn <= self.served;
        let Life::Ready { process, .. } = &self.life else {
            return false;
        };
        waits && !is_replaced(&process.spec, spec)
    }

    /// Whether the start permit matters now; else the stop permit does.
    pub fn wants_start(&self) -> bool {
        match &self.life {
            Life::Stopped => self.lot.wanted && !self.rests(),
            Life::Waiting { .. } | Life::Gated { .. } => self.lot.wanted,
            Life::Retrying { .. } | Life::Evicting { .. } => self.lot.wanted,
            Life::Failed { .. } | Life::Doomed { .. } => self.lot.wanted,
            Life::Backoff { .. } => false,
            Life::Preparing { .. } => false,
            Life::Spawning { .. } | Life::Executing { .. } | Life::Starting { .. } => false,
            Life::Launching { .. } | Life::Detached { .. } => false,
            Life::Ready { .. } | Life::Unhealthy { .. } | Life::Stopping(_) | Life::Completed { .. } => false,
        }
    }

    /// The comparison: does the next thing that follows from wish, permit, life and time. `true`: there may be more.
    pub fn pursue(&mut self, permit: Permit, step: &mut Step) -> bool {
        if self.awaited {
            return false;
        }
        self.consult_calendar(step);
        self.hasten_alarm(step);
        match &self.life {
            Life::Stopped => self.pursue_stopped(step),
            Life::Waiting { .. } => self.pursue_waiting(permit, step),
            Life::Gated { .. } => self.pursue_gated(permit, step),
            Life::Preparing { .. } => self.pursue_preparing(&permit, step),
            Life::Spawning { .. } | Life::Executing { .. } | Life::Starting { .. } => {
                if self.may_go(&permit) {
                    self.stop_by_wish(step)
                } else {
                    self.pursue_starting(step)
                }
            }
            Life::Launching { .. } | Life::Detached { .. } => {
                if self.may_go(&permit) {
                    self.stop_by_wish(step)
                } else {
                    self.pursue_launching(step)
                }
            }
            Life::Ready { .. } | Life::Unhealthy { .. } => {
                if self.may_go(&permit) {
                    self.stop_by_wish(step)
                } else {
                    self.pursue_ready(step)
                }
            }
            Life::Retrying { .. } => self.pursue_retrying(permit, step),
            Life::Evicting { .. } => self.pursue_evicting(permit, step),
            Life::Backoff { .. } => self.pursue_backoff(step),
            Life::Stopping(_) => self.pursue_stopping(step),
            Life::Completed { .. } => {
                let due = self.is_due();
                if due {
                    self.enter(Life::Waiting { told: false }, self.wish.cause.clone(), step);
                } else if self.wish.stopped && self.spec.schedule.is_some() {
                    // No run is due any more.
                    return self.rest(step);
                }
                due
            }
            Life::Failed { .. } => self.pursue_failed(permit, step),
            Life::Doomed { .. } => self.pursue_doomed(permit, step),
        }
    }

    fn may_go(&self, permit: &Permit) -> bool {
        self.lot.going && matches!(permit, Permit::Free)
    }

    /// When time alone makes a difference; `Some(0)`: at once.
    pub fn deadline(&self) -> Option<u64> {
        if self.awaited {
            return None;
        }
        self.with_period(self.life_deadline())
    }

    fn life_deadline(&self) -> Option<u64> {
        match &self.life {
            Life::Stopped | Life::Waiting { .. } | Life::Completed { .. } | Life::Doomed { .. } => None,
            Life::Gated { gate, .. } => match gate {
                Gate::Asked | Gate::Open => None,
                Gate::Resting { until } => Some(*until),
            },
            Life::Preparing { done, .. } => (*done && !self.lot.going).then_some(0),
            Life::Spawning { .. } => None,
            Life::Executing { .. } | Life::Starting { .. } => self.starting_deadline(),
            Life::Launching { .. } | Life::Detached { .. } => self.launching_deadline(),
            Life::Ready { .. } | Life::Unhealthy { .. } => self.health_deadline(),
            Life::Retrying { until, .. } | Life::Backoff { until, .. } => Some(*until),
            Life::Evicting { ended, .. } => ended.then_some(0),
            Life::Stopping(stopping) => stopping.deadline(self.wish.patience),
            Life::Failed { retry_at, .. } => retry_at.filter(|_| self.lot.wanted),
        }
    }

    fn enter(&mut self, life: Life, cause: Cause, step: &Step) {
        self.life = life;
        self.since = step.now.mono_ns;
        self.cause = cause;
        self.moves += 1;
    }

    /// Takes the life out to build the next one of its parts; always followed by [`Machine::enter`] or by putting
    /// it back.
    fn take_life(&mut self) -> Life {
        std::mem::replace(&mut self.life, Life::Stopped)
    }

    fn publish(&self, kind: EventKind, cause: Cause, step: &mut Step) {
        step.out.push(Action::Publish(Event {
            service: Some(self.spec.name.clone()),
            run: self.run,
            kind,
            cause,
        }));
    }

    fn warn(&self, message: String, step: &mut Step) {
        self.publish(EventKind::Warned { message }, Cause::new(Author::Runner, "note"), step);
    }

    /// The live part of an edit reaches what runs.
    pub fn adjust(&mut self, step: &mut Step) {
        let spec = Arc::clone(&self.spec);
        // What is about to be replaced keeps what it was started with.
        if self.life.spec().is_some_and(|old| is_replaced(old, &spec)) {
            return;
        }
        let touched = match &mut self.life {
            Life::Preparing { spec: old, .. }
            | Life::Spawning { spec: old, .. }
            | Life::Executing { spec: old, .. } => {
                *old = Arc::clone(&spec);
                true
            }
            Life::Launching { process, .. } | Life::Detached { process, .. } => {
                process.spec = Arc::clone(&spec);
                true
            }
            Life::Starting { process, .. } | Life::Ready { process, .. } | Life::Unhealthy { process, .. } => {
                process.spec = Arc::clone(&spec);
                true
            }
            // Nothing is left that an edit could reach.
            Life::Stopping(stopping) if matches!(stopping.body, Body::Gone) => false,
            Life::Stopping(stopping) => {
                stopping.spec = Arc::clone(&spec);
                true
            }
            Life::Stopped
            | Life::Waiting { .. }
            | Life::Gated { .. }
            | Life::Retrying { .. }
            | Life::Evicting { .. }
            | Life::Backoff { .. }
            | Life::Completed { .. }
            | Life::Failed { .. }
            | Life::Doomed { .. } => false,
        };
        if touched {
            step.out.push(Action::Adjust {
                id: self.incarnation(),
                service: spec,
            });
            self.rewrite(step);
        }
    }

    /// Sends a signal that somebody asked for. What is about to be executed is not there to be told.
    pub fn deliver(&mut self, signal: Signal, cause: &Cause, step: &mut Step) {
        if self.life.process().is_none() {
            return;
        }
        step.out.push(Action::Deliver {
            id: self.incarnation(),
            signal,
        });
        self.sent = Some((self.run, signal, cause.clone()));
        self.publish(EventKind::Signalled { signal }, cause.clone(), step);
    }

    /// Who sent the signal that ended this run, if that was done by hand.
    pub fn sender(&self, run: u32, status: ExitStatus) -> Option<&Cause> {
        let (to, signal, cause) = self.sent.as_ref()?;
        (*to == run && status == ExitStatus::Signal(*signal)).then_some(cause)
    }

    /// Asks a program that runs to read its own configuration anew.
    pub fn reload(&mut self, cause: &Cause, step: &mut Step) {
        let (Life::Starting { process, .. } | Life::Ready { process, .. } | Life::Unhealthy { process, .. }) =
            &self.life
        else {
            return;
        };
        let (id, service) = (self.incarnation(), Arc::clone(&process.spec));
        if let Some(signal) = service.reload_signal {
            step.out.push(Action::Deliver { id, signal });
            self.publish(EventKind::Reloaded, cause.clone(), step);
        } else if service.reload_command.is_some() {
            self.reloaded_for = Some(cause.clone());
            step.out.push(self.command(Purpose::Reload, service, RELOAD_TIMEOUT));
        }
    }

    /// What is run beside it has what it has.
    fn command(&self, purpose: Purpose, service: Arc<Service>, timeout: Duration) -> Action {
        Action::Run {
            id: self.incarnation(),
            purpose,
            service,
            given: self.given.clone(),
            timeout,
            told: Vec::new(),
        }
    }

    /// A reload needs no state of its own: whoever asked hears how it went.
    pub fn on_reload_ended(&mut self, result: &Result<(), String>, step: &mut Step) {
        let kind = match result {
            Ok(()) => EventKind::Reloaded,
            Err(words) => EventKind::ReloadFailed {
                message: format!("reload_command {words}"),
            },
        };
        let cause = self.reloaded_for.take();
        let cause = cause.unwrap_or_else(|| Cause::new(Author::Runner, "reload_command"));
        self.publish(kind, cause, step);
    }

    /// Nothing of it lives and none of its timers runs.
    pub fn is_at_rest(&self) -> bool {
        !self.life.has_run() && self.deadline().is_none() && self.alarming.is_none()
    }
}
