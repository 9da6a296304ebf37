//! The end of a run: what it meant, and what follows from it.

use std::sync::Arc;

use super::life::{Body, Judgement, Life, Process, Then, readiness};
use super::{Machine, Step};
use crate::reconcile::action::Action;
use crate::reconcile::event::{Author, Cause, EventKind};
use crate::reconcile::fact::ExitStatus;
use crate::reconcile::failure::Failure;
use crate::reconcile::restart::Verdict;
use crate::reconcile::snapshot::RunEnd;
use crate::reconcile::words;
use crate::spec::{Kind, Restart, Service, StopScope};

/// How a main process ended.
#[derive(Clone, Copy, Debug)]
pub(in crate::reconcile) struct Exit {
    pub status: ExitStatus,
    /// Others of its tree still live.
    pub left: bool,
    pub out_of_memory: bool,
}

pub(super) fn is_success(spec: &Service, status: ExitStatus) -> bool {
    match status {
        ExitStatus::Code(code) => u8::try_from(code).is_ok_and(|code| spec.success_exit_codes.contains(&code)),
        ExitStatus::Signal(_) | ExitStatus::Unknown => false,
    }
}

impl Machine {
    pub fn on_exited(&mut self, exit: Exit, step: &mut Step) {
        if self.goes_into_background(exit, step) {
            return;
        }
        // Told again, to another daemon: nothing is left that its PID file could name.
        if self.awaited && !exit.left && matches!(self.life, Life::Detached { .. }) {
            return self.daemon_is_gone(step);
        }
        self.cancel_probes(step);
        let now = step.now.mono_ns;
        // With `stop_scope = "process"` the rest of the tree is none of ours.
        let others_count = self
            .life
            .spec()
            .is_some_and(|spec| spec.stop_scope != StopScope::Process);
        let left = exit.left && (others_count || self.life.process().is_some_and(Process::is_launcher));
        let is_launch = matches!(self.life, Life::Launching { .. }) && is_success(&self.spec, exit.status);
        let (spec, executed_at, was_ready, ready_for) = match self.take_life() {
            Life::Executing { spec, spawned_at, .. } => (spec, spawned_at, false, None),
            Life::Launching { process, .. } => (process.spec, process.executed_at, false, None),
            Life::Starting { process, .. } => {
                let was_ready = readiness(&process.spec).is_none();
                (process.spec, process.executed_at, was_ready, None)
            }
            Life::Ready { process, ready_at, .. } | Life::Unhealthy { process, ready_at, .. } => {
                let ready_for = now.saturating_sub(ready_at);
                (process.spec, process.executed_at, true, Some(ready_for))
            }
            Life::Stopping(stopping) => {
                self.life = Life::Stopping(stopping);
                return self.exited_while_stopping(exit, step);
            }
            other => {
                self.life = other;
                return;
            }
        };
        self.note_exit(exit.status, executed_at, step);
        let judgement = Judgement {
            result: match is_launch {
                true => Err(words::no_daemon(&spec, exit.status)),
                false => self.judge(exit, left, was_ready),
            },
            status: Some(exit.status),
            took_ns: now.saturating_sub(executed_at),
            ready_for,
        };
        let then = Then::Judge(judgement);
        if left {
            let cause = Cause::new(Author::Exit, words::exit(exit.status));
            self.descend(Arc::clone(&spec), Body::Leftovers, then, cause, step);
        } else {
            self.finish(then, step);
        }
    }

    /// Attempts under way are about a process that is no more.
    pub(super) fn cancel_probes(&self, step: &mut Step) {
        let asked = match &self.life {
            Life::Starting { probing, .. } => probing.is_asked(),
            Life::Ready { health, .. } | Life::Unhealthy { health, .. } => health.is_asked(),
            _ => false,
        };
        if asked {
            step.out.push(Action::CancelProbes { id: self.incarnation() });
        }
    }

    pub(super) fn note_exit(&mut self, status: ExitStatus, since: u64, step: &mut Step) {
        let after_ns = step.now.mono_ns.saturating_sub(since);
        self.last_end = Some(RunEnd {
            run: self.run,
            status,
            at_ns: step.now.mono_ns,
            took_ns: after_ns,
        });
        let cause = Cause::new(Author::Exit, words::exit(status));
        self.publish(EventKind::Exited { status, after_ns }, cause, step);
    }

    fn judge(&self, exit: Exit, left: bool, was_ready: bool) -> Result<ExitStatus, Failure> {
        let spec = &self.spec;
        if !is_success(spec, exit.status) {
            let early = !was_ready && spec.kind == Kind::Simple;
            let mut failure = words::ended(spec, exit.status, exit.out_of_memory, early);
            if let Some(sender) = self.sender(self.run, exit.status) {
                failure.message = format!("{} ({})", failure.message, sender.detail);
                failure.suggestion = None;
            }
            return Err(failure);
        }
        match spec.kind {
            Kind::Simple if left => Err(words::daemonised(spec, exit.status)),
            Kind::Simple | Kind::Oneshot => Ok(exit.status),
        }
    }

