//! From the decision to end an incarnation until nothing of it is left: the ladder.

use std::sync::Arc;
use std::time::Duration;

use super::life::{Body, Life, Phase, Stopping, Then};
use super::{Machine, Step};
use crate::reconcile::action::{Action, Purpose};
use crate::reconcile::event::{Author, Cause, EventKind};
use crate::reconcile::timers::after;
use crate::reconcile::words;
use crate::spec::{Rung, Signal, StopScope};

/// SIGKILL is ordered again when nobody answered it for so long.
const KILL_ANSWER: Duration = Duration::from_secs(10);
/// What survived SIGKILL is killed again so often.
const STUCK_REST: Duration = Duration::from_secs(30);

/// `stop_command` runs.
const COMMAND: Phase = Phase::Command { ended: false };

/// How far SIGKILL goes.
fn reach(scope: StopScope) -> u8 {
    match scope {
        StopScope::Process => 0,
        StopScope::Group => 1,
        StopScope::Tree => 2,
    }
}

impl Phase {
    /// The command that is under way.
    pub(super) fn command(&self) -> Option<Purpose> {
        match self {
            Phase::PreStop => Some(Purpose::PreStop),
            Phase::Command { ended: false } => Some(Purpose::Stop),
            Phase::PostStop => Some(Purpose::PostStop),
            Phase::Unborn | Phase::Command { ended: true } => None,
            Phase::Rung { .. } | Phase::Killing { .. } | Phase::Stuck { .. } => None,
        }
    }
}

impl Stopping {
    /// The end of rung `index` that began at `since`. `patience` bounds the whole ladder and stretches its last rung.
    fn rung_ends(&self, index: usize, since: u64, patience: Option<Duration>) -> u64 {
        let wait = self.ladder.get(index).map_or(Duration::ZERO, |rung| rung.wait);
        match patience {
            None => after(since, wait),
            Some(whole) if index + 1 >= self.ladder.len() => after(self.began, whole),
            Some(whole) => after(since, wait).min(after(self.began, whole)),
        }
    }

    pub(super) fn deadline(&self, patience: Option<Duration>) -> Option<u64> {
        match &self.phase {
            // A hook is ended by who runs it.
            Phase::Unborn | Phase::PostStop => None,
            Phase::PreStop | Phase::Command { .. } => Some(self.command_ends(patience)),
            Phase::Rung { index, since } => Some(self.rung_ends(*index, *since, patience)),
            Phase::Killing { until } | Phase::Stuck { until, .. } => Some(*until),
        }
    }

    /// A stop command has the wait of the first rung for itself and its effect.
    fn command_ends(&self, patience: Option<Duration>) -> u64 {
        let first = self.ladder.first().map_or(Duration::ZERO, |rung| rung.wait);
        after(self.began, patience.map_or(first, |whole| whole.min(first)))
    }

    /// What is left of a tree whose main process ended is reached through its group only.
    fn scope(&self) -> StopScope {
        match (&self.body, self.spec.stop_scope) {
            // Among it may be a daemon that was never found.
            (Body::Leftovers, StopScope::Process) if self.spec.followed_pid_file().is_some() => StopScope::Tree,
            (Body::Leftovers, StopScope::Process) => StopScope::Group,
            (_, scope) => scope,
        }
    }

    pub(super) fn signal_scope(&self) -> StopScope {
        match &self.body {
            Body::Alive(process) => process.signal_scope(),
            Body::Unborn | Body::Embryo { .. } | Body::Leftovers | Body::Gone => self.scope(),
        }
    }
}

impl Machine {
    pub(super) fn stop_by_wish(&mut self, step: &mut Step) -> bool {
        self.stop(Then::Wish, self.wish.cause.clone(), step);
        true
    }

    /// Begins to end the incarnation.
    pub(super) fn stop(&mut self, then: Then, cause: Cause, step: &mut Step) {
        self.cancel_probes(step);
        let (spec, body) = match self.take_life() {
            Life::Spawning { spec, .. } => (spec, Body::Unborn),
            Life::Executing { spec, pid, .. } => (spec, Body::Embryo { pid }),
            Life::Launching { process, .. }
            | Life::Starting { process, .. }
            | Life::Ready { process, .. }
            | Life::Unhealthy { process, .. } => (Arc::clone(&process.spec), Body::Alive(process)),
            Life::Detached { process, .. } => (process.spec, Body::Leftovers),
            other => {
                self.life = other;
                return;
            }
        };
        self.publish(EventKind::Stopping, cause.clone(), step);
        self.descend(spec, body, then, cause, step);
    }

