//! What happened. Facts are past tense; each that belongs to a process carries its incarnation.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::Cause;
use super::failure::Failure;
use super::ports::PortTaken;
use crate::spec::{ExitPolicy, Project, Service, ServiceName, Signal, WatchAction};

/// The instant of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds of CLOCK_BOOTTIME's kin, CLOCK_MONOTONIC: comparable across processes of one boot, never steps.
    pub mono_ns: u64,
    /// Nanoseconds since 1970, UTC. Shown to people, and compared with the times of cron lines only.
    pub wall_ns: i64,
}

/// A service within one `World`; never used again for another one, even after an edit removes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub u32);

/// One life of one service. A fact that carries another one than the service's current one is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation {
    pub service: ServiceId,
    /// Counts the runs of this service from 1; goes on over restarts of runner.
    pub run: u32,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    Code(i32),
    Signal(Signal),
    /// It is gone and nobody could be asked. Never invented.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeKind {
    Ready,
    Health,
}

/// The result of one attempt of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    /// In words that fit after "waiting for http :3000/healthz": `connection refused`, `status 503`.
    Failure(String),
    /// Says nothing about the service (no descriptors left, say): neither success nor failure.
    Unknown(String),
}

/// What a person (or a signal that a person sent) asked for. Names are checked to exist in the project.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Make what is named wanted (nothing named: everything that starts by itself), with its dependencies
    /// unless `no_deps`. Clears stops by hand of what it names.
    Up {
        names: Vec<ServiceName>,
        no_deps: bool,
        profiles: Vec<String>,
    },
    /// Stop everything, then end. `timeout` replaces every service's stop timeout.
    Down {
        timeout: Option<Duration>,
    },
    /// While everything is being stopped: SIGKILL now.
    Hasten,
    Start {
        names: Vec<ServiceName>,
    },
    Stop {
        names: Vec<ServiceName>,
        timeout: Option<Duration>,
    },
    Restart {
        names: Vec<ServiceName>,
    },
    /// By `reload_signal` or `reload_command`; passes by what has neither or does not run.
    Reload {
        names: Vec<ServiceName>,
    },
    /// What is watched for it has changed. One that is not to run is left alone.
    Watched {
        service: ServiceName,
        action: WatchAction,
    },
    /// To the main processes of what runs.
    Signal {
        names: Vec<ServiceName>,
        signal: Signal,
    },
}

#[derive(Clone, Debug)]
pub enum Fact {
    /// A new, checked definition is to be in force. The first one comes before anything else.
    Configured {
        project: Arc<Project>,
        /// Resolved from the command line, the file and the place of use.
        exit: ExitPolicy,
        exit_code_from: Option<ServiceName>,
        cause: Cause,
        /// What somebody asked for together with it (`up`): both settle before anything is done.
        request: Option<Request>,
    },
    Asked {
        request: Request,
        cause: Cause,
    },
    /// The process exists, is recorded and was let through the gate. `Executed` or `SpawnFailed` follows.
    Spawned {
        id: Incarnation,
        pid: u32,
    },
    /// execve(2) succeeded.
    Executed {
        id: Incarnation,
    },
    /// The answer to `Action::Adopt`: it is there, or was until lately. `signalled`: what it was sent last, where that is known.
    Adopted {
        id: Incarnation,
        pid: u32,
        executed: bool,
        signalled: Option<Signal>,
        /// Its main process has ended: `Exited` follows at once.
        ended: bool,
    },
    /// The answer to `Action::Adopt`: nothing of it is there, and its program was never executed. (What has ended since it
    /// was executed is `Exited`, with an unknown status where nobody can tell.)
    Vanished {
        id: Incarnation,
    },
    /// Nothing of this incarnation is left. `failure.reason` says whether trying again makes sense.
    SpawnFailed {
        id: Incarnation,
        failure: Failure,
    },
    /// Nothing was started: somebody else holds a port that it declares.
    PortTaken {
        id: Incarnation,
        taken: PortTaken,
    },
    /// It runs (or is about to) with other numbers of ports than the declared ones, its own or those of others that it names.
    /// This is what it is with those; the words tell of its own.
    PortsMoved {
        id: Incarnation,
        actual: Arc<Service>,
        words: Vec<String>,
    },
    /// The answer to `Action::Evict`: who has ended, in words; or why not.
    Evicted {
        id: Incarnation,
        result: Result<String, Failure>,
    },
    /// A process that held a port of this incarnation (`PortTaken`) has ended by itself.
    HolderEnded {
        id: Incarnation,
    },
    /// The main process has ended and its output is in the log. `left`: others of its tree still live.
    Exited {
        id: Incarnation,
        status: ExitStatus,
        left: bool,
        out_of_memory: bool,
    },
    /// After `Exited { left: true }`: now nothing of the incarnation's tree is left.
    Emptied {
        id: Incarnation,
    },
    /// After `Action::Kill`: these are still there (`pid 7 (name, uninterruptible)`), and hands gave up for now.
    KillFailed {
        id: Incarnation,
        leftovers: Vec<String>,
    },
    /// The answer to `Action::Probe` with the same `attempt`.
    Probed {
        id: Incarnation,
        kind: ProbeKind,
        attempt: u32,
        outcome: Outcome,
    },
    /// A log line matched or a notification came in: an event-driven check may now have another answer.
    Nudged {
        id: Incarnation,
    },
    /// `STATUS=` of sd_notify, shown beside the state.
    StatusTold {
        id: Incarnation,
        text: String,
    },
    /// What stands in its PID file names none of its processes, and why not.
    PidFileDoubted {
        id: Incarnation,
        why: String,
    },
    /// `MAINPID=` or the PID file was believed: the main process of this incarnation is now this one.
    MainPidTold {
        id: Incarnation,
        pid: u32,
    },
    /// The answer to `Action::ProbeGate` with the same `attempt`.
    GateProbed {
        id: Incarnation,
        attempt: u32,
        outcome: Outcome,
    },
    /// Its log has told one of its `outputs`.
    OutputFound {
        id: Incarnation,
        name: String,
        value: String,
    },
    /// So much the processes of its tree hold, of those with a `memory_limit`.
    MemoryUsed {
        id: Incarnation,
        bytes: u64,
    },
    /// A step of `Action::Prepare` begins: `npm ci`, `pre_start`.
    Preparing {
        id: Incarnation,
        what: String,
    },
    /// The answer to `Action::Prepare`.
    Prepared {
        id: Incarnation,
        result: Result<(), Failure>,
    },
    /// The answer to `Action::Rewrite`: whether a file has changed, or why one could not be written.
    Rewritten {
        id: Incarnation,
        result: Result<bool, String>,
    },
    /// The answer to `Action::Run`. `Err` holds what went wrong in words.
    CommandEnded {
        id: Incarnation,
        purpose: super::action::Purpose,
        result: Result<(), String>,
    },
    /// Nothing but time: a deadline of `World::next_deadline` was reached.
    TimePassed,
}
