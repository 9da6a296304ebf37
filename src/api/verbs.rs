//! What the verbs that act on a running project ask, and what they are answered: the rest of [`super::wire`].

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::wire::{Event, Service};
use crate::reconcile::{Goal, StateName};

/// When a scheduled service runs next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NextRun {
    /// RFC 3339, UTC.
    pub at: String,
    /// Seconds until then.
    pub in_s: f64,
    /// On the clock of the schedule: `14:00`, `Fri 14:00`.
    pub clock: String,
}

/// `POST /v1/start`, `stop`, `restart`, `reload`, `kill`; and, without `names`, `POST /v1/services/NAME/start` and so on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActRequest {
    /// `NAME`, `NAME@INSTANCE` or `@LABEL`; nothing named: all.
    #[serde(default)]
    pub names: Vec<String>,
    /// Answer when it is done, not when it is begun.
    #[serde(default)]
    pub wait: bool,
    /// With `wait`: answer at the latest then.
    #[serde(default)]
    pub wait_timeout_ms: Option<u64>,
    /// `stop` only: replaces the stop timeout.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// `kill` only, with or without `SIG`; SIGKILL if nothing is said.
    #[serde(default)]
    pub signal: Option<String>,
}

/// `POST /v1/services/NAME/scale`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// So many are to run, until somebody says otherwise: another `scale`, an `up`, an edit of `replicas`.
    pub replicas: u32,
    /// Answer when it is done, not when it is begun.
    #[serde(default)]
    pub wait: bool,
    /// With `wait`: answer at the latest then.
    #[serde(default)]
    pub wait_timeout_ms: Option<u64>,
}

/// `start --json`, `stop --json`, `wait --json` and their like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Acted {
    pub outcome: Outcome,
    /// What each verb was about, as in `ps`.
    pub services: Vec<Service>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was begun, and nobody wanted to wait.
    Asked,
    Done,
    /// It has come to rest elsewhere.
    Failed,
    TimedOut,
}

/// `GET /v1/wait`, as query parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitRequest {
    pub names: Vec<String>,
    pub goal: Goal,
    pub timeout_ms: Option<u64>,
}

/// `why --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Why {
    pub service: String,
    pub state: StateName,
    /// From the service itself to the first cause.
    pub chain: Vec<WhyLink>,
    pub suggestion: Option<String>,
    /// What the service at the end of the chain wrote last.
    pub last_lines: Vec<String>,
    /// The newest events of the services in the chain, from the history.
    #[serde(default)]
    pub events: Vec<Event>,
}

/// `what` because `because`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhyLink {
    pub service: String,
    pub what: String,
    pub because: String,
}

/// `GET /v1/project`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Project {
    pub name: String,
    /// Real path.
    pub folder: String,
    pub files: Vec<String>,
    /// For `curl --unix-socket`.
    pub socket: String,
    /// Of the guardian, which lives as long as the project does.
    pub pid: u32,
    pub daemon_pid: u32,
    pub version: String,
    pub generation: u64,
    pub settled: bool,
    pub state: ProjectState,
    /// Edits are applied when they are saved.
    pub reload: bool,
    pub config_error: Option<String>,
    /// How many services are in which state.
    pub services: IndexMap<StateName, u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProjectState {
    /// Everything wanted is ready or completed.
    Up,
    /// Something is on its way.
    Moving,
    /// Something wanted is neither ready nor completed, and nothing is on its way.
    Failed,
    /// Everything is being stopped.
    Ending,
    /// It holds its lock and does not answer.
    Silent,
    /// No runner is alive, but services of one that was killed are: `runner up` takes them over.
    Orphaned,
}

/// `ls --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ls {
    pub projects: Vec<LsProject>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LsProject {
    pub name: String,
    pub folder: String,
    /// For `curl --unix-socket`.
    pub socket: String,
    pub pid: Option<u32>,
    /// How many there are; none is known of a runner that does not answer.
    pub services: Option<u32>,
    pub state: ProjectState,
}

/// `inspect --json`, `GET /v1/services/NAME`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Inspect {
    pub name: String,
    /// The keys of services.toml with what is in force; secrets are `***`.
    pub definition: Value,
    pub state: Service,
}

/// `POST /v1/run`: what a one-off command in a service's place needs. On the Unix socket only: the environment is not masked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    pub name: String,
    /// Nothing: the service's own command.
    #[serde(default)]
    pub command: Vec<String>,
}

/// The client executes it, with its own terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunAnswer {
    /// Where the program may be, in the order in which it is looked for.
    pub programs: Vec<String>,
    pub argv: Vec<String>,
    /// `NAME=value` in base64: values are bytes.
    pub env_base64: Vec<String>,
    pub working_dir: String,
    /// Another user's numbers: uid, gid, groups.
    pub credentials: Option<(u32, u32, Vec<u32>)>,
    pub umask: u32,
    pub nice: Option<i32>,
    /// (RLIMIT_ number, soft, hard).
    pub limits: Vec<(u32, u64, u64)>,
}

/// `GET /v1/health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    pub healthy: bool,
}

/// `GET /v1/events`, as query parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventsRequest {
    /// Events after this cursor; nothing: from now on, or without `follow` all that are kept.
    pub since: Option<u64>,
    pub follow: bool,
}
