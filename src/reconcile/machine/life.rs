//! One service's life: each variant owns exactly what exists then.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::reconcile::fact::ExitStatus;
use crate::reconcile::failure::{Failure, Reason};
use crate::reconcile::health::Probing;
use crate::reconcile::ports::Tried;
use crate::reconcile::snapshot::StateName;
use crate::spec::{Probe, Rung, Service, StopScope};

#[derive(Clone, Debug)]
pub(in crate::reconcile) enum Life {
    /// Nothing lives and nothing is due.
    Stopped,
    /// Wanted; dependencies or what others still hold stand in the way. `told`: said so already.
    Waiting {
        told: bool,
    },
    /// Its turn has come; the gates of `wait_for` are tried.
    Gated {
        gate: Gate,
        began: u64,
        attempt: u32,
        message: Option<String>,
    },
    /// `Prepare` was ordered. `doing`: the step under way. `ending`: it was told to end. `done`: it is.
    Preparing {
        spec: Arc<Service>,
        doing: Option<String>,
        ending: bool,
        done: bool,
    },
    /// `Spawn` was ordered.
    Spawning {
        spec: Arc<Service>,
        again: Again,
    },
    /// It exists; its program is being executed.
    Executing {
        spec: Arc<Service>,
        again: Again,
        pid: u32,
        spawned_at: u64,
    },
    /// The program runs, and its PID file has not named the main process yet. `doubt`: why what it holds is not believed.
    Launching {
        process: Process,
        doubt: Option<String>,
    },
    /// What was started has ended well and left others. Which of them is the main process, the PID file has not said yet.
    Detached {
        process: Process,
        status: ExitStatus,
        doubt: Option<String>,
    },
    /// The program runs and is not ready (or, for most oneshots, not done). `warned`: "still starting" was said.
    Starting {
        process: Process,
        probing: Probing,
        warned: bool,
    },
    Ready {
        process: Process,
        ready_at: u64,
        health: Probing,
    },
    Unhealthy {
        process: Process,
        ready_at: u64,
        health: Probing,
    },
    /// The program was busy; tried again in a moment and without a word.
    Retrying {
        again: Again,
        until: u64,
    },
    /// What holds a port of it is being ended.
    Evicting {
        again: Again,
        ended: bool,
    },
    /// A restart is due. `failure` is missing when a success code is restarted (`restart = "always"`).
    Backoff {
        failure: Option<Failure>,
        until: u64,
    },
    Stopping(Box<Stopping>),
    /// Ended with a success code, no restart due.
    Completed {
        status: ExitStatus,
    },
    /// Failed with no restart due, at most a quiet try. `status`: of the run that failed, if one ran.
    Failed {
        failure: Failure,
        status: Option<ExitStatus>,
        retry_at: Option<u64>,
    },
    /// What it needs failed for good.
    Doomed {
        failure: Failure,
    },
}

/// How often a start was tried for one purpose.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::reconcile) struct Again {
    /// Tries that ended `busy`.
    pub busy: u32,
    /// A quiet try at the cap: what it failed of before, shown until the program runs.
    pub quiet: Option<Failure>,
    /// What was done about ports that others held.
    pub ports: Tried,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::reconcile) enum Gate {
    Asked,
    Resting { until: u64 },
    Open,
}

/// A program that runs.
#[derive(Clone, Debug)]
pub(in crate::reconcile) struct Process {
    /// The definition it was started with, kept current by live edits.
    pub spec: Arc<Service>,
    pub pid: u32,
    /// What was started: another one than `pid` once that was named by a PID file or by `MAINPID=`.
    pub launched: u32,
    pub spawned_at: u64,
    pub executed_at: u64,
    pub executed_wall: i64,
    /// `STATUS=` of sd_notify.
    pub status_text: Option<String>,
}

/// From the decision to end an incarnation until nothing of it is left.
#[derive(Clone, Debug)]
pub(in crate::reconcile) struct Stopping {
    pub spec: Arc<Service>,
    pub body: Body,
    pub began: u64,
    pub then: Then,
    pub ladder: Vec<Rung>,
    pub phase: Phase,
    /// Whom SIGKILL was ordered for last.
    pub killed: Option<StopScope>,
}

