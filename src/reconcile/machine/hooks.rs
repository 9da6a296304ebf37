//! Commands at the turns of a life. None of them but `pre_start` decides anything: what fails is told, and it goes on.

use std::sync::Arc;
use std::time::Duration;

use super::life::{Body, Life, Phase, Stopping, Then};
use super::{Machine, Step};
use crate::reconcile::action::{Action, Purpose};
use crate::reconcile::event::{Author, Cause, EventKind};
use crate::reconcile::fact::{ExitStatus, Incarnation};
use crate::reconcile::failure::Failure;

/// A hook that nobody waits for is ended after this.
const HOOK_TIMEOUT: Duration = Duration::from_secs(60);

impl Machine {
    /// It has become ready.
    pub(super) fn hook_post_ready(&self, step: &mut Step) {
        if let Some(process) = self
            .life
            .process()
            .filter(|process| process.spec.hooks.post_ready.is_some())
        {
            let spec = Arc::clone(&process.spec);
            step.out.push(self.command(Purpose::PostReady, spec, HOOK_TIMEOUT));
        }
    }

    /// Nothing is left of a run, and it is over once `post_stop` has ended. `false`: there is none to wait for.
    pub(super) fn hook_post_stop(&mut self, then: &Then, step: &mut Step) -> bool {
        if self.spec.hooks.post_stop.is_none() || step.hasten || !self.was_executed() {
            return false;
        }
        let failure = match then {
            Then::Judge(judgement) => judgement.result.as_ref().err(),
            Then::Wish => None,
        };
        let spec = Arc::clone(&self.spec);
        let timeout = spec.stop.first().map_or(HOOK_TIMEOUT, |rung| rung.wait);
        step.out.push(Action::Run {
            id: self.incarnation(),
            purpose: Purpose::PostStop,
            service: Arc::clone(&spec),
            given: self.given.clone(),
            timeout: self.wish.patience.map_or(timeout, |whole| whole.min(timeout)),
            told: told(failure, self.last_status()),
        });
        let stopping = Stopping {
            ladder: spec.stop.clone(),
            spec,
            body: Body::Gone,
            began: step.now.mono_ns,
            then: then.clone(),
            phase: Phase::PostStop,
            killed: None,
        };
        self.enter(Life::Stopping(Box::new(stopping)), self.cause.clone(), step);
        true
    }

    /// It has failed for good, or begins to do so again and again.
    pub(super) fn hook_on_failure(&mut self, failure: &Failure, step: &mut Step) {
        if self.spec.hooks.on_failure.is_none() || step.hasten {
            return;
        }
        let id = self.incarnation();
        self.alarming = Some(id);
        step.out.push(Action::Run {
            id,
            purpose: Purpose::OnFailure,
            service: Arc::clone(&self.spec),
            given: self.given.clone(),
            timeout: HOOK_TIMEOUT,
            told: told(Some(failure), self.last_status()),
        });
    }

    /// Whoever is tired of waiting does not wait for it either.
    pub(super) fn hasten_alarm(&mut self, step: &mut Step) {
        if step.hasten
            && let Some(id) = self.alarming.take()
        {
            let purpose = Purpose::OnFailure;
            step.out.push(Action::CancelRun { id, purpose });
            self.moves += 1;
        }
    }

    pub fn on_hook_ended(&mut self, purpose: Purpose, result: &Result<(), String>, step: &mut Step) {
        let awaited = match &self.life {
            Life::Stopping(stopping) => stopping.phase.command() == Some(purpose),
            _ => false,
        };
        if !awaited && matches!(purpose, Purpose::PreStop | Purpose::PostStop) {
            return;
        }
        let hook = purpose.key();
        match result {
            Ok(()) => self.publish(EventKind::HookRan { hook }, self.cause.clone(), step),
            Err(words) => {
                let message = format!("{hook} {words}");
                self.publish(
                    EventKind::HookFailed { hook, message },
                    Cause::new(Author::Runner, hook),
                    step,
                );
            }
        }
        match purpose {
            Purpose::PreStop => self.pre_stop_ended(step),
            Purpose::PostStop => self.post_stop_ended(step),
            Purpose::Stop | Purpose::Reload | Purpose::PostReady | Purpose::OnFailure => {}
        }
    }

    pub(super) fn post_stop_ended(&mut self, step: &mut Step) {
        if !matches!(&self.life, Life::Stopping(stopping) if stopping.phase == Phase::PostStop) {
            return;
        }
        if let Life::Stopping(stopping) = self.take_life() {
            self.conclude(stopping.then, step);
        }
    }

    /// The hook of a run that is over; it may be another one's turn by now.
    pub fn on_alarm_ended(&mut self, id: Incarnation, result: &Result<(), String>, step: &mut Step) {
        if self.alarming == Some(id) {
            self.alarming = None;
            self.on_hook_ended(Purpose::OnFailure, result, step);
        }
    }

    fn last_status(&self) -> Option<ExitStatus> {
        let end = self.last_end.as_ref().filter(|end| end.run == self.run)?;
        Some(end.status)
    }

    /// There was a program in the current run.
    fn was_executed(&self) -> bool {
        self.last_status().is_some()
    }
}

/// What a hook learns from its environment.
fn told(failure: Option<&Failure>, status: Option<ExitStatus>) -> Vec<(&'static str, String)> {
    let mut told = Vec::new();
    if let Some(failure) = failure {
        told.push(("RUNNER_REASON", failure.reason.as_str().to_owned()));
        told.push(("RUNNER_MESSAGE", failure.message.clone()));
    }
    match status {
        Some(ExitStatus::Code(code)) => told.push(("RUNNER_EXIT_CODE", code.to_string())),
        Some(ExitStatus::Signal(signal)) => told.push(("RUNNER_EXIT_SIGNAL", signal.to_string())),
        Some(ExitStatus::Unknown) | None => {}
    }
    told
}
