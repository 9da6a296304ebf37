//! The serialised shapes of `cli.md`: what `--json` prints and what travels over the socket.
//!
//! Fields are only ever added. Times are RFC 3339 in UTC.

mod imported;
mod refusal;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{Problems, Severity as ConfigSeverity};
use crate::reconcile::{self, Blocker, Cause, Intent, Reason, StateName};

pub use super::verbs::*;
pub use imported::{ImportRemark, Imported, ImportedService, RemarkKind};
pub use refusal::Refusal;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ps {
    pub project: String,
    /// Counts the definitions that were applied.
    pub generation: u64,
    /// No service is in transition.
    pub settled: bool,
    /// Why the file that is there now is not in force: it is broken. The first problem, with its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_error: Option<String>,
    pub services: Vec<Service>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Service {
    pub name: String,
    pub state: StateName,
    pub pid: Option<u32>,
    /// RFC 3339, UTC: exec of the current run.
    pub started_at: Option<String>,
    pub uptime_s: Option<f64>,
    /// Restarts that nobody asked for.
    pub restarts: u32,
    /// Counts the runs of this service.
    pub run: u32,
    /// By name.
    pub ports: IndexMap<String, u16>,
    /// Its output `url`.
    pub url: Option<String>,
    /// What the log of the latest run has told, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub outputs: IndexMap<String, String>,
    pub cpu_percent: Option<f64>,
    pub memory_bytes: Option<u64>,
    pub last_exit: Option<Exit>,
    pub failure: Option<Failure>,
    /// In which way the file is newer than what runs.
    pub drift: Option<String>,
    /// It was running before this runner.
    pub adopted: bool,
    /// What a waiting service waits for.
    #[serde(default)]
    pub waiting_on: Vec<Blocker>,
    /// What the readiness probe says, what a daemon says of itself (`STATUS=`).
    #[serde(default)]
    pub note: Option<String>,
    /// Seconds in this state.
    #[serde(default)]
    pub since_s: f64,
    /// Seconds until the next try, in `backoff`.
    #[serde(default)]
    pub next_try_s: Option<f64>,
    /// Of a scheduled service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run: Option<NextRun>,
    /// Part of what `up` waits for.
    #[serde(default)]
    pub wanted: bool,
    #[serde(default)]
    pub probe_attempts: u32,
}

/// How a run ended: `{ "code": 1 }`, `{ "signal": "SIGKILL" }` or `{ "unknown": true }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    Code(i32),
    Signal(String),
    Unknown(bool),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    pub reason: Reason,
    pub message: String,
    pub suggestion: Option<String>,
    /// What the service wrote last.
    pub last_lines: Vec<String>,
}

/// One object a line in `events` and on the console stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Counts events of this project from 1, without a gap.
    pub cursor: u64,
    /// RFC 3339, UTC.
    pub time: String,
    pub service: Option<String>,
    pub run: u32,
    #[serde(flatten)]
    pub kind: EventKind,
    pub cause: Cause,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    Waiting {
        on: Vec<String>,
    },
    Started {
        pid: u32,
    },
    Adopted {
        pid: u32,
    },
    Ready {
        after_s: f64,
        probe: Option<String>,
    },
    Unhealthy {
        message: String,
    },
    Recovered,
    Exited {
        exit: Exit,
        after_s: f64,
    },
    Restarting {
        delay_s: f64,
        attempt: u32,
        failure: Option<Failure>,
    },
    Failed {
        failure: Failure,
    },
    Stopping,
    Stopped,
    /// `runner kill` sent it.
    Signalled {
        signal: String,
    },
    /// Its log has told one of its `outputs`.
    OutputFound {
        name: String,
        value: String,
    },
    /// A step before its start begins: one of `prepare`, `source: ...`, `pre_start`.
    Preparing {
        step: String,
    },
    HookRan {
        hook: String,
    },
    HookFailed {
        hook: String,
        message: String,
    },
    Reloaded,
    ReloadFailed {
        message: String,
    },
    Completed {
        exit: Exit,
        after_s: f64,
    },
    Warned {
        message: String,
    },
    ConfigApplied {
        generation: u64,
        restarts: u32,
        lives: u32,
        starts: u32,
        stops: u32,
        unchanged: u32,
        /// What is about to be done, as in `plan`; without what is kept.
        #[serde(default)]
        steps: Vec<PlanStep>,
    },
    /// The file was saved and is broken: what was in force stays so.
    ConfigRejected {
        message: String,
        #[serde(default)]
        problems: Vec<Problem>,
    },
    Settled {
        generation: u64,
        failed: bool,
    },
    Ending {
        because: String,
    },
    /// The last event of a project: its exit code.
    Ended {
        code: u8,
        because: String,
    },
}