/// What of the incarnation is known to exist.
#[derive(Clone, Debug)]
pub(in crate::reconcile) enum Body {
    /// Ordered, no PID yet.
    Unborn,
    /// Not executed yet.
    Embryo {
        pid: u32,
    },
    Alive(Process),
    /// The main process ended, others of its tree still live.
    Leftovers,
    /// Nothing of it is left; its end is not.
    Gone,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::reconcile) enum Phase {
    /// Waits for the PID to signal.
    Unborn,
    /// The hook `pre_stop`.
    PreStop,
    /// `stop_command`; `ended`: it succeeded, and its effect is waited for.
    Command { ended: bool },
    /// The signal of rung `index` was sent at `since`.
    Rung { index: usize, since: u64 },
    /// SIGKILL was ordered; asked for again when no answer came until `until`.
    Killing { until: u64 },
    /// SIGKILL did not help; tried again at `until`. `answered`: the latest try was said to have failed as well.
    Stuck {
        failure: Failure,
        until: u64,
        answered: bool,
    },
    /// The hook `post_stop`, when nothing is left.
    PostStop,
}

/// What the end of a stop means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::reconcile) enum Then {
    /// It was asked for: the wish decides.
    Wish,
    Judge(Judgement),
}

/// How a run went, for the restart policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::reconcile) struct Judgement {
    pub result: Result<ExitStatus, Failure>,
    /// The exit status of the run, where it ended by itself.
    pub status: Option<ExitStatus>,
    /// From exec to the end.
    pub took_ns: u64,
    pub ready_for: Option<u64>,
}

impl Judgement {
    /// A run that runner ends because it failed.
    pub fn failed(failure: Failure, ready_for: Option<u64>) -> Self {
        Judgement {
            result: Err(failure),
            status: None,
            took_ns: 0,
            ready_for,
        }
    }
}

impl Life {
    /// Whether an incarnation exists that may hold ports, a name, processes.
    pub fn is_living(&self) -> bool {
        match self {
            Life::Preparing { .. }
            | Life::Spawning { .. }
            | Life::Executing { .. }
            | Life::Launching { .. }
            | Life::Detached { .. }
            | Life::Starting { .. }
            | Life::Ready { .. }
            | Life::Unhealthy { .. }
            | Life::Stopping(_) => true,
            Life::Stopped
            | Life::Waiting { .. }
            | Life::Gated { .. }
            | Life::Retrying { .. }
            | Life::Evicting { .. }
            | Life::Backoff { .. }
            | Life::Completed { .. }
            | Life::Failed { .. }
            | Life::Doomed { .. } => false,
        }
    }

    /// Whether facts about the current run number may still come.
    pub fn has_run(&self) -> bool {
        matches!(self, Life::Gated { .. } | Life::Evicting { .. }) || self.is_living()
    }

    /// Whether the latest run began with a definition that still means something: it lives, or its end is what there is.
    pub fn has_begun(&self) -> bool {
        self.is_living()
            || matches!(
                self,
                Life::Completed { .. } | Life::Failed { .. } | Life::Backoff { .. }
            )
    }

    /// The definition of what lives.
    pub fn spec(&self) -> Option<&Service> {
        match self {
            Life::Preparing { spec, .. } | Life::Spawning { spec, .. } | Life::Executing { spec, .. } => Some(spec),
            Life::Launching { process, .. } | Life::Detached { process, .. } => Some(&process.spec),
            Life::Starting { process, .. } | Life::Ready { process, .. } | Life::Unhealthy { process, .. } => {
                Some(&process.spec)
            }
            Life::Stopping(stopping) => Some(&stopping.spec),
            Life::Stopped
            | Life::Waiting { .. }
            | Life::Gated { .. }
            | Life::Retrying { .. }
            | Life::Evicting { .. }
            | Life::Backoff { .. }
            | Life::Completed { .. }
            | Life::Failed { .. }
            | Life::Doomed { .. } => None,
        }
    }

    pub fn process(&self) -> Option<&Process> {
        match self {
            Life::Launching { process, .. } => Some(process),
            Life::Starting { process, .. } | Life::Ready { process, .. } | Life::Unhealthy { process, .. } => {
                Some(process)
            }
            Life::Stopping(stopping) => match &stopping.body {
                Body::Alive(process) => Some(process),
                Body::Unborn | Body::Embryo { .. } | Body::Leftovers | Body::Gone => None,
            },
            Life::Stopped
            | Life::Waiting { .. }
            | Life::Gated { .. }
            | Life::Preparing { .. }
            | Life::Spawning { .. }
            | Life::Executing { .. }
            | Life::Detached { .. }
            | Life::Retrying { .. }
            | Life::Evicting { .. }
            | Life::Backoff { .. }
            | Life::Completed { .. }
            | Life::Failed { .. }
            | Life::Doomed { .. } => None,
        }
    }

