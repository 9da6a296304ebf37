//! From wanted to executed: waiting, gates, spawn and its failures.

use std::sync::Arc;
use std::time::Duration;

use super::life::{Again, Body, Gate, Life, Process};
use super::{Machine, Permit, Step};
use crate::reconcile::action::Action;
use crate::reconcile::event::{Author, Cause, EventKind};
use crate::reconcile::fact::Outcome;
use crate::reconcile::failure::{Failure, Reason};
use crate::reconcile::health::Probing;
use crate::reconcile::restart::{History, Verdict};
use crate::reconcile::timers::{after, nanos};
use crate::spec::{Kind, Restart};

/// A program that is being written is tried again so often, so far apart, before anybody hears of it.
const BUSY_TRIES: u32 = 5;
const BUSY_REST: Duration = Duration::from_millis(100);
/// Rests between attempts at the gates of `wait_for`.
const GATE_REST: Duration = Duration::from_millis(50);
const GATE_REST_MAX: Duration = Duration::from_secs(5);

impl Machine {
    pub(super) fn pursue_stopped(&mut self, step: &mut Step) -> bool {
        let starts = self.lot.wanted && !self.rests();
        if starts {
            self.enter(Life::Waiting { told: false }, self.wish.cause.clone(), step);
        }
        starts
    }

    /// It rests by wish. Publishes only what a person has not seen.
    pub(super) fn rest(&mut self, step: &mut Step) -> bool {
        let cause = self.wish.cause.clone();
        if self.spec.schedule.is_some() && !self.lot.wanted {
            // A run that was due is not kept for later.
            self.served = self.wish.turn;
        }
        self.enter(Life::Stopped, cause.clone(), step);
        self.publish(EventKind::Stopped, cause, step);
        true
    }

    pub(super) fn pursue_waiting(&mut self, permit: Permit, step: &mut Step) -> bool {
        if !self.lot.wanted {
            return self.rest(step);
        }
        match permit {
            Permit::Free => self.begin(Again::default(), step),
            Permit::Doomed(failure) => self.doom(failure, step),
            Permit::Blocked(on) => {
                if let Life::Waiting { told } = &mut self.life
                    && !std::mem::replace(told, true)
                {
                    self.publish(EventKind::Waiting { on }, self.cause.clone(), step);
                }
                false
            }
        }
    }

    fn doom(&mut self, failure: Failure, step: &mut Step) -> bool {
        // A start that was asked for has failed: nobody waits for it any longer.
        self.served = self.wish.turn;
        let cause = Cause::new(Author::Dependency, failure.message.clone());
        self.enter(
            Life::Doomed {
                failure: failure.clone(),
            },
            cause.clone(),
            step,
        );
        self.publish(EventKind::Failed { failure }, cause, step);
        self.tell_end(step);
        true
    }

    pub(super) fn pursue_doomed(&mut self, permit: Permit, step: &mut Step) -> bool {
        if !self.lot.wanted {
            return if self.wish.stopped { self.rest(step) } else { false };
        }
        match permit {
            Permit::Doomed(_) => false,
            Permit::Free | Permit::Blocked(_) => {
                let cause = Cause::new(Author::Dependency, "what it needs came back");
                self.enter(Life::Waiting { told: false }, cause, step);
                true
            }
        }
    }

    /// Takes a run number and acts. A start that was asked for forgets earlier failures.
    pub(super) fn begin(&mut self, again: Again, step: &mut Step) -> bool {
        if self.served != self.wish.turn || self.run == 0 {
            self.history = History::default();
        }
        self.served = self.wish.turn;
        self.run = self.run.saturating_add(1);
        self.outputs.clear();
        // Not because the one before it ended.
        if self.cause == self.wish.cause && again == Again::default() {
            self.asked_run = self.run;
        }
        if self.spec.wait_for.is_empty() || again != Again::default() {
            return self.prepare(again, step);
        }
        let life = Life::Gated {
            gate: Gate::Asked,
            began: step.now.mono_ns,
            attempt: 1,
            message: None,
        };
        self.enter(life, self.cause.clone(), step);
        self.probe_gate(1, step);
        true
    }

    pub(super) fn spawn(&mut self, again: Again, step: &mut Step) -> bool {
        let spec = Arc::clone(&self.spec);
        self.ordered_at = step.now.mono_ns;
        step.out.push(Action::Spawn {
            id: self.incarnation(),
            service: Arc::clone(&spec),
            given: self.given.clone(),
            elsewhere: again.ports.elsewhere,
        });
        self.enter(Life::Spawning { spec, again }, self.cause.clone(), step);
        true
    }