/// `plan --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    pub generation: u64,
    pub steps: Vec<PlanStep>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanStep {
    pub service: String,
    pub step: Step,
    /// Keys that changed, as written in the file: `command`, `env.PORT`, `health.interval`.
    pub fields: Vec<String>,
    /// The same for people, with the values where they are short and no secret: `health.interval 10s -> 5s`.
    #[serde(default)]
    pub changes: Vec<String>,
    pub because: String,
}

impl From<reconcile::Plan> for Plan {
    fn from(plan: reconcile::Plan) -> Plan {
        Plan {
            generation: plan.generation,
            steps: plan.steps.into_iter().map(PlanStep::from).collect(),
        }
    }
}

impl From<reconcile::Step> for PlanStep {
    fn from(step: reconcile::Step) -> PlanStep {
        let change = |change: &crate::spec::Difference| match &change.from_to {
            Some(from_to) => format!("{} {from_to}", change.field),
            None => change.field.clone(),
        };
        PlanStep {
            service: step.service.to_string(),
            step: match step.intent {
                Intent::Start => Step::Start,
                Intent::Restart => Step::Restart,
                Intent::Live => Step::Live,
                Intent::Stop => Step::Stop,
                Intent::Keep => Step::Keep,
            },
            changes: step.changes.iter().map(change).collect(),
            fields: step.changes.into_iter().map(|change| change.field).collect(),
            because: step.because,
        }
    }
}

/// What a plan intends for one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    Start,
    Restart,
    Live,
    Stop,
    Keep,
}

/// `check --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Empty when nothing is wrong. With an error among them the exit code is 2.
    pub problems: Vec<Problem>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Relative to the project's folder where it lies inside, else absolute.
    pub file: String,
    /// From 1.
    #[schemars(range(min = 1))]
    pub line: u32,
    /// From 1, in characters.
    #[schemars(range(min = 1))]
    pub column: u32,
    pub severity: Severity,
    pub service: Option<String>,
    /// Dotted, below the service: `health.interval`.
    pub key: Option<String>,
    pub message: String,
    pub suggestion: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file can't be used.
    Error,
    /// It can, but somebody should look.
    Warning,
}

/// `graph --json`: what needs what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Graph {
    pub services: Vec<GraphNode>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GraphNode {
    pub name: String,
    pub depends_on: Vec<GraphEdge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GraphEdge {
    pub service: String,
    /// What must be true of it.
    pub condition: crate::spec::Condition,
    /// It restarts with the dependency.
    pub restart: bool,
    /// `false`: the dependency's final failure does not fail it.
    pub required: bool,
}

/// The problems of the files, with their places.
pub fn problems(problems: &Problems) -> Vec<Problem> {
    let one = |problem: &crate::config::Problem| {
        let (line, column) = problems.line_column(problem.place);
        Problem {
            file: problems.source(problem.place).shown.clone(),
            line,
            column,
            severity: match problem.severity {
                ConfigSeverity::Error => Severity::Error,
                ConfigSeverity::Warning => Severity::Warning,
            },
            service: problem.service.clone(),
            key: problem.key.clone(),
            message: problem.message.clone(),
            suggestion: problem.suggestion.clone(),
        }
    };
    problems.list.iter().map(one).collect()
}

/// `doctor --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Doctor {
    pub checks: Vec<Finding>,
}

