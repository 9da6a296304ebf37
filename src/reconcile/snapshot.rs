//! What `ps` and `why` read: the World as plain data at one instant.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fact::ExitStatus;
use super::failure::Failure;
use crate::spec::ServiceName;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StateName {
    Stopped,
    Waiting,
    Preparing,
    Starting,
    Ready,
    Unhealthy,
    Backoff,
    Stopping,
    Completed,
    Failed,
    /// Only in `ps` when no runner is alive.
    Orphaned,
}

impl StateName {
    pub fn as_str(self) -> &'static str {
        match self {
            StateName::Stopped => "stopped",
            StateName::Waiting => "waiting",
            StateName::Preparing => "preparing",
            StateName::Starting => "starting",
            StateName::Ready => "ready",
            StateName::Unhealthy => "unhealthy",
            StateName::Backoff => "backoff",
            StateName::Stopping => "stopping",
            StateName::Completed => "completed",
            StateName::Failed => "failed",
            StateName::Orphaned => "orphaned",
        }
    }
}

/// One thing that a waiting service waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Blocker {
    /// The dependency; nothing for a gate of `wait_for` and for what another service still holds.
    pub service: Option<ServiceName>,
    /// Fits after "waiting for": `db to be ready (starting)`, `db (stopped by you)`, `tcp://host:5432 (refused)`.
    pub what: String,
}

/// The end of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    pub run: u32,
    pub status: ExitStatus,
    /// Monotonic.
    pub at_ns: u64,
    /// From exec to the end.
    pub took_ns: u64,
}

/// When a scheduled run is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Monotonic.
    Mono(u64),
    /// Nanoseconds since 1970.
    Wall(i64),
}

#[derive(Clone, Debug, PartialEq)]
pub struct ServiceSnapshot {
    pub name: ServiceName,
    pub state: StateName,
    /// Monotonic, when the state began.
    pub since_ns: u64,
    pub run: u32,
    /// Restarts that were not asked for, since the last start by hand, edit or `up`.
    pub restarts: u32,
    pub pid: Option<u32>,
    /// Wall time of exec of the current run.
    pub started_at_ns: Option<i64>,
    /// Monotonic, of exec of the current run.
    pub started_mono_ns: Option<u64>,
    /// How the latest run that has ended did so.
    pub last_end: Option<RunEnd>,
    pub failure: Option<Failure>,
    pub waiting_on: Vec<Blocker>,
    /// What the readiness probe said last and how often it was tried.
    pub probe_message: Option<String>,
    pub probe_attempts: u32,
    /// What the log of the latest run has told, by name.
    pub outputs: BTreeMap<String, String>,
    /// `STATUS=` of sd_notify.
    pub status_text: Option<String>,
    /// Monotonic; set in `backoff`, and for a failed start that is tried again at the cap.
    pub next_try_at_ns: Option<u64>,
    /// Of a scheduled service that is wanted.
    pub next_run: Option<Due>,
    /// Wanted by file, selection and hand: part of what `up` waits for.
    pub wanted: bool,
    pub stopped_by_hand: bool,
    /// It is to be restarted, after another replica; whether that one has failed.
    pub deferred: Option<(ServiceName, bool)>,
    /// Its process was started by an earlier daemon.
    pub adopted: bool,
    /// Who caused the current state.
    pub cause: super::event::Cause,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Counts accepted definitions from 1.
    pub generation: u64,
    pub settled: bool,
    /// In the file's order; services that an edit removed and that are still stopping come last.
    pub services: Vec<ServiceSnapshot>,
}
