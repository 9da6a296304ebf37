//! Readiness and liveness probes.

use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::common::Argv;

/// One probe: what to check, and the numbers around it. Semantics of the numbers are Kubernetes'.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    pub check: Check,
    /// Between the end of one attempt and the start of the next. Default 10 s.
    pub interval: Duration,
    /// One attempt as a whole, connecting included. Default 3 s.
    pub timeout: Duration,
    /// `health`: failures in a row that make it unhealthy. Default 3.
    pub retries: u32,
    /// Successes in a row that count as success. Default 1.
    pub success_threshold: u32,
    /// Failures within this time after the start (`ready`) or after ready (`health`) do not count.
    pub start_period: Duration,
    /// `health` only: `true` unless `on_failure = "none"`.
    pub restart_on_failure: bool,
}

/// What one attempt looks at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "a project holds few of them, each for as long as it lives"
)]
pub enum Check {
    Http(HttpCheck),
    Tcp(TcpTarget),
    Exec(Argv),
    /// A line of this run's output matches (regex, as bytes). Ready only.
    Log(String),
    /// The path exists.
    File(PathBuf),
    /// sd_notify: `READY=1` (ready), `WATCHDOG=1` within the interval (health).
    Notify,
    /// The service's own process tree has a listening TCP or Unix socket.
    Listen,
    /// The service's own process tree listens on this TCP port: the default of a shared one, where a connection may reach
    /// another replica.
    Binds(u16),
    All(Vec<Check>),
    Any(Vec<Check>),
}

impl Check {
    /// Whether only an event (a log line, a notification) can change the answer: no attempt on a timer needed.
    pub fn is_event_driven(&self) -> bool {
        match self {
            Check::Log(_) | Check::Notify => true,
            Check::All(checks) | Check::Any(checks) => checks.iter().all(Check::is_event_driven),
            Check::Http(_) | Check::Tcp(_) | Check::Exec(_) | Check::File(_) => false,
            Check::Listen | Check::Binds(_) => false,
        }
    }

    /// This check and all checks inside it.
    pub fn leaves(&self) -> Vec<&Check> {
        match self {
            Check::All(checks) | Check::Any(checks) => checks.iter().flat_map(Check::leaves).collect(),
            Check::Http(_) | Check::Tcp(_) | Check::Exec(_) | Check::Log(_) => vec![self],
            Check::File(_) | Check::Notify | Check::Listen | Check::Binds(_) => vec![self],
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpCheck {
    /// Absolute `http://host[:port]/path`; a `"/path"` in the file became `http://127.0.0.1:PORT/path`.
    pub url: String,
    /// `GET` unless set.
    pub method: String,
    pub headers: IndexMap<String, String>,
    /// Default `2xx` and `3xx`, as Kubernetes' `httpGet` (a redirect is an answer and is not followed).
    pub status: Vec<StatusPattern>,
    /// Regex over the first 64 KiB of the body.
    pub body: Option<String>,
    /// Fields the JSON body must hold; a key may be a dotted path. Values are compared as JSON values.
    pub json: IndexMap<String, serde_json::Value>,
}

/// `200` or `2xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StatusPattern {
    Exact(u16),
    /// The hundreds digit.
    Class(u8),
}

impl StatusPattern {
    pub fn matches(self, status: u16) -> bool {
        match self {
            StatusPattern::Exact(wanted) => wanted == status,
            StatusPattern::Class(class) => status / 100 == u16::from(class),
        }
    }
}

/// Where a TCP check or gate connects. `localhost` and an omitted host mean both loopback addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpTarget {
    pub host: String,
    pub port: u16,
}
