//! One service, checked: every string rendered, every path absolute, every default filled in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::common::{Argv, Bytes, ServiceName, Signal};
use super::outputs::OutputName;
use super::probe::{Probe, TcpTarget};
use super::replica::Rollout;
use super::schedule::Schedule;
use super::setup::{Hooks, PrepareStep, RenderedFile, Source};
use super::watch::Watch;

impl Service {
    /// The ports of `sockets`, in order, with their names.
    pub fn socket_ports(&self) -> impl Iterator<Item = (&str, &Port)> {
        let named = |name: &String| self.ports.get_key_value(name.as_str());
        self.sockets
            .iter()
            .filter_map(named)
            .map(|(name, port)| (name.as_str(), port))
    }

    /// The ports that it binds itself.
    pub fn own_ports(&self) -> impl Iterator<Item = (&str, &Port)> {
        let own = self.ports.iter().filter(|(name, _)| !self.sockets.contains(name));
        own.map(|(name, port)| (name.as_str(), port))
    }

    /// The PID file by which the service says which process it is.
    pub fn followed_pid_file(&self) -> Option<&Path> {
        let file = self.pid_file.as_ref()?;
        (file.mode != PidFileMode::Write).then_some(file.path.as_path())
    }

    /// CMD of `up -- CMD`: its code is runner's, always.
    pub fn is_command_line(&self) -> bool {
        self.log == LogTarget::Inherited
    }
}

/// What an edit of a key means for a running service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The process is stopped and started with the new value.
    Restart,
    /// Applied without touching the process.
    Live,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    pub name: ServiceName,
    // restart
    pub command: Argv,
    pub working_dir: PathBuf,
    /// Declared and resolved: project env files, `[env]`, `PORT*`, service env files, service `env`, in this order
    /// of precedence. The environment captured at the project's start is underneath and not part of it.
    pub env: IndexMap<String, String>,
    /// Start from an empty environment instead of the captured one.
    pub clear_env: bool,
    pub user: Option<String>,
    pub group: Option<String>,
    pub umask: Option<u32>,
    pub nice: Option<i32>,
    pub limits: IndexMap<Resource, Limit>,
    /// Its descriptors 0, 1 and 2 are a pseudo-terminal, which controls it. Never with [`LogTarget::Off`].
    pub tty: bool,
    pub kind: Kind,
    pub ports: IndexMap<String, Port>,
    /// Names of `ports` that runner binds and hands over, in the order in which the service gets them from descriptor 3 on.
    pub sockets: Vec<String>,
    pub pid_file: Option<PidFile>,
    /// Steps before a start, in order.
    pub prepare: Vec<PrepareStep>,
    /// What fills `working_dir` before them.
    pub source: Option<Source>,
    /// By absolute path; written after `source` and before `prepare`.
    pub files: IndexMap<String, RenderedFile>,
    // live
    pub success_exit_codes: Vec<u8>,
    /// Oneshot: how long one run may take.
    pub timeout: Option<Duration>,
    /// Oneshot: when it runs, instead of once.
    pub schedule: Option<Schedule>,
    /// A scheduled one runs at `up` as well.
    pub run_at_start: bool,
    pub on_port_conflict: PortConflict,
    /// From exec to ready, after which the start has failed. `None`: without limit. `config` fills in 60 s when `ready` is written.
    pub start_timeout: Option<Duration>,
    /// `None`: ready as soon as executed. `config` fills in the default (the declared TCP ports accept connections).
    pub ready: Option<Probe>,
    /// The `ready` probe above is the default one, not one that the user wrote.
    pub ready_is_default: bool,
    pub health: Option<Probe>,
    /// Targets are names that exist in the same project.
    pub depends_on: IndexMap<ServiceName, Dependency>,
    pub wait_for: Vec<Gate>,
    pub restart: Restart,
    pub backoff: Backoff,
    pub max_restarts: Option<u32>,
    pub restart_window: Duration,
    /// The ladder: never empty; SIGKILL follows the last rung.
    pub stop: Vec<Rung>,
    pub stop_command: Option<Argv>,
    pub stop_scope: StopScope,
    /// How it is asked to read its own configuration anew; never both.
    pub reload_signal: Option<Signal>,
    pub reload_command: Option<Argv>,
    pub hooks: Hooks,
    pub watch: Option<Watch>,
    /// Of a member: how it is restarted together with the others.
    pub rollout: Rollout,
    pub autostart: bool,
    pub profiles: Vec<String>,
    pub essential: bool,
    pub on_supervisor_exit: SupervisorExit,
    pub log: LogTarget,
    /// Its tree is restarted when it holds more.
    pub memory_limit: Option<Bytes>,
    /// Regular expressions by name: what its log tells of it.
    pub outputs: IndexMap<String, String>,
    /// What of other services' outputs its environment, command and files name.
    pub awaits: Vec<OutputName>,
    /// Globs over names of env keys whose values are never shown.
    pub secrets: Vec<String>,
    pub description: Option<String>,
    pub labels: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Expected to stay.
    Simple,
    /// Expected to end.
    Oneshot,
}