    fn probe_gate(&self, attempt: u32, step: &mut Step) {
        step.out.push(Action::ProbeGate {
            id: self.incarnation(),
            attempt,
            service: Arc::clone(&self.spec),
        });
    }

    pub(super) fn pursue_gated(&mut self, permit: Permit, step: &mut Step) -> bool {
        if !self.lot.wanted {
            step.out.push(Action::CancelProbes { id: self.incarnation() });
            return self.rest(step);
        }
        if !matches!(permit, Permit::Free) {
            step.out.push(Action::CancelProbes { id: self.incarnation() });
            self.enter(Life::Waiting { told: false }, self.cause.clone(), step);
            return true;
        }
        self.served = self.wish.turn;
        if self.spec.wait_for.is_empty() {
            // An edit took the gates away.
            step.out.push(Action::CancelProbes { id: self.incarnation() });
            return self.prepare(Again::default(), step);
        }
        let now = step.now.mono_ns;
        let Life::Gated { gate, attempt, .. } = &mut self.life else {
            return false;
        };
        match *gate {
            Gate::Asked => false,
            Gate::Resting { until } if now < until => false,
            Gate::Resting { .. } => {
                *gate = Gate::Asked;
                *attempt = attempt.saturating_add(1);
                let attempt = *attempt;
                self.probe_gate(attempt, step);
                false
            }
            Gate::Open => self.prepare(Again::default(), step),
        }
    }

    pub fn on_gate_probed(&mut self, answered: u32, outcome: &Outcome, step: &mut Step) {
        let now = step.now.mono_ns;
        let Life::Gated {
            gate,
            attempt,
            began,
            message,
        } = &mut self.life
        else {
            return;
        };
        if *gate != Gate::Asked || *attempt != answered {
            return;
        }
        *gate = match outcome {
            Outcome::Success => Gate::Open,
            Outcome::Failure(words) | Outcome::Unknown(words) => {
                *message = Some(words.clone());
                let rest = nanos(GATE_REST).max((now.saturating_sub(*began) / 10).min(nanos(GATE_REST_MAX)));
                Gate::Resting {
                    until: now.saturating_add(rest),
                }
            }
        };
    }

    pub fn on_spawned(&mut self, pid: u32, step: &mut Step) {
        match self.take_life() {
            Life::Spawning { spec, again } => {
                let life = Life::Executing {
                    spec,
                    again,
                    pid,
                    spawned_at: step.now.mono_ns,
                };
                self.enter(life, self.cause.clone(), step);
            }
            Life::Stopping(stopping) => self.born_to_stop(stopping, pid, step),
            other => self.life = other,
        }
    }

    pub fn on_executed(&mut self, step: &mut Step) {
        let (mono, wall) = (step.now.mono_ns, step.now.wall_ns);
        match self.take_life() {
            Life::Executing {
                spec, pid, spawned_at, ..
            } => {
                let daemon = spec.followed_pid_file().is_some();
                let process = Process {
                    spec,
                    pid,
                    launched: pid,
                    spawned_at,
                    executed_at: mono,
                    executed_wall: wall,
                    status_text: None,
                };
                let cause = self.cause.clone();
                let life = match daemon {
                    true => Life::Launching { process, doubt: None },
                    false => Life::Starting {
                        process,
                        probing: Probing::due(),
                        warned: false,
                    },
                };
                self.enter(life, cause.clone(), step);
                self.publish(EventKind::Started { pid }, cause, step);
            }
            Life::Stopping(mut stopping) => {
                // From now on it may put itself into the background.
                if let Body::Embryo { pid } = stopping.body {
                    stopping.body = Body::Alive(Process {
                        spec: Arc::clone(&stopping.spec),
                        pid,
                        launched: pid,
                        spawned_at: stopping.began,
                        executed_at: mono,
                        executed_wall: wall,
                        status_text: None,
                    });
                    self.moves += 1;
                }
                self.life = Life::Stopping(stopping);
            }
            other => self.life = other,
        }
    }

    pub fn on_spawn_failed(&mut self, failure: Failure, step: &mut Step) {
        let again = match self.take_life() {
            Life::Spawning { again, .. } | Life::Executing { again, .. } => again,
            Life::Stopping(stopping) if matches!(stopping.body, Body::Unborn | Body::Embryo { .. }) => {
                return self.finish(stopping.then, step);
            }
            other => {
                self.life = other;
                return;
            }
        };
        step.out.push(Action::Release { id: self.incarnation() });
        if self.lot.going {
            self.rest(step);
            return;
        }
        if failure.reason == Reason::Busy && again.busy < BUSY_TRIES {
            let again = Again {
                busy: again.busy + 1,
                ..again
            };
            let until = after(step.now.mono_ns, BUSY_REST);
            self.enter(Life::Retrying { again, until }, self.cause.clone(), step);
        } else if failure.reason.is_permanent() {
            self.fail_to_start(failure, again.quiet, step);
        } else {
            let verdict = self.history.postponed(&self.spec.backoff, step.rng);
            self.back_off(verdict, Some(failure), step);
        }
    }