    pub fn process_mut(&mut self) -> Option<&mut Process> {
        match self {
            Life::Launching { process, .. } => Some(process),
            Life::Starting { process, .. } | Life::Ready { process, .. } | Life::Unhealthy { process, .. } => {
                Some(process)
            }
            Life::Stopping(stopping) => match &mut stopping.body {
                Body::Alive(process) => Some(process),
                Body::Unborn | Body::Embryo { .. } | Body::Leftovers | Body::Gone => None,
            },
            Life::Stopped
            | Life::Waiting { .. }
            | Life::Gated { .. }
            | Life::Preparing { .. }
            | Life::Spawning { .. }
            | Life::Executing { .. }
            | Life::Detached { .. }
            | Life::Retrying { .. }
            | Life::Evicting { .. }
            | Life::Backoff { .. }
            | Life::Completed { .. }
            | Life::Failed { .. }
            | Life::Doomed { .. } => None,
        }
    }

    pub fn pid(&self) -> Option<u32> {
        match self {
            Life::Executing { pid, .. } => Some(*pid),
            Life::Stopping(stopping) => match &stopping.body {
                Body::Embryo { pid } => Some(*pid),
                Body::Alive(process) => Some(process.pid),
                Body::Unborn | Body::Leftovers | Body::Gone => None,
            },
            Life::Launching { .. } | Life::Starting { .. } | Life::Ready { .. } | Life::Unhealthy { .. } => {
                self.process().map(|p| p.pid)
            }
            Life::Stopped
            | Life::Waiting { .. }
            | Life::Gated { .. }
            | Life::Preparing { .. }
            | Life::Spawning { .. }
            | Life::Detached { .. }
            | Life::Retrying { .. }
            | Life::Evicting { .. }
            | Life::Backoff { .. }
            | Life::Completed { .. }
            | Life::Failed { .. }
            | Life::Doomed { .. } => None,
        }
    }

    /// The failure that a person is shown.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Life::Failed { failure, .. } | Life::Doomed { failure } => Some(failure),
            Life::Backoff { failure, .. } => failure.as_ref(),
            Life::Spawning { again, .. }
            | Life::Executing { again, .. }
            | Life::Retrying { again, .. }
            | Life::Evicting { again, .. } => again.quiet.as_ref(),
            Life::Stopping(stopping) => match &stopping.phase {
                Phase::Stuck { failure, .. } => Some(failure),
                Phase::Unborn | Phase::PreStop | Phase::Command { .. } | Phase::Rung { .. } => None,
                Phase::Killing { .. } | Phase::PostStop => None,
            },
            Life::Stopped
            | Life::Waiting { .. }
            | Life::Gated { .. }
            | Life::Preparing { .. }
            | Life::Launching { .. }
            | Life::Detached { .. }
            | Life::Starting { .. }
            | Life::Ready { .. }
            | Life::Unhealthy { .. }
            | Life::Completed { .. } => None,
        }
    }

    pub fn is_stuck(&self) -> bool {
        self.failure()
            .is_some_and(|failure| failure.reason == Reason::StopFailed)
    }

    /// Whether nothing but a person, an edit or a quiet try at the cap brings it up again.
    pub fn has_failed(&self) -> bool {
        self.name() == StateName::Failed && !self.is_stuck()
    }

    pub fn name(&self) -> StateName {
        match self {
            Life::Stopped => StateName::Stopped,
            Life::Waiting { .. } | Life::Gated { .. } => StateName::Waiting,
            Life::Preparing { .. } => StateName::Preparing,
            Life::Spawning { again, .. }
            | Life::Executing { again, .. }
            | Life::Retrying { again, .. }
            | Life::Evicting { again, .. } => {
                if again.quiet.is_some() {
                    StateName::Failed
                } else {
                    StateName::Starting
                }
            }
            Life::Launching { .. } | Life::Detached { .. } | Life::Starting { .. } => StateName::Starting,
            Life::Ready { .. } => StateName::Ready,
            Life::Unhealthy { .. } => StateName::Unhealthy,
            Life::Backoff { .. } => StateName::Backoff,
            Life::Stopping(stopping) => match &stopping.phase {
                Phase::Stuck { .. } => StateName::Failed,
                Phase::Unborn | Phase::PreStop | Phase::Command { .. } | Phase::Rung { .. } => StateName::Stopping,
                Phase::Killing { .. } | Phase::PostStop => StateName::Stopping,
            },
            Life::Completed { .. } => StateName::Completed,
            Life::Failed { .. } | Life::Doomed { .. } => StateName::Failed,
        }
    }
}

/// The readiness probe that counts: most oneshots are ready only when done.
pub(in crate::reconcile) fn readiness(spec: &Service) -> Option<&Probe> {
    match spec.kind {
        crate::spec::Kind::Oneshot if spec.ready_is_default => None,
        crate::spec::Kind::Oneshot | crate::spec::Kind::Simple => spec.ready.as_ref(),
    }
}
