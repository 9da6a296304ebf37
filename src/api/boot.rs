//! What a client tells the guardian, and the guardian the daemon, when a project is started.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::wire::UpRequest;
use crate::config::find::Location;

/// Passed as one JSON argument; holds no secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Boot {
    pub location: Location,
    /// Private folder (0700) of socket, records and FIFOs.
    pub runtime_dir: PathBuf,
    /// Where lock, logs and history live; also what the project file says, but known before it is read.
    pub state_dir: PathBuf,
    /// Started by an `up` that stays: its end is the project's end.
    pub foreground: bool,
    /// The console shows colours, so services are told by `FORCE_COLOR`.
    pub colour: bool,
    /// The project goes on as it was: only its guardian is another one.
    #[serde(default)]
    pub goes_on: bool,
    /// What a runner that was killed has left is taken over to be stopped, and nothing is started.
    #[serde(default)]
    pub ends: bool,
    /// `up` has become the guardian in place (PID 1, `up -- CMD`): there is no client, and the daemon shows the output itself.
    #[serde(default)]
    pub console: Option<Console>,
    /// [`watchdog_us`] of the process that was started.
    #[serde(default)]
    pub watchdog_us: Option<u64>,
}

/// Within what time (µs) whoever started this process wants a sign of life each time, by sd_watchdog_enabled(3): `None` where it
/// does not, or means another process.
pub fn watchdog_us() -> Option<u64> {
    let variable = |name: &str| std::env::var(name).ok();
    let is_us = variable("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(std::process::id()));
    let asked = variable("WATCHDOG_USEC")?.parse().ok()?;
    (is_us && asked > 0).then_some(asked)
}

/// How the daemon shows what is printed, on the stdout and stderr that `up` was started with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Console {
    /// What was typed: the first daemon does it, and those that follow it do not.
    pub up: UpRequest,
    pub format: ConsoleFormat,
    pub colour: bool,
    pub quiet: bool,
    /// One of the standard streams is a terminal, which may be hung up.
    pub terminal: bool,
    /// We are PID 1: nothing outlives us, and logs are kept in memory unless the file names a place for them.
    pub init: bool,
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConsoleFormat {
    /// `name | line`.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// Where guardian and daemon write about themselves.
pub fn own_log(state_dir: &Path) -> PathBuf {
    state_dir.join("runner.log")
}

/// The name of the API socket in the runtime folder.
pub const SOCKET: &str = "api.sock";

/// Hidden verb: `runner __daemon BOOT`.
pub const DAEMON_VERB: &str = "__daemon";

/// Numbers of the descriptors with which a guardian is started, beside 0-2.
pub mod for_guardian {
    /// The project's lock, shared by guardian and daemon.
    pub const LOCK: i32 = 3;
    /// The bound and listening API socket; the guardian holds it as well.
    pub const LISTENER: i32 = 4;
    /// Ends when the client that started the project is gone.
    pub const OWNER: i32 = 5;
    /// The first of the sockets that were given to runner for its services.
    pub const SOCKETS: i32 = 6;
}

/// Numbers of the descriptors with which the guardian starts the daemon, behind the order socket.
pub mod for_daemon {
    pub const LOCK: i32 = 4;
    pub const LISTENER: i32 = 5;
    pub const OWNER: i32 = 6;
}