    fn exited_while_stopping(&mut self, exit: Exit, step: &mut Step) {
        let id = self.incarnation();
        let Life::Stopping(stopping) = &mut self.life else {
            return;
        };
        let executed_at = match &stopping.body {
            Body::Alive(process) => process.executed_at,
            Body::Unborn | Body::Embryo { .. } => stopping.began,
            // Told again, to another daemon.
            Body::Leftovers if exit.left && self.awaited => return self.stop_goes_on(None, step),
            Body::Leftovers if self.awaited => return self.on_emptied(step),
            Body::Gone if self.awaited => return self.post_stop_is_due_again(step),
            Body::Gone => return,
            Body::Leftovers => return self.found_late_and_ended(exit, step),
        };
        let is_launcher = matches!(&stopping.body, Body::Alive(process) if process.is_launcher());
        let left = exit.left && (stopping.spec.stop_scope != StopScope::Process || is_launcher);
        let commanded = stopping.phase.command();
        stopping.body = Body::Leftovers;
        // With something left the command goes on: that may be its business too.
        if let Some(purpose) = commanded.filter(|_| !left) {
            step.out.push(Action::CancelRun { id, purpose });
        }
        self.note_exit(exit.status, executed_at, step);
        self.moves += 1;
        if !left {
            self.finish_stopping(step);
        } else if self.awaited {
            // What was sent to it last may have been lost with the daemon that sent it.
            self.stop_goes_on(None, step);
        }
    }

    pub fn on_emptied(&mut self, step: &mut Step) {
        let id = self.incarnation();
        if matches!(self.life, Life::Detached { .. }) {
            return self.daemon_is_gone(step);
        }
        let Life::Stopping(stopping) = &self.life else { return };
        if !matches!(stopping.body, Body::Leftovers) {
            return;
        }
        if let Some(purpose) = stopping.phase.command() {
            step.out.push(Action::CancelRun { id, purpose });
        }
        self.finish_stopping(step);
    }

    pub(super) fn finish_stopping(&mut self, step: &mut Step) {
        if let Life::Stopping(stopping) = self.take_life() {
            self.finish(stopping.then, step);
        }
    }

    /// Nothing of the incarnation is left.
    pub(super) fn finish(&mut self, then: Then, step: &mut Step) {
        if !self.hook_post_stop(&then, step) {
            self.conclude(then, step);
        }
    }

    /// Nothing of the incarnation is left, and nothing is to be done about that.
    pub(super) fn conclude(&mut self, then: Then, step: &mut Step) {
        step.out.push(Action::Release { id: self.incarnation() });
        let judgement = match then {
            Then::Judge(judgement) if !self.lot.going && !self.lot.turn.is_deferred() => judgement,
            // What was asked for in the meantime wins over how it ended (a stop at the instant of a crash).
            Then::Judge(_) | Then::Wish => {
                self.rest(step);
                return;
            }
        };
        let Judgement {
            result,
            status,
            took_ns,
            ready_for,
        } = judgement;
        if let (Err(failure), None) = (&result, status) {
            self.failed_for = Some((self.run, failure.message.clone()));
        }
        match (result, self.spec.restart) {
            (Ok(status), Restart::No | Restart::OnFailure) => self.complete(status, took_ns, step),
            (Ok(_), Restart::Always) => self.restart(None, status, ready_for, step),
            (Err(failure), Restart::No) => self.fail(failure, status, step),
            (Err(failure), Restart::OnFailure | Restart::Always) => {
                self.restart(Some(failure), status, ready_for, step);
            }
        }
    }

    fn complete(&mut self, status: ExitStatus, after_ns: u64, step: &mut Step) {
        let cause = Cause::new(Author::Exit, words::kind(self.spec.kind));
        self.enter(Life::Completed { status }, cause.clone(), step);
        self.publish(EventKind::Completed { status, after_ns }, cause, step);
        self.tell_end(step);
    }

    fn fail(&mut self, failure: Failure, status: Option<ExitStatus>, step: &mut Step) {
        let cause = Cause::new(Author::Exit, failure.message.clone());
        self.enter(
            Life::Failed {
                failure: failure.clone(),
                status,
                retry_at: None,
            },
            cause.clone(),
            step,
        );
        self.hook_on_failure(&failure, step);
        self.publish(EventKind::Failed { failure }, cause, step);
        self.tell_end(step);
    }

    fn restart(
        &mut self,
        failure: Option<Failure>,
        status: Option<ExitStatus>,
        ready_for: Option<u64>,
        step: &mut Step,
    ) {
        let spec = Arc::clone(&self.spec);
        let verdict = self.history.ended(&spec, step.now.mono_ns, ready_for, step.rng);
        let last = failure
            .clone()
            .or_else(|| status.map(|status| words::ended(&spec, status, false, false)));
        let (shown, loop_begins) = match (&verdict, &last) {
            (Verdict::GiveUp, last) => {
                let last = last.clone().unwrap_or_else(|| words::stop_failed(&[]));
                return self.fail(words::gave_up(&spec, &last), status, step);
            }
            (Verdict::Again { loop_begins, .. }, Some(last)) if self.history.looping => {
                (Some(words::crash_loop(self.history.restarts, last)), *loop_begins)
            }
            (Verdict::Again { loop_begins, .. }, _) => (failure, *loop_begins),
        };
        if let (true, Some(failure)) = (loop_begins, &shown) {
            self.warn(format!("crash loop: {}", failure.message), step);
            self.hook_on_failure(failure, step);
        }
        self.back_off(verdict, shown, step);
    }
}