    /// Enters the ladder at its first step.
    pub(super) fn descend(
        &mut self,
        spec: Arc<crate::spec::Service>,
        body: Body,
        then: Then,
        cause: Cause,
        step: &mut Step,
    ) {
        let (began, ladder) = (step.now.mono_ns, spec.stop.clone());
        let (unborn, alive) = (matches!(body, Body::Unborn), matches!(body, Body::Alive(_)));
        let commanded = alive && !step.hasten;
        let stopping = Stopping {
            spec,
            body,
            began,
            then,
            ladder,
            phase: Phase::Unborn,
            killed: None,
        };
        self.enter(Life::Stopping(Box::new(stopping)), cause, step);
        if unborn {
            return;
        }
        if !commanded || !self.command_of(Phase::PreStop, step) && !self.command_of(COMMAND, step) {
            self.climb(0, step);
        }
    }

    /// Runs the command of this phase. `false`: there is none.
    fn command_of(&mut self, phase: Phase, step: &mut Step) -> bool {
        let (now, patience) = (step.now.mono_ns, self.wish.patience);
        let Life::Stopping(stopping) = &mut self.life else {
            return false;
        };
        let Some(purpose) = phase
            .command()
            .filter(|purpose| purpose.command(&stopping.spec).is_some())
        else {
            return false;
        };
        stopping.phase = phase;
        let timeout = Duration::from_nanos(stopping.command_ends(patience).saturating_sub(now));
        let spec = Arc::clone(&stopping.spec);
        step.out.push(self.command(purpose, spec, timeout));
        true
    }

    /// What was to be done before the stop signal is done.
    pub(super) fn pre_stop_ended(&mut self, step: &mut Step) {
        let Life::Stopping(stopping) = &self.life else { return };
        if stopping.phase != Phase::PreStop {
            return;
        }
        let alive = matches!(stopping.body, Body::Alive(_));
        if !alive || step.hasten || !self.command_of(COMMAND, step) {
            self.climb(0, step);
        }
    }

    /// Told again of a run of which nothing is left, to another daemon: its hook may not have come to its end.
    pub(super) fn post_stop_is_due_again(&mut self, step: &mut Step) {
        if let Life::Stopping(stopping) = self.take_life() {
            self.finish(stopping.then, step);
        }
    }

    /// The PID of something that is to be stopped already.
    pub(super) fn born_to_stop(&mut self, mut stopping: Box<Stopping>, pid: u32, step: &mut Step) {
        let unborn = matches!(stopping.phase, Phase::Unborn);
        if unborn {
            stopping.body = Body::Embryo { pid };
            stopping.began = step.now.mono_ns;
        }
        self.life = Life::Stopping(stopping);
        if unborn {
            self.moves += 1;
            self.climb(0, step);
        }
    }

    /// Takes rung `index` and every following one that does not wait; SIGKILL after the last.
    fn climb(&mut self, index: usize, step: &mut Step) {
        let (id, now, patience, hasten) = (self.incarnation(), step.now.mono_ns, self.wish.patience, step.hasten);
        let Life::Stopping(stopping) = &mut self.life else {
            return;
        };
        let (scope, signal_scope) = (stopping.scope(), stopping.signal_scope());
        if !hasten {
            for (index, &Rung { signal, .. }) in stopping.ladder.iter().enumerate().skip(index) {
                let scope = signal_scope;
                step.out.push(Action::Signal { id, signal, scope });
                if stopping.rung_ends(index, now, patience) > now {
                    stopping.phase = Phase::Rung { index, since: now };
                    return;
                }
            }
        }
        stopping.phase = Phase::Killing {
            until: after(now, KILL_ANSWER),
        };
        stopping.killed = Some(scope);
        step.out.push(Action::Kill { id, scope });
        let waited = Duration::from_nanos(now.saturating_sub(stopping.began));
        let words = format!("SIGKILL was needed after {}", words::duration(waited));
        if waited >= Duration::from_millis(1) && !hasten {
            self.warn(words, step);
        }
    }

