//! Every transition with its cause, in the words of `cli.md` (`events`).

use serde::{Deserialize, Serialize};

use super::fact::ExitStatus;
use super::failure::Failure;
use super::plan::Step;
use crate::spec::{ServiceName, Signal};

/// Who or what caused a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Author {
    User,
    File,
    Dependency,
    Probe,
    Watch,
    Schedule,
    Exit,
    Signal,
    Runner,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Cause {
    pub by: Author,
    /// One short phrase: `runner up`, `db is ready`, `exit code 1`.
    pub detail: String,
}

impl Cause {
    pub fn new(by: Author, detail: impl Into<String>) -> Self {
        Cause {
            by,
            detail: detail.into(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `None`: about the project.
    pub service: Option<ServiceName>,
    /// The run it belongs to, 0 when there was none yet.
    pub run: u32,
    pub kind: EventKind,
    pub cause: Cause,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// In words: `db to be healthy`, `tcp://host:5432`.
    Waiting {
        on: Vec<String>,
    },
    /// Executed.
    Started {
        pid: u32,
    },
    /// A process that an earlier daemon started is under our control.
    Adopted {
        pid: u32,
    },
    Ready {
        after_ns: u64,
        probe: Option<String>,
    },
    Unhealthy {
        message: String,
    },
    /// Healthy again after `Unhealthy`.
    Recovered,
    /// The main process ended.
    Exited {
        status: ExitStatus,
        after_ns: u64,
    },
    /// A restart is due in `delay_ns`; `attempt` counts restarts in a row from 1.
    Restarting {
        delay_ns: u64,
        attempt: u32,
        failure: Option<Failure>,
    },
    /// `final`: no restart is due.
    Failed {
        failure: Failure,
    },
    Stopping,
    Stopped,
    /// Its log has told one of its `outputs`.
    OutputFound {
        name: String,
        value: String,
    },
    /// A step before its start begins.
    Preparing {
        step: String,
    },
    /// A hook has ended well.
    HookRan {
        hook: &'static str,
    },
    HookFailed {
        hook: &'static str,
        message: String,
    },
    /// A signal was sent that somebody asked for by hand.
    Signalled {
        signal: Signal,
    },
    /// It was asked to read its own configuration anew: the signal was sent, or the command succeeded.
    Reloaded,
    ReloadFailed {
        message: String,
    },
    Completed {
        status: ExitStatus,
        after_ns: u64,
    },
    /// Something worth a line that changes no state: still starting after 60 s, SIGKILL was needed.
    Warned {
        message: String,
    },
    /// A definition is in force from now on. Comes before anything is done about it.
    ConfigApplied {
        generation: u64,
        /// What is about to be done, as `plan` said it; without what is kept.
        steps: Vec<Step>,
        /// Services that are kept.
        unchanged: u32,
    },
    /// No service is in transition any more. `failed`: some selected service is neither ready nor completed.
    Settled {
        generation: u64,
        failed: bool,
    },
    /// Everything is being stopped.
    Ending {
        because: String,
    },
}