    /// A failure that trying again does not mend: tried again at the cap only, and said once.
    pub(super) fn fail_to_start(&mut self, failure: Failure, said: Option<Failure>, step: &mut Step) {
        let retry = match self.spec.restart {
            Restart::No => None,
            Restart::OnFailure | Restart::Always => Some(after(step.now.mono_ns, self.retry_rest())),
        };
        let cause = Cause::new(Author::Runner, failure.message.clone());
        let (since, known) = (self.since, said.as_ref() == Some(&failure));
        self.enter(
            Life::Failed {
                failure: failure.clone(),
                status: None,
                retry_at: retry,
            },
            cause.clone(),
            step,
        );
        if known {
            self.since = since;
            return;
        }
        self.hook_on_failure(&failure, step);
        self.publish(EventKind::Failed { failure }, cause, step);
        self.tell_end(step);
    }

    /// Quiet tries are never a busy loop, even with `backoff.max = "0s"`.
    fn retry_rest(&self) -> Duration {
        self.spec.backoff.max.max(Duration::from_secs(1))
    }

    pub(super) fn pursue_failed(&mut self, permit: Permit, step: &mut Step) -> bool {
        if !self.lot.wanted {
            return if self.wish.stopped { self.rest(step) } else { false };
        }
        if self.is_due() {
            self.enter(Life::Waiting { told: false }, self.wish.cause.clone(), step);
            return true;
        }
        let Life::Failed {
            failure,
            retry_at: Some(at),
            ..
        } = &self.life
        else {
            return false;
        };
        if step.now.mono_ns < *at {
            return false;
        }
        if matches!(permit, Permit::Free) {
            let again = Again {
                quiet: Some(failure.clone()),
                ..Again::default()
            };
            return self.begin(again, step);
        }
        let cause = Cause::new(Author::Runner, "tries again");
        self.enter(Life::Waiting { told: false }, cause, step);
        true
    }

    pub(super) fn pursue_retrying(&mut self, permit: Permit, step: &mut Step) -> bool {
        let Life::Retrying { again, until } = &self.life else {
            return false;
        };
        if !self.lot.wanted {
            return self.rest(step);
        }
        if self.wish.turn != self.served || !matches!(permit, Permit::Free) {
            self.enter(Life::Waiting { told: false }, self.cause.clone(), step);
            return true;
        }
        if step.now.mono_ns < *until {
            return false;
        }
        self.begin(again.clone(), step)
    }

    pub(super) fn pursue_backoff(&mut self, step: &mut Step) -> bool {
        let Life::Backoff { until, .. } = &self.life else {
            return false;
        };
        if !self.lot.wanted {
            return self.rest(step);
        }
        if self.wish.turn != self.served {
            self.enter(Life::Waiting { told: false }, self.wish.cause.clone(), step);
            return true;
        }
        if step.now.mono_ns < *until && !self.lot.held {
            return false;
        }
        self.enter(
            Life::Waiting { told: false },
            Cause::new(Author::Runner, "restart after back-off"),
            step,
        );
        true
    }

    pub(super) fn back_off(&mut self, verdict: Verdict, failure: Option<Failure>, step: &mut Step) {
        let Verdict::Again { delay_ns, attempt, .. } = verdict else {
            return;
        };
        let detail = failure
            .as_ref()
            .map_or_else(|| "restart = \"always\"".to_owned(), |f| f.message.clone());
        let cause = Cause::new(Author::Exit, detail);
        let until = step.now.mono_ns.saturating_add(delay_ns);
        self.enter(
            Life::Backoff {
                failure: failure.clone(),
                until,
            },
            cause.clone(),
            step,
        );
        self.publish(
            EventKind::Restarting {
                delay_ns,
                attempt,
                failure,
            },
            cause,
            step,
        );
    }

    /// Whether being executed is all there is to being ready.
    pub(super) fn is_ready_at_once(&self) -> bool {
        let Some(process) = self.life.process() else {
            return false;
        };
        process.spec.kind == Kind::Simple && process.spec.ready.is_none()
    }
}