/// What one guarantee rests on here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    pub status: Grade,
    pub name: String,
    pub detail: String,
    /// Fits after "try: ".
    pub suggestion: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As good as it gets.
    Ok,
    /// It holds, by a lesser mechanism than there could be.
    Tier,
    /// Something may go wrong.
    Warn,
    /// Runner does not work like this.
    Bad,
}

/// `logs --json`: one object a line. Exactly one of `line`, `line_base64` and `skipped` is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("oneOf" = [{ "required": ["line"] }, { "required": ["line_base64"] }, { "required": ["skipped"] }]))]
pub struct LogLine {
    /// RFC 3339, UTC.
    pub time: String,
    pub service: String,
    pub run: u32,
    pub stream: crate::logs::Stream,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// Instead of `line`, for bytes that are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line_base64: Option<String>,
    /// Longer than 64 KiB: the next line of this stream goes on with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continued: bool,
    /// Instead of `line`: `-f` was too slow for this many lines, which are in the file; `run` is that of the last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<u64>,
}

/// `POST /v1/up`: make the project match its file and what is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpRequest {
    /// Nothing named: everything that starts by itself.
    #[serde(default)]
    pub names: Vec<String>,
    #[serde(default)]
    pub no_deps: bool,
    #[serde(default)]
    pub profiles: Vec<String>,
    /// `--exit`, over the file's `project.exit`.
    #[serde(default)]
    pub exit: Option<crate::spec::ExitPolicy>,
    #[serde(default)]
    pub exit_code_from: Option<String>,
    /// The caller goes away and the project stays.
    #[serde(default)]
    pub detach: bool,
    /// Answer with the console stream (`frames`) instead of `ps`; it ends with the project.
    #[serde(default)]
    pub console: bool,
    /// From now on an edit of the file is applied by `up` only.
    #[serde(default)]
    pub no_reload: bool,
    /// The caller's project files, which have to be the runner's; none: whatever it has.
    #[serde(default)]
    pub files: Vec<std::path::PathBuf>,
    /// Asks for nothing but the console: an `up` goes on whose daemon was replaced by another one.
    #[serde(default)]
    pub resume: bool,
}

/// `POST /v1/down`. Answered at once; the end is the end of the socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DownRequest {
    /// Replaces every service's stop timeout.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// Do not wait for anything any more: SIGKILL.
    #[serde(default)]
    pub hasten: bool,
    /// What made the client ask (`SIGINT`), for the cause of the events; nothing: the verb itself.
    #[serde(default)]
    pub because: Option<String>,
}

/// The answer to `POST /v1/down`: what is free once everything has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DownAnswer {
    pub lock: std::path::PathBuf,
    /// Whose end is the end of runner.
    pub guardian: u32,
}

/// Of what a runner passes to the version that replaces it; only the same one can take over.
pub const STATE_VERSION: u32 = 1;

/// `POST /v1/upgrade`. Answered at once; the end of the socket is when it has happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpgradeRequest {
    /// Absolute: the program that guardian and daemon become.
    pub program: std::path::PathBuf,
    /// Which state that one understands.
    pub state_version: u32,
}

/// Who makes way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpgradeAnswer {
    pub version: String,
}

/// `GET /v1/logs`, as query parameters.
#[derive(Clone, Debug, Default)]
pub struct LogsRequest {
    /// Nothing named: all.
    pub services: Vec<String>,
    pub follow: bool,
    pub query: crate::logs::Query,
}

/// The same, to the nanosecond: an instant that comes back as it was.
pub fn timestamp_ns(wall_ns: i64) -> String {
    let instant = jiff::Timestamp::from_nanosecond(i128::from(wall_ns)).expect("the years 1677 to 2262 are in range");
    instant.to_string()
}

/// RFC 3339 in UTC, to the microsecond.
pub fn timestamp(wall_ns: i64) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(wall_ns)) {
        Ok(instant) => format!("{instant:.6}"),
        Err(_) => "unknown".to_owned(),
    }
}