/// A file that names the main process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidFile {
    /// Absolute.
    pub path: PathBuf,
    pub mode: PidFileMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PidFileMode {
    /// The service writes it, and whom it names is the service.
    Follow,
    /// As `Follow`; and whom it names at the start may be taken over.
    Adopt,
    /// Runner writes it.
    Write,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    pub number: u16,
    pub protocol: Protocol,
    /// Allocated by runner (`"auto"`).
    pub auto: bool,
    pub shared: bool,
}

impl Port {
    /// Under which name its number is kept, of a port of this service: all members of a group have one that they share.
    pub fn owner<'n>(&self, service: &'n str) -> &'n str {
        match service.split_once('@') {
            Some((group, _)) if self.shared => group,
            _ => service,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortConflict {
    Fail,
    Next,
    Kill,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Its process was executed.
    Started,
    /// It is ready (and not unhealthy).
    Healthy,
    /// It has ended, whatever its code.
    Completed,
    /// It has ended with a success code.
    CompletedSuccessfully,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    pub condition: Condition,
    /// Restart with the dependency.
    pub restart: bool,
    /// `false`: its final failure does not fail us.
    pub required: bool,
}

/// Something outside the file that must be there before a start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gate {
    Tcp(TcpTarget),
    /// Absolute URL; any answer below 400 opens the gate.
    Http(String),
    File(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    No,
    OnFailure,
    Always,
}

/// Delay before the n-th restart in a row: `initial * factor^(n-1)`, at most `max`, varied by ± `jitter` of itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backoff {
    pub initial: Duration,
    pub factor: f64,
    pub max: Duration,
    pub jitter: f64,
    /// Being ready this long forgets earlier failures.
    pub reset_after: Duration,
}

/// One step of the stop ladder: send, then wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    pub signal: Signal,
    pub wait: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StopScope {
    /// Stop signal to the group; SIGKILL to the group and every descendant that left it.
    Tree,
    /// Both to the group.
    Group,
    /// Both to the main process only.
    Process,
}

/// What becomes of it when guardian and daemon were both killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SupervisorExit {
    /// It lives on, and the next runner goes on with it.
    Keep,
    /// The next runner ends it first.
    Stop,
}

/// Where the output goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogTarget {
    /// Nowhere: `log = false`.
    Off,
    /// It has runner's own stdin, stdout and stderr: CMD of `up -- CMD`.
    Inherited,
    File(LogFile),
    /// Only the newest output, in memory: it is gone with the daemon.
    Memory(LogMemory),
}

impl LogTarget {
    /// Shown on the console of `up`.
    pub fn is_on_console(&self) -> bool {
        match self {
            LogTarget::Off | LogTarget::Inherited => false,
            LogTarget::File(log) => log.console,
            LogTarget::Memory(log) => log.console,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// Absolute; default `STATE_DIR/logs/NAME.log`.
    pub file: PathBuf,
    /// Rotation starts a new file before this would be passed.
    pub max_size: Bytes,
    /// Kept files, the current one included.
    pub max_files: u32,
    /// Shown on the console of `up`.
    pub console: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogMemory {
    /// What is kept at most; at least half of it is there once that much was printed.
    pub max_size: Bytes,
    /// Shown on the console of `up`.
    pub console: bool,
}

/// A resource of setrlimit(2), by the name of its `RLIMIT_` constant in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Memlock,
    Nofile,
    Nproc,
    Stack,
}

/// Soft and hard limit; `None` = unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}
