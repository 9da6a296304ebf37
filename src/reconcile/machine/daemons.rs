//! A service that puts itself into the background: until its PID file names the main process, and when it names another.

use std::time::Duration;

use super::ends::{Exit, is_success};
use super::life::{Body, Judgement, Life, Phase, Process, Then};
use super::{Machine, Step};
use crate::reconcile::action::Action;
use crate::reconcile::event::{Author, Cause};
use crate::reconcile::health::Probing;
use crate::reconcile::timers::after;
use crate::reconcile::words;
use crate::spec::{Rung, Service, StopScope};

/// How long the main process is waited for without a `start_timeout`.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a service has, from its fork on, until its PID file names its main process.
fn limit(spec: &Service) -> Duration {
    spec.start_timeout.unwrap_or(PATIENCE)
}

/// Whether this end is only that of the launcher, which leaves the service behind.
fn is_launch(process: &Process, exit: Exit) -> bool {
    process.is_launcher() && exit.left && is_success(&process.spec, exit.status)
}

impl Machine {
    /// Takes the end of the main process for what it is if that was the launcher of a daemon. `false`: it was not.
    pub(super) fn goes_into_background(&mut self, exit: Exit, step: &mut Step) -> bool {
        let process = match &self.life {
            Life::Launching { process, .. } | Life::Starting { process, .. } => process,
            Life::Ready { process, .. } | Life::Unhealthy { process, .. } => process,
            _ => return false,
        };
        if !is_launch(process, exit) {
            return false;
        }
        self.cancel_probes(step);
        let (process, doubt) = match self.take_life() {
            Life::Launching { process, doubt } => (process, doubt),
            Life::Starting { process, .. } | Life::Ready { process, .. } | Life::Unhealthy { process, .. } => {
                (process, None)
            }
            other => {
                self.life = other;
                return false;
            }
        };
        let cause = Cause::new(Author::Exit, words::background(exit.status));
        let life = Life::Detached {
            process,
            status: exit.status,
            doubt,
        };
        self.enter(life, cause, step);
        true
    }

    /// The main process is this one from now on.
    pub fn on_main_pid_told(&mut self, pid: u32, step: &mut Step) {
        self.doubt = None;
        match self.take_life() {
            Life::Launching { mut process, .. } | Life::Detached { mut process, .. } => {
                process.pid = pid;
                let life = Life::Starting {
                    process,
                    probing: Probing::due(),
                    warned: false,
                };
                self.enter(life, self.cause.clone(), step);
            }
            Life::Stopping(stopping) => {
                self.life = Life::Stopping(stopping);
                self.told_while_stopping(pid, step);
            }
            other => {
                self.life = other;
                if let Some(process) = self.life.process_mut() {
                    process.pid = pid;
                }
            }
        }
    }

    /// Another main process than the one that was asked to stop is asked as well.
    fn told_while_stopping(&mut self, pid: u32, step: &mut Step) {
        let id = self.incarnation();
        let Life::Stopping(stopping) = &mut self.life else {
            return;
        };
        let is_new = match &mut stopping.body {
            Body::Alive(process) => std::mem::replace(&mut process.pid, pid) != pid,
            Body::Leftovers => stopping.spec.followed_pid_file().is_some(),
            Body::Unborn | Body::Embryo { .. } | Body::Gone => false,
        };
        let Phase::Rung { index, .. } = stopping.phase else {
            return;
        };
        if let Some(&Rung { signal, .. }) = stopping.ladder.get(index).filter(|_| is_new) {
            let scope = stopping.signal_scope();
            step.out.push(Action::Signal { id, signal, scope });
        }
    }

    pub fn on_pid_file_doubted(&mut self, why: String) {
        if let Life::Launching { doubt, .. } | Life::Detached { doubt, .. } = &mut self.life {
            *doubt = Some(why);
        } else {
            self.doubt = Some((self.run, why));
        }
    }

    pub(super) fn launching_deadline(&self) -> Option<u64> {
        let (Life::Launching { process, .. } | Life::Detached { process, .. }) = &self.life else {
            return None;
        };
        self.unless_going(Some(after(process.spawned_at, limit(&process.spec))))
    }

    pub(super) fn pursue_launching(&mut self, step: &mut Step) -> bool {
        if self.launching_deadline().is_none_or(|at| at > step.now.mono_ns) {
            return false;
        }
        let (process, status, doubt) = match &self.life {
            Life::Launching { process, doubt } => (process, None, doubt),
            Life::Detached { process, status, doubt } => (process, Some(*status), doubt),
            _ => return false,
        };
        let spec = &process.spec;
        let failure = words::pid_file_timeout(spec, limit(spec), status, doubt.as_deref());
        let judgement = Judgement::failed(failure, None);
        let cause = Cause::new(Author::Runner, "pid_file_timeout");
        self.stop(Then::Judge(judgement), cause, step);
        true
    }

    /// The end of a main process that its PID file named when it was being stopped already.
    pub(super) fn found_late_and_ended(&mut self, exit: Exit, step: &mut Step) {
        let Life::Stopping(stopping) = &self.life else { return };
        let spec = &stopping.spec;
        if spec.followed_pid_file().is_some() && (!exit.left || spec.stop_scope == StopScope::Process) {
            self.finish_stopping(step);
        }
    }

    /// Nothing is left of a launch whose main process was still waited for.
    pub(super) fn daemon_is_gone(&mut self, step: &mut Step) {
        let Life::Detached { process, status, .. } = self.take_life() else {
            return;
        };
        self.note_exit(status, process.executed_at, step);
        let judgement = Judgement {
            result: Err(words::no_daemon(&process.spec, status)),
            status: Some(status),
            took_ns: step.now.mono_ns.saturating_sub(process.executed_at),
            ready_for: None,
        };
        self.finish(Then::Judge(judgement), step);
    }
}

impl Process {
    /// A daemon is told to stop itself; what it has started is its business, until SIGKILL.
    pub(super) fn signal_scope(&self) -> StopScope {
        match self.spec.followed_pid_file() {
            Some(_) if self.pid != self.launched => StopScope::Process,
            _ => self.spec.stop_scope,
        }
    }

    /// Whether it may have put the main process into the background: what it leaves behind counts, also with
    /// `stop_scope = "process"`.
    pub(super) fn is_launcher(&self) -> bool {
        self.spec.followed_pid_file().is_some() && self.pid == self.launched
    }
}