    pub(super) fn pursue_stopping(&mut self, step: &mut Step) -> bool {
        let (id, now, patience) = (self.incarnation(), step.now.mono_ns, self.wish.patience);
        let Life::Stopping(stopping) = &mut self.life else {
            return false;
        };
        let scope = stopping.scope();
        // A group does not outlive SIGKILL without a `KillFailed`, and who left it is none of ours.
        let is_rest_of_group = scope == StopScope::Group && matches!(stopping.body, Body::Leftovers);
        let due = stopping.deadline(patience).is_some_and(|at| at <= now);
        let is_wider = stopping.killed.is_some_and(|killed| reach(scope) > reach(killed));
        match &mut stopping.phase {
            Phase::Unborn => {}
            Phase::PreStop | Phase::Command { .. } if due || step.hasten => {
                if let Some(purpose) = stopping.phase.command() {
                    step.out.push(Action::CancelRun { id, purpose });
                }
                self.climb(0, step);
            }
            Phase::PostStop if step.hasten => {
                step.out.push(Action::CancelRun {
                    id,
                    purpose: Purpose::PostStop,
                });
                self.post_stop_ended(step);
                return true;
            }
            Phase::Rung { index, .. } if due || step.hasten => {
                let next = *index + 1;
                self.climb(next, step);
            }
            Phase::Killing { .. } | Phase::Stuck { .. } if is_wider => {
                // What an edit has added, or a launcher has left, was not reached.
                stopping.phase = Phase::Killing {
                    until: after(now, KILL_ANSWER),
                };
                stopping.killed = Some(scope);
                step.out.push(Action::Kill { id, scope });
            }
            Phase::Killing { .. } if due && is_rest_of_group => {
                self.finish_stopping(step);
                return true;
            }
            Phase::Killing { until } if due => {
                *until = after(now, KILL_ANSWER);
                step.out.push(Action::Kill { id, scope });
            }
            Phase::Stuck { answered: false, .. } if due && is_rest_of_group => {
                self.finish_stopping(step);
                return true;
            }
            Phase::Stuck { until, answered, .. } if due => {
                *until = after(now, STUCK_REST);
                *answered = false;
                step.out.push(Action::Kill { id, scope });
            }
            Phase::PreStop | Phase::Command { .. } | Phase::Rung { .. } => {}
            Phase::Killing { .. } | Phase::Stuck { .. } | Phase::PostStop => {}
        }
        false
    }

    /// A stop that an earlier daemon began. What was under way in that one is begun again; a signal that arrived is not
    /// sent twice: to some programs a second one means more than the first.
    pub(super) fn stop_goes_on(&mut self, signalled: Option<Signal>, step: &mut Step) {
        let id = self.incarnation();
        let Life::Stopping(stopping) = &self.life else { return };
        let scope = stopping.scope();
        match &stopping.phase {
            Phase::Unborn | Phase::Command { ended: true } | Phase::PostStop => {}
            phase @ (Phase::PreStop | Phase::Command { ended: false }) => {
                if matches!(stopping.body, Body::Alive(_)) {
                    let phase = phase.clone();
                    self.command_of(phase, step);
                }
            }
            Phase::Rung { index, .. } => {
                let signal = stopping.ladder.get(*index).map(|rung| rung.signal);
                if let Some(signal) = signal.filter(|signal| signalled != Some(*signal)) {
                    step.out.push(Action::Signal { id, signal, scope });
                }
            }
            Phase::Killing { .. } | Phase::Stuck { .. } => step.out.push(Action::Kill { id, scope }),
        }
    }

    pub fn on_command_ended(&mut self, result: &Result<(), String>, step: &mut Step) {
        let Life::Stopping(stopping) = &mut self.life else {
            return;
        };
        let Phase::Command { ended } = &mut stopping.phase else {
            return;
        };
        if std::mem::replace(ended, true) {
            return;
        }
        if let Err(words) = result {
            self.warn(format!("stop_command failed: {words}; sending signals instead"), step);
            self.climb(0, step);
        }
    }

    pub fn on_kill_failed(&mut self, leftovers: &[String], step: &mut Step) {
        let until = after(step.now.mono_ns, STUCK_REST);
        let Life::Stopping(stopping) = &mut self.life else {
            return;
        };
        let failure = words::stop_failed(leftovers);
        match &mut stopping.phase {
            Phase::Killing { .. } => {
                stopping.phase = Phase::Stuck {
                    failure: failure.clone(),
                    until,
                    answered: true,
                };
                let cause = Cause::new(Author::Runner, failure.message.clone());
                self.since = step.now.mono_ns;
                self.cause = cause.clone();
                self.moves += 1;
                self.publish(EventKind::Failed { failure }, cause, step);
            }
            Phase::Stuck {
                failure: known,
                answered,
                ..
            } => (*known, *answered) = (failure, true),
            Phase::Unborn | Phase::PreStop | Phase::Command { .. } | Phase::Rung { .. } | Phase::PostStop => {}
        }
    }
}
