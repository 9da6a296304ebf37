//! What is to be done, by `daemon::hands`. Actions are imperative and carry all that performing them needs.

use std::sync::Arc;
use std::time::Duration;

use super::event::{Author, Event};
use super::fact::{Incarnation, ProbeKind};
use crate::spec::{Argv, Given, Rung, Service, ServiceName, Signal, StopScope};

/// What a command that belongs to a service is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    Stop,
    Reload,
    PostReady,
    PreStop,
    PostStop,
    OnFailure,
}

impl Purpose {
    pub const ALL: [Purpose; 6] = [
        Purpose::Stop,
        Purpose::Reload,
        Purpose::PostReady,
        Purpose::PreStop,
        Purpose::PostStop,
        Purpose::OnFailure,
    ];

    pub fn is_hook(self) -> bool {
        !matches!(self, Purpose::Stop | Purpose::Reload)
    }

    /// The key of the command, below `hooks` for a hook.
    pub fn key(self) -> &'static str {
        match self {
            Purpose::Stop => "stop_command",
            Purpose::Reload => "reload_command",
            Purpose::PostReady => "post_ready",
            Purpose::PreStop => "pre_stop",
            Purpose::PostStop => "post_stop",
            Purpose::OnFailure => "on_failure",
        }
    }

    pub fn command(self, service: &Service) -> Option<&Argv> {
        let hooks = &service.hooks;
        match self {
            Purpose::Stop => &service.stop_command,
            Purpose::Reload => &service.reload_command,
            Purpose::PostReady => &hooks.post_ready,
            Purpose::PreStop => &hooks.pre_stop,
            Purpose::PostStop => &hooks.post_stop,
            Purpose::OnFailure => &hooks.on_failure,
        }
        .as_ref()
    }
}

/// How the project ended, for the exit code of `up` and its last line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub by: Author,
    /// Exit code as `cli.md` defines it.
    pub code: u8,
    /// Fits after "ended: ".
    pub because: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Check the ports, open the streams, fork, record, execute. Answered by `Spawned` then `Executed`, or `SpawnFailed`, or
    /// `PortTaken`. `given`: the outputs of others that it names. `elsewhere`: for a port that is taken, the next free one is, told by `PortsMoved`.
    Spawn {
        id: Incarnation,
        service: Arc<Service>,
        given: Given,
        elsewhere: bool,
    },
    /// End what holds the port of the latest `PortTaken` of this incarnation, by these rungs, then SIGKILL. Answered by `Evicted`.
    Evict {
        id: Incarnation,
        ladder: Vec<Rung>,
    },
    /// That is no longer needed: nothing more is sent.
    CancelEviction {
        id: Incarnation,
    },
    /// An `"auto"` port was lost to somebody else: it gets another number, which comes with a new definition.
    Renumber {
        service: ServiceName,
        port: String,
    },
    /// Take over what an earlier daemon started: its streams, its process. Answered by `Adopted`, `Exited` or `Vanished`.
    Adopt {
        id: Incarnation,
        service: Arc<Service>,
        given: Given,
    },
    /// Send the signal, then SIGCONT. For `StopScope::Process` to the main process, else to its group.
    Signal {
        id: Incarnation,
        signal: Signal,
        scope: StopScope,
    },
    /// Send the signal to the main process, and nothing after it: what was stopped stays stopped.
    Deliver {
        id: Incarnation,
        signal: Signal,
    },
    /// SIGKILL by scope; for `Tree` sweep until nothing is left. Answered by `Exited` and `Emptied`, or `KillFailed`.
    Kill {
        id: Incarnation,
        scope: StopScope,
    },
    /// Everything about this incarnation was taken into account: forget it, close its streams.
    Release {
        id: Incarnation,
    },
    /// Perform one attempt. At most one per (incarnation, kind) is under way. Answered by `Probed`.
    Probe {
        id: Incarnation,
        kind: ProbeKind,
        attempt: u32,
        service: Arc<Service>,
    },
    /// Attempts under way need no answer any more and are ended.
    CancelProbes {
        id: Incarnation,
    },
    /// One attempt at all `wait_for` gates of a service that is about to start. Answered by `GateProbed`.
    ProbeGate {
        id: Incarnation,
        attempt: u32,
        service: Arc<Service>,
    },
    /// Fill the folder, write the files, run the steps that are to be run and `pre_start`. `Preparing` tells of each step
    /// that begins. Answered by `Prepared`.
    Prepare {
        id: Incarnation,
        service: Arc<Service>,
        given: Given,
    },
    /// End what `Prepare` does; answered as that is, once nothing of it is left.
    CancelPrepare {
        id: Incarnation,
    },
    /// Write the files anew that are reloaded, as the last `Adjust` said. Answered by `Rewritten`.
    Rewrite {
        id: Incarnation,
    },
    /// Run a command of the service with its environment and user, ended as a tree at `timeout`. `told`: variables beside
    /// those. Answered by `CommandEnded`.
    Run {
        id: Incarnation,
        purpose: Purpose,
        service: Arc<Service>,
        given: Given,
        timeout: Duration,
        told: Vec<(&'static str, String)>,
    },
    /// Those are no longer needed; end it if it still runs.
    CancelRun {
        id: Incarnation,
        purpose: Purpose,
    },
    /// A live edit: what hands hold of this service (log size, secrets) follows the new definition.
    Adjust {
        id: Incarnation,
        service: Arc<Service>,
    },
    Publish(Event),
    /// Nothing is left and nothing will be started: the project is over.
    End(Ending),
}
